"""Pictures that move: GIF, APNG and WebP, read and written."""

from typing import Any

import numpy as np
import pytest
from media import silent
from PIL import Image

from fastnst.errors import ConfigError, InputError, OutputError
from fastnst.video.animation import AnimationWriter, loops_of
from fastnst.video.opening import find_videos
from fastnst.video.reader import VideoReader
from fastnst.video.writer import VideoWriter

DURATIONS = [100, 40, 200, 60, 500]  # ms
FRAMES = [Image.new("RGB", (32, 24), (50 * number, 100, 250 - 50 * number)) for number in range(5)]


def animation(path, form=None, **options):
    """A picture that moves; the format follows from the ending unless `form` names it."""
    options = {"duration": DURATIONS, "loop": 3, "lossless": True} | options
    FRAMES[0].save(path, form, save_all=True, append_images=FRAMES[1:], **options)
    return path


def shown(path) -> tuple[list[float], list[Any]]:
    """How long each frame is shown, ms, and its colour, as Pillow reads them."""
    durations, colours = [], []
    with Image.open(path, formats=("GIF", "PNG", "WEBP")) as picture:
        for number in range(getattr(picture, "n_frames", 1)):
            picture.seek(number)
            colours.append(picture.convert("RGB").getpixel((9, 9)))
            durations.append(picture.info["duration"])
    return durations, colours


def copied(source, out, **options) -> int:
    with VideoReader(source, **options) as reader, AnimationWriter(out, reader) as writer:
        for frames in reader:
            writer.write(frames)
    return writer.frames_written


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp"])
def test_every_frame_comes_at_its_time(name, tmp_path):
    path = animation(tmp_path / name)
    with VideoReader(path, batch=5) as reader:
        frames = next(iter(reader))
        assert [float(each * reader.time_base) * 1000 for each in frames.durations] == pytest.approx(DURATIONS)
        assert [float(each * reader.time_base) * 1000 for each in frames.pts] == pytest.approx([0, 100, 140, 340, 400])
        for pixels, frame in zip(frames.pixels, FRAMES, strict=True):
            assert pixels[:, 9, 9].tolist() == pytest.approx(frame.getpixel((9, 9)), abs=2)
    assert reader.damage == []


@pytest.mark.parametrize("out", ["b.gif", "b.png", "b.apng", "b.webp"])
@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp"])
def test_copy_has_the_same_frames_times_and_loops(name, out, tmp_path):
    source = animation(tmp_path / name)
    assert copied(source, tmp_path / out) == 5
    durations, colours = shown(tmp_path / out)
    assert durations == DURATIONS
    assert np.allclose(colours, np.array([frame.getpixel((9, 9)) for frame in FRAMES]), atol=6)
    assert loops_of(tmp_path / out) == loops_of(source) == (4 if name == "a.gif" else 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, out])


def test_gif_that_is_played_once_is_played_once(tmp_path):
    FRAMES[0].save(tmp_path / "a.gif", save_all=True, append_images=FRAMES[1:])
    for name in ("b.gif", "b.webp"):
        copied(tmp_path / "a.gif", tmp_path / name)
        assert loops_of(tmp_path / name) == 1


def test_transparent_webp_is_laid_on_the_background(tmp_path):
    frames = [Image.new("RGBA", (8, 8), (255, 0, 0, alpha)) for alpha in (0, 255)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True, duration=50)
    copied(tmp_path / "a.webp", tmp_path / "b.png", background="#0A141E")
    with Image.open(tmp_path / "b.png", formats=("PNG",)) as picture:
        assert picture.convert("RGB").getpixel((4, 4)) == (10, 20, 30)
        picture.seek(1)
        assert picture.convert("RGB").getpixel((4, 4)) == (255, 0, 0)


@pytest.mark.parametrize("name", ["a.webp", "a.png"])
def test_animation_becomes_a_video_of_the_same_length(name, tmp_path):
    with VideoReader(animation(tmp_path / name)) as reader, VideoWriter(tmp_path / "b.mp4", reader) as writer:
        for frames in reader:
            writer.write(frames)
    with VideoReader(tmp_path / "b.mp4", batch=9) as reader:
        frames = next(iter(reader))
        assert float(sum(frames.durations) * reader.time_base) == pytest.approx(0.9, abs=0.001)
        assert len(frames.pts) == 5


