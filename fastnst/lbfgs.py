"""L-BFGS on the pixels of a picture, its cost counted in evaluations of the objective."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from fastnst.errors import Diverged

HISTORY = 10  # steps that the curvature is estimated from, as in SciPy
FIRST_STEP = 255  # its inverse is the mean change of the first step that is tried, of [0, 1]: one grey level

Objective = Callable[[Float[Tensor, "1 3 height width"]], Float[Tensor, ""]]


class Minimum(NamedTuple):
    """The best picture that was evaluated.

    Attributes:
        picture: RGB; values may be a little outside of [0, 1].
        loss: its value.
        evaluations: how many were made, of value and gradient together.
    """

    picture: Float[Tensor, "1 3 height width"]
    loss: float
    evaluations: int


class _Enough(Exception):
    """Leaves the optimizer in the middle of a line search."""


def minimized(
    objective: Objective,
    start: Float[Tensor, "1 3 height width"],
    evaluations: int,
    enough: Callable[[int, float], bool] = lambda number, loss: False,
    history: int = HISTORY,
) -> Minimum:
    """Returns the picture of the lowest objective that L-BFGS meets on the way from `start`.

    Its line search is PyTorch's for the strong Wolfe conditions. What is counted is evaluations, not iterations: a line
    search may take several.

    Args:
        objective: the loss of a picture.
        start: where it begins, which is the first evaluation.
        evaluations: how many are made at most.
        enough: is told the number and the loss of each evaluation; true ends the search.
        history: steps that the curvature is estimated from.

    Raises:
        Diverged: the objective is no finite number at the start.

    Source: Liu and Nocedal 1989; `torch.optim.LBFGS`.
    Differs: the pixels are scaled so that the first step is one grey level a pixel. Without it that is a millionth of
    one, and six of twenty evaluations go into making it longer. The loss is one a pixel at the start, so that
    squares of large gradients stay in the range of float32.
    """
    start, unit = start.detach(), FIRST_STEP / start.numel()  # the first step changes the sum of all variables by 1
    variable = torch.zeros_like(start).requires_grad_()  # what is added: the first picture is `start` itself
    optimizer = torch.optim.LBFGS(
        [variable],
        max_iter=evaluations,
        max_eval=evaluations,
        tolerance_grad=0,
        tolerance_change=0,
        history_size=history,
        line_search_fn="strong_wolfe",
    )
    best, scale = Minimum(start, math.inf, 0), 1.0

    def evaluate() -> Tensor:
        nonlocal best, scale
        optimizer.zero_grad()
        picture = start + variable / unit
        loss = objective(picture)
        value, number = loss.item(), best.evaluations + 1
        if number == 1:
            if not math.isfinite(value):
                raise Diverged(f"the loss of the picture that it starts from is {value}; lower the weights")
            scale = abs(value) / start.numel() or 1.0
        loss = loss / scale
        loss.backward()
        best = Minimum(picture.detach(), value, number) if value < best.loss else best._replace(evaluations=number)
        if enough(number, value) or number == evaluations:
            raise _Enough
        return loss

    with suppress(_Enough):
        optimizer.step(evaluate)
    return best
