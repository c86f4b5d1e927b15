"""Frames as they come out of a file: times, shape, damage."""

import random
import threading
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from media import clip, copy, decoded, duration, ffmpeg, pictures, read, silent, times, tone, tracks, write

from fastnst.errors import ConfigError, FastnstError, InputError
from fastnst.video.parts import part_path
from fastnst.video.reader import QUEUED, VideoReader, time_named


def test_variable_frame_rate_keeps_every_time_and_the_last_duration(tmp_path: Path):
    uneven = "select='lt(t,1)+not(mod(n,3))'"
    source = silent(tmp_path / "in.mp4", "-vf", uneven, "-fps_mode", "vfr", "-bf", 0, seconds=2)
    copy(source, tmp_path / "out.mp4")
    assert times(tmp_path / "out.mp4") == times(source)
    assert len(set(np.diff([float(time) for time in times(source)]).round(4))) == 2  # it does vary
    assert duration(tmp_path / "out.mp4") == pytest.approx(duration(source), abs=1e-3)


@pytest.mark.parametrize("fps", [10, 25, 60, "30000/1001"])
def test_constant_frame_rate_shows_what_ffmpeg_shows_and_keeps_sound(tmp_path: Path, fps: object):
    uneven = "select='lt(t,1)+not(mod(n,3))'"
    source = clip(tmp_path / "in.mp4", "-vf", uneven, "-fps_mode", "vfr", "-bf", 0, seconds=2)
    copy(source, tmp_path / "out.mp4", fps=fps, codec="libx264rgb", crf=0)
    wanted = read(ffmpeg("-i", source, "-vf", f"fps={fps}", "-c:v", "libx264", "-qp", 0, tmp_path / "wanted.mp4"))
    np.testing.assert_array_equal(read(tmp_path / "out.mp4"), wanted)
    rate = Fraction(str(fps))
    assert times(tmp_path / "out.mp4") == [number / rate for number in range(len(wanted))]
    assert abs(duration(tmp_path / "out.mp4") - duration(source)) <= 0.5 / rate + 1e-3
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].average_rate == rate
    assert tracks(tmp_path / "out.mp4", "audio")[0].packets == tracks(source, "audio")[0].packets


def test_constant_frame_rate_begins_where_the_video_begins(tmp_path: Path):
    source = silent(tmp_path / "in.mp4", "-output_ts_offset", 10.013)
    copy(source, tmp_path / "out.mp4", fps="30000/1001")
    found = times(tmp_path / "out.mp4")
    assert abs(found[0] - times(source)[0]) < Fraction(1, 50_000)
    assert {after - before for before, after in pairwise(found)} == {Fraction(1001, 30000)}
    assert len(found) == 30


def test_constant_frame_rate_bears_rounded_times_and_single_frames(tmp_path: Path):
    source = silent(tmp_path / "in.mkv", "-c:v", "ffv1", rate=30)  # Matroska: 33, 67, 100 ms
    copy(source, tmp_path / "out.mkv", fps=30, codec="ffv1")
    np.testing.assert_array_equal(read(tmp_path / "out.mkv"), read(source))
    one = silent(tmp_path / "one.mp4", "-frames:v", 1)
    copy(one, tmp_path / "out.mp4", fps=1)
    assert (times(tmp_path / "out.mp4"), duration(tmp_path / "out.mp4")) == ([0], 1)


def seconds_of(path: Path) -> np.ndarray:
    """When each frame is shown, seconds."""
    return np.array([float(time) for time in times(path)])


@pytest.mark.parametrize(
    ("name", "coding"),
    [
        ("in.avi", ["mpeg4"]),
        ("in.avi", ["mpeg4", "-bf", 2]),  # AVI stores no presentation times
        ("in.avi", ["libx264", "-bf", 3]),
        ("in.mkv", ["libx264"]),
        ("in.ts", ["libx264", "-bf", 3]),
        ("in.flv", ["flv1"]),
        ("in.gif", ["gif"]),
        ("in.h264", ["libx264", "-bf", 3]),  # raw streams store no times at all
        ("in.hevc", ["libx265", "-x265-params", "log-level=none"]),
        ("in.m4v", ["mpeg4", "-bf", 2, "-f", "m4v"]),
        ("in.mpg", ["mpeg2video", "-bf", 2]),
        ("in.vob", ["libx264", "-bf", 3]),  # a time for the first frame of a packet only
    ],
)
def test_every_usual_format_keeps_frames_in_order_and_intervals(tmp_path: Path, name: str, coding: list):
    source = silent(tmp_path / name, "-c:v", *coding)
    copy(source, tmp_path / "out.mp4", codec="libx264rgb", crf=0)
    assert np.diff(seconds_of(tmp_path / "out.mp4")) == pytest.approx(np.full(24, 0.04), abs=1e-3)
    wanted = decoded(source).astype(int)
    nearest = [np.abs(frame - wanted).mean((1, 2, 3)).argmin() for frame in read(tmp_path / "out.mp4")]
    assert nearest == list(range(25))