def test_gif_of_a_fast_video_leaves_out_what_no_browser_shows(tmp_path, caplog):
    written = copied(silent(tmp_path / "a.mp4", seconds=0.5, rate=100, size="32x24"), tmp_path / "b.gif")
    durations, _ = shown(tmp_path / "b.gif")
    assert sum(durations) == pytest.approx(500, abs=10)
    assert min(durations) >= 20
    assert len(durations) == written == 25
    assert ".gif shows 50 frames a second at most: 25 left out" in caplog.text


def test_constant_rate_repeats_frames(tmp_path):
    assert copied(animation(tmp_path / "a.webp"), tmp_path / "b.webp", fps=10) == 9
    assert shown(tmp_path / "b.webp")[0] == [100] * 9


def test_frame_of_minutes_keeps_its_time(tmp_path):
    source = animation(tmp_path / "a.webp", duration=[100, 90_000, 50, 50, 50])
    for name in ("b.png", "b.webp", "b.gif"):
        copied(source, tmp_path / name)
        assert shown(tmp_path / name)[0][1] == 90_000


def test_error_leaves_no_file_and_keeps_the_old_one(tmp_path):
    source = animation(tmp_path / "a.gif")
    (tmp_path / "b.gif").write_bytes(b"old")
    with pytest.raises(OutputError, match="exists"):
        copied(source, tmp_path / "b.gif")
    with VideoReader(source) as reader:
        writer = AnimationWriter(tmp_path / "b.gif", reader, overwrite=True)
        writer.write(next(iter(reader)))
        writer.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert (tmp_path / "b.gif").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gif", "b.gif"]


def test_video_is_not_written_to_a_name_of_a_picture(tmp_path):
    source = silent(tmp_path / "a.mp4", seconds=0.1, size="32x24")
    with pytest.raises(ConfigError, match=r"called like a picture.*\.apng, \.gif and \.webp move"):
        copied(source, tmp_path / "b.png")


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.jpg"])
def test_picture_that_does_not_move_is_no_video(name, tmp_path):
    FRAMES[0].save(tmp_path / name)
    with pytest.raises(InputError, match="it is a picture"):
        VideoReader(tmp_path / name)


def test_damaged_webp_gives_the_frames_before_the_damage(tmp_path):
    whole = animation(tmp_path / "a.webp").read_bytes()
    (tmp_path / "b.webp").write_bytes(whole[: len(whole) * 2 // 3])
    try:
        with VideoReader(tmp_path / "b.webp") as reader:
            assert 1 <= sum(len(frames.pts) for frames in reader) < 5
    except InputError as error:
        assert "cannot read video" in str(error)  # noqa: PT017


def test_webp_over_the_limit_of_pixels_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("fastnst.video.opening.MAX_FRAME_PIXELS", 700)
    with pytest.raises(InputError, match="32x24 is over"):
        VideoReader(animation(tmp_path / "a.webp"))


def test_frame_too_large_for_the_format_is_refused(tmp_path):
    with VideoReader(animation(tmp_path / "a.gif")) as reader:
        reader.width = 70_000
        with pytest.raises(OutputError, match=r"70000x24 is over 65535.*max_side"):
            AnimationWriter(tmp_path / "b.gif", reader)


def test_animations_are_found_among_videos_and_pictures_are_not(tmp_path):
    for name in ("a.gif", "b.webp", "c.png"):
        animation(tmp_path / name)
    for name in ("d.gif", "e.webp", "f.png", "g.apng"):
        FRAMES[0].save(tmp_path / name, "PNG" if name == "g.apng" else None)
    (tmp_path / "h.mp4").touch()
    assert [path.name for path in find_videos(tmp_path)] == ["a.gif", "b.webp", "c.png", "h.mp4"]
