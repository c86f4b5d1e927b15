"""Files: what they are by their content, and writing so that the target is always whole, the old one or the new one."""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Literal
from urllib.parse import unquote, urlsplit

from fastnst.errors import InputError, OutputError

PICTURES = frozenset(  # endings of pictures, by which a folder's are found; what a file is, `kind_of` says
    {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif", ".jxl"}
)
SAVED = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".avif", ".tif", ".tiff", ".bmp", ".gif")  # that we write
Kind = Literal["picture", "animation", "video"]
STARTS = {  # of pictures that do not move
    b"\xff\xd8\xff": "JPEG", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"II+\0": "TIFF", b"MM\0+": "TIFF",
    b"\xff\x0a": "JPEG XL", b"\0\0\0\x0cJXL \r\n\x87\n": "JPEG XL",
}  # fmt: skip
CONTAINER_STARTS = (b"\x1a\x45\xdf\xa3", b"\0\0\1\xba", b"OggS", b"FLV")  # of videos: Matroska, MPEG, Ogg, Flash
HEIF = frozenset({b"avif", b"mif1", b"heic", b"heix", b"heim", b"heis"})  # first brands; those of sequences are others


def local_name(text: str) -> str:
    """Returns the name of the file that `text` means: also `file:///x.mp4`, as programs hand it on, and a quoted `~`.

    A file that is really called so is that file.

    >>> local_name("file:///tmp/a%20b.mp4"), local_name("http://x/~y"), local_name("a~b")
    ('/tmp/a b.mp4', 'http://x/~y', 'a~b')
    """
    if not text.startswith(("~", "file:")) or "\0" in text or os.path.lexists(text):
        return text
    if text.startswith("~"):
        return os.path.expanduser(text)  # noqa: PTH111 (Path would drop a slash at the end)
    found = urlsplit(text)
    if found.netloc not in ("", "localhost") or not found.path.startswith("/"):
        return text
    return unquote(text.removeprefix("file:").removeprefix(f"//{found.netloc}"), errors="surrogateescape")


def check_input(path: Path, kind: str) -> None:
    """Raises InputError in words if there is no file with content at `path`; `kind` says what it should have been."""
    try:
        if not path.exists():
            raise InputError(f"cannot read {kind} '{path}': there is no such file")
        if not path.is_file():
            raise InputError(f"cannot read {kind} '{path}': it is {'a folder' if path.is_dir() else 'not a file'}")
        if path.stat().st_size == 0:
            raise InputError(f"cannot read {kind} '{path}': the file is empty")
        with open(path, "rb"):
            pass
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(f"cannot read {kind} '{path}': {getattr(error, 'strerror', None) or error}") from error


def check_target(path: Path, source: Path, overwrite: bool) -> None:
    """Raises OutputError if a result made from `source` may not or cannot be written to `path`."""
    try:
        if path.exists() and path.samefile(source):
            raise OutputError(f"'{path}' is the input itself; choose another out=")
        if path.is_dir():
            raise OutputError(f"cannot write '{path}': it is a folder")
        if path.exists() and not overwrite:
            raise OutputError(f"'{path}' exists; use overwrite=true or another out=")
        if not path.parent.is_dir():
            raise OutputError(f"cannot write '{path}': the folder '{path.parent}' does not exist")
        if not os.access(path.parent, os.W_OK):
            raise OutputError(f"cannot write '{path}': the folder '{path.parent}' is not writable")
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot write '{path}': {getattr(error, 'strerror', None) or error}") from error


def check_picture_target(path: Path, source: Path, overwrite: bool) -> None:
    """Raises OutputError if a picture made from `source` cannot be written to `path`."""
    if path.suffix.lower() not in SAVED:
        raise OutputError(f"cannot write picture '{path}': no format '{path.suffix}'; use {', '.join(SAVED)}")
    check_target(path, source, overwrite)


@contextmanager
def replaced(path: str | Path) -> Iterator[Path]:
    """Yields the path of an empty file beside `path`; it takes the place of `path` when the block ends without error.

    On any error the new file is removed and `path` is as it was. The file keeps the ending of `path`.

    Raises:
        OutputError: the folder is missing or not writable, or the disk is full.
    """
    path = Path(path)
    part = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".fastnst-", suffix=path.suffix)
        part = Path(name)
        os.close(handle)
        yield part
        sync(part)
        mask = os.umask(0)
        os.umask(mask)
        part.chmod(0o666 & ~mask)  # mkstemp makes private files; a shared folder expects the usual mode
        part.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write '{path}': {(error.strerror or str(error)).lower()}") from error
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, would outlast a loss of power; raises OSError if they do not."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def kind_of(path: Path) -> Kind:
    """Returns what a file is, by its content: a "picture", an "animation" (GIF, APNG, WebP that move) or a "video".

    A file whose content says nothing, such as an empty one, is what its ending says; whoever opens it complains.
    """
    form, moves = picture_format(path)
    if form:
        return "animation" if moves else "picture"
    if path.suffix.lower() not in PICTURES:
        return "video"
    try:
        if not path.is_file():
            return "picture"
        with open(path, "rb") as file:
            start = file.read(12)
    except (OSError, ValueError):
        return "picture"
    contained = start[4:8] == b"ftyp" or start[8:] == b"AVI " or start.startswith(CONTAINER_STARTS)
    return "video" if contained else "picture"


