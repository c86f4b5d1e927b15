"""The average of the paintings over time, along the motion of the input: `smooth`, which takes away boiling strokes.

Where the input holds still, paintings are averaged in place; where it moves, the average so far is first carried along
the optical flow of the input, and counts as far as what the flow fetches from the last input is what the input shows.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from fastnst.errors import ConfigError
from fastnst.flow import fetched, inside, ramp

SQUARE = 4  # pixels; the input is compared by the means of squares of this side, which takes away grain
STILL, MOVING = 3.0, 9.0  # grey levels of change: up to which a square holds still, and from which it moves
MARGIN = 2  # squares around one that moves which follow it: strokes reach beyond what they paint
STEADY = 0.97  # weight of the average where the input holds still, at `amount` 1
CARRIED = 0.6  # and where it moves
SHARPER = 0.3  # of that weight: how much detail is added where the average was carried, which blurs
AGREES, DIFFERS = 3.0, 12.0  # grey levels between the input and what the flow fetches: trusted in full, not at all


class MotionAverage:
    """The recursive average of a stream's paintings along the motion of its input.

    Args:
        amount: from 0, the paintings as they are, to 1.

    Source: Lai et al. 2018, arXiv:1808.00449, and Shekhar et al. 2023, for averages along the flow of the input; the
    average in place with a motion detector is how video denoisers work.

    Raises:
        ConfigError: `amount` is out of range.
    """

    def __init__(self, amount: float) -> None:
        if not 0 <= amount <= 1:
            raise ConfigError(f"smooth={amount} must be from 0 to 1")
        self.amount = amount
        self.steady, self.carried = (weight * amount * (2 - amount) for weight in (STEADY, CARRIED))
        self.reset()

    def reset(self) -> None:
        """Forgets the frames so far."""
        self._before: dict[str, Tensor] = {}

    def memory(self) -> dict[str, Tensor]:
        """Returns what is remembered, by name, for `recall`; nothing before the first frame."""
        return dict(self._before)

    def recall(self, memory: Mapping[str, Tensor]) -> None:
        """Goes on from what `memory` returned."""
        self._before = dict(memory)

    def next(
        self,
        content: Float[Tensor, "1 3 height width"],
        stylized: Float[Tensor, "1 3 height width"],
        flow: Float[Tensor, "1 2 height width"] | None,
    ) -> Float[Tensor, "1 3 height width"]:
        """Returns the painting of the stream's next frame, averaged with those before.

        Args:
            content: the frame, in [0, 1].
            stylized: its painting.
            flow: from the frame to the one before, see `backward_flow`; None where a scene begins.

        Returns:
            The average, in [0, 1]; at `amount` 0 `stylized` itself.
        """
        if self.amount == 0:
            return stylized
        half = halved(content.float())  # (1, 3, H / 2, W / 2)
        cells = F.avg_pool2d(half, SQUARE // 2, ceil_mode=True)  # (1, 3, H / SQUARE, W / SQUARE)
        last = self._before
        if not last or flow is None or last["painted"].shape != stylized.shape:
            self._before = {"half": half, "cells": cells, "painted": stylized.float()}
            return stylized
        change = 255 * (cells - last["cells"]).abs().amax(1, keepdim=True)
        moves = F.max_pool2d(ramp(change, STILL, MOVING), 2 * MARGIN + 1, stride=1, padding=MARGIN)
        moves_half = F.interpolate(moves, half.shape[2:], mode="bilinear")
        half_flow = flow.float()[..., ::2, ::2] / 2 * moves_half  # in pixels of the half
        differs = 255 * blurred(half - fetched(last["half"], half_flow)).abs().amax(1, keepdim=True)
        agrees = blurred((1 - ramp(differs, AGREES, DIFFERS)) * inside(half_flow))
        moving = doubled(self.carried * agrees * moves_half, stylized)
        weight = doubled(self.steady * agrees * (1 - moves_half), stylized) + moving
        carried = fetched(last["painted"], flow.float() * doubled(moves_half, stylized), cubic=True)
        average = torch.lerp(stylized.float(), carried, weight).clamp(0, 1)
        kept = torch.lerp(cells, last["cells"], self.steady * (1 - moves))
        self._before = {"half": half, "cells": kept, "painted": average}
        sharper = average + SHARPER * moving * (average - blurred(average))
        return sharper.clamp(0, 1).to(stylized.dtype)


def halved(picture: Tensor) -> Tensor:
    """Returns the means of 2 x 2 pixels, the size rounded up; by OpenCV on a CPU, which takes a tenth of the time."""
    height, width = picture.shape[2:]
    if picture.device.type != "cpu" or height % 2 or width % 2:
        return F.avg_pool2d(picture, 2, ceil_mode=True)
    size = width // 2, height // 2
    planes = [cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in picture[0].numpy()]
    return torch.from_numpy(np.stack(planes))[None]


def blurred(picture: Tensor) -> Tensor:
    """Returns the means of 3 x 3 pixels; by OpenCV on a CPU, which takes a tenth of the time."""
    if picture.device.type == "cpu":
        planes = [cv2.blur(plane, (3, 3), borderType=cv2.BORDER_REPLICATE) for plane in picture[0].numpy()]
        return torch.from_numpy(np.stack(planes))[None]
    return F.avg_pool2d(F.pad(picture, (1, 1, 1, 1), mode="replicate"), 3, stride=1)


def doubled(half: Tensor, like: Tensor) -> Tensor:
    """Returns what was found at half size at the size of `like`."""
    return F.interpolate(half, scale_factor=2, mode="bilinear")[..., : like.shape[2], : like.shape[3]]
