import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from fastnst.errors import ConfigError
from fastnst.samples import sample_photos
from fastnst.training.photos import Photos, centre_box, cropped, find_photos, flattened, random_box


def test_crop_is_a_function_of_its_key(photo_folder):
    photos = Photos(find_photos(photo_folder)[0], 48)
    first, again, other = photos[(3, (0, 1))], photos[(3, (0, 1))], photos[(3, (0, 2))]
    assert torch.equal(first["content"], again["content"])
    assert first["seed"] == again["seed"] != other["seed"]
    assert not torch.equal(first["content"], other["content"])


def test_flat_crops_show_less_of_the_same_crops_or_in_another_light(photo_folder):
    paths, keys = find_photos(photo_folder)[0], [(3, (0, place)) for place in range(20)]
    none, half, every = ([Photos(paths, 48, flat=share)[key]["content"] for key in keys] for share in (0.0, 0.5, 1.0))
    assert not any(torch.equal(a, b) for a, b in zip(none, every, strict=True))
    detail = [[crop.diff(dim=2).abs().mean() for crop in crops] for crops in (none, every)]
    assert all(less <= 1.001 * more for more, less in zip(*detail, strict=True))
    assert sum(less < 0.7 * more for more, less in zip(*detail, strict=True)) >= 10
    assert all(crop.min() >= 0 and crop.max() <= 1 for crop in every)
    assert 4 <= sum(torch.equal(a, b) for a, b in zip(none, half, strict=True)) <= 16
    assert torch.equal(
        Photos(paths, 48, flat=1.0, augment=False)[keys[0]]["content"], Photos(paths, 48, False)[keys[0]]["content"]
    )


class Drawn(np.random.Generator):
    """Numbers that are no chance: of the four ways of `flattened` the wanted one, then two thirds of a range."""

    def __init__(self, way):
        super().__init__(np.random.PCG64(0))
        self.way = way

    def random(self, count):  # pyright: ignore[reportIncompatibleMethodOverride]
        return np.array([0.0 if place == self.way else 1.0 for place in range(count)])

    def uniform(self, low, high):  # pyright: ignore[reportIncompatibleMethodOverride]
        return (low + 2 * high) / 3


def test_each_way_of_being_flat_does_what_it_says():
    crop = 0.3 + 0.4 * torch.rand(3, 40, 40)
    plain, low, shifted, blurred = (flattened(crop, Drawn(way)) for way in range(4))  # pyright: ignore
    torch.testing.assert_close(plain.diff(dim=2).diff(dim=2), torch.zeros(3, 40, 38), atol=1e-6, rtol=0)  # straight
    torch.testing.assert_close(plain[:, 0, 0], crop[:, :20, :20].mean((1, 2)))
    torch.testing.assert_close(low.mean((1, 2)), crop.mean((1, 2)))
    torch.testing.assert_close(low.std((1, 2)), crop.std((1, 2)) * 1.3 / 3)
    torch.testing.assert_close(shifted, crop + 0.35 / 3)
    assert blurred.diff(dim=2).abs().mean() < 0.1 * crop.diff(dim=2).abs().mean()
    torch.testing.assert_close(flattened(crop, Drawn(None)), low)  # pyright: ignore  # none drawn is low contrast


@pytest.mark.parametrize("size", [(40, 300), (300, 40), (1, 1), (33, 33)])
def test_crops_have_the_size_asked_for(size):
    image = Image.new("RGB", size, (10, 20, 30))
    for box in (random_box(size, np.random.default_rng(0)), centre_box(size)):
        content = cropped(image, 64, *box)
        assert content.shape == (3, 64, 64)
        torch.testing.assert_close(content[:, 0, 0] * 255, torch.tensor([10.0, 20.0, 30.0]))


