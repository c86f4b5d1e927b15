from typing import Any

import pytest
import torch
import torch.nn.functional as F

from fastnst.errors import ConfigError
from fastnst.net import Blur, ColoursConv, EnlargingConv, StylizationNet


@pytest.mark.parametrize(("preset", "count"), [("johnson", 1_679_235), ("half", 424_899)])
def test_preset_has_the_papers_parameter_count(preset, count):
    net = StylizationNet.preset(preset, canvas=False)
    assert sum(parameter.numel() for parameter in net.parameters()) == count


def multiplied(conv: Any) -> int:
    """Returns the multiplications for one number that a convolution makes."""
    return conv.weight.numel() // conv.out_channels


def test_lite_net_is_small_in_parameters_and_in_work():
    net = StylizationNet.preset("lite", antialias=True)
    work = []
    for layer in net.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(lambda conv, _, made: work.append(made.numel() * multiplied(conv)))
    with torch.no_grad():
        assert net(torch.rand(1, 3, 32, 48)).shape == (1, 3, 32, 48)
    assert sum(parameter.numel() for parameter in net.parameters()) <= 100_000
    assert sum(work) / (32 * 48) <= 7_000  # multiply-adds per pixel: 25 frames of 640x360 a second on two cores


def test_untrained_lite_net_has_no_checkerboard():
    """The four pixels that a cell is shuffled to begin alike."""
    torch.manual_seed(0)
    stylized = StylizationNet.preset("lite")(torch.rand(1, 3, 32, 32)).detach()
    torch.testing.assert_close(stylized[..., ::2, ::2], stylized[..., 1::2, 1::2], rtol=0, atol=1e-5)


def test_enlarging_convolution_is_nearest_neighbour_and_then_a_convolution():
    conv, features = EnlargingConv(5, 4).double(), torch.rand(2, 5, 7, 9).double()
    doubled = F.pad(F.interpolate(features, scale_factor=2, mode="nearest"), (1, 1, 1, 1), mode="reflect")
    torch.testing.assert_close(conv(features), F.conv2d(doubled, conv.weight, conv.bias), rtol=0, atol=1e-12)


def test_convolution_to_colours_is_one_of_9_by_9():
    conv, features = ColoursConv(5).double(), torch.rand(2, 5, 12, 8).double()
    around = F.pad(features, (4, 4, 4, 4), mode="reflect")
    torch.testing.assert_close(conv(features), F.conv2d(around, conv.weight, conv.bias), rtol=0, atol=1e-12)


def test_unknown_preset_fails():
    with pytest.raises(ConfigError, match=r"'huge'.*johnson, half, lite"):
        StylizationNet.preset("huge")


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 200), (17, 9), (64, 64), (65, 130)])
@pytest.mark.parametrize("full", [0, 4])
def test_output_has_the_inputs_size_and_stays_in_range(height, width, full):
    net = StylizationNet((full, 8, 16), residual_blocks=1)
    stylized = net(torch.rand(2, 3, height, width))
    assert stylized.shape == (2, 3, height, width)
    assert stylized.min() >= 0
    assert stylized.max() <= 1
    assert stylized.isfinite().all()


def test_batch_of_four_equals_four_batches_of_one():
    net = StylizationNet.preset("half").eval()
    batch = torch.rand(4, 3, 33, 47)
    with torch.no_grad():
        together = net(batch)
        alone = torch.cat([net(picture[None]) for picture in batch])
    torch.testing.assert_close(together, alone, rtol=0, atol=2e-5)


def test_input_is_not_changed():
    picture = torch.rand(1, 3, 20, 20)
    before = picture.clone()
    StylizationNet((4, 4, 4), 1)(picture)
    assert torch.equal(picture, before)


def test_every_parameter_receives_a_gradient():
    net = StylizationNet((4, 8, 8), 2)
    (net(torch.rand(1, 3, 32, 32)) * torch.rand(1, 3, 32, 32)).sum().backward()
    without = [name for name, parameter in net.named_parameters() if parameter.grad is None]
    assert without == []


def test_flat_picture_has_no_dark_frame():
    """Reflection padding: what the net makes of a flat picture does not depend on the distance to the border."""
    net = StylizationNet((4, 8, 8), 2, canvas=False).eval()
    with torch.no_grad():
        stylized = net(torch.full((1, 3, 40, 40), 0.5))
    centre = stylized[..., 20:21, 20:21]
    torch.testing.assert_close(stylized, centre.expand_as(stylized), rtol=0, atol=1e-4)


