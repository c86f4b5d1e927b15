"""Where live frames come from: a camera, an address, a pipe or a file, read by a thread of its own."""

from __future__ import annotations

import cv2  # isort: skip (first: windows hang if PyAV comes before, pytorch/vision#5940)

import sys
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from io import BufferedIOBase, FileIO
from pathlib import Path
from time import monotonic, sleep
from typing import NamedTuple
from urllib.parse import urlsplit

import av
import numpy as np
from av.error import ExitError, InvalidDataError
from jaxtyping import UInt8

from fastnst.errors import ConfigError, DamagedInput, InputError
from fastnst.files import local_name
from fastnst.video.colour import to_rgb24
from fastnst.video.opening import DECODER, main_video_stream
from fastnst.video.reader import VideoReader

SCHEMES = ("rtsp", "rtsps", "http", "https")
FFMPEG = {"protocol_whitelist": "rtsp,rtp,udp,tcp,tls,http,https,crypto", "rtsp_transport": "tcp"}
OPENING, TIMEOUT, RETRY = 10.0, 2.0, 2.0  # seconds: to open, without a frame until it is lost, from then to another try
Y4M_HEAD = 4096  # bytes in which the head of a y4m stream and that of its first frame end
HANGING = 4  # threads that hang in a driver; with so many there is no other try

Pixels = UInt8[np.ndarray, "height width 3"]  # RGB
OpenSource = Callable[[], Iterator[tuple[Pixels, Fraction]]]  # opens, then yields frames and the nominal rate; may hang
Say = Callable[[str], None]  # is told in a line what happens


def find_source(video: str, size: str | None, fps: float, paced: bool) -> tuple[OpenSource, bool]:
    """Returns what opens a source, and whether the source is live: whether it runs on while nobody reads it.

    Args:
        video: a camera's number, an address, a file, or "-" for a pipe on standard input.
        size: of a raw pipe's frames, "640x360"; None for a y4m pipe, which says itself.
        fps: of a raw pipe, frames per second.
        paced: whether a file's frames come no earlier than they are due.

    Raises:
        ConfigError: an address of a kind that is not read; a pipe without a program at its other end.
        InputError: the file is no readable video.
    """
    if video == "-":
        if sys.stdin.isatty():
            raise ConfigError("video=- reads what another program writes: ffmpeg ... -f yuv4mpegpipe - | ... video=-")
        pipe = open(0, "rb", buffering=0, closefd=False)  # noqa: SIM115 (unbuffered: gives what is there)
        if size:
            raw = {"pixel_format": "rgb24", "video_size": size, "framerate": str(fps)}
            return partial(stream, pipe, "the raw pipe", "rawvideo", raw), False
        return partial(stream, pipe, "the y4m pipe", "yuv4mpegpipe", {}), False
    video = local_name(video)
    if video.isdecimal():
        if len(video) > 2:
            raise ConfigError(f"video={video} must be a camera's number, from 0 to 99")
        return partial(webcam, int(video)), True
    scheme, mark, _ = video.partition("://")
    if not mark:
        VideoReader(video).close()
        return partial(file_at_its_rate, Path(video), paced), False
    if scheme not in SCHEMES:
        raise ConfigError(f"{scheme} is no kind of address that is read; use {', '.join(SCHEMES)}")
    host = urlsplit(video).netloc.rpartition("@")[2]
    return partial(stream, video, f"the {scheme} stream of {host}", None, FFMPEG), True


