"""Facts about the noise field that strokes hold on to."""

import numpy as np
import torch

from fastnst.canvas import DEVIATION, PERIOD, TEXTURES, drawn_canvas, field, fixed_canvas, positions, sampled
from fastnst.net import StylizationNet


def test_field_has_mean_0_and_its_deviation_and_repeats():
    x, y = positions(40, 60)
    assert abs(float(field().mean())) < 0.01
    assert abs(float(field().std()) - DEVIATION) < 0.01
    assert np.allclose(sampled(x, y), sampled(x + PERIOD, y - 3 * PERIOD), atol=1e-5)


def test_field_goes_on_across_its_seam():
    x, y = positions(8, 64)
    across = sampled(x + PERIOD - 32, y)
    steps = np.abs(np.diff(across, axis=1))
    assert steps[:, 31].mean() < 2 * steps.mean()


def test_fixed_canvas_of_a_larger_picture_begins_with_that_of_a_smaller_one():
    assert torch.equal(fixed_canvas(50, 70)[..., :20, :30], fixed_canvas(20, 30))


def test_canvas_of_the_next_frame_moves_by_the_flow():
    flow = torch.zeros(2, 24, 32)
    flow[0], flow[1] = 3, -2
    seed = next(seed for seed in range(99) if drawn_canvas(seed, 8, 8)[0].std() > 0)
    canvas, canvas_next = drawn_canvas(seed, 24, 32, flow)
    assert torch.allclose(canvas_next[:, 2:, :-3], canvas[:, :-2, 3:], atol=1e-4)


def test_drawn_canvases_have_the_textures_of_the_dial_and_differ():
    deviations = {round(float(drawn_canvas(seed, 64, 64)[0].std()) / DEVIATION * 2) / 2 for seed in range(40)}
    assert deviations == set(TEXTURES)
    assert not torch.equal(drawn_canvas(3, 64, 64)[0], drawn_canvas(5, 64, 64)[0])


def test_net_without_a_canvas_ignores_it_and_one_with_it_does_not():
    content = torch.rand(1, 3, 16, 20)
    for has_canvas in (False, True):
        net = StylizationNet((4, 4, 4), residual_blocks=1, canvas=has_canvas)
        first, second = (net(content, canvas=c) for c in (None, torch.rand(1, 1, 16, 20)))
        assert torch.equal(first, second) != has_canvas


def test_net_without_a_canvas_goes_on_as_one_with_it_and_stylizes_almost_the_same():
    torch.manual_seed(0)
    old = StylizationNet((4, 4, 4), residual_blocks=1, canvas=False)
    new, content = old.renewed(antialias=False, canvas=True), torch.rand(1, 3, 16, 20)
    assert new.has_canvas
    assert (new(content, canvas=torch.zeros(1, 1, 16, 20)) - old(content)).abs().mean() < 0.05
    blurred = old.renewed(antialias=True, canvas=False)
    assert [*blurred.state_dict().values()][2].equal([*old.state_dict().values()][2])