def test_unusable_files_are_named_with_the_reason(photo_folder, tmp_path):
    good = Image.open(photo_folder / "00.png")
    good.save(tmp_path / "good.jpg")
    good.convert("CMYK").save(tmp_path / "cmyk.jpg")
    good.quantize(8).save(tmp_path / "palette.png")
    (tmp_path / "sub").mkdir()
    Image.fromarray(np.full((50, 50), 40000, np.uint16)).save(tmp_path / "sub" / "deep.png")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "page.jpg").write_text("<html>")
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    (tmp_path / "half.jpg").write_bytes((tmp_path / "good.jpg").read_bytes()[:1500])
    (tmp_path / "live.jpg").write_bytes((tmp_path / "good.jpg").read_bytes() + bytes(9000))  # phones append a film
    (tmp_path / "bomb.png").write_bytes(bomb(30000))
    (tmp_path / "wide.png").write_bytes(bomb(11000))
    (tmp_path / "notes.txt").write_text("no picture")
    photos, bad = find_photos(tmp_path)
    assert [path.name for path in photos] == ["cmyk.jpg", "good.jpg", "live.jpg", "palette.png", "deep.png"]
    assert bad == {
        "empty.jpg": "empty file", "page.jpg": "not a picture", "dot.png": "only 1x1 pixels", "half.jpg": "truncated",
        "bomb.png": "over 100 million pixels", "wide.png": "over 100 million pixels",
    }  # fmt: skip
    data = Photos(photos, 32)
    assert all(data[(number, (0,))]["unreadable"] == [] for number in range(5))


def bomb(side: int) -> bytes:
    """A PNG whose header promises `side` x `side` pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rest = b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in (header, b"IDAT" + zlib.compress(bytes(1000)), b"IEND")
    )
    return b"\x89PNG\r\n\x1a\n" + rest


def test_photo_is_turned_as_its_exif_says(photo_folder, tmp_path):
    upright, exif = Image.open(photo_folder / "00.png"), Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    upright.save(tmp_path / "a.png")
    upright.rotate(90, expand=True).save(tmp_path / "b.png", exif=exif)
    data = Photos([tmp_path / "a.png", tmp_path / "b.png"], 32)
    assert torch.equal(data[(0, (0,))]["content"], data[(1, (0,))]["content"])


def test_photo_that_breaks_later_is_replaced_and_named(photo_folder, tmp_path):
    for name in ("a.jpg", "b.jpg"):
        Image.open(photo_folder / "01.png").save(tmp_path / name)
    photos, _ = find_photos(tmp_path)
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:600])
    item = Photos(photos, 32)[(0, (0,))]
    assert item["unreadable"] == ["a.jpg"]
    assert item["content"].std() > 0


@pytest.mark.parametrize("content", [None, "empty", "only bad"])
def test_folder_without_photos_fails(content, tmp_path):
    if content == "only bad":
        (tmp_path / "x.jpg").write_text("no")
    with pytest.raises(ConfigError, match="no folder" if content is None else "no photos in"):
        find_photos(tmp_path / "nothing" if content is None else tmp_path)


def test_sample_photos_come_with_pip_packages():
    photos = sample_photos()
    assert len(photos) >= 10
    assert {"astronaut.png", "china.jpg"} <= {path.name for path in photos}
    assert Photos(photos, 32)[(0, (0,))]["unreadable"] == []


def test_links_to_folders_are_followed_and_loops_are_not(photo_folder, tmp_path):
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    Image.open(photo_folder / "00.png").save(root / "sub" / "a.png")
    (root / "more").symlink_to(photo_folder)
    (root / "sub" / "up").symlink_to(root)
    (root / "twice").symlink_to(photo_folder)
    (root / "gone").symlink_to(tmp_path / "nothing")
    photos, bad = find_photos(root)
    assert len(photos) == 13
    assert bad == {}


def test_hidden_files_and_what_macos_leaves_in_zips_are_not_looked_at(photo_folder, tmp_path):
    Image.open(photo_folder / "00.png").save(tmp_path / "a.png")
    for name in ("__MACOSX/._a.png", "._b.jpg", ".cache/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\0\5\x16\7")
    assert find_photos(tmp_path) == ([tmp_path / "a.png"], {})
