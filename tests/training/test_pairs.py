import pytest
import torch
from torch import Generator

from fastnst.flow import warp
from fastnst.settings import MotionSettings, TemporalSettings
from fastnst.training.pairs import (
    MixedPair,
    MotionPair,
    NoisePair,
    make_pair,
    next_frames,
    reencoded,
    unit_noise,
)


@pytest.mark.parametrize("pattern", ["gaussian", "correlated"])
def test_unit_noise_has_mean_0_and_deviation_1(pattern):
    noise = unit_noise(pattern, 200, 201, Generator().manual_seed(0))
    assert noise.shape == (3, 200, 201)
    assert noise.mean().item() == pytest.approx(0, abs=0.05)
    assert noise.std().item() == pytest.approx(1, abs=0.02)


def test_sparse_noise_leaves_19_pixels_of_20_alone():
    noise = unit_noise("sparse", 300, 300, Generator().manual_seed(0))
    assert (noise.abs().sum(0) > 0).float().mean().item() == pytest.approx(0.05, abs=0.005)
    assert noise.abs().max().item() <= 3


def test_correlated_noise_is_grey_and_smooth():
    noise = unit_noise("correlated", 128, 128, Generator().manual_seed(1))
    assert torch.equal(noise[0], noise[2])
    neighbours = (noise[0, :, 1:] * noise[0, :, :-1]).mean().item()
    assert neighbours > 0.5  # white noise: 0


def test_noise_pair_moves_nothing_and_compares_everything():
    content = torch.full((3, 40, 40), 0.5)
    pair = NoisePair((0.02, 0.02), ["gaussian"])(content, Generator().manual_seed(0))
    assert pair.flow is None
    assert pair.mask.shape == (1, 40, 40)
    assert pair.mask.min().item() == 1
    assert (pair.content_next - content).std().item() == pytest.approx(0.02, rel=0.05)
    assert torch.equal(content, torch.full((3, 40, 40), 0.5))


def test_noise_stays_in_range():
    content = torch.randint(0, 2, (3, 40, 40)).float()
    after = NoisePair((0.3, 0.3))(content, Generator().manual_seed(0)).content_next
    assert after.min() >= 0
    assert after.max() <= 1


def test_level_0_is_the_same_picture():
    content = torch.rand(3, 20, 20)
    assert torch.equal(NoisePair((0, 0))(content, Generator()).content_next, content)


def test_next_frames_are_a_function_of_each_pictures_seed():
    content, pair = torch.rand(1, 3, 24, 24).expand(3, -1, -1, -1), NoisePair((0.05, 0.1))
    frames = next_frames(pair, content, [1, 2, 1]).content_next
    assert torch.equal(frames[0], frames[2])
    assert not torch.equal(frames[0], frames[1])
    assert torch.equal(frames[1:2], next_frames(pair, content[1:2], [2]).content_next)


def test_pair_none_is_none():
    assert make_pair(TemporalSettings(pair="none")) is None


STILL = {"shift": 0.0, "degrees": 0.0, "zoom": 0.0, "wave": 0.0, "gain": 0.0, "brightness": 0.0}


def moved(content, seed=0, noise=None, **largest):
    return MotionPair(MotionSettings(**{**STILL, **largest}), noise)(content, Generator().manual_seed(seed))


def test_motion_of_nothing_is_the_same_picture_and_compares_everything():
    content = torch.rand(3, 32, 48)
    pair = moved(content)
    torch.testing.assert_close(pair.content_next, content, rtol=0, atol=1e-5)
    assert pair.flow is not None
    assert pair.flow.abs().max().item() < 1e-5
    assert pair.mask.min().item() == 1


@pytest.mark.parametrize("kind", [{"shift": 3.0}, {"degrees": 4.0}, {"zoom": 0.05}, {"wave": 1.5}])
def test_picture_warped_by_the_flow_is_the_next_frame(kind):
    content = torch.rand(3, 40, 56)
    pair = moved(content, seed=1, **kind)
    assert pair.flow is not None
    assert pair.flow.abs().max().item() > 0.2
    torch.testing.assert_close(warp(content[None], pair.flow[None])[0], pair.content_next)
    assert not torch.allclose(content, pair.content_next, atol=0.05)


def test_mask_is_where_the_next_frame_comes_from_inside_the_picture():
    pair = moved(torch.rand(3, 40, 40), seed=3, shift=6.0)
    assert pair.flow is not None
    across, down = pair.flow[:, 0, 0].tolist()
    columns, rows = torch.arange(40) + across, torch.arange(40) + down
    by_hand = ((rows >= 0) & (rows <= 39))[:, None] & ((columns >= 0) & (columns <= 39))
    assert torch.equal(pair.mask[0] > 0, by_hand)
    assert 0 < pair.mask.mean().item() < 1


def test_light_changes_without_motion():
    content = torch.full((3, 16, 16), 0.5)
    pairs = [moved(content, seed=seed, gain=0.1, brightness=0.05) for seed in range(8)]
    changes = [abs(pair.content_next.mean().item() - 0.5) for pair in pairs]
    assert max(pair.content_next.std().item() for pair in pairs) < 1e-5
    assert 0.02 < max(changes) <= 0.1  # 0.5 x 0.1 of gain and 0.05 of brightness
    assert min(pair.mask.min().item() for pair in pairs) == 1


def test_motion_adds_its_noise_last():
    content = torch.full((3, 32, 32), 0.5)
    pair = moved(content, shift=2.0, noise=NoisePair((0.03, 0.03), ["gaussian"]))
    assert pair.content_next.std().item() == pytest.approx(0.03, rel=0.1)


def test_mixed_pair_draws_each_kind_and_fills_in_still_flow():
    content = torch.rand(1, 3, 24, 24).expand(12, -1, -1, -1)
    pair = MixedPair([NoisePair((0.1, 0.1)), MotionPair(MotionSettings(**{**STILL, "shift": 2.0}), None)])
    flow = next_frames(pair, content, range(12)).flow
    assert flow is not None
    still = (flow.abs().amax((1, 2, 3)) == 0).sum().item()
    assert 0 < still < 12


def test_jpeg_keeps_the_colours_and_errs_more_at_a_lower_quality():
    ramp = torch.linspace(0, 1, 48).expand(3, 48, 48) * torch.tensor([1.0, 0.5, 0.2])[:, None, None]
    errors = [(reencoded(ramp, quality) - ramp).abs().mean().item() for quality in (95, 20)]
    assert errors[0] < errors[1] < 0.03


def test_batch_without_motion_has_no_flow():
    assert next_frames(NoisePair((0.1, 0.1)), torch.rand(2, 3, 16, 16), [0, 1]).flow is None
