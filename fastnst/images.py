"""Pictures on disk and in memory: the one place where [0, 1] meets 0-255."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageColor, ImageOps
from PIL.TiffImagePlugin import TiffImageFile
from torch import Tensor

from fastnst.errors import InputError, OutputError
from fastnst.files import SAVED, check_input, picture_format, replaced
from fastnst.profiles import Notice, in_srgb, profile_of

LUMA = (0.2126, 0.7152, 0.0722)  # of R, G, B; ITU-R BT.709
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF")  # for others Pillow may start Ghostscript
QUALITY = {".jpg": 95, ".jpeg": 95, ".jfif": 95, ".webp": 95, ".avif": 90}
DRAWN = [Path(__file__).parent / "paintings", Path(__file__).parent.parent / "paintings"]  # wheel, repository
MAX_PIXELS = 100_000_000  # a 110 kB PNG can unpack to 2.7 GB: larger pictures are refused before they are decoded
STYLE_SIDE = 16  # pixels; smaller style pictures hold no strokes
STYLE_PIXELS = 4_000_000  # of a style picture in the loss network, which takes 0.6 kB for each; see `load_style`
TIFF_BITS, TIFF_ZERO, TIFF_SAMPLES, TIFF_SMALL, TIFF_DNG = 258, 262, 339, 254, 50706  # tags


def load_image(path: str | Path, background: str = "white", notice: Notice = lambda text: None) -> Image.Image:
    """Returns the picture as 8-bit sRGB, upright.

    EXIF orientation is applied; colours are converted to sRGB where the file says what they are, see `profile_of`;
    numbers of more than 8 bits are scaled from their type's full range; transparency is laid on `background`; grey,
    palette and CMYK pictures become RGB. What is lost or taken on trust is told to `notice`.

    Args:
        path: the file; its content decides the format.
        background: what transparent pictures are laid on: a colour's name, or "#rrggbb".
        notice: is told, a sentence each; nobody by default.

    Raises:
        InputError: the file is missing, empty, damaged, not a picture, or has over `MAX_PIXELS` pixels.
    """
    path = Path(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own bomb and metadata warnings: the limit above decides
            with open_picture(path) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise InputError(
                        f"cannot read picture '{path}': {image.width}x{image.height} is over the limit of "
                        f"{MAX_PIXELS // 1_000_000} million pixels; make it smaller first"
                    )
                check_page(path, image, notice)
                image.load()
                ImageOps.exif_transpose(image, in_place=True)
                return to_rgb(image, background, notice)
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(f"cannot read picture '{path}': over {MAX_PIXELS // 1_000_000} million pixels") from error
    except OSError as error:
        reason = error.strerror or str(error).splitlines()[0].split(" file '", 1)[0] or "damaged"
        raise InputError(f"cannot read picture '{path}': {reason}") from error
    except Exception as error:  # Pillow's decoders raise SyntaxError, ValueError, struct.error ... on damaged files
        raise InputError(f"cannot read picture '{path}': damaged ({type(error).__name__})") from error


def open_picture(path: Path) -> Image.Image:
    """Returns the picture as Pillow has it before it is decoded.

    Raises:
        InputError: the file is missing or empty, or in a format that cannot be read here.
        OSError, SyntaxError, ...: it is damaged; `load_image` puts that in words.
    """
    check_input(path, "picture")
    form, _ = picture_format(path)
    if form == "JPEG XL":
        raise InputError(f"cannot read picture '{path}': it is JPEG XL; save it as PNG or JPEG first")
    if form == "HEIF":
        try:
            from pillow_heif import register_heif_opener  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            remedy = "pip install 'fastnst[heic]', or save it as JPEG first"
            raise InputError(f"cannot read picture '{path}': it is HEIC, which needs pillow-heif: {remedy}") from error
        register_heif_opener()
        return Image.open(path, formats=("HEIF",))
    return Image.open(path, formats=FORMATS)


def check_page(path: Path, image: Image.Image, notice: Notice) -> None:
    """Raises InputError if the first page of a TIFF is only a preview, as in a camera's raw file."""
    if not isinstance(image, TiffImageFile):
        return
    tags = image.tag_v2
    with open(path, "rb") as file:
        canon = file.read(10)[8:] == b"CR"
    if canon or TIFF_DNG in tags or tags.get(TIFF_SMALL, 0) & 1:
        raise InputError(f"cannot read picture '{path}': it is a camera's raw file; save it as PNG or JPEG first")
    if image.n_frames > 1:
        notice(f"'{path}' has {image.n_frames} pages: the first is taken")
        image.seek(0)


