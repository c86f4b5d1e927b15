"""Facts about the style pictures drawn by fastnst.paintings: repeatable, scalable, of their palette, nowhere flat."""

import functools

import cv2
import numpy as np
import pytest

from fastnst.errors import ConfigError
from fastnst.paintings import PAINTINGS, paint


@functools.cache
def picture(name: str, size: int = 512) -> np.ndarray:
    return paint(name, size)


def share(image: np.ndarray, hue: tuple[float, float] = (0, 360), saturation: float = 0.0, value: float = 0.0) -> float:
    """Share of pixels with a hue in the range (degrees, may pass 360) and at least that saturation and value."""
    h, s, v = np.moveaxis(cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2HSV), -1, 0)
    low, high = hue
    return float((((h - low) % 360 <= high - low) & (s >= saturation) & (v >= value)).mean())


@pytest.mark.parametrize("name", PAINTINGS)
def test_painting_repeats_byte_for_byte(name):
    again = paint(name, 256)
    assert again.shape == (256, 256, 3)
    assert again.dtype == np.uint8
    np.testing.assert_array_equal(again, picture(name, 256))


@pytest.mark.parametrize("name", PAINTINGS)
def test_painting_keeps_its_composition_at_another_size(name):
    small = picture(name, 256).astype(float)
    reduced = cv2.resize(picture(name), (256, 256), interpolation=cv2.INTER_AREA).astype(float)
    other_seed = paint(name, 256, seed=1).astype(float)
    difference = np.abs(small - reduced).mean()
    assert difference < 12  # of 255
    assert difference < np.abs(small - other_seed).mean() / 2
    np.testing.assert_allclose(small.mean((0, 1)), reduced.mean((0, 1)), atol=8)  # cv2 draws lines a little wider


@pytest.mark.parametrize(("name", "least"), [("picasso", 18), ("liechtenstein", 40), ("clouds", 12), ("wave", 30)])
def test_painting_is_textured_in_every_block(name, least):
    grey = picture(name).mean(-1)
    blocks = grey.reshape(8, 64, 8, 64).std((1, 3))  # standard deviation in each 64-px block
    assert blocks.min() > least


def test_picasso_is_earth_with_cold_blue_and_dark_lines():
    image = picture("picasso")
    assert share(image, hue=(15, 60), saturation=0.12) > 0.45
    assert 0.05 < share(image, hue=(185, 255), saturation=0.15) < 0.35
    assert share(image, saturation=0.8, value=0.7) < 0.02  # nothing garish
    assert (image.max(-1) < 50).mean() > 0.06


def test_liechtenstein_is_primaries_on_black_and_white():
    image = picture("liechtenstein")
    for hue in ((345, 375), (40, 65), (200, 250)):  # red, yellow, blue
        assert share(image, hue, saturation=0.7, value=0.5) > 0.05
    assert (image.max(-1) < 50).mean() > 0.15
    assert (image.min(-1) > 220).mean() > 0.15
    assert share(image, hue=(80, 180), saturation=0.4, value=0.3) < 0.01  # no green


def test_clouds_are_blue_sky_white_light_and_violet_shadow():
    image = picture("clouds")
    assert share(image, hue=(190, 245), saturation=0.3) > 0.3
    assert share(image, hue=(15, 60), saturation=0.05, value=0.85) > 0.1
    assert share(image, hue=(230, 300), saturation=0.08, value=0.3) > 0.03


def test_wave_is_blue_and_paper():
    image = picture("wave")
    blue = share(image, hue=(185, 255), saturation=0.15)
    paper = share(image, hue=(25, 60), value=0.55)
    assert blue > 0.5
    assert paper > 0.12
    assert blue + paper > 0.8


def test_unknown_painting_fails_and_names_the_choices():
    with pytest.raises(ConfigError, match=r"'monet'.*picasso, liechtenstein, clouds, wave"):
        paint("monet")
