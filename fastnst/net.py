"""The feed-forward stylization network: a photo in, a painting out, in one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from fastnst.canvas import fixed_canvas
from fastnst.errors import ConfigError

PRESETS = {"johnson": (32, 64, 128), "half": (16, 32, 64), "lite": (0, 24, 64)}  # see `StylizationNet.channels`
STRIDE = 4  # two stride-2 convolutions: the net works on multiples of this
CANVAS_WEIGHT = 0.3  # deviation of the canvas' first weights, in units of that of the others
EPSILON = 1e-5  # what a norm layer adds to a variance
SMALLEST = 8  # reflection padding inside the net needs at least this many pixels a side


class Statistics(NamedTuple):
    """What a norm layer subtracts and divides by, in float32.

    Attributes:
        mean: of each channel of each picture.
        variance: the same, biased, as instance norm takes it.
    """

    mean: Float[Tensor, "batch channels"]
    variance: Float[Tensor, "batch channels"]


Choose = Callable[[Statistics], Statistics]  # the statistics that features have -> those to normalise them with


class StylizationNet(nn.Module):
    """Paints pictures in the one style that its weights were trained for.

    A net of many styles has all weights in common but those of its norms: there every style has a row of its own. It
    paints with `in_styles`; `of_style` takes an ordinary net of one style from it.

    Source: Johnson, Alahi, Fei-Fei 2016, "Perceptual Losses for Real-Time Style Transfer", arXiv:1603.08155, and its
    supplement for the layers; instance norm from Ulyanov et al. 2016, arXiv:1607.08022; nearest-neighbour upsampling
    before a convolution instead of a transposed one from Odena et al. 2016 (checkerboards); blur before the stride from
    Zhang 2019, arXiv:1904.11486. Of a lite net: separable convolutions from Howard et al. 2017 (MobileNets),
    arXiv:1704.04861; shuffled pixels from Shi et al. 2016, arXiv:1609.05158. Of a net of many styles: conditional
    instance norm from Dumoulin et al. 2017, arXiv:1610.07629.
    Differs: a noise field that holds still is a fourth input channel, see `fastnst.canvas`; every convolution pads by
    reflection, also inside the residual blocks; the last activation is a sigmoid, so that the output is in [0, 1]
    without clipping.

    Args:
        channels: channels at full, half and quarter resolution; `PRESETS` names three choices. With 0 at full
            resolution the net is lite: it begins and ends at half resolution, with what a strided convolution sees and
            with pixels shuffled, and its residual blocks are depthwise separable.
        residual_blocks: residual blocks at quarter resolution.
        antialias: blur features before they are made smaller, so that a shift by a part of a pixel changes less.
        canvas: whether the noise field is an input.
        styles: names of the styles of a net of many; empty for an ordinary net.

    >>> sum(p.numel() for p in StylizationNet.preset("johnson").parameters())
    1681827
    """

    def __init__(
        self,
        channels: Sequence[int] = PRESETS["johnson"],
        residual_blocks: int = 5,
        antialias: bool = False,
        canvas: bool = True,
        styles: Sequence[str] = (),
    ) -> None:
        super().__init__()
        full, half, quarter = channels
        self.has_canvas, self.styles = canvas, tuple(styles)
        self.settings = {
            "channels": [full, half, quarter],
            "residual_blocks": residual_blocks,
            "antialias": antialias,
            "canvas": canvas,
            **({"styles": list(styles)} if styles else {}),
        }
        seen = 4 if canvas else 3
        if full:
            begin = [ConvNorm(seen, full, 9), nn.ReLU(inplace=True), ConvNorm(full, half, 3, stride=2, blur=antialias)]
            end = [
                ConvNorm(quarter, half, 3, enlarging=True),
                nn.ReLU(inplace=True),
                nn.Identity(),
                ConvNorm(half, full, 3, enlarging=True),
                nn.ReLU(inplace=True),
                ColoursConv(full),
            ]
        else:
            begin = [ConvNorm(seen, half, 5, stride=2)]
            end = [
                ConvNorm(half, half, 3, enlarging=True),
                nn.ReLU(inplace=True),
                shuffled_conv(half, 3),
                nn.PixelShuffle(2),
            ]
        narrow = [] if full else [ConvNorm(quarter, half, 1)]  # before there are four times as many pixels
        self.encoder = nn.Sequential(
            *begin,
            nn.ReLU(inplace=True),
            ConvNorm(half, quarter, 3, stride=2, blur=antialias),
            nn.ReLU(inplace=True),
        )
        self.residuals = nn.Sequential(*(ResidualBlock(quarter, separable=full == 0) for _ in range(residual_blocks)))
        # nn.Identity is where nets that are trained have a layer without weights: the numbers of the others stay
        self.decoder = nn.Sequential(*narrow, nn.Identity(), *end)
        for norm in norms_of(self).values() if styles else ():
            norm.weight = nn.Parameter(torch.ones(len(styles), norm.num_features))
            norm.bias = nn.Parameter(torch.zeros(len(styles), norm.num_features))

    @classmethod
    def preset(
        cls, name: str, antialias: bool = False, canvas: bool = True, styles: Sequence[str] = ()
    ) -> StylizationNet:
        """Returns an untrained net of the preset `name`, one of `PRESETS`.

        Raises:
            ConfigError: there is no such preset.
        """
        if name not in PRESETS:
            raise ConfigError(f"no net called {name!r}; there are: {', '.join(PRESETS)}")
        return cls(PRESETS[name], antialias=antialias, canvas=canvas, styles=styles)

    def renewed(self, antialias: bool, canvas: bool, styles: Sequence[str] = ()) -> StylizationNet:
        """Returns a net of these settings with this one's weights, to train on from; without gradients so far.

        Where only the new one has a canvas, its weights there are small and random. A style that this net does not know
        by its name begins as the mean of those that it knows, and so does a net of one style.

        Raises:
            ConfigError: only this one has a canvas.
        """
        if self.has_canvas and not canvas:
            raise ConfigError("net.init names a net with a canvas; give net.canvas=true, or net.init=null")
        net = StylizationNet(**{**self.settings, "antialias": antialias, "canvas": canvas, "styles": styles})
        weights, first = self.with_norms(lambda rows: self.rows_for(styles, rows)), "encoder.0.0.weight"
        if antialias != self.settings["antialias"]:  # blurs have no weights, but move the numbers of the layers
            names = zip(weights, net.state_dict(), strict=True)
            weights = {new: weights[old] for old, new in names}
        if canvas and not self.has_canvas:
            colours = weights[first]
            noise = torch.randn(colours[:, :1].shape, generator=torch.Generator().manual_seed(0))
            weights[first] = torch.cat([colours, CANVAS_WEIGHT * colours.std() * noise], 1)
        net.load_state_dict(weights)
        return net

    def of_style(self, name: str) -> StylizationNet:
        """Returns the net of one style of this net of many.

        Raises:
            ConfigError: this net has no style of that name.
        """
        if name not in self.styles:
            known = f"there are: {', '.join(self.styles)}" if self.styles else "it is a net of one style"
            raise ConfigError(f"there is no style {name!r} in the net; {known}")
        row = self.styles.index(name)
        net = StylizationNet(**{**self.settings, "styles": ()})
        net.load_state_dict(self.with_norms(lambda rows: rows[row]))
        return net.train(self.training)

    def with_norms(self, change: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        """Returns the weights, those of the norms changed, each (channels), or (styles, channels) of many styles."""
        norms = norms_of(self)
        return {key: change(it) if key.rpartition(".")[0] in norms else it for key, it in self.state_dict().items()}

    def rows_for(
        self, styles: Sequence[str], rows: Float[Tensor, "*styles channels"]
    ) -> Float[Tensor, "*new channels"]:
        """Returns the rows of a norm of this net for other styles, see `renewed`; for none, one without an axis."""
        mean = rows.mean(0) if self.styles else rows
        known = dict(zip(self.styles, rows, strict=True)) if self.styles else {}
        return torch.stack([known.get(name, mean) for name in styles]) if styles else mean

    def in_styles(
        self,
        content: Float[Tensor, "batch 3 height width"],
        styles: Int[Tensor, " batch"] | None,
        canvas: Float[Tensor, "canvases 1 height width"] | None = None,
    ) -> Float[Tensor, "batch 3 height width"]:
        """Returns what `forward` returns, each picture in a style of its own.

        Args:
            content: the pictures.
            styles: which of this net's, by their number; None for a net of one style.
            canvas: see `forward`.
        """
        if styles is None:
            return self(content, canvas=canvas)
        rows = {name: values[styles] for name, values in self.named_parameters() if values.dim() == 2}
        return torch.func.functional_call(self, rows, (content,), {"canvas": canvas})

    def seen(
        self, content: Float[Tensor, "batch 3 height width"], canvas: Float[Tensor, "canvases 1 height width"] | None
    ) -> Float[Tensor, "batch channels new_height new_width"]:
        """Returns what the first layer sees: the pictures, the canvas behind their colours, their border repeated.

        Args:
            content: the pictures.
            canvas: see `forward`.
        """
        if self.has_canvas:
            height, width = content.shape[-2:]
            canvas = fixed_canvas(height, width) if canvas is None else canvas
            canvas = 0.5 + canvas.to(content).expand(len(content), -1, -1, -1)
            content = torch.cat([content, canvas], 1)
        return padded(content)

    def forward(
        self,
        content: Float[Tensor, "batch 3 height width"],
        choose: Choose | None = None,
        canvas: Float[Tensor, "canvases 1 height width"] | None = None,
    ) -> Float[Tensor, "batch 3 height width"]:
        """Returns the stylized pictures, in [0, 1], for RGB pictures in [0, 1] of any height and width.

        Each picture of the batch is treated on its own: a batch of four equals four batches of one.

        Args:
            content: the pictures.
            choose: called at every norm layer, in the order in which features meet them, with the statistics that the
                features have there; returns those to use, one for each picture or one for all. None: each one's own.
            canvas: the noise field under each picture, or one for all, its mean 0; a net without a canvas ignores it.
                None: the field from its corner on, as for a camera that does not move.
        """
        height, width = content.shape[-2:]
        features = self.seen(content, canvas)
        for stage in (self.encoder, self.residuals, self.decoder):
            features = through(stage, features, choose)
        return torch.sigmoid(features)[..., :height, :width]


class ConvNorm(nn.Sequential):
    """Reflection padding, convolution, instance norm: (B, in, H, W) -> (B, out, H / stride, W / stride).

    With `blur` the features go through `Blur` first: no different from a blur between a convolution at full resolution
    and its subsampling, as nothing but linear filters lies between the two, at a quarter of the work. A `separable`
    convolution filters every channel by itself, and then mixes the channels pixel by pixel. An `enlarging` one makes
    the features twice as large first.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        blur: bool = False,
        separable: bool = False,
        enlarging: bool = False,
    ) -> None:
        if separable:
            filters = reflected_conv(in_channels, in_channels, kernel_size, stride, groups=in_channels)
            convs = [filters, nn.Conv2d(in_channels, out_channels, 1)]
        elif enlarging:
            convs = [EnlargingConv(in_channels, out_channels)]
        else:
            convs = [reflected_conv(in_channels, out_channels, kernel_size, stride)]
        norm = nn.InstanceNorm2d(out_channels, EPSILON, affine=True)
        super().__init__(*([Blur()] if blur else []), *convs, norm)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, features: Float[Tensor, "batch in_channels height width"], choose: Choose | None = None
    ) -> Float[Tensor, "batch out_channels new_height new_width"]:
        """Returns the normalised features."""
        *layers, norm = self
        for layer in layers:
            features = layer(features)
        if choose is not None:
            return normalised(norm, features, choose(statistics_of(features)))
        if self.training and features.device.type == "cpu":
            return each_normalised(norm, features)
        many = isinstance(norm, nn.InstanceNorm2d) and norm.weight.dim() == 2  # a row for each picture
        return normalised(norm, features, statistics_of(features)) if many else norm(features)


