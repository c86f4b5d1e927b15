"""Frames as the decoder gives them to upright 8-bit RGB and back: orientation, crop, matrices, gamuts, HDR, alpha."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, cast

import av
import numpy as np
from av.sidedata.sidedata import Type
from PIL import ImageColor

from fastnst.errors import ConfigError

LIMITED, FULL = 1, 2  # colour ranges, as FFmpeg numbers them
BT709, BT601, BT2020 = 1, 5, 9  # colour matrices, as swscale numbers them
PQ, HLG = HDR = 16, 18  # the transfer curves of HDR, as FFmpeg numbers them
HD_LINES = 720  # untagged video is BT.709 from this many lines on, BT.601 below
ACCURATE = 0x2000 | 0x40000  # swscale: full chroma interpolation and exact rounding; without it, luma falls by 1 level
BILINEAR, BICUBIC = 2 | ACCURATE, 4 | ACCURATE

SDR_WHITE = 203.0  # cd/m2 of diffuse white in HDR video; ITU-R BT.2408
HLG_PEAK = 1000.0  # cd/m2 of the nominal HLG display
KNEE = 0.7  # share of SDR white up to which tone mapping keeps brightness as it is
NODES = 65  # per axis of a table from colours to colours
SRGB = 13  # the transfer curve of sRGB, as FFmpeg numbers it
GAMMA = {4: 2.2, 5: 2.8}  # of SDR screens by transfer curve; 2.4 for the others, ITU-R BT.1886
D65 = (0.3127, 0.3290)  # chromaticity of white
REC709 = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060))  # chromaticities of red, green, blue
P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
WIDE = {9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)), 11: P3, 12: P3}  # primaries that BT.709 cannot hold
KEPT_PRIMARIES = {1, 4, 5, 6, 7}  # primaries and curves that the output keeps, and is tagged with; or else BT.709's
KEPT_CURVES = {1, 4, 5, 6, 7, SRGB}


class Turn(NamedTuple):
    """How a decoded frame gets upright: rows and columns change places, then left and right, then top and bottom."""

    transposed: bool = False
    mirrored: bool = False
    flipped: bool = False

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Returns width and height after the turn; the same turn leads back too."""
        return (height, width) if self.transposed else (width, height)

    def upright(self, pixels: np.ndarray) -> np.ndarray:
        """Returns a view of (height, width, channel) pixels, turned.

        >>> Turn(transposed=True, mirrored=True).upright(np.array([[[1], [2]], [[3], [4]]]))[..., 0].tolist()
        [[3, 1], [4, 2]]
        """
        pixels = pixels.swapaxes(0, 1) if self.transposed else pixels
        pixels = pixels[:, ::-1] if self.mirrored else pixels
        return pixels[::-1] if self.flipped else pixels


class Crop(NamedTuple):
    """How many pixels of a decoded frame are not to be shown, before it is turned; only the container may know."""

    left: int = 0
    right: int = 0
    top: int = 0
    bottom: int = 0


def turn_of(frame: av.VideoFrame) -> Turn:
    """Returns how the frame gets upright by its display matrix, to the nearest of the eight orientations."""
    matrix = side_data(frame, Type.DISPLAYMATRIX)
    if matrix is None:
        return Turn()
    a, b, _, c, d = map(int, matrix[:5])
    if max(abs(a), abs(d)) >= max(abs(b), abs(c)):
        return Turn(False, a < 0, d < 0)
    return Turn(True, c < 0, b < 0)


