"""A video file to frames: timing, size, rotation and damage live here.

`VideoReader` decodes in one background thread, so that decoding and the net overlap while the loop stays a plain loop.
"""

from __future__ import annotations

import logging
import re
from bisect import insort
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, groupby, islice
from math import floor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import av
import numpy as np
from av.sidedata.sidedata import Type

from fastnst.errors import ConfigError, InputError
from fastnst.video.colour import BT709, KEPT_CURVES, KEPT_PRIMARIES, Crop, colour_named, side_data, to_rgb24, turn_of
from fastnst.video.opening import crop_of, decoder_for, end_of, main_video_stream, open_input
from fastnst.video.times import At, Rising

if TYPE_CHECKING:  # `infer.py` opens its input before it pays for the import of torch
    from jaxtyping import UInt8
    from torch import Tensor

log = logging.getLogger(__name__)

QUEUED = 2  # batches that wait on each side of the net, if that is
QUEUED_BYTES = 2**26  # no more than this; one batch always may
EARLY = 0.001  # seconds before `start` that a frame may begin: container formats round times
LEAP = 60.0  # seconds that a time may be ahead of the time before and of the end of the file, or it is damaged
TICKS = 90_000  # per second at least, of the clock of a constant frame rate: it may start anywhere
UNTIMED = {"avi"}  # formats that store no presentation times: what FFmpeg gives as such counts packets
FROM_ZERO = {"matroska,webm"}  # formats whose duration may count from time 0 instead of from the first frame


@dataclass(frozen=True)
class Frames:
    """Consecutive frames of a video.

    Attributes:
        pixels: RGB, 0-255, on the CPU.
        pts: when each frame is shown, in units of the reader's `time_base`.
        durations: for how long, in the same units.
        repeats: how often each frame is shown, one time after the other, each for its duration: once, unless a
            constant frame rate makes it more.
        new_size: in the file they have another size than those before: what was remembered of these is of no use.
    """

    pixels: UInt8[Tensor, "time 3 height width"]
    pts: list[int]
    durations: list[int]
    repeats: list[int]
    new_size: bool = False


class Timed(NamedTuple):
    """A decoded frame; the other fields are those of `Frames`."""

    frame: av.VideoFrame
    pts: int
    duration: int
    repeats: int = 1


class Cut(NamedTuple):
    """The part of a video that is read; times are seconds, as in the file.

    Attributes:
        start: of the first frame that is read.
        shift: by how much earlier all times come out, so that the part begins when the whole did.
        end: where the part ends at the latest.
    """

    start: Fraction
    shift: Fraction
    end: float = float("inf")


