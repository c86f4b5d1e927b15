import contextlib
import io
import itertools
import os
import socket
import socketserver
import subprocess
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic, sleep
from typing import cast

import imageio_ffmpeg
import numpy as np
import pytest
from fakes import FakeSource, captures, number_of
from media import clip, pictures

from fastnst.errors import DamagedInput, InputError
from fastnst.live import feeds


def test_newest_frame_wins_and_the_others_are_counted(feed_of):
    source = FakeSource("hangs", frames=5, every=0)
    feed = feed_of(source)
    while feed.dropped < 4:
        sleep(0.001)
    frame = feed.next(1)
    assert number_of(frame.pixels) == 4
    assert frame.taken == pytest.approx(source.times[4], abs=0.3)
    assert feed.next(0.01) is None


def test_driver_that_hangs_for_ever_takes_a_bounded_number_of_threads(feed_of, monkeypatch):
    monkeypatch.setattr(feeds, "OPENING", 0.02)
    source, before = FakeSource(*["hangs"] * 100, frames=0), captures()
    feed, begun = feed_of(source, retry_s=0.01), monotonic()
    while monotonic() - begun < 0.6:
        feed.next(0.01)
    assert source.opened == feeds.HANGING
    assert captures() - before == feeds.HANGING


def test_raw_pipe_is_read_to_the_byte_and_a_frame_is_there_before_the_next_is_sent():
    frames = np.random.default_rng(0).integers(0, 256, (4, 6, 10, 3), np.uint8)
    outlet, inlet = os.pipe()
    options = {"pixel_format": "rgb24", "video_size": "10x6", "framerate": "25"}
    with open(outlet, "rb", buffering=0) as pipe, open(inlet, "wb", buffering=0) as other_end:
        other_end.write(frames[:1].tobytes())
        source = feeds.stream(pipe, "the raw pipe", "rawvideo", options)
        pixels, rate = next(source)
        assert pixels.tolist() == frames[0].tolist()
        assert rate == 25
        other_end.write(frames[1:].tobytes())
        other_end.close()
        assert [pixels.tolist() for pixels, _ in source] == frames[1:].tolist()


@pytest.mark.parametrize("form", ["rawvideo", "yuv4mpegpipe"])
@pytest.mark.parametrize("missing", [0, 1, 400, 24 * 16 * 3 - 1, 24 * 16 * 3 + 2])
def test_pipe_that_ends_inside_a_frame_gives_the_frames_before_it_and_says_so(form, missing):
    size = 24 * 16 * 3
    raw, options = bytes(3 * size), {"pixel_format": "rgb24", "video_size": "24x16", "framerate": "25"}
    if form == "yuv4mpegpipe":
        raw, options = b"YUV4MPEG2 W24 H16 F25:1 Ip C444\n" + b"".join([b"FRAME\n" + bytes(size)] * 3), {}
    each = size + 6 * (form == "yuv4mpegpipe")
    source, given = feeds.stream(io.BytesIO(raw[: len(raw) - missing]), "the pipe", form, options), 0
    ends = pytest.raises(DamagedInput, match="the pipe ended inside a frame") if missing else contextlib.nullcontext()
    with ends:
        for _ in source:
            given += 1
    assert given == 3 - (missing + each - 1) // each


def test_file_on_a_screen_is_not_faster_than_it_should_be(tmp_path):
    video = clip(tmp_path / "in.mp4", seconds=0.4, size="32x32")
    begun = monotonic()
    assert sum(1 for _ in feeds.file_at_its_rate(video, paced=True)) == 10
    assert monotonic() - begun > 0.34


def test_file_is_found_by_its_path_its_address_and_from_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    video = clip(tmp_path / "in.mp4", seconds=0.2, size="32x32")
    for name in (str(video), video.as_uri(), "~/in.mp4"):
        source, is_live = feeds.find_source(name, None, 30.0, False)
        assert not is_live
        assert next(source())[0].shape == (32, 32, 3)


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

        def log_message(self, format, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://me:sec@ret@127.0.0.1:{server.server_port}/"
    try:
        source, is_live = feeds.find_source(address + "in.ts", None, 30.0, False)
        assert is_live
        assert sum(1 for _ in source()) == 25
        source, _ = feeds.find_source(address + "missing?token=sec", None, 30.0, False)
        with pytest.raises(
            InputError, match=rf"cannot read the http stream of 127.0.0.1:{server.server_port}: "
        ) as fault:
            next(source())
        assert "sec" not in str(fault.value)
        source, _ = feeds.find_source(address + "list.m3u8", None, 30.0, False)
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
                assert sender.stdout
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
        source, is_live = feeds.find_source(address, None, 30.0, False)
        assert is_live
        frames = source()
        shown = [next(frames)[0] for _ in range(8)]
        cast(Generator, frames).close()
    finally:
        server.shutdown()
        server.server_close()
    assert {pixels.shape for pixels in shown} == {(48, 64, 3)}
    assert all((before != after).any() for before, after in itertools.pairwise(shown))
