import errno
import os
import random
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
import pytest
import torch
from media import clip, decoded, duration, ffmpeg, pictures, silent, times, tone, tracks

from fastnst.errors import ConfigError, EnvironmentFault, FastnstError, InputError, OutputError
from fastnst.video import containers
from fastnst.video import files as video
from fastnst.video.containers import part_path
from fastnst.video.files import QUEUED, VideoReader, VideoWriter
from fastnst.video.parts import State, save_state, whole_frames


def copy(
    source: Path, target: Path, batch: int = 3, max_side: int | None = None, strict: bool = False, fps=None, **coding
) -> VideoReader:
    """Sends a video through reader and writer with the identity as the net."""
    with (
        VideoReader(source, batch, max_side, strict, fps=fps) as reader,
        VideoWriter(target, reader, **coding) as writer,
    ):
        for frames in reader:
            writer.write(frames)
    return reader


def read(path: Path, **options) -> np.ndarray:
    """All frames as (T, H, W, 3) uint8."""
    with VideoReader(path, **options) as reader:
        return torch.cat([frames.pixels for frames in reader]).permute(0, 2, 3, 1).numpy()


# timing


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
    rate = Fraction(fps)
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
    assert set(np.diff(found)) == {Fraction(1001, 30000)}
    assert len(found) == 30


def test_constant_frame_rate_bears_rounded_times_and_single_frames(tmp_path: Path):
    source = silent(tmp_path / "in.mkv", "-c:v", "ffv1", rate=30)  # Matroska: 33, 67, 100 ms
    copy(source, tmp_path / "out.mkv", fps=30, codec="ffv1")
    np.testing.assert_array_equal(read(tmp_path / "out.mkv"), read(source))
    one = silent(tmp_path / "one.mp4", "-frames:v", 1)
    copy(one, tmp_path / "out.mp4", fps=1)
    assert (times(tmp_path / "out.mp4"), duration(tmp_path / "out.mp4")) == ([0], 1)


@pytest.mark.parametrize("name", ["in.avi", "in.mkv", "in.ts", "in.flv", "in.gif", "in.h264", "in.mpg"])
def test_every_usual_format_keeps_frame_count_and_intervals(tmp_path: Path, name: str):
    options = {
        "in.avi": ["-c:v", "mpeg4"],
        "in.gif": ["-c:v", "gif"],
        "in.mpg": ["-c:v", "mpeg2video"],
        "in.flv": ["-c:v", "flv1"],
    }
    source = silent(tmp_path / name, *options.get(name, []))
    copy(source, tmp_path / "out.mp4")
    assert len(times(tmp_path / "out.mp4")) == 25
    assert np.diff([float(time) for time in times(tmp_path / "out.mp4")]) == pytest.approx(np.full(24, 0.04), abs=1e-3)


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


# sound and what else surrounds the pictures


def test_every_sound_track_is_copied_bit_for_bit_with_its_language_and_times(tmp_path: Path):
    source = ffmpeg(
        *pictures(2), *tone(2), *tone(2, 880), "-map", 0, "-map", 1, "-map", 2, "-c:v", "libx264", "-c:a:0", "aac",
        "-c:a:1", "ac3", "-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=fra", tmp_path / "in.mp4",
    )  # fmt: skip
    copy(source, tmp_path / "out.mp4")
    found, wanted = tracks(tmp_path / "out.mp4", "audio"), tracks(source, "audio")
    assert [track.language for track in found] == ["eng", "fra"]
    for a, b in zip(found, wanted, strict=True):
        assert [content for _, content in a.packets] == [content for _, content in b.packets]
        assert [time for time, _ in a.packets] == pytest.approx([time for time, _ in b.packets], abs=1e-3)


def test_sound_that_starts_late_starts_as_late(tmp_path: Path):
    source = ffmpeg(*pictures(), "-itsoffset", "0.5", *tone(), "-c:v", "libx264", "-c:a", "aac", tmp_path / "in.mp4")
    copy(source, tmp_path / "out.mp4")
    found, wanted = tracks(tmp_path / "out.mp4", "audio")[0], tracks(source, "audio")[0]
    assert found.packets[0][0] == pytest.approx(wanted.packets[0][0], abs=1e-3)
    assert wanted.packets[0][0] > 0.4


