"""Frames as the decoder gives them to 8-bit RGB and back: matrices, ranges, transparency, HDR."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import av
import numpy as np
from PIL import ImageColor

from fastnst.errors import ConfigError

UNSPECIFIED, LIMITED, FULL = 0, 1, 2  # colour ranges, as FFmpeg numbers them
BT709, BT601, BT2020 = 1, 5, 9  # colour matrices, as swscale numbers them
PQ, HLG = HDR = 16, 18  # the transfer curves of HDR, as FFmpeg numbers them
HD_LINES = 720  # untagged video is BT.709 from this many lines on, BT.601 below
ACCURATE = 0x2000 | 0x40000  # swscale: full chroma interpolation and exact rounding; without it, luma falls by 1 level
BILINEAR, BICUBIC = 2 | ACCURATE, 4 | ACCURATE

SDR_WHITE = 203.0  # cd/m2 of diffuse white in HDR video; ITU-R BT.2408
HLG_PEAK = 1000.0  # cd/m2 of the nominal HLG display
KNEE = 0.7  # share of SDR white up to which tone mapping keeps brightness as it is
BT2020_TO_BT709 = ((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187))  # ITU-R BT.2087
NODES = 65  # per axis of the tone mapping table


def to_rgb24(
    frame: av.VideoFrame,
    width: int,
    height: int,
    curve: int,
    notice: Callable[[str], None] = lambda text: None,
    background: str = "white",
) -> np.ndarray:
    """Returns a decoded frame as (height, width, 3) uint8 RGB, full range, BT.709.

    Transparent frames are laid on `background`, HDR ones (`curve` is `PQ` or `HLG`) are tone-mapped; `notice` is told.
    """
    matrix = {6: BT601, 10: BT2020}.get(frame.colorspace, frame.colorspace)
    if matrix not in (BT709, 4, BT601, 7, BT2020):  # 4 and 7: FCC and SMPTE 240M
        matrix = BT709 if frame.height >= HD_LINES else BT601
    has_alpha = any(part.is_alpha for part in frame.format.components)
    form = "rgb48le" if curve in HDR else "rgba" if has_alpha else "rgb24"
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
    if form == "rgb48le":
        notice("HDR video: tone-mapped to SDR BT.709")
        return tone_mapped(rgb, curve)
    if form == "rgba" and rgb[..., 3].min() == 255:
        return rgb[..., :3]
    if form == "rgba":
        notice(f"transparent video: laid on {background}; background= chooses another colour")
        alpha = rgb[..., 3:].astype(np.uint16)
        return ((rgb[..., :3] * alpha + colour_named(background) * (255 - alpha) + 127) // 255).astype(np.uint8)
    return rgb


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


def tone_mapped(rgb: np.ndarray, curve: int) -> np.ndarray:
    """Returns HDR BT.2020 pixels, (height, width, 3) uint16, as SDR BT.709 ones in uint8.

    Differs from exact arithmetic by the linear interpolation in a table of 65 x 65 x 65 nodes, as hardware does it.
    """
    import torch
    import torch.nn.functional as F

    table = torch.from_numpy(tone_table(curve)).permute(3, 0, 1, 2)[None]  # (1, 3, R, G, B)
    # grid_sample wants x, y, z = B, G, R in [-1, 1]
    where = torch.from_numpy(rgb[..., ::-1].astype(np.float32) / 32767.5 - 1)[None, None]  # (1, 1, H, W, 3)
    mapped = F.grid_sample(table, where, align_corners=True)[0, :, 0]  # (3, H, W)
    return (mapped * 255).round().clamp(0, 255).byte().permute(1, 2, 0).contiguous().numpy()


@cache
def tone_table(curve: int) -> np.ndarray:
    """Returns what SDR colour every HDR colour becomes: (R, G, B, 3) float32 in [0, 1], all axes in signal values.

    Brightness below `KNEE` of diffuse white stays; above, it is compressed and never exceeds white. The largest of
    R, G and B decides, so hues stay.
    Source: ITU-R BT.2100 (curves), BT.2408 (diffuse white), BT.2087 (primaries).
    """
    axis = np.linspace(0, 1, NODES)
    signal = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1)
    light = (pq_light if curve == PQ else hlg_light)(signal) / SDR_WHITE  # 1 is diffuse white
    light = np.maximum(light @ np.array(BT2020_TO_BT709).T, 0)  # out of gamut: cut
    brightest = light.max(-1, keepdims=True)
    over = np.maximum(brightest - KNEE, 0) / (1 - KNEE)
    compressed = np.minimum(brightest, KNEE) + (1 - KNEE) * over / (1 + over)
    light = light * compressed / np.maximum(brightest, 1e-9)
    return np.where(light < 0.018, 4.5 * light, 1.099 * light**0.45 - 0.099).astype(np.float32)


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
