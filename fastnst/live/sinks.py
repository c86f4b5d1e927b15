"""Where stylized frames go: a window, a virtual camera, or a pipe."""

from __future__ import annotations

import cv2  # isort: skip (first: windows hang if PyAV comes before, pytorch/vision#5940)

import os
import subprocess
import sys
from fractions import Fraction
from io import BufferedIOBase
from time import monotonic
from typing import BinaryIO, Protocol

import av

from fastnst.errors import EnvironmentFault
from fastnst.live.feeds import Pixels
from fastnst.video.colour import BT601, BT709, FULL, HD_LINES, LIMITED


class Sink(Protocol):
    """Where stylized frames go; both methods return the key that was pressed, or nothing."""

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

    TITLE = "fastnst: n next style, s slide, + - strength, f freeze, q quit"

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

    def __init__(self, file: BinaryIO | BufferedIOBase, live: bool) -> None:
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


def open_sink(out: str, live: bool) -> Sink:
    """Returns what `out` names: "window", "camera", or "-" for standard output.

    Args:
        out: the name.
        live: whether the source runs on while nobody reads it: a pipe then repeats frames to keep the time.

    Raises:
        EnvironmentFault: this machine has no such output.
    """
    if out == "-":
        return Pipe(sys.stdout.buffer, live)
    return VirtualCamera() if out == "camera" else Window()
