"""Facts about the style pictures that ship: as drawn, scalable, of their palette, nowhere flat."""

import hashlib

import cv2
import numpy as np
import pytest

from fastnst.checkpoint import load_checkpoint
from fastnst.errors import InputError
from fastnst.images import load_style, paintings
from paintings.draw import PAINTINGS, SIZE, paint


def picture(name: str) -> np.ndarray:
    return load_style(name, SIZE)


def share(image: np.ndarray, hue: tuple[float, float] = (0, 360), saturation: float = 0.0, value: float = 0.0) -> float:
    """Share of pixels with a hue in the range (degrees, may pass 360) and at least that saturation and value."""
    h, s, v = np.moveaxis(cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2HSV), -1, 0)
    low, high = hue
    return float((((h - low) % 360 <= high - low) & (s >= saturation) & (v >= value)).mean())


@pytest.mark.parametrize("name", PAINTINGS)
def test_picture_that_ships_is_the_drawing(name):
    np.testing.assert_allclose(picture(name).astype(int), paint(name), atol=1)  # another processor may round otherwise


@pytest.mark.parametrize("name", PAINTINGS)
def test_net_that_ships_names_its_picture_by_hash(name):
    recipe = load_checkpoint(name).recipe
    pixels = load_style(name, recipe["style_size"])
    assert hashlib.sha256(pixels.tobytes()).hexdigest() == recipe["style_sha256"]


def test_drawing_keeps_its_composition_at_another_size():
    large = paint("wave", 2 * SIZE)
    reduced = cv2.resize(large, (SIZE, SIZE), interpolation=cv2.INTER_AREA).astype(float)
    assert np.abs(picture("wave") - reduced).mean() < 12  # of 255
    np.testing.assert_allclose(picture("wave").mean((0, 1)), reduced.mean((0, 1)), atol=8)  # cv2 draws lines wider


@pytest.mark.parametrize(("name", "least"), [("picasso", 18), ("liechtenstein", 40), ("clouds", 12), ("wave", 30)])
def test_painting_is_textured_in_every_block(name, least):
    grey = picture(name).mean(-1)
    blocks = grey.reshape(6, 64, 6, 64).std((1, 3))  # standard deviation in each 64-px block
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


def test_name_of_a_picture_wins_over_a_file_and_a_path_does_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("black.png", np.zeros((16, 16, 3), np.uint8))
    (tmp_path / "black.png").rename("wave")
    assert load_style("wave", 16).any()
    assert not load_style("./wave", 16).any()


def test_unknown_picture_fails():
    with pytest.raises(InputError, match="'monet'"):
        load_style("monet", 64)
    assert set(paintings()) == set(PAINTINGS)
