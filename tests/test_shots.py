import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from fastnst.net import StylizationNet
from fastnst.shots import RATE, ShotNorm, is_cut, norm_layers, normalised_with, recorded


@pytest.fixture
def net():
    return StylizationNet((4, 8, 8), residual_blocks=1).eval().requires_grad_(False)


def scene(seed):
    """A picture with shapes at several scales."""
    generator = torch.Generator().manual_seed(seed)
    layers = [
        F.interpolate(torch.rand(1, 3, n, 2 * n, generator=generator), (72, 128), mode="bicubic") for n in (3, 8, 24)
    ]
    return (0.6 * layers[0] + 0.3 * layers[1] + 0.1 * layers[2]).clamp(0, 1)


def test_frames_own_statistics_given_back_change_nothing(net):
    frame = torch.rand(1, 3, 40, 56)
    with recorded(net) as statistics:
        expected = net(frame)
    assert len(statistics) == len(norm_layers(net)) == 7
    with normalised_with(net, statistics):
        torch.testing.assert_close(net(frame), expected, rtol=0, atol=1e-5)
    assert torch.equal(net(frame), expected)  # and nothing stays behind


def test_recorded_statistics_are_those_of_the_features(net):
    frame = torch.rand(1, 3, 24, 24)
    with recorded(net) as statistics:
        net(frame)
    features = net.encoder[0][0](frame)
    torch.testing.assert_close(statistics[0].mean, features.mean((0, 2, 3)))
    torch.testing.assert_close(statistics[0].variance, features.var((0, 2, 3), correction=0))


def test_first_frame_of_a_shot_is_what_the_plain_net_paints(net):
    frame = scene(0)
    assert torch.equal(ShotNorm(net)(frame), net(frame))


def test_still_shot_stays_as_it_is(net):
    frames = scene(0).expand(6, -1, -1, -1)
    painted = ShotNorm(net)(frames)
    torch.testing.assert_close(painted, painted[:1].expand_as(painted), rtol=0, atol=1e-5)


def test_batch_gives_what_single_frames_give(net):
    frames = torch.cat([scene(0) * (1 - 0.03 * step) for step in range(5)])
    one_by_one = ShotNorm(net)
    singly = torch.cat([one_by_one(frame[None]) for frame in frames])
    assert torch.equal(ShotNorm(net)(frames), singly)


def test_object_that_moves_changes_a_far_background_less_than_with_frame_norm(net):
    background, changes = scene(1), {}
    frames = background.repeat(8, 1, 1, 1)
    for step in range(8):
        frames[step, :, 20:50, 4 * step : 4 * step + 24] = 1
    for name, painter in (("frame", net), ("shot", ShotNorm(net))):
        far = painter(frames)[..., 88:]  # the object ends at 52, the receptive field of this small net is under 30
        changes[name] = (far[1:] - far[:-1]).abs().mean().item()
    assert changes["shot"] < 0.2 * changes["frame"]


def test_long_fade_does_not_drift(net):
    """The shot's statistics stay a constant bit behind light that falls, and arrive when it stops."""
    painter, picture = ShotNorm(net, rate=5 * RATE), scene(2)  # a fade and an average five times as fast

    def behind(light):
        return (painter(picture * light) - net(picture * light)).abs().mean().item()

    falling = [behind(math.exp(-0.025 * step)) for step in range(48)]
    staying = [behind(math.exp(-1.2)) for _ in range(80)]
    assert max(falling[36:]) < 1.3 * max(falling[20:32])
    assert staying[-1] < 0.03 * max(falling)


def test_statistics_are_forgotten_at_a_cut(net):
    painter = ShotNorm(net)
    painter(torch.cat([scene(0)] * 3))
    assert torch.equal(painter(scene(5)), net(scene(5)))


@pytest.mark.parametrize("seed", range(6))
def test_hard_cut_is_found_and_a_static_scene_with_noise_is_not(seed):
    first, second = scene(seed), scene(seed + 100)
    assert is_cut(first, second)
    assert not is_cut(first, first)
    assert not is_cut(first, (first + 0.04 * torch.randn(first.shape)).clamp(0, 1))


def test_flash_is_no_cut():
    assert not is_cut(scene(0) * 0.5, (scene(0) * 0.5 + 0.45).clamp(0, 1))


def test_fade_is_no_cut():
    steps = [scene(0) * (1 - step / 30) + scene(7) * (step / 30) for step in range(31)]
    assert not any(is_cut(before, after) for before, after in itertools.pairwise(steps))


def test_fast_pan_is_no_cut():
    wide = torch.cat([scene(0), scene(0).flip(3)], dim=3)
    frames = [wide[..., 12 * step : 12 * step + 128] for step in range(8)]
    assert not any(is_cut(before, after) for before, after in itertools.pairwise(frames))


def test_flat_frames_are_no_cut():
    assert not is_cut(torch.zeros(1, 3, 20, 20), torch.zeros(1, 3, 20, 20))
