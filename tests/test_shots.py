import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fastnst.canvas import fixed_canvas
from fastnst.checkpoint import load_checkpoint
from fastnst.net import Statistics, StylizationNet
from fastnst.shots import HASTE, RATE, Given, Shot, followed, is_cut
from fastnst.stylizer import in_half_precision


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


def own_statistics(net, frame):
    """What the features of a frame have at each norm layer, as `choose` sees it."""
    found = []
    net(frame, lambda own: found.append(own) or own)
    return found


def grey_levels(painted, other):
    return 255 * (painted - other).abs().mean().item()


def test_frames_own_statistics_given_back_change_nothing(net):
    frame = torch.rand(1, 3, 40, 56)
    own = own_statistics(net, frame)
    assert len(own) == sum(isinstance(layer, nn.InstanceNorm2d) for layer in net.modules()) == 7
    torch.testing.assert_close(net(frame, Given(own)), net(frame), rtol=0, atol=1e-5)


def test_statistics_that_are_chosen_are_used(net):
    frame, other = scene(0), scene(1)
    statistics = own_statistics(net, other)
    stylized = net(frame, Given(statistics))
    norms = [layer for layer in net.modules() if isinstance(layer, nn.InstanceNorm2d)]
    for norm, each in zip(norms, statistics, strict=True):  # PyTorch's own way
        norm.track_running_stats, norm.running_mean, norm.running_var = True, each.mean[0], each.variance[0]
    torch.testing.assert_close(stylized, net(frame), rtol=0, atol=1e-5)
    for norm in norms:
        norm.track_running_stats, norm.running_mean, norm.running_var = False, None, None
    assert grey_levels(stylized, net(frame)) > 1


def test_statistics_are_those_of_the_features(net):
    frame = torch.rand(2, 3, 24, 24)
    features = net.encoder[0][0](net.seen(frame, None))
    first = own_statistics(net, frame)[0]
    torch.testing.assert_close(first.mean, features.mean((2, 3)))
    torch.testing.assert_close(first.variance, features.var((2, 3), correction=0))


def test_statistics_of_features_far_from_zero_are_exact(net):
    """A mean of squares less the square of the mean would lose them."""
    frame = torch.rand(1, 3, 64, 64)
    net.encoder[0][0].bias += 1000
    expected = net.encoder[0][0](net.seen(frame, None)).double().var((2, 3), correction=0).float()
    torch.testing.assert_close(own_statistics(net, frame)[0].variance, expected, rtol=1e-4, atol=0)


def test_shot_in_half_precision_is_within_a_level(net):
    frames = torch.cat([scene(0), scene(0) * 0.9])
    exact = Shot(net)(frames)
    assert grey_levels(Shot(in_half_precision(net))(frames.half()).float(), exact) < 1


def test_first_frame_of_a_shot_is_what_the_plain_net_paints(net):
    frame = scene(0)
    torch.testing.assert_close(Shot(net, texture=1)(frame), net(frame), rtol=0, atol=1e-5)


def test_net_without_norm_layers_is_called_as_it_is():
    frames = torch.rand(2, 3, 16, 16)
    assert torch.equal(Shot(nn.Identity())(frames), frames)


def test_still_shot_stays_as_it_is(net):
    frames = scene(0).expand(6, -1, -1, -1)
    painted = Shot(net)(frames)
    torch.testing.assert_close(painted, painted[:1].expand_as(painted), rtol=0, atol=1e-5)


def test_batch_gives_what_single_frames_give(net):
    frames = torch.cat([scene(0) * (1 - 0.03 * step) for step in range(5)])
    one_by_one = Shot(net)
    singly = torch.cat([one_by_one(frame[None]) for frame in frames])
    assert torch.equal(Shot(net)(frames), singly)


def test_object_that_moves_changes_a_far_background_less_than_with_frame_norm(net):
    background, changes = scene(1), {}
    frames = background.repeat(8, 1, 1, 1)
    for step in range(8):
        frames[step, :, 20:50, 4 * step : 4 * step + 24] = 1
    for name, painter in (("frame", net), ("shot", Shot(net))):
        far = painter(frames)[..., 88:]  # the object ends at 52, the receptive field of this small net is under 30
        changes[name] = (far[1:] - far[:-1]).abs().mean().item()
    assert changes["shot"] < 0.2 * changes["frame"]


def test_average_follows_by_its_rate_what_is_near_and_all_the_way_what_is_far():
    kept = Statistics(torch.zeros(4), torch.ones(4))
    near = followed(kept, Statistics(torch.full((4,), 0.01), torch.ones(4)), rate=RATE)
    torch.testing.assert_close(near.mean, torch.full((4,), 0.01 * (RATE + HASTE * 0.01**2)))
    far = Statistics(torch.full((4,), 1.0), torch.full((4,), 0.1))
    torch.testing.assert_close(followed(kept, far, rate=RATE), far)


FADES = {
    "to black in 12": [1 - step / 12 for step in range(12)],
    "to dark in 60": [1 - 0.9 * step / 60 for step in range(61)],
    "to dark in 240": [1 - 0.9 * step / 240 for step in range(241)],
    "from black in 12": [(step + 1) / 12 for step in range(12)] + [1] * 6,
    "flash": [0.5, 0.5, 2, 0.5, 0.5],
    "lamp goes on": [0.3] * 3 + [1] * 6,
}


