"""The canvas: a noise field that holds still under the picture, so that strokes have something to hold on to.

On a flat wall only the noise of the camera could tell a net where a stroke goes, and that changes with every frame. The
canvas is a fourth input of the net that does not change: strokes take hold of it, and stay.

Source: noise as an input of a stylization net from Ulyanov et al. 2016, "Texture Networks", arXiv:1603.03417, there for
variety. A texture that is carried along the motion of a video is how non-photorealistic rendering holds strokes still:
Bousseau et al. 2007, "Video Watercolorization using Bidirectional Texture Advection", doi:10.1145/1276377.1276507.
Differs: the texture is not drawn on the picture, it is an input of the net, in training and in use.
"""

from __future__ import annotations

from functools import cache, lru_cache

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor

GRAINS = (2, 4, 8)  # pixels of the frame that the net sees; noise of each size has the same share
DEVIATION = 0.2  # of the field, whose mean is 0, in units of the [0, 1] range
PERIOD = 2048  # pixels after which the field repeats
SEED = 1  # of the field: there is one for all nets and frames, so that the same clip gives the same painting
EDGE = 8  # pixels of the field that are kept twice, so that no position is near an edge
TEXTURES = (0.0, 0.5, 1.0, 1.0, 1.5)  # amplitudes that training draws from, so that a net knows the dial `texture`


@cache
def field() -> np.ndarray:
    """Returns one period of the noise field with its own edge around it, a square of PERIOD + 2 * EDGE float32."""
    generator = Generator().manual_seed(SEED)
    total = np.zeros((PERIOD, PERIOD), np.float32)
    for grain in GRAINS:
        side, margin = PERIOD // grain, 4
        coarse = torch.randn(1, 1, side, side, generator=generator)
        around = F.pad(coarse, (margin,) * 4, mode="circular")
        fine = F.interpolate(around, scale_factor=grain, mode="bicubic", align_corners=False)
        total += fine[0, 0, margin * grain :, margin * grain :][:PERIOD, :PERIOD].numpy()
    return np.pad(total * (DEVIATION / total.std()), EDGE, mode="wrap")


def sampled(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns the field at positions in pixels, (height, width) float32; bicubic, and it repeats outside."""
    return cv2.remap(field(), np.mod(x, PERIOD) + EDGE, np.mod(y, PERIOD) + EDGE, cv2.INTER_CUBIC)


def positions(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns x and y of every pixel of a frame, each (height, width) float32."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return x, y


@lru_cache(maxsize=4)
def fixed_canvas(height: int, width: int) -> Float[Tensor, "1 1 height width"]:
    """Returns the canvas of a picture, or of a camera that does not move: the field from its corner on."""
    return torch.from_numpy(sampled(*positions(height, width)))[None, None]


def drawn_canvas(
    seed: int, height: int, width: int, flow: Float[Tensor, "2 height width"] | None = None
) -> tuple[Float[Tensor, "1 height width"], Float[Tensor, "1 height width"]]:
    """Returns the canvas of a training picture and that of its next frame: a random place of the field, both at once.

    Args:
        seed: what the place and the amplitude, one of `TEXTURES`, are drawn from.
        height: of the picture.
        width: of the picture.
        flow: where each pixel of the next frame was in the picture, pixels; None if nothing moves.
    """
    generator = Generator().manual_seed(seed)
    left, top = torch.randint(PERIOD, (2,), generator=generator).tolist()
    texture = TEXTURES[int(torch.randint(len(TEXTURES), (), generator=generator))]
    x, y = positions(height, width)
    canvas = torch.from_numpy(texture * sampled(x + left, y + top))[None]
    if flow is None:
        return canvas, canvas
    along = flow.float().cpu().numpy()
    return canvas, torch.from_numpy(texture * sampled(x + left + along[0], y + top + along[1]))[None]
