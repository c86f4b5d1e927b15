"""Video files to frames and back: timing, size, rotation, colour and sound live here.

`VideoReader` and `VideoWriter` each work in one background thread, so that decoding, the net and encoding overlap while
the loop between them stays a plain loop.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, cast

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from fastnst.colour import BT709, FULL, LIMITED, from_rgb24, to_rgb24
from fastnst.errors import ConfigError, EnvironmentFault, InputError, OutputError
from fastnst.files import check_input, check_target
from fastnst.tracks import CarriedTracks, copy_stream_tags, copy_tags

if TYPE_CHECKING:  # `infer.py` opens its input before it pays for the import of torch
    from jaxtyping import UInt8
    from torch import Tensor

log = logging.getLogger(__name__)

FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}  # that we write
ENCODERS = {"webm": "libvpx-vp9"}  # what codec="auto" is in a format; "libx264" in the others
IN_RGB = {"ffv1": "bgr0", "libx264rgb": "rgb24"}  # lossless encoders that keep RGB as it is, and their pixel format
DEMUXERS = (  # that we read: no playlists or image sequences, which open further files, and no devices
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,gif,apng,nut,mxf,wtv,dv,"
    "h264,hevc,av1,obu,ivf,m4v,yuv4mpegpipe"
)
MAX_PIXELS = 150_000_000  # larger frames are refused before memory is taken for them
QUEUED = 2  # batches that wait on each side of the net


@dataclass(frozen=True)
class Frames:
    """Consecutive frames of a video.

    Attributes:
        pixels: RGB, 0-255, on the CPU.
        pts: when each frame is shown, in units of the reader's `time_base`.
        durations: for how long, in the same units.
    """

    pixels: UInt8[Tensor, "time 3 height width"]
    pts: list[int]
    durations: list[int]


class VideoReader:
    """Yields the frames of a video file, upright and in 8-bit RGB, in batches, decoded ahead by a background thread.

    Unreadable packets are skipped; what was lost is in `damage` after the last frame. Untagged colours are BT.709 from
    720 lines on and BT.601 below.

    Args:
        path: a file; playlists and addresses are refused.
        batch: frames per `Frames`; the last one may have fewer.
        max_side: the frames are made smaller, in proportion and to even sizes, if their longer side exceeds this
            (pixels). None keeps the size.
        strict: raise at the first damage instead of going on.

    Attributes:
        width, height: of the frames as they come out, pixels.
        time_base: the unit of timestamps, seconds.
        frame_rate: average, frames per second.
        frame_count: as the file declares it or as its duration suggests; None if it says neither. For progress only.
        damage: what could not be read, a sentence each.

    Raises:
        InputError: there is no readable video in the file; while iterating, if `strict`: it is damaged.
    """

    def __init__(self, path: str | Path, batch: int = 1, max_side: int | None = None, strict: bool = False) -> None:
        self.path, self.batch, self.strict = Path(path), batch, strict
        self.damage: list[str] = []
        self._notices: set[str] = set()
        self._bad: list[float] = []  # times of unreadable packets, seconds
        self._container = open_input(self.path)
        try:
            self._stream = main_video_stream(self._container, self.path)
            self.stream_index = self._stream.index
            self._decoder = decoder_for(self._stream)
            self.time_base = cast(Fraction, self._stream.time_base)
            self.frame_rate = self._stream.average_rate or self._stream.guessed_rate or Fraction(25)
            self.frame_count = self._declared_count()
            self._ends_at = 0.0  # end of the last packet so far, seconds
            self._frames = self._timed()
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
        self._first = first
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
            while len(ahead) <= QUEUED:
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
            return max(1, round(self._container.duration / av.time_base * self.frame_rate))
        return None

    def _next_batch(self) -> Frames | None:
        import torch

        timed = list(islice(self._frames, self.batch - (self._first is not None)))
        if self._first is not None:
            timed.insert(0, self._first)
            self._first = None
        if not timed:
            return None
        pixels = torch.from_numpy(np.stack([self._to_rgb(frame) for frame, _, _ in timed]))  # (T, H, W, 3)
        return Frames(pixels.permute(0, 3, 1, 2), [pts for _, pts, _ in timed], [duration for _, _, duration in timed])

    def _timed(self) -> Iterator[tuple[av.VideoFrame, int, int]]:
        """Yields each frame with its pts and duration, and judges the damage at the end."""
        usual = max(1, round(1 / (self.frame_rate * self.time_base)))
        held: tuple[av.VideoFrame, int] | None = None  # one frame back: its duration may only show in the next
        last_end = 0
        for frame in self._decoded():
            pts = frame.pts if frame.pts is not None else frame.dts
            if held is None:
                held = frame, pts if pts is not None else 0
                continue
            before, start = held
            pts = max(pts if pts is not None else start + usual, start + 1)  # encoders want strictly rising times
            yield before, start, before.duration or pts - start
            held = frame, pts
        if held is None:
            return
        frame, start = held
        duration = frame.duration or usual
        if self._bad:  # the frames after this one are lost: it stays until they would have ended
            last_end = round(self._ends_at / self.time_base)
        yield frame, start, max(duration, last_end - start)
        self._judge_end()

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
            time = float(packet.pts * self.time_base)
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
        tolerance = max(0.25, 3 / self.frame_rate)
        if start + declared - self._ends_at <= tolerance:
            return
        with open_input(self.path) as container:  # sound may go on for longer than the pictures
            found = max(end_of(packet) for packet in container.demux() if packet.size) - start
        if declared - found > tolerance:
            self.damage.append(f"ends at {found:.1f} s of {declared:.1f} s")
            if self.strict:
                raise InputError(f"'{self.path}' {self.damage[-1]}; strict=false goes on")

    def _to_rgb(self, frame: av.VideoFrame) -> np.ndarray:
        """Returns the frame as (height, width, 3) uint8, scaled and upright."""
        if (frame.width, frame.height) != self._decoded_size:
            self._notice(f"the frame size changes to {frame.width}x{frame.height}; resized to the first size")
        if frame.interlaced_frame:
            self._notice("interlaced video: the fields are stylized as they are, not deinterlaced")
        rgb = to_rgb24(frame, *self._coded_size, self._decoder.color_trc, self._notice)
        return np.rot90(rgb, frame.rotation // 90)

    def _notice(self, text: str) -> None:
        if text not in self._notices:
            self._notices.add(text)
            log.warning(text)


class VideoWriter:
    """Writes frames to a video file, with the timing, sound and tags of the video they come from.

    The file grows under the name `part` beside `path` and takes its place only after it was closed, reopened and
    checked. An error removes the part; Ctrl-C and SIGTERM keep it, playable. Writing happens in a background thread,
    so an error may surface one `write` later, or at the end.

    Args:
        path: the ending chooses the container, one of `CODECS`.
        reader: the video that gives size and timing; its other tracks are copied.
        overwrite: replace an existing file.
        codec: an encoder as FFmpeg names it ("libx265", "h264_nvenc", "ffv1"); "auto" is H.264, VP9 in `.webm`.
        crf: quality, 0 (best) to 51; 18 is hard to tell from lossless.
        preset: the encoder's trade of speed for size; None leaves it to the encoder.

    Raises:
        ConfigError: no container of that name, or the container cannot hold the codec.
        OutputError: `path` exists, is the input, or cannot be written.
        EnvironmentFault: there is no such encoder here.
    """

    def __init__(
        self,
        path: str | Path,
        reader: VideoReader,
        *,
        overwrite: bool = False,
        codec: str = "auto",
        crf: int = 18,
        preset: str | None = None,
    ) -> None:
        self.path, self.frames_written = Path(path), 0
        check_video_target(self.path, reader.path, overwrite)
        self.part = part_path(self.path)
        form = FORMATS[self.path.suffix.lower()]
        self._codec = ENCODERS.get(form, "libx264") if codec == "auto" else codec
        self._reader = reader
        self._pending: deque[Future[None]] = deque()
        self._source = open_input(reader.path)  # a second handle, from which the other tracks are copied
        try:
            self._container = open_output(self.part, form)
            try:
                self._stream = add_video_stream(self._container, reader, self._codec, crf, preset)
                copy_stream_tags(self._source.streams[reader.stream_index], self._stream)
                self._tracks = CarriedTracks(self._source, reader.stream_index, self._container)
                copy_tags(self._source, self._container)
                self._container.start_encoding()
            except BaseException:
                self._discard()
                raise
        except (OSError, ValueError, av.FFmpegError) as error:
            raise self._in_words(error) from error
        self._executor = ThreadPoolExecutor(1, "video writer")

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        stopped = kind is not None and not issubclass(kind, Exception)  # Ctrl-C, SIGTERM
        keep = False
        try:
            if kind is None or stopped:
                self._submit(self._finish)
                self._drain(0)
                check_written(self.part, self.frames_written, self._reader)
                if stopped:
                    log.warning("stopped after %d frames, which play in '%s'", self.frames_written, self.part)
                else:
                    self.part.replace(self.path)
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

    def write(self, frames: Frames) -> None:
        """Queues frames for encoding; waits while the queue is full.

        Raises:
            OutputError: earlier frames could not be written.
        """
        self._submit(self._encode, frames)
        self._drain(QUEUED)

    def _submit(self, work: Callable[..., None], *arguments: object) -> None:
        self._pending.append(self._executor.submit(work, *arguments))

    def _drain(self, allowed: int) -> None:
        """Waits until no more than `allowed` tasks are left; raises what failed in the background."""
        while len(self._pending) > allowed:
            try:
                self._pending.popleft().result()
            except (OSError, av.FFmpegError) as error:
                raise self._in_words(error) from error

    def _encode(self, frames: Frames) -> None:
        pixels = frames.pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy()  # (T, H, W, 3)
        for rgb, pts, duration in zip(pixels, frames.pts, frames.durations, strict=True):
            frame = from_rgb24(rgb, self._stream.codec_context.pix_fmt or "yuv420p")
            frame.pts, frame.duration, frame.time_base = pts, duration, self._reader.time_base
            self._container.mux(self._stream.encode(frame))
            self._tracks.copy(until=float((pts + duration) * self._reader.time_base))
            self.frames_written += 1

    def _finish(self) -> None:
        self._container.mux(self._stream.encode(None))
        self._tracks.copy(until=float("inf"))
        self._container.close()

    def _discard(self) -> None:
        with suppress(OSError, av.FFmpegError, ValueError):
            self._container.close()
        self.part.unlink(missing_ok=True)

    def _in_words(self, error: Exception) -> Exception:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        if "does not support" in reason:  # PyAV: this codec in this container
            return ConfigError(f"cannot write '{self.path}' with codec={self._codec}: {reason}")
        if "avcodec_open2" in str(error):
            return EnvironmentFault(f"codec={self._codec} does not start on this machine or with these settings")
        return OutputError(f"cannot write '{self.path}': {reason} (after {self.frames_written} frames)")


def open_input(path: Path) -> InputContainer:
    """Returns the opened video file.

    Raises:
        InputError: it is missing, empty, or in no format that we read.
    """
    check_input(path, "video")
    try:
        # "file:" keeps names like "concat:a" and "-a.mp4" from meaning something
        return av.open(f"file:{path}", "r", options={"format_whitelist": DEMUXERS, "protocol_whitelist": "file"})
    except (av.FFmpegError, ValueError, UnicodeError) as error:
        raise InputError(f"cannot read video '{path}': it is no video, or its end with the index is missing") from error


def main_video_stream(container: InputContainer, path: Path) -> VideoStream:
    """Returns the stream that a player would show: the default one, of these the largest; never a cover picture.

    Raises:
        InputError: there is none, or its frames have over `MAX_PIXELS` pixels.
    """
    streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    streams = [stream for stream in streams if stream.codec_context is not None and stream.width]
    if not streams:
        raise InputError(f"cannot read video '{path}': it has no video stream")
    best = max(streams, key=lambda each: (bool(each.disposition & Disposition.default), each.width * each.height))
    if best.width * best.height > MAX_PIXELS:
        size = f"{best.width}x{best.height}"
        raise InputError(f"cannot read video '{path}': {size} is over {MAX_PIXELS // 1_000_000} million pixels")
    return best


def end_of(packet: av.Packet) -> float:
    """Returns when the packet's content ends, seconds."""
    time = packet.pts if packet.pts is not None else packet.dts
    return float(((time or 0) + (packet.duration or 0)) * packet.time_base)


