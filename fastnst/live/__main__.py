"""A camera, a stream or a pipe, stylized as it comes: python -m fastnst.live video=0 ckpt=picasso."""

from __future__ import annotations

import cv2  # isort: skip (first: windows hang if PyAV comes before, pytorch/vision#5940)

import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Any, BinaryIO, NamedTuple, Protocol
from urllib.parse import urlsplit

import av
import numpy as np
import torch
from av.error import ExitError, InvalidDataError
from jaxtyping import UInt8
from torch import Tensor, nn

from fastnst import cli
from fastnst.dials import Smooth, dialled
from fastnst.errors import ConfigError, EnvironmentFault, InputError
from fastnst.shots import ShotNorm
from fastnst.stylizer import NORMS, Stylizer
from fastnst.video.colour import BT601, BT709, FULL, HD_LINES, LIMITED, to_rgb24
from fastnst.video.containers import DECODER, main_video_stream
from fastnst.video.files import VideoReader, scaled_size

USAGE = """
python -m fastnst.live video=0 ckpt=picasso
python -m fastnst.live video=rtsp://camera.local/stream ckpt=[picasso,wave] out=camera
ffmpeg -i in.mp4 -f yuv4mpegpipe - | python -m fastnst.live video=- ckpt=picasso out=- | ffplay -

Of a camera and an address the newest frame is stylized, and those that the net is too slow for are dropped; of a file
and a pipe every frame. Keys in the window: n next style, + and - strength, f freeze, q quit. Exit status: 0 done,
2 wrong settings, 3 nothing to read, 4 nobody reads the output, 5 the machine lacks something, 130 Ctrl-C.
"""
SCHEMES = ("rtsp", "rtsps", "http", "https")
FFMPEG = {"protocol_whitelist": "rtsp,rtp,udp,tcp,tls,http,https,crypto", "rtsp_transport": "tcp"}
TICK = 0.03  # seconds between looks at the keys while no frame comes
OPENING, TIMEOUT, RETRY = 10.0, 2.0, 2.0  # seconds: to open, without a frame until it is lost, from then to another try
HANGING = 4  # threads that hang in a driver; with so many there is no other try
REPORT = 10.0  # seconds between lines on the rate
STEP = 0.1  # of strength, per key
KEYS = {"\x1b": "q", "=": "+"}  # that mean the same

Pixels = UInt8[np.ndarray, "height width 3"]  # RGB
Source = Callable[[], Iterator[tuple[Pixels, Fraction]]]  # opens, then yields frames and the nominal rate; may hang
Say = Callable[[str], None]  # is told in a line what happens


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
    file: str | BinaryIO, name: str, form: str | None, options: dict[str, str]
) -> Iterator[tuple[Pixels, Fraction]]:
    """Yields what FFmpeg reads from an address or a pipe.

    Args:
        file: the address, or the pipe.
        name: for messages, without the passwords that an address may hold.
        form: FFmpeg's name of the format; None: to be found out.
        options: for FFmpeg.
    """
    timeout = (OPENING, TIMEOUT) if isinstance(file, str) else None
    try:
        with av.open(file, "r", format=form, options=options | DECODER, timeout=timeout) as opened:
            video = main_video_stream(opened, Path(name))
            video.thread_type = "SLICE"  # threads by frame would keep frames back
            rate = video.average_rate or video.guessed_rate or Fraction(30)
            for packet in opened.demux(video):
                try:
                    frames = packet.decode()
                except InvalidDataError:
                    continue  # one lost packet is no reason to connect again
                for frame in frames:
                    assert isinstance(frame, av.VideoFrame)
                    yield to_rgb24(frame, frame.width, frame.height, video.codec_context.color_trc), rate
    except (av.FFmpegError, ValueError) as error:
        reason = "no answer" if isinstance(error, ExitError) else getattr(error, "strerror", "it is no video")
        if not isinstance(file, str):
            reason = "it is empty or of another format"
        raise InputError(f"cannot read {name}: {reason}") from None  # the error's own text has the address