def test_blur_before_a_strided_convolution_is_blur_between_convolution_and_subsampling():
    features = torch.rand(1, 4, 24, 24)
    conv = torch.nn.Conv2d(4, 5, 3, padding=1)
    strided = torch.nn.functional.conv2d(Blur()(features), conv.weight, conv.bias, stride=2, padding=1)
    inside = (..., slice(2, -2), slice(2, -2))
    torch.testing.assert_close(strided[inside], Blur()(conv(features))[..., ::2, ::2][inside], rtol=0, atol=1e-5)


def test_blur_keeps_a_flat_picture_and_takes_a_checkerboard_away():
    board = (torch.arange(8)[:, None] + torch.arange(8)) % 2 * torch.ones(1, 1, 1, 1)
    torch.testing.assert_close(Blur()(torch.full((1, 2, 5, 7), 0.3)), torch.full((1, 2, 5, 7), 0.3))
    torch.testing.assert_close(Blur()(board), torch.full((1, 1, 8, 8), 0.5))


def test_antialiased_net_changes_less_under_a_shift_of_one_pixel():
    """Of plain strides the result of a shift that is no multiple of 4 differs; of random weights, on average."""
    errors = []
    for antialias in (False, True):
        torch.manual_seed(0)
        net = StylizationNet((8, 8, 8), 1, antialias=antialias, canvas=False).encoder.eval()
        picture = torch.rand(4, 3, 64, 64)
        with torch.no_grad():
            features, shifted = net(picture), net(picture.roll(1, 3))
        between = (3 * features + features.roll(1, 3)) / 4  # a quarter of a step of the features
        errors.append((shifted - between)[..., 3:-3, 3:-3].square().mean().item())
    assert errors[1] < 0.8 * errors[0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_agrees_with_cpu():
    net = StylizationNet.preset("half").eval()
    picture = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(net.cuda()(picture.cuda()).cpu(), net.cpu()(picture), rtol=0, atol=5e-3)


def test_training_normalises_as_instance_norm_does():
    torch.manual_seed(0)
    net, content = StylizationNet((4, 8, 16), residual_blocks=1), torch.rand(2, 3, 32, 48)
    net = net.to(memory_format=torch.channels_last)
    gradients = []
    for mode in (True, False):
        net.train(mode).zero_grad()
        net(content).square().mean().backward()
        gradients.append([parameter.grad for parameter in net.parameters()])
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-5)


def many_styles():
    """A net of three styles whose rows differ."""
    torch.manual_seed(0)
    net = StylizationNet((4, 6, 8), residual_blocks=1, styles=("a", "b", "c"))
    for values in net.parameters():
        if values.dim() == 2:
            torch.nn.init.normal_(values, 1, 0.3)
    return net


@pytest.mark.parametrize("training", [False, True])
def test_net_of_many_styles_paints_each_picture_as_the_net_of_that_style_does(training):
    net, pictures, styles = many_styles().train(training), torch.rand(3, 3, 24, 28), torch.tensor([2, 0, 2])
    together = net.in_styles(pictures, styles)
    for picture, style, painted in zip(pictures, "cac", together, strict=True):
        torch.testing.assert_close(net.of_style(style)(picture[None])[0], painted, atol=1e-5, rtol=0)
    assert (together[0] - net.of_style("a")(pictures[:1])[0]).abs().mean() > 0.01
    with pytest.raises(ConfigError, match="there is no style 'd' in the net; there are: a, b, c"):
        net.of_style("d")


def test_style_that_a_net_does_not_know_begins_as_the_mean_of_those_that_it_knows():
    net = many_styles()

    def weights(net):
        return net.state_dict()["residuals.0.body.0.1.weight"]

    own, new = weights(net), net.renewed(False, True, styles=("b", "new"))
    torch.testing.assert_close(weights(new), torch.stack([own[1], own.mean(0)]))
    torch.testing.assert_close(weights(net.renewed(False, True)), own.mean(0))


def test_gradient_reaches_the_rows_of_the_styles_that_were_painted_and_no_others():
    net = many_styles()
    net.in_styles(torch.rand(2, 3, 16, 16), torch.tensor([0, 2])).square().mean().backward()
    for values in (each.grad for each in net.parameters() if each.dim() == 2):
        assert values is not None
        assert values[0].abs().sum() > 0
        assert values[1].abs().sum() == 0
