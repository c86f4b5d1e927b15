import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from fastnst.images import load_image
from fastnst.profiles import ADOBE, PRIMARIES, matrix_profile

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def patch(colour, mode="RGB") -> Image.Image:
    return Image.new(mode, (24, 16), colour)


def loaded(picture: Image.Image, path, **options) -> tuple[Any, list[str]]:
    """The colour of a picture after it was saved and loaded, and the notices."""
    notices: list[str] = []
    picture.save(path, **options)
    return load_image(path, notice=notices.append).getpixel((12, 8)), notices


def chunks(path, *names_and_contents: tuple[bytes, bytes]) -> None:
    """Puts chunks into a PNG, behind its head."""
    whole, info = path.read_bytes(), io.BytesIO()
    for name, content in names_and_contents:
        info.write(struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content)))
    path.write_bytes(whole[:33] + info.getvalue() + whole[33:])


@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "webp", "avif"])
def test_adobe_rgb_becomes_srgb(ending, tmp_path):
    profile = matrix_profile(ADOBE, 563 / 256)  # (180, 119, 66) in Adobe RGB (1998) is (200, 120, 60) in sRGB
    colour, notices = loaded(patch((180, 119, 66)), tmp_path / f"a.{ending}", icc_profile=profile)
    assert np.allclose(colour, (200, 120, 60), atol=0 if ending in ("png", "tif") else 3)
    assert notices == []


def test_display_p3_becomes_srgb(tmp_path):
    profile = matrix_profile(PRIMARIES[12], None)
    assert loaded(patch((234, 51, 35)), tmp_path / "a.png", icc_profile=profile)[0] == pytest.approx((255, 0, 0), abs=3)


def test_transparent_picture_is_converted_before_it_is_laid_on_the_background(tmp_path):
    picture = patch((180, 119, 66, 255), "RGBA")
    picture.putpixel((0, 0), (0, 0, 0, 0))
    colour, _ = loaded(picture, tmp_path / "a.png", icc_profile=matrix_profile(ADOBE, 563 / 256))
    assert colour == (200, 120, 60)
    assert load_image(tmp_path / "a.png").getpixel((0, 0)) == (255, 255, 255)


def test_profile_of_srgb_changes_no_bit(tmp_path):
    levels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    for number, profile in enumerate((SRGB, matrix_profile(PRIMARIES[1], None))):
        Image.fromarray(levels).save(tmp_path / f"{number}.png", icc_profile=profile)
        assert np.array_equal(np.asarray(load_image(tmp_path / f"{number}.png")), levels)


def test_grey_picture_with_a_profile_of_rgb_stays_grey(tmp_path):
    colour, notices = loaded(patch(100, "L"), tmp_path / "a.png", icc_profile=SRGB)
    assert colour == (100, 100, 100)
    assert notices == []


@pytest.mark.parametrize("profile", [b"no profile", SRGB[:200], SRGB])
def test_cmyk_with_a_profile_that_does_not_fit_is_converted_with_a_notice(profile, tmp_path):
    colour, notices = loaded(patch((0, 0, 0, 0), "CMYK"), tmp_path / "a.jpg", icc_profile=profile)
    assert colour == (255, 255, 255)
    assert notices == ["the colour profile is damaged, or not for this kind of picture: the colours are taken as sRGB"]


def test_cmyk_goes_through_its_profile(tmp_path):
    colour, notices = loaded(patch((0, 0, 0, 0), "CMYK"), tmp_path / "a.jpg", icc_profile=cmyk_profile())
    assert notices == []
    assert colour == pytest.approx((255, 255, 255), abs=3)
    colour, _ = loaded(patch((255, 0, 0, 0), "CMYK"), tmp_path / "b.jpg", icc_profile=cmyk_profile())
    assert colour == pytest.approx((119, 119, 119), abs=4)  # as this profile has it; without one, (0, 255, 255)
    colour, notices = loaded(patch((255, 0, 0, 0), "CMYK"), tmp_path / "c.jpg")
    assert colour == pytest.approx((0, 255, 255), abs=4)
    assert notices == ["CMYK picture without a colour profile: its colours are a guess"]


