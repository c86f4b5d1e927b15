import pytest
import torch

from fastnst.errors import ConfigError
from fastnst.net import StylizationNet


@pytest.mark.parametrize(("preset", "count"), [("johnson", 1_679_235), ("half", 424_899)])
def test_preset_has_the_papers_parameter_count(preset, count):
    assert sum(parameter.numel() for parameter in StylizationNet.preset(preset).parameters()) == count


def test_unknown_preset_fails():
    with pytest.raises(ConfigError, match=r"'huge'.*johnson, half"):
        StylizationNet.preset("huge")


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 200), (17, 9), (64, 64), (65, 130)])
def test_output_has_the_inputs_size_and_stays_in_range(height, width):
    net = StylizationNet((4, 8, 16), residual_blocks=1)
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
    net = StylizationNet((4, 8, 8), 2).eval()
    with torch.no_grad():
        stylized = net(torch.full((1, 3, 40, 40), 0.5))
    centre = stylized[..., 20:21, 20:21]
    torch.testing.assert_close(stylized, centre.expand_as(stylized), rtol=0, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_agrees_with_cpu():
    net = StylizationNet.preset("half").eval()
    picture = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(net.cuda()(picture.cuda()).cpu(), net.cpu()(picture), rtol=0, atol=5e-3)
