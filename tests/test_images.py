import struct
import sys
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from fastnst.errors import InputError, OutputError
from fastnst.images import load_image, load_style, save_image, to_array, to_float, to_tensor, to_uint8


def test_bytes_survive_the_round_trip_through_floats():
    levels = torch.arange(256, dtype=torch.uint8).view(1, 16, 16).expand(3, 16, 16)
    assert torch.equal(to_uint8(to_float(levels)), levels)


def test_to_float_leaves_its_argument_alone():
    levels = torch.full((3, 2, 2), 200, dtype=torch.uint8)
    to_float(levels)
    assert levels.unique().tolist() == [200]


def test_array_survives_the_round_trip_through_tensors():
    array = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    assert to_tensor(array).shape == (3, 5, 7)
    assert np.array_equal(to_array(to_tensor(array)), array)


def test_saved_png_is_loaded_to_the_bit(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    save_image(array, tmp_path / "a b (1).png")
    assert np.array_equal(np.asarray(load_image(tmp_path / "a b (1).png")), array)
    assert [path.name for path in tmp_path.iterdir()] == ["a b (1).png"]


def test_16_bit_ramp_is_a_ramp(tmp_path):
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)
    Image.fromarray(np.tile(ramp, (4, 1))).save(tmp_path / "ramp.png")
    assert np.asarray(load_image(tmp_path / "ramp.png"))[0, :, 0].tolist() == list(range(256))


@pytest.mark.parametrize("levels", [[0, 250], [0, 300, 65535]])
def test_16_bit_grey_is_scaled_from_its_full_range_not_from_its_maximum(levels, tmp_path):
    picture = np.array([levels], np.uint16)
    Image.fromarray(picture).save(tmp_path / "a.png")
    Image.fromarray(picture).save(tmp_path / "a.tif")
    for path in tmp_path.iterdir():
        assert np.asarray(load_image(path))[0, :, 0].tolist() == [round(level / 257) for level in levels]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["u2", "i2", "u4", "i4"])
def test_tiff_of_whole_numbers_is_scaled_from_its_types_full_range(kind, order, tmp_path):
    largest = np.iinfo(kind).max
    levels = np.array([[0, largest // 4, largest]], order + kind)
    path = tiff(tmp_path / "a.tif", levels, {"u": 1, "i": 2}[kind[0]])
    if kind == "u4" and order == ">":  # which Pillow does not read
        with pytest.raises(InputError, match="cannot read picture"):
            load_image(path)
    else:
        assert np.asarray(load_image(path))[0, :, 0].tolist() == [0, 64, 255]


def test_tiff_whose_zero_is_white_is_inverted(tmp_path):
    path = tiff(tmp_path / "a.tif", np.array([[0, 65535]], "<u2"), 1, zero_is_white=True)
    assert np.asarray(load_image(path))[0, :, 0].tolist() == [255, 0]


def test_floats_from_0_to_1_are_as_they_are_and_others_are_cut_with_a_notice(tmp_path):
    notices = []
    Image.fromarray(np.array([[0, 0.5, 1]], np.float32)).save(tmp_path / "a.tif")
    assert np.asarray(load_image(tmp_path / "a.tif", notice=notices.append))[0, :, 0].tolist() == [0, 128, 255]
    assert notices == []
    Image.fromarray(np.array([[-1, 0.5, 7, np.nan]], np.float32)).save(tmp_path / "b.tif")
    assert np.asarray(load_image(tmp_path / "b.tif", notice=notices.append))[0, :, 0].tolist() == [0, 128, 255, 0]
    assert notices == ["a picture of numbers from -1 to 7: 0 and less is black, 1 and more is white"]


def tiff(path, levels: np.ndarray, samples: int, zero_is_white: bool = False):
    """Writes a grey TIFF of one strip; `samples` is 1 for unsigned numbers, 2 for signed ones, 3 for floats."""
    order = ">" if levels.dtype.byteorder == ">" else "<"
    (height, width), bits = levels.shape, levels.dtype.itemsize * 8
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, int(not zero_is_white)), (273, 200), (277, 1)]
    tags += [(278, height), (279, levels.nbytes), (339, samples)]
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags)
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HIH", 42, 8, len(tags)) + entries + bytes(4)
    path.write_bytes(head.ljust(200, b"\0") + levels.tobytes())
    return path


def test_exif_orientation_is_applied(tmp_path):
    image, exif = Image.new("RGB", (20, 10), "red"), Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif)
    assert load_image(tmp_path / "a.jpg").size == (10, 20)


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "1", "LA", "YCbCr"])
def test_every_mode_becomes_rgb_of_the_same_colour(mode, tmp_path):
    grey = Image.new("RGB", (16, 16), (255, 255, 255)).convert(mode)
    tiff = mode in {"CMYK", "YCbCr"}
    grey.save(tmp_path / ("a.tif" if tiff else "a.png"), compression="tiff_lzw" if tiff else None)
    loaded = load_image(next(tmp_path.iterdir()))
    assert loaded.mode == "RGB"
    assert np.asarray(loaded).min() >= 250


