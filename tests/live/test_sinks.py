import io
import os
import sys
from fractions import Fraction
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from fakes import RATE, number_of, numbered

from fastnst.errors import EnvironmentFault
from fastnst.live import feeds, sinks


@pytest.mark.parametrize("size", [(95, 127), (720, 64)])
def test_y4m_out_read_back_has_the_frames_their_rate_size_and_colours(size, tmp_path):
    height, width = size
    coarse = np.random.default_rng(0).integers(0, 256, (3, 5, 4, 3), np.uint8)
    written = [cv2.resize(each, (width, height), interpolation=cv2.INTER_NEAREST) for each in coarse]
    file = io.BytesIO()
    pipe = sinks.Pipe(file, live=False)
    for pixels in written:
        pipe.show(pixels, Fraction(30000, 1001))
    file.seek(0)
    read = list(feeds.stream(file, "the pipe", "yuv4mpegpipe", {}))
    assert [rate for _, rate in read] == [Fraction(30000, 1001)] * 3
    for pixels, (again, _) in zip(written, read, strict=True):
        assert again.shape == (*size, 3)
        assert np.abs(again.astype(int) - pixels).max() <= 3


def test_y4m_of_a_live_source_keeps_its_time_by_repeating_frames(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(sinks, "monotonic", lambda: now[0])
    file = io.BytesIO()
    pipe = sinks.Pipe(file, live=True)
    for seconds in (0.0, 0.2, 0.4):  # five frames a second of a camera with thirty
        now[0] = 100 + seconds
        pipe.show(numbered(7), RATE)
    now[0] = 101.0
    pipe.hold()
    assert file.getvalue().count(b"FRAME\n") == pytest.approx(30, abs=1)


def test_virtual_camera_without_its_package_fails_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    with pytest.raises(EnvironmentFault, match=r"fastnst\[live\]"):
        sinks.VirtualCamera()


def test_virtual_camera_gets_each_frame_and_the_last_one_again(monkeypatch):
    sent = []

    class Camera:
        def __init__(self, width, height, fps):
            sent.append((width, height, fps))

        def send(self, pixels):
            sent.append(number_of(pixels))

    monkeypatch.setitem(sys.modules, "pyvirtualcam", SimpleNamespace(Camera=Camera))
    camera = sinks.VirtualCamera()
    camera.hold()  # nothing yet
    camera.show(numbered(1, side=6), RATE)
    camera.show(numbered(2, side=6), RATE)
    camera.hold()
    assert sent == [(6, 6, 30.0), 1, 2, 2]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a screen is always there")
def test_window_without_a_screen_is_a_fault_and_does_not_end_the_process(monkeypatch):
    for name in [name for name in os.environ if "DISPLAY" in name]:
        monkeypatch.delenv(name)
    with pytest.raises(EnvironmentFault, match="no window can be opened here"):
        sinks.Window()


def test_sink_is_what_out_names(monkeypatch):
    monkeypatch.setattr(sinks, "Window", lambda: "a window")
    monkeypatch.setattr(sinks, "VirtualCamera", lambda: "a camera")
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=io.BytesIO()))
    assert isinstance(sinks.open_sink("-", live=False), sinks.Pipe)
    assert (sinks.open_sink("window", live=True), sinks.open_sink("camera", live=True)) == ("a window", "a camera")
