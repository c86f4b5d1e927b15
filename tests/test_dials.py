import pytest
import torch

from fastnst.dials import dialled, resized, with_content_colour
from fastnst.errors import ConfigError
from fastnst.images import luma


def negative(picture):
    return 1 - picture


def test_dials_at_rest_are_the_net_itself():
    assert dialled(negative) is negative


@pytest.mark.parametrize(("strength", "expected"), [(0.0, 0.2), (0.5, 0.5), (1.0, 0.8)])
def test_strength_goes_from_content_to_painting(strength, expected):
    picture = torch.full((1, 3, 8, 8), 0.2)
    painted = dialled(negative, strength=strength)(picture)
    torch.testing.assert_close(painted, torch.full_like(picture, expected))


def test_content_colour_has_the_paintings_luma_and_the_contents_chroma():
    content, painted = 0.4 + 0.2 * torch.rand(2, 3, 8, 8), 0.4 + 0.2 * torch.rand(2, 3, 8, 8)
    mixed = with_content_colour(content, painted)
    torch.testing.assert_close(luma(mixed), luma(painted))
    torch.testing.assert_close(mixed - luma(mixed), content - luma(content))


def test_grey_content_painted_in_its_own_colour_stays_grey():
    grey = torch.rand(1, 1, 8, 8).expand(1, 3, 8, 8)
    painted = dialled(lambda picture: torch.rand_like(picture), color="content")(grey)
    torch.testing.assert_close(painted[:, 0], painted[:, 2])


@pytest.mark.parametrize("size", [(37, 61), (8, 8), (1, 5)])
@pytest.mark.parametrize("scale", [0.5, 0.33, 2.0])
def test_net_sees_the_scaled_frame_and_the_size_comes_back(size, scale):
    seen = []
    picture = torch.rand(1, 3, *size)
    painted = dialled(lambda frame: seen.append(frame.shape[-2:]) or frame, scale=scale)(picture)
    assert seen == [(max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))]
    assert painted.shape == picture.shape
    assert painted.min() >= 0
    assert painted.max() <= 1


def test_scaled_down_checkerboard_is_grey():
    checkerboard = ((torch.arange(32)[:, None] + torch.arange(32)) % 2).float().expand(1, 3, 32, 32)
    assert (resized(checkerboard, 0.25) - 0.5).abs().max().item() < 0.05


@pytest.mark.parametrize(
    "dial", [{"strength": 1.5}, {"strength": -0.1}, {"color": "blue"}, {"scale": 0.0}, {"scale": 9.0}]
)
def test_dial_out_of_range_fails_with_its_value(dial):
    name, value = next(iter(dial.items()))
    with pytest.raises(ConfigError, match=f"{name}={value}"):
        dialled(negative, **dial)
