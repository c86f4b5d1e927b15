import contextlib
import io
import itertools
import os
import socket
import socketserver
import subprocess
import sys
import threading
from fractions import Fraction
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from time import monotonic, sleep
from types import SimpleNamespace

import av
import cv2
import imageio_ffmpeg
import numpy as np
import pytest
import torch
from media import clip, ffmpeg, pictures
from torch import nn

from fastnst import cli
from fastnst.checkpoint import save_checkpoint
from fastnst.errors import ConfigError, EnvironmentFault, InputError
from fastnst.live import __main__ as live
from fastnst.net import StylizationNet
from fastnst.stylizer import Stylizer

ROOT = Path(__file__).parent.parent
RATE = Fraction(30)


def numbered(number, side=4):
    """A frame that says which one it is."""
    pixels = np.zeros((side, side, 3), np.uint8)
    pixels[0, 0] = number // 65536, number // 256 % 256, number % 256
    return pixels


def number_of(pixels):
    high, middle, low = (int(value) for value in pixels[0, 0])
    return (high * 256 + middle) * 256 + low


class FakeSource:
    """Frames by number. `ends` says how each opening ends: "stops", "raises", "hangs", or after no frame "absent"."""

    def __init__(self, *ends, frames=3, every=0.005):
        self.ends, self.frames, self.every = list(ends), frames, every
        self.opened, self.made, self.released = 0, count(), threading.Event()
        self.times = []

    def __call__(self):
        self.opened += 1
        end = self.ends.pop(0) if self.ends else None
        if end == "absent":
            raise InputError("there is no such camera")
        for number in count():
            if end and number == self.frames:
                break
            sleep(self.every)
            self.times.append(monotonic())
            yield numbered(next(self.made)), RATE
        if end == "hangs":
            self.released.wait()
        if end == "raises":
            raise InputError("unplugged")


class FakeSink:
    """Keeps what is shown, and presses keys: by the number of frames shown until then."""

    def __init__(self, quit_after=10, keys=()):
        self.frames, self.holds, self.times, self.keys = [], 0, [], {quit_after: "q", **dict(keys)}

    def show(self, pixels, rate):
        self.frames.append(number_of(pixels))
        self.times.append(monotonic())
        return self.keys.pop(len(self.frames), "")

    def hold(self):
        self.holds += 1
        return self.keys.pop(f"held {self.holds}", "")


class FakePainter:
    """Gives the frame back, after a time."""

    def __init__(self, style="fake", seconds=0.0):
        self.style, self.seconds, self.resets, self.strengths = style, seconds, 0, []

    def reset(self):
        self.resets += 1

    def paint(self, pixels, strength):
        self.strengths.append(strength)
        sleep(self.seconds)
        return pixels


@pytest.fixture
def feed_of():
    """Makes feeds with short times, and closes them."""
    feeds, sources = [], []

    def make(source, is_live=True, **options):
        sources.append(source)
        feeds.append(live.Feed(source, is_live, **{"timeout_s": 0.5, "retry_s": 0.1, **options}))
        return feeds[-1]

    yield make
    for source in sources:
        getattr(source, "released", threading.Event()).set()
    for feed in feeds:
        feed.close()


def captures():
    return sum(thread.name == "capture" for thread in threading.enumerate())


