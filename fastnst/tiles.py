"""Frames of any size in bounded memory: a frame goes through the net in tiles that share the whole frame's statistics.

A tile is a strip of the frame's full width. It carries as many rows of its neighbours as the convolutions reach, so no
seam can be seen, and every norm layer uses the mean and variance of the whole frame, so no tile has a tone of its own.
Only features at quarter resolution are ever held for the whole frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fastnst.net import STRIDE, Blur, Choose, EnlargingConv, Statistics, StylizationNet, normalised, statistics_of


class Tiled(nn.Module):
    """A net for frames of any size: those above `max_pixels` are stylized in tiles, to the same result.

    Args:
        net: the net. Only a `StylizationNet` is tiled; another is called as it is.
        max_pixels: pixels that go through the net at once, about. A tile has half as many, as what is held of the
            frame takes memory too, and at least four rows of its own.
    """

    def __init__(self, net: nn.Module, max_pixels: int) -> None:
        super().__init__()
        self.net, self.max_pixels = net, max_pixels

    def forward(
        self,
        content: Float[Tensor, "batch 3 height width"],
        choose: Choose | None = None,
        canvas: Float[Tensor, "1 1 height width"] | None = None,
    ) -> Float[Tensor, "batch 3 height width"]:
        """As `StylizationNet.forward`; `choose` meets the pictures of a batch together, or one by one."""
        if not isinstance(self.net, StylizationNet):
            return self.net(content)
        if len(content) * content.shape[-2] * content.shape[-1] <= self.max_pixels:
            return self.net(content, choose, canvas)
        if len(content) > 1:
            return torch.cat([self(each, choose, canvas) for each in content.split(1)])
        return stylize_tiled(self.net, content, self.max_pixels // 2, choose, canvas)


class TiledNorm:
    """A norm layer that meets a frame tile by tile, and normalises all of them alike.

    Args:
        norm: the norm layer.
        choose: see `StylizationNet.forward`; asked once, when all tiles are known.

    Attributes:
        statistics: what to normalise with; None while tiles are missing.
    """

    def __init__(self, norm: nn.Module, choose: Choose | None) -> None:
        self.norm, self.choose = norm, choose
        self.statistics: Statistics | None = None
        self.tiles: list[tuple[int, Statistics]] = []

    def join(self) -> None:
        """Takes what was noted of the tiles for all of the frame."""
        means, variances = (torch.stack(each) for each in zip(*(each for _, each in self.tiles), strict=True))
        rows = means.new_tensor([count for count, _ in self.tiles])[:, None, None]
        share = rows / rows.sum()
        mean = (share * means).sum(0)
        own = Statistics(mean, (share * (variances + (means - mean).square())).sum(0))
        self.statistics = own if self.choose is None else self.choose(own)


TiledLayer = nn.Module | TiledNorm


@torch.no_grad()
def stylize_tiled(
    net: StylizationNet,
    content: Float[Tensor, "1 3 height width"],
    max_pixels: int,
    choose: Choose | None = None,
    canvas: Float[Tensor, "1 1 height width"] | None = None,
) -> Float[Tensor, "1 3 height width"]:
    """Returns what `net(content, choose, canvas)` returns, to rounding, but holds few full-size features at a time.

    To find the frame's statistics at a norm layer, the layers before it are run over all tiles. At full and half
    resolution that work is done again for what comes next: nothing is kept there.

    Args:
        net: the net.
        content: one picture.
        max_pixels: of a tile, with the rows that it borrows.
        choose: see `StylizationNet.forward`.
        canvas: see `StylizationNet.forward`.
    """
    height, width = content.shape[-2:]
    encoder = leaves(net.encoder, choose)
    rows = max(1, (max_pixels // width - 2 * reach(encoder)) // STRIDE)  # of a tile, at quarter resolution
    features = swept(encoder, net.seen(content, canvas), STRIDE * rows)
    added = None  # one buffer for all blocks
    for block in net.residuals:
        parts = leaves(block, choose)
        first = next(place for place, layer in enumerate(parts) if isinstance(layer, TiledNorm))
        added = swept(parts[:first], features, rows, out=added)
        swept(parts[first:-1], added, rows, out=added)
        swept(parts[-1:], added, rows, out=added)
        features += added
    del added
    return swept([*leaves(net.decoder, choose), nn.Sigmoid()], features, rows)[..., :height, :width]


def leaves(stage: nn.Module, choose: Choose | None) -> list[TiledLayer]:
    """Returns the layers of a stage in their order, its norms as those that meet a frame tile by tile."""
    return [
        TiledNorm(layer, choose) if isinstance(layer, nn.InstanceNorm2d) else layer
        for layer in stage.modules()
        if not list(layer.children())
    ]


def swept(
    layers: Sequence[TiledLayer],
    features: Float[Tensor, "1 channels height width"],
    rows: int,
    out: Float[Tensor, "1 out_channels out_height out_width"] | None = None,
) -> Float[Tensor, "1 out_channels out_height out_width"]:
    """Returns what the layers make of the features, tile by tile.

    Args:
        layers: from the features to the result, which may have another resolution.
        features: of the whole frame.
        rows: of the features, in a tile.
        out: where to put the result; the features themselves are allowed.
    """
    height, around = features.shape[-2], reach(layers)
    unknown = next((each for each in layers if isinstance(each, TiledNorm) and each.statistics is None), None)
    waiting: list[tuple[int, Tensor]] = []  # put down one tile later: until then, the next tile reads what was there
    for top in range(0, height, rows):
        above, own = min(top, around), min(rows, height - top)
        made = through_tile(layers, features[..., top - above : top + own + around, :], above, own)
        if made is None:
            continue
        if out is None:
            out = made.new_empty(*made.shape[:2], height * made.shape[-2] // own, made.shape[-1])
        waiting.append((top * made.shape[-2] // own, made))
        if len(waiting) == 2:
            write_rows(out, *waiting.pop(0))
    if unknown is not None:
        unknown.join()
        return swept(layers, features, rows, out)
    assert out is not None
    write_rows(out, *waiting.pop())
    return out


def write_rows(out: Tensor, top: int, made: Tensor) -> None:
    """Writes a tile's rows to where they belong."""
    out[..., top : top + made.shape[-2], :] = made