def file_at_its_rate(path: Path, paced: bool) -> Iterator[tuple[Pixels, Fraction]]:
    """Yields a video file's frames, if `paced` not before they are due."""
    due = 0.0
    with VideoReader(path) as reader:
        for frames in reader:
            sleep(max(0.0, due - monotonic()) if paced else 0)
            due = max(due, monotonic()) + float(1 / reader.frame_rate)
            yield frames.pixels[0].permute(1, 2, 0).contiguous().numpy(), reader.frame_rate


class Frame(NamedTuple):
    """What a feed gives.

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

    def __init__(self, source: Source, live: bool) -> None:
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

    def take(self, wait_s: float) -> Frame | None:
        """Returns the frame in the slot; None if none comes within `wait_s` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._slot or (self.ended and not self._live), wait_s)
            if self._slot is None:
                return None
            taken, self._slot = self._slot, None
            self.given += 1
            self._changed.notify_all()
            return Frame(*taken, first=self.given == 1)

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
        source: Source,
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

    def next(self, wait_s: float) -> Frame | None:
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


class Sink(Protocol):
    """Where painted frames go; both methods return the key that was pressed, or nothing."""

    def show(self, pixels: Pixels, rate: Fraction) -> str:
        """Shows a frame."""
        ...

    def hold(self) -> str:
        """Keeps the last frame on show."""
        ...


