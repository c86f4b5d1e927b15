"""Facts about the noise field that strokes hold on to."""

import numpy as np
import pytest
import torch

from fastnst.canvas import (
    CELL,
    DEVIATION,
    FADE,
    PERIOD,
    SHAKES,
    TEXTURES,
    CarriedCanvas,
    drawn_canvas,
    field,
    fixed_canvas,
    mended,
    moves,
    positions,
    sampled,
)
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


def halves(*shifts: int) -> list[np.ndarray]:
    """Returns pictures at half size, each moved by so many pixels of that to the left."""
    picture = np.random.default_rng(0).integers(0, 256, (48, 160), np.uint8).repeat(2, 0).repeat(2, 1)
    return [np.ascontiguousarray(picture[:96, 20 + shift : 148 + shift]) for shift in shifts]


def flow_of(shift: float, shape: tuple[int, int] = (96, 128)) -> np.ndarray:
    return np.full((*shape, 2), (shift, 0), np.float32)


def test_canvas_of_a_still_picture_with_noise_stays_to_the_bit():
    carried, (half,), draw = CarriedCanvas(1.0), halves(0), np.random.default_rng(1)
    noisy = np.clip(half.astype(int) + draw.integers(-2, 3, half.shape), 0, 255).astype(np.uint8)
    first = carried.next(half, None, 192, 256)
    of_noise = draw.normal(0, 0.4, (*half.shape, 2)).astype(np.float32)
    assert torch.equal(carried.next(noisy, of_noise, 192, 256), first)
    assert torch.equal(first, fixed_canvas(192, 256))


def test_canvas_moves_along_with_the_picture_by_whole_pixels():
    carried, pictures = CarriedCanvas(1.0), halves(0, 2, 4)
    first = last = carried.next(pictures[0], None, 192, 256)
    for picture in pictures[1:]:
        last = carried.next(picture, flow_of(2), 192, 256)
    inner = (slice(None), slice(None), slice(40, -40), slice(40, -60))
    assert (last - first.roll(-8, 3))[inner].abs().mean() < 0.02 * DEVIATION
    assert (last - first)[inner].abs().mean() > 0.5 * DEVIATION


def test_canvas_is_never_blurred_however_long_it_is_carried():
    carried, pictures = CarriedCanvas(1.0), halves(*([0, 3] * 30))
    canvas = carried.next(pictures[0], None, 192, 256)
    first = canvas.diff(dim=3).std()
    for place, picture in enumerate(pictures[1:]):
        canvas = carried.next(picture, flow_of(3.3 if place % 2 else -2.9), 192, 256)
    assert abs(float(canvas.diff(dim=3).std() / first) - 1) < 0.05


@pytest.mark.parametrize(
    ("moving", "speed", "wall", "moves_there"),
    [
        ("all", 1.5, 1.0, 1.0),
        ("all", 1.5, 0.0, 0.0),
        ("half", 1.5, 1.0, 0.0),
        ("nothing", 1.5, 1.0, 0.0),
        ("all", SHAKES, 1.0, 0.0),
    ],
)
def test_a_wall_moves_along_where_its_flow_is_one_and_the_edges_move(moving, speed, wall, moves_there):
    draw = np.random.default_rng(2)
    cells, flow = np.full((40, 90), 128, np.float32), np.zeros((40, 90, 2), np.float32)
    cells[:, :50] = draw.integers(0, 256, (40, 50))  # edges; the rest is a wall
    flow[:, : {"all": 50, "half": 25, "nothing": 0}[moving], 0] = speed
    flow[:, 50:] = draw.normal(0, 1, (40, 40, 2)) * (1 - wall)  # noise, or what OpenCV fills in
    flow[:, 50:, 0] += speed * wall
    found = moves(flow, cells, np.roll(cells, 1, 1))
    assert found[:, -20:].mean() == pytest.approx(moves_there, abs=0.02)
    assert found[5:-5, 5:20].mean() == (moving != "nothing")


def test_canvas_that_is_stretched_too_far_gives_way_to_a_new_one_without_losing_contrast():
    carried, (half,) = CarriedCanvas(1.0), halves(0)
    carried.next(half, None, 192, 256)
    x, y = positions(96, 128)
    zoom = np.stack([0.05 * (64 - x), 0.05 * (48 - y)], -1)
    deviations, maps = [], []
    for step in range(30 + FADE):
        other = np.roll(half, step + 1, 0)  # what moves changes
        carried._before = np.full((192 // CELL, 256 // CELL), 128.0, np.float32)
        deviations.append(float(carried.next(other, zoom, 192, 256).std()))
        maps.append(len(carried._maps))
    assert {1, 2} == set(maps)
    assert 0.7 * DEVIATION < min(deviations) <= max(deviations) < 1.3 * DEVIATION


def test_map_is_filled_from_its_surroundings_where_it_is_not_trusted():
    offsets, trusted = np.full((40, 40, 2), 7, np.float32), np.ones((40, 40), np.float32)
    offsets[15:25, 15:25], trusted[13:27, 13:27] = -90, 0
    assert np.abs(mended(offsets, trusted)[18:22, 18:22] - 7).max() < 1


def test_canvas_goes_on_from_its_memory_to_the_bit():
    whole, first, second, pictures = CarriedCanvas(1.5), CarriedCanvas(1.5), CarriedCanvas(1.5), halves(0, 2, 4, 6)
    assert whole.memory() == {}
    at_once = [whole.next(picture, flow_of(2) if place else None, 191, 255) for place, picture in enumerate(pictures)]
    for place in (0, 1):
        first.next(pictures[place], flow_of(2) if place else None, 191, 255)
    second.recall(first.memory())
    for place in (2, 3):
        assert torch.equal(second.next(pictures[place], flow_of(2), 191, 255), at_once[place])


def test_texture_0_is_no_canvas_and_fixed_does_not_move():
    (half,) = halves(0)
    assert not CarriedCanvas(0.0).next(half, None, 192, 256).any()
    fixed = CarriedCanvas(0.5, "fixed")
    for flow in (None, flow_of(9)):
        assert torch.equal(fixed.next(half, flow, 192, 256), 0.5 * fixed_canvas(192, 256))