def memory():
    """Resident memory of this process, bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_newest_frame_wins_and_the_others_are_counted(feed_of):
    source = FakeSource("hangs", frames=5, every=0)
    feed = feed_of(source)
    while feed.dropped < 4:
        sleep(0.001)
    frame = feed.next(1)
    assert number_of(frame.pixels) == 4
    assert frame.taken == pytest.approx(source.times[4], abs=0.3)
    assert feed.next(0.01) is None


def test_slow_net_stays_under_two_frame_times_behind_and_drops_are_reported(feed_of):
    source, painter, sink, said = FakeSource(every=0.005), FakePainter(seconds=0.05), FakeSink(40), []
    feed = feed_of(source)
    live.run(feed, [painter], sink, say=said.append)
    late = sorted(shown - source.times[number] for shown, number in zip(sink.times, sink.frames, strict=True))
    assert late[len(late) // 2] < 2 * painter.seconds  # the median: others use this machine too
    assert sink.frames == sorted(set(sink.frames))
    told = int(said[-1].split()[-2])
    assert sink.frames[-1] - len(sink.frames) <= told <= feed.dropped
    assert told > 2 * len(sink.frames)
    assert said[-1].startswith("40 frames")


@pytest.mark.parametrize("end", ["stops", "raises", "hangs"])
def test_camera_that_fails_comes_back_and_nothing_is_remembered(feed_of, end):
    source, painter, sink, said = FakeSource(end, end, every=0.02), FakePainter(), FakeSink(8), []
    live.run(feed_of(source, say=said.append), [painter], sink)
    assert source.opened == 3
    assert painter.resets == 3
    assert sink.holds > 3  # the last frame stays on show meanwhile
    assert [line.rpartition(";")[2] for line in said] == [" trying again every 0.1 s", "frames come again"] * 2
    assert sink.frames == sorted(sink.frames)


def test_camera_that_stays_away_ends_the_run_after_give_up_s(feed_of):
    source = FakeSource(*["absent"] * 100)
    begun = monotonic()
    feed = feed_of(source, give_up_s=0.4)
    with pytest.raises(InputError, match=r"there is no such camera; given up after 0.4 s, give_up_s=0"):
        live.run(feed, [FakePainter()], FakeSink())
    assert monotonic() - begun >= 0.4
    assert source.opened >= 2


def test_camera_is_awaited_for_ever_without_give_up_s(feed_of):
    sink = FakeSink(3)
    live.run(feed_of(FakeSource(*["absent"] * 6), give_up_s=0, retry_s=0.03), [FakePainter()], sink)
    assert len(sink.frames) == 3


def test_driver_that_hangs_for_ever_takes_a_bounded_number_of_threads(feed_of, monkeypatch):
    monkeypatch.setattr(live, "OPENING", 0.02)
    source, before = FakeSource(*["hangs"] * 100, frames=0), captures()
    feed, begun = feed_of(source, retry_s=0.01), monotonic()
    while monotonic() - begun < 0.6:
        feed.next(0.01)
    assert source.opened == live.HANGING
    assert captures() - before == live.HANGING


def test_mistake_in_a_live_source_is_no_reason_to_try_again(feed_of):
    def source():
        yield numbered(0), RATE
        raise KeyError("a mistake")

    with pytest.raises(KeyError, match="a mistake"):
        live.run(feed_of(source), [FakePainter()], FakeSink())


def test_of_a_pipe_no_frame_is_dropped_however_slow_the_net(feed_of):
    sink = FakeSink(100)
    feed = feed_of(FakeSource("stops", frames=40, every=0), is_live=False)
    live.run(feed, [FakePainter(seconds=0.005)], sink)
    assert sink.frames == list(range(40))
    assert feed.dropped == 0


def test_pipe_that_cannot_be_read_ends_the_run(feed_of):
    sink = FakeSink()
    with pytest.raises(InputError, match="unplugged"):
        live.run(feed_of(FakeSource("raises"), is_live=False), [FakePainter()], sink)
    assert sink.frames == [0, 1, 2]


def test_memory_is_flat_over_tens_of_thousands_of_frames_and_a_hundred_losses(feed_of, monkeypatch):
    monkeypatch.setattr(live, "TICK", 0.001)
    before = captures()

    def large(source):
        for pixels, rate in source():
            yield np.tile(pixels, (16, 16, 1)), rate

    def show(source, frames, is_live):
        live.run(feed_of(partial(large, source), is_live, retry_s=0.0), [FakePainter()], FakeSink(frames))

    show(FakeSource("stops", frames=2000, every=0), 2000, is_live=False)
    resident = memory()
    show(FakeSource("stops", frames=40_000, every=0), 40_000, is_live=False)  # of 12 kB: 490 MB
    failing = FakeSource(*["stops"] * 100, frames=1, every=0)
    show(failing, 100, is_live=True)
    assert failing.opened == 100
    assert memory() - resident < 12e6
    assert captures() - before <= 4


def test_keys_change_style_and_strength_freeze_and_quit(feed_of):
    painters = [FakePainter("a"), FakePainter("b")]
    keys = {1: "-", 2: "-", 3: "n", 4: "=", 5: "+", 6: "+", 7: "n", 9: "f", "held 5": "n", 11: "q"}
    said = []
    sink = FakeSink(99, keys.items())
    live.run(feed_of(FakeSource("stops", frames=40, every=0), is_live=False), painters, sink, 1.0, say=said.append)
    assert said[:-1] == [
        "a, strength 0.9", "a, strength 0.8", "b, strength 0.8", "b, strength 0.9", "b, strength 1", "b, strength 1",
        "a, strength 1", "b, strength 1",
    ]  # fmt: skip
    assert painters[1].strengths[:4] == [0.8, 0.9, 1.0, 1.0]
    assert sink.frames[9] == sink.frames[8]  # frozen, in the other style


def test_frames_are_made_smaller_once_and_all_to_the_size_of_the_first(feed_of):
    sizes, seen = [(40, 80), (40, 80), (60, 60)], []

    def source():
        for height, width in sizes:
            yield np.zeros((height, width, 3), np.uint8), RATE

    painter = FakePainter()
    painter.paint = lambda pixels, strength: seen.append(pixels.shape[:2]) or pixels
    live.run(feed_of(source, is_live=False), [painter], FakeSink(), max_side=40)
    assert seen == [(20, 40)] * 3


def test_painter_turns_its_dials_and_forgets():
    painter = live.Painter(Stylizer(nn.Identity(), "cpu", "none"), "frame", 0.9, color="style", scale=1.0)
    dark, light = np.full((8, 8, 3), 100, np.uint8), np.full((8, 8, 3), 102, np.uint8)
    painter.paint(dark, 1.0)
    assert painter.paint(light, 1.0).max() == 100  # smooth holds it
    painter.reset()
    assert painter.paint(light, 1.0).min() == 102
    inverted = live.Painter(Stylizer(Negative(), "cpu", "negative"), "frame", 0.0, color="style", scale=1.0)
    assert inverted.paint(dark, 0.0).tolist() == dark.tolist()
    assert inverted.paint(dark, 1.0).tolist() == (255 - dark).tolist()


class Negative(nn.Module):
    def forward(self, content):
        return 1 - content


@pytest.mark.parametrize("size", [(95, 127), (720, 64)])
def test_y4m_out_read_back_has_the_frames_their_rate_size_and_colours(size, tmp_path):
    height, width = size
    coarse = np.random.default_rng(0).integers(0, 256, (3, 5, 4, 3), np.uint8)
    written = [cv2.resize(each, (width, height), interpolation=cv2.INTER_NEAREST) for each in coarse]
    file = io.BytesIO()
    pipe = live.Pipe(file, live=False)
    for pixels in written:
        pipe.show(pixels, Fraction(30000, 1001))
    file.seek(0)
    read = list(live.stream(file, "the pipe", "yuv4mpegpipe", {}))
    assert [rate for _, rate in read] == [Fraction(30000, 1001)] * 3
    for pixels, (again, _) in zip(written, read, strict=True):
        assert again.shape == (*size, 3)
        assert np.abs(again.astype(int) - pixels).max() <= 3


def test_y4m_of_a_live_source_keeps_its_time_by_repeating_frames(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(live, "monotonic", lambda: now[0])
    file = io.BytesIO()
    pipe = live.Pipe(file, live=True)
    for seconds in (0.0, 0.2, 0.4):  # five frames a second of a camera with thirty
        now[0] = 100 + seconds
        pipe.show(numbered(7), RATE)
    now[0] = 101.0
    pipe.hold()
    assert file.getvalue().count(b"FRAME\n") == pytest.approx(30, abs=1)


def test_raw_pipe_is_read_to_the_byte_and_a_frame_is_there_before_the_next_is_sent():
    frames = np.random.default_rng(0).integers(0, 256, (4, 6, 10, 3), np.uint8)
    outlet, inlet = os.pipe()
    options = {"pixel_format": "rgb24", "video_size": "10x6", "framerate": "25"}
    with open(outlet, "rb", buffering=0) as pipe, open(inlet, "wb", buffering=0) as other_end:
        other_end.write(frames[:1].tobytes())
        source = live.stream(pipe, "the raw pipe", "rawvideo", options)
        pixels, rate = next(source)
        assert pixels.tolist() == frames[0].tolist()
        assert rate == 25
        other_end.write(frames[1:].tobytes())
        other_end.close()
        assert [pixels.tolist() for pixels, _ in source] == frames[1:].tolist()


def test_file_on_a_screen_is_not_faster_than_it_should_be(tmp_path):
    video = clip(tmp_path / "in.mp4", seconds=0.4, size="32x32")
    begun = monotonic()
    assert sum(1 for _ in live.file_at_its_rate(video, paced=True)) == 10
    assert monotonic() - begun > 0.34


def test_address_is_read_its_password_is_in_no_message_and_its_playlist_opens_no_file(tmp_path):
    video = clip(tmp_path / "in.ts", "-bf", 0, seconds=1, size="64x48")
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{video}\n#EXT-X-ENDLIST\n".encode()
    answers = {"/in.ts": video.read_bytes(), "/list.m3u8": playlist}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            data = answers.get(self.path, b"")
            self.send_response(200 if data else 404)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://me:sec@ret@127.0.0.1:{server.server_port}/"
    try:
        source, is_live = live.find_source({"video": address + "in.ts", "out": "-", "size": None})
        assert is_live
        assert sum(1 for _ in source()) == 25
        source, _ = live.find_source({"video": address + "missing?token=sec", "out": "-", "size": None})
        with pytest.raises(
            InputError, match=rf"cannot read the http stream of 127.0.0.1:{server.server_port}: "
        ) as fault:
            next(source())
        assert "sec" not in str(fault.value)
        source, _ = live.find_source({"video": address + "list.m3u8", "out": "-", "size": None})
        with pytest.raises(InputError, match="cannot read the http stream"):
            next(source())  # a playlist from elsewhere opens no file of this machine
    finally:
        server.shutdown()
        server.server_close()


class RtspCamera(socketserver.StreamRequestHandler):
    """Answers as an IP camera does, and sends the RTP packets of ffmpeg inside the connection."""

    def handle(self):
        pictures_of = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-re", *pictures(60, "64x48", 10)]
        coding = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "5"]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as inlet, contextlib.suppress(ConnectionError):
            inlet.bind(("127.0.0.1", 0))
            target = f"rtp://127.0.0.1:{inlet.getsockname()[1]}"
            with subprocess.Popen([*pictures_of, *coding, "-f", "rtp", target], stdout=subprocess.PIPE) as sender:
                try:
                    sdp = b"".join(iter(sender.stdout.readline, b"\n"))[len("SDP:\n") :]
                    self.answer(sdp + b"a=control:stream\r\n")
                    while True:
                        packet = inlet.recv(65536)
                        self.wfile.write(b"$\0" + len(packet).to_bytes(2, "big") + packet)
                finally:
                    sender.kill()

    def answer(self, sdp):
        """Answers requests until one says PLAY."""
        method = ""
        while method != "PLAY":
            method, *_ = self.rfile.readline().decode().split() or [""]
            heads = dict(line.split(": ", 1) for line in iter(lambda: self.rfile.readline().decode().strip(), ""))
            body, more = b"", ""
            if method == "DESCRIBE":
                body, more = sdp, "Content-Type: application/sdp\r\n"
            if method == "SETUP":
                more = f"Transport: {heads['Transport']}\r\n"
            answer = (
                f"RTSP/1.0 200 OK\r\nCSeq: {heads['CSeq']}\r\nSession: 1\r\n{more}Content-Length: {len(body)}\r\n\r\n"
            )
            self.wfile.write(answer.encode() + body)


def test_ip_camera_is_read_by_rtsp_while_it_runs_on():
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), RtspCamera)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"rtsp://me:secret@127.0.0.1:{server.server_address[1]}/cam"
    try:
        source, is_live = live.find_source({"video": address, "out": "-", "size": None})
        assert is_live
        frames = source()
        shown = [next(frames)[0] for _ in range(8)]
        frames.close()
    finally:
        server.shutdown()
        server.server_close()
    assert {pixels.shape for pixels in shown} == {(48, 64, 3)}
    assert all((before != after).any() for before, after in itertools.pairwise(shown))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("video=null", "video is missing"),
        ("ckpt=null", "ckpt is missing"),
        ("out=x.mp4", "out=x.mp4 should be one of"),
        ("size=big", "size=big should be like 640x360"),
        ("smooth=2", "smooth=2 must be"),
        ("strength=2", "strength=2 must be"),
        ("threads=0", "threads=0 should be"),
        ("give_up_s=-1", "give_up_s should be"),
        ("norm=off", "norm=off should be"),
        ("video=4294967296", "should be a camera's number"),
        ("video=ftp://me:secret@host/x", "ftp is no kind of address"),
    ],
)
def test_wrong_setting_fails_in_words(wrong, says):
    given = ["video=7", "ckpt=picasso", "out=-", cli.quoted(wrong, {"video"})]
    with pytest.raises(ConfigError, match=says) as fault:
        live.live(cli.settings("live", given))
    assert "secret" not in str(fault.value)


def test_virtual_camera_without_its_package_fails_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    with pytest.raises(EnvironmentFault, match=r"fastnst\[live\]"):
        live.VirtualCamera()


def test_virtual_camera_gets_each_frame_and_the_last_one_again(monkeypatch):
    sent = []

    class Camera:
        def __init__(self, width, height, fps):
            sent.append((width, height, fps))

        def send(self, pixels):
            sent.append(number_of(pixels))

    monkeypatch.setitem(sys.modules, "pyvirtualcam", SimpleNamespace(Camera=Camera))
    camera = live.VirtualCamera()
    camera.hold()  # nothing yet
    camera.show(numbered(1, side=6), RATE)
    camera.show(numbered(2, side=6), RATE)
    camera.hold()
    assert sent == [(6, 6, 30.0), 1, 2, 2]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a screen is always there")
def test_no_screen_is_a_fault_and_opencv_is_loaded_before_pyav():
    program = """