@pytest.mark.parametrize(("name", "codec"), [("in.mov", "pcm_s16le"), ("in.mkv", "libopus"), ("in.mkv", "flac")])
def test_other_sound_codecs_are_copied_too(tmp_path: Path, name: str, codec: str):
    source = clip(tmp_path / name, "-c:a", codec)
    copy(source, tmp_path / f"out{source.suffix}")
    found, wanted = tracks(tmp_path / f"out{source.suffix}", "audio")[0], tracks(source, "audio")[0]
    assert b"".join(part for _, part in found.packets) == b"".join(part for _, part in wanted.packets)


def test_sound_of_a_transport_stream_loses_its_wrapping_only(tmp_path: Path):
    source = clip(tmp_path / "in.ts", "-c:a", "aac")
    copy(source, tmp_path / "out.mp4")
    found, wanted = tracks(tmp_path / "out.mp4", "audio")[0], tracks(source, "audio")[0]
    assert [part for _, part in found.packets] == [part[7:] for _, part in wanted.packets]  # 7 bytes of ADTS header


def test_sound_that_the_format_refuses_is_encoded_anew_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    source = clip(tmp_path / "in.mp4", seconds=2)
    copy(source, tmp_path / "out.webm")
    assert [track.codec for track in tracks(tmp_path / "out.webm", "audio")] == ["opus"]
    assert "webm cannot hold aac sound: encoded anew with libopus" in caplog.text
    with av.open(str(tmp_path / "out.webm")) as container:
        sound = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    assert len(sound) / 48000 == pytest.approx(2, abs=0.06)
    assert abs(np.fft.rfft(sound)).argmax() * 48000 / len(sound) == pytest.approx(440, abs=2)


