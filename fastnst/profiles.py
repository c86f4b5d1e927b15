"""What colours a picture means, and how they become sRGB: ICC profiles, and what stands in for one."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, ImageCms
from PIL.ImageCms import Flags, ImageCmsProfile, ImageCmsTransform, Intent, PyCMSError

from fastnst.video.colour import HDR

Notice = Callable[[str], None]
Corners = tuple[float, ...]  # x and y of white, red, green and blue

PRIMARIES: dict[int, Corners] = {  # by code point, ITU-T H.273
    1: (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06),  # BT.709 and sRGB
    9: (0.3127, 0.329, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046),  # BT.2020
    12: (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),  # Display P3
}
ADOBE: Corners = (0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)  # Adobe RGB (1998)
SRGB_GAMMA = 0.45455  # what PNGs say that are sRGB
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
INTEROPERABILITY, INDEX = 0xA005, 1  # EXIF tags
HEAD_BYTES = 65536  # bytes of a file in which its code points are looked for


def profile_of(image: Image.Image, notice: Notice) -> bytes | None:
    """Returns the ICC profile of a picture's colours; None where the file says nothing, or sRGB.

    Asked in this order: a profile in the file; the code points of AVIF, HEIC and PNG; the gamma and the primaries of
    PNG; the mark "R03" that cameras write for Adobe RGB.
    Source: ITU-T H.273 (code points); W3C PNG, third edition; DCF 2.0 (R03).
    """
    if profile := image.info.get("icc_profile"):
        return profile
    primaries, curve = code_points(image)
    if curve in HDR:
        notice("HDR picture: taken as SDR, so its brightness is not right; save it as SDR first")
    if primaries:
        return None if primaries == 1 else matrix_profile(PRIMARIES.get(primaries, PRIMARIES[1]), None)
    if image.format == "PNG" and "srgb" not in image.info:
        corners = image.info.get("chromaticity", ())
        corners = corners if len(corners) == 8 and all(0 < each < 0.9 for each in corners) else PRIMARIES[1]
        gamma = image.info.get("gamma", SRGB_GAMMA)
        usual = abs(gamma - SRGB_GAMMA) < 0.01 or not 0.1 < gamma < 2
        if not usual or max(abs(a - b) for a, b in zip(corners, PRIMARIES[1], strict=True)) > 0.005:
            return matrix_profile(corners, None if usual else 1 / gamma)
    index = image.getexif().get_ifd(INTEROPERABILITY).get(INDEX, "")
    return matrix_profile(ADOBE, 563 / 256) if str(index).startswith("R03") else None


def code_points(image: Image.Image) -> tuple[int, int]:
    """Returns the primaries and the curve that an AVIF, HEIC or PNG file names by number; zeros if it does not."""
    mark, form = {"PNG": (b"\0\0\0\4cICP", ">BB"), "AVIF": (b"colrnclx", ">HH"), "HEIF": (b"colrnclx", ">HH")}.get(
        image.format or "", (b"", "")
    )
    if mark and (name := getattr(image, "filename", "")):
        with open(name, "rb") as file:
            head = file.read(HEAD_BYTES)
        at = head.find(mark) + len(mark)
        if at >= len(mark) and len(head) >= at + 4:
            primaries, curve = struct.unpack_from(form, head, at)
            return (0 if primaries == 2 else primaries), curve  # 2: unspecified
    return 0, 0


def in_srgb(image: Image.Image, profile: bytes | None, notice: Notice) -> Image.Image:
    """Returns a picture of mode L, RGB, CMYK or LAB as sRGB.

    Relative colorimetric, with black point compensation, as picture editors do it. A profile that is damaged, or for
    another kind of picture, counts as none; so do those that change nothing, to the bit.
    """
    if image.mode == "LAB":
        lab = ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
        return applied(image, lab)
    if profile is not None:
        try:
            if image.mode == "L" and colours_of(profile) == "RGB":
                image = image.convert("RGB")
            transform = transform_from(profile, image.mode)
            return image.convert("RGB") if transform is None else applied(image, transform)
        except (PyCMSError, OSError, ValueError, TypeError):
            notice("the colour profile is damaged, or not for this kind of picture: the colours are taken as sRGB")
    elif image.mode == "CMYK":
        notice("CMYK picture without a colour profile: its colours are a guess")
    return image.convert("RGB")


def applied(image: Image.Image, transform: ImageCmsTransform) -> Image.Image:
    """Returns the picture as the transform makes it."""
    result = ImageCms.applyTransform(image, transform)
    assert result is not None
    result.info.clear()
    return result


def colours_of(profile: bytes) -> str:
    """Returns the kind of colours that a profile is for: "RGB", "CMYK", "GRAY" or "Lab"."""
    opened: Any = ImageCmsProfile(BytesIO(profile)).profile
    return opened.xcolor_space.strip()


@lru_cache(maxsize=8)
def transform_from(profile: bytes, mode: str) -> ImageCmsTransform | None:
    """Returns what turns pictures of a profile into sRGB; None if that leaves RGB as it is, up to rounding.

    Raises:
        PyCMSError, OSError: the profile is damaged, or for another kind of picture.
    """
    source, srgb = ImageCmsProfile(BytesIO(profile)), ImageCms.createProfile("sRGB")
    intent, flags = Intent.RELATIVE_COLORIMETRIC, Flags.BLACKPOINTCOMPENSATION
    transform = ImageCms.buildTransform(source, srgb, mode, "RGB", intent, flags)
    if mode != "RGB":
        return transform
    axis = np.linspace(0, 255, 9)
    cube = np.stack(np.meshgrid(axis, axis, axis), -1).reshape(27, 27, 3).astype(np.uint8)
    after = np.asarray(applied(Image.fromarray(cube), transform)).astype(int)
    return None if abs(after - cube).max() <= 2 else transform


def matrix_profile(corners: Corners, gamma: float | None) -> bytes:
    """Returns an ICC profile of RGB colours by their primaries, and by their gamma; None stands for sRGB's curve.

    Source: ICC.1:2022 (the format, and Bradford's matrix, annex E).
    """
    white_x, white_y, *rest = corners
    white = np.array([white_x / white_y, 1, (1 - white_x - white_y) / white_y])
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in zip(rest[::2], rest[1::2], strict=True)]).T
    to_xyz = columns * np.linalg.solve(columns, white)
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    d50 = np.array([0.9642, 1, 0.8249])
    adapted = np.linalg.inv(bradford) @ np.diag((bradford @ d50) / (bradford @ white)) @ bradford @ to_xyz
    numbers = (gamma,) if gamma else SRGB_CURVE
    curve = struct.pack(">4sIHH", b"para", 0, 3 if gamma is None else 0, 0) + fixed(*numbers)
    text = struct.pack(">4sIIIHHII", b"mluc", 0, 1, 12, 0x656E, 0x5553, 2, 28) + "-".encode("utf-16-be")
    tags = {b"desc": text, b"cprt": text, b"wtpt": b"XYZ \0\0\0\0" + fixed(*d50)}
    tags |= {name: b"XYZ \0\0\0\0" + fixed(*adapted[:, axis]) for axis, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    table, body, start = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += struct.pack(">4sII", name, start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(">I4sI4s4s4s12x4s28x", start + len(body), b"", 0x04400000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    return head + fixed(*d50) + bytes(48) + table + body


def fixed(*numbers: float) -> bytes:
    """Returns numbers as ICC profiles hold them: 16 bits before the point, 16 behind it."""
    return struct.pack(f">{len(numbers)}i", *(round(number * 65536) for number in numbers))
