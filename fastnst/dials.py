"""What can be turned without training again: how strong, whose colours, how broad the strokes, how smooth in time."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from fastnst.errors import ConfigError
from fastnst.images import luma
from fastnst.shots import SMALL, is_cut

COLOURS = ("style", "content")
CELL = 4  # pixels; `Smooth` compares frames by the means of squares of this side, which takes away grain
STILL, MOVING = 3.0, 9.0  # grey levels of change: up to which a square holds still, and from which it moves
MARGIN = 2  # squares around one that moves which follow it: strokes reach beyond what they paint
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


class Smooth(nn.Module):
    """A net whose painting is averaged over time where its input holds still, and is left alone where that moves.

    The average is recursive, pixel by pixel. With it the input is averaged, by the same weights: what differs from
    that moves, so that a light which fades slowly is followed too, and nothing is held back behind what goes by.
    Frames are taken one after the other, so that a batch gives what single frames give.

    Args:
        net: maps frames (T, 3, H, W) in [0, 1] to the same shape and range.
        amount: weight of the earlier frames in what holds still, from 0 to 0.95.
        is_cut: whether a new scene begins with the second of two frames; the average begins anew there.

    Source: this project; recursive averages with a motion detector are how video denoisers work.

    Raises:
        ConfigError: `amount` is out of range.
    """

    def __init__(self, net: nn.Module, amount: float, is_cut: Callable[[Tensor, Tensor], bool] = is_cut) -> None:
        super().__init__()
        if not 0 <= amount <= 0.95:
            raise ConfigError(f"smooth={amount} must be from 0 to 0.95")
        self.net, self.amount, self.is_cut = net, amount, is_cut
        self.reset()

    def reset(self) -> None:
        """Forgets the frames so far."""
        self.before: Tensor | None = None  # the last frame, small
        self.averages: tuple[Tensor, Tensor] | None = None  # of the squares of the input, and of the painting

    def memory(self) -> dict[str, Tensor]:
        """Returns what is remembered, by name, for `recall`; nothing before the first frame."""
        if self.before is None or self.averages is None:
            return {}
        return {"before": self.before, "squares": self.averages[0], "painted": self.averages[1]}

    def recall(self, memory: Mapping[str, Tensor]) -> None:
        """Goes on from what `memory` returned."""
        if memory:
            self.before, self.averages = memory["before"], (memory["squares"], memory["painted"])

    def forward(self, content: Float[Tensor, "time 3 height width"]) -> Float[Tensor, "time 3 height width"]:
        """Returns the frames painted; they follow those of the call before."""
        pairs = zip(content.split(1), self.net(content).split(1), strict=True)
        return torch.cat([self.next_frame(*pair) for pair in pairs])

    def next_frame(
        self, content: Float[Tensor, "1 3 height width"], painted: Float[Tensor, "1 3 height width"]
    ) -> Float[Tensor, "1 3 height width"]:
        """Returns the painting of the stream's next frame, averaged with those before."""
        small = F.interpolate(content.float(), SMALL, mode="area")
        if self.averages is not None and self.before is not None:
            resized = self.averages[1].shape != painted.shape
            if resized or self.is_cut(self.before, small):
                self.reset()
        self.before = small
        squares = F.avg_pool2d(content.float(), CELL, ceil_mode=True)  # (1, 3, H / CELL, W / CELL)
        if self.averages is None:
            self.averages = squares, painted.float()
            return painted
        squares_before, painted_before = self.averages
        change = 255 * (squares - squares_before).abs().amax(1, keepdim=True)
        moves = ((change - STILL) / (MOVING - STILL)).clamp(0, 1)
        moves = F.max_pool2d(moves, 2 * MARGIN + 1, stride=1, padding=MARGIN)
        weight = 1 - self.amount * (1 - moves)
        weight_of_pixels = F.interpolate(weight, painted.shape[2:], mode="bilinear")
        average = torch.lerp(painted_before, painted.float(), weight_of_pixels)
        self.averages = torch.lerp(squares_before, squares, weight), average
        return average.to(painted.dtype)