def test_transparency_is_laid_on_white(tmp_path):
    Image.new("RGBA", (4, 4), (0, 0, 255, 0)).save(tmp_path / "a.png")
    assert np.asarray(load_image(tmp_path / "a.png")).min() == 255


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "I;16"])
def test_transparency_is_laid_on_the_background_that_is_asked_for(mode, tmp_path):
    if mode == "I;16":
        Image.fromarray(np.array([[7, 65535]], np.uint16)).save(tmp_path / "a.png", transparency=7)
    elif mode == "P":
        Image.fromarray(np.array([[0, 255]], np.uint8)).convert("P").save(tmp_path / "a.png", transparency=0)
    else:
        picture = Image.new(mode, (2, 1), (255,) * len(Image.new(mode, (1, 1)).getbands()))
        picture.putalpha(Image.fromarray(np.array([[0, 255]], np.uint8)))
        picture.save(tmp_path / "a.png")
    notices = []
    loaded = load_image(tmp_path / "a.png", "#0A141E", notices.append)
    assert [loaded.getpixel((x, 0)) for x in (0, 1)] == [(10, 20, 30), (255, 255, 255)]
    assert notices == ["transparent picture: laid on #0A141E; background= chooses another colour"]


@pytest.mark.parametrize("ending", [".avif", ".jpg", ".dat"])
def test_content_decides_the_format_of_a_picture_not_its_ending(ending, tmp_path):
    Image.new("RGB", (300, 200), (200, 100, 50)).save(tmp_path / "a", "AVIF")
    (tmp_path / "a").rename(tmp_path / f"a{ending}")
    loaded = load_image(tmp_path / f"a{ending}")
    assert loaded.size == (300, 200)
    assert loaded.getpixel((150, 100)) == pytest.approx((200, 100, 50), abs=4)


def test_tiled_heic_is_whole_where_pillow_heif_is_and_else_one_line(tmp_path, monkeypatch):
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(InputError, match=r"HEIC, which needs pillow-heif: pip install 'fastnst\[heic\]'"):
        load_image(tmp_path / "a.heic")
    monkeypatch.undo()
    heif = pytest.importorskip("pillow_heif")
    with pytest.raises(InputError, match=r"cannot read picture '.*a\.heic'"):
        load_image(tmp_path / "a.heic")
    heif.from_pillow(Image.new("RGB", (80, 48), (200, 100, 50))).save(tmp_path / "b.heic")
    loaded = load_image(tmp_path / "b.heic")
    assert loaded.size == (80, 48)
    assert loaded.getpixel((40, 24)) == pytest.approx((200, 100, 50), abs=4)


@pytest.mark.parametrize("content", [b"\xff\x0a" + bytes(50), b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(50)])
def test_jpeg_xl_is_refused_with_a_remedy(content, tmp_path):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.jpg': it is JPEG XL; save it as PNG or JPEG first"):
        load_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("tags", [{50706: b"\1\4\0\0"}, {254: 1}])
def test_preview_in_a_cameras_raw_file_is_not_taken_for_the_picture(tags, tmp_path):
    Image.new("RGB", (16, 12)).save(tmp_path / "a.dng", "TIFF", tiffinfo=tags)
    with pytest.raises(InputError, match="camera's raw file"):
        load_image(tmp_path / "a.dng")


def test_first_page_of_many_is_taken_with_a_notice(tmp_path):
    notices, pages = [], [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert load_image(tmp_path / "a.tif", notice=notices.append).getpixel((0, 0)) == (255, 0, 0)
    assert notices == [f"'{tmp_path / 'a.tif'}' has 2 pages: the first is taken"]


@pytest.mark.parametrize(
    ("size", "fits"),
    [((2000, 20), 0), ((20, 2000), 0), ((1, 1), 0), ((15, 400), 0), ((500, 300), 1), ((16, 16), 1), ((400, 60), 1)],
)
def test_style_picture_has_limits_on_area_and_side(size, fits, tmp_path):
    Image.new("RGB", size).save(tmp_path / "a.png")
    if fits:
        assert min(load_style(tmp_path / "a.png", 384).shape[:2]) == 384
    else:
        with pytest.raises(InputError, match=f"'.*' is {size[0]}x{size[1]}: "):
            load_style(tmp_path / "a.png", 384)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "empty"), (b"<html>no</html>", "cannot identify"), (b"\x89PNG\r\n\x1a\n" + b"\0" * 30, "cannot read")],
)
def test_damaged_picture_fails_with_its_name(content, message, tmp_path):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.png.*{message}|{message}.*a\.png"):
        load_image(tmp_path / "a.png")


def test_truncated_jpeg_fails(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.jpg")
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="truncated"):
        load_image(tmp_path / "a.jpg")


def test_decompression_bomb_fails_before_it_is_decoded(tmp_path):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 90001))
        + chunk(b"IEND", b"")
    )
    (tmp_path / "bomb.png").write_bytes(bomb)
    with pytest.raises(InputError, match="100 million pixels"):
        load_image(tmp_path / "bomb.png")


def test_missing_picture_fails(tmp_path):
    with pytest.raises(InputError, match="there is no such file"):
        load_image(tmp_path / "no.png")


def test_unknown_format_fails_before_anything_is_written(tmp_path):
    with pytest.raises(OutputError, match=r"no format '\.xyz'"):
        save_image(np.zeros((2, 2, 3), np.uint8), tmp_path / "a.xyz")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", [".jfif", ".avif", ".gif", ".webp"])
def test_saved_picture_has_the_format_that_its_ending_says(ending, tmp_path):
    save_image(np.full((8, 8, 3), 200, np.uint8), tmp_path / f"a{ending}")
    with Image.open(tmp_path / f"a{ending}") as picture:
        assert picture.format == {".jfif": "JPEG"}.get(ending, ending[1:].upper())
    assert np.allclose(np.asarray(load_image(tmp_path / f"a{ending}")), 200, atol=2)


def test_picture_too_large_for_its_format_leaves_nothing(tmp_path):
    with pytest.raises(OutputError, match=r"cannot write .*a\.webp"):
        save_image(np.zeros((1, 16384, 3), np.uint8), tmp_path / "a.webp")
    assert list(tmp_path.iterdir()) == []
