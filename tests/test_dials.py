import pytest
import torch
from torch import nn

from fastnst.dials import MOVING, STILL, Smooth, dialled, resized, with_content_colour
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


class Grainy(nn.Module):
    """Paints its input with fresh grain in every frame, as a net that flickers."""

    def forward(self, content):
        return content + 0.1 * torch.randn_like(content)


def moving_square(step, frames=12, size=64):
    """A bright square on grey that goes `step` pixels to the right with every frame."""
    content = torch.full((frames, 3, 48, size), 0.4)
    for t in range(frames):
        content[t, :, 16:32, step * t : step * t + 12] = 0.9
    return content


def test_smooth_of_nothing_is_the_net_itself():
    content = torch.rand(4, 3, 16, 16)
    torch.testing.assert_close(Smooth(nn.Identity(), 0.0)(content), content)


@pytest.mark.parametrize("amount", [0.5, 0.8])
def test_smooth_quietens_a_still_picture_as_a_recursive_average_does(amount):
    content = torch.full((1, 3, 64, 64), 0.5).expand(60, -1, -1, -1)
    last = Smooth(Grainy(), amount)(content)[-1] - 0.5
    expected = 0.1 * ((1 - amount) / (1 + amount)) ** 0.5
    assert last.std().item() == pytest.approx(expected, rel=0.05)


def test_smooth_takes_sensor_noise_for_stillness():
    clean = torch.rand(1, 3, 64, 64) * 0.8 + 0.1
    noisy = clean + 4 / 255 * torch.randn(30, 3, 64, 64)
    smooth = Smooth(nn.Identity(), 0.8)(noisy)
    change, change_in = smooth[-1] - smooth[-2], noisy[-1] - noisy[-2]
    assert change.std() < 0.4 * change_in.std()


@pytest.mark.parametrize("step", [1, 4, 9])
def test_smooth_leaves_nothing_behind_what_moves(step):
    content = moving_square(step, size=128)
    assert (Smooth(nn.Identity(), 0.9)(content) - content).abs().max().item() < 1 / 255


def test_smooth_follows_a_light_that_fades_within_its_threshold():
    content = torch.rand(1, 3, 16, 16) / 2 + (torch.arange(80) / 255).view(80, 1, 1, 1)
    lag = 255 * (Smooth(nn.Identity(), 0.95)(content) - content).abs().amax((1, 2, 3))
    assert STILL < lag[-1].item() < MOVING
    assert lag[-1].item() == pytest.approx(lag[-20].item(), abs=0.2)


def test_smooth_of_a_batch_is_that_of_single_frames():
    content = moving_square(2)[..., :61]
    single = Smooth(nn.Identity(), 0.8)
    torch.testing.assert_close(
        Smooth(nn.Identity(), 0.8)(content), torch.cat([single(each) for each in content.split(1)])
    )


@pytest.mark.parametrize("new_scene", ["cut", "reset", "size"])
def test_smooth_begins_anew_with_a_new_scene(new_scene):
    cuts = []
    smooth = Smooth(Grainy(), 0.9, is_cut=lambda before, after: bool(cuts))
    content = torch.full((1, 3, 20, 20), 0.5)
    smooth(content)
    if new_scene == "cut":
        cuts.append(True)
    elif new_scene == "reset":
        smooth.reset()
    else:
        content = torch.full((1, 3, 21, 33), 0.5)
    torch.manual_seed(5)
    painted = Grainy()(content)
    torch.manual_seed(5)
    torch.testing.assert_close(smooth(content), painted)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (37, 61)])
def test_smooth_keeps_every_size(size):
    assert Smooth(nn.Identity(), 0.8)(torch.rand(3, 3, *size)).shape == (3, 3, *size)


@pytest.mark.parametrize("amount", [-0.1, 1.0])
def test_smooth_out_of_range_fails_with_its_value(amount):
    with pytest.raises(ConfigError, match=f"smooth={amount}"):
        Smooth(nn.Identity(), amount)
