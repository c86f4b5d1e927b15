"""The lite nets beside their teachers: PYTHONPATH=. python benchmarks/lite.py CLIP... [--nets picasso wave].

A row for each net: size, work, speed on each engine that is installed, losses, and how still it holds on the clips: 16
frames of each, longer side 384 px. Flicker is measured on the clips whose camera is fixed, everything else on all. The
table replaces the one between the markers in RESULTS.md.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import fmean

import torch
from speed import engines, measured_ms, picture_in_motion, stream_arm, write_table
from torch.utils.flop_counter import FlopCounterMode

from fastnst.checkpoint import Checkpoint, load_checkpoint
from fastnst.evaluate.contenders import ClipFile, net_rendition
from fastnst.evaluate.judge import STYLE_LAYERS, Numbers, evaluate_clip, style_grams
from fastnst.images import load_style, to_tensor
from fastnst.net import PRESETS, StylizationNet
from fastnst.settings import LookSettings
from fastnst.vgg import load_vgg

STYLES = ("clouds", "liechtenstein", "picasso", "wave")
HEIGHT, WIDTH, SIDE, FRAMES = 360, 640, 384, 16  # the first two for speed, the others for quality
WARP = "absolute_warping_error_1"
QUALITY = ("style_loss", "content_loss", "static_flicker", "static_flicker_ratio", WARP)


def preset_of(net: StylizationNet) -> str:
    """Returns the name of the net's preset."""
    return next(name for name, channels in PRESETS.items() if list(channels) == list(net.settings["channels"]))


@torch.no_grad()
def kmac_per_pixel(net: StylizationNet) -> float:
    """Returns the thousands of multiply-adds that a pixel takes."""
    with FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 3, 256, 256))
    return counter.get_total_flops() / 2 / 256**2 / 1000


def quality(nets: Mapping[str, Checkpoint], clips: Iterable[Path]) -> dict[str, Numbers]:
    """Returns the means over the clips of what `QUALITY` names, by net, the input's among them."""
    vgg = load_vgg("auto", STYLE_LAYERS)
    pictures = {name: load_style(each.style, each.recipe.get("style_size", 384)) for name, each in nets.items()}
    grams = {name: style_grams(vgg, to_tensor(picture)) for name, picture in pictures.items()}
    found: dict[str, list[Numbers]] = {}
    for path in clips:
        renditions = {
            name: net_rendition(each.net, LookSettings(smooth=0.0))._replace(probe=None) for name, each in nets.items()
        }
        for name, numbers in evaluate_clip(ClipFile(path, SIDE, FRAMES), renditions, vgg, grams).items():
            found.setdefault(name, []).append(numbers)
        print(f"judged on {path.stem}", flush=True)
    return {name: {key: mean_of(each[key] for each in of_clips) for key in QUALITY} for name, of_clips in found.items()}


def mean_of(values: Iterable[float]) -> float:
    """Returns the mean of those that are numbers; NaN if none is."""
    measured = [value for value in values if not math.isnan(value)]
    return fmean(measured) if measured else math.nan


def speeds(nets: Mapping[str, Checkpoint]) -> dict[str, dict[str, float]]:
    """Returns frames per second of processor time, by preset and engine; all take turns."""
    of_preset = {preset_of(each.net): each.net for each in nets.values()}
    frames = picture_in_motion(HEIGHT, WIDTH)
    names = {(preset, engine): f"{preset}, {engine}" for preset in of_preset for engine in engines()}
    arms = {name: stream_arm(of_preset[preset], engine, frames) for (preset, engine), name in names.items()}
    times = measured_ms(arms)
    found: dict[str, dict[str, float]] = {preset: {} for preset in of_preset}
    for (preset, engine), name in names.items():
        found[preset][engine] = 1000 / times[name].processor
    return found


def main() -> None:
    """Prints the table, and puts it into RESULTS.md."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--nets", nargs="+", default=[f"{style}{kind}" for style in STYLES for kind in ("", "-lite")])
    options = parser.parse_args()
    nets = {Path(name).stem: load_checkpoint(name) for name in options.nets}
    found, fps = quality(nets, options.clips), speeds(nets)
    of_input = found["input"]
    head = ["net", "preset", "parameters", "kMAC/px", *(f"fps, {engine}" for engine in engines())]
    head += ["style loss", "content loss", "static flicker", "/ input", "warp - input"]
    rows = [head, ["---"] * len(head)]
    for name, each in nets.items():
        own, preset = found[name], preset_of(each.net)
        parameters = sum(weights.numel() for weights in each.net.parameters())
        row = [name, preset, f"{parameters:,}", f"{kmac_per_pixel(each.net):.1f}"]
        row += [f"{fps[preset][engine]:.1f}" for engine in engines()]
        row += [f"{own[key]:.3f}" for key in QUALITY[:3]]
        rows.append([*row, f"{own['static_flicker_ratio']:.2f}", f"{own[WARP] - of_input[WARP]:.2f}"])
    about = (
        f"Frames of {WIDTH}x{HEIGHT} per second of processor time, {torch.get_num_threads()} threads, torch "
        f"{torch.__version__}; losses, flicker and warping error are means over clips: "
        f"{', '.join(path.stem for path in options.clips)}; {FRAMES} frames, longer side {SIDE} px, texture "
        f"{LookSettings().texture:g}. The input's flicker: {of_input['static_flicker']:.3f}, its warping error: "
        f"{of_input[WARP]:.2f} grey levels."
    )
    write_table("lite beside teachers", [about, "", *(f"| {' | '.join(row)} |" for row in rows)])


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