def webcam(number: int) -> Iterator[tuple[Pixels, Fraction]]:
    """Yields what the camera of that number sees, until it stops answering."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    capture = cv2.VideoCapture(number)
    try:
        if not capture.isOpened():
            raise InputError(f"there is no camera {number}, or another program has it")
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        told = capture.get(cv2.CAP_PROP_FPS)
        rate = Fraction(told).limit_denominator(1001) if 1 <= told <= 1000 else Fraction(30)
        while (bgr := capture.read()[1]) is not None:
            yield cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), rate
    finally:
        capture.release()
    raise InputError(f"camera {number} does not answer")


def stream(
    file: str | BufferedIOBase | FileIO, name: str, form: str | None, options: dict[str, str]
) -> Iterator[tuple[Pixels, Fraction]]:
    """Yields what FFmpeg reads from an address or a pipe.

    Args:
        file: the address, or the pipe.
        name: for messages, without the passwords that an address may hold.
        form: FFmpeg's name of the format; None: to be found out.
        options: for FFmpeg.

    Raises:
        InputError: it cannot be read.
        DamagedInput: the pipe ended inside a frame; all frames before it were given.
    """
    timeout = (OPENING, TIMEOUT) if isinstance(file, str) else None
    pipe = None if isinstance(file, str) else CountedPipe(file)
    try:
        with av.open(pipe or file, "r", format=form, options=options | DECODER, timeout=timeout) as opened:
            video = main_video_stream(opened, Path(name))
            video.thread_type = "SLICE"  # threads by frame would keep frames back
            rate = video.average_rate or video.guessed_rate or Fraction(30)
            for packet in opened.demux(video):
                if pipe and pipe.size is None:
                    pipe.size = packet.size
                try:
                    frames = [] if pipe and packet.size < (pipe.size or 0) else packet.decode()
                except InvalidDataError:
                    continue  # one lost packet is no reason to connect again
                for frame in frames:
                    assert isinstance(frame, av.VideoFrame)
                    yield to_rgb24(frame), rate
    except (av.FFmpegError, ValueError) as error:
        reason = "no answer" if isinstance(error, ExitError) else getattr(error, "strerror", "it is no video")
        if not isinstance(file, str):
            reason = "it is empty or of another format"
        raise InputError(f"cannot read {name}: {reason}") from None  # the error's own text has the address
    if pipe and pipe.ends_inside_a_frame():
        raise DamagedInput(f"{name} ended inside a frame; the frames before it are stylized")


class CountedPipe:
    """A pipe of frames of one size, raw or y4m, that knows whether it ended inside one.

    Attributes:
        size: bytes of a frame; None until somebody says.
    """

    def __init__(self, file: BufferedIOBase | FileIO) -> None:
        self._file, self._total, self._head = file, 0, b""
        self.size: int | None = None

    def read(self, size: int) -> bytes:
        """Returns the next bytes, at most `size`; none at the end."""
        content = self._file.read(size)
        self._total += len(content)
        if len(self._head) < Y4M_HEAD:
            self._head += content[:Y4M_HEAD]
        return content

    def ends_inside_a_frame(self) -> bool:
        """Returns whether bytes came that are no whole frame; asked after the end."""
        if not self.size:
            return False
        if not self._head.startswith(b"YUV4MPEG2"):
            return self._total % self.size != 0
        first = self._head.find(b"\n") + 1  # behind it, each frame has a line of its own
        line = self._head.find(b"\n", first) + 1 - first
        return (self._total - first) % (line + self.size) != 0


def file_at_its_rate(path: Path, paced: bool) -> Iterator[tuple[Pixels, Fraction]]:
    """Yields a video file's frames, if `paced` not before they are due."""
    due = 0.0
    with VideoReader(path) as reader:
        for frames in reader:
            sleep(max(0.0, due - monotonic()) if paced else 0)
            due = max(due, monotonic()) + float(1 / reader.frame_rate)
            yield frames.pixels[0].permute(1, 2, 0).contiguous().numpy(), reader.frame_rate


class LiveFrame(NamedTuple):
    """A frame that a feed gives.

    Attributes:
        pixels: RGB.
        rate: nominal, frames per second.
        taken: when it came, on the monotonic clock, seconds.
        first: whether the source was opened, or opened again, before it.
    """

    pixels: Pixels
    rate: Fraction
    taken: float
    first: bool


