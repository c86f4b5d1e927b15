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

from fastnst.canvas import stretch
from fastnst.errors import ConfigError
from fastnst.flow import by_plane, fetched, halved, inside, ramp

STILL, MOVING = 3.0, 9.0  # grey levels of change: up to which a cell, the mean of 4 x 4 pixels, holds still, and moves
MARGIN = 2  # cells around one that moves which follow it: strokes reach beyond what they paint
STEADY = 0.97  # weight of the average where the input holds still, at `amount` 1
CARRIED = 0.77  # and where it moves
SHARPER = 0.2  # of that weight: how much detail is added where the average was carried, which blurs
# change of the flow from pixel to pixel: up to which it carries the average, and from which it would smear it
EVEN, UNEVEN = 0.15, 0.5
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
        half: Float[Tensor, "1 3 rows columns"],
        stylized: Float[Tensor, "1 3 height width"],
        flow: Float[np.ndarray, "rows columns 2"] | None,
        moved: Float[np.ndarray, "cells_down cells_across"] | None = None,
    ) -> Float[Tensor, "1 3 height width"]:
        """Returns the painting of the stream's next frame, averaged with those before.

        Args:
            half: the frame at half its size, in [0, 1], see `fastnst.flow.halved`.
            stylized: its painting.
            flow: from the half to the one before, see `backward_flow`; None where a scene begins.
            moved: how far the canvas, and the strokes with it, went along that flow, 0 to 1; see `CarriedCanvas`. None:
                nobody knows; strokes are taken to go along wherever the picture changes.

        Returns:
            The average, in [0, 1]; at `amount` 0 `stylized` itself.
        """
        if self.amount == 0:
            return stylized
        cells = halved(half)  # (1, 3, H / 4, W / 4)
        last = self._before
        if not last or flow is None or last["painted"].shape != stylized.shape:
            self._before = {"half": half, "cells": cells, "painted": stylized.float()}
            return stylized
        change = 255 * (cells - last["cells"]).abs().amax(1, keepdim=True)
        goes = moves = widened(ramp(change, STILL, MOVING))
        if moved is not None:  # strokes go where the canvas does, and stay where only the light moves
            goes = torch.from_numpy(moved)[None, None].to(moves.device)
            moves = torch.maximum(moves, goes)
        even = evenness(flow, goes)
        moves_half, goes_half, even_half = (enlarged(each, *half.shape[2:]) for each in (moves, goes, even))
        half_flow = torch.from_numpy(flow).permute(2, 0, 1)[None].to(half.device) * goes_half
        differs = 255 * blurred(half - fetched(last["half"], half_flow)).abs().amax(1, keepdim=True)
        agrees = even_half * blurred((1 - ramp(differs, AGREES, DIFFERS)) * inside(half_flow))
        moving = self.carried * agrees * moves_half
        weight = self.steady * agrees * (1 - moves_half) + moving
        detail = SHARPER * moving * goes_half
        full_flow, weight, detail = doubled(torch.cat([2 * half_flow, weight, detail], 1), stylized)
        average = torch.lerp(stylized.float(), fetched(last["painted"], full_flow, cubic=True), weight).clamp_(0, 1)
        kept = torch.lerp(cells, last["cells"], self.steady * (1 - moves))
        self._before = {"half": half, "cells": kept, "painted": average}
        return torch.lerp(blurred(average), average, 1 + detail).clamp_(0, 1).to(stylized.dtype)


def evenness(
    flow: Float[np.ndarray, "rows columns 2"], goes: Float[Tensor, "1 1 down across"]
) -> Float[Tensor, "1 1 down across"]:
    """Returns where a flow carries the average, 1, and where not, 0: between two motions it is wrong for both.

    There what was painted is smeared and washed out: around the dashes of a lane, on asphalt that shows no motion.

    Args:
        flow: see `MotionAverage.next`.
        goes: how far the average goes along it, cell by cell.
    """
    cells = 2 * cv2.resize(flow, (goes.shape[3], goes.shape[2]), interpolation=cv2.INTER_AREA)
    even = 1 - ramp(stretch(cells * goes[0, 0, ..., None].cpu().numpy()), EVEN, UNEVEN)
    return torch.from_numpy(cv2.erode(even, np.ones((3, 3), np.uint8)))[None, None].to(goes.device)


def widened(cells: Float[Tensor, "1 1 rows columns"]) -> Float[Tensor, "1 1 rows columns"]:
    """Returns the most of all cells up to `MARGIN` away."""
    side = 2 * MARGIN + 1
    if cells.device.type == "cpu":
        return by_plane(cells, lambda plane, new: cv2.dilate(plane, np.ones((side, side), np.uint8), new))
    return F.max_pool2d(cells, side, stride=1, padding=MARGIN)


def enlarged(picture: Tensor, height: int, width: int) -> Float[Tensor, "1 channels height width"]:
    """Returns the picture at a larger size, bilinear."""
    if picture.device.type == "cpu":
        return by_plane(picture, lambda plane, new: cv2.resize(plane, (width, height), new), (height, width))
    return F.interpolate(picture, (height, width), mode="bilinear")


def blurred(picture: Tensor) -> Tensor:
    """Returns the means of 3 x 3 pixels; by OpenCV on a CPU, which takes a tenth of the time."""
    if picture.device.type == "cpu":
        return by_plane(picture, lambda plane, new: cv2.blur(plane, (3, 3), new, borderType=cv2.BORDER_REPLICATE))
    return F.avg_pool2d(F.pad(picture, (1, 1, 1, 1), mode="replicate"), 3, stride=1)


def doubled(half: Tensor, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns what was found at half size at the size of `like`: a flow, and two weights."""
    height, width = half.shape[2:]
    full = enlarged(half, 2 * height, 2 * width)[..., : like.shape[2], : like.shape[3]]
    return full[:, :2], full[:, 2:3], full[:, 3:]
