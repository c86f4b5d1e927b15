"""What counts as a video, and what is refused."""

from pathlib import Path

import pytest
from media import clip, ffmpeg, pictures, read, silent, tone, write

from fastnst.errors import InputError
from fastnst.video.opening import find_videos
from fastnst.video.reader import VideoReader


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


def test_cover_picture_beside_a_video_is_not_the_video(tmp_path: Path):
    cover = silent(tmp_path / "cover.png", "-c:v", "png", "-frames:v", 1, size="640x480")
    source = ffmpeg(
        *pictures(), "-i", cover, "-map", 1, "-map", 0, "-c:v:0", "mjpeg", "-c:v:1", "libx264",
        "-disposition:v:0", "attached_pic", tmp_path / "in.mp4",
    )  # fmt: skip
    assert read(source).shape == (25, 96, 128, 3)


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


def test_videos_of_a_folder_are_found_by_every_ending_that_is_read(tmp_path: Path):
    (tmp_path / "deep").mkdir()
    names = ["a.avi", "b.TS", "c.mpg", "d.m4v", "e.mp4", "deep/f.mov"]
    for name in [*names, ".hidden.mp4", "notes.txt", "picture.png"]:
        (tmp_path / name).touch()
    (tmp_path / "folder.mp4").mkdir()
    assert find_videos(tmp_path) == [tmp_path / name for name in names[:-1]]
    assert find_videos(tmp_path, deep=True) == sorted(tmp_path / name for name in names)


def test_hevc_crops_to_the_pixel(tmp_path: Path):
    plain = silent(tmp_path / "in.mp4", "-c:v", "libx265", "-x265-params", "log-level=none", seconds=0.2)
    edges = "hevc_metadata=crop_left=2:crop_right=4:crop_top=6:crop_bottom=8"
    cropped = ffmpeg("-i", plain, "-c", "copy", "-bsf:v", edges, tmp_path / "cropped.mp4")
    assert abs(read(cropped).astype(int) - read(plain)[:, 6:-8, 2:-4]).mean() < 1