def side_data(frame: av.VideoFrame, kind: Type) -> np.ndarray | None:
    """Returns what a frame carries of a kind beside its pixels, as (n,) int32; None if nothing."""
    for data in cast(Any, frame.side_data):  # PyAV's stubs know another type
        if data.type is kind:
            content = bytes(data)
            return np.frombuffer(content[: len(content) // 4 * 4], np.int32)
    return None


def to_rgb24(
    frame: av.VideoFrame,
    size: tuple[int, int] | None = None,
    turn: Turn | None = None,
    crop: Crop = Crop(),  # noqa: B008 (immutable)
    notice: Callable[[str], None] = lambda text: None,
    background: str = "white",
) -> np.ndarray:
    """Returns a decoded frame as (height, width, 3) uint8 RGB, upright, full range.

    Primaries are BT.709's, or one of `KEPT_PRIMARIES`: wider ones are converted, and what BT.709 cannot hold is cut
    off. HDR is tone-mapped, transparent frames are laid on `background`; `notice` is told of both.

    Args:
        frame: the frame.
        size: width and height to scale to, upright, pixels; None keeps the frame's own.
        turn: how it gets upright; None takes what the frame says.
        crop: what of it is not shown.
        notice: is told in a sentence what is done to the colours.
        background: a colour, see `colour_named`.
    """
    turn = turn_of(frame) if turn is None else turn
    full = frame.width, frame.height
    size = turn.size(*size) if size else (full[0] - crop.left - crop.right, full[1] - crop.top - crop.bottom)
    rgb = coded_rgb24(frame, *(full if any(crop) else size), notice, background)
    if any(crop):
        rgb = np.ascontiguousarray(rgb[crop.top : full[1] - crop.bottom, crop.left : full[0] - crop.right])
        if size != (rgb.shape[1], rgb.shape[0]):
            rgb = av.VideoFrame.from_ndarray(rgb).reformat(*size, interpolation=BICUBIC).to_ndarray()
    return np.ascontiguousarray(turn.upright(rgb))


def coded_rgb24(
    frame: av.VideoFrame, width: int, height: int, notice: Callable[[str], None], background: str
) -> np.ndarray:
    """Returns a decoded frame as `to_rgb24` does, but as it lies in the file: neither turned nor cropped."""
    curve, primaries = frame.color_trc, frame.color_primaries
    matrix = {6: BT601, 10: BT2020}.get(frame.colorspace, frame.colorspace)
    if matrix not in (BT709, 4, BT601, 7, BT2020):  # 4 and 7: FCC and SMPTE 240M
        matrix = BT709 if frame.height >= HD_LINES else BT601
    has_alpha = any(part.is_alpha for part in frame.format.components)
    deep = curve in HDR or primaries in WIDE
    # packed 16-bit formats get the wrong chroma from swscale where it interpolates that bilinearly
    form = ("gbrap16le" if has_alpha else "gbrp16le") if deep else "rgba" if has_alpha else "rgb24"
    rgb = frame.reformat(
        width,
        height,
        form,
        src_colorspace=matrix,
        dst_colorspace=matrix,
        interpolation=BILINEAR if (width, height) == (frame.width, frame.height) else BICUBIC,
        src_color_range=frame.color_range or (FULL if frame.format.is_rgb else LIMITED),
        dst_color_range=FULL,
    ).to_ndarray()
    alpha = rgb[..., 3:] if has_alpha else None
    if deep:
        if curve in HDR:
            notice("HDR video: tone-mapped to SDR BT.709")
        rgb = by_table(rgb[..., :3], curve, primaries)
        alpha = None if alpha is None else (alpha // 256).astype(np.uint8)
    if alpha is None or alpha.min() == 255:
        return rgb[..., :3]
    notice(f"transparent video: laid on {background}; background= chooses another colour")
    alpha = alpha.astype(np.uint16)
    return ((rgb[..., :3] * alpha + colour_named(background) * (255 - alpha) + 127) // 255).astype(np.uint8)


def colour_named(name: str) -> np.ndarray:
    """Returns the colour that `name` ("white", "#C8321E") stands for: (3,) uint16, 0-255.

    Raises:
        ConfigError: it stands for none.

    >>> colour_named("#C8321E").tolist()
    [200, 50, 30]
    """
    try:
        return np.array(ImageColor.getrgb(str(name))[:3], np.uint16)
    except ValueError as error:
        raise ConfigError(f"background={name} is no colour; use a name as white, or #rrggbb") from error


def from_rgb24(rgb: np.ndarray, form: str) -> av.VideoFrame:
    """Returns (height, width, 3) uint8 RGB as a frame of the pixel format `form`, in BT.709 if that is not RGB."""
    frame = av.VideoFrame.from_numpy_buffer(rgb, "rgb24")  # copies nothing
    return frame.reformat(
        format=form,
        dst_colorspace=BT709,
        interpolation=BILINEAR,
        src_color_range=FULL,
        dst_color_range=FULL if av.VideoFormat(form).is_rgb else LIMITED,
    )


def by_table(rgb: np.ndarray, curve: int, primaries: int) -> np.ndarray:
    """Returns HDR or wide-gamut pixels, (height, width, 3) uint16, as SDR BT.709 ones in uint8.

    Differs from exact arithmetic by the linear interpolation in a table of 65 x 65 x 65 nodes, as hardware does it.
    """
    import torch
    import torch.nn.functional as F

    table = torch.from_numpy(colour_table(curve, primaries)).permute(3, 0, 1, 2)[None]  # (1, 3, R, G, B)
    # grid_sample wants x, y, z = B, G, R in [-1, 1]
    where = torch.from_numpy(rgb[..., ::-1].astype(np.float32) / 32767.5 - 1)[None, None]  # (1, 1, H, W, 3)
    mapped = F.grid_sample(table, where, align_corners=True)[0, :, 0]  # (3, H, W)
    return (mapped * 255).round().clamp(0, 255).byte().permute(1, 2, 0).contiguous().numpy()


@cache
def colour_table(curve: int, primaries: int) -> np.ndarray:
    """Returns what BT.709 colour every colour becomes: (R, G, B, 3) float32 in [0, 1], all axes in signal values.

    SDR keeps its curve. Of HDR, brightness below `KNEE` of diffuse white stays; above, it is compressed and never
    exceeds white. The largest of R, G and B decides, so hues stay.
    Source: ITU-R BT.2100 (curves), BT.2408 (diffuse white), BT.2087 (primaries).
    """
    axis = np.linspace(0, 1, NODES)
    signal = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1)
    matrix = to_bt709(WIDE.get(primaries, REC709 if curve not in HDR else WIDE[BT2020]))
    if curve not in HDR:
        gamma = GAMMA.get(curve, 2.4)
        light = ((srgb_light(signal) if curve == SRGB else signal**gamma) @ matrix.T).clip(0, 1)  # out of gamut: cut
        return (srgb_signal(light) if curve == SRGB else light ** (1 / gamma)).astype(np.float32)
    light = (pq_light if curve == PQ else hlg_light)(signal) / SDR_WHITE  # 1 is diffuse white
    light = np.maximum(light @ matrix.T, 0)  # out of gamut: cut
    brightest = light.max(-1, keepdims=True)
    over = np.maximum(brightest - KNEE, 0) / (1 - KNEE)
    compressed = np.minimum(brightest, KNEE) + (1 - KNEE) * over / (1 + over)
    light = light * compressed / np.maximum(brightest, 1e-9)
    return np.where(light < 0.018, 4.5 * light, 1.099 * light**0.45 - 0.099).astype(np.float32)


def to_bt709(primaries: tuple[tuple[float, float], ...]) -> np.ndarray:
    """Returns the matrix from light in these primaries to light in BT.709's; white stays white.

    Source: SMPTE RP 177 (matrices from chromaticities).

    >>> to_bt709(WIDE[BT2020]).round(4).tolist()
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
    """

    def to_xyz(corners: tuple[tuple[float, float], ...]) -> np.ndarray:
        red_green_blue, white = (
            np.array([(x / y, 1, (1 - x - y) / y) for x, y in each]).T for each in (corners, [D65])
        )
        return red_green_blue * np.linalg.solve(red_green_blue, white).T

    return np.linalg.solve(to_xyz(REC709), to_xyz(primaries))


def srgb_light(signal: np.ndarray) -> np.ndarray:
    """Returns the light of sRGB signals, both in [0, 1]; the inverse of `srgb_signal`."""
    return np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)


def srgb_signal(light: np.ndarray) -> np.ndarray:
    """Returns the sRGB signal for light, both in [0, 1].

    Source: IEC 61966-2-1.

    >>> round(float(srgb_signal(np.array(0.2140))), 3)
    0.5
    """
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def pq_light(signal: np.ndarray) -> np.ndarray:
    """Returns the light of a PQ signal in [0, 1], in cd/m2 up to 10000.

    Source: ITU-R BT.2100, table 4.

    >>> round(float(pq_light(np.array(1.0)))), round(float(pq_light(np.array(0.58))))
    (10000, 202)
    """
    root = signal ** (1 / 78.84375)
    return 10000 * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)


def hlg_light(signal: np.ndarray) -> np.ndarray:
    """Returns the light of (..., 3) HLG signals in [0, 1] on a display of 1000 cd/m2.

    Source: ITU-R BT.2100, table 5.

    >>> [round(float(value)) for value in hlg_light(np.array([0.75, 0.75, 0.75]))]
    [203, 203, 203]
    """
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    luminance = scene @ np.array([0.2627, 0.6780, 0.0593])
    return HLG_PEAK * scene * luminance[..., None] ** 0.2