def sound_of(path: Path) -> np.ndarray:
    """The first sound track from time 0 on, at its own rate, its channels added up."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    parts = [np.zeros(round((frames[0].time or 0) * frames[0].sample_rate))]
    for frame in frames:
        samples = frame.to_ndarray()
        channels = samples if frame.format.is_planar else samples.reshape(frame.samples, -1).T
        parts.append(channels.sum(0) / (1 if samples.dtype.kind == "f" else 2**15))
    return np.concatenate(parts)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("in.mp4", ["-c:a", "aac"]),
        ("in.mov", ["-c:a", "pcm_s16le"]),
        ("in.mkv", ["-c:a", "pcm_s16le", "-ar", 8000]),  # Matroska does not say which channel it is
        ("in.mkv", ["-c:a", "libopus"]),
    ],
)
def test_audio_aac_encodes_anew_and_keeps_time_pitch_and_rate(tmp_path: Path, caplog, name: str, options: list):
    source = ffmpeg(*pictures(2), "-itsoffset", 0.5, *tone(), "-c:v", "libx264", *options, tmp_path / name)
    copy(source, tmp_path / "out.mp4", audio="aac")
    assert [track.codec for track in tracks(tmp_path / "out.mp4", "audio")] == ["aac"]
    assert tracks(tmp_path / "out.mp4", "audio")[0].packets != tracks(source, "audio")[0].packets
    with av.open(str(source)) as container, av.open(str(tmp_path / "out.mp4")) as out:
        rate = out.streams.audio[0].rate
        assert rate == container.streams.audio[0].rate
    found, wanted = sound_of(tmp_path / "out.mp4"), sound_of(source)
    starts = [(np.abs(sound) > 0.05).argmax() / rate for sound in (found, wanted)]
    assert starts[0] == pytest.approx(starts[1], abs=3e-3)  # a lossy codec blurs the start a little
    assert starts[1] == pytest.approx(0.5, abs=0.01)
    assert abs(np.fft.rfft(found)).argmax() * rate / len(found) == pytest.approx(440, abs=2)
    assert not caplog.text


def test_audio_aac_takes_every_track_with_its_language_and_joined_recordings(tmp_path: Path):
    two = ffmpeg(
        *pictures(), *tone(), *tone(1, 880), "-map", 0, "-map", 1, "-map", 2, "-c:v", "libx264", "-c:a:0", "aac",
        "-c:a:1", "ac3", "-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=fra", tmp_path / "in.mp4",
    )  # fmt: skip
    copy(two, tmp_path / "out.mp4", audio="aac")
    assert [(track.codec, track.language) for track in tracks(tmp_path / "out.mp4", "audio")] == [
        ("aac", "eng"), ("aac", "fra"),
    ]  # fmt: skip
    once = clip(tmp_path / "once.ts", "-c:a", "aac")
    (tmp_path / "twice.ts").write_bytes(once.read_bytes() * 2)
    copy(tmp_path / "twice.ts", tmp_path / "twice.mp4", audio="aac")
    seconds = [time for time, _ in tracks(tmp_path / "twice.mp4", "audio")[0].packets]
    assert seconds[-1] - seconds[0] == pytest.approx(2.1, abs=0.1)
    assert min(np.diff(seconds)) > 0


def test_audio_none_leaves_out_sound_only_and_says_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "s.srt").write_text("1\n00:00:00,200 --> 00:00:00,800\nHello\n")
    three = ("-i", tmp_path / "s.srt", "-map", 0, "-map", 1, "-map", 2)
    source = ffmpeg(*pictures(), *tone(), *three, "-c:v", "libx264", tmp_path / "in.mkv")
    copy(source, tmp_path / "out.mkv", audio="none")
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert [stream.type for stream in container.streams] == ["video", "subtitle"]
    assert len(times(tmp_path / "out.mkv")) == 25
    assert not caplog.text


@pytest.mark.parametrize(("codec", "layout"), [("ac3", "5.1"), ("pcm_s16le", "5.1"), ("flac", "4.0")])
def test_surround_sound_is_encoded_anew_in_a_layout_that_the_encoder_takes(tmp_path: Path, codec: str, layout: str):
    pan = f"pan={layout}|" + "|".join(f"c{i}=c0" for i in range(av.AudioLayout(layout).nb_channels))
    source = clip(tmp_path / "in.mkv", "-af", pan, "-c:a", codec)
    with av.open(str(source)) as container:
        assert container.streams.audio[0].channels == av.AudioLayout(layout).nb_channels
    copy(source, tmp_path / "out.webm")
    with av.open(str(tmp_path / "out.webm")) as container:
        stream = container.streams.audio[0]
        assert (stream.codec_context.name, stream.layout.name) == ("opus", {"4.0": "stereo"}.get(layout, layout))
    sound = sound_of(tmp_path / "out.webm")
    assert abs(np.fft.rfft(sound)).argmax() * 48000 / len(sound) == pytest.approx(440, abs=2)


def test_subtitles_chapters_and_titles_are_kept_where_the_format_can(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "s.srt").write_text("1\n00:00:00,200 --> 00:00:00,800\nHello\n")
    chapter = "[CHAPTER]\nTIMEBASE=1/1000\nSTART={}\nEND={}\ntitle={}\n"
    chapters = chapter.format(0, 500, "One") + chapter.format(500, 1000, "Two")
    (tmp_path / "tags.txt").write_text(f";FFMETADATA1\ntitle=Film\n{chapters}")
    wanted = ("-i", tmp_path / "s.srt", "-i", tmp_path / "tags.txt", "-map", 0, "-map", 1, "-map_metadata", 2)
    for name, codec in (("in.mkv", "srt"), ("in.mp4", "mov_text")):
        source = ffmpeg(*pictures(), *wanted, "-map_chapters", 2, "-c:v", "libx264", "-c:s", codec, tmp_path / name)
        out = tmp_path / f"out_{name}"
        copy(source, out)
        with av.open(str(out)) as container:
            assert container.metadata["title"] == "Film"
            assert [chapter["metadata"]["title"] for chapter in container.chapters()] == ["One", "Two"]
        assert b"Hello" in b"".join(part for _, part in tracks(out, "subtitle")[0].packets)
    assert not caplog.text
    copy(tmp_path / "in.mp4", tmp_path / "out.webm")
    assert "webm cannot hold these tracks, left out: 1 (subtitle, mov_text)" in caplog.text


def test_cover_picture_beside_a_video_is_not_the_video(tmp_path: Path):
    cover = silent(tmp_path / "cover.png", "-c:v", "png", "-frames:v", 1, size="640x480")
    source = ffmpeg(
        *pictures(), "-i", cover, "-map", 1, "-map", 0, "-c:v:0", "mjpeg", "-c:v:1", "libx264",
        "-disposition:v:0", "attached_pic", tmp_path / "in.mp4",
    )  # fmt: skip
    assert read(source).shape == (25, 96, 128, 3)


def test_a_subtitle_track_without_subtitles_is_no_obstacle(tmp_path: Path):
    (tmp_path / "s.srt").write_text("1\n00:00:05,000 --> 00:00:06,000\nToo late\n")
    both = ("-i", tmp_path / "s.srt", "-map", 0, "-map", 1, "-t", 1, "-c:v", "libx264", "-c:s", "mov_text")
    copy(ffmpeg(*pictures(), *both, tmp_path / "in.mp4"), tmp_path / "out.mp4")
    assert len(times(tmp_path / "out.mp4")) == 25


# size, shape and colour


def luma(path: Path) -> np.ndarray:
    """The luma of all frames as it is coded, (T, H, W)."""
    with av.open(str(path)) as container:
        return np.stack([frame.reformat(format="yuv420p").to_ndarray()[: frame.height] for frame in container.decode()])


@pytest.mark.parametrize(("size", "even"), [("127x95", "128x96"), ("127x96", "128x96"), ("128x95", "128x96")])
def test_odd_size_is_padded_to_even_by_the_edge_where_the_codec_has_no_odd_one(tmp_path: Path, caplog, size, even):
    crop = ("-vf", f"format=yuv444p,crop={size.replace('x', ':')}:0:0,setsar=4/3")
    source = silent(tmp_path / "in.mp4", *crop, "-c:v", "libx264", "-pix_fmt", "yuv444p", seconds=0.2)
    width, height = map(int, size.split("x"))
    copy(source, tmp_path / "out.mp4", crf=0)  # lossless
    assert caplog.messages == [f"{size} padded to {even}, as libx264 has even sizes only"]
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.video[0]
        assert f"{stream.width}x{stream.height}" == even
        assert (stream.codec_context.pix_fmt, stream.sample_aspect_ratio) == ("yuv420p", Fraction(4, 3))
        frame = next(container.decode(stream))
        assert f"{frame.width}x{frame.height}" == even
    caplog.clear()
    copy(source, tmp_path / "odd.mkv", codec="libx264rgb", crf=0)
    exact, padded = read(tmp_path / "odd.mkv"), luma(tmp_path / "out.mp4")
    assert exact.shape == (5, height, width, 3)
    assert exact.tobytes() == read(source).tobytes()
    wanted = np.pad(exact @ [0.1826, 0.6142, 0.0620] + 16, ((0, 0), (0, height % 2), (0, width % 2)), "edge")
    assert np.abs(padded - wanted).max() <= 1
    np.testing.assert_array_equal(padded[:, :, width:], padded[:, :, width - 1 : width][:, :, : width % 2])
    np.testing.assert_array_equal(padded[:, height:], padded[:, height - 1 : height][:, : height % 2])
    copy(source, tmp_path / "out.webm")  # VP9 has odd sizes
    assert read(tmp_path / "out.webm").shape == (5, height, width, 3)
    assert not caplog.text


@pytest.mark.parametrize("angle", [90, 180, 270])
def test_rotated_video_comes_out_upright_without_a_flag(tmp_path: Path, angle: int):
    plain = silent(tmp_path / "plain.mp4", "-c:v", "libx264", "-pix_fmt", "yuv444p")
    source = ffmpeg("-display_rotation", angle, "-i", plain, "-c", "copy", tmp_path / "in.mp4")
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
    for name, ratio in (("out.mp4", Fraction(4, 3)), ("out_turned.mp4", Fraction(3, 4))):
        with av.open(str(tmp_path / name)) as container:
            assert container.streams.video[0].sample_aspect_ratio == ratio


def test_max_side_makes_frames_smaller_in_proportion(tmp_path: Path):
    assert read(silent(tmp_path / "in.mp4"), max_side=64).shape == (25, 48, 64, 3)


COLOUR = np.array([200, 50, 30])


def colour_clip(path: Path, size: str, matrix: str, *options: object, limited: bool = True) -> Path:
    """A clip of one colour in the matrix "709" or "170m", without any tag unless `options` add one."""
    convert = f"format=gbrp,zscale=matrix={matrix}:range={'limited' if limited else 'full'},format=yuv420p"
    untagged = "setparams=colorspace=unknown:color_primaries=unknown:color_trc=unknown"
    source = ["-f", "lavfi", "-i", f"color=0xC8321E:s={size}:r=25:d=0.2", "-vf", f"{convert},{untagged}"]
    return ffmpeg(*source, "-c:v", "libx264", "-crf", 1, *options, path)


@pytest.mark.parametrize(
    ("size", "matrix", "options"),
    [
        ("1280x720", "709", []),  # untagged HD is BT.709
        ("128x96", "170m", []),  # untagged SD is BT.601
        ("128x96", "709", ["-bsf:v", "h264_metadata=matrix_coefficients=1"]),  # a tag decides
        ("1280x720", "170m", ["-bsf:v", "h264_metadata=matrix_coefficients=6"]),
    ],
)
def test_colours_are_read_by_tag_or_by_size(tmp_path: Path, size: str, matrix: str, options: list[str]):
    source = colour_clip(tmp_path / "in.mp4", size, matrix, *options)
    assert np.abs(read(source).astype(int) - COLOUR).max() <= 2


def test_full_range_is_read_as_full_range(tmp_path: Path):
    source = colour_clip(
        tmp_path / "in.mp4", "128x96", "170m", "-bsf:v", "h264_metadata=video_full_range_flag=1", limited=False
    )
    assert np.abs(read(source).astype(int) - COLOUR).max() <= 2


@pytest.mark.parametrize(
    ("size", "matrix", "options"),
    [
        ("128x96", "170m", []),
        ("1280x720", "709", []),
        ("128x96", "170m", ["-bsf:v", "h264_metadata=video_full_range_flag=1"]),
    ],
)
def test_output_is_tagged_bt709_and_another_program_sees_the_same_colours(tmp_path: Path, size, matrix, options):
    source = colour_clip(tmp_path / "in.mp4", size, matrix, *options, limited=not options)
    copy(source, tmp_path / "out.mp4", crf=1)
    with av.open(str(tmp_path / "out.mp4")) as container:
        frame, context = next(container.decode(video=0)), container.streams.video[0].codec_context
        assert (frame.colorspace, context.color_primaries, context.color_trc, frame.color_range) == (1, 1, 1, 1)
    assert (
        np.abs(decoded(tmp_path / "out.mp4", "zscale=matrix=gbr:range=full", "format=gbrp").astype(int) - COLOUR).max()
        <= 2
    )


def test_identity_changes_a_moving_picture_by_less_than_two_levels(tmp_path: Path):
    source = silent(tmp_path / "in.mp4", "-crf", 1, "-vf", "gblur=4", size="320x240")
    copy(source, tmp_path / "out.mp4", crf=1)
    difference = read(tmp_path / "out.mp4").astype(int) - read(source)
    assert np.abs(difference).mean() < 2
    assert abs(difference.mean()) < 0.2


def test_lossless_codec_keeps_every_pixel(tmp_path: Path):
    source = silent(tmp_path / "in.mp4")
    copy(source, tmp_path / "out.mkv", codec="ffv1")
    np.testing.assert_array_equal(read(tmp_path / "out.mkv"), read(source))


def test_ten_bit_and_grey_videos_are_read(tmp_path: Path):
    plain = read(silent(tmp_path / "plain.mkv", "-c:v", "ffv1", "-pix_fmt", "yuv444p", "-vf", "hue=s=0"))
    ten = silent(tmp_path / "ten.mkv", "-c:v", "ffv1", "-pix_fmt", "yuv444p10le", "-vf", "hue=s=0")
    grey = silent(
        tmp_path / "grey.mkv", "-c:v", "ffv1", "-pix_fmt", "gray", "-vf", "hue=s=0,format=yuv444p,format=gray"
    )
    assert np.abs(read(ten).astype(int) - plain).mean() < 1
    assert np.abs(read(grey).astype(int) - plain).mean() < 1


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("in.mov", ["prores_ks", "-profile:v", 4444, "-pix_fmt", "yuva444p10le"]),
        ("in.webm", ["libvpx-vp9", "-pix_fmt", "yuva420p"]),
    ],
)
def test_transparent_video_is_laid_on_white_and_said(tmp_path: Path, caplog, name: str, options: list):
    half = "format=rgba,geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)':a='255*gt(X,63)'"
    source = silent(tmp_path / name, "-vf", half, "-c:v", *options, seconds=0.2)
    frames = read(source)
    assert frames[:, :, :60].min() >= 253
    assert frames[:, :, 68:].std() > 40
    assert "laid on white" in caplog.text
    red = read(source, background="#C8321E")[:, :, :60].astype(int)
    assert np.abs(red - COLOUR).max() <= 2


@pytest.mark.parametrize(
    ("curve", "coding"),
    [
        ("smpte2084", ["in.mkv", "-c:v", "ffv1"]),
        ("arib-std-b67", ["in.mkv", "-c:v", "ffv1"]),
        ("smpte2084", ["in.mp4", "-c:v", "libx265", "-x265-params", "lossless=1:log-level=none"]),  # HDR10, as filmed
    ],
)
def test_hdr_is_tone_mapped_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture, curve: str, coding: list[str]):
    """A grey ramp that ends at 100 cd/m2."""
    to_hdr = f"zscale=pin=bt709:tin=bt709:min=gbr:rin=full:p=bt2020:t={curve}:m=bt2020nc:r=limited:npl=100"
    ramp = f"format=gbrp,geq=r='2*X':g='2*X':b='2*X',{to_hdr},format=yuv444p10le"
    tags = ["-color_primaries", "bt2020", "-color_trc", curve, "-colorspace", "bt2020nc", "-color_range", "tv"]
    black = ["-f", "lavfi", "-i", "color=s=128x96:r=25:d=0.2"]
    grey = ffmpeg(*black, "-vf", ramp, *tags, *coding[1:], tmp_path / coding[0])
    levels = read(grey)[0, 48].astype(int)
    assert caplog.messages == ["HDR video: tone-mapped to SDR BT.709"]
    assert np.abs(levels[:, 0] - levels[:, 1]).max() <= 2  # grey stays grey
    assert np.diff(levels[:, 0]).min() >= 0  # darker stays darker
    assert levels[0, 0] <= 1
    assert 150 < levels[-1, 0] < 200  # 100 of 203 cd/m2: BT.709's curve gives 0.49**0.45 = 0.70 of 255 = 178


def test_size_change_on_the_way_is_resized_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    first, second = silent(tmp_path / "1.ts"), silent(tmp_path / "2.ts", "-output_ts_offset", 2, size="96x128")
    (tmp_path / "in.ts").write_bytes(first.read_bytes() + second.read_bytes())
    copy(tmp_path / "in.ts", tmp_path / "out.mp4")
    assert read(tmp_path / "out.mp4").shape == (50, 96, 128, 3)
    assert "size changes to 96x128" in caplog.text
    with pytest.raises(InputError, match="changes its frame size to 96x128; try strict=false"):
        copy(tmp_path / "in.ts", tmp_path / "strict.mp4", strict=True)
    assert not (tmp_path / "strict.mp4").exists()


def test_interlaced_video_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    read(silent(tmp_path / "in.mp4", "-vf", "interlace", "-flags", "+ilme+ildct"))
    assert "interlaced" in caplog.text


# what cannot be read, or not all of it


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def unreadable(folder: Path) -> dict[str, Path]:
    good = clip(folder / "good.mp4").read_bytes()
    return {
        "no such file": folder / "missing.mp4",
        "a folder": folder,
        "empty": write(folder / "empty.mp4", b""),
        "no video, or": write(folder / "text.mp4", b"hi\n"),
        "index is missing": write(folder / "cut.mp4", good[: len(good) * 6 // 10]),
        "it is no video": write(folder / "playlist.mp4", b"#EXTM3U\n#EXTINF:1,\ngood.mp4\n#EXT-X-ENDLIST\n"),
        "no video": write(folder / "concat.mp4", b"ffconcat version 1.0\nfile good.mp4\n"),
        "no video stream": ffmpeg(*tone(), folder / "sound.m4a"),
        "no frame|no video": silent(folder / "none.mkv", "-frames:v", 0),
        "no such": Path("http://127.0.0.1:9/in.mp4"),
    }


def test_unreadable_inputs_fail_with_the_reason(tmp_path: Path):
    for reason, path in unreadable(tmp_path).items():
        with pytest.raises(InputError, match=reason):
            VideoReader(path)


def test_sound_with_a_cover_picture_is_no_video(tmp_path: Path):
    cover = silent(tmp_path / "cover.png", "-c:v", "png", "-frames:v", 1)
    source = ffmpeg(
        *tone(),
        "-i",
        cover,
        "-map",
        0,
        "-map",
        1,
        "-c:v",
        "copy",
        "-disposition:v:0",
        "attached_pic",
        tmp_path / "in.m4a",
    )
    with pytest.raises(InputError, match="no video stream"):
        VideoReader(source)


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


# writing


def test_little_free_space_is_said_at_the_start(tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch):
    source = silent(tmp_path / "in.mp4")
    copy(source, tmp_path / "out.mp4")
    assert not caplog.text
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=source.stat().st_size - 1))
    copy(source, tmp_path / "out2.mp4")
    assert "MB are free for" in caplog.text


def test_existing_output_is_refused_unless_overwritten(tmp_path: Path):
    source, target = silent(tmp_path / "in.mp4"), write(tmp_path / "out.mp4", b"old")
    with pytest.raises(OutputError, match="overwrite=true"):
        copy(source, target)
    assert target.read_bytes() == b"old"
    copy(source, target, overwrite=True)
    assert len(times(target)) == 25


@pytest.mark.parametrize("link", [None, os.symlink, os.link])
def test_input_is_never_overwritten(tmp_path: Path, link):
    source = silent(tmp_path / "in.mp4")
    before = source.read_bytes()
    target = source
    if link:
        target = tmp_path / "link.mp4"
        link(source, target)
    with pytest.raises(OutputError, match="the input itself"):
        copy(source, target, overwrite=True)
    assert source.read_bytes() == before


def test_input_under_the_name_of_the_part_is_refused(tmp_path: Path):
    source = silent(tmp_path / "out.part.mp4")
    with pytest.raises(OutputError, match="is the input"):
        copy(source, tmp_path / "out.mp4")


def test_wrong_outputs_are_refused_before_anything_is_written(tmp_path: Path):
    source = silent(tmp_path / "in.mp4")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ConfigError, match=r"use \.mp4, \.m4v, \.mov, \.mkv, \.webm"):
        copy(source, tmp_path / "out.foo")
    with pytest.raises(OutputError, match="does not exist"):
        copy(source, tmp_path / "nowhere" / "out.mp4")
    with pytest.raises(ConfigError, match="does not support"):
        copy(source, tmp_path / "out.webm", codec="libx264")
    with pytest.raises(EnvironmentFault, match="no encoder 'nonsense'"):
        copy(source, tmp_path / "out.mp4", codec="nonsense")
    with pytest.raises(EnvironmentFault, match="is no encoder for video"):
        copy(source, tmp_path / "out.mp4", codec="aac")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="here the encoder may start")
def test_encoder_without_its_hardware_fails_by_name(tmp_path: Path):
    with pytest.raises(EnvironmentFault, match="h264_nvenc does not start"):
        copy(silent(tmp_path / "in.mp4"), tmp_path / "out.mp4", codec="h264_nvenc")
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_preset_may_be_a_number_and_the_encoder_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture):
    copy(silent(tmp_path / "in.mp4", seconds=0.2), tmp_path / "out.mp4", codec="libsvtav1", preset=12)
    assert (video_codec(tmp_path / "out.mp4"), capfd.readouterr()) == ("libdav1d", ("", ""))
    assert len(times(tmp_path / "out.mp4")) == 5


def video_codec(path: Path) -> str:
    with av.open(str(path)) as container:
        return container.streams.video[0].codec_context.name


def test_codec_auto_tries_the_encoder_of_the_gpu_and_falls_back_with_one_notice(tmp_path: Path, caplog, monkeypatch):
    source = silent(tmp_path / "in.mp4", seconds=0.2)
    copy(source, tmp_path / "cpu.mp4")
    monkeypatch.setattr(containers, "GPU_ENCODER", "libx265")  # one that starts, whatever machine this is
    copy(source, tmp_path / "gpu.mp4", gpu=True)
    copy(source, tmp_path / "gpu.webm", gpu=True)
    found = [video_codec(tmp_path / name) for name in ("cpu.mp4", "gpu.mp4", "gpu.webm")]
    assert (found, caplog.messages) == (["h264", "hevc", "vp9"], [])
    for name in ("h264_nvenc", "nonsense"):
        caplog.clear()
        monkeypatch.setattr(containers, "GPU_ENCODER", name)
        copy(source, tmp_path / f"{name}.mkv", gpu=True)
        assert video_codec(tmp_path / f"{name}.mkv") == "h264"
        if name == "nonsense" or not torch.cuda.is_available():
            assert caplog.messages == [f"{name} does not start here: the video is encoded by libx264, on the CPU"]
    assert len(times(tmp_path / "nonsense.mkv")) == 5


def test_a_part_of_another_encoder_is_not_gone_on_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source, target = silent(tmp_path / "in.mp4"), tmp_path / "out.mp4"

    def stop() -> None:
        with VideoReader(source) as reader, VideoWriter(target, reader, made_of={}) as writer:
            writer.write(next(iter(reader)))
            writer._drain(0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    monkeypatch.setattr(containers, "GPU_ENCODER", "libx265")
    with pytest.raises(OutputError, match="it was made with another codec"):
        copy(source, target, gpu=True, made_of={}, resume=True)
    assert part_path(target).exists()


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


def test_part_of_an_earlier_run_is_said_and_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    write(tmp_path / "out.part.mp4", b"half")
    copy(silent(tmp_path / "in.mp4"), tmp_path / "out.mp4")
    assert "left by a run that did not finish" in caplog.text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        *(("out.mp4", "libx264"), ("out.mov", "libx264"), ("out.mkv", "libx264"), ("out.mp4", "libx265")),
        ("out.webm", "libvpx-vp9"),  # with its sound encoded anew
    ],
)
def test_resumed_after_a_kill_equals_an_uninterrupted_run(tmp_path: Path, name: str, codec: str):
    """What lies on the disk at a moment is what a kill at that moment leaves."""
    source = clip(tmp_path / "in.mp4", "-vf", "setpts=PTS+0.3*mod(N\\,3)/25/TB", seconds=8)  # uneven times
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
    fsync, save = os.fsync, video.save_state

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
    monkeypatch.setattr(video, "save_state", check)
    for ending in ("mp4", "mkv"):
        copy(source, tmp_path / f"out.{ending}", made_of={}, batch=1)
        assert [state.frames for state in states] == [50, 100, 150]
        states.clear()
        assert synced[f"out.part.{ending}"] == (tmp_path / f"out.{ending}").read_bytes()  # before it was renamed


def test_a_part_without_a_whole_group_of_pictures_is_begun_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    source, part = silent(tmp_path / "in.mp4"), part_path(tmp_path / "out.mp4")
    write(part, b"half")
    save_state(part, {"codec": "libx264"}, State(frames=50))
    copy(source, tmp_path / "out.mp4", resume=True, made_of={})
    assert "does not yet hold a whole group of pictures: begun anew" in caplog.text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


def test_a_resumed_render_that_fails_puts_back_what_it_went_on_from(tmp_path: Path):
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


def test_names_of_255_bytes_work(tmp_path: Path):
    target = tmp_path / f"{'é' * 125}x.mp4"
    assert len(os.fsencode(target.name)) == 255
    copy(silent(tmp_path / "in.mp4"), target)
    assert len(times(target)) == 25


# the background threads


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


def test_no_thread_or_file_is_left_open(tmp_path: Path):
    source = clip(tmp_path / "in.mp4")
    copy(source, tmp_path / "out.mp4")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("video")]
    held = [str(entry.readlink()) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    assert not [name for name in held if str(tmp_path) in name]


def test_memory_does_not_grow_with_the_length_of_the_video(tmp_path: Path):
    code = """
import sys, torch
from fastnst.stylizer import Stylizer
Stylizer(torch.nn.Identity(), "cpu").video(*sys.argv[1:], preset="ultrafast")
"""

    def peak(seconds: int) -> float:
        source = silent(tmp_path / f"{seconds}.mp4", "-preset", "ultrafast", seconds=seconds, size="640x480")
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
        process = subprocess.Popen(
            [sys.executable, "-c", code, source, tmp_path / f"out{seconds}.mp4"], env=environment
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return usage.ru_maxrss / 1024  # MB

    assert peak(8) - peak(4) < 40  # 100 frames more are 92 MB in 8-bit RGB
