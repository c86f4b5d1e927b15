"""Video files to frames and back: timing, size, rotation, colour and sound live here.

`VideoReader` and `VideoWriter` each work in one background thread, so that decoding, the net and encoding overlap while
the loop between them stays a plain loop.
"""

from __future__ import annotations

import logging
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, groupby, islice
from math import floor
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import av
import numpy as np

from fastnst.errors import ConfigError, EnvironmentFault, InputError, OutputError
from fastnst.files import sync
from fastnst.video.colour import colour_named, from_rgb24, to_rgb24
from fastnst.video.containers import (
    FORMATS,
    add_video_stream,
    check_video_target,
    chosen_encoder,
    decoder_for,
    end_of,
    main_video_stream,
    open_input,
    open_output,
    part_path,
    warn_of_little_space,
)
from fastnst.video.parts import State, begin_anew, forget, forget_kept, give_back, go_on, kept_packets, save_state
from fastnst.video.tracks import CarriedTracks, check_audio, copy_stream_tags, copy_tags

if TYPE_CHECKING:  # `infer.py` opens its input before it pays for the import of torch
    from jaxtyping import UInt8
    from torch import Tensor

log = logging.getLogger(__name__)

Memory = Mapping[str, Any]  # tensors or arrays by name

QUEUED = 2  # batches that wait on each side of the net, if that is
QUEUED_BYTES = 2**26  # no more than this; one batch always may
TICKS = 90_000  # per second at least, of the clock of a constant frame rate: it may start anywhere
SETTLED = 1.0  # seconds of video behind a keyframe by which muxers have let go of it, which they do every 0.2 s
LARGE = 2**20  # bytes of memory of the shot, see `VideoWriter.write`; while larger ones wait, none is taken


