"""Photos to train on: any folder of them, or those that come with pip packages."""

from __future__ import annotations

import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.functional import gaussian_blur

from fastnst.errors import ConfigError, InputError
from fastnst.files import PICTURES
from fastnst.images import MAX_PIXELS, load_image, open_picture, to_tensor

SMALLEST_PHOTO = 32  # photos with a shorter side say nothing about content
LAST_BYTES = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}  # what the last bytes of a whole file hold
BLUR, BLUR_KERNEL = (0.5, 6.0), [25, 25]  # deviations of the Gaussian that puts a crop out of focus, pixels
CONTRAST = (0.1, 0.6)  # what is left of a flat crop's contrast
BRIGHTNESS = (-0.35, 0.35)  # by which a flat crop is brighter, of the range from 0 to 1
CHANCES = (0.25, 0.6, 0.5, 0.5)  # of a flat crop to be a plain gradient, of low contrast, shifted in light, blurred


class Photos(Dataset):
    """Square crops of the photos below a folder. An item is asked for as (photo, key), and the key decides the crop.

    A photo that cannot be read is replaced by the next one, and named in the item.

    Args:
        items: the photos.
        image_size: side of the crops, pixels.
        augment: whether crops are drawn; or the middle is taken.
        flat: share of the drawn crops that are made like flat footage, see `flattened`. Instance norm amplifies the
            noise of frames that have little texture; photos alone do not teach a net to leave it alone.
    """

    def __init__(self, items: list[Path], image_size: int, augment: bool = True, flat: float = 0.0) -> None:
        self.items, self.image_size, self.augment, self.flat = items, image_size, augment, flat

    def __getitem__(self, item: tuple[int, tuple[int, ...]]) -> dict[str, Any]:
        """Returns `{"content": (3, size, size) in [0, 1], "seed": int, "unreadable": [names]}`."""
        photo, key = item
        random = np.random.default_rng(key)
        unreadable = []
        for offset in range(len(self.items)):
            path = self.items[(photo + offset) % len(self.items)]
            try:
                image = load_image(path)
            except InputError:
                unreadable.append(path.name)
                continue
            box, mirrored = random_box(image.size, random) if self.augment else centre_box(image.size)
            content = cropped(image, self.image_size, box, mirrored)
            if self.augment and self.flat and random.random() < self.flat:
                content = flattened(content, random)
            return {"content": content, "seed": int(random.integers(2**62)), "unreadable": unreadable}
        raise InputError(f"none of the {len(self.items)} photos can be read any more")

    def __len__(self) -> int:
        """Returns the number of photos."""
        return len(self.items)


Box = tuple[float, float, float, float]  # left, top, right, bottom, pixels


def random_box(size: tuple[int, int], random: np.random.Generator) -> tuple[Box, bool]:
    """Returns a square of half to all of the shorter side, anywhere, and whether to mirror it."""
    side = min(size) * random.uniform(0.5, 1)
    left, top = random.uniform(0, size[0] - side), random.uniform(0, size[1] - side)
    return (left, top, left + side, top + side), bool(random.random() < 0.5)


def centre_box(size: tuple[int, int]) -> tuple[Box, bool]:
    """Returns the square in the middle, not mirrored."""
    left, top = (size[0] - min(size)) / 2, (size[1] - min(size)) / 2
    return (left, top, left + min(size), top + min(size)), False


def cropped(image: Image.Image, size: int, box: Box, mirrored: bool) -> Float[Tensor, "3 size size"]:
    """Returns the part of a photo in the box, scaled to `size`, in [0, 1]."""
    content = to_tensor(image.resize((size, size), Image.Resampling.BICUBIC, box, reducing_gap=3))
    return content.flip(2) if mirrored else content


def flattened(content: Float[Tensor, "3 height width"], random: np.random.Generator) -> Float[Tensor, "3 height width"]:
    """Returns a crop made like footage that shows little, by at least one of four ways, each drawn or not.

    A plain gradient between the mean colours of its quarters takes its place; its contrast is lowered; it is too
    bright or too dark; it is out of focus.

    Args:
        content: the crop, in [0, 1].
        random: what the ways and how far each goes are drawn from.
    """
    plain, low, shifted, blurred = random.random(4) < CHANCES
    low = low or not (plain or shifted or blurred)
    if plain:
        quarters = F.adaptive_avg_pool2d(content[None], 2)
        content = F.interpolate(quarters, content.shape[1:], mode="bilinear", align_corners=True)[0]
    if low:
        content = content.mean((1, 2), keepdim=True).lerp(content, random.uniform(*CONTRAST))
    if shifted:
        content = (content + random.uniform(*BRIGHTNESS)).clamp(0, 1)
    return gaussian_blur(content, BLUR_KERNEL, [random.uniform(*BLUR)] * 2) if blurred else content


def find_photos(root: str | Path) -> tuple[list[Path], dict[str, str]]:
    """Returns the photos below a folder, sorted, and the unusable files with the reason for each.

    Only the first and last bytes are read, all of them where the last ones are amiss. A file that turns out to be
    damaged later on is replaced when it is met.

    Raises:
        ConfigError: there is no such folder, or no usable photo in it.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise ConfigError(f"no folder '{root}'; data.root=FOLDER names one with photos, data=sample needs none")
    found = [path for path in files_below(root) if path.suffix.lower() in PICTURES]
    with ThreadPoolExecutor(8) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own on large pictures and odd metadata
        reasons = list(pool.map(unusable, found))
    bad = {str(path.relative_to(root)): reason for path, reason in zip(found, reasons, strict=True) if reason}
    photos = [path for path, reason in zip(found, reasons, strict=True) if not reason]
    if not photos:
        detail = f"; {len(bad)} unusable, first: {next(iter(bad.items()))}" if bad else ""
        raise ConfigError(f"no photos in '{root}' (looked for {', '.join(sorted(PICTURES))}){detail}")
    return photos, bad


def files_below(root: Path) -> list[Path]:
    """Returns the files below a folder, sorted, also through links to folders; each folder is entered once.

    Left out are hidden files and folders, and `__MACOSX`, where macOS keeps what is not the files themselves.
    """
    entered, found = set(), []
    for folder, folders, names in os.walk(root, followlinks=True):
        here = Path(folder)
        real = here.resolve()
        if real in entered:  # a link to a folder that was met before, or that this one lies in
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__MACOSX")
        found += [here / name for name in names if not name.startswith(".")]
    return sorted(path for path in found if path.is_file())


def unusable(path: Path) -> str:
    """Returns why a file cannot be trained on; an empty string if nothing speaks against it."""
    try:
        if path.stat().st_size == 0:
            return "empty file"
        with open_picture(path) as image:
            width, height = image.size
            ending = LAST_BYTES.get(image.format or "", b"")
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - 4096))
            whole = ending in file.read()
    except InputError as error:
        return str(error).partition("': ")[2]
    except Image.DecompressionBombError:
        return f"over {MAX_PIXELS // 1_000_000} million pixels"
    except Exception as error:  # Pillow's parsers raise errors of many kinds on damaged files
        return "not a picture" if isinstance(error, OSError) else f"damaged ({type(error).__name__})"
    if min(width, height) < SMALLEST_PHOTO:
        return f"only {width}x{height} pixels"
    if width * height > MAX_PIXELS:
        return f"over {MAX_PIXELS // 1_000_000} million pixels"
    if not whole:  # truncated; or phones have hung a film or a second picture on
        try:
            load_image(path)
        except InputError:
            return "truncated"
    return ""