class Window:
    """A window on this machine's screen; closing it is pressing q.

    Raises:
        EnvironmentFault: there is no screen, or this OpenCV has no windows.
    """

    TITLE = "fastnst: n next style, + - strength, f freeze, q quit"

    def __init__(self) -> None:
        os.environ.setdefault("QT_LOGGING_RULES", "*.warning=false")  # OpenCV's Qt misses fonts that nobody needs
        probe = [sys.executable, "-c", "import cv2; cv2.namedWindow('fastnst')"]  # without a screen Qt ends the process
        if subprocess.run(probe, capture_output=True).returncode:
            raise EnvironmentFault(
                "no window can be opened here: no screen, or OpenCV is headless; use out=- or out=camera"
            )
        cv2.namedWindow(self.TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)

    def show(self, pixels: Pixels, rate: Fraction) -> str:
        """Shows a frame."""
        cv2.imshow(self.TITLE, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
        return self.hold()

    def hold(self) -> str:
        """Keeps the window alive."""
        key = cv2.waitKey(1)
        if cv2.getWindowProperty(self.TITLE, cv2.WND_PROP_VISIBLE) < 1:
            return "q"
        return chr(key & 0xFF) if key >= 0 else ""


class VirtualCamera:
    """A camera that other programs see, such as meetings.

    Raises:
        EnvironmentFault: pyvirtualcam or its driver is missing.
    """

    def __init__(self) -> None:
        try:
            import pyvirtualcam  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise EnvironmentFault("out=camera needs pyvirtualcam: pip install 'fastnst[live]'") from error
        self._make, self._camera, self._last = pyvirtualcam.Camera, None, None

    def show(self, pixels: Pixels, rate: Fraction) -> str:
        """Sends a frame."""
        if self._camera is None:
            try:
                self._camera = self._make(pixels.shape[1], pixels.shape[0], float(rate))
            except RuntimeError as error:
                raise EnvironmentFault(f"no virtual camera: {error}; on Linux: modprobe v4l2loopback") from error
        self._last = pixels
        return self.hold()

    def hold(self) -> str:
        """Sends the last frame again."""
        if self._camera is not None:
            self._camera.send(self._last)
        return ""


class Pipe:
    """Frames as y4m, 4:4:4, for another program; of a live source some come twice, to keep its time."""

    def __init__(self, file: BinaryIO, live: bool) -> None:
        self._file, self._live = file, live
        self._last, self._written, self._started, self._rate = b"", 0, 0.0, Fraction(30)

    def show(self, pixels: Pixels, rate: Fraction) -> str:
        """Writes a frame."""
        height, width = pixels.shape[:2]
        if not self._last:
            self._rate, self._started = rate, monotonic()
            self._file.write(f"YUV4MPEG2 W{width} H{height} F{rate.numerator}:{rate.denominator} Ip C444\n".encode())
        self.hold()
        frame = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(
            format="yuv444p",
            dst_colorspace=BT709 if height >= HD_LINES else BT601,  # what readers take untagged video for
            src_color_range=FULL,
            dst_color_range=LIMITED,
        )
        self._last = b"FRAME\n" + frame.to_ndarray().tobytes()
        self._write()
        return ""

    def hold(self) -> str:
        """Writes the last frame again, as often as the time that went by needs it."""
        while self._live and self._last and self._written + 1 < (monotonic() - self._started) * self._rate:
            self._write()
        return ""

    def _write(self) -> None:
        self._file.write(self._last)
        self._file.flush()
        self._written += 1


class Painter(nn.Module):
    """One style, with what it remembers of the stream.

    Args:
        stylizer: of a checkpoint, its own dials at rest.
        norm: see `Stylizer.video`.
        smooth: see `Smooth`.
        dials: color and scale, see `dialled`.
    """

    def __init__(self, stylizer: Stylizer, norm: str, smooth: float, **dials: Any) -> None:
        super().__init__()
        self.style, self._stylizer, self._dials, self._strength = stylizer.style, stylizer, dials, 1.0
        net = ShotNorm(stylizer.net) if norm == "shot" else stylizer.net
        self.net = Smooth(net, smooth) if smooth else net

    def reset(self) -> None:
        """Forgets the frames so far."""
        for part in self.modules():
            if isinstance(part, (ShotNorm, Smooth)):
                part.reset()

    def paint(self, pixels: Pixels, strength: float) -> Pixels:
        """Returns the stream's next frame painted."""
        self._strength = strength
        frame = torch.from_numpy(pixels).permute(2, 0, 1)[None]  # (1, 3, H, W)
        return self._stylizer.frames(frame, self)[0].permute(1, 2, 0).contiguous().numpy()

    def forward(self, content: Tensor) -> Tensor:
        """Returns the frames painted, in [0, 1]."""
        return dialled(self.net, self._strength, **self._dials)(content)


def run(
    feed: Feed,
    painters: Sequence[Painter],
    sink: Sink,
    strength: float = 1.0,
    max_side: int | None = None,
    say: Say = lambda line: None,
) -> None:
    """Paints what comes, until it ends or somebody presses q.

    Args:
        feed: the frames.
        painters: the styles.
        sink: where to.
        strength: at the start.
        max_side: larger frames are made smaller first, pixels of the longer side; all to the size of the first.
        say: is told the style when it changes, and the rate.
    """
    chosen, frozen, turned, last, size = 0, False, False, None, None
    shown, latency, longest, started = 0, 0.0, 0.0, monotonic()
    report_at = started + REPORT

    def report() -> None:
        if not shown:
            return
        fps = shown / max(monotonic() - started, 1e-9)
        late = f"{1000 * latency:.0f} ms behind, {1000 * longest:.0f} at most"
        say(f"{shown} frames, {fps:.1f} fps, {late}, {feed.dropped} dropped")

    try:
        while not feed.ended:
            frame = feed.next(TICK)
            if frame is not None and frame.first:
                painters[chosen].reset()
            if frame is not None and not frozen:
                size = size or scaled_size(frame.pixels.shape[1], frame.pixels.shape[0], max_side)
                last, turned = frame._replace(pixels=fitted(frame.pixels, size)), True
            key = ""
            if turned and last is not None:
                key = sink.show(painters[chosen].paint(last.pixels, strength), last.rate)
                if frame is not None and not frozen:
                    shown, latency = shown + 1, monotonic() - frame.taken
                    longest = max(longest, latency)
            else:
                key = sink.hold()
            key = KEYS.get(key, key)
            if key == "q":
                return
            frozen ^= key == "f"
            turned = key in ("n", "+", "-")
            if key == "n":
                chosen = (chosen + 1) % len(painters)
                painters[chosen].reset()
            elif turned:
                strength = min(1.0, max(0.0, round(strength + (STEP if key == "+" else -STEP), 2)))
            if turned:
                say(f"{painters[chosen].style}, strength {strength:g}")
            if monotonic() >= report_at:
                report_at += REPORT
                report()
    finally:
        report()


def fitted(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Returns the frame at a width and height."""
    fits = (pixels.shape[1], pixels.shape[0]) == size
    return pixels if fits else cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def live(settings: dict[str, Any]) -> None:
    """Checks what can be checked in no time, opens both ends, runs."""
    logging.basicConfig(format="note: %(message)s")
    check(settings)
    source, is_live = find_source(settings)
    sink = Pipe(sys.stdout.buffer, is_live) if settings["out"] == "-" else SINKS[settings["out"]]()
    if settings["threads"]:
        torch.set_num_threads(settings["threads"])
    names = settings["ckpt"] if isinstance(settings["ckpt"], list) else [settings["ckpt"]]
    looks = {name: settings[name] for name in ("norm", "smooth", "color", "scale")}
    painters = [Painter(Stylizer.load(str(name), settings["device"]), **looks) for name in names]
    feed = Feed(source, is_live, settings["give_up_s"], say=say)
    try:
        run(feed, painters, sink, settings["strength"], settings["max_side"], say)
    finally:
        feed.close()


SINKS: dict[str, Callable[[], Sink]] = {"window": Window, "camera": VirtualCamera}


def check(settings: dict[str, Any]) -> None:
    """Raises ConfigError for the first setting that is missing or out of range."""
    for name, example in (("video", "0"), ("ckpt", "picasso")):
        if settings[name] in (None, "", []):
            raise ConfigError(f"{name} is missing; write {name}={example}, --help lists the settings")
    for name, choices in (("out", (*SINKS, "-")), ("norm", NORMS)):
        if settings[name] not in choices:
            raise ConfigError(f"{name}={settings[name]} should be one of {', '.join(choices)}")
    for name, low in (("threads", 1), ("max_side", 16)):
        value = settings[name]
        if value is not None and (type(value) is not int or value < low):
            raise ConfigError(f"{name}={value} should be a whole number from {low} up")
    if settings["give_up_s"] < 0 or not 0.1 <= settings["fps"] <= 1000:
        raise ConfigError("give_up_s should be 0 or more, and fps from 0.1 to 1000")
    if settings["size"] and not re.fullmatch(r"[1-9]\d{0,4}x[1-9]\d{0,4}", str(settings["size"])):
        raise ConfigError(f"size={settings['size']} should be like 640x360")
    dialled(nn.Identity(), settings["strength"], settings["color"], settings["scale"])
    Smooth(nn.Identity(), settings["smooth"])


def find_source(settings: dict[str, Any]) -> tuple[Source, bool]:
    """Returns what opens the source that `video` names, and whether it is live.

    Raises:
        ConfigError: an address of a kind that we do not read; a pipe without a program at its other end.
        InputError: the file is no readable video.
    """
    video = str(settings["video"])
    if video == "-":
        if sys.stdin.isatty():
            raise ConfigError("video=- reads what another program writes: ffmpeg ... -f yuv4mpegpipe - | ... video=-")
        pipe = open(0, "rb", buffering=0, closefd=False)  # noqa: SIM115 (unbuffered: gives what is there)
        if settings["size"]:
            raw = {"pixel_format": "rgb24", "video_size": str(settings["size"]), "framerate": str(settings["fps"])}
            return partial(stream, pipe, "the raw pipe", "rawvideo", raw), False
        return partial(stream, pipe, "the y4m pipe", "yuv4mpegpipe", {}), False
    if video.isdecimal():
        if len(video) > 2:
            raise ConfigError(f"video={video} should be a camera's number, from 0 to 99")
        return partial(webcam, int(video)), True
    scheme, mark, _ = video.partition("://")
    if not mark:
        VideoReader(video).close()
        return partial(file_at_its_rate, Path(video), settings["out"] != "-"), False
    if scheme not in SCHEMES:
        raise ConfigError(f"{scheme} is no kind of address that is read; use {', '.join(SCHEMES)}")
    host = urlsplit(video).netloc.rpartition("@")[2]
    return partial(stream, video, f"the {scheme} stream of {host}", None, FFMPEG), True


def say(line: str) -> None:
    """Prints a note on stderr."""
    print(f"note: {cli.one_line(Exception(line))}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    cli.main(live, config="live", usage=USAGE, paths={"video"})