def cmyk_profile() -> bytes:
    """A CMYK profile in which any full ink is a grey of lightness 50, and no ink white."""
    inks = np.stack(np.meshgrid(*[[0, 1]] * 4, indexing="ij"), -1).reshape(16, 4)
    lightness = np.where(inks.any(1), 50, 100)
    lab = np.stack([np.round(lightness / 100 * 255), np.full(16, 128), np.full(16, 128)], 1).astype(np.uint8)
    ramp = bytes(range(256))
    table = struct.pack(">4sIBBBx9i", b"mft1", 0, 4, 3, 2, 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table += ramp * 4 + lab.tobytes() + ramp * 3
    tags = {b"A2B0": table, b"wtpt": b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)}
    index, body, start = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        index += struct.pack(">4sII", name, start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(">I4sI4s4s4s12x4s28x3i", start + len(body), b"", 0x02400000, b"prtr", b"CMYK", b"Lab ", b"acsp",
                       63190, 65536, 54061)  # fmt: skip
    return head.ljust(128, b"\0") + index + body


def srgb_light(colour) -> np.ndarray:
    level = np.array(colour) / 255
    return np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)


def test_gamma_and_primaries_of_a_png_count_where_nothing_else_does(tmp_path):
    assert loaded(patch((55, 55, 55)), tmp_path / "a.png")[0] == (55, 55, 55)
    chunks(tmp_path / "a.png", (b"gAMA", struct.pack(">I", 100_000)))  # linear light
    assert load_image(tmp_path / "a.png").getpixel((0, 0)) == pytest.approx((128, 128, 128), abs=1)
    patch((180, 119, 66)).save(tmp_path / "b.png")
    corners = struct.pack(">8I", *(round(each * 100_000) for each in ADOBE))
    chunks(tmp_path / "b.png", (b"gAMA", struct.pack(">I", 45_455)), (b"cHRM", corners))
    light = np.array([1.3983, -0.3983, 0, 0, 1, 0, 0, -0.0429, 1.0429]).reshape(3, 3) @ srgb_light((180, 119, 66))
    found = srgb_light(load_image(tmp_path / "b.png").getpixel((0, 0)))
    assert np.allclose(found, light, atol=0.004)
    patch((55, 55, 55)).save(tmp_path / "c.png")
    chunks(tmp_path / "c.png", (b"sRGB", b"\0"), (b"gAMA", struct.pack(">I", 100_000)))
    assert load_image(tmp_path / "c.png").getpixel((0, 0)) == (55, 55, 55)


def test_code_points_of_a_png_and_of_an_avif_count(tmp_path):
    notices: list[str] = []
    patch((234, 51, 35)).save(tmp_path / "a.png")
    chunks(tmp_path / "a.png", (b"cICP", bytes([12, 13, 0, 1])))
    assert load_image(tmp_path / "a.png", notice=notices.append).getpixel((0, 0)) == pytest.approx((255, 0, 0), abs=3)
    patch((234, 51, 35)).save(tmp_path / "a.avif", quality=100)
    whole = (tmp_path / "a.avif").read_bytes()
    before, after = struct.pack(">HH", 1, 13), struct.pack(">HH", 12, 13)
    assert whole.count(b"colrnclx" + before) == 1
    (tmp_path / "a.avif").write_bytes(whole.replace(b"colrnclx" + before, b"colrnclx" + after))
    assert load_image(tmp_path / "a.avif", notice=notices.append).getpixel((9, 9)) == pytest.approx((255, 0, 0), abs=5)
    assert notices == []
    patch((9, 9, 9)).save(tmp_path / "b.png")
    chunks(tmp_path / "b.png", (b"cICP", bytes([9, 16, 0, 1])))
    load_image(tmp_path / "b.png", notice=notices.append)
    assert notices == ["HDR picture: taken as SDR, so its brightness is not right; save it as SDR first"]


def test_cameras_mark_for_adobe_rgb_counts(tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA005] = {1: "R03", 2: b"0100"}
    patch((180, 119, 66)).save(tmp_path / "a.jpg", quality=100, exif=exif)
    assert load_image(tmp_path / "a.jpg").getpixel((9, 9)) == pytest.approx((200, 120, 60), abs=3)