class Attempt(threading.Thread):
    """Opens a source and reads it until it fails, into a slot for one frame. It is left behind where it hangs."""

    def __init__(self, source: OpenSource, live: bool) -> None:
        super().__init__(daemon=True, name="capture")
        self._source, self._live, self._slot = source, live, None
        self._changed = threading.Condition()
        self.left = self.ended = False
        self.error: Exception | None = None
        self.dropped = self.given = 0
        self.heard = monotonic()  # when it was started, then of its newest frame
        self.start()

    def run(self) -> None:
        """Works until the source ends or fails, or nobody wants it any more."""
        frames = self._source()
        try:
            for pixels, rate in frames:
                with self._changed:
                    self._changed.wait_for(lambda: self._live or self._slot is None or self.left)
                    if self.left:
                        break
                    self.dropped += self._slot is not None
                    self.heard = monotonic()
                    self._slot = pixels, rate, self.heard
                    self._changed.notify_all()
        except Exception as error:  # `Feed` judges it
            self.error = error
        finally:
            frames.close()  # pyright: ignore[reportAttributeAccessIssue] (generators have it)
            with self._changed:
                self.ended = True
                self._changed.notify_all()

    def take(self, wait_s: float) -> LiveFrame | None:
        """Returns the frame in the slot; None if none comes within `wait_s` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._slot or (self.ended and not self._live), wait_s)
            if self._slot is None:
                return None
            taken, self._slot = self._slot, None
            self.given += 1
            self._changed.notify_all()
            return LiveFrame(*taken, first=self.given == 1)

    def leave(self) -> None:
        """Makes the thread end as soon as the source lets it."""
        with self._changed:
            self.left, self._slot = True, None
            self._changed.notify_all()


class Feed:
    """The frames of a source: of a live one the newest, and it is opened again when it fails; of another one all.

    Args:
        source: is opened in a thread.
        live: whether it runs on while nobody looks, as a camera does.
        give_up_s: seconds without a frame of a live source until `next` raises; 0: never.
        timeout_s: seconds without a frame until a live source counts as lost.
        retry_s: seconds from then until it is opened again.
        say: is told when the source is lost, and when it is back.

    Attributes:
        ended: whether all frames of a source that is not live have been given.
    """

    def __init__(
        self,
        source: OpenSource,
        live: bool,
        give_up_s: float = 0.0,
        timeout_s: float = TIMEOUT,
        retry_s: float = RETRY,
        say: Say = lambda line: None,
    ) -> None:
        self._source, self._live, self._say = source, live, say
        self._give_up_s, self._timeout_s, self._retry_s = give_up_s, timeout_s, retry_s
        self._left_behind: list[Attempt] = []
        self._dropped, self._lost_at = 0, None
        self.ended, self._heard = False, monotonic()
        self._attempt = Attempt(source, live)

    @property
    def dropped(self) -> int:
        """How many frames a newer one took the place of."""
        return self._dropped + self._attempt.dropped

    def next(self, wait_s: float) -> LiveFrame | None:
        """Returns the newest frame, or None if there is none within `wait_s` seconds.

        Raises:
            InputError: the source cannot be read; a live one, for `give_up_s` seconds.
        """
        frame = self._attempt.take(wait_s)
        if frame is not None:
            if self._lost_at is not None:
                self._say("frames come again")
            self._heard, self._lost_at = frame.taken, None
        elif self._live:
            self._watch(self._attempt, monotonic())
        elif self._attempt.ended:
            if self._attempt.error is not None:
                raise self._attempt.error
            self.ended = True
        return frame

    def _watch(self, attempt: Attempt, now: float) -> None:
        """Judges a live source that gave no frame: it is awaited, left, opened again, or given up."""
        if attempt.error is not None and not isinstance(attempt.error, InputError):
            raise attempt.error
        reason = str(attempt.error or "no frame comes")
        if self._give_up_s and now - self._heard > self._give_up_s:
            raise InputError(f"{reason}; given up after {self._give_up_s:g} s, give_up_s=0 waits for ever")
        if not attempt.left:
            if attempt.ended or now - attempt.heard > (self._timeout_s if attempt.given else OPENING):
                attempt.leave()
                self._left_behind.append(attempt)
                if self._lost_at is None:
                    self._say(f"{reason}; trying again every {self._retry_s:g} s")
                self._lost_at = now
        elif self._lost_at is not None and now - self._lost_at >= self._retry_s:
            self._left_behind = [each for each in self._left_behind if each.is_alive()]
            if len(self._left_behind) < HANGING:
                self._dropped += attempt.dropped
                self._attempt = Attempt(self._source, self._live)

    def close(self) -> None:
        """Ends reading; waits a second for it."""
        self._attempt.leave()
        self._attempt.join(1)
