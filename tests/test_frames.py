import pytest
import torch
from torch import Generator

from fastnst.errors import ConfigError
from fastnst.frames import PATTERNS, NoisePair, make_pair, next_frames, unit_noise


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


@pytest.mark.parametrize(
    ("sigma", "patterns", "message"),
    [((0.2, 0.1), PATTERNS, "low and high"), ((-1, 0.1), PATTERNS, "0 or above"), ((0, 0.1), ["rain"], "rain")],
)
def test_noise_pair_with_impossible_settings_fails(sigma, patterns, message):
    with pytest.raises(ConfigError, match=message):
        NoisePair(sigma, patterns)


def test_unknown_pair_fails():
    with pytest.raises(ConfigError, match="dreams"):
        make_pair({"pair": "dreams"})
    assert make_pair({"pair": "none"}) is None
