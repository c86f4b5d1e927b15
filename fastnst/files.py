"""Writing files so that the target is always whole: the old one, or the new one, never half of either."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastnst.errors import InputError, OutputError

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})


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
