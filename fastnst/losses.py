"""The training losses: pure functions of pictures and features, each a mean, none with a weight of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from fastnst.images import luma

PLACES = 32  # a side, that the structure of a picture is compared at
TONE = 16  # pixels; side of the squares whose light and dark is compared
PALETTE_SQUARES = 2, 8  # pixels; sides of the squares whose colours are compared
DIRECTIONS, QUANTILES = 16, 1024  # in which colours are compared, and how many of the style's are kept
PHOTO_TONES = 0.44, 0.22  # mean and deviation of the luma of such squares in photos: of 139 of those we train on
FLOOR = 0.1  # of the style's mean square at the content layer: the least that training takes a content's for


def gram_matrix(features: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels channels"]:
    """Returns the channel correlations of each picture, the mean of their products over positions, in float32.

    Source: Gatys, Ecker, Bethge 2016, "Image Style Transfer Using Convolutional Neural Networks".
    Differs: divided by height x width, so that a picture and its tiling have the same matrix. Its gradient takes one
    product in place of two, which are transposes of each other: a step of training is an eighth faster on a CPU.

    >>> gram_matrix(torch.tensor([[[[1.0, 3.0]], [[2.0, 0.0]]]])).tolist()
    [[[5.0, 1.0], [1.0, 2.0]]]
    """
    with torch.autocast(features.device.type, enabled=False):  # sums of products leave the range of half precision
        flat = features.float().flatten(2)
        gram = flat.detach() @ flat.transpose(1, 2) / flat.shape[-1]  # its gradient is the half of one factor
        return gram + gram.transpose(1, 2) - gram.detach() if gram.requires_grad else gram


def content_loss(
    features: Float[Tensor, "batch channels height width"],
    target: Float[Tensor, "batch channels height width"],
    least: float | Float[Tensor, " _styles"] = 0.0,
) -> Float[Tensor, ""]:
    """Squared relative error of a picture's features at one layer, the mean over pictures; 0 is the content itself.

    Args:
        features: the stylized pictures'.
        target: the contents'.
        least: what the content's mean square is taken for where it is less, for all pictures or for each. A flat wall
            has next to none: without it a few of them outweigh all photos.

    Source: Johnson et al. 2016, arXiv:1603.08155, equation 2.
    Differs: divided by the mean square of the content's own features, so that the weight does not depend on the layer
    or on how the loss network is scaled.
    """
    error = (features.float() - target.float()).square().mean((1, 2, 3))
    whole = target.float().square().mean((1, 2, 3))
    return (error / torch.maximum(whole, torch.as_tensor(least).to(whole))).mean()


def least_content(style: Float[Tensor, "1 channels height width"]) -> Float[Tensor, ""]:
    """Returns the `least` of `content_loss` in training, from the style's features at the content layer."""
    return FLOOR * style.square().mean()


