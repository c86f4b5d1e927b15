"""Renders that did not finish, and those that resume them."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from media import clip, copy, decoded, duration, ffmpeg, pictures, read, silent, times, tracks, write
from safetensors import SafetensorError

from fastnst.errors import OutputError
from fastnst.video import encoders, parts, writer
from fastnst.video.parts import State, part_path, save_state, whole_frames
from fastnst.video.reader import VideoReader
from fastnst.video.writer import VideoWriter


def test_a_part_of_another_encoder_is_not_resumed_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source, target = silent(tmp_path / "in.mp4"), tmp_path / "out.mp4"

    def stop() -> None:
        with VideoReader(source) as reader, VideoWriter(target, reader, made_of={}) as writer:
            writer.write(next(iter(reader)))
            writer._drain(0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    monkeypatch.setattr(encoders, "GPU_ENCODER", "libx265")
    with pytest.raises(OutputError, match="it was made with another codec"):
        copy(source, target, gpu=True, made_of={}, resume=True)
    monkeypatch.setattr(encoders, "X264_PRESET", "medium")  # whose pictures have other parameter sets
    with pytest.raises(OutputError, match="it was made with another preset"):
        copy(source, target, made_of={}, resume=True)
    assert part_path(target).exists()


def test_part_of_an_earlier_run_is_replaced_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    write(tmp_path / "out.part.mp4", b"half")
    copy(silent(tmp_path / "in.mp4"), tmp_path / "out.mp4")
    assert "left by a run that did not finish" in caplog.text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        *(("out.mp4", "libx264"), ("out.mov", "libx264"), ("out.mkv", "libx264"), ("out.mp4", "libx265")),
        ("out.webm", "libvpx-vp9"),  # with its sound encoded again
    ],
)
def test_resumed_after_a_kill_equals_an_uninterrupted_run(tmp_path: Path, name: str, codec: str):
    """What lies on the disk at a moment is what a kill at that moment leaves."""
    source = clip(
        tmp_path / "in.mp4", "-vf", "setpts=PTS+0.3*mod(N\\,3)/25/TB", seconds=8, size="64x48"
    )  # uneven times
    target, whole = tmp_path / name, tmp_path / f"whole{Path(name).suffix}"
    part, coding = part_path(target), {"codec": codec, "crf": 0, "made_of": {"a": 1}}
    coding["preset"] = None if codec == "libvpx-vp9" else "ultrafast"
    copy(source, whole, **coding)
    left = {}
    for moment in (10, 120, 180):
        with VideoReader(source) as reader, VideoWriter(target, reader, resume=True, **coding) as writer:
            kept = writer.kept
            for number, frames in enumerate(reader):
                pixels = frames.pixels if number >= kept else torch.zeros_like(frames.pixels)  # they do not matter
                writer.write(replace(frames, pixels=pixels))
                if number == moment:
                    left = {path: path.read_bytes() for path in tmp_path.glob("out.part.*")}
        assert sorted(tmp_path.iterdir()) == sorted([source, target, whole])
        target.unlink()
        for path, content in left.items():
            path.write_bytes(content)
    with VideoReader(source) as reader, VideoWriter(target, reader, resume=True, **coding) as writer:
        assert writer.kept >= 100
        for frames in reader:
            writer.write(frames)
    assert not part.exists()
    assert times(target) == times(whole)
    if name not in ("out.mkv", "out.webm"):
        assert duration(target) == duration(whole)
    assert [track.packets for track in tracks(target, "audio")] == [track.packets for track in tracks(whole, "audio")]
    if codec == "libx264":  # lossless with crf=0
        np.testing.assert_array_equal(read(target), read(whole))
        np.testing.assert_array_equal(decoded(target), decoded(whole))


def test_what_is_written_down_as_safe_was_synced_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """After a loss of power there is no more of the part than what was synced; it must hold what the state says."""
    source, synced, states = silent(tmp_path / "in.mp4", seconds=8), {}, []
    fsync, save = os.fsync, writer.save_state

    def keep(handle: int) -> None:
        fsync(handle)
        path = Path(f"/proc/self/fd/{handle}").readlink()
        if path.is_file():
            synced[path.name] = path.read_bytes()

    def check(part: Path, made_of: dict, state: State) -> None:
        after_power_loss = write(tmp_path / f"synced{part.suffix}", synced[part.name])
        assert whole_frames(after_power_loss, 10**6) >= state.frames > 0
        states.append(state)
        save(part, made_of, state)

    monkeypatch.setattr(os, "fsync", keep)
    monkeypatch.setattr(writer, "save_state", check)
    for ending in ("mp4", "mkv"):
        copy(source, tmp_path / f"out.{ending}", made_of={}, batch=1)
        assert [state.frames for state in states] == [13, 25, 50, 75, 125, 175]
        states.clear()
        assert synced[f"out.part.{ending}"] == (tmp_path / f"out.{ending}").read_bytes()  # before it was renamed


@pytest.mark.parametrize(("ending", "codec"), [("mkv", "srt"), ("mp4", "mov_text")])
def test_a_part_holds_what_its_state_says_though_subtitles_come_late(tmp_path: Path, monkeypatch, ending, codec):
    """Muxers wait for a packet of every track."""
    (tmp_path / "s.srt").write_text("1\n00:00:02,900 --> 00:00:02,980\nLate\n")
    both = ("-i", tmp_path / "s.srt", "-map", 0, "-map", 1, "-c:v", "libx264", "-c:s", codec)
    source, held, save = ffmpeg(*pictures(3), *both, tmp_path / f"in.{ending}"), [], writer.save_state

    def check(part: Path, made_of: dict, state: State) -> None:
        held.append((state.frames, whole_frames(part, 10**6)))
        save(part, made_of, state)

    monkeypatch.setattr(writer, "save_state", check)
    copy(source, tmp_path / f"out.{ending}", made_of={}, batch=1)
    assert [frames for frames, _ in held] == [13, 25, 50]
    assert all(whole >= frames for frames, whole in held)


def test_a_part_without_a_whole_group_of_pictures_starts_over(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    source, part = silent(tmp_path / "in.mp4"), part_path(tmp_path / "out.mp4")
    write(part, b"half")
    save_state(part, {"codec": "libx264", "preset": "veryfast"}, State(frames=50))
    copy(source, tmp_path / "out.mp4", resume=True, made_of={})
    assert "does not yet hold a whole group of pictures: starting over" in caplog.text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


def test_a_resumed_render_that_fails_puts_back_the_part(tmp_path: Path):
    source, target = silent(tmp_path / "in.mp4", seconds=4), tmp_path / "out.mp4"

    def run(stop: type[BaseException], at: int) -> None:
        with VideoReader(source) as reader, VideoWriter(target, reader, made_of={}, resume=True) as writer:
            for number, frames in enumerate(reader):
                writer.write(frames)
                if number == at:
                    raise stop

    with pytest.raises(KeyboardInterrupt):
        run(KeyboardInterrupt, 70)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert sorted(before) == ["in.mp4", "out.part.mp4", "out.part.state"]
    for stop, at in ((KeyboardInterrupt, 20), (ZeroDivisionError, 90)):
        with pytest.raises(stop):
            run(stop, at)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    with pytest.raises(KeyboardInterrupt):
        run(KeyboardInterrupt, 90)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(before)
    assert times(part_path(target)) == times(source)[: len(times(part_path(target)))]
    assert len(times(part_path(target))) > 71


def test_a_second_writer_of_one_output_is_refused_at_once_and_the_first_finishes(tmp_path: Path):
    source, target = silent(tmp_path / "in.mp4", seconds=0.2), tmp_path / "out.mp4"
    with VideoReader(source) as reader, VideoWriter(target, reader) as first:
        assert (tmp_path / "out.part.claim").read_text() == str(os.getpid())
        for _ in range(2):  # a refusal takes no claim away
            with pytest.raises(OutputError, match=f"process {os.getpid()} is writing '.*out.mp4'; wait for it"):
                copy(source, target)
        with pytest.raises(OutputError, match="is writing"):
            encoders.check_video_target(target, source, overwrite=True)  # as infer asks before it loads the net
        for frames in reader:
            first.write(frames)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]
    assert len(times(target)) == 5


def test_the_claim_of_a_dead_process_does_not_block(tmp_path: Path):
    source, claim = silent(tmp_path / "in.mp4", seconds=0.2), tmp_path / "out.part.claim"
    hold = "import fcntl, sys, time; file = open(sys.argv[1], 'w'); fcntl.flock(file, fcntl.LOCK_EX); "
    hold += "file.write('12345'); file.flush(); print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", hold, claim], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(OutputError, match="process 12345 is writing"):
            copy(source, tmp_path / "out.mp4")
        process.kill()
    assert claim.exists()
    copy(source, tmp_path / "out.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


@pytest.mark.parametrize("call", [0, 1])
def test_a_disk_without_room_for_the_state_is_an_error_of_the_output(tmp_path: Path, monkeypatch, call: int):
    """At the start, and on the way."""
    calls, save = [], parts.save_file

    def full(*arguments, **named) -> None:
        calls.append(1)
        if len(calls) > call:
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        save(*arguments, **named)

    monkeypatch.setattr(parts, "save_file", full)
    source = silent(tmp_path / "in.mp4", seconds=2)
    with pytest.raises(OutputError, match=r"cannot write '.*out.part.state': no space left on device"):
        copy(source, tmp_path / "out.mp4", made_of={}, batch=1)
    assert len(calls) == call + 1
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_a_clip_of_three_seconds_can_be_resumed_after_a_kill(tmp_path: Path):
    source, target = silent(tmp_path / "in.mp4", seconds=3), tmp_path / "out.mp4"
    left: dict[Path, bytes] = {}
    with VideoReader(source) as reader, VideoWriter(target, reader, made_of={}) as killed:
        for number, frames in enumerate(reader):
            killed.write(frames)
            if number == 45:
                killed._drain(0)
                left = {path: path.read_bytes() for path in tmp_path.glob("out.part.*")}
    target.unlink()
    for path, content in left.items():
        path.write_bytes(content)
    with VideoReader(source) as reader, VideoWriter(target, reader, made_of={}, resume=True) as writer:
        assert writer.kept >= 12  # half a second
        for frames in reader:
            writer.write(frames)
    assert times(target) == times(source)


def test_names_of_255_bytes_work(tmp_path: Path):
    target = tmp_path / f"{'é' * 125}x.mp4"
    assert len(os.fsencode(target.name)) == 255
    copy(silent(tmp_path / "in.mp4"), target)
    assert len(times(target)) == 25
