"""The average along the motion equals what it should be by hand, and leaves nothing behind what moves."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fastnst.errors import ConfigError
from fastnst.flow import backward_flow, half_luma, halved
from fastnst.smooth import CARRIED, MOVING, SHARPER, STEADY, STILL, MotionAverage


def textured(height=48, width=64, seed=1):
    """A picture with detail of 4 pixels, in every part."""
    coarse = torch.rand(1, 3, height // 4, width // 4, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, scale_factor=4, mode="bicubic").clamp(0, 1)


def shifted_flow(right, down, height=48, width=64):
    """The backward flow of a picture that moves by so many pixels, as `backward_flow` gives it."""
    return np.full((-(-height // 2), -(-width // 2), 2), (-right / 2, -down / 2), np.float32)


def grainy(frames, *size):
    return torch.rand(frames, 1, 3, *size, generator=torch.Generator().manual_seed(2))


def blurry(picture):
    """Strokes of some pixels, as paintings have them."""
    return F.avg_pool2d(F.pad(picture, (2, 2, 2, 2), mode="replicate"), 5, stride=1)


@pytest.mark.parametrize("amount", [0.5, 1.0])
def test_average_along_known_motion_is_exact(amount):
    picture, grain, average = textured(), grainy(4, 48, 64), MotionAverage(amount)
    expected, weight = grain[0], CARRIED * amount * (2 - amount)
    for t in range(4):
        shown = average.next(halved(picture.roll((2 * t, 4 * t), (2, 3))), grain[t], shifted_flow(4, 2) if t else None)
        sharper = 0.0
        if t:
            expected = torch.lerp(grain[t], expected.roll((2, 4), (2, 3)), weight)
            sharper = SHARPER * weight * (expected - F.avg_pool2d(expected, 3, 1, 1))
        inner = (..., slice(8 + 2 * t, -8), slice(12 + 4 * t, -8))  # away from what came in at the border
        torch.testing.assert_close(average.memory()["painted"][inner], expected[inner])
        torch.testing.assert_close(shown[inner], (expected + sharper).clamp(0, 1)[inner])


def test_average_of_what_holds_still_is_exact_whatever_the_flow_says():
    picture, grain, average = textured(), grainy(4, 48, 64), MotionAverage(1.0)
    expected = grain[0]
    for t in range(4):
        smooth = average.next(halved(picture), grain[t], torch.randn(24, 32, 2).numpy() if t else None)
        expected = torch.lerp(grain[t], expected, STEADY)
        torch.testing.assert_close(smooth, expected)


@pytest.mark.parametrize("went", [False, True])
def test_average_is_carried_along_where_the_canvas_went_though_nothing_is_seen_to_move(went):
    wall, painted, average = torch.full((1, 3, 48, 64), 0.5), blurry(grainy(1, 48, 64)[0]), MotionAverage(1.0)
    shifted = painted.roll(4, 3)  # strokes that went along with the canvas, 4 pixels to the right
    average.next(halved(wall), painted, None)
    smooth = average.next(halved(wall), shifted, shifted_flow(4, 0), np.full((12, 16), went, np.float32))
    off = (smooth - shifted)[..., 8:-8, 16:-16].abs().mean() / shifted.std()
    assert off < 0.1 if went else off > 0.5


def test_strokes_that_stay_on_a_canvas_that_stays_are_averaged_in_place_though_the_light_moves():
    """A shadow moves over a table: its flow is that of the shadow, and the strokes of the table do not go along."""
    table, painted = textured() / 2, blurry(grainy(1, 48, 64)[0])
    for stayed in (np.zeros((12, 16), np.float32), None):
        average = MotionAverage(1.0)
        average.next(halved(table), painted, None)
        smooth = average.next(halved(table + (STILL + 2) / 255), painted, shifted_flow(4, 0), stayed)
        off = (smooth - painted)[..., 8:-8, 16:-16].abs().max()
        assert off < 1e-6 if stayed is not None else off > 0.05


def test_average_is_not_carried_where_two_motions_meet():
    """The flow of a dash spreads over the asphalt around it, and would smear the strokes there."""
    content, painted, flow = textured(), grainy(2, 48, 64), shifted_flow(0, 0)
    flow[:, 16:] = (-3, 0)  # from the middle on to the right, 6 pixels
    average = MotionAverage(1.0)
    average.next(halved(content), painted[0], None)
    moved = content.clone()
    moved[..., 32:] = content.roll(6, 3)[..., 32:]
    smooth = average.next(halved(moved), painted[1], flow, np.ones((12, 16), np.float32))
    off = (smooth - painted[1]).abs().mean((0, 1, 2))
    assert off[30:34].max() < 1e-6
    assert off[44:60].min() > 0.05


@pytest.mark.parametrize("why", ["nothing", "scene", "occlusion", "outside", "size", "reset"])
def test_painting_is_left_alone_where_nothing_of_it_was_seen_before(why):
    average = MotionAverage(0.0 if why == "nothing" else 1.0)
    average.next(halved(textured()), grainy(1, 48, 64)[0], None)
    size = (40, 56) if why == "size" else (48, 64)
    content, painted, flow = textured(*size), grainy(1, *size)[0] / 2, shifted_flow(0, 0, *size)
    if why == "scene":
        flow = None
    elif why == "occlusion":
        content = 1 - content
    elif why == "outside":
        content, flow = (content + 0.1).clamp(0, 1), flow + 100
    elif why == "reset":
        average.reset()
    smooth = average.next(halved(content), painted, flow)
    assert (smooth - painted).abs().mean() < (0.05 if why == "occlusion" else 1e-9)  # 1 - x is x somewhere


def flow_back(before, frame):
    return backward_flow(*map(half_luma, map(halved, (before, frame))))


@pytest.mark.parametrize("step", [1, 3, 8])
def test_average_leaves_nothing_behind_a_square_that_moves(step):
    background, square, average = textured(64, 128) / 3, textured(24, 24, seed=3) / 2 + 0.5, MotionAverage(1.0)
    before = None
    for t in range(10):
        content = background.clone()
        content[..., 20:44, 8 + step * t : 32 + step * t] = square
        smooth = average.next(halved(content), content, None if before is None else flow_back(before, content))
        before = content
        off = 255 * (smooth - content).abs().amax(1)
        assert off.mean() < 2
        assert (off > 25).float().mean() < 0.005  # its edges


def test_average_follows_a_light_that_fades_within_its_threshold():
    picture, average, lags = textured() / 2, MotionAverage(0.8), []
    for t in range(60):
        content = picture + t / 255
        lags.append(255 * (average.next(halved(content), content, shifted_flow(0, 0)) - content).abs().max().item())
    assert STILL < lags[-1] < MOVING
    assert lags[-1] == pytest.approx(lags[-15], abs=0.2)


def test_average_goes_on_from_its_memory_to_the_bit():
    picture, grain, flow = textured(), grainy(4, 48, 64), shifted_flow(4, 2)
    whole, first, second = MotionAverage(0.7), MotionAverage(0.7), MotionAverage(0.7)
    assert whole.memory() == {}
    contents = [picture.roll((2 * t, 4 * t), (2, 3)) for t in range(4)]
    at_once = [whole.next(halved(contents[t]), grain[t], flow if t else None) for t in range(4)]
    in_parts = [first.next(halved(contents[t]), grain[t], flow if t else None) for t in range(2)]
    second.recall(first.memory())
    in_parts += [second.next(halved(contents[t]), grain[t], flow) for t in (2, 3)]
    assert torch.equal(torch.cat(at_once), torch.cat(in_parts))


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (37, 61)])
def test_average_keeps_every_size_and_half_precision(size):
    average, frames = MotionAverage(0.8), torch.rand(3, 1, 3, *size).half()
    flows = [None, *(flow_back(frames[t], frames[t + 1]) for t in range(2))]
    for frame, flow in zip(frames, flows, strict=True):
        smooth = average.next(halved(frame), frame, flow)
        assert smooth.shape == frame.shape
        assert smooth.dtype == torch.float16


@pytest.mark.parametrize("amount", [-0.1, 1.1])
def test_smooth_out_of_range_fails_with_its_value(amount):
    with pytest.raises(ConfigError, match=f"smooth={amount} must be from 0 to 1"):
        MotionAverage(amount)