def through_tile(
    layers: Sequence[TiledLayer], tile: Float[Tensor, "1 channels rows width"], above: int, own: int
) -> Float[Tensor, "1 out_channels out_rows out_width"] | None:
    """Returns a tile's own rows after the layers; None, after taking note, if it came to a norm without statistics.

    Args:
        layers: what the tile goes through.
        tile: its own rows and those of its neighbours.
        above: rows of the neighbour above.
        own: its own rows.
    """
    entering = tile.shape[-2]
    for layer in layers:
        if not isinstance(layer, TiledNorm):
            tile = layer(tile)
        elif layer.statistics is not None:
            tile = normalised(layer.norm, tile, layer.statistics)
        else:
            layer.tiles.append((own, statistics_of(own_rows(tile, above, own, entering))))
            return None
    return own_rows(tile, above, own, entering)


def own_rows(features: Tensor, above: int, own: int, entering: int) -> Tensor:
    """Returns a tile's own rows, at the resolution that its `entering` rows have come to."""
    now = features.shape[-2]
    return features[..., above * now // entering : (above + own) * now // entering, :]


def reach(layers: Sequence[TiledLayer]) -> int:
    """Returns how many rows around a tile its result depends on; whole rows of the features at lowest resolution.

    >>> reach(list(StylizationNet.preset("half").encoder.modules()))  # 4 + 1 + 2 * 1 = 7, in steps of 4
    8
    """
    rows, size = 0.0, 1.0  # size: of a row here, in rows of the input
    for layer in layers:
        if isinstance(layer, EnlargingConv):
            size /= 2
            rows += size
        elif isinstance(layer, nn.Conv2d):
            rows += layer.kernel_size[0] // 2 * size
            size *= layer.stride[0]
        elif isinstance(layer, Blur):
            rows += size
        elif isinstance(layer, nn.PixelShuffle):
            size /= 2
    step = max(1, int(size))
    return math.ceil(rows / step) * step
