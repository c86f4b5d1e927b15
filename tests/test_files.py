"""What a file is, by its content."""

import os

import pytest
from media import silent
from PIL import Image

from fastnst.errors import InputError
from fastnst.files import check_input, kind_of, picture_format

FRAMES = [Image.new("RGB", (16, 12), colour) for colour in ("red", "green", "blue")]


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"])
def test_picture_is_a_picture_whatever_it_is_called(form, tmp_path):
    for ending in (".png", ".mp4", ".webp", ""):
        FRAMES[0].save(tmp_path / f"a{ending}", form)
        assert kind_of(tmp_path / f"a{ending}") == "picture"
        assert picture_format(tmp_path / f"a{ending}") == (form, False)


@pytest.mark.parametrize("form", ["PNG", "GIF", "WEBP"])
def test_picture_that_moves_is_an_animation_whatever_it_is_called(form, tmp_path):
    for ending in (".png", ".gif", ".mp4"):
        FRAMES[0].save(tmp_path / f"a{ending}", form, save_all=True, append_images=FRAMES[1:])
        assert kind_of(tmp_path / f"a{ending}") == "animation"
        FRAMES[0].save(tmp_path / f"b{ending}", form, save_all=True)  # of one frame
        assert kind_of(tmp_path / f"b{ending}") == "picture"


@pytest.mark.parametrize("form", ["PNG", "GIF", "WEBP"])
def test_cut_off_picture_is_a_picture_or_an_animation(form, tmp_path):
    FRAMES[0].save(tmp_path / "whole", form, save_all=True, append_images=FRAMES[1:])
    whole = (tmp_path / "whole").read_bytes()
    for length in range(12, len(whole), 5):
        (tmp_path / "a.mp4").write_bytes(whole[:length])
        assert kind_of(tmp_path / "a.mp4") in ("picture", "animation")


@pytest.mark.parametrize("brand", [b"heic", b"mif1", b"avif"])
def test_heif_is_a_picture_and_its_sequences_are_videos(brand, tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1miaf")
    assert kind_of(tmp_path / "a.mp4") == "picture"
    FRAMES[0].save(tmp_path / "b.avif", "AVIF", save_all=True, append_images=FRAMES[1:])
    assert kind_of(tmp_path / "b.avif") == "video"


def test_what_the_content_does_not_say_the_ending_says(tmp_path):
    for name, kind in {
        "a.png": "picture",
        "a.JXL": "picture",
        "a.mp4": "video",
        "a": "video",
        "BMW.txt": "video",
    }.items():
        (tmp_path / name).write_text("BMW is no picture")
        assert kind_of(tmp_path / name) == kind
    assert kind_of(tmp_path / "missing.jpg") == "picture"


def test_video_is_a_video_whatever_it_is_called(tmp_path):
    for form in ("mp4", "matroska", "avi"):
        assert kind_of(silent(tmp_path / "a.jpg", "-f", form, seconds=0.1, size="32x24")) == "video"


def test_named_pipe_is_not_waited_for(tmp_path):
    for name in ("a.png", "a.mp4", "a"):
        os.mkfifo(tmp_path / name)
        assert kind_of(tmp_path / name) == ("picture" if name == "a.png" else "video")
        with pytest.raises(InputError, match="it is not a file"):
            check_input(tmp_path / name, "input")