import sys, fastnst.live.__main__ as live
modules = list(sys.modules)
print(modules.index("cv2") < modules.index("av"))
try:
    live.Window()
except live.EnvironmentFault as fault:
    print(fault)
"""
    environment = {name: value for name, value in os.environ.items() if "DISPLAY" not in name}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == "True"
    assert done.stdout.splitlines()[1].startswith("no window can be opened here")


@pytest.mark.parametrize(
    ("form", "pixel_format", "settings"),
    [("yuv4mpegpipe", "yuv420p", []), ("rawvideo", "rgb24", ["size=34x26", "fps=25"])],
)
def test_command_paints_every_frame_of_a_pipe_into_a_pipe(tmp_path, form, pixel_format, settings):
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "tiny.ckpt", StylizationNet.preset("half"), "tiny", {})
    frames = ffmpeg(*pictures(0.4, "34x26"), "-pix_fmt", pixel_format, "-f", form, tmp_path / "in")
    command = [sys.executable, "-m", "fastnst.live", "video=-", f"ckpt={tmp_path / 'tiny.ckpt'}", "out=-", "threads=1"]
    with open(frames, "rb") as pipe:
        done = subprocess.run([*command, *settings], cwd=ROOT, stdin=pipe, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(b"note: 10 frames")
    assert done.stderr.endswith(b" 0 dropped\n")
    with av.open(io.BytesIO(done.stdout), format="yuv4mpegpipe") as opened:
        frames = list(opened.decode(video=0))
        assert (len(frames), frames[0].width, frames[0].height) == (10, 34, 26)
        assert opened.streams.video[0].average_rate == 25
