"""Judges nets, and clips that are stylized already: what `fastnst.metrics` measures, joined to one number per clip.

All contenders go through a clip side by side, frame by frame, so that the optical flow is computed once and a clip of
any length fits the memory.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from fastnst import metrics
from fastnst.errors import InputError
from fastnst.flow import dis_flow, occlusion_mask
from fastnst.images import to_float, to_uint8
from fastnst.losses import content_loss, gram_matrix, style_loss
from fastnst.metrics import Stylize
from fastnst.shots import Shot, given, is_cut
from fastnst.vgg import VGGFeatures
from fastnst.video.reader import VideoReader

INTERVALS = (1, 10)  # frames between the two of a pair; at 10 the pairs are 0-10, 10-20, ...: the clip in fast motion
PROBE_EVERY = 16  # frames between those at which noise, motion, style and content are measured
SIGMAS = (1, 2, 4, 8)  # of the noise, grey levels
STILL_INPUT = 0.01  # grey levels; where the input changes less, a ratio to it says nothing
CONTENT_LAYER, STYLE_LAYERS = "relu2_2", ("relu1_2", "relu2_2", "relu3_3", "relu4_3")  # as in conf/train.yaml

ALONG_FLOW = {
    "warping_error": metrics.warping_error,
    "absolute_warping_error": metrics.mean_absolute_warping_error,
    "stability_error": metrics.stability_error,
}
METRICS = (
    "static_share", "static_flicker", "static_flicker_ratio",
    *(f"{name}_{interval}" for name in ALONG_FLOW for interval in INTERVALS),
    *(f"noise_gain_{sigma}" for sigma in SIGMAS),
    *(f"motion_{what}_{motion}" for what in ("error", "floor") for motion in metrics.MOTIONS),
    "style_loss", "style_loss_input", "content_loss", "contrast",
)  # fmt: skip

Clip = Iterable[Float[Tensor, "1 3 height width"]]  # frames in [0, 1]; it can be gone through more than once
Grams = Mapping[str, Float[Tensor, "1 channels channels"]]  # of the style picture, by layer
Numbers = dict[str, float]  # by metric; NaN where nothing could be measured


@dataclass(frozen=True)
class ClipFile:
    """The first frames of a video file; each loop over it reads the file anew.

    Attributes:
        path: the file.
        max_side: larger frames are made smaller first, pixels of the longer side; None keeps the size.
        frames: how many; None for all.
    """

    path: Path
    max_side: int | None = None
    frames: int | None = None

    def __iter__(self) -> Iterator[Float[Tensor, "1 3 height width"]]:
        with VideoReader(self.path, max_side=self.max_side) as reader:
            for frame in islice(reader, self.frames):
                yield to_float(frame.pixels)


class Painter(NamedTuple):
    """A contender at the first frame of a clip.

    Attributes:
        paint: takes the clip's frames one after the other, returns them stylized.
        stylize: takes any pictures and remembers nothing; None for clips that are stylized already.
    """

    paint: Stylize
    stylize: Stylize | None


def net_painter(net: nn.Module, norm: str = "frame") -> Painter:
    """Returns a net at a clip's first frame; with `norm="shot"` it keeps the shot's statistics, as `infer.py` does."""
    if norm == "frame":
        return Painter(net, net)
    shot = Shot(net)

    def stylize(images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3 height width"]:
        return net(images, given(shot.statistics)) if shot.statistics else net(images)

    return Painter(shot, stylize)


def file_painter(stylized: ClipFile) -> Painter:
    """Returns the painter whose frames come from a clip that is stylized already, made to the size of the input's.

    Its `paint` raises InputError if that clip ends before its input, or is of another shape.
    """
    frames = iter(stylized)

    def paint(frame: Float[Tensor, "1 3 height width"]) -> Float[Tensor, "1 3 height width"]:
        own = next(frames, None)
        if own is None:
            raise InputError(f"'{stylized.path}' has fewer frames than its input")
        (height, width), (own_height, own_width) = frame.shape[2:], own.shape[2:]
        if abs(math.log(own_width / own_height * height / width)) > 0.03:
            raise InputError(f"'{stylized.path}' is {own_width}x{own_height}, of another shape than its input")
        if own.shape != frame.shape:
            own = F.interpolate(own, (height, width), mode="bilinear", antialias=True)
        return own.to(frame.device)

    return Painter(paint, None)


@torch.no_grad()
def style_grams(vgg: VGGFeatures, picture: Float[Tensor, "3 height width"]) -> Grams:
    """Returns the Gram matrices of a style picture at `STYLE_LAYERS`."""
    features = vgg(picture[None].to(vgg.mean.device), STYLE_LAYERS)
    return {layer: gram_matrix(each) for layer, each in features.items()}


@torch.no_grad()
def evaluate_clip(
    clip: Clip,
    painters: Mapping[str, Painter],
    vgg: VGGFeatures,
    grams: Mapping[str, Grams | None],
    show: Callable[[Mapping[str, Tensor]], None] = lambda frames: None,
) -> dict[str, Numbers]:
    """Returns the `METRICS` of each painter, and of the clip itself under the name "input".

    Painted frames are rounded to 8 bits first, as they are seen. Pairs across a scene cut are left out. Style, content,
    noise and motion are measured at every `PROBE_EVERY`th frame, noise and motion without rounding.

    Args:
        clip: the frames; it is gone through twice.
        painters: by name, each at the clip's first frame.
        vgg: the loss network; everything is computed on its device.
        grams: by painter, the style's; None, or nothing, if the style is unknown.
        show: is given each frame, under "input", and what the painters made of it.
    """
    device = vgg.mean.device
    painters = {"input": Painter(lambda images: images, lambda images: images), **painters}
    values: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in painters}
    still = metrics.static_mask(frame.to(device) for frame in clip)
    before: dict[int, tuple[int, dict[str, Tensor]]] = {}  # by interval: a shot's number, and what is painted there
    shot, last = 0, None
    for number, frame in enumerate(clip):
        frame = frame.to(device)
        shot += last is not None and is_cut(last, frame)
        last = frame
        painted = {name: to_float(to_uint8(painter.paint(frame))) for name, painter in painters.items()}
        for interval in INTERVALS:
            if number % interval:
                continue
            if interval in before and before[interval][0] == shot:
                for name, found in evaluate_pair(before[interval][1], painted, still, interval).items():
                    append(values[name], found)
            before[interval] = shot, painted
        if number % PROBE_EVERY == 0:
            features = vgg(frame, {CONTENT_LAYER, *STYLE_LAYERS})
            for name, painter in painters.items():
                append(values[name], losses(vgg, features, painted[name], grams.get(name)))
                append(values[name], reactions(painter.stylize, frame))
        for name in painters:
            append(values[name], {"contrast": metrics.contrast(painted[name]).item()})
            append(values[name], {"static_share": still.mean().item()})
        show(painted)
    joined = {name: {metric: join(metric, found[metric]) for metric in METRICS} for name, found in values.items()}
    input_flicker = joined["input"]["static_flicker"]
    if input_flicker > STILL_INPUT:
        for found in joined.values():
            found["static_flicker_ratio"] = found["static_flicker"] / input_flicker
    return joined


def evaluate_net(
    net: nn.Module, clips: Iterable[Clip], vgg: VGGFeatures, grams: Grams | None, norm: str = "frame"
) -> Numbers:
    """Returns a net's `METRICS`, means over the clips: the numbers of `python -m fastnst.evaluate`.

    The input's own values are those of `nn.Identity()`.

    Args:
        net: the net, in evaluation mode, where `vgg` is.
        clips: of frames, as `clip.split(1)` makes them of a (T, 3, H, W) tensor.
        vgg: the loss network.
        grams: `style_grams` of the style picture, or None.
        norm: "frame" or "shot".
    """
    return mean([evaluate_clip(clip, {"": net_painter(net, norm)}, vgg, {"": grams})[""] for clip in clips])


def mean(clips: Sequence[Mapping[str, float]]) -> Numbers:
    """Returns the `METRICS`, means over the clips that have a value."""
    return {metric: join("", [numbers[metric] for numbers in clips]) for metric in METRICS}


def evaluate_pair(
    frames: Mapping[str, Tensor], next_frames: Mapping[str, Tensor], still: Tensor, interval: int
) -> dict[str, Numbers]:
    """Returns what changes between two frames of each painter, along the flow of the input."""
    flow = dis_flow(frames["input"], next_frames["input"])
    mask = occlusion_mask(flow, dis_flow(next_frames["input"], frames["input"]))
    found = {}
    for name, frame in frames.items():
        found[name] = {
            f"{metric}_{interval}": function(frame, next_frames[name], flow, mask).item()
            for metric, function in ALONG_FLOW.items()
        }
        if interval == 1:
            found[name]["static_flicker"] = metrics.static_flicker(frame, next_frames[name], still).item()
    return found


def losses(vgg: VGGFeatures, content: Mapping[str, Tensor], painted: Tensor, grams: Grams | None) -> Numbers:
    """Returns what `metrics.style_and_content_loss` has for a frame, and the style loss of the input itself.

    The input's features, `content`, are shared by all painters.
    """
    features = vgg(painted, {CONTENT_LAYER, *(grams or ())})
    found = {"content_loss": content_loss(features[CONTENT_LAYER], content[CONTENT_LAYER]).item()}
    if grams:
        found["style_loss"] = style_loss(features, grams).item()
        found["style_loss_input"] = style_loss(content, grams).item()
    return found


def reactions(stylize: Stylize | None, frame: Tensor) -> Numbers:
    """Returns noise gains and motion errors at a frame; nothing for a clip that is stylized already."""
    found = {}
    if stylize is None:
        return found
    stylized = stylize(frame)

    def known(images: Tensor) -> Tensor:  # each metric asks for the frame itself again
        return stylized if images is frame else stylize(images)

    for sigma in SIGMAS:
        gain = metrics.noise_gain(known, frame, sigma / 255, torch.Generator().manual_seed(0))
        found[f"noise_gain_{sigma}"] = gain.item()
    for motion, (error, floor) in metrics.motion_error(known, frame).items():
        found |= {f"motion_error_{motion}": error.item(), f"motion_floor_{motion}": floor.item()}
    return found


def append(lists: dict[str, list[float]], found: Numbers) -> None:
    """Appends each number to the list of its name."""
    for name, value in found.items():
        lists[name].append(value)


def join(metric: str, values: Sequence[float]) -> float:
    """Returns one number for many: the mean, for stability errors the root of the mean square; NaN if none is known."""
    measured = [value for value in values if not math.isnan(value)]
    if not measured:
        return math.nan
    return math.sqrt(fmean(value**2 for value in measured)) if "stability" in metric else fmean(measured)
