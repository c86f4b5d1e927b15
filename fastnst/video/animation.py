"""Pictures that move: animated WebP read as a video, and frames written as GIF, APNG or WebP."""

from __future__ import annotations

import io
import logging
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream
from PIL import Image

from fastnst.errors import ConfigError, EnvironmentFault, InputError, OutputError
from fastnst.files import check_target, picture_format, replaced

if TYPE_CHECKING:
    from fastnst.video.reader import Frames, VideoReader

log = logging.getLogger(__name__)

ANIMATIONS = {".gif": "GIF", ".apng": "PNG", ".png": "PNG", ".webp": "WEBP"}  # that we write
MOVIE = {"movflags": "empty_moov+default_base_moof+frag_every_frame"}  # can be read while it is written
CLOCK = {"GIF": 100, "PNG": 1000, "WEBP": 1000}  # per second, of each format's clock
SHORTEST = 2  # ticks of a GIF frame; browsers show shorter ones for 0.1 s
LONGEST = {"GIF": 2**16 - 1, "PNG": (2**16 - 1) * 1000, "WEBP": 2**24 - 1}  # ticks that a frame can last
WEBP_QUALITY = 90  # of WebP
FOREVER = 0


class WebPStream:
    """An animated WebP as a QuickTime movie that is made as it is read, without loss: FFmpeg has no reader for it."""

    def __init__(self, path: Path, max_pixels: int) -> None:
        try:
            self._image = Image.open(path, formats=("WEBP",))
        except Exception as error:
            raise InputError(f"cannot read video '{path}': damaged WebP") from error
        width, height = self._image.size
        if width * height > max_pixels:
            self._image.close()
            raise InputError(
                f"cannot read video '{path}': {width}x{height} is over {max_pixels // 10**6} million pixels"
            )
        self._written = io.BytesIO()
        self._movie: OutputContainer = av.open(self._written, "w", format="mov", options=MOVIE)
        self._track: VideoStream = self._movie.add_stream("qtrle", rate=1000)
        self._track.width, self._track.height, self._track.pix_fmt = width, height, "argb"
        self._track.time_base = self._track.codec_context.time_base = Fraction(1, 1000)
        self._left = self._made()

    def read(self, size: int) -> bytes:
        """Returns the next bytes of the movie; fewer than `size` at its end."""
        while self._written.tell() < size and next(self._left, None) is not None:
            pass
        made = self._written.getvalue()
        self._written.seek(0)
        self._written.truncate()
        self._written.write(made[size:])
        return made[:size]

    def _made(self) -> Iterator[int]:
        start = 0
        for number in range(getattr(self._image, "n_frames", 1)):
            try:
                self._image.seek(number)
                pixels = np.asarray(self._image.convert("RGBA"))
            except Exception:  # damaged: what came before is shown
                log.warning("the WebP is damaged after %d frames", number)
                break
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels[..., [3, 0, 1, 2]]), "argb")
            frame.pts, frame.time_base = start, Fraction(1, 1000)
            lasts = max(1, int(self._image.info.get("duration", 0)) or 100)
            for packet in self._track.encode(frame):
                packet.duration = lasts
                self._movie.mux(packet)
            start += lasts
            yield number
        self._movie.close()
        self._image.close()
        yield -1


def loops_of(path: Path) -> int:
    """Returns how often an animation is played; 0 stands for ever, which is also what any other video gets."""
    form, moves = picture_format(path)
    if not moves:
        return FOREVER
    try:
        with Image.open(path, formats=(form,)) as image:
            loops = image.info.get("loop")
    except Exception:  # damaged in a way that FFmpeg may not mind
        return FOREVER
    if form == "GIF":  # says how often it is shown again
        return 1 if loops is None else loops + 1 if loops else FOREVER
    return FOREVER if loops is None else int(loops)


def check_animation_target(path: Path, source: Path, overwrite: bool) -> None:
    """Raises ConfigError or OutputError if an animation made from `source` cannot be written to `path`."""
    if path.suffix.lower() == ".png" and not picture_format(source)[1]:
        raise ConfigError(f"'{path}' is called like a picture, but '{source}' is a video; .apng, .gif and .webp move")
    check_target(path, source, overwrite)