@dataclass(frozen=True)
class Frames:
    """Consecutive frames of a video.

    Attributes:
        pixels: RGB, 0-255, on the CPU.
        pts: when each frame is shown, in units of the reader's `time_base`.
        durations: for how long, in the same units; at a constant frame rate whole multiples of the reader's `step`.
        new_size: in the file they have another size than those before: what was remembered of these is of no use.
    """

    pixels: UInt8[Tensor, "time 3 height width"]
    pts: list[int]
    durations: list[int]
    new_size: bool = False


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
        fps: a constant frame rate, see `rate_named`: each frame then lasts for the steps of that rate that it is
            nearest to, and comes once; one that is nearest to none does not come. None keeps each frame's own time.

    Attributes:
        width, height: of the frames as they come out, pixels.
        time_base: the unit of timestamps, seconds.
        step: how long one frame of a constant rate is shown, in that unit; None without `fps`.
        frame_rate: `fps`, or the average, frames per second.
        source_rate: the average of the file.
        frame_count: as the file declares it or as its duration suggests, at `frame_rate`; None if it says neither. For
            progress only.
        damage: what could not be read, a sentence each.

    Raises:
        ConfigError: `background` is no colour, or `fps` no frame rate.
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
    ) -> None:
        colour_named(background)
        constant = None if fps is None else rate_named(fps)
        self.path, self.batch, self.strict, self.background = Path(path), batch, strict, background
        self.damage: list[str] = []
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
            self.step = None
            self._ends_at = 0.0  # end of the last packet so far, seconds
            self._frames = self._timed()
            if constant:
                ticks = -(-TICKS // constant.numerator)
                self.time_base, self.step = Fraction(1, constant.numerator * ticks), constant.denominator * ticks
                self.frame_count = self.frame_count and max(1, round(self.frame_count * constant / self.source_rate))
                self.frame_rate = constant
                self._frames = self._evened(self._frames, self.step)
            first = next(self._frames, None)
            if first is None:
                reason = "no frame of it can be decoded" if self._bad else "it has no frames"
                raise InputError(f"cannot read video '{self.path}': {reason}")
        except BaseException:
            self._container.close()
            raise
        frame = first[0]
        self._sideways = frame.rotation % 180 == 90
        self._decoded_size = frame.width, frame.height
        self._coded_size = scaled_size(frame.width, frame.height, max_side)
        self.width, self.height = self._coded_size[::-1] if self._sideways else self._coded_size
        self._sizes = groupby(chain([first], self._frames), lambda timed: (timed[0].width, timed[0].height))
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

    @property
    def sample_aspect_ratio(self) -> Fraction:
        """Width over height of one pixel as the frames come out; 1 if the file does not say."""
        ratio = self._stream.codec_context.sample_aspect_ratio or Fraction(1)
        return 1 / ratio if self._sideways else ratio

    def _declared_count(self) -> int | None:
        if self._stream.frames:
            return self._stream.frames
        if self._container.duration:
            return max(1, round(self._container.duration / av.time_base * self.source_rate))
        return None

    def _next_batch(self) -> Frames | None:
        import torch

        timed, new_size = list(islice(self._of_one_size, self.batch)), False
        if not timed and (following := next(self._sizes, None)):
            self._of_one_size = following[1]
            timed, new_size = list(islice(self._of_one_size, self.batch)), True
        if not timed:
            return None
        arrays = [self._to_rgb(frame) for frame, _, _ in timed]
        array = np.stack(arrays) if len(arrays) > 1 else np.ascontiguousarray(arrays[0])[None]  # (T, H, W, 3)
        _, pts, durations = zip(*timed, strict=True)
        return Frames(torch.from_numpy(array).permute(0, 3, 1, 2), list(pts), list(durations), new_size)

    def _timed(self) -> Iterator[tuple[av.VideoFrame, int, int]]:
        """Yields each frame with its pts and duration, and judges the damage at the end."""
        usual = max(1, round(1 / (self.source_rate * self._unit)))
        held: tuple[av.VideoFrame, int] | None = None  # one frame back: its duration may only show in the next
        moved = 0  # by how much later than in the file
        for frame in self._decoded():
            pts = frame.pts if frame.pts is not None else frame.dts
            if held is None:
                held = frame, pts or 0
                continue
            before, start = held
            duration = before.duration or usual
            pts = start + duration if pts is None else pts + moved
            if pts <= start:  # joined recordings: encoders want rising times
                self._notice("times jump back: what follows is moved behind what came before")
                moved += start + duration - pts
                pts = start + duration
            yield before, start, before.duration or pts - start
            held = frame, pts
        if held is None:
            return
        frame, start = held
        duration = frame.duration or usual
        if self._bad:  # the frames after this one are lost: it stays until they would have ended
            duration = max(duration, round(self._ends_at / self._unit) + moved - start)
        yield frame, start, duration
        self._judge_end()

    def _evened(
        self, frames: Iterator[tuple[av.VideoFrame, int, int]], step: int
    ) -> Iterator[tuple[av.VideoFrame, int, int]]:
        """Yields the frames at a constant rate, timed in its unit; the first stays where it is.

        Times are rounded to the nearest step, as container formats round them too: a frame that comes a millisecond
        late is not missed. One frame comes in any case.
        """
        held = next(frames, None)
        start, shown = held[1] if held else 0, 0  # where the clock begins, and the steps that are filled
        while held is not None:
            (frame, pts, duration), after = held, next(frames, None)
            end = after[1] if after else pts + duration
            filled = floor((end - start) * self._unit / (step * self.time_base) + Fraction(1, 2))
            filled = filled if after or shown else max(1, filled)
            if filled > shown:
                yield frame, round(start * self._unit / self.time_base) + shown * step, (filled - shown) * step
                shown = filled
            held = after

    def _decoded(self) -> Iterator[av.VideoFrame]:
        for packet in self._packets():
            try:
                frames = self._decoder.decode(packet)
            except av.FFmpegError as error:
                self._lost(packet, error)
                continue
            for frame in cast("list[av.VideoFrame]", frames):
                if frame.is_corrupt:
                    self._lost(packet, None)
                yield frame

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

    def _judge_end(self) -> None:
        """Turns what was met into sentences in `damage`."""
        if self._bad:
            first, last = min(self._bad), max(self._bad)
            self.damage.append(f"damaged in {len(self._bad)} places from {first:.2f} s to {last:.2f} s")
        declared = (self._container.duration or 0) / av.time_base
        start = (self._container.start_time or 0) / av.time_base
        tolerance = max(0.25, 3 / self.source_rate)
        if start + declared - self._ends_at <= tolerance:
            return
        found = self._ends_at
        with open_input(self.path) as container, suppress(av.FFmpegError):
            for packet in container.demux():  # sound may go on for longer than the pictures
                found = max(found, end_of(packet) if packet.size else 0)
        if start + declared - found > tolerance:
            self.damage.append(f"ends at {found - start:.1f} s of {declared:.1f} s")
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
        rgb = to_rgb24(frame, *self._coded_size, self._decoder.color_trc, self._notice, self.background)
        return np.rot90(rgb, frame.rotation // 90)

    def _notice(self, text: str) -> None:
        if text not in self._notices:
            self._notices.add(text)
            log.warning(text)


class VideoWriter:
    """Writes frames to a video file, with the timing, sound and tags of the video they come from.

    The file grows under the name `part` beside `path` and takes its place only after it was closed, reopened and
    checked. An error removes the part, or puts back the one that was gone on from; Ctrl-C, SIGTERM and a lack of memory
    keep it, playable. With `made_of`, what a later run needs is written down when a group of pictures is safe on disk.
    Writing happens in a background thread, so an error may surface one `write` later, or at the end. Times are kept;
    in Matroska and WebM, which know none below zero, all tracks may move by the 0.02 s of silence that AAC sound
    begins with.

    Args:
        path: the ending chooses the container, one of `FORMATS`.
        reader: the video that gives size and timing; its other tracks are copied. At a constant frame rate each frame
            is written as often as it is shown.
        overwrite: replace an existing file.
        codec: an encoder as FFmpeg names it ("libx265", "h264_nvenc", "ffv1"); "auto" is H.264, VP9 in `.webm`.
        gpu: "auto" is h264_nvenc where that starts; where not, libx264, which is said.
        crf: quality, 0 (best) to 51; 18 is hard to tell from lossless.
        preset: the encoder's trade of speed for size; None leaves it to the encoder.
        audio: "copy" carries sound packet by packet, and encodes anew only what the container refuses, which is said;
            "aac" encodes every track anew; "none" leaves sound out.
        made_of: what decides how the frames look, for a later run that is to go on from the part; written beside it,
            with the codec. None: no run can.
        resume: go on from the part of an earlier run, if there is one.

    Attributes:
        width, height: of the frames in the file, pixels: odd ones are padded to even where the codec wants that.
        kept: of how many first frames the pictures are taken from the earlier part, whatever is written for them.
        seen: after how many first frames `memory` was taken.
        memory: the newest that was passed to the earlier run's `write` for no more frames than are kept.

    Raises:
        ConfigError: no container of that name, or the container cannot hold the codec or the sound.
        OutputError: `path` exists, is the input, or cannot be written; the part is made of something else.
        EnvironmentFault: there is no such encoder here.
    """

    def __init__(
        self,
        path: str | Path,
        reader: VideoReader,
        *,
        overwrite: bool = False,
        codec: str = "auto",
        gpu: bool = False,
        crf: int = 18,
        preset: str | int | None = None,
        audio: str = "copy",
        made_of: dict[str, Any] | None = None,
        resume: bool = False,
    ) -> None:
        self.path, self.frames_written = Path(path), 0
        check_video_target(self.path, reader.path, overwrite)
        warn_of_little_space(self.path, reader.path)
        self.part = part_path(self.path)
        self._state = State()  # of the earlier part; then the newest that is written down
        form = FORMATS[self.path.suffix.lower()]
        check_audio(audio, form)
        self._codec = chosen_encoder(reader, form, crf, preset, gpu) if codec == "auto" else codec
        if made_of is not None:
            made_of = {**made_of, "codec": self._codec}  # pictures of two encoders do not play in one file
        self._made_of = made_of
        self._reader = reader
        self._ends_at = 0.0  # when the last frame written ends, seconds
        self._durations: dict[int, int] = {}  # of the frames inside the encoder, by their pts
        self._pending: deque[Future[None]] = deque()
        self._source = open_input(reader.path)  # a second handle, from which the other tracks are copied
        try:
            if resume:
                self._state = go_on(self.part, made_of)
            else:
                begin_anew(self.part, made_of)
            self.kept, self.seen, self.memory = self._state.frames, self._state.seen, self._state.memory
            self._muxed, self._keyframe, self._unsettled = 0, 0, None
            self._waiting: deque[tuple[int, Memory]] = deque()  # memories of frames that are not safe yet
            self._kept_packets = kept_packets(self.part) if self.kept else iter(())
            self._container = open_output(self.part, form)
            try:
                self._stream = add_video_stream(self._container, reader, self._codec, crf, preset)
                self.width, self.height = self._stream.width, self._stream.height
                copy_stream_tags(self._source.streams[reader.stream_index], self._stream)
                self._tracks = CarriedTracks(self._source, reader.stream_index, self._container, audio)
                copy_tags(self._source, self._container)
                self._container.start_encoding()
            except BaseException:
                self._source.close()
                self._discard()
                raise
        except (OSError, ValueError, av.FFmpegError) as error:
            raise self._in_words(error) from error
        if (self.width, self.height) != (reader.width, reader.height):
            size, even = f"{reader.width}x{reader.height}", f"{self.width}x{self.height}"
            log.warning("%s padded to %s, as %s has even sizes only", size, even, self._codec)
        self._executor = ThreadPoolExecutor(1, "video writer")

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        # Ctrl-C, SIGTERM, or no memory for a frame: what is finished is kept
        stopped = kind is not None and (not issubclass(kind, Exception) or issubclass(kind, EnvironmentFault))
        keep = False
        try:
            if kind is None or (stopped and self.frames_written > self.kept):
                self._submit(self._finish, stopped)
                self._drain(0)
                self._check()
                if stopped:
                    log.warning("stopped after %d frames, which play in '%s'", self.frames_written, self.part)
                    if self.kept:
                        forget_kept(self.part)
                else:
                    sync(self.part)
                    self.part.replace(self.path)
                    with suppress(OSError):  # some file systems know no such thing
                        sync(self.path.parent)
                    forget(self.part)
                keep = True
        except OSError as failure:
            raise OutputError(f"cannot write '{self.path}': {failure.strerror}") from failure
        except BaseException as failure:
            keep = not isinstance(failure, Exception)  # stopped while finishing: the part plays up to its last second
            if keep or not stopped:
                raise
        finally:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._source.close()
            if not keep:
                self._discard()

    def write(self, frames: Frames, memory: Memory | None = None) -> None:
        """Queues frames for encoding; waits while the queue is full.

        Args:
            frames: the next frames.
            memory: what a later run has to know of all frames so far to go on after these; tensors that nobody changes.

        Raises:
            OutputError: earlier frames could not be written.
        """
        self._submit(self._encode, frames, memory or {})
        self._drain(queued(frames.pixels.nbytes))

    def _submit(self, work: Callable[..., None], *arguments: object) -> None:
        self._pending.append(self._executor.submit(work, *arguments))

    def _drain(self, allowed: int) -> None:
        """Waits until no more than `allowed` tasks are left; raises what failed in the background."""
        while len(self._pending) > allowed:
            try:
                self._pending.popleft().result()
            except (OSError, av.FFmpegError) as error:
                raise self._in_words(error) from error

    def _encode(self, frames: Frames, memory: Memory) -> None:
        before = max(self.frames_written, self.kept)
        for pixels, start, lasts in zip(frames.pixels, frames.pts, frames.durations, strict=True):
            step, frame = self._reader.step, None
            duration = step or lasts
            for pts in range(start, start + lasts, step) if step else [start]:
                self._durations[pts] = duration
                if self.frames_written < self.kept:
                    packet = next(self._kept_packets)
                    packet.stream, packet.time_base = self._stream, self._reader.time_base
                    packet.pts = packet.dts = pts  # there are no B-frames
                    self._mux([packet])
                else:
                    frame = frame or self._coded(pixels)
                    frame.pts, frame.duration, frame.time_base = pts, duration, self._reader.time_base
                    self._mux(self._stream.encode(frame))
                self._ends_at = float((pts + duration) * self._reader.time_base)
                self._tracks.copy(until=self._ends_at)
                self.frames_written += 1
        group = self._stream.codec_context.gop_size  # one memory for each: with more, the heap is left full of holes
        large = sum(each.nbytes for each in memory.values()) > LARGE
        if self.frames_written // group > before // group and not (large and self._waiting):
            self._waiting.append((self.frames_written, memory))

    def _coded(self, pixels: UInt8[Tensor, "3 height width"]) -> av.VideoFrame:
        """Returns a frame as the encoder takes it: padded, in its pixel format."""
        rgb = pixels.permute(1, 2, 0).contiguous().cpu().numpy()  # (H, W, 3)
        below, right = self.height - rgb.shape[0], self.width - rgb.shape[1]
        if below or right:
            rgb = np.pad(rgb, ((0, below), (0, right), (0, 0)), "edge")
        return from_rgb24(rgb, self._stream.codec_context.pix_fmt or "yuv420p")

    def _mux(self, packets: list[av.Packet]) -> None:
        for packet in packets:
            packet.duration = self._durations.pop(packet.pts or 0, 0)  # encoders forget it
            time = float((packet.pts or 0) * packet.time_base)
            if packet.is_keyframe and self._muxed >= self.kept:  # before that, the earlier part is safer
                self._keyframe = self._muxed
                self._unsettled = self._unsettled or (self._keyframe, time)
            self._container.mux(packet)
            self._muxed += 1
            if self._unsettled is not None and time >= self._unsettled[1] + SETTLED:
                self._settle(self._unsettled[0])

    def _settle(self, frames: int) -> None:
        """Makes the first frames, up to a keyframe, outlast a loss of power, and only then writes that down."""
        self._unsettled = None
        newest = None
        while self._waiting and self._waiting[0][0] <= frames:
            newest = self._waiting.popleft()
        if newest is not None:
            self._state = State(frames, newest[0], {name: each.cpu().numpy() for name, each in newest[1].items()})
        if self._made_of is not None and frames:
            sync(self.part)
            self._state = replace(self._state, frames=frames)
            save_state(self.part, self._made_of, self._state)

    def _finish(self, stopped: bool) -> None:
        self._mux(self._stream.encode(None))
        self._tracks.copy(until=self._ends_at if stopped else float("inf"))
        self._container.close()
        if stopped:
            self._settle(self._keyframe)

    def _check(self) -> None:
        """Reopens the finished file and compares; FFmpeg may fail without saying so."""
        found, ends_at = 0, 0.0
        with open_input(self.part) as container:
            stream = main_video_stream(container, self.part)
            for packet in container.demux(stream):
                if packet.size:
                    found, ends_at = found + 1, end_of(packet)
            tracks = sum(each.type != "data" for each in container.streams)
            holds = f"{found} frames of {stream.width}x{stream.height}"
        should = f"{self.frames_written} frames of {self.width}x{self.height}"
        late = abs(ends_at - self._ends_at) > 0.1  # Matroska may shift all tracks by a little less
        if holds != should or late or tracks < 1 + self._tracks.count:
            raise EnvironmentFault(
                f"'{self.part}' should hold {should} in {self._ends_at:.2f} s and {1 + self._tracks.count} tracks, "
                f"but holds {holds} in {ends_at:.2f} s and {tracks} tracks; please report this"
            )

    def _discard(self) -> None:
        with suppress(OSError, av.FFmpegError, ValueError):
            self._container.close()
        if self.kept:
            give_back(self.part)
        else:
            forget(self.part)

    def _in_words(self, error: Exception) -> Exception:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        if "does not support" in reason:  # PyAV: this codec in this container
            return ConfigError(f"cannot write '{self.path}' with codec={self._codec}: {reason}")
        if "avcodec_open2" in str(error):
            return EnvironmentFault(f"codec={self._codec} does not start on this machine or with these settings")
        return OutputError(f"cannot write '{self.path}': {reason} (after {self.frames_written} frames)")


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
