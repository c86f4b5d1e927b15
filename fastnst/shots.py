"""What a stream of frames remembers: the norm statistics of the shot, forgotten at scene cuts.

Instance norm takes its statistics from each frame, so that an object that moves changes the colours of a background
that does not. Inside a shot they hardly change in truth; with `norm=shot` they are kept, and follow slowly.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

RATE = 0.02  # weight of a frame in the running average: light that changes over two seconds is followed
SMALL = (36, 64)  # height and width at which frames are compared, pixels
CUT_LIKENESS = 0.5  # two frames of one shot are at least this like each other
CUT_COLOURS = 0.25  # and frames of two shots differ in at least this share of their colours
BINS = 4  # of the colour histogram, per channel


class Statistics(NamedTuple):
    """What one norm layer subtracts and divides by.

    Attributes:
        mean: of each channel.
        variance: of each channel, biased, as instance norm takes it.
    """

    mean: Float[Tensor, " channels"]
    variance: Float[Tensor, " channels"]


def norm_layers(net: nn.Module) -> list[nn.InstanceNorm2d]:
    """Returns the instance norms of a net, in the order in which features meet them."""
    return [module for module in net.modules() if isinstance(module, nn.InstanceNorm2d)]


@contextmanager
def normalised_with(net: nn.Module, statistics: list[Statistics]) -> Iterator[None]:
    """Makes the instance norms of `net`, in evaluation mode, use these statistics instead of each frame's own."""
    layers = norm_layers(net)
    try:
        for layer, given in zip(layers, statistics, strict=True):
            layer.track_running_stats, layer.running_mean, layer.running_var = True, given.mean, given.variance
        yield
    finally:
        for layer in layers:
            layer.track_running_stats, layer.running_mean, layer.running_var = False, None, None


@contextmanager
def recorded(net: nn.Module) -> Iterator[list[Statistics]]:
    """Yields a list that fills, in every pass of one frame, with the statistics that the frame has at each norm."""
    found: list[Statistics] = []

    def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        variance, mean = torch.var_mean(inputs[0].float(), (0, 2, 3), correction=0)
        found.append(Statistics(mean, variance))

    handles = [layer.register_forward_pre_hook(note, prepend=True) for layer in norm_layers(net)]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


class ShotNorm(nn.Module):
    """A net that normalises every frame with the statistics of its shot: those of the first frame, then a slow average.

    Frames are taken one after the other, so that a batch gives what single frames give. What is averaged is what each
    frame has at a norm after the earlier norms used the shot's statistics; where nothing changes that is the statistics
    themselves. A light that fades is followed within about `1 / RATE` frames.

    Args:
        net: the trained net, in evaluation mode.
        rate: weight of a frame in the average.
    """

    def __init__(self, net: nn.Module, rate: float = RATE) -> None:
        super().__init__()
        self.net, self.rate = net, rate
        self.reset()

    def reset(self) -> None:
        """Forgets the shot."""
        self.statistics: list[Statistics] | None = None
        self.before: Tensor | None = None

    def forward(self, content: Float[Tensor, "time 3 height width"]) -> Float[Tensor, "time 3 height width"]:
        """Returns the frames stylized; they follow those of the call before."""
        return torch.cat([self.next_frame(frame) for frame in content.split(1)])

    def next_frame(self, frame: Float[Tensor, "1 3 height width"]) -> Float[Tensor, "1 3 height width"]:
        """Returns the next frame of the stream stylized."""
        small = F.interpolate(frame.float(), SMALL, mode="area")
        if self.before is not None and is_cut(self.before, small):
            self.reset()
        self.before = small
        if self.statistics is None:
            with recorded(self.net) as self.statistics:
                return self.net(frame)
        with normalised_with(self.net, self.statistics), recorded(self.net) as found:
            stylized = self.net(frame)
        self.statistics = [
            Statistics(torch.lerp(kept.mean, new.mean, self.rate), torch.lerp(kept.variance, new.variance, self.rate))
            for kept, new in zip(self.statistics, found, strict=True)
        ]
        return stylized


def is_cut(frame: Float[Tensor, "1 3 height width"], next_frame: Float[Tensor, "1 3 height width"]) -> bool:
    """Returns whether a new scene begins with the second of two frames, which may be made small before.

    A cut changes the layout and the colours at once. A flash or a fade keeps the layout, a pan keeps the colours.
    Layout is compared by the correlation of the small pictures, colours by the histograms' overlap; both after
    brightness and contrast are taken out.

    >>> dark, bright = torch.rand(1, 3, 36, 64) * 0.3, torch.rand(1, 3, 36, 64)
    >>> is_cut(dark, dark * 3), is_cut(dark, dark)
    (False, False)
    """
    first, second = (standardised(F.interpolate(each.float(), SMALL, mode="area")) for each in (frame, next_frame))
    likeness = (first * second).mean().item()
    if likeness >= CUT_LIKENESS:
        return False
    overlap = torch.minimum(colour_histogram(first), colour_histogram(second)).sum().item()
    return 1 - overlap >= CUT_COLOURS


def standardised(picture: Float[Tensor, "1 3 height width"]) -> Float[Tensor, "1 3 height width"]:
    """Returns the picture with mean 0 and deviation 1 over all pixels and channels; a flat one becomes 0."""
    return (picture - picture.mean()) / picture.std().clamp(min=1e-3)


def colour_histogram(picture: Float[Tensor, "1 3 height width"]) -> Float[Tensor, " bins"]:
    """Returns the share of pixels in each of `BINS` cubed cells of standardised colour."""
    cells = ((picture + 2) * (BINS / 4)).long().clamp(0, BINS - 1)[0]  # (3, H, W); -2 to 2 deviations
    index = (cells[0] * BINS + cells[1]) * BINS + cells[2]
    return torch.bincount(index.flatten(), minlength=BINS**3).float() / index.numel()