class AnimationWriter:
    """Writes frames as GIF, APNG or WebP, each whole and one at a time, with the timing of the video they come from.

    The file appears under its name only when it is whole. Sound and other tracks have no place in it. GIF has 256
    colours a frame, and shows no more than 50 frames a second, the others 1000: those in between are left out, with a
    warning.

    Args:
        path: the ending chooses the format, one of `ANIMATIONS`.
        reader: the video that gives size and timing.
        overwrite: replace an existing file.

    Attributes:
        width, height: of the frames, pixels.
        frames_written: how many were written.
        kept, seen, memory: nothing of an earlier run, as `VideoWriter` may have it.

    Raises:
        OutputError: `path` exists, is the input, or cannot be written.
    """

    def __init__(self, path: str | Path, reader: VideoReader, overwrite: bool = False) -> None:
        self.path, self._reader = Path(path), reader
        check_animation_target(self.path, reader.path, overwrite)
        self.kept, self.seen, self.memory = 0, 0, {}
        self.form = ANIMATIONS[self.path.suffix.lower()]
        self.width, self.height, self.frames_written = reader.width, reader.height, 0
        largest = 16383 if self.form == "WEBP" else 65535
        if max(self.width, self.height) > largest:
            size = f"{self.width}x{self.height}"
            raise OutputError(f"cannot write '{self.path}': {size} is over {largest} pixels a side; try max_side=1920")
        self._ticks, self._numbers, self._left_out = CLOCK[self.form], 0, 0
        self._starts_at: int | None = None  # the first frame's time, in the reader's unit
        self._clock = 0  # where the last frame written ends, ticks
        with ExitStack() as stack:
            self._part = stack.enter_context(replaced(self.path))
            self._file = stack.enter_context(open(self._part, "wb"))
            self._close = stack.pop_all()
        self._loops = loops_of(reader.path)
        self._begin()

    def __enter__(self) -> AnimationWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            try:
                self._finish()
            except BaseException as failure:
                self._close.__exit__(type(failure), failure, failure.__traceback__)
                raise
        self._close.__exit__(kind, error, trace)
        if kind is None and self._left_out:
            most = self._ticks // (SHORTEST if self.form == "GIF" else 1)
            log.warning("%s shows %d frames a second at most: %d left out", self.path.suffix, most, self._left_out)

    def write(self, frames: Frames, memory: Mapping[str, Any] | None = None) -> None:
        """Writes frames; `memory` is not used, as no later run goes on from an animation."""
        timed = zip(frames.pixels, frames.pts, frames.durations, frames.repeats, strict=True)
        for pixels, pts, lasts, repeats in timed:
            picture = Image.fromarray(pixels.permute(1, 2, 0).contiguous().cpu().numpy())
            if self._starts_at is None:
                self._starts_at = pts
            for end in range(pts + lasts, pts + lasts * repeats + 1, lasts):
                self._show(picture, round((end - self._starts_at) * self._reader.time_base * self._ticks))

    def _show(self, picture: Image.Image, until: int) -> None:
        """Writes a frame that is shown until a time, in ticks since the start."""
        shortest = SHORTEST if self.form == "GIF" else 1
        if until - self._clock < shortest and self.frames_written:
            self._left_out += 1
            return
        lasts = min(max(shortest, until - self._clock), LONGEST[self.form])
        self._clock = max(until, self._clock + shortest)
        {"GIF": self._gif_frame, "PNG": self._png_frame, "WEBP": self._webp_frame}[self.form](picture, lasts)
        self.frames_written += 1

    def _begin(self) -> None:
        """Writes what comes before the first frame."""
        if self.form == "GIF":
            self._file.write(b"GIF89a" + struct.pack("<HHBBB", self.width, self.height, 0x70, 0, 0))
            if self._loops != 1:
                again = min(self._loops - 1, 65535) if self._loops else FOREVER
                self._file.write(b"!\xff\x0bNETSCAPE2.0\3\1" + struct.pack("<H", again) + b"\0")
        elif self.form == "PNG":
            self._file.write(b"\x89PNG\r\n\x1a\n")
            self._png_chunk(b"IHDR", struct.pack(">IIBBBBB", self.width, self.height, 8, 2, 0, 0, 0))
            self._png_chunk(b"acTL", struct.pack(">II", 0, self._loops))
        else:
            moves, size = 2, uint24(self.width - 1) + uint24(self.height - 1)
            self._file.write(b"RIFF\0\0\0\0WEBPVP8X" + struct.pack("<IB3x", 10, moves) + size)
            self._file.write(b"ANIM" + struct.pack("<IIH", 6, 0xFFFFFFFF, min(self._loops, 65535)))

    def _finish(self) -> None:
        """Writes what comes after the last frame, and what is only known now."""
        if self.form == "GIF":
            self._file.write(b";")
        elif self.form == "PNG":
            self._png_chunk(b"IEND", b"")
            self._file.seek(8 + 25)  # behind the signature and IHDR
            self._png_chunk(b"acTL", struct.pack(">II", self.frames_written, self._loops))
        else:
            length = self._file.tell() - 8
            self._file.seek(4)
            self._file.write(struct.pack("<I", length))
        self._file.flush()
        if self.frames_written > 1 and not picture_format(self._part)[1]:
            raise EnvironmentFault(f"'{self.path}' was not written whole; please report this")

    def _gif_frame(self, picture: Image.Image, lasts: int) -> None:
        alone = encoded(picture.quantize(256), "GIF", interlace=0)
        colours = 3 << (alone[10] & 7) + 1
        at = 13 + colours
        while alone[at] != ord(","):  # extensions
            at += 2
            while alone[at]:
                at += 1 + alone[at]
            at += 1
        self._file.write(b"!\xf9\4\0" + struct.pack("<H", lasts) + b"\0\0")
        self._file.write(alone[at : at + 9] + bytes([0x80 | alone[10] & 7]) + alone[13 : 13 + colours])
        self._file.write(alone[at + 10 : -1])

    def _png_frame(self, picture: Image.Image, lasts: int) -> None:
        shown = (lasts, self._ticks) if lasts < 2**16 else (round(lasts / self._ticks), 1)  # so many, so many a second
        place = struct.pack(">IIIIHHBB", self.width, self.height, 0, 0, *shown, 0, 0)
        self._png_chunk(b"fcTL", self._number() + place)
        alone, at = encoded(picture, "PNG", compress_level=4), 8
        while at < len(alone):
            length, name = struct.unpack_from(">I4s", alone, at)
            content = alone[at + 8 : at + 8 + length]
            if name == b"IDAT" and self.frames_written == 0:
                self._png_chunk(b"IDAT", content)
            elif name == b"IDAT":
                self._png_chunk(b"fdAT", self._number() + content)
            at += 12 + length

    def _webp_frame(self, picture: Image.Image, lasts: int) -> None:
        content = encoded(picture, "WEBP", quality=WEBP_QUALITY)[12:]
        place = uint24(0) + uint24(0) + uint24(self.width - 1) + uint24(self.height - 1) + uint24(lasts) + b"\2"
        self._file.write(b"ANMF" + struct.pack("<I", len(place + content)) + place + content)

    def _png_chunk(self, name: bytes, content: bytes) -> None:
        self._file.write(struct.pack(">I", len(content)) + name + content)
        self._file.write(struct.pack(">I", zlib.crc32(name + content)))

    def _number(self) -> bytes:
        """Returns the next number of a chunk that belongs to the animation."""
        self._numbers += 1
        return struct.pack(">I", self._numbers - 1)


def encoded(picture: Image.Image, form: str, **options: Any) -> bytes:
    """Returns a picture as the content of a file."""
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def uint24(number: int) -> bytes:
    """Returns a number as WebP holds it, in three bytes."""
    return number.to_bytes(3, "little")
