"""Judges what was made of clips: what `fastnst.metrics` measures, joined to one number per clip.

All contenders go through a clip side by side, frame by frame, so that the optical flow is computed once and a clip of
any length fits the memory.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from fastnst import metrics
from fastnst.flow import dis_flow, farneback_flow, occlusion_mask
from fastnst.images import to_float, to_uint8
from fastnst.losses import content_loss, gram_matrix, style_loss
from fastnst.metrics import Stylize
from fastnst.shots import is_cut
from fastnst.vgg import VGGFeatures

INTERVALS = (1, 10)  # frames between the two of a pair; at 10 the pairs are 0-10, 10-20, ...: the clip in fast motion
PROBE_EVERY = 16  # frames between those at which noise, motion, style and content are measured
SIGMAS = (1, 2, 4, 8)  # of the noise, grey levels
STILL_INPUT = 0.01  # grey levels; where the input changes less, a clip's ratio to it says nothing
CONTENT_LAYER, STYLE_LAYERS = "relu2_2", ("relu1_2", "relu2_2", "relu3_3", "relu4_3")  # as in conf/train.yaml
FLOWS = {"farneback": farneback_flow, "dis": dis_flow}  # the first judges best: nothing is stylized along it

ALONG_FLOW = {
    "warping_error": metrics.warping_error,
    "absolute_warping_error": metrics.mean_absolute_warping_error,
    "stability_error": metrics.stability_error,
}
STATIC = ("static_share", "static_flicker", "static_flicker_ratio", "static_changed")  # of fixed cameras only
METRICS = (
    "camera_motion", *STATIC,
    *(f"{name}_{interval}" for name in ALONG_FLOW for interval in INTERVALS),
    *(f"noise_gain_{sigma}" for sigma in SIGMAS),
    *(f"motion_{what}_{motion}" for what in ("error", "floor") for motion in metrics.MOTIONS),
    "style_loss", "style_loss_input", "content_loss", "contrast",
)  # fmt: skip

Clip = Iterable[Float[Tensor, "1 3 height width"]]  # frames in [0, 1]; it can be gone through more than once
Grams = Mapping[str, Float[Tensor, "1 channels channels"]]  # of the style picture, by layer
Numbers = dict[str, float]  # by metric; NaN where nothing could be measured


class Rendition(NamedTuple):
    """What a contender makes of one clip, from its first frame on.

    Attributes:
        next_frame: takes the clip's frames one after the other, returns them stylized.
        probe: stylizes any picture as if it came next, and forgets it; None for clips that are stylized already.
    """

    next_frame: Stylize
    probe: Stylize | None


@torch.no_grad()
def style_grams(vgg: VGGFeatures, picture: Float[Tensor, "3 height width"]) -> Grams:
    """Returns the Gram matrices of a style picture at `STYLE_LAYERS`."""
    features = vgg(picture[None].to(vgg.mean.device), STYLE_LAYERS)
    return {layer: gram_matrix(each) for layer, each in features.items()}


@torch.no_grad()
def evaluate_clip(
    clip: Clip,
    renditions: Mapping[str, Rendition],
    vgg: VGGFeatures,
    grams: Mapping[str, Grams | None],
    show: Callable[[Mapping[str, Tensor]], None] = lambda frames: None,
    flow: str = "farneback",
) -> dict[str, Numbers]:
    """Returns the `METRICS` of each rendition, and of the clip itself under the name "input".

    Stylized frames are rounded to 8 bits first, as they are seen. Pairs across a scene cut are left out. Style,
    content, noise and motion are measured at every `PROBE_EVERY`th frame, noise and motion without rounding.

    Args:
        clip: the frames; it is gone through twice.
        renditions: by name, each at the clip's first frame.
        vgg: the loss network; everything is computed on its device.
        grams: by rendition, the style's; None, or nothing, if the style is unknown.
        show: is given each frame, under "input", and what the renditions made of it.
        flow: one of `FLOWS`, along which frames are compared.
    """
    device = vgg.mean.device
    renditions = {"input": Rendition(lambda images: images, lambda images: images), **renditions}
    values: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in renditions}
    still = metrics.static_mask(frame.to(device) for frame in clip)
    speeds: dict[int, list[float]] = {interval: [] for interval in INTERVALS}
    before: dict[int, tuple[int, dict[str, Tensor]]] = {}  # by interval: a shot's number, and the frames there
    shot, last = 0, None
    for number, frame in enumerate(clip):
        frame = frame.to(device)
        shot += last is not None and is_cut(last, frame)
        last = frame
        stylized = {name: to_float(to_uint8(each.next_frame(frame))) for name, each in renditions.items()}
        for interval in INTERVALS:
            if number % interval:
                continue
            if interval in before and before[interval][0] == shot:
                speed, of_pair = evaluate_pair(before[interval][1], stylized, still, interval, flow)
                speeds[interval].append(speed)
                for name, found in of_pair.items():
                    append(values[name], found)
            before[interval] = shot, stylized
        if number % PROBE_EVERY == 0:
            features = vgg(frame, {CONTENT_LAYER, *STYLE_LAYERS})
            for name, rendition in renditions.items():
                append(values[name], losses(vgg, features, stylized[name], grams.get(name)))
                append(values[name], reactions(rendition.probe, frame))
        for name in renditions:
            append(values[name], {"contrast": metrics.contrast(stylized[name]).item()})
        show(stylized)
    return joined(values, speeds, still)


def joined(
    values: Mapping[str, Mapping[str, Sequence[float]]], speeds: Mapping[int, Sequence[float]], still: Tensor
) -> dict[str, Numbers]:
    """Returns one number for each metric of each rendition.

    Args:
        values: by rendition and metric.
        speeds: of the camera, pixels per frame, by interval; the longest interval counts, as it sees slow motion too.
        still: the input's static mask; if the camera moves, what it holds is chance, and no figure is taken from it.
    """
    speed = next((join("", speeds[interval]) for interval in reversed(INTERVALS) if speeds[interval]), math.nan)
    of_clip = {"camera_motion": speed, "static_share": still.mean().item()}
    found = {
        name: {metric: join(metric, own.get(metric, ())) for metric in METRICS} | of_clip
        for name, own in values.items()
    }
    input_flicker = found["input"]["static_flicker"]
    for numbers in found.values():
        if speed > metrics.FIXED_CAMERA:
            numbers.update(dict.fromkeys(STATIC, math.nan))
        elif input_flicker > STILL_INPUT:
            numbers["static_flicker_ratio"] = numbers["static_flicker"] / input_flicker
    return found


def mean(clips: Sequence[Mapping[str, Any]], inputs: Sequence[Mapping[str, Any]]) -> Numbers:
    """Returns the `METRICS`, means over the clips that have a value.

    The ratio is that of the two means, so that a clip whose input does not change at all counts too.

    Args:
        clips: of one contender.
        inputs: of the same clips, the input's own.
    """
    found = {metric: join("", [numbers[metric] for numbers in clips]) for metric in METRICS}
    of_input = join("", [numbers["static_flicker"] for numbers in inputs])
    found["static_flicker_ratio"] = found["static_flicker"] / of_input if of_input > STILL_INPUT else math.nan
    return found


def evaluate_pair(
    frames: Mapping[str, Tensor], next_frames: Mapping[str, Tensor], still: Tensor, interval: int, flow: str
) -> tuple[float, dict[str, Numbers]]:
    """Returns the camera's speed, pixels per frame, and what changes between two frames of each rendition.

    Frames are compared along the flow of the input.
    """
    find_flow = FLOWS[flow]
    forward = find_flow(frames["input"], next_frames["input"])
    mask = occlusion_mask(forward, find_flow(next_frames["input"], frames["input"]))
    found = {}
    for name, frame in frames.items():
        found[name] = {
            f"{metric}_{interval}": function(frame, next_frames[name], forward, mask).item()
            for metric, function in ALONG_FLOW.items()
        }
        if interval == 1:
            found[name]["static_flicker"] = metrics.static_flicker(frame, next_frames[name], still).item()
            found[name]["static_changed"] = metrics.static_change_share(frame, next_frames[name], still).item()
    return metrics.camera_motion(frames["input"], forward).item() / interval, found


def losses(vgg: VGGFeatures, content: Mapping[str, Tensor], stylized: Tensor, grams: Grams | None) -> Numbers:
    """Returns the content loss and the style loss of a frame, unweighted, and the style loss of the input itself.

    A grey output has a style loss of 0.96 to 0.99 (four style pictures), as it has next to none of the style's
    correlations; noise and wrong colours have more.

    Args:
        vgg: the loss network.
        content: the input's features, which serve all renditions.
        stylized: the frame.
        grams: the style's; None if it is unknown: then there is no style loss.
    """
    features = vgg(stylized, {CONTENT_LAYER, *(grams or ())})
    found = {"content_loss": content_loss(features[CONTENT_LAYER], content[CONTENT_LAYER]).item()}
    if grams:
        found["style_loss"] = style_loss(features, grams).item()
        found["style_loss_input"] = style_loss(content, grams).item()
    return found


def reactions(probe: Stylize | None, frame: Tensor) -> Numbers:
    """Returns noise gains and motion errors at a frame; nothing for a clip that is stylized already."""
    found = {}
    if probe is None:
        return found
    stylized = probe(frame)

    def known(images: Tensor) -> Tensor:  # each metric asks for the frame itself again
        return stylized if images is frame else probe(images)

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
