import math

import pytest
import torch

from fastnst.errors import Diverged
from fastnst.lbfgs import minimized

START = torch.full((1, 3, 4, 4), 0.5)


def test_a_bowl_is_emptied():
    target = torch.rand(1, 3, 4, 4)
    scales = torch.linspace(1, 100, 48).view(1, 3, 4, 4)
    found = minimized(lambda picture: (scales * (picture - target).square()).sum(), START, 60)
    torch.testing.assert_close(found.picture, target, atol=1e-3, rtol=0)
    assert found.loss < 1e-5


@pytest.mark.parametrize("factor", [1e-6, 1.0, 1e10])
def test_the_unit_of_the_loss_does_not_matter(factor):
    target = torch.rand(1, 3, 4, 4)
    found = minimized(lambda picture: factor * (picture - target).abs().pow(1.5).sum(), START, 12)
    again = minimized(lambda picture: (picture - target).abs().pow(1.5).sum(), START, 12)
    torch.testing.assert_close(found.picture, again.picture, atol=1e-3, rtol=0)


def test_no_more_evaluations_are_made_than_asked_for():
    calls = []

    def rough(picture):
        calls.append(1)
        return (10 * picture).sin().sum() + picture.square().sum()

    for limit in (1, 2, 5, 17):
        calls.clear()
        assert minimized(rough, START, limit).evaluations == len(calls) <= limit


def test_the_best_picture_counts_not_the_last_one():
    losses = []

    def rough(picture):
        loss = (40 * picture).sin().sum() + (picture - 0.4).square().sum()
        losses.append(loss.item())
        return loss

    found = minimized(rough, START, 25)
    assert found.loss == min(losses)
    assert rough(found.picture).item() == pytest.approx(found.loss)


def test_it_ends_where_that_is_enough():
    seen = []
    found = minimized(
        lambda picture: picture.square().sum(), START, 50, lambda number, loss: bool(seen.append(loss)) or loss < 6
    )
    assert found.evaluations == len(seen) < 50
    assert seen[-1] < 6 <= min(seen[:-1])


def test_the_first_step_is_one_grey_level():
    pictures = []

    def seen(picture):
        pictures.append(picture.detach().clone())
        return picture.sum()

    minimized(seen, START, 2)
    assert (pictures[1] - pictures[0]).abs().mean().item() == pytest.approx(1 / 255, rel=1e-3)


def test_a_start_without_a_loss_fails():
    with pytest.raises(Diverged, match="nan"):
        minimized(lambda picture: picture.sum() * math.nan, START, 5)
