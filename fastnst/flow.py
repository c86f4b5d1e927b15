"""Optical flow between frames, warping along it, and the mask of pixels that two frames share.

A flow is in pixels, channel 0 to the right and channel 1 down, and points from a frame to where its pixels are in the
next one: `warp(next_frame, flow)` lies on top of `frame`. A mask is 1 where two frames can be compared, else 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from fastnst.errors import ConfigError, EnvironmentFault, InputError
from fastnst.images import luma, to_uint8

DIS_MIN_SIDE = 16  # below, OpenCV's DIS crashes or returns NaN (opencv#14554)
NEAR = (9, 9)  # pixels of the half size in which `settled` takes means
RAFT_MIN_SIDE = 128  # torchvision's RAFT needs 16 x 16 positions at an eighth of the size

Numeric = TypeVar("Numeric", Tensor, np.ndarray, np.floating)


def _positions(flow: Float[Tensor, "batch 2 height width"]) -> tuple[Tensor, Tensor]:
    """Returns x + u and y + v, each (batch, height, width), in pixels."""
    rows = torch.arange(flow.shape[2], device=flow.device, dtype=flow.dtype)
    columns = torch.arange(flow.shape[3], device=flow.device, dtype=flow.dtype)
    return columns + flow[:, 0], rows[:, None] + flow[:, 1]


def warp(
    image: Float[Tensor, "batch channels height width"],
    flow: Float[Tensor, "batch 2 height width"],
    mode: str = "bilinear",
) -> Float[Tensor, "batch channels height width"]:
    """Returns output(x) = image(x + flow(x)), differentiable in both; outside the picture its border is repeated.

    Zero flow is the identity to the precision of the coordinates (1e-4 of a pixel at 1920 px in float32), and a flow of
    (1, 0) moves the picture by exactly one pixel to the left. Half precision is sampled in float32.
    """
    height, width = image.shape[2:]
    dtype = torch.promote_types(image.dtype, torch.float32)
    x, y = _positions(flow.to(dtype))
    # align_corners=False: pixel centres are at (2x + 1) / width - 1, which also works for a single row or column
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    sampled = F.grid_sample(image.to(dtype), grid, mode=mode, padding_mode="border", align_corners=False)
    return sampled.to(image.dtype)


def ramp(values: Numeric, low: float, high: float) -> Numeric:
    """Returns 0 up to `low`, 1 from `high`, and in between what lies on the line."""
    return ((values - low) / (high - low)).clip(0, 1)


def inside(flow: Float[Tensor, "batch 2 height width"]) -> Float[Tensor, "batch 1 height width"]:
    """Returns the mask of pixels whose source x + flow(x) lies in the picture; unknown flow (1e9, NaN) is outside."""
    x, y = _positions(flow)
    return ((x >= 0) & (x <= flow.shape[3] - 1) & (y >= 0) & (y <= flow.shape[2] - 1)).unsqueeze(1).to(flow.dtype)


def affine_flow(
    height: int, width: int, shift: tuple[float, float] = (0.0, 0.0), degrees: float = 0.0, zoom: float = 1.0
) -> Float[Tensor, "1 2 height width"]:
    """Returns the flow of a picture that grows `zoom` times and turns clockwise about its centre, then shifts.

    A pixel at x goes to centre + zoom * turned(x - centre) + shift, in float64, rounded once to float32. A shift
    alone is undone by the opposite shift, a turn alone by the opposite angle, a zoom alone by 1 / zoom.

    Args:
        height: of the picture, pixels.
        width: of the picture, pixels.
        shift: pixels to the right and down.
        degrees: clockwise.
        zoom: above 1 grows.
    """
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float64) - (height - 1) / 2,
        torch.arange(width, dtype=torch.float64) - (width - 1) / 2,
        indexing="ij",
    )
    cos, sin = zoom * math.cos(math.radians(degrees)), zoom * math.sin(math.radians(degrees))
    return torch.stack([cos * x - sin * y - x + shift[0], sin * x + cos * y - y + shift[1]]).unsqueeze(0).float()


def dis_flow(
    frame: Float[Tensor, "batch 3 height width"], next_frame: Float[Tensor, "batch 3 height width"]
) -> Float[Tensor, "batch 2 height width"]:
    """Returns the flow from each frame to its next one, from their 8-bit luma, on the device of `frame`.

    Source: Kroeger et al. 2016, arXiv:1603.03590 (dense inverse search); OpenCV's implementation, preset medium,
    refined to full resolution.

    Raises:
        InputError: a side is under `DIS_MIN_SIDE` pixels.
    """
    if min(frame.shape[2:]) < DIS_MIN_SIDE:
        raise InputError(f"no optical flow in frames of {frame.shape[3]}x{frame.shape[2]}: under {DIS_MIN_SIDE} pixels")
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    dis.setFinestScale(0)  # end-point errors fall by a sixth to a half against the preset, at 3.5 times the time
    return _flow_of_lumas(lambda *pair: dis.calc(*pair, None), frame, next_frame)  # pyright: ignore (stub forbids None)


def farneback_flow(
    frame: Float[Tensor, "batch 3 height width"], next_frame: Float[Tensor, "batch 3 height width"]
) -> Float[Tensor, "batch 2 height width"]:
    """Returns the flow from each frame to its next one, from their 8-bit luma, on the device of `frame`.

    It shares nothing with `dis_flow`, so its errors are different ones. Use it to judge what was made along that flow.
    Its end-point errors are 2 to 4 times those of `dis_flow`; it takes half the time. Fine strokes that follow the true
    motion perfectly have a warping error of 3 to 15 grey levels along it, and of 1 to 5 along `dis_flow` (six pairs of
    frames with known flow, 384 pixels).

    Source: Farneback 2003 (SCIA), "Two-Frame Motion Estimation Based on Polynomial Expansion"; OpenCV's
    implementation, five levels, a window of 15 pixels.
    """
    return _flow_of_lumas(
        lambda *pair: cv2.calcOpticalFlowFarneback(*pair, None, 0.5, 5, 15, 3, 5, 1.1, 0),  # pyright: ignore
        frame,
        next_frame,
    )


def _flow_of_lumas(
    flow: Callable[[np.ndarray, np.ndarray], np.ndarray],
    frame: Float[Tensor, "batch 3 height width"],
    next_frame: Float[Tensor, "batch 3 height width"],
) -> Float[Tensor, "batch 2 height width"]:
    """Returns what a function of two 8-bit luma pictures finds, for each frame and its next one."""
    pairs = zip(to_uint8(frame).cpu(), to_uint8(next_frame).cpu(), strict=True)
    lumas = [[cv2.cvtColor(rgb.permute(1, 2, 0).numpy(), cv2.COLOR_RGB2GRAY) for rgb in pair] for pair in pairs]
    flows = np.stack([flow(*luma_pair) for luma_pair in lumas])
    return torch.from_numpy(flows).permute(0, 3, 1, 2).contiguous().to(frame.device)


def halved(picture: Float[Tensor, "1 channels height width"]) -> Float[Tensor, "1 channels rows columns"]:
    """Returns the means of 2 x 2 pixels, float32, the size rounded up; by OpenCV on a CPU: a tenth of the time."""
    picture = picture.float()
    height, width = picture.shape[2:]
    if picture.device.type != "cpu" or height % 2 or width % 2:
        return F.avg_pool2d(picture, 2, ceil_mode=True)
    size = height // 2, width // 2
    return by_plane(picture, lambda plane, new: cv2.resize(plane, size[::-1], new, interpolation=cv2.INTER_AREA), size)


def by_plane(
    picture: Float[Tensor, "1 channels height width"],
    change: Callable[[np.ndarray, np.ndarray], object],
    size: tuple[int, int] | None = None,
) -> Float[Tensor, "1 channels new_height new_width"]:
    """Returns what a function of OpenCV makes of each plane of a picture on a CPU.

    Args:
        picture: in float32.
        change: is called with a plane, and with where it writes the new one.
        size: new height and width; None: they stay.
    """
    made = torch.empty(*picture.shape[:2], *(size or picture.shape[2:]))
    for plane, new in zip(picture[0].numpy(), made[0].numpy(), strict=True):
        change(plane, new)
    return made


def half_luma(half: Float[Tensor, "1 3 rows columns"]) -> UInt8[np.ndarray, "rows columns"]:
    """Returns the luma, 0-255, of a frame that is `halved`: what `backward_flow` compares."""
    return to_uint8(luma(half))[0, 0].cpu().numpy()


def backward_flow(
    half_before: UInt8[np.ndarray, "rows columns"], half: UInt8[np.ndarray, "rows columns"]
) -> Float[np.ndarray, "rows columns 2"]:
    """Returns the flow from a frame to the one before it, fast enough for every frame of a render.

    It is found at half the size, in pixels of that size. In frames that are too small for this it is 0.

    Args:
        half_before: `half_luma` of the frame before.
        half: `half_luma` of the frame.

    Source: Kroeger et al. 2016, arXiv:1603.03590 (dense inverse search); OpenCV's implementation, preset fast.
    Differs: at half the size, down to its pixels; the frame before gets the light of the frame, so that a fade is no
    motion; `settled` instead of a variational refinement, which takes as long as all the rest.
    """
    if min(half.shape) < DIS_MIN_SIDE:
        return np.zeros((*half.shape, 2), np.float32)
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    dis.setFinestScale(0)  # the preset stops at a quarter of the half: end-point errors are twice as large
    dis.setGradientDescentIterations(8)  # 16 in the preset, and a stride of 4: no better here
    dis.setPatchStride(7)
    dis.setVariationalRefinementIterations(0)
    light = np.median((half[::4, ::4] + 1.0) / (half_before[::4, ::4] + 1.0))
    before = cv2.convertScaleAbs(half_before, alpha=float(light))
    return settled(dis.calc(half, before, None), before, half)  # pyright: ignore (its stub forbids None)


def settled(
    flow: Float[np.ndarray, "rows columns 2"],
    before: UInt8[np.ndarray, "rows columns"],
    frame: UInt8[np.ndarray, "rows columns"],
) -> Float[np.ndarray, "rows columns 2"]:
    """Returns a backward flow in which pixels agree with those around them, if that fits the frames as well.

    The mean flow around a pixel is taken, in which most weight has what brings from the frame before what the frame
    shows; twice. Where that would bring something else, as inside of a small thing that moves, the flow stays.
    """
    x, y = np.arange(frame.shape[1], dtype=np.float32), np.arange(frame.shape[0], dtype=np.float32)[:, None]

    def differs(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        brought = cv2.remap(before, x + u, y + v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return cv2.boxFilter(cv2.absdiff(frame, brought), cv2.CV_32F, (3, 3))

    u, v = cv2.split(flow)
    off = differs(u, v)
    for _ in range(2):
        weight: np.ndarray = 1 / np.square(np.square(off) + 0.25)  # 0.25: half a grey level is noise
        total = cv2.blur(weight, NEAR)
        mean_u, mean_v = (cv2.divide(cv2.blur(weight * each, NEAR), total) for each in (u, v))
        now = differs(mean_u, mean_v)
        fits = (now <= off + 1).view(np.uint8)
        for new, old in ((mean_u, u), (mean_v, v), (now, off)):
            cv2.copyTo(new, fits, old)
    return cv2.merge([u, v])


def at_full_size(
    half_flow: Float[np.ndarray, "rows columns 2"], frame: Float[Tensor, "1 3 height width"]
) -> Float[Tensor, "1 2 height width"]:
    """Returns a flow that was found at half size at the size of `frame`, in its pixels, on its device."""
    flow = torch.from_numpy(half_flow).permute(2, 0, 1)[None].to(frame.device)
    height, width = frame.shape[-2:]
    return F.interpolate(2 * flow, scale_factor=2, mode="bilinear")[..., :height, :width].contiguous()


def fetched(
    image: Float[Tensor, "1 channels height width"], flow: Float[Tensor, "1 2 height width"], cubic: bool = False
) -> Float[Tensor, "1 channels height width"]:
    """Returns `warp(image, flow)`, on a CPU by OpenCV, which takes a fifth of the time; `cubic` blurs less."""
    if image.device.type != "cpu":
        return warp(image, flow, "bicubic" if cubic else "bilinear")
    x, y = (each[0].contiguous().numpy() for each in _positions(flow))
    how = cv2.INTER_CUBIC if cubic else cv2.INTER_LINEAR
    return by_plane(image, lambda plane, new: cv2.remap(plane, x, y, how, new, cv2.BORDER_REPLICATE))


def load_raft(weights: str | Path) -> nn.Module:
    """Returns torchvision's RAFT with weights from a local file; small or large follows from the file.

    Raises:
        EnvironmentFault: there is no such file.
        ConfigError: the file holds no weights of torchvision's RAFT.
    """
    from torchvision.models import optical_flow  # takes a second, and only RAFT needs it

    if not Path(weights).is_file():
        raise EnvironmentFault(
            f"no RAFT weights at '{weights}': download https://download.pytorch.org/models/raft_small_C_T_V2-01064c6d.pth"
        )
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
        raft = optical_flow.raft_large() if "mask_predictor.conv.weight" in state else optical_flow.raft_small()
        raft.load_state_dict(state)
    except Exception as error:  # damaged zip, pickle, other tensors, other keys: each with its own class
        raise ConfigError(f"'{weights}' holds no weights of torchvision's RAFT ({type(error).__name__})") from error
    return raft.eval().requires_grad_(False)


def raft_flow(
    raft: nn.Module, frame: Float[Tensor, "batch 3 height width"], next_frame: Float[Tensor, "batch 3 height width"]
) -> Float[Tensor, "batch 2 height width"]:
    """Returns the flow from each frame to its next one, by the net that `load_raft` gave, on that net's device.

    Source: Teed & Deng 2020, arXiv:2003.12039; torchvision's implementation, 12 updates.
    Differs: frames of other sizes are extended at the right and below, to multiples of 8 and to `RAFT_MIN_SIDE`.
    """
    height, width = frame.shape[2:]
    right, below = (max(-side % 8, RAFT_MIN_SIDE - side) for side in (width, height))
    pair = torch.stack([frame, next_frame]).flatten(0, 1).to(next(raft.parameters()))
    pair = F.pad(pair, (0, right, 0, below), mode="replicate") * 2 - 1
    with torch.no_grad():
        return raft(*pair.chunk(2))[-1][:, :, :height, :width]


def occlusion_mask(
    flow: Float[Tensor, "batch 2 height width"], flow_back: Float[Tensor, "batch 2 height width"]
) -> Float[Tensor, "batch 1 height width"]:
    """Returns 1 where `flow` can be trusted: inside the picture, visible in both frames, off motion boundaries.

    With w = (u, v) = `flow` and w' = `flow_back` at x + w, a pixel is 0 where the two do not cancel,
    |w + w'|^2 > 0.01 (|w|^2 + |w'|^2) + 0.5, or where the motion changes, |grad u|^2 + |grad v|^2 > 0.01 |w|^2 + 0.002.

    Source: Sundaram, Brox & Keutzer 2010 (ECCV), with these constants; Ruder et al. 2016, arXiv:1604.08610.
    Differs: Ruder tests the flow from t to t - 1. Here the caller chooses: swap the arguments for the mask of the next
    frame. The outermost rows and columns can be trusted too; gradients are one-sided there.
    """
    back = warp(flow_back, flow)
    gradients = torch.cat(torch.gradient(flow, dim=(2, 3)), dim=1)
    squared, squared_back, mismatch, change = (
        field.square().sum(dim=1, keepdim=True) for field in (flow, back, flow + back, gradients)
    )
    consistent = mismatch <= 0.01 * (squared + squared_back) + 0.5
    smooth = change <= 0.01 * squared + 0.002
    return inside(flow) * (consistent & smooth)


def read_flo(path: str | Path) -> Float[Tensor, "1 2 height width"]:
    """Returns the flow in a Middlebury .flo file; unknown flow is above 1e9 there.

    Raises:
        InputError: the file is missing or no .flo file.
    """
    try:
        raw = Path(path).read_bytes()
        magic = np.frombuffer(raw, "<f4", count=1)[0]
        width, height = np.frombuffer(raw, "<i4", count=2, offset=4)
        flow = np.frombuffer(raw, "<f4", offset=12).reshape(1, height, width, 2)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read optical flow '{path}': {error}") from error
    if magic != 202021.25:
        raise InputError(f"cannot read optical flow '{path}': not a Middlebury .flo file")
    return torch.from_numpy(flow.astype(np.float32)).permute(0, 3, 1, 2).contiguous()