class EnlargingConv(nn.Conv2d):
    """Doubles the size by nearest neighbour, then a 3x3 convolution: (B, in, H, W) -> (B, out, 2 H, 2 W).

    Both at once: neighbours in the doubled picture are mostly the same pixel, so that nine weights come to four for
    each pixel of the result. That is a transposed convolution whose weights are sums of the nine: equal but for
    rounding, with 4 of 9 multiply-adds, and without the doubled picture. These weights cannot draw a checkerboard.

    Source: nearest-neighbour upsampling before a convolution from Odena et al. 2016, "Deconvolution and Checkerboard
    Artifacts", doi:10.23915/distill.00003; the doubled picture is padded by reflection, so its border is repeated.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, features: Float[Tensor, "batch in_channels height width"]
    ) -> Float[Tensor, "batch out_channels new_height new_width"]:
        """Returns the features enlarged and filtered."""
        around = F.pad(features, (1, 1, 1, 1), mode="replicate")
        return F.conv_transpose2d(around, self.summed(), self.bias, stride=2, padding=3)

    def summed(self) -> Float[Tensor, "in_channels out_channels 4 4"]:
        """Returns the weights of the transposed convolution."""
        w = F.pad(self.weight, (1, 1, 1, 1))
        sums = w[..., :-1, :-1] + w[..., 1:, :-1] + w[..., :-1, 1:] + w[..., 1:, 1:]
        return sums.flip(2, 3).transpose(0, 1)


class ColoursConv(nn.Conv2d):
    """A 9x9 convolution to three colours, padded by reflection: (B, in, H, W) -> (B, 3, H, W), H and W multiples of 4.

    Three results are too few for a processor that computes eight or sixteen at once. So 4 x 4 pixels are computed
    together, as 48 results of a 12x12 convolution with a stride of 4: equal but for rounding, and twice as fast.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__(in_channels, 3, 9)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, features: Float[Tensor, "batch in_channels height width"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """Returns the colours."""
        assert self.bias is not None
        around = F.pad(features, (4, 4, 4, 4), mode="reflect")
        return F.pixel_shuffle(F.conv2d(around, self.spread(), self.bias.repeat_interleave(16), stride=4), 4)

    def spread(self) -> Float[Tensor, "48 in_channels 12 12"]:
        """Returns the weights for 4 x 4 pixels: those of one, moved to where the pixel is."""
        moved = F.pad(self.weight, (3, 3, 3, 3)).unfold(2, 12, 1).unfold(3, 12, 1).flip(2, 3)
        return moved.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)