def decoder_for(stream: VideoStream) -> av.VideoCodecContext:
    """Returns the decoder of a stream; for VP8 and VP9 with transparency the one that decodes that too."""
    library = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(stream.codec_context.name)
    if library and stream.metadata.get("alpha_mode", stream.metadata.get("ALPHA_MODE")) == "1":
        decoder = cast(av.VideoCodecContext, av.CodecContext.create(library, "r"))
        decoder.extradata = stream.codec_context.extradata
        return decoder
    stream.thread_type = "AUTO"
    return stream.codec_context


def scaled_size(width: int, height: int, max_side: int | None) -> tuple[int, int]:
    """Returns width and height so that the longer is at most `max_side`, both even unless nothing changes.

    >>> scaled_size(1280, 720, 640), scaled_size(321, 181, 640), scaled_size(1080, 1920, 1000)
    ((640, 360), (321, 181), (562, 1000))
    """
    if max_side is None or max(width, height) <= max_side:
        return width, height
    scale = max_side / max(width, height)
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


def check_video_target(path: Path, source: Path, overwrite: bool) -> None:
    """Raises ConfigError or OutputError if a video made from `source` cannot be written to `path`."""
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(f"cannot write video '{path}': no format '{path.suffix}'; use {', '.join(FORMATS)}")
    check_target(path, source, overwrite)
    part = part_path(path)
    if part.exists() and part.samefile(source):
        raise OutputError(f"'{path}' would be prepared in '{part}', which is the input; rename one of them")


