import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from fastnst.errors import InputError, OutputError
from fastnst.images import load_image, save_image, to_array, to_float, to_tensor, to_uint8


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
    with pytest.raises(InputError, match="No such file"):
        load_image(tmp_path / "no.png")


def test_unknown_format_fails_before_anything_is_written(tmp_path):
    with pytest.raises(OutputError, match=r"no format '\.xyz'"):
        save_image(np.zeros((2, 2, 3), np.uint8), tmp_path / "a.xyz")
    assert list(tmp_path.iterdir()) == []