def picture_format(path: Path) -> tuple[str, bool]:
    """Returns the format of a picture, as Pillow names it, and whether it has several frames; "" if it is none."""
    try:
        if not path.is_file():  # a pipe would be waited for
            return "", False
        with open(path, "rb") as file:
            start = file.read(32)
            for magic, form in STARTS.items():
                if start.startswith(magic):
                    return form, False
            if start.startswith(b"BM") and start[6:10] == bytes(4):
                return "BMP", False
            if start[4:8] == b"ftyp" and start[8:12] in HEIF:
                return ("AVIF" if b"avif" in start[8:] else "HEIF"), False
            if start.startswith(b"\x89PNG\r\n\x1a\n"):
                return "PNG", png_frames(file) > 1
            if start.startswith((b"GIF87a", b"GIF89a")):
                return "GIF", gif_frames(file) > 1
            if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
                return "WEBP", webp_frames(file) > 1
    except (OSError, ValueError):  # ValueError: a NUL in the name
        pass
    return "", False


def png_frames(file: BinaryIO) -> int:
    """Returns how many frames a PNG says it has."""
    file.seek(8)
    while len(head := file.read(12)) == 12:
        length, name, frames = struct.unpack(">I4sI", head)
        if name == b"acTL":
            return frames
        if name == b"IDAT":
            break
        file.seek(length, os.SEEK_CUR)  # to the end of the checksum; four bytes of the content are read already
    return 1


def webp_frames(file: BinaryIO) -> int:
    """Returns how many frames a WebP has; 2 if more."""
    file.seek(12)
    frames = 0
    while frames < 2 and len(head := file.read(8)) == 8:
        name, length = struct.unpack("<4sI", head)
        frames += name == b"ANMF"
        file.seek(length + length % 2, os.SEEK_CUR)
    return frames


def gif_frames(file: BinaryIO) -> int:
    """Returns how many frames a GIF has; 2 if more."""
    file.seek(10)
    skip_colours(file, file.read(3)[:1])
    frames = 0
    while frames < 2 and (block := file.read(1)) in (b"!", b","):
        if block == b",":
            frames += 1
            skip_colours(file, file.read(9)[8:])
        file.seek(1, os.SEEK_CUR)  # the kind of extension, or the size of codes
        while length := int.from_bytes(file.read(1), "big"):
            file.seek(length, os.SEEK_CUR)
    return frames


def skip_colours(file: BinaryIO, flags: bytes) -> None:
    """Moves behind a GIF's table of colours, if the flags say that there is one."""
    if flags and flags[0] & 0x80:
        file.seek(3 << (flags[0] & 7) + 1, os.SEEK_CUR)


@contextmanager
def only_one(path: Path, doing: str) -> Iterator[None]:
    """Holds a file that says which process is at work, so that no second one does the same at the same time.

    The system lets go of it when the process ends, however that ends: what a dead process left claims nothing.

    Args:
        path: the file, which is removed at the end.
        doing: what the holder does, for the message: "is writing 'out.mp4'; wait for it".

    Raises:
        OutputError: another process holds it, or it cannot be written.
    """
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise OutputError(f"cannot write '{path}': {(error.strerror or str(error)).lower()}") from error
        try:
            refuse_if_locked(handle, doing)
            with suppress(FileNotFoundError):
                if path.stat().st_ino == os.fstat(handle).st_ino:  # or else its holder has just removed it
                    break
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
    try:
        try:
            os.truncate(handle, 0)
            os.write(handle, str(os.getpid()).encode())
        except OSError as error:
            raise OutputError(f"cannot write '{path}': {(error.strerror or str(error)).lower()}") from error
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def check_unclaimed(path: Path, doing: str) -> None:
    """Raises OutputError if another process holds `path`, see `only_one`."""
    with suppress(OSError):
        handle = os.open(path, os.O_RDWR)
        try:
            refuse_if_locked(handle, doing)
        finally:
            os.close(handle)


def refuse_if_locked(handle: int, doing: str) -> None:
    """Locks an open file; raises OutputError if another process has. Does nothing where the system has no locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.pread(handle, 20, 0).decode(errors="replace").strip() or "of an unknown number"
        raise OutputError(f"process {owner} {doing}") from error
    except OSError:  # some network disks
        return