class VideoReader:
    """Yields the frames of a video file, upright and in 8-bit RGB, in batches, decoded ahead by a background thread.

    Unreadable packets are skipped; what was lost is in `damage` after the last frame. Untagged colours are BT.709 from
    720 lines on and BT.601 below.

    Args:
        path: a file; playlists and addresses are refused.
        batch: frames per `Frames`; the last one may have fewer.
        max_side: the frames are made smaller, in proportion and to even sizes, if their longer side exceeds this
            (pixels). None keeps the size.
        strict: raise at the first damage, or change of the frame size, instead of going on.
        background: what transparent frames are laid on: a colour's name, or "#rrggbb".
        fps: a constant frame rate, see `rate_named`. A frame that is on screen for several steps of that rate comes
            once, with the number of steps in `Frames.repeats`; a frame that is on screen for none is left out. None
            keeps each frame's own time.
        start: leave out the frames before, seconds from where the file begins; what is read begins at that time.
        end: leave out the frames from there on, seconds.

    Attributes:
        cut: what part of the file is read; None: all of it.
        width, height: of the frames as they come out, pixels.
        time_base: the unit of timestamps, seconds.
        frame_rate: `fps`, or the average, frames per second.
        source_rate: the average of the file.
        frame_count: as the file declares it or as its duration suggests, at `frame_rate`; None if it says neither. For
            progress only.
        sample_aspect_ratio: width over height of one pixel as the frames come out; 1 if the file does not say.
        stereo: how the pictures for both eyes lie in a frame, as Matroska names it ("left_right"); None if they do not.
        primaries, curve: what the colours of the frames mean, as FFmpeg numbers primaries and transfer curves.
        damage: what could not be read, a sentence each.
        pinned: whether frames wait in memory from which a GPU fetches them by itself; may be set before they are read.

    Raises:
        ConfigError: `background` is no colour, or `fps` no frame rate; or there are no frames from `start` to `end`.
        InputError: there is no readable video in the file; while iterating, if `strict`: it is damaged.
    """

    def __init__(
        self,
        path: str | Path,
        batch: int = 1,
        max_side: int | None = None,
        strict: bool = False,
        background: str = "white",
        fps: str | float | Fraction | None = None,
        start: float = 0.0,
        end: float = float("inf"),
    ) -> None:
        colour_named(background)
        constant = None if fps is None else rate_named(fps)
        self.path, self.batch, self.strict, self.background = Path(path), batch, strict, background
        self.damage: list[str] = []
        self.pinned = False
        self._notices: set[str] = set()
        self._bad: list[float] = []  # times of unreadable packets, seconds
        self._container = open_input(self.path)
        try:
            self._stream = main_video_stream(self._container, self.path)
            self.stream_index = self._stream.index
            self._decoder = decoder_for(self._stream)
            self._unit = self.time_base = cast(Fraction, self._stream.time_base)
            self.source_rate = self.frame_rate = self._stream.average_rate or self._stream.guessed_rate or Fraction(25)
            self.frame_count = self._declared_count()
            self._leapt = 0  # how far times were moved back that were too far ahead, in the stream's unit
            self._ends_at = 0.0  # end of the last packet so far, seconds
            self._frames = self._timed()
            self.cut: Cut | None = None
            if start > 0 or end < float("inf"):
                self._frames = self._part(start, end)
            if constant:
                ticks = -(-TICKS // constant.numerator)
                self.time_base = Fraction(1, constant.numerator * ticks)
                self.frame_count = self.frame_count and max(1, round(self.frame_count * constant / self.source_rate))
                self.frame_rate = constant
                self._frames = self._evened(self._frames, constant.denominator * ticks)
            first = next(self._frames, None)
            if first is None and (start > 0 or end < float("inf")):
                reason = f"there is no frame from {start:g} s to {end:g} s"
                raise ConfigError(f"'{self.path}': {reason}; it has {self._ends_at - float(self._origin()):.2f} s")
            if first is None:
                reason = "no frame of it can be decoded" if self._bad else "it has no frames"
                raise InputError(f"cannot read video '{self.path}': {reason}")
        except BaseException:
            self._container.close()
            raise
        self._shape_as(first.frame, max_side)
        self._sizes = groupby(chain([first], self._frames), lambda timed: (timed.frame.width, timed.frame.height))
        self._of_one_size = next(self._sizes)[1]
        self._executor = ThreadPoolExecutor(1, "video reader")

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stops decoding and closes the file."""
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._container.close()

    def __iter__(self) -> Iterator[Frames]:
        ahead: deque[Future[Frames | None]] = deque()
        while True:
            while len(ahead) <= queued(3 * self.batch * self.width * self.height):
                ahead.append(self._executor.submit(self._next_batch))
            if (frames := ahead.popleft().result()) is None:
                return
            yield frames
            del frames

    def _shape_as(self, frame: av.VideoFrame, max_side: int | None) -> None:
        """Sets what all frames have in common, by the first of them."""
        self._decoded_size, self._turn = (frame.width, frame.height), turn_of(frame)
        left, right, top, bottom = self._crop = crop_of(self._container, self._stream)
        upright = self._turn.size(frame.width - left - right, frame.height - top - bottom)
        self.width, self.height = scaled_size(*upright, max_side)
        ratio = self._stream.sample_aspect_ratio or Fraction(1)  # of the container, or else of the stream
        self.sample_aspect_ratio = 1 / ratio if self._turn.transposed else ratio
        self.stereo = stereo_of(frame)
        if side_data(frame, Type.SPHERICAL) is not None:
            self._notice("the video is spherical (360 degrees); the output does not say so")
        self.primaries = frame.color_primaries if frame.color_primaries in KEPT_PRIMARIES else BT709
        self.curve = frame.color_trc if frame.color_trc in KEPT_CURVES else BT709

    def _declared_count(self) -> int | None:
        if self._stream.frames:
            return self._stream.frames
        start, end = self._declared_span()
        return max(1, round((end - start) * self.source_rate)) if end > start else None

    def _declared_span(self) -> tuple[float, float]:
        """Returns when the file says that it starts and ends, seconds; twice the same if it says nothing."""
        start, duration = (
            (time or 0) / av.time_base for time in (self._container.start_time, self._container.duration)
        )
        from_zero = self._container.format.name in FROM_ZERO and 0 < start < duration
        return start, duration if from_zero else start + duration

    def _next_batch(self) -> Frames | None:
        import torch

        timed, new_size = list(islice(self._of_one_size, self.batch)), False
        if not timed and (following := next(self._sizes, None)):
            self._of_one_size = following[1]
            timed, new_size = list(islice(self._of_one_size, self.batch)), True
        if not timed:
            return None
        arrays = [self._to_rgb(each.frame) for each in timed]
        array = np.stack(arrays) if len(arrays) > 1 else np.ascontiguousarray(arrays[0])[None]  # (T, H, W, 3)
        _, pts, durations, repeats = map(list, zip(*timed, strict=True))
        pixels = torch.from_numpy(array).permute(0, 3, 1, 2)
        return Frames(pixels.pin_memory() if self.pinned else pixels, pts, durations, repeats, new_size)

    def _origin(self) -> Fraction:
        """Returns when the file begins, seconds."""
        return Fraction(self._container.start_time or 0, av.time_base)

    def _part(self, start: float, end: float) -> Iterator[Timed]:
        """Yields the frames that begin from `start` on and before `end`, moved to where the file begins."""
        origin = self._origin()
        first, after = ((float(origin) + each - EARLY) / self._unit for each in (start, end))
        if self.frame_count:
            seconds = max(0.0, min(end, self.frame_count / float(self.source_rate)) - start)
            self.frame_count = max(1, round(seconds * self.source_rate))
        for timed in self._from(first) if start > 0 else self._timed():
            if timed.pts < first:
                continue
            if timed.pts >= after:
                self._judge_damage()
                return
            if self.cut is None:
                shift = timed.pts * self._unit - origin if start > 0 else Fraction(0)
                self.cut = Cut(timed.pts * self._unit, shift, float(origin) + end)
            left = (float(origin) + end) / self._unit - timed.pts
            duration = max(1, round(min(timed.duration, left)))
            yield timed._replace(pts=timed.pts - round(self.cut.shift / self._unit), duration=duration)

    def _from(self, first: float) -> Iterator[Timed]:
        """Yields the frames from a keyframe before `first` on, in the stream's unit; from the beginning if need be."""
        self._seek(int(first))
        frames = self._timed()
        earliest = next(frames, None)
        if earliest is None or earliest.pts > first:  # not all formats find the keyframe before
            self._bad.clear()
            self._seek(self._stream.start_time or 0)
            frames = self._timed()
            earliest = next(frames, None)
        return iter(()) if earliest is None else chain([earliest], frames)

    def _seek(self, time: int) -> None:
        with suppress(av.FFmpegError, ValueError):  # what cannot be moved in is read from where it stands
            self._container.seek(time, stream=self._stream)
            self._decoder.flush_buffers()

    def _timed(self) -> Iterator[Timed]:
        """Yields each frame with its pts and duration, and judges the damage at the end."""
        usual = max(1, round(1 / (self.source_rate * self._unit)))
        rising = Rising()
        for frame, start, duration, until in self._rising(rising, usual):
            if until is not None:
                yield Timed(frame, start, frame.duration or until - start)
                continue
            if self._bad:  # the frames after this one are lost: it stays until they would have ended
                duration = max(duration, round(self._ends_at / self._unit) - self._leapt + rising.moved - start)
            yield Timed(frame, start, duration)
            self._judge_end()

    def _rising(self, rising: Rising, usual: int) -> Iterator[At]:
        """Yields the frames with times that rise."""
        expected = None
        for frame, pts in self._decoded():
            duration = frame.duration or usual
            pts = (expected or 0) if pts is None else pts - self._leapt
            if expected is not None and self._leaps(pts, expected):
                self._leapt, pts = self._leapt + pts - expected, expected
            expected = pts + duration
            yield from rising.add(frame, pts, duration)
            if rising.moved:
                self._notice("times jump back: what follows is moved behind what came before")
            if rising.misplaced:
                self._notice("some frames have the wrong time: each is shown between its neighbours")
        yield from rising.rest()

    def _leaps(self, pts: int, expected: int) -> bool:
        """Returns whether a time is damaged: far ahead of what was expected, and of the end that the file declares."""
        start, end = self._declared_span()
        time, ahead = float(pts * self._unit), float((pts - expected) * self._unit)
        if end <= start or ahead < LEAP or time < end + LEAP:
            return False
        if self.strict:
            raise InputError(f"'{self.path}': a time jumps {ahead:.0f} s ahead; strict=false goes on")
        self._bad.append(float(expected * self._unit))
        self._notice(f"a time jumps {ahead:.0f} s ahead, behind the end of the file: what follows is moved back")
        return True

    def _evened(self, frames: Iterator[Timed], step: int) -> Iterator[Timed]:
        """Yields the frames at a constant rate, shown for `step` of its unit; the first stays where it is.

        Times are rounded to the nearest step, as container formats round them too: a frame that comes a millisecond
        late is not missed. One frame comes in any case.
        """
        held = next(frames, None)
        start, shown = held.pts if held else 0, 0  # where the clock begins, and the steps that are filled
        while held is not None:
            after = next(frames, None)
            end = after.pts if after else held.pts + held.duration
            filled = floor((end - start) * self._unit / (step * self.time_base) + Fraction(1, 2))
            filled = filled if after or shown else max(1, filled)
            if filled > shown:
                pts = round(start * self._unit / self.time_base) + shown * step
                yield Timed(held.frame, pts, step, filled - shown)
                shown = filled
            held = after

    def _decoded(self) -> Iterator[tuple[av.VideoFrame, int | None]]:
        """Yields each frame with its time; where the format stores none, packets' times in their order are those."""
        untimed, times = self._container.format.name in UNTIMED, []
        for packet in self._packets():
            if untimed and packet is not None and packet.dts is not None:
                insort(times, packet.dts)
            try:
                frames = self._decoder.decode(packet)
            except av.FFmpegError as error:
                self._lost(packet, error)
                if packet is not None and packet.dts in times:
                    times.remove(packet.dts)
                continue
            for frame in cast("list[av.VideoFrame]", frames):
                if frame.is_corrupt:
                    self._lost(packet, None)
                in_order = times.pop(0) if times else None
                yield frame, in_order if untimed else frame.pts if frame.pts is not None else frame.dts

    def _packets(self) -> Iterator[av.Packet | None]:
        """Yields the packets of the video stream, and None at the end; reads on after errors."""
        errors = 0
        while errors < 100:
            try:
                for packet in self._container.demux(self._stream):
                    if packet.size:  # an empty one is PyAV's mark of the end
                        self._ends_at = max(self._ends_at, end_of(packet))
                        yield packet
                break
            except av.FFmpegError as error:
                errors += 1
                if errors == 1:
                    self._lost(None, error)
        yield None

    def _lost(self, packet: av.Packet | None, error: av.FFmpegError | None) -> None:
        """Notes damage at the time of `packet`, or where reading stands."""
        time = self._ends_at
        if packet is not None and packet.pts is not None:
            time = float(packet.pts * self._unit)
        if self.strict:
            raise InputError(f"'{self.path}' is damaged at {time:.2f} s; strict=false goes on") from error
        self._bad.append(time)

    def _judge_damage(self) -> None:
        """Turns the packets that could not be read into a sentence in `damage`."""
        if self._bad:
            first, last = min(self._bad), max(self._bad)
            self.damage.append(f"damaged in {len(self._bad)} places from {first:.2f} s to {last:.2f} s")

    def _judge_end(self) -> None:
        """Turns what was met up to the end of the file into sentences in `damage`."""
        self._judge_damage()
        start, end = self._declared_span()
        tolerance = max(0.25, 3 / self.source_rate)
        if end - self._ends_at <= tolerance:
            return
        found = self._ends_at
        with open_input(self.path) as container, suppress(av.FFmpegError):
            for packet in container.demux():  # sound may go on for longer than the pictures
                found = max(found, end_of(packet) if packet.size else 0)
        if end - found > tolerance:
            self.damage.append(f"ends at {found - start:.1f} s of {end - start:.1f} s")
            if self.strict:
                raise InputError(f"'{self.path}' {self.damage[-1]}; strict=false goes on")

    def _to_rgb(self, frame: av.VideoFrame) -> np.ndarray:
        """Returns the frame as (height, width, 3) uint8, scaled and upright."""
        if (frame.width, frame.height) != self._decoded_size:
            if self.strict:
                raise InputError(
                    f"'{self.path}' changes its frame size to {frame.width}x{frame.height}; try strict=false"
                )
            self._notice(f"the frame size changes to {frame.width}x{frame.height}; resized to the first size")
        if frame.interlaced_frame:
            self._notice("interlaced video: the fields are stylized as they are, not deinterlaced")
        if turn_of(frame) != self._turn:
            if self.strict:
                raise InputError(f"'{self.path}' changes its orientation; try strict=false")
            self._notice("the orientation changes on the way; all frames are turned like the first")
        size = self.width, self.height
        same = (frame.width, frame.height) == self._decoded_size
        return to_rgb24(frame, size, self._turn, self._crop if same else Crop(), self._notice, self.background)

    def _notice(self, text: str) -> None:
        if text not in self._notices:
            self._notices.add(text)
            log.warning(text)


def rate_named(fps: str | float | Fraction) -> Fraction:
    """Returns the frame rate that `fps` stands for, from 1/10 to 1000: a number, or a fraction.

    Raises:
        ConfigError: it stands for none.

    >>> rate_named(25), rate_named("29.97"), rate_named("30000/1001")
    (Fraction(25, 1), Fraction(2997, 100), Fraction(30000, 1001))
    """
    text = str(fps)
    if re.fullmatch(r"\d{1,7}(\.\d{1,9})?|\d{1,7}/0*[1-9]\d{0,3}", text):
        rate = Fraction(text).limit_denominator(1001)
        if Fraction(1, 10) <= rate <= 1000:
            return rate
    raise ConfigError(f"fps={text} should be frames per second from 0.1 to 1000, such as 25, 29.97 or 30000/1001")


def stereo_of(frame: av.VideoFrame) -> str | None:
    """Returns how the pictures for both eyes lie in a frame, as Matroska names it; None if the file does not say."""
    stereo = side_data(frame, Type.STEREO3D)
    names = {(1, 0): "left_right", (1, 1): "right_left", (2, 0): "top_bottom", (2, 1): "bottom_top"}
    return None if stereo is None else names.get((int(stereo[0]), int(stereo[1]) & 1))


def time_named(text: str) -> float:
    """Returns the seconds that a time stands for: seconds, or hours, minutes and seconds with colons between.

    Raises:
        ConfigError: it stands for none.

    >>> time_named("12.5"), time_named("90s"), time_named("1:02.5"), time_named("1:00:02")
    (12.5, 90.0, 62.5, 3602.0)
    """
    found = re.fullmatch(r"(?:(?:(\d{1,4}):)?(\d{1,4}):)?(\d{1,7}(?:\.\d{1,6})?)s?", text)
    if not found:
        raise ConfigError(f"'{text}' is no time; write seconds, 12.5, or a timestamp, 00:12.5 or 1:02:03")
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return 3600 * hours + 60 * minutes + seconds


def queued(size: int) -> int:
    """Returns how many batches of `size` bytes wait on each side of the net.

    >>> [queued(3 * width * width * 9 // 16) for width in (1920, 3840, 7680)]
    [2, 2, 1]
    """
    return max(1, min(QUEUED, QUEUED_BYTES // size))


def scaled_size(width: int, height: int, max_side: int | None) -> tuple[int, int]:
    """Returns width and height so that the longer is at most `max_side`, both even unless nothing changes.

    >>> scaled_size(1280, 720, 640), scaled_size(321, 181, 640), scaled_size(1080, 1920, 1000)
    ((640, 360), (321, 181), (562, 1000))
    """
    if max_side is None or max(width, height) <= max_side:
        return width, height
    scale = max_side / max(width, height)
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)