class Blur(nn.Module):
    """Blurs each channel by (1, 2, 1) / 4 along both axes: (B, C, H, W) -> the same shape.

    Source: Zhang 2019, "Making Convolutional Networks Shift-Invariant Again", arXiv:1904.11486, filter Triangle-3.
    """

    def forward(self, features: Float[Tensor, "batch channels height width"]) -> Tensor:
        """Returns the features blurred, reflected at the border."""
        across = F.pad(features, (1, 1, 0, 0), mode="reflect")
        across = (across[..., :-2] + across[..., 2:]) / 4 + features / 2
        down = F.pad(across, (0, 0, 1, 1), mode="reflect")
        return (down[..., :-2, :] + down[..., 2:, :]) / 4 + across / 2


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions whose result is added to their input: (B, channels, H, W) -> the same shape.

    Source: Gross and Wilber 2016, "Training and investigating residual nets": no ReLU after the addition.
    """

    def __init__(self, channels: int, separable: bool = False) -> None:
        super().__init__()
        self.body = nn.Sequential(
            ConvNorm(channels, channels, 3, separable=separable),
            nn.ReLU(inplace=True),
            ConvNorm(channels, channels, 3, separable=separable),
        )

    def forward(
        self, features: Float[Tensor, "batch channels height width"], choose: Choose | None = None
    ) -> Float[Tensor, "batch channels height width"]:
        """Returns `features` plus what the block adds to them."""
        return features + through(self.body, features, choose)


def norms_of(net: nn.Module) -> dict[str, nn.InstanceNorm2d]:
    """Returns the norm layers of a net by their names."""
    return {name: layer for name, layer in net.named_modules() if isinstance(layer, nn.InstanceNorm2d)}


def through(layers: Iterable[nn.Module], features: Tensor, choose: Choose | None) -> Tensor:
    """Returns what the layers, one after the other, make of the features."""
    for layer in layers:
        features = layer(features, choose) if isinstance(layer, (ConvNorm, ResidualBlock)) else layer(features)
    return features


def statistics_of(features: Float[Tensor, "batch channels height width"]) -> Statistics:
    """Returns the mean and variance of each channel of each picture."""
    features = features.float()
    mean = features.mean((2, 3))
    variance = (features - mean[..., None, None]).square().mean((2, 3))  # faster than torch.var_mean, 2 to 5 times
    return Statistics(mean, variance)


def each_normalised(
    norm: nn.Module, features: Float[Tensor, "batch channels height width"]
) -> Float[Tensor, "batch channels height width"]:
    """Returns what the instance norm `norm` makes of features: a batch norm of one picture after the other.

    On a CPU it keeps channels-last, which PyTorch's instance norm gives up, and is two to four times as fast with its
    gradient.
    """
    assert isinstance(norm, nn.InstanceNorm2d)
    rows = [each.expand(len(features), -1) for each in (norm.weight, norm.bias)]  # one for all, or one for each picture
    pictures = [
        F.batch_norm(one, None, None, weight, bias, True, 0.0, norm.eps)
        for one, weight, bias in zip(features.split(1), *rows, strict=True)
    ]
    return torch.cat(pictures)


def normalised(
    norm: nn.Module, features: Float[Tensor, "batch channels height width"], statistics: Statistics
) -> Float[Tensor, "batch channels height width"]:
    """Returns what the instance norm `norm` makes of features with a given mean and variance."""
    assert isinstance(norm, nn.InstanceNorm2d)
    scale = norm.weight * (statistics.variance + norm.eps).rsqrt()
    offset = norm.bias - statistics.mean * scale
    return torch.addcmul(offset[..., None, None], features.float(), scale[..., None, None]).to(features.dtype)


def reflected_conv(
    in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1
) -> nn.Conv2d:
    """Returns a convolution that pads by reflection, so that no dark frame grows in from the border.

    One by groups has no bias: what mixes its channels has.
    """
    padding = kernel_size // 2
    return nn.Conv2d(
        in_channels, out_channels, kernel_size, stride, padding, 1, groups, bias=groups == 1, padding_mode="reflect"
    )


def shuffled_conv(in_channels: int, out_channels: int) -> nn.Conv2d:
    """Returns a 3x3 convolution for `nn.PixelShuffle(2)`, which begins with the same weights for the four pixels.

    Source: Aitken et al. 2017, "Checkerboard artifact free sub-pixel convolution", arXiv:1707.02937.
    """
    conv = reflected_conv(in_channels, 4 * out_channels, 3)
    for values in conv.parameters():
        values.data = values.data[::4].repeat_interleave(4, 0)
    return conv


def padded(
    content: Float[Tensor, "batch channels height width"],
) -> Float[Tensor, "batch channels new_height new_width"]:
    """Returns the pictures with their last row and column repeated until the net can work on them."""
    right, below = padding_to_fit(content.shape[-1]), padding_to_fit(content.shape[-2])
    return F.pad(content, (0, right, 0, below), mode="replicate") if right or below else content


def padding_to_fit(size: int) -> int:
    """Returns how many pixels bring `size` up to a size that the net can work on.

    >>> padding_to_fit(128), padding_to_fit(127), padding_to_fit(1)
    (0, 1, 7)
    """
    return max(SMALLEST - size, -size % STRIDE)