@pytest.mark.parametrize("light", FADES.values(), ids=FADES)
def test_shot_stays_near_the_plain_net_when_light_changes(light):
    """Within 10 grey levels in every frame. With a slow average alone it is 20 to 80 at some point."""
    net = load_checkpoint("picasso").net
    frames = [(scene(2) * each).clamp(0, 1) for each in light]
    painter = Shot(net)
    with torch.inference_mode():
        painted = [painter(frame) for frame in frames]
        every = max(1, len(frames) // 60)  # of a long fade: the plain net takes as long as the painter
        off = [grey_levels(*each) for each in zip(painted[::every], map(net, frames[::every]), strict=True)]
    assert max(off) < 10


def test_statistics_are_forgotten_at_a_cut(net):
    painter = Shot(net, texture=1)
    painter(torch.cat([scene(0)] * 3))
    torch.testing.assert_close(painter(scene(5)), net(scene(5)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("seed", range(6))
def test_hard_cut_is_found_and_a_static_scene_with_noise_is_not(seed):
    first, second = scene(seed), scene(seed + 100)
    assert is_cut(first, second)
    assert not is_cut(first, first)
    assert not is_cut(first, (first + 0.04 * torch.randn(first.shape)).clamp(0, 1))


@pytest.mark.parametrize("flash", [lambda frame: frame + 0.45, lambda frame: frame * 2], ids=["veil", "gain"])
def test_flash_is_no_cut_neither_when_it_comes_nor_when_it_goes(flash):
    frame = scene(0) * 0.5
    lit = flash(frame).clamp(0, 1)
    assert not is_cut(frame, lit)
    assert not is_cut(lit, frame)


@pytest.mark.parametrize("light", FADES.values(), ids=FADES)
def test_light_that_changes_is_no_cut_and_hides_none(light):
    frames = [(scene(2) * each).clamp(0, 1) for each in light]
    assert not any(is_cut(before, after) for before, after in itertools.pairwise(frames))
    assert all(is_cut(frame, scene(100)) for frame in frames)


def test_crossfade_is_no_cut():
    steps = [scene(0) * (1 - step / 30) + scene(7) * (step / 30) for step in range(31)]
    assert not any(is_cut(before, after) for before, after in itertools.pairwise(steps))


def test_fast_pan_is_no_cut():
    wide = torch.cat([scene(0), scene(0).flip(3)], dim=3)
    frames = [wide[..., 12 * step : 12 * step + 128] for step in range(8)]
    assert not any(is_cut(before, after) for before, after in itertools.pairwise(frames))


def test_flat_frames_are_no_cut():
    assert not is_cut(torch.zeros(1, 3, 20, 20), torch.zeros(1, 3, 20, 20))


def panned(frames, step=4):
    """A scene under a camera that moves."""
    wide = torch.cat([scene(3), scene(3).flip(3)], 3)
    return torch.cat([wide[..., step * t : step * t + 96] for t in range(frames)])


def test_shot_goes_on_from_its_memory_to_the_bit():
    """The statistics, the canvas and the average, all of which a resumed render needs."""
    torch.manual_seed(0)
    net, frames = StylizationNet((4, 4, 4), 1).eval(), panned(6)
    whole, first, second = (Shot(net, smooth=0.5) for _ in range(3))
    with torch.inference_mode():
        at_once = whole(frames)
        in_parts = [first(frames[:3])]
        second.recall({name: each.clone() for name, each in first.memory().items()})
        in_parts.append(second(frames[3:]))
    assert torch.equal(at_once, torch.cat(in_parts))


def test_texture_reaches_the_net_and_nothing_is_remembered_where_nothing_is_asked_for():
    torch.manual_seed(0)
    net, frame = StylizationNet((4, 4, 4), 1).eval(), scene(3)
    plain = Shot(net, norm="frame", canvas_motion="fixed", texture=0.5)
    canvas = 0.5 * fixed_canvas(*frame.shape[-2:])
    assert torch.equal(plain(frame), net(frame, canvas=canvas))
    assert (plain.remembers, plain.memory()) == (False, {})


def test_without_texture_no_flow_is_looked_for(net, monkeypatch):
    frames = torch.cat([scene(0), scene(0).roll(1, 3), scene(0).roll(2, 3)])
    carried = Shot(net, texture=1e-12)(frames)
    monkeypatch.setattr("fastnst.shots.half_luma", None)  # a call of it would fail
    without = Shot(net, texture=0.0)
    torch.testing.assert_close(without(frames), carried, rtol=0, atol=1e-6)
    assert without.halved is None
    assert not any(name.startswith("canvas.") for name in without.memory())


def test_statistics_follow_every_frame_where_the_net_moves(net):
    still, moves = Shot(net), Shot(net, net_moves=True)
    for shot in (still, moves):
        shot(scene(0))
    assert still.statistics
    first = still.statistics[0].mean.clone()
    net.load_state_dict({key: 1.1 * weights for key, weights in net.state_dict().items()})
    for shot in (still, moves):
        shot(scene(0))
    assert still.statistics
    assert moves.statistics
    assert torch.equal(still.statistics[0].mean, first)
    assert not torch.equal(moves.statistics[0].mean, first)