def part_path(path: Path) -> Path:
    """Returns where the video for `path` grows until it is whole.

    >>> part_path(Path("a/clip.mp4")).as_posix()
    'a/clip.part.mp4'
    """
    ending = f".part{path.suffix}"
    stem = os.fsencode(path.stem)[: 255 - len(os.fsencode(ending))]  # names have at most 255 bytes
    return path.with_name(os.fsdecode(stem) + ending)


def open_output(part: Path, form: str) -> OutputContainer:
    """Returns a container that plays up to its last second even if the process is killed."""
    if part.exists():
        log.warning("replacing '%s', left by a run that did not finish", part)
    options = {"flush_packets": "1"}
    if form in ("mp4", "mov"):
        # hybrid: fragments (of 0.2 s) while it grows, an ordinary file once closed. delay_moov: without it, the priming
        # of AAC sound shifts all tracks. movie_timescale: the default rounds the start of late tracks to 1 ms
        options |= {"movflags": "hybrid_fragmented+delay_moov", "frag_duration": "200000", "movie_timescale": "90000"}
    return av.open(f"file:{part}", "w", format=form, options=options)


def add_video_stream(
    container: OutputContainer, reader: VideoReader, codec: str, crf: int, preset: str | None
) -> VideoStream:
    """Returns a new video stream in `container`, sized and timed like the reader's frames, tagged BT.709.

    Odd sizes become 4:4:4 in H.264 and H.265, which cannot express them in 4:2:0.

    Raises:
        EnvironmentFault: there is no such encoder.
    """
    try:
        formats = [form.name for form in av.Codec(codec, "w").video_formats or []]
    except ValueError as error:
        raise EnvironmentFault(f"no encoder '{codec}' here; codec=libx264 is always there") from error
    odd = reader.width % 2 or reader.height % 2
    wanted = ["yuv420p", "yuv422p10le", "yuv444p"]
    if odd and ("264" in codec or "265" in codec or "hevc" in codec):
        wanted = ["yuv444p"]
        log.warning("odd frame size: written as 4:4:4, which some players cannot play; codec=libvpx-vp9 avoids that")
    form = IN_RGB.get(codec) or next((form for form in wanted if form in formats), None)
    if form is None:
        raise EnvironmentFault(f"'{codec}' is no encoder for video of {reader.width}x{reader.height}; codec=libx264 is")
    options = {"crf": str(crf)} | ({"preset": preset} if preset else {})
    if codec.endswith("_nvenc"):
        options |= {"rc": "vbr", "cq": str(crf)}
    if codec.startswith("libvpx"):
        options |= {"row-mt": "1", "cpu-used": "4"}
    if codec == "libx265":
        options["x265-params"] = "log-level=error"
    stream = cast(VideoStream, container.add_stream(codec, rate=reader.frame_rate, options=options))
    context = stream.codec_context
    stream.width, stream.height, stream.pix_fmt = reader.width, reader.height, form
    stream.time_base = context.time_base = reader.time_base
    # with B-frames, hybrid MP4 cuts off last frames that come after a gap; without, files are 5-10 % larger
    context.max_b_frames = 0
    context.sample_aspect_ratio = reader.sample_aspect_ratio
    context.color_primaries = context.color_trc = BT709
    context.colorspace, context.color_range = (0, FULL) if codec in IN_RGB else (BT709, LIMITED)
    if codec in ("libx265", "hevc_nvenc") and container.format.name in ("mp4", "mov"):
        context.codec_tag = "hvc1"  # Apple's players want it
    return stream


def check_written(part: Path, frames: int, reader: VideoReader) -> None:
    """Reopens a finished file. Raises EnvironmentFault if it does not hold what was written to it."""
    with open_input(part) as container:
        stream = main_video_stream(container, part)
        found = sum(1 for packet in container.demux(stream) if packet.size)
        if (found, stream.width, stream.height) != (frames, reader.width, reader.height):
            raise EnvironmentFault(
                f"'{part}' should hold {frames} frames of {reader.width}x{reader.height}, "
                f"but holds {found} of {stream.width}x{stream.height}"
            )
