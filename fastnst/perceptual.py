"""How near pictures are to their contents and to style pictures: all losses of training but the temporal one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, distributed, nn
from torch.distributed.nn.functional import all_gather

from fastnst.losses import (
    content_loss,
    gram_matrix,
    least_content,
    palette,
    palette_loss,
    structure_loss,
    style_loss,
    tone_loss,
    tone_range,
    total_variation_loss,
)
from fastnst.settings import STRUCTURE_LAYER, LossSettings
from fastnst.vgg import VGGFeatures


class PerceptualLoss(nn.Module):
    """The losses of stylized pictures, for style pictures that it knows.

    Source: Johnson et al. 2016, arXiv:1603.08155.
    Differs: structure, tone and palette loss beside content, style and total variation, see `fastnst.losses`.

    Args:
        vgg: the loss network; it has all the layers that `loss` names.
        styles: the style picture, in [0, 1]; of a net of many styles one for each, in their order.
        loss: layers and weights.

    Attributes:
        weights: of the losses, by their names.
    """

    def __init__(
        self, vgg: VGGFeatures, styles: Sequence[Float[Tensor, "3 _height _width"]], loss: LossSettings
    ) -> None:
        super().__init__()
        self.vgg, self.loss, self.weights = vgg, loss, loss.weights
        with torch.no_grad():
            seen = [vgg(style[None], loss.layers) for style in styles]
            least = torch.stack([least_content(features[loss.content_layer]) for features in seen])
            self.register_buffer("least_content", least, persistent=False)
            ranges = torch.cat([tone_range(style[None]) for style in styles])
            self.register_buffer("style_tones", ranges, persistent=False)
            palettes = torch.stack([palette(style[None]) for style in styles])
            self.register_buffer("style_palettes", palettes, persistent=False)
            for layer in loss.style_layers:
                grams = torch.cat([gram_matrix(features[layer]) for features in seen])
                self.register_buffer(f"style_{layer}", grams, persistent=False)

    @property
    def style_grams(self) -> dict[str, Float[Tensor, "styles channels channels"]]:
        """The style pictures' Gram matrices by layer, computed once."""
        return {layer: self.get_buffer(f"style_{layer}") for layer in self.loss.style_layers}

    @torch.no_grad()
    def target(self, content: Float[Tensor, "batch 3 height width"]) -> dict[str, Tensor]:
        """Returns the features of contents that pictures are compared with, by layer."""
        return self.vgg(content, self.loss.content_layers)

    def forward(
        self,
        stylized: Float[Tensor, "batch 3 height width"],
        content: Float[Tensor, "batch 3 height width"],
        target: Mapping[str, Tensor],
        styles: Int[Tensor, " batch"] | None = None,
    ) -> dict[str, Float[Tensor, ""]]:
        """Returns the losses of `weights`, unweighted, in float32.

        Args:
            stylized: the pictures.
            content: what they show.
            target: what `target` returned for the contents.
            styles: that each picture is painted in, by their numbers; None: there is one.
        """
        layer = self.loss.content_layer
        features = self.vgg(stylized, self.loss.layers)
        own = slice(None) if styles is None else styles  # the rows of the pictures' styles; of one style there is one
        grams = {name: gram[own] for name, gram in self.style_grams.items()}
        return {
            "content_loss": content_loss(features[layer], target[layer], self.get_buffer("least_content")[own]),
            "structure_loss": structure_loss(features[STRUCTURE_LAYER], target[STRUCTURE_LAYER]),
            "style_loss": style_loss(features, grams),
            "tone_loss": tone_loss(stylized, content, self.get_buffer("style_tones")[own]),
            "palette_loss": self.palette_loss(stylized, styles),
            "tv_loss": total_variation_loss(stylized),
        }

    def palette_loss(
        self, stylized: Float[Tensor, "batch 3 height width"], styles: Int[Tensor, " batch"] | None
    ) -> Float[Tensor, ""]:
        """Returns the palette loss of the pictures of each style together, the mean over styles.

        In training they are the pictures of all devices; in validation, where a device may have fewer, its own.
        """
        if self.training and distributed.is_initialized():
            stylized = torch.cat(all_gather(stylized))
            styles = None if styles is None else torch.cat(all_gather(styles))
        palettes = self.get_buffer("style_palettes")
        if styles is None:
            return palette_loss(stylized, palettes[0])
        own = [palette_loss(stylized[styles == style], palettes[style]) for style in styles.unique()]
        return torch.stack(own).mean()

    def weighted(self, losses: Mapping[str, Float[Tensor, ""]]) -> dict[str, Float[Tensor, ""]]:
        """Returns the losses of `weights` times these."""
        return {name: losses[name] * weight for name, weight in self.weights.items()}