def unlikeness(features: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch places places"]:
    """Returns the cosine distances between a picture's features at every two places, relative to the mean of each row.

    Of large pictures the places are the means of squares, `PLACES` a side.
    """
    height, width = (min(PLACES, side) for side in features.shape[-2:])
    with torch.autocast(features.device.type, enabled=False):
        places = F.normalize(F.adaptive_avg_pool2d(features.float(), (height, width)).flatten(2), dim=1)
        apart = 1 - places.transpose(1, 2) @ places
        return apart / apart.mean(2, keepdim=True).clamp(min=1e-3)


def structure_loss(
    features: Float[Tensor, "batch channels height width"], target: Float[Tensor, "batch channels height width"]
) -> Float[Tensor, ""]:
    """Mean absolute difference of the `unlikeness` of a picture and of the content.

    What is alike in the photo shall be painted alike, and what differs in different ways: then a cup can be told from
    the table that it stands on, in whatever strokes and colours. The content loss asks for the photo's own edges and
    grain as well, which are not the style's.

    Args:
        features: the stylized pictures', at a deep layer.
        target: the contents'.

    Source: self-similarity as content, Kolkin et al. 2019, arXiv:1904.12785, equation 8.
    Differs: one layer, all places.
    """
    return (unlikeness(features) - unlikeness(target)).abs().mean()


def style_loss(
    features: Mapping[str, Float[Tensor, "batch _channels _height _width"]],
    target: Mapping[str, Float[Tensor, "_styles _channels _channels"]],
) -> Float[Tensor, ""]:
    """Squared relative error of the Gram matrices, the mean over layers and pictures; 0 is the style itself.

    Args:
        features: the stylized pictures' features, by layer; those of layers that are not in `target` are not used.
        target: the style picture's Gram matrices by layer, one for all pictures, or one for each.

    Source: Johnson et al. 2016, arXiv:1603.08155, equation 4.
    Differs: each layer's error is divided by the squared norm of the style's own matrix. All layers count alike, and
    one style weight serves every style; in Johnson's form published weights differ by orders of magnitude.
    """
    errors = [
        (gram_matrix(features[layer]) - gram).square().sum((1, 2)) / gram.square().sum((1, 2))
        for layer, gram in target.items()
    ]
    return torch.stack(errors).mean()


def square_means(
    pictures: Float[Tensor, "batch channels height width"], side: int
) -> Float[Tensor, "batch channels rows columns"]:
    """Returns the mean of each square of `side` pixels, in float32; squares at the edges may be smaller."""
    return F.avg_pool2d(pictures.float(), side, ceil_mode=True, count_include_pad=False)


def tones(pictures: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 1 rows columns"]:
    """Returns the mean luma of each square of `TONE` pixels, in float32; squares at the edges may be smaller."""
    return square_means(luma(pictures.float()), TONE)


def tone_range(style: Float[Tensor, "1 3 height width"]) -> Float[Tensor, "1 2"]:
    """Returns the mean and the deviation of a style picture's tones, for `tone_loss`."""
    found = tones(style)
    return torch.stack([found.mean(), found.std(correction=0).clamp(min=1 / 255)])[None]


def tone_loss(
    stylized: Float[Tensor, "batch 3 height width"],
    content: Float[Tensor, "batch 3 height width"],
    style: Float[Tensor, "_styles 2"],
) -> Float[Tensor, ""]:
    """Mean squared difference to the tones that are wanted, in deviations of the style's tones.

    What is light in the photo shall be light in the painting, and what is dark shall be dark, within the range of the
    style picture. A photo's tones are taken from the range of photos, `PHOTO_TONES`, to that of the style. The other
    losses do not ask for it: the style loss is the lowest where each part of a picture has all colours of the style,
    and then a figure and what is behind it are one grey.

    Args:
        stylized: the stylized pictures, in [0, 1].
        content: the contents, in [0, 1].
        style: the `tone_range` of the style picture, one for all pictures, or one for each.

    Source: this project. What painters call values; Gatys et al. 2017, arXiv:1611.07865, match the luminance of style
    and content in one and the same way before stylizing.
    """
    middle, spread = style.view(-1, 2, 1, 1).split(1, dim=1)
    mean, deviation = PHOTO_TONES
    wanted = ((tones(content) - mean) / deviation).clamp(-2, 2)
    return ((tones(stylized) - middle) / spread - wanted).square().mean()


def shades(pictures: Float[Tensor, "batch 3 height width"], side: int) -> Float[Tensor, "directions squares"]:
    """Returns the mean colours of all squares of `side` pixels along each of `DIRECTIONS`, sorted.

    The directions are evenly spread over half of the sphere: a spiral of golden angles.
    """
    number = torch.arange(DIRECTIONS)
    height, angle = (number + 0.5) / DIRECTIONS, number * math.pi * (3 - math.sqrt(5))
    radius = (1 - height.square()).sqrt()
    along = torch.stack([radius * angle.cos(), radius * angle.sin(), height], dim=1)
    squares = square_means(pictures, side)
    with torch.autocast(pictures.device.type, enabled=False):  # half precision is coarser than a grey level
        return (along.to(squares) @ squares.transpose(0, 1).flatten(1)).sort(dim=1).values


def palette(style: Float[Tensor, "1 3 height width"]) -> Float[Tensor, "sizes directions quantiles"]:
    """Returns how the colours of a style picture are spread, for `palette_loss`: `QUANTILES` of its shades."""
    return torch.cat(
        [F.interpolate(shades(style, side)[None], size=QUANTILES, mode="linear") for side in PALETTE_SQUARES]
    )


def palette_loss(
    stylized: Float[Tensor, "batch 3 height width"], style: Float[Tensor, "sizes directions quantiles"]
) -> Float[Tensor, ""]:
    """Squared distance of the colours of all pictures together to those of the style, relative to the style's variance.

    The pictures of a batch shall have, taken together, as much of each colour as the style picture has. One of them may
    be all white and another all black. The style loss hardly asks for it: a mixture of red, yellow and black had a low
    one. Colours are compared as means over squares of 2 and of 8 pixels, so that there are white areas, not only dots.

    Args:
        stylized: the stylized pictures, in [0, 1].
        style: the `palette` of the style picture.

    Source: sliced Wasserstein distance, Rabin et al. 2011, "Wasserstein barycenter and its application to texture
    mixing"; as a style loss Heitz et al. 2021, arXiv:2006.07229.
    Differs: of colours, not of features; directions that stay the same; all pictures of a batch together.
    """
    errors = []
    for side, quantiles in zip(PALETTE_SQUARES, style, strict=True):
        found = shades(stylized, side)
        wanted = F.interpolate(quantiles[None], size=found.shape[1], mode="linear")[0]
        errors.append((found - wanted).square().mean() / quantiles.var(dim=1).mean().clamp(min=255**-2))
    return torch.stack(errors).mean()


def total_variation_loss(stylized: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, ""]:
    """Mean squared difference of horizontal neighbours plus the same of vertical neighbours.

    Source: Mahendran and Vedaldi 2015, arXiv:1412.0035, beta = 2.
    Differs: two means, not one sum, so that the weight holds for every picture size.

    >>> total_variation_loss(torch.tensor([[0.0, 1.0], [1.0, 0.0]]).expand(1, 3, 2, 2)).item()
    2.0
    """
    across = stylized[..., :, 1:] - stylized[..., :, :-1]
    down = stylized[..., 1:, :] - stylized[..., :-1, :]
    return across.float().square().mean() + down.float().square().mean()


def temporal_loss(
    stylized: Float[Tensor, "batch 3 height width"],
    stylized_next: Float[Tensor, "batch 3 height width"],
    mask: Float[Tensor, "batch 1 height width"],
) -> Float[Tensor, ""]:
    """Mean squared intensity change between two aligned stylized frames, over the pixels where nothing should change.

    The mean is first taken over each picture, then over the pictures. So a batch that several processes share has the
    same loss as in one process.

    Args:
        stylized: the earlier frame, in [0, 1], warped onto the later one if anything moves.
        stylized_next: the later frame.
        mask: 1 where the two can be compared, 0 elsewhere. A picture without any such pixel counts as unchanged.

    Source: noise pairs after Rainy and de Berker 2018, "Stabilizing neural style-transfer for video" (Element AI);
    warped pairs after Ruder et al. 2018, arXiv:1708.04538.
    Differs: the mean is over unmasked pixels, so that a small overlap does not look like a small error.
    """
    change = (stylized_next.float() - stylized.float()).square().mean(1, keepdim=True)
    return ((change * mask).sum((1, 2, 3)) / mask.sum((1, 2, 3)).clamp(min=1)).mean()


def distillation_loss(
    stylized: Float[Tensor, "batch 3 height width"], taught: Float[Tensor, "batch 3 height width"]
) -> Float[Tensor, ""]:
    """Mean absolute difference of the intensities, plus those of their differences to the right and downwards.

    Source: this project; the gradients keep the edges of strokes, which an L1 loss alone makes soft.

    >>> distillation_loss(torch.zeros(1, 3, 2, 2), torch.ones(1, 3, 2, 2)).item()
    1.0
    """
    off = stylized.float() - taught.float()
    return off.abs().mean() + off.diff(dim=-1).abs().mean() + off.diff(dim=-2).abs().mean()
