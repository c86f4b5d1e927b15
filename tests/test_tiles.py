import pytest
import torch
from torch import nn

from fastnst import tiles
from fastnst.net import Statistics, StylizationNet
from fastnst.shots import Given, Shot
from fastnst.tiles import Tiled, reach

STRIP = 16  # rows of the frame that a tile has of its own in these tests


@pytest.fixture(params=[(4, False), (4, True), (0, True)], ids=["plain", "antialias", "lite"])
def net(request):
    """A net whose norms matter: a random net alone makes nearly the same of any statistics."""
    torch.manual_seed(0)
    full, antialias = request.param
    net = StylizationNet((full, 8, 8), residual_blocks=2, antialias=antialias).eval().requires_grad_(False)
    for layer in net.modules():
        if isinstance(layer, nn.InstanceNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 2)
            nn.init.normal_(layer.bias)
    return net


def own_statistics(net, frame):
    """What the features of a frame have at each norm layer, as `choose` sees it."""
    found = []
    net(frame, lambda own: found.append(own) or own)
    return found


def tiled(net, width, rows=STRIP):
    """`net` in tiles of `rows` rows of a frame of this width."""
    around = 2 * reach(list(net.encoder.modules()))
    return Tiled(net, max_pixels=(width + -width % 4) * (rows + around))


def frame_of(height, width, dtype=torch.float32):
    """A frame that is darker and flatter at the top, so that no tile has the statistics of the whole."""
    slope = torch.linspace(0.1, 1, height, dtype=dtype)[:, None]
    return torch.rand(1, 3, height, width, dtype=dtype) * slope


@pytest.mark.parametrize(("height", "width"), [(128, 64), (101, 47), (67, 130), (250, 9), (66, 5)])
def test_tiles_make_what_the_whole_frame_makes(net, height, width):
    frame = frame_of(height, width)
    torch.testing.assert_close(tiled(net, width)(frame), net(frame), rtol=0, atol=1e-4)


def test_statistics_joined_from_tiles_are_those_of_the_whole_frame(net):
    frame = frame_of(101, 47)
    expected, found = own_statistics(net, frame), own_statistics(tiled(net, 47), frame)
    assert len(found) == len(expected) in (8, 9)  # each layer asks once, not once a tile
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_statistics_that_are_chosen_are_used(net):
    others = own_statistics(net, frame_of(64, 64).flip(-2) * 0.5)
    frame = frame_of(101, 64)
    expected = net(frame, Given(others))
    torch.testing.assert_close(tiled(net, 64)(frame, Given(others)), expected, rtol=0, atol=1e-4)
    assert (expected - net(frame)).abs().mean() > 0.01  # so it was not the frame's own that were used


def test_shot_norm_is_the_same_in_tiles(net):
    frames = torch.cat([frame_of(101, 47) * (1 - 0.05 * step) for step in range(4)])
    torch.testing.assert_close(Shot(tiled(net, 47))(frames), Shot(net)(frames), rtol=0, atol=1e-4)


@pytest.mark.parametrize("rows", [4, 8, 16, 36])
def test_no_seam_is_left_where_tiles_meet(net, rows):
    net = net.double()
    frame = frame_of(148, 20, torch.float64)
    whole = [Statistics(*(each.double() for each in own)) for own in own_statistics(net, frame)]
    difference = tiled(net, 20, rows)(frame, Given(whole)) - net(frame, Given(whole))
    # the norm layers work in float32, so not 1e-10; a seam is over 0.01, see below
    assert difference.abs().max() < 1e-5


def test_tiles_without_their_neighbours_rows_show_seams(net, monkeypatch):
    frame, whole = frame_of(128, 64), tiled(net, 64)
    monkeypatch.setattr(tiles, "reach", lambda layers: 0)
    assert (whole(frame) - net(frame)).abs().max() > 0.01  # the tests above would see a seam


def test_batch_under_the_limit_goes_through_untouched_and_one_above_frame_by_frame(net):
    frames, sizes = torch.rand(3, 3, 32, 48), []
    expected = net(frames)
    net.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    assert torch.equal(Tiled(net, 3 * 32 * 48)(frames), expected)
    torch.testing.assert_close(Tiled(net, 32 * 48)(frames), expected, rtol=0, atol=1e-5)
    assert sizes == [3, 1, 1, 1]


def test_frames_of_a_batch_are_tiled_each_on_its_own(net):
    frames = torch.cat([frame_of(101, 47), 0.3 * frame_of(101, 47)])
    torch.testing.assert_close(tiled(net, 47)(frames), net(frames), rtol=0, atol=1e-4)


@pytest.mark.parametrize("net", [(4, False), (4, True)], indirect=True)  # a lite net has none
def test_no_full_size_features_are_larger_than_a_tile(net):
    seen = []
    for layer in [net.encoder[0][0], net.encoder[2][0], net.decoder[4][0], net.decoder[6]]:  # full size, in or out
        layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[-2]))
    tiled(net, 64)(torch.rand(1, 3, 400, 64))
    assert max(seen) <= STRIP + 2 * reach(list(net.encoder.modules()))


def test_another_net_is_called_as_it_is():
    frame = torch.rand(1, 3, 40, 40)
    assert torch.equal(Tiled(nn.Identity(), 100)(frame), frame)


def test_reach_is_what_the_layers_add_up_to():
    net = StylizationNet.preset("half")
    assert reach(list(net.encoder.modules())) == 8  # 4 + 1 + 2 = 7 pixels, in steps of 4
    assert reach(list(net.residuals.modules())) == 10  # ten 3x3 convolutions, at quarter resolution
    assert reach(list(net.decoder.modules())) == 2  # 1 / 2 + 1 / 4 + 4 / 4 = 1.75
