"""What is minimised: content, style and total variation of a picture, in the scale of Keras' example."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from fastnst.losses import gram_matrix
from fastnst.vgg import VGGFeatures

LEVELS = 255  # the losses here are in grey levels


class Weights(NamedTuple):
    """How much each loss counts, and at which layers.

    Attributes:
        content_layer: whose features are kept.
        style_layers: whose Gram matrices are the style's.
        content, style, tv: the weights of the losses.
    """

    content_layer: str
    style_layers: tuple[str, ...]
    content: float
    style: float
    tv: float


class PictureObjective:
    """The weighted loss of a picture, as the optimisation sees it.

    Source: Gatys, Ecker, Bethge 2015, arXiv:1508.06576, in the form of Keras' example `neural_style_transfer.py`, which
    the report of 2019 used: sums, not means, over features of the loss network; all in grey levels.
    Differs: the style picture keeps its own shape and size, there it is stretched to the size of the content. Its Gram
    matrix is that of as many positions as the content has.

    Args:
        vgg: the loss network, with all the layers that `weights` names.
        content: the picture that is kept, in [0, 1].
        style: the style picture, in [0, 1].
        weights: of the losses.
    """

    def __init__(
        self,
        vgg: VGGFeatures,
        content: Float[Tensor, "1 3 height width"],
        style: Float[Tensor, "1 3 style_height style_width"],
        weights: Weights,
    ) -> None:
        self.vgg, self.weights = vgg, weights
        with torch.no_grad():
            self._content = vgg(content, {weights.content_layer})[weights.content_layer]
            self._grams = {layer: gram_matrix(features) for layer, features in vgg(style, weights.style_layers).items()}

    def __call__(self, picture: Float[Tensor, "1 3 height width"]) -> Float[Tensor, ""]:
        """Returns the weighted loss."""
        return torch.stack(list(self.terms(picture).values())).sum()

    def terms(self, picture: Float[Tensor, "1 3 height width"]) -> dict[str, Float[Tensor, ""]]:
        """Returns `{"content_loss", "style_loss", "tv_loss"}`, each with its weight."""
        weights, pixels = self.weights, picture.shape[2] * picture.shape[3]
        features = self.vgg(picture, {weights.content_layer, *weights.style_layers})
        error = (features[weights.content_layer] - self._content).square().sum()
        style = torch.stack([gram_error(features[layer], gram, pixels) for layer, gram in self._grams.items()]).mean()
        return {
            "content_loss": weights.content * error,
            "style_loss": weights.style * style,
            "tv_loss": weights.tv * rough_variation(picture),
        }


class Reference(NamedTuple):
    """What a frame is held to.

    Attributes:
        picture: the earlier result, on top of the frame.
        mask: how much each pixel counts, 0 to 1.
    """

    picture: Float[Tensor, "1 3 height width"]
    mask: Float[Tensor, "1 1 height width"]


class FrameObjective:
    """The loss of a picture, and how far it is from what was made of earlier frames.

    The stabilization loss is the sum of squared differences in grey levels, over the pixels of each mask.

    Source: Rainy and de Berker 2018, "Stabilizing neural style-transfer for video", as the report of 2019 used it, in
    the scale of the other losses; with masks, Ruder et al. 2016, arXiv:1604.08610, equation 7.
    Differs: it has a weight, which the report wished for; Ruder divides by the number of pixels.

    Args:
        still: the loss of the frame by itself.
        references: what it is held to.
        weight: of the stabilization loss.
    """

    def __init__(self, still: PictureObjective, references: Sequence[Reference], weight: float) -> None:
        self.still, self.references, self.weight = still, references, weight

    def __call__(self, picture: Float[Tensor, "1 3 height width"]) -> Float[Tensor, ""]:
        """Returns the weighted loss."""
        return self.still(picture) + self.weight * self.temporal_loss(picture)

    def temporal_loss(self, picture: Float[Tensor, "1 3 height width"]) -> Float[Tensor, ""]:
        """Returns the sum over the references, without its weight."""
        changes = [((LEVELS * (picture - each.picture)).square() * each.mask).sum() for each in self.references]
        return torch.stack(changes).sum() if changes else picture.new_zeros(())


def gram_error(
    features: Float[Tensor, "1 channels layer_height layer_width"],
    gram: Float[Tensor, "1 channels channels"],
    pixels: int,
) -> Float[Tensor, ""]:
    """Returns the squared error of a layer's Gram matrix, divided by 4 x 3^2 x pixels^2, as Keras' example has it.

    Args:
        features: of the picture.
        gram: the style's matrix, `gram_matrix`, which is a mean over positions.
        pixels: of the picture, height x width.
    """
    positions = features.shape[2] * features.shape[3]
    return (gram_matrix(features) - gram).square().sum() * (positions / pixels) ** 2 / (4 * 3**2)


def rough_variation(picture: Float[Tensor, "1 3 height width"]) -> Float[Tensor, ""]:
    """Returns the sum of (d^2 + r^2)^1.25 over pixels, d and r the differences to the next one below and right.

    In grey levels. Source: Mahendran and Vedaldi 2015, arXiv:1412.0035, beta = 2.5, as in Keras' example.

    >>> rough_variation(torch.tensor([[0.0, 1.0], [0.0, 1.0]]).expand(1, 3, 2, 2) / 255).item()
    3.0
    """
    levels = LEVELS * picture
    here = levels[..., :-1, :-1]
    squares = (levels[..., 1:, :-1] - here).square() + (levels[..., :-1, 1:] - here).square()
    return squares.pow(1.25).sum()
