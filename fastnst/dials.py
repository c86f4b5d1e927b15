"""What can be turned without training again: how strong, whose colours, how broad the strokes."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from fastnst.errors import ConfigError
from fastnst.images import luma

COLOURS = ("style", "content")
Net = Callable[[Tensor], Tensor]


def dialled(net: Net, strength: float = 1.0, color: str = "style", scale: float = 1.0) -> Net:
    """Returns `net` with the dials turned; at their defaults `net` itself.

    Args:
        net: maps (B, 3, H, W) in [0, 1] to the same shape and range.
        strength: 0 is the content, 1 the painting, a mixture of both between.
        color: whose colours, "style" or "content": then only light and dark are painted.
        scale: of the frame that the net sees, relative to the frame: 0.5 makes strokes twice as broad.

    Raises:
        ConfigError: a dial is out of range.
    """
    if not 0 <= strength <= 1:
        raise ConfigError(f"strength={strength} must be from 0 to 1")
    if color not in COLOURS:
        raise ConfigError(f"color={color} must be {' or '.join(COLOURS)}")
    if not 0.1 <= scale <= 4:
        raise ConfigError(f"scale={scale} must be from 0.1 to 4")
    if (strength, color, scale) == (1.0, "style", 1.0):
        return net

    def turned(content: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3 height width"]:
        painted = (
            resized(net(resized(content, scale)), (content.shape[-2], content.shape[-1]))
            if scale != 1
            else net(content)
        )
        if color == "content":
            painted = with_content_colour(content, painted)
        return content + strength * (painted - content)

    return turned


def resized(
    picture: Float[Tensor, "batch 3 height width"], size: float | tuple[int, int]
) -> Float[Tensor, "batch 3 new_height new_width"]:
    """Returns the picture at a height and width, or scaled by a factor, anti-aliased, in [0, 1]."""
    if not isinstance(size, tuple):
        size = (max(1, round(picture.shape[-2] * size)), max(1, round(picture.shape[-1] * size)))
    return F.interpolate(picture, size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)


def with_content_colour(
    content: Float[Tensor, "batch 3 height width"], painted: Float[Tensor, "batch 3 height width"]
) -> Float[Tensor, "batch 3 height width"]:
    """Returns the painting's luma with the content's chroma, clipped to [0, 1].

    Source: Gatys et al. 2016, "Preserving Color in Neural Artistic Style Transfer", arXiv:1606.05897, section 4.
    Differs: in Y'CbCr, where adding one number to R, G and B alike moves luma and leaves chroma alone.
    """
    return (content + luma(painted - content)).clamp(0, 1)