def test_avi_with_b_frames_keeps_sound_and_pictures_together(tmp_path: Path):
    source = ffmpeg(*pictures(2), *tone(2), "-c:v", "libx264", "-bf", 3, "-c:a", "mp3", tmp_path / "in.avi")
    copy(source, tmp_path / "out.mp4")
    assert seconds_of(tmp_path / "out.mp4") == pytest.approx(np.arange(50) / 25, abs=1e-3)
    assert duration(tmp_path / "out.mp4") == pytest.approx(2, abs=1e-3)


def retimed(source: Path, target: Path, times_of: list[int]) -> Path:
    """A copy of a clip whose packets, without B-frames, have other times, milliseconds."""
    with av.open(str(source)) as container, av.open(str(target), "w") as output:
        stream = output.add_stream_from_template(container.streams.video[0])
        packets = [packet for packet in container.demux(video=0) if packet.size]
        for packet, time in zip(packets, times_of, strict=True):
            packet.stream, packet.time_base = stream, Fraction(1, 1000)
            packet.dts = packet.pts = time
            output.mux(packet)
    return target


def test_frames_with_equal_times_move_between_their_neighbours_and_nothing_else_moves(tmp_path: Path, caplog):
    lossless = silent(tmp_path / "plain.mkv", "-c:v", "ffv1")
    marks = list(range(0, 1000, 40))
    for number in (5, 6, 17):
        marks[number] = marks[number - 1]
    source = retimed(lossless, tmp_path / "in.mkv", marks)
    copy(source, tmp_path / "out.mkv", codec="ffv1")
    assert seconds_of(tmp_path / "out.mkv") == pytest.approx(np.arange(25) / 25, abs=1.1e-3)
    assert caplog.messages == ["some frames have the wrong time: each is shown between its neighbours"]
    np.testing.assert_array_equal(read(tmp_path / "out.mkv"), read(lossless))


