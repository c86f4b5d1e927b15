"""What a stream of frames remembers: norm statistics, the canvas, the average over time; forgotten at scene cuts.

Instance norm takes its statistics from each frame, so that an object that moves changes the colours of a background
that does not. Inside a shot they hardly change in truth; with `norm=shot` they are kept, and follow slowly. Where they
do change, as in a fade, they are followed fast: the wrong statistics do not only make a picture unsteady, but spoil it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from fastnst.canvas import TEXTURE, CarriedCanvas, fixed_canvas
from fastnst.flow import backward_flow, half_luma, halved
from fastnst.net import EPSILON, Statistics, StylizationNet
from fastnst.smooth import MotionAverage
from fastnst.tiles import Tiled

EVERY = 8  # frames after which the statistics are measured again; benchmarks/RESULTS.md: as still as every frame
MOVING_RATE = 0.25  # weight of a frame where the net's own weights move: the statistics must follow those
LIGHT = 0.03  # change of a colour's mean or deviation, as a share of that, upon which they are measured at once
RATE = 0.02  # weight of a frame in the running average, while the frame is like the shot
HASTE = 5.0  # what the squared distance between the two adds to that weight
SMALL = (36, 64)  # height and width at which frames are compared, pixels
CUT_LIKENESS = 0.5  # two frames of one shot are at least this like each other
CUT_COLOURS = 0.25  # and frames of two shots differ in at least this share of their colours
BINS = 4  # of the colour histogram, per channel


class Given:
    """A `choose` for one pass of a net: statistics that are known before, layer by layer. Nothing is measured."""

    def __init__(self, statistics: Sequence[Statistics]) -> None:
        self.statistics = statistics
        self._rest = iter(statistics)

    def __call__(self, own: Statistics) -> Statistics:
        """Returns the statistics of the next layer."""
        return next(self._rest)


class Followed:
    """A `choose` for one pass of a net: statistics that first move towards those of the frame, see `followed`.

    Args:
        kept: the statistics before the frame, layer by layer; None: there are none, the frame's own are taken.
        rate: weight of a frame that is like the shot.

    Attributes:
        statistics: those after the frame.
    """

    def __init__(self, kept: Sequence[Statistics] | None, rate: float) -> None:
        self.kept, self.rate = kept, rate
        self.statistics: list[Statistics] = []
        self._rest = iter(kept or ())

    def __call__(self, own: Statistics) -> Statistics:
        """Returns the statistics of the next layer."""
        kept = next(self._rest, None)
        self.statistics.append(own if kept is None else followed(kept, own, self.rate))
        return self.statistics[-1]


class Shot(nn.Module):
    """A net that stylizes the frames of a stream in their order, and all that is remembered of the frames before.

    These are: the statistics of instance norm, the canvas that moves along with the picture, and the average over time.
    All of it begins again where a scene cut or another frame size begins a new shot. Frames are taken one after the
    other, so that a batch gives what single frames give.

    With `norm="shot"` every frame is normalised with the statistics of its shot: those of the first frame, then an
    average. At each norm layer the shot's statistics first move towards those that the frame has there, all earlier
    layers having used the shot's, and are then used: so they always fit what the layers before make of this frame.
    Where nothing changes they stay; where something moves they follow by `RATE`; where light changes, by up to all the
    way. They are measured in every eighth frame, and where the light changes: a frame that is not measured is faster,
    and the painting is as still.

    Args:
        net: the trained net, in evaluation mode. Any but a `StylizationNet`, tiled or not, is called as it is.
        norm: "shot", or "frame": each frame's own statistics.
        texture: amplitude of the canvas, see `CarriedCanvas`; a net without one ignores it. At 0 nothing is carried, so
            that no flow is looked for.
        canvas_motion: "flow" or "fixed", see `CarriedCanvas`.
        smooth: weight of the earlier frames, see `MotionAverage`; 0 is off.
        net_moves: whether the net's weights change from frame to frame, as from style to style. Statistics are then
            measured in every frame: what is kept for eight changes with a jump.
    """

    def __init__(
        self,
        net: nn.Module,
        norm: str = "shot",
        texture: float = TEXTURE,
        canvas_motion: str = "flow",
        smooth: float = 0.0,
        net_moves: bool = False,
    ) -> None:
        super().__init__()
        self.net, self.net_moves = net, net_moves
        inner = net.net if isinstance(net, Tiled) else net
        trained = inner if isinstance(inner, StylizationNet) else None
        canvas_motion = canvas_motion if texture else "fixed"
        self.canvas = CarriedCanvas(texture, canvas_motion) if trained and trained.has_canvas else None
        self.average = MotionAverage(smooth) if smooth else None
        self.keeps_statistics = norm == "shot" and trained is not None
        self.needs_flow = self.average is not None or (self.canvas is not None and canvas_motion == "flow")
        self.remembers = self.keeps_statistics or self.needs_flow
        self.reset()

    def reset(self) -> None:
        """Forgets the shot."""
        self.statistics: Sequence[Statistics] | None = None
        self.age, self.measured = 0, None  # frames since they were measured, and that frame, small
        self.before: Tensor | None = None  # the last frame, small
        self.halved: np.ndarray | None = None  # its luma at half the size
        for part in (self.canvas, self.average):
            if part is not None:
                part.reset()

    def memory(self) -> dict[str, Tensor]:
        """Returns what is remembered, by name, for `recall`; nothing before the first frame."""
        if self.before is None:
            return {}
        kept = {"before": self.before} | ({} if self.halved is None else {"half": torch.from_numpy(self.halved)})
        if self.measured is not None:
            kept |= {"measured": self.measured, "age": torch.tensor(self.age)}
        for number, own in enumerate(self.statistics or ()):
            kept |= {f"norm.{name}.{number}": each for name, each in own._asdict().items()}
        for name, part in (("canvas", self.canvas), ("average", self.average)):
            if part is not None:
                kept |= {f"{name}.{key}": each for key, each in part.memory().items()}
        return kept

    def recall(self, memory: Mapping[str, Tensor]) -> None:
        """Continues from what `memory` returned; what was remembered until now is forgotten."""
        self.reset()
        if not memory:
            return
        self.before, half = memory["before"], memory.get("half")
        self.halved = None if half is None else half.cpu().numpy()
        self.measured, self.age = memory.get("measured"), int(memory.get("age", 0))
        layers = range(sum(name.startswith("norm.mean.") for name in memory))
        if layers:
            self.statistics = [Statistics(memory[f"norm.mean.{n}"], memory[f"norm.variance.{n}"]) for n in layers]
        for name, part in (("canvas.", self.canvas), ("average.", self.average)):
            if part is not None:
                part.recall({key.removeprefix(name): each for key, each in memory.items() if key.startswith(name)})

    def forward(self, content: Float[Tensor, "time 3 height width"]) -> Float[Tensor, "time 3 height width"]:
        """Returns the frames stylized; they follow those of the call before."""
        if self.remembers:
            return torch.cat([self.next_frame(frame) for frame in content.split(1)])
        if self.canvas is None:
            return self.net(content)
        return self.net(content, canvas=self.canvas.texture * fixed_canvas(*content.shape[-2:]))

    def next_frame(self, frame: Float[Tensor, "1 3 height width"]) -> Float[Tensor, "1 3 height width"]:
        """Returns the next frame of the stream stylized."""
        small = F.interpolate(frame.float(), SMALL, mode="area")
        if self.before is not None and is_cut(self.before, small):
            self.reset()
        self.before, half, flow = small, None, None
        height, width = frame.shape[-2:]
        if self.needs_flow:
            half = halved(frame)
            levels = half_luma(half)
            if self.halved is not None and self.halved.shape == levels.shape:
                flow = backward_flow(self.halved, levels)
            self.halved = levels
        if self.canvas is None:
            stylized, moved = self.stylize(frame), None
        else:
            stylized = self.stylize(frame, self.canvas.next(self.halved, flow, height, width))
            moved = self.canvas.moved
        if self.average is None or half is None:
            return stylized
        return self.average.next(half, stylized, flow, moved)

    def stylize(
        self, frame: Float[Tensor, "1 3 height width"], canvas: Float[Tensor, "1 1 height width"] | None = None
    ) -> Float[Tensor, "1 3 height width"]:
        """Returns the frame stylized with the statistics of its shot, which follow it."""
        if not self.keeps_statistics:
            return self.net(frame) if canvas is None else self.net(frame, canvas=canvas)
        self.age += 1
        assert self.before is not None
        recent = self.measured is not None and self.age < EVERY and not light_changed(self.before, self.measured)
        if recent and not self.net_moves and self.statistics is not None:
            return self.net(frame, Given(self.statistics), canvas)
        rate = MOVING_RATE if self.net_moves else 1 - (1 - RATE) ** self.age
        choose = Followed(self.statistics, rate)
        stylized = self.net(frame, choose, canvas)
        self.statistics, self.measured, self.age = choose.statistics, self.before, 0
        return stylized


def light_changed(frame: Float[Tensor, "1 3 height width"], other: Float[Tensor, "1 3 height width"]) -> bool:
    """Returns whether the mean or the deviation of a colour has changed, by `LIGHT` of its deviation in `other`."""
    both = torch.cat([frame, other]).flatten(2)  # (2, 3, H * W)
    mean, deviation = both.mean(2), both.std(2).clamp(min=1e-3)
    return bool((torch.stack([mean[0] - mean[1], deviation[0] - deviation[1]]).abs() > LIGHT * deviation[1]).any())


def followed(kept: Statistics, own: Statistics, rate: float) -> Statistics:
    """Returns the shot's statistics a frame later.

    Two normal distributions are as far apart as their means and deviations, squared and added (the 2-Wasserstein
    distance); here in units of the shot's deviation, as a mean over the channels. A person who walks by moves a frame's
    features by 0.02 to 0.1 of such a deviation, a fade to black by 1.

    Args:
        kept: the statistics before the frame.
        own: those that the frame has.
        rate: weight of a frame that is like the shot.
    """
    deviation, own_deviation = ((each.variance + EPSILON).sqrt() for each in (kept, own))
    apart = (((own.mean - kept.mean) / deviation).square() + (own_deviation / deviation - 1).square()).mean()
    weight = (rate + HASTE * apart).clamp(max=1)
    return Statistics(torch.lerp(kept.mean, own.mean, weight), torch.lerp(kept.variance, own.variance, weight))


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
