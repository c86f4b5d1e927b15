"""Frames to a video file, with the timing, the sound and the tags of the video that they come from.

`VideoWriter` encodes in one background thread, so that the net and encoding overlap while the loop stays a plain loop.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from av.video.frame import PictureType

from fastnst.errors import ConfigError, EnvironmentFault, OutputError
from fastnst.files import check_target, only_one, sync
from fastnst.video.colour import from_rgb24
from fastnst.video.encoders import (
    CONTAINERS,
    add_video_stream,
    check_video_target,
    chosen_encoder,
    chosen_preset,
    group_at,
    open_output,
    warn_of_little_space,
    writing,
)
from fastnst.video.opening import end_of, main_video_stream, open_input
from fastnst.video.parts import (
    State,
    claim_path,
    forget,
    forget_kept,
    give_back,
    kept_packets,
    part_path,
    resume_from,
    save_state,
    start_over,
)
from fastnst.video.reader import Frames, VideoReader, queued
from fastnst.video.tracks import CarriedTracks, check_audio, copy_stream_tags, copy_tags, lost_tags, need_keys

if TYPE_CHECKING:
    from jaxtyping import UInt8
    from torch import Tensor

log = logging.getLogger(__name__)

SHIFTED = 0.3  # seconds by which Matroska may shift all tracks: what AAC sound of 8 kHz begins with is 0.13 s
Memory = Mapping[str, Any]  # tensors or arrays by name

SETTLED = 0.5  # seconds of video behind a keyframe by which muxers have let go of it, which they do every 0.2 s
LARGE = 2**20  # bytes of memory of the shot, see `VideoWriter.write`; while larger ones wait, none is taken


class VideoWriter:
    """Writes frames to a video file, with the timing, sound and tags of the video they come from.

    The file grows under the name `part` beside `path`. It takes its place only after it was closed, opened again and
    checked. An error removes the part, or puts back the part that the render was resumed from. Ctrl-C, SIGTERM, SIGHUP
    and a lack of memory keep it, and it plays. A second process that would write the same `path` is refused.

    With `made_of`, a file beside the part says what it is made of, and how many of its frames are safe on disk. The
    first ones are after half a second of video.

    Writing happens in a background thread, so an error may show one `write` later, or at the end. Times are kept.
    Matroska and WebM have no times below zero: there all tracks may move by the 0.02 s of silence that AAC sound begins
    with.

    Args:
        path: the ending chooses the container, one of `CONTAINERS`.
        reader: the video that gives size and timing; its other tracks are copied. At a constant frame rate each frame
            is written as often as it is shown.
        overwrite: replace an existing file.
        codec: an encoder as FFmpeg names it ("libx265", "h264_nvenc", "ffv1"); "auto" is H.264, VP9 in `.webm`.
        gpu: "auto" is h264_nvenc where that starts; where not, libx264, with a warning.
        crf: quality, 0 (best) to 51; 18 is hard to tell from lossless.
        preset: the encoder's trade of speed for size; None: veryfast for libx264, else it is left to the encoder.
        audio: "copy" carries sound packet by packet, and encodes only what the container refuses, with a warning;
            "aac" encodes every track; "none" leaves sound out.
        made_of: what decides how the frames look: a later run resumes from the part only if it has the same. None: no
            run can resume from it.
        resume: keep the frames of an earlier run's part, if there is one, and encode only those after them. With a
            codec that loses something, such as H.264, the pixels after the seam differ a little from those of a render
            that was not interrupted, because the encoder starts there without a past.

    Attributes:
        width, height: of the frames in the file, pixels: odd ones are padded to even where the codec wants that.
        kept: of how many first frames the pictures are taken from the earlier part, whatever is written for them.
        seen: after how many first frames `memory` was taken.
        memory: the newest that was passed to the earlier run's `write` for no more frames than are kept.

    Raises:
        ConfigError: no container of that name, or the container cannot hold the codec or the sound.
        OutputError: `path` exists, is the input, or cannot be written; another process is writing it; the part is made
            of something else.
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
        form = CONTAINERS[self.path.suffix.lower()]
        check_audio(audio, form)
        self._codec = chosen_encoder(reader, form, crf, preset, gpu) if codec == "auto" else codec
        preset = chosen_preset(self._codec, preset)
        if made_of is not None:
            # pictures of two encoders, or of one that was asked for something else, do not play in one file
            made_of = {**made_of, "codec": self._codec, "preset": preset}
        self._made_of = made_of
        self._reader = reader
        self._ends_at = 0.0  # when the last frame written ends, seconds
        self._durations: dict[int, int] = {}  # of the frames inside the encoder, by their pts
        self._pending: deque[Future[None]] = deque()
        self._group = self._remembered = 0  # groups of pictures: of the last frame; before which memory was taken
        self._starts_at: int | None = None  # when the first frame is shown, in the reader's unit
        self._muxed, self._keyframe = 0, 0
        self._unsettled: deque[tuple[int, float]] = deque()  # frames before keyframes, and the times of these
        self._waiting: deque[tuple[int, Memory]] = deque()  # memories of frames that are not safe yet
        with ExitStack() as opened:
            opened.enter_context(only_one(claim_path(self.part), writing(self.path)))
            check_target(self.path, reader.path, overwrite)  # it may have appeared since
            self._source = opened.enter_context(open_input(reader.path))  # again: the other tracks are copied from it
            self._tags = dict(self._source.metadata)
            try:
                self._state = resume_from(self.part, made_of) if resume else start_over(self.part, made_of)
                self.kept, self.seen, self.memory = self._state.frames, self._state.seen, self._state.memory
                self._kept_packets = kept_packets(self.part) if self.kept else iter(())
                self._open(form, crf, preset, audio)
            except (OSError, ValueError, av.FFmpegError) as error:
                raise self._in_words(error) from error
            self._opened = opened.pop_all()
        if (self.width, self.height) != (reader.width, reader.height):
            size, even = f"{reader.width}x{reader.height}", f"{self.width}x{self.height}"
            log.warning("%s padded to %s, as %s has even sizes only", size, even, self._codec)
        self._executor = ThreadPoolExecutor(1, "video writer")

    def _open(self, form: str, crf: int, preset: str | int | None, audio: str) -> None:
        """Opens the part with all its tracks."""
        self._container = open_output(self.part, form, need_keys(form, self._tags))
        try:
            self._stream = add_video_stream(self._container, self._reader, self._codec, crf, preset)
            self.width, self.height = self._stream.width, self._stream.height
            copy_stream_tags(self._source.streams[self._reader.stream_index], self._stream)
            self._tracks = CarriedTracks(
                self._source, self._reader.stream_index, self._container, audio, self._reader.cut
            )
            copy_tags(self._source, self._container, self._reader.cut)
            self._container.start_encoding()
        except BaseException:
            self._discard()
            raise

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
            with self._opened:
                self._executor.shutdown(wait=True, cancel_futures=True)
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
        timed = zip(frames.pixels, frames.pts, frames.durations, frames.repeats, strict=True)
        for pixels, start, duration, repeats in timed:
            frame = None
            for pts in range(start, start + repeats * duration, duration):
                self._durations[pts] = duration
                if self.frames_written < self.kept:
                    packet = next(self._kept_packets)
                    packet.stream, packet.time_base = self._stream, self._reader.time_base
                    packet.pts = packet.dts = pts  # there are no B-frames
                    self._mux([packet])
                else:
                    frame = frame or self._coded(pixels)
                    frame.pict_type = PictureType.I if self._group_at(pts) > self._group else PictureType.NONE
                    frame.pts, frame.duration, frame.time_base = pts, duration, self._reader.time_base
                    self._mux(self._stream.encode(frame))
                self._ends_at = float((pts + duration) * self._reader.time_base)
                self._tracks.copy(until=self._ends_at)
                self._group = self._group_at(pts)
                self.frames_written += 1
        following = self._group_at(frames.pts[-1] + frames.repeats[-1] * frames.durations[-1])
        if following > self._remembered:  # one memory for each group: with more, the heap is left full of holes
            self._remembered = following
            large = sum(each.nbytes for each in memory.values()) > LARGE
            if self.frames_written > self.kept and not (large and self._waiting):
                self._waiting.append((self.frames_written, memory))

    def _group_at(self, pts: int) -> int:
        """Returns in which group of pictures a frame is."""
        self._starts_at = pts if self._starts_at is None else self._starts_at
        return group_at(float((pts - self._starts_at) * self._reader.time_base))

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
                self._unsettled.append((self._keyframe, time))
            self._container.mux(packet)
            self._muxed += 1
            settled = 0
            while self._unsettled and time >= self._unsettled[0][1] + SETTLED:
                settled = self._unsettled.popleft()[0]
            if settled:
                self._settle(settled)

    def _settle(self, frames: int) -> None:
        """Makes the first frames, up to a keyframe, outlast a loss of power, and only then writes that down."""
        seen, memory = self._state.seen, self._state.memory
        while self._waiting and self._waiting[0][0] <= frames:
            seen, newest = self._waiting.popleft()
            memory = {name: each.cpu().numpy() for name, each in newest.items()}
        if self._made_of is not None and frames:
            sync(self.part)
            save_state(self.part, self._made_of, State(frames, seen, memory))
        self._state = State(frames, seen, memory)

    def _finish(self, stopped: bool) -> None:
        self._mux(self._stream.encode(None))
        self._tracks.finish(until=self._ends_at if stopped or self._reader.cut else float("inf"))
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
            lost = lost_tags(self._tags, container.metadata)
        should = f"{self.frames_written} frames of {self.width}x{self.height}"
        late = abs(ends_at - self._ends_at) > SHIFTED
        if holds != should or late or tracks < 1 + self._tracks.count:
            raise EnvironmentFault(
                f"'{self.part}' should hold {should} in {self._ends_at:.2f} s and {1 + self._tracks.count} tracks, "
                f"but holds {holds} in {ends_at:.2f} s and {tracks} tracks; please report this"
            )
        if lost:
            log.warning("'%s' cannot hold these tags, left out: %s", self.path.name, ", ".join(lost))

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