def test_video_that_does_not_start_at_zero_is_whole(tmp_path: Path, caplog):
    plain = clip(tmp_path / "plain.mp4")
    for offset in (10, 3600, 1_700_000_000):  # the last: seconds since 1970, as cameras write
        source = ffmpeg("-i", plain, "-c", "copy", "-output_ts_offset", offset, tmp_path / "in.mkv")
        target = tmp_path / f"{offset}.mp4"
        reader = copy(source, target, strict=True)
        assert (reader.damage, caplog.messages) == ([], [])
        assert reader.frame_count in range(23, 28)
        assert seconds_of(target) == pytest.approx(offset + np.arange(25) / 25, abs=1.1e-3)
        apart = [tracks(path, "audio")[0].packets[0][0] - float(times(path)[0]) for path in (source, target)]
        assert apart[0] == pytest.approx(apart[1], abs=1.1e-3)
    cut = write(tmp_path / "cut.mkv", source.read_bytes()[: source.stat().st_size * 6 // 10])
    assert "ends at 0." in copy(cut, tmp_path / "out.mp4").damage[0]


def test_one_frame_makes_one_frame(tmp_path: Path):
    source = silent(tmp_path / "in.mp4", "-frames:v", 1)
    copy(source, tmp_path / "out.mp4")
    assert times(tmp_path / "out.mp4") == [0]
    assert duration(tmp_path / "out.mp4") == pytest.approx(0.04)


def test_start_offset_is_kept(tmp_path: Path):
    source = clip(tmp_path / "in.mp4", "-output_ts_offset", 10)
    copy(source, tmp_path / "out.mp4")
    assert times(tmp_path / "out.mp4") == times(source)
    assert times(source)[0] == 10


def test_joined_recordings_whose_times_start_again_play_one_after_the_other(tmp_path: Path):
    once = clip(tmp_path / "once.ts", "-c:a", "aac")
    (tmp_path / "twice.ts").write_bytes(once.read_bytes() * 2)
    copy(tmp_path / "twice.ts", tmp_path / "out.mp4")
    assert np.diff([float(time) for time in times(tmp_path / "out.mp4")]) == pytest.approx(np.full(49, 0.04), abs=1e-3)
    assert len(tracks(tmp_path / "out.mp4", "audio")[0].packets) == 2 * len(tracks(once, "audio")[0].packets)


ORIENTATIONS = [(angle, mirror) for angle in (0, 90, 180, 270) for mirror in ([], ["-display_hflip"])][1:]


@pytest.mark.parametrize(("angle", "mirror"), [*ORIENTATIONS, (0, ["-display_vflip"])])
def test_every_orientation_comes_out_upright_without_a_flag(tmp_path: Path, angle: int, mirror: list[str]):
    plain = silent(tmp_path / "plain.mp4", "-c:v", "libx264", "-pix_fmt", "yuv444p", seconds=0.2)
    source = ffmpeg("-display_rotation", angle, *mirror, "-i", plain, "-c", "copy", tmp_path / "in.mp4")
    copy(source, tmp_path / "out.mkv", codec="ffv1")
    upright = decoded(source)  # ffmpeg rotates by itself
    assert read(tmp_path / "out.mkv").shape == upright.shape
    assert np.abs(read(tmp_path / "out.mkv")[0].astype(int) - upright[0]).mean() < 3
    copy(source, tmp_path / "out.mp4")
    for name in ("out.mkv", "out.mp4"):
        with av.open(str(tmp_path / name)) as container:
            frame = next(container.decode(video=0))
            assert (frame.rotation, (frame.height, frame.width)) == (0, upright.shape[1:3])


def test_pixel_shape_is_kept_and_turns_with_the_picture(tmp_path: Path):
    source = silent(tmp_path / "in.mp4", "-vf", "setsar=4/3")
    turned = ffmpeg("-display_rotation", 90, "-i", source, "-c", "copy", tmp_path / "turned.mp4")
    copy(source, tmp_path / "out.mp4")
    copy(turned, tmp_path / "out_turned.mp4")
    for name in ("only.mkv", "only.mp4"):  # the container knows it, the stream does not
        plain = silent(tmp_path / "plain.mp4", "-frames:v", 2)
        copy(ffmpeg("-i", plain, "-aspect", "64:27", "-c", "copy", tmp_path / name), tmp_path / f"out_{name}")
        with av.open(str(tmp_path / f"out_{name}")) as container:
            assert container.streams.video[0].sample_aspect_ratio == Fraction(16, 9)
    for name, ratio in (("out.mp4", Fraction(4, 3)), ("out_turned.mp4", Fraction(3, 4))):
        with av.open(str(tmp_path / name)) as container:
            assert container.streams.video[0].sample_aspect_ratio == ratio


def test_orientation_that_changes_on_the_way_stays_the_first_with_a_warning(tmp_path: Path, caplog):
    first, second = silent(tmp_path / "1.ts"), silent(tmp_path / "2.mp4")
    turned = (
        "-i",
        second,
        "-c",
        "copy",
        "-bsf:v",
        "h264_metadata=display_orientation=insert:rotate=90",
        "-output_ts_offset",
        2,
    )
    joined = first.read_bytes() + ffmpeg(*turned, tmp_path / "2.ts").read_bytes()
    copy(write(tmp_path / "in.ts", joined), tmp_path / "out.mkv", codec="ffv1")
    assert caplog.messages == ["the orientation changes on the way; all frames are turned like the first"]
    assert np.abs(read(tmp_path / "out.mkv")[25:].astype(int) - read(second)).mean() < 1
    with pytest.raises(InputError, match="changes its orientation; try strict=false"):
        copy(tmp_path / "in.ts", tmp_path / "strict.mp4", strict=True)


def test_what_container_or_stream_crop_is_not_shown(tmp_path: Path):
    plain = silent(tmp_path / "plain.mkv", "-bf", 0, "-aspect", "3:1", "-frames:v", 3)
    content = plain.read_bytes()
    at = content.index(b"\x54\xb0\x81")  # the width and height on the screen become crops of left and bottom
    cropped = content[:at] + b"\x54\xcc\x81\x20\x54\xaa\x81\x10" + content[at + 8 :]
    matroska = write(tmp_path / "in.mkv", cropped)
    whole, wanted = read(plain), read(plain)[:, :80, 32:]
    np.testing.assert_array_equal(read(matroska), wanted)
    np.testing.assert_array_equal(read(ffmpeg("-i", matroska, "-c", "copy", tmp_path / "in.mp4")), wanted)
    assert read(matroska, max_side=48).shape == (3, 40, 48, 3)
    edges = "h264_metadata=crop_left=2:crop_right=4:crop_top=6:crop_bottom=8"
    stream = ffmpeg("-i", plain, "-c", "copy", "-bsf:v", edges, tmp_path / "stream.mp4")
    difference = read(stream).astype(int) - whole[:, 6:-8, 2:-4]
    assert np.abs(difference).mean() < 1  # at the edges, chroma has other neighbours
    turned = ffmpeg("-display_rotation", 90, "-i", matroska, "-c", "copy", tmp_path / "turned.mp4")
    np.testing.assert_array_equal(read(turned), np.rot90(wanted, 1, (1, 2)))


def test_max_side_makes_frames_smaller_in_proportion(tmp_path: Path):
    assert read(silent(tmp_path / "in.mp4"), max_side=64).shape == (25, 48, 64, 3)


def test_size_change_on_the_way_is_resized_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    first, second = silent(tmp_path / "1.ts"), silent(tmp_path / "2.ts", "-output_ts_offset", 2, size="96x128")
    (tmp_path / "in.ts").write_bytes(first.read_bytes() + second.read_bytes())
    copy(tmp_path / "in.ts", tmp_path / "out.mp4")
    assert read(tmp_path / "out.mp4").shape == (50, 96, 128, 3)
    assert "size changes to 96x128" in caplog.text
    with pytest.raises(InputError, match="changes its frame size to 96x128; try strict=false"):
        copy(tmp_path / "in.ts", tmp_path / "strict.mp4", strict=True)
    assert not (tmp_path / "strict.mp4").exists()


def test_interlaced_video_gets_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    read(silent(tmp_path / "in.mp4", "-vf", "interlace", "-flags", "+ilme+ildct"))
    assert "interlaced" in caplog.text


def test_cut_off_video_is_read_to_the_cut_and_reported(tmp_path: Path):
    whole = clip(tmp_path / "whole.mp4", "-movflags", "+faststart", seconds=2).read_bytes()
    source = write(tmp_path / "in.mp4", whole[: len(whole) * 6 // 10])
    reader = copy(source, tmp_path / "out.mp4")
    assert len(times(tmp_path / "out.mp4")) == len(times(source)) > 20
    assert times(tmp_path / "out.mp4") == times(source)
    assert len(reader.damage) == 1
    assert reader.damage[0].endswith("of 2.0 s")
    with pytest.raises(InputError, match="strict=false"):
        copy(source, tmp_path / "strict.mp4", strict=True)
    assert not (tmp_path / "strict.mp4").exists()
    assert not part_path(tmp_path / "strict.mp4").exists()


def test_sound_longer_than_the_pictures_is_no_damage(tmp_path: Path):
    source = ffmpeg(*pictures(1), *tone(3), "-c:v", "libx264", tmp_path / "in.mkv")
    assert copy(source, tmp_path / "out.mp4").damage == []
    assert len(tracks(tmp_path / "out.mp4", "audio")[0].packets) == len(tracks(source, "audio")[0].packets)


def corrupted(path: Path, content: bytes, first: float, last: float, seed: int = 0) -> Path:
    generator, damaged = random.Random(seed), bytearray(content)
    for _ in range(400):
        damaged[generator.randrange(int(len(damaged) * first), int(len(damaged) * last))] = generator.randrange(256)
    return write(path, bytes(damaged))


def test_damaged_middle_is_passed_and_the_timeline_stays(tmp_path: Path):
    whole = clip(tmp_path / "whole.mp4", "-movflags", "+faststart", seconds=2)
    source = corrupted(tmp_path / "in.mp4", whole.read_bytes(), 0.5, 0.75)
    reader = copy(source, tmp_path / "out.mp4")
    assert len(reader.damage) == 1
    assert reader.damage[0].startswith("damaged in")
    assert set(times(tmp_path / "out.mp4")) <= set(times(whole))
    assert len(times(tmp_path / "out.mp4")) >= 35
    assert duration(tmp_path / "out.mp4") == pytest.approx(2, abs=1e-3)
    copy(source, tmp_path / "even.mp4", fps=25)  # the frame before each gap is repeated
    assert times(tmp_path / "even.mp4") == times(whole)
    with pytest.raises(InputError, match="is damaged at"):
        copy(source, tmp_path / "strict.mp4", strict=True)


def test_damaged_end_keeps_the_last_good_frame_until_the_end(tmp_path: Path):
    whole = silent(tmp_path / "whole.mp4", "-movflags", "+faststart", seconds=2)
    source = corrupted(tmp_path / "in.mp4", whole.read_bytes(), 0.92, 1, seed=1)
    assert copy(source, tmp_path / "out.mp4").damage
    assert duration(tmp_path / "out.mp4") == pytest.approx(2, abs=1e-3)


def test_random_damage_ends_in_frames_or_in_one_of_our_errors(tmp_path: Path):
    originals = [clip(tmp_path / name, seconds=0.4).read_bytes() for name in ("a.mp4", "a.mkv", "a.ts")]
    generator = random.Random(0)
    for case in range(60):
        damaged = bytearray(originals[case % 3])
        for _ in range(generator.choice((1, 5, 50))):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        source = write(
            tmp_path / f"in{case}.bin", bytes(damaged[: generator.choice((len(damaged), len(damaged) // 2))])
        )
        target = tmp_path / f"out{case}.mp4"
        try:
            copy(source, target, preset="ultrafast")
        except FastnstError:
            assert not target.exists()
        else:
            assert times(target)
        assert not part_path(target).exists()


def test_reader_decodes_ahead_by_no_more_than_its_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    converted = []
    to_rgb = VideoReader._to_rgb
    monkeypatch.setattr(VideoReader, "_to_rgb", lambda self, frame: converted.append(1) or to_rgb(self, frame))
    with VideoReader(silent(tmp_path / "in.mp4", seconds=4)) as reader:
        for taken, _ in enumerate(reader, start=1):
            assert len(converted) <= taken + QUEUED + 1
            if taken == 20:
                break
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("video")]


@pytest.mark.parametrize("name", ["in.mp4", "in.mkv", "in.ts", "in.gif"])
@pytest.mark.parametrize(("start", "end"), [(0.48, 1.0), (0, 0.2), (1.32, float("inf"))])
def test_part_of_a_video_is_its_frames_from_the_start_time_on_and_before_the_end(tmp_path: Path, name, start, end):
    """Keyframes are 12 frames apart, with B-frames: the part begins between two."""
    coding = ["-c:v", "gif", "-pix_fmt", "rgb8"] if name == "in.gif" else ["-g", 12]
    source = silent(tmp_path / name, *coding, seconds=2, size="64x48")
    whole, first, last = read(source), round(25 * start), min(50, round(25 * min(end, 9)))
    np.testing.assert_array_equal(read(source, start=start, end=end), whole[first:last])


def test_parts_of_a_video_that_meet_are_the_whole(tmp_path: Path):
    source = silent(tmp_path / "in.mp4", seconds=2, size="64x48", rate="30000/1001")
    edges = [0, 0.367, 0.7007, 1.5, float("inf")]
    parts = [read(source, start=start, end=end) for start, end in pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(parts), read(source))


def test_part_begins_when_the_whole_began_and_lasts_as_long_as_it_should(tmp_path: Path):
    source = silent(tmp_path / "in.mp4", "-g", 12, seconds=2, size="64x48")
    reader = copy(source, tmp_path / "out.mp4", start=0.48, end=1.2)
    assert reader.frame_count == 18
    assert times(tmp_path / "out.mp4") == [Fraction(number, 25) for number in range(18)]
    assert duration(tmp_path / "out.mp4") == pytest.approx(0.72)


def test_part_at_a_constant_rate_shows_what_is_on_screen(tmp_path: Path):
    source = silent(tmp_path / "in.mp4", seconds=2, size="64x48")
    copy(source, tmp_path / "out.mkv", fps=5, codec="ffv1", start=0.4, end=1.2)
    np.testing.assert_array_equal(read(tmp_path / "out.mkv"), read(source)[[12, 17, 22, 27]])


def test_part_behind_the_end_fails_with_the_length(tmp_path: Path):
    source = silent(tmp_path / "in.mp4", size="64x48")
    with pytest.raises(ConfigError, match=r"no frame from 5 s to inf s; it has 1\.00 s"):
        VideoReader(source, start=5)


@pytest.mark.parametrize("text", ["", "abc", "1:2:3:4", "-1", "1e9", "0:-1", "inf"])
def test_time_that_is_none_fails_with_examples(text):
    with pytest.raises(ConfigError, match=r"write seconds, 12\.5, or a timestamp"):
        time_named(text)
