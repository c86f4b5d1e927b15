"""A file that grows until it is whole."""

import errno
import os
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path

import pytest
from media import clip, copy, read, silent, times, tracks

from fastnst.errors import EnvironmentFault, OutputError
from fastnst.video.reader import VideoReader
from fastnst.video.writer import VideoWriter


@pytest.mark.parametrize("ending", [".mp4", ".mov", ".mkv", ".webm"])
def test_copy_keeps_count_times_and_size_in_every_format(tmp_path: Path, ending: str):
    source = clip(tmp_path / "in.mp4", rate="30000/1001")
    copy(source, tmp_path / f"out{ending}")
    found, wanted = times(tmp_path / f"out{ending}"), times(source)
    shift = (
        found[0] if ending in (".mkv", ".webm") else 0
    )  # no negative times in Matroska: primed sound moves all tracks
    assert len(found) == len(wanted) == 30
    assert shift < Fraction(1, 30)
    assert max(abs(a - b - shift) for a, b in zip(found, wanted, strict=True)) <= Fraction(1, 1000)
    assert read(tmp_path / f"out{ending}").shape == (30, 96, 128, 3)


def test_matroska_keeps_sound_and_pictures_together(tmp_path: Path):
    source = clip(tmp_path / "in.mp4")
    copy(source, tmp_path / "out.mkv")
    apart = [tracks(path, "audio")[0].packets[0][0] - float(times(path)[0]) for path in (source, tmp_path / "out.mkv")]
    assert apart[0] == pytest.approx(apart[1], abs=1e-3)


def test_error_in_the_loop_removes_the_part(tmp_path: Path):
    source = silent(tmp_path / "in.mp4")

    def run():
        with VideoReader(source) as reader, VideoWriter(tmp_path / "out.mp4", reader) as writer:
            for frames in reader:
                writer.write(frames)
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run()
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_stopping_keeps_a_part_that_plays_with_its_sound(tmp_path: Path, caplog: pytest.LogCaptureFixture, stop):
    source = clip(tmp_path / "in.mp4", seconds=4)

    def run():
        with VideoReader(source) as reader, VideoWriter(tmp_path / "out.mp4", reader) as writer:
            for number, frames in enumerate(reader):
                writer.write(frames)
                if number == 49:
                    raise stop

    with pytest.raises(stop):
        run()
    part = tmp_path / "out.part.mp4"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", part.name]
    assert times(part) == times(source)[:50]
    assert tracks(part, "audio")[0].packets[-1][0] == pytest.approx(2, abs=0.05)
    assert str(part) in caplog.text


def test_stopping_before_the_first_frame_leaves_nothing(tmp_path: Path):
    source = silent(tmp_path / "in.mp4")
    with pytest.raises(KeyboardInterrupt), VideoReader(source) as reader, VideoWriter(tmp_path / "out.mp4", reader):
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_errors_while_writing_surface_in_the_loop_and_remove_the_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(self, *_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(VideoWriter, "_encode", full)
    with pytest.raises(OutputError, match="no space left on device"):
        copy(silent(tmp_path / "in.mp4"), tmp_path / "out.mp4", batch=1)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_false_success_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    encode = VideoWriter._encode

    def lossy(self, frames, memory):
        encode(self, frames, memory)
        self.frames_written += 1

    monkeypatch.setattr(VideoWriter, "_encode", lossy)
    with pytest.raises(EnvironmentFault, match=r"should hold 26 frames of 128x96 .* but holds 25 frames of 128x96"):
        copy(silent(tmp_path / "in.mp4", "-frames:v", 25), tmp_path / "out.mp4", batch=25)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_no_thread_or_file_is_left_open(tmp_path: Path):
    source = clip(tmp_path / "in.mp4")
    copy(source, tmp_path / "out.mp4")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("video")]
    held = [str(entry.readlink()) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    assert not [name for name in held if str(tmp_path) in name]


def test_memory_does_not_grow_with_the_length_of_the_video(tmp_path: Path):
    code = """
import sys, torch
from fastnst.settings import VideoSettings
from fastnst.stylizer import Stylizer
Stylizer(torch.nn.Identity(), "cpu").video(*sys.argv[1:], VideoSettings(preset="ultrafast"))
"""

    def peak(seconds: int) -> float:
        source = silent(tmp_path / f"{seconds}.mp4", "-preset", "ultrafast", seconds=seconds, size="640x480")
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        process = subprocess.Popen(
            [sys.executable, "-c", code, source, tmp_path / f"out{seconds}.mp4"], env=environment
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return usage.ru_maxrss / 1024  # MB

    assert peak(6) - peak(2) < 40  # 100 frames more are 92 MB in 8-bit RGB
