"""Masks: outside them the input stays to the bit, and soft edges stay soft."""

from pathlib import Path

import numpy as np
import pytest
import torch
from media import ffmpeg, read, silent
from PIL import Image
from torch import nn

from fastnst.errors import InputError
from fastnst.mask import masked
from fastnst.settings import VideoSettings
from fastnst.stylizer import Stylizer


class Inverse(nn.Module):
    def forward(self, content):
        return 1 - content


STYLIZER = Stylizer(Inverse(), "cpu")


def settings(mask: object, **options) -> VideoSettings:
    return VideoSettings(mask=str(mask), codec="ffv1", batch=2, **options)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Five frames of RGB without loss, 32x24."""
    return silent(tmp_path / "in.mkv", "-c:v", "ffv1", "-pix_fmt", "bgr0", seconds=0.5, size="32x24", rate=10)


def halves(path: Path, size: tuple[int, int] = (32, 24)) -> Path:
    """A mask whose right half is white."""
    pixels = np.zeros((size[1], size[0]), np.uint8)
    pixels[:, size[0] // 2 :] = 255
    Image.fromarray(pixels).save(path)
    return path


def through_codec(source: Path, out: Path, stylizer: Stylizer | None = None) -> np.ndarray:
    """The frames stylized as a whole, or left as they are, by the same way through a file."""
    asked = VideoSettings(codec="ffv1") if stylizer is None else VideoSettings(codec="ffv1", smooth=0.0)
    (stylizer or STYLIZER).video(source, out, asked)
    return read(out).astype(int)


@pytest.mark.parametrize("invert", [False, True])
def test_outside_a_mask_the_input_stays_to_the_bit(tmp_path: Path, clip: Path, invert: bool):
    STYLIZER.video(clip, tmp_path / "out.mkv", settings(halves(tmp_path / "mask.png"), mask_invert=invert))
    found = read(tmp_path / "out.mkv")
    left, right = slice(0, 14), slice(18, 32)  # a codec with half the colours mixes two columns at the edge
    kept, painted = (right, left) if invert else (left, right)
    same = through_codec(clip, tmp_path / "same.mkv", Stylizer(nn.Identity(), "cpu"))
    np.testing.assert_array_equal(found[:, :, kept], same[:, :, kept])
    np.testing.assert_array_equal(found[:, :, painted], through_codec(clip, tmp_path / "all.mkv")[:, :, painted])


def test_masked_mixes_by_the_mask_and_rounds():
    content, stylized = torch.full((1, 3, 1, 4), 100).byte(), torch.full((1, 3, 1, 4), 200).byte()
    mask = torch.tensor([0, 51, 128, 255]).byte().view(1, 1, 1, 4)
    assert masked(content, stylized, mask)[0, 0, 0].tolist() == [100, 120, 150, 200]


def test_mask_of_another_size_is_scaled_with_soft_edges(tmp_path: Path):
    Image.new("RGB", (32, 24), (100, 100, 100)).save(tmp_path / "in.png")
    mask = halves(tmp_path / "mask.png", (8, 6))
    STYLIZER.picture(tmp_path / "in.png", tmp_path / "out.png", settings(mask))
    row = np.array(Image.open(tmp_path / "out.png"))[12, :, 0]
    assert (row[:14] == 100).all()
    assert (row[18:] == 155).all()
    assert (np.diff(row.astype(int)) >= 0).all()
    assert len(set(row.tolist())) > 3


def test_mask_that_is_a_video_is_followed_frame_by_frame(tmp_path: Path, clip: Path):
    for number in range(5):
        Image.new("L", (32, 24), 255 * (number % 2)).save(tmp_path / f"{number}.png")
    mask = ffmpeg(
        "-framerate", 10, "-i", tmp_path / "%d.png", "-c:v", "ffv1", "-pix_fmt", "gray", tmp_path / "mask.mkv"
    )
    STYLIZER.video(clip, tmp_path / "out.mkv", settings(mask))
    found, painted = read(tmp_path / "out.mkv"), through_codec(clip, tmp_path / "all.mkv")
    same = through_codec(clip, tmp_path / "same.mkv", Stylizer(nn.Identity(), "cpu"))
    np.testing.assert_array_equal(found[1::2], painted[1::2])
    np.testing.assert_array_equal(found[::2], same[::2])


def test_alpha_of_the_input_can_be_the_mask(tmp_path: Path):
    pixels = np.zeros((24, 32, 4), np.uint8)
    pixels[..., :3], pixels[:, 16:, 3] = 100, 255
    Image.fromarray(pixels).save(tmp_path / "in.png")
    STYLIZER.picture(tmp_path / "in.png", tmp_path / "out.png", settings("alpha", background="#0000ff"))
    found = np.array(Image.open(tmp_path / "out.png"))
    assert (found[:, :16] == (0, 0, 255)).all()
    assert (found[:, 16:] == 155).all()
    ffmpeg(
        "-loop", 1, "-framerate", 10, "-t", 0.5, "-i", tmp_path / "in.png", "-c:v", "qtrle", "-pix_fmt", "argb",
        tmp_path / "in.mov",
    )  # fmt: skip
    STYLIZER.video(tmp_path / "in.mov", tmp_path / "out.mkv", settings("alpha", background="black"))
    frames = read(tmp_path / "out.mkv").astype(int)
    assert np.abs(frames[:, :, :14]).max() <= 2
    assert np.abs(frames[:, :, 18:] - 155).max() <= 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seconds": 1, "rate": 10}, "as many frames, not 10 and 5"),
        ({"seconds": 0.5, "rate": 20}, "one frame rate, not 20 and 10 fps"),
    ],
)
def test_mask_of_another_length_or_rate_fails_with_both_numbers(tmp_path: Path, clip: Path, options, words):
    mask = silent(tmp_path / "mask.mp4", size="32x24", **options)
    with pytest.raises(InputError, match=words):
        STYLIZER.video(clip, tmp_path / "out.mkv", settings(mask))
    assert not (tmp_path / "out.mkv").exists()


def test_mask_that_is_not_there_fails_before_anything_is_written(tmp_path: Path, clip: Path):
    with pytest.raises(InputError, match=r"cannot read mask '.*none\.png': there is no such file"):
        STYLIZER.video(clip, tmp_path / "out.mkv", settings(tmp_path / "none.png"))
    assert not list(tmp_path.glob("out*"))