def to_rgb(image: Image.Image, background: str = "white", notice: Notice = lambda text: None) -> Image.Image:
    """Returns `image` as 8-bit sRGB: numbers scaled, colours converted, transparency laid on `background`."""
    profile, alpha = profile_of(image, notice), None
    if image.mode == "F" or image.mode.startswith("I"):
        if image.mode == "I;16" and isinstance(clear := image.info.get("transparency"), int):
            alpha = Image.fromarray(np.where(np.asarray(image) == clear, 0, 255).astype(np.uint8))
        image = to_8_bits(image, notice)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
    elif image.mode not in ("L", "RGB", "CMYK", "LAB"):
        image = image.convert("L" if image.mode in ("1", "LA") else "RGB")
    rgb = in_srgb(image if image.mode != "RGBA" else image.convert("RGB"), profile, notice)
    if alpha is None or alpha.getextrema() == (255, 255):
        return rgb
    notice(f"transparent picture: laid on {background}; background= chooses another colour")
    return Image.composite(rgb, Image.new("RGB", rgb.size, ImageColor.getrgb(background)[:3]), alpha)


def to_8_bits(image: Image.Image, notice: Notice) -> Image.Image:
    """Returns a grey picture of 16 or 32 bits in 8, white being the largest number of its type; of floats, 1."""
    levels = np.asarray(image).astype(np.float64)
    tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    bits, signed = tags.get(TIFF_BITS, (16,))[0], tags.get(TIFF_SAMPLES, (1,))[0] == 2
    if image.mode == "F":
        white = 1.0
        if not np.isfinite(levels).all() or levels.max(initial=0) > 1 or levels.min(initial=0) < 0:
            lowest, highest = np.nanmin(levels), np.nanmax(levels)
            notice(f"a picture of numbers from {lowest:.4g} to {highest:.4g}: 0 and less is black, 1 and more is white")
        levels = np.nan_to_num(levels, nan=0.0, posinf=1.0, neginf=0.0)
    elif bits == 32 and not signed:
        white, levels = 2.0**32 - 1, levels % 2**32  # Pillow reads them as if they had a sign
    else:
        white = 2.0 ** (bits - signed) - 1
    levels = np.clip(levels / white, 0, 1)
    if tags.get(TIFF_ZERO, 1) == 0:  # zero is white
        levels = 1 - levels
    return Image.fromarray(np.rint(levels * 255).astype(np.uint8))


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


def load_style(name: str | Path, size: int, notice: Notice = lambda text: None) -> np.ndarray:
    """Returns a style picture, (height, width, 3) uint8, its shorter side of `size` pixels.

    Args:
        name: of a drawn picture that ships, or the path of a file; "./wave" is a file for sure.
        size: pixels. A larger picture has broader strokes.
        notice: see `load_image`.

    Raises:
        InputError: there is no such picture, or it cannot be read; or a side is shorter than `STYLE_SIDE`; or it is so
            long that it would have over `STYLE_PIXELS` pixels, and over two squares of `size`.
    """
    path = paintings().get(str(name), Path(name).expanduser())
    image = load_image(path, notice=notice)
    shorter, longer = sorted(image.size)
    about = f"style picture '{path}' is {image.width}x{image.height}"
    if shorter < STYLE_SIDE:
        raise InputError(f"{about}: {STYLE_SIDE} pixels is the least for a side, less holds no brush strokes")
    pixels = round(size * size * longer / shorter)
    if pixels > max(STYLE_PIXELS, 2 * size * size):
        raise InputError(f"{about}: at size {size} it has {pixels / 1e6:.0f} million pixels, too many; cut out a part")
    return np.array(with_shorter_side(image, size))


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
    ending = path.suffix.lower()
    if ending not in SAVED:
        raise OutputError(f"cannot write picture '{path}': no format '{path.suffix}'; use {', '.join(SAVED)}")
    picture = Image.fromarray(array)
    if ending == ".gif":
        picture = picture.quantize(256)
    with replaced(path) as part:
        try:
            picture.save(part, quality=QUALITY.get(ending, 95))  # the others take no notice of it
        except ValueError as error:  # too large for the format
            raise OutputError(f"cannot write picture '{path}': {error}") from error
