"""Pictures on disk and in memory: the one place where [0, 1] meets 0-255."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps
from torch import Tensor

from fastnst.errors import InputError, OutputError
from fastnst.files import PICTURES, replaced

LUMA = (0.2126, 0.7152, 0.0722)  # of R, G, B; ITU-R BT.709
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")  # of the content: for others Pillow may start Ghostscript
LOSSY = frozenset({".jpg", ".jpeg", ".webp"})
DRAWN = [Path(__file__).parent / "paintings", Path(__file__).parent.parent / "paintings"]  # wheel, repository
MAX_PIXELS = 100_000_000  # a 110 kB PNG can unpack to 2.7 GB: larger pictures are refused before they are decoded


def load_image(path: str | Path) -> Image.Image:
    """Returns the picture as 8-bit RGB, upright.

    EXIF orientation is applied; 16-bit grey is scaled, not clipped; transparency is laid on white; grey, palette and
    CMYK pictures become RGB.

    Raises:
        InputError: the file is missing, empty, damaged, not a picture, or has over `MAX_PIXELS` pixels.
    """
    path = Path(path)
    try:
        if path.stat().st_size == 0:
            raise InputError(f"cannot read picture '{path}': the file is empty")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own bomb and metadata warnings: the limit above decides
            with Image.open(path, formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise InputError(
                        f"cannot read picture '{path}': {image.width}x{image.height} is over the limit of "
                        f"{MAX_PIXELS // 1_000_000} million pixels; make it smaller first"
                    )
                image.load()
                return to_rgb(ImageOps.exif_transpose(image))
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(f"cannot read picture '{path}': over {MAX_PIXELS // 1_000_000} million pixels") from error
    except OSError as error:
        reason = error.strerror or str(error).splitlines()[0].split(" file '", 1)[0] or "damaged"
        raise InputError(f"cannot read picture '{path}': {reason}") from error
    except Exception as error:  # Pillow's decoders raise SyntaxError, ValueError, struct.error ... on damaged files
        raise InputError(f"cannot read picture '{path}': damaged ({type(error).__name__})") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Returns `image` as 8-bit RGB: 16-bit grey divided by 257, transparency laid on white."""
    if image.mode.startswith("I") or image.mode == "F":
        levels = np.asarray(image).astype(np.float64)
        scale = 257.0 if levels.max(initial=0) > 255 else 1.0
        image = Image.fromarray(np.clip(np.rint(levels / scale), 0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def with_shorter_side(image: Image.Image, size: int) -> Image.Image:
    """Returns the picture scaled so that its shorter side has `size` pixels.

    >>> with_shorter_side(Image.new("RGB", (60, 30)), 10).size
    (20, 10)
    """
    scale = size / min(image.size)
    return image.resize((round(image.width * scale), round(image.height * scale)), reducing_gap=3)


def paintings() -> dict[str, Path]:
    """Returns the drawn style pictures that ship, by name.

    >>> sorted(paintings())
    ['clouds', 'liechtenstein', 'picasso', 'wave']
    """
    return {path.stem: path for folder in DRAWN for path in folder.glob("*.png")}


def load_style(name: str | Path, size: int) -> np.ndarray:
    """Returns a style picture, (height, width, 3) uint8, its shorter side of `size` pixels.

    Args:
        name: of a drawn picture that ships, or the path of a file; "./wave" is a file for sure.
        size: pixels. A larger picture has broader strokes.

    Raises:
        InputError: there is no such picture, or it cannot be read.
    """
    path = paintings().get(str(name), Path(name).expanduser())
    return np.array(with_shorter_side(load_image(path), size))


def to_float(pixels: UInt8[Tensor, "*batch channels height width"]) -> Float[Tensor, "*batch channels height width"]:
    """Returns 0-255 as [0, 1] float32; `pixels` stay as they are."""
    return pixels.to(torch.float32) / 255


def to_uint8(picture: Float[Tensor, "*batch channels height width"]) -> UInt8[Tensor, "*batch channels height width"]:
    """Returns [0, 1] as 0-255, rounded to nearest; values outside are clipped.

    >>> to_uint8(torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0]).view(1, 1, 5)).flatten().tolist()
    [0, 0, 128, 255, 255]
    """
    return (picture.float() * 255).round_().clamp_(0, 255).to(torch.uint8)  # in place: an 8K frame is 0.4 GB in float32


def to_tensor(image: Image.Image | np.ndarray) -> Float[Tensor, "3 height width"]:
    """Returns an RGB picture, PIL or (height, width, 3) uint8, as a [0, 1] tensor."""
    return to_float(torch.from_numpy(np.array(image, dtype=np.uint8)).permute(2, 0, 1)).contiguous()


def to_array(picture: Float[Tensor, "3 height width"]) -> np.ndarray:
    """Returns a [0, 1] tensor as a (height, width, 3) uint8 array."""
    return to_uint8(picture).permute(1, 2, 0).cpu().numpy()


def luma(picture: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 1 height width"]:
    """Returns the brightness of each pixel, as BT.709 weighs red, green and blue.

    >>> luma(torch.ones(1, 3, 1, 1)).item()
    1.0
    """
    return (picture * picture.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)


def save_image(array: np.ndarray, path: str | Path) -> None:
    """Writes a (height, width, 3) uint8 RGB array; the format follows from the name's ending.

    The file appears under its name only when it is whole.

    Raises:
        OutputError: the ending names no picture format, the folder is missing, or the disk is full.
    """
    path = Path(path)
    if path.suffix.lower() not in PICTURES:
        raise OutputError(
            f"cannot write picture '{path}': no format '{path.suffix}'; use {', '.join(sorted(PICTURES))}"
        )
    with replaced(path) as part:
        options = {"quality": 95} if path.suffix.lower() in LOSSY else {}
        Image.fromarray(array).save(part, **options)  # pyright: ignore[reportArgumentType]
