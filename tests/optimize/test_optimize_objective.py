import pytest
import torch

from fastnst.optimize.objective import PictureObjective, Weights, rough_variation
from fastnst.vgg import VGGFeatures

CONTENT = torch.rand(1, 3, 32, 24, generator=torch.Generator().manual_seed(1))
STYLE = torch.rand(1, 3, 16, 48, generator=torch.Generator().manual_seed(2))
WEIGHTS = Weights("relu4_2", ("relu1_1", "relu2_1", "relu3_1"), 0.025, 1.0, 8.5e-5)


def keras_loss(vgg: VGGFeatures, picture: torch.Tensor, style: torch.Tensor) -> float:
    """Keras' `neural_style_transfer.py`, written again from its formulas, for a style of the content's size."""
    features, content, painted = vgg(picture), vgg(CONTENT), vgg(style)
    height, width = picture.shape[2:]
    loss = 0.025 * (features["relu4_2"] - content["relu4_2"]).square().sum()
    for layer in WEIGHTS.style_layers:
        grams = [flat @ flat.T for flat in (each[layer][0].flatten(1) for each in (painted, features))]
        loss = loss + 1.0 / 3 * (grams[0] - grams[1]).square().sum() / (4 * 3**2 * (height * width) ** 2)
    levels = 255 * picture
    below = (levels[:, :, : height - 1, : width - 1] - levels[:, :, 1:, : width - 1]).square()
    right = (levels[:, :, : height - 1, : width - 1] - levels[:, :, : height - 1, 1:]).square()
    return (loss + 8.5e-5 * (below + right).pow(1.25).sum()).item()


def test_the_loss_is_that_of_keras_example(tiny_vgg):
    picture, style = torch.rand_like(CONTENT), torch.rand_like(CONTENT)
    objective = PictureObjective(tiny_vgg, CONTENT, style, WEIGHTS)
    assert objective(picture).item() == pytest.approx(keras_loss(tiny_vgg, picture, style), rel=1e-4)


def test_the_content_itself_has_no_content_loss_and_the_style_no_style_loss(tiny_vgg):
    assert PictureObjective(tiny_vgg, CONTENT, STYLE, WEIGHTS).terms(CONTENT)["content_loss"] == 0
    assert PictureObjective(tiny_vgg, STYLE, STYLE, WEIGHTS).terms(STYLE)["style_loss"].item() == pytest.approx(0)


def test_the_style_may_have_another_size_and_repeats_of_it_are_the_same_style(tiny_vgg):
    weights = WEIGHTS._replace(style_layers=("relu1_1",))
    flat = torch.full((1, 3, 16, 16), 0.25)  # zero padding makes a border, which is why the inside must be large
    large = torch.full((1, 3, 400, 400), 0.25)
    small_style, large_style = (PictureObjective(tiny_vgg, CONTENT, each, weights) for each in (flat, large))
    small, large = (each.terms(CONTENT)["style_loss"].item() for each in (small_style, large_style))
    assert small == pytest.approx(large, rel=0.2)


def test_variation_of_one_edge():
    edge = torch.zeros(1, 3, 3, 5)
    edge[..., 2:] = 1 / 255
    assert rough_variation(edge).item() == pytest.approx(3 * 2)  # channels, rows but the last one
    assert rough_variation(16 * edge).item() == pytest.approx(3 * 2 * 16**2.5, rel=1e-4)
