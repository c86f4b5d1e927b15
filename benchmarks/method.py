"""The method of 2016 beside the nets, on a clip of a fixed camera: PYTHONPATH=. python benchmarks/method.py CLIP.

Each arm stylizes the first frames of the clip: every frame by itself, both forms of the report of 2019 and Ruder's form
of the stabilization loss, each by as many evaluations, and the nets. Flicker, warping error, style and content loss are
those of `fastnst evaluate`, but the losses are means over all frames; nothing is encoded in between. The table replaces
the one between the markers in RESULTS.md.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from time import process_time

import numpy as np
import torch
from speed import write_table
from torch import Tensor

from fastnst.cli import table
from fastnst.evaluate.judge import CONTENT_LAYER, STYLE_LAYERS, Rendition, evaluate_clip, losses, style_grams
from fastnst.images import load_style, save_image, to_array, to_float, to_tensor, to_uint8
from fastnst.optimize.picture import Method
from fastnst.optimize.video import FrameStore, optimize_frame, order, unpack
from fastnst.settings import LookSettings, OptimizeSettings, StyleSettings
from fastnst.stylizer import Stylizer
from fastnst.vgg import load_vgg
from fastnst.video.reader import VideoReader

ARMS = {
    "each frame by itself": {"stabilize": "none"},
    "report: result of the frame before": {"stabilize": "final"},
    "report: same round of the frame before": {"stabilize": "iteration"},
    "Ruder": {"stabilize": "ruder"},
}
COLUMNS = {"static": "static_flicker", "warp 1": "absolute_warping_error_1", "contrast": "contrast"}
HEAD = ["arm", "weight", *COLUMNS, "style", "content", "processor, s a frame"]
Arm = tuple[str, str, list[Tensor], float]  # name, weight, frames, seconds a frame


def optimized(options: argparse.Namespace) -> Iterator[Arm]:
    """Yields each arm of the method of 2016."""
    with VideoReader(options.clip) as reader:
        end = str(float((options.frames - 0.5) / reader.frame_rate))
    runs = [
        (name, weight) for name in ARMS for weight in (options.weights if ARMS[name]["stabilize"] != "none" else [0.0])
    ]
    for name, weight in runs:
        given = {"content": str(options.clip), "end": end, "rows": options.rows, "rounds": options.rounds, "threads": 1}
        style = StyleSettings(name=options.style)
        looks = {"network": options.network, "temporal_weight": weight, "style": style}
        settings = OptimizeSettings.of({**given, **looks, **ARMS[name]})
        method, begun = Method.load(settings), process_time()
        with tempfile.TemporaryDirectory() as folder:
            frames = FrameStore(Path(folder), torch.device("cpu"))
            count = unpack(settings, frames)
            for turn, number, direction in order(count, 1):
                optimize_frame(method, frames, turn, number, direction, lambda done, loss: None)
            made = [frames.read("pass1", number) for number in range(count)]
            content = [frames.read("content", number) for number in range(count)]
        if name == next(iter(ARMS)):
            yield "input", "-", content, float("nan")
        print(name, weight, flush=True)
        yield name, f"{weight:g}" if weight else "-", made, (process_time() - begun) / count


def stylized(options: argparse.Namespace, content: list[Tensor]) -> Iterator[Arm]:
    """Yields each net."""
    for name in options.nets:
        stylizer = Stylizer.load(name, "cpu")
        stream, begun = stylizer.stream(LookSettings(smooth=0.0)), process_time()
        made = [to_float(stylizer.frames(to_uint8(frame), stream)) for frame in content]
        yield f"net {name}", "-", made, (process_time() - begun) / len(content)


def rows_of(arms: list[Arm], style: str, network: str) -> list[list[str]]:
    """Returns a row of the table for each arm; the first arm is the input."""
    vgg, content = load_vgg(), arms[0][2]
    grams = style_grams(vgg, to_tensor(load_style(style, StyleSettings().size)))

    def rendition(made: list[Tensor]) -> Rendition:
        frames = iter(made)
        return Rendition(lambda _: next(frames), None)

    keys = [f"{name} {weight}" for name, weight, *_ in arms]
    renditions = {key: rendition(arm[2]) for key, arm in zip(keys[1:], arms[1:], strict=True)}
    found = evaluate_clip(content, renditions, vgg, dict.fromkeys(renditions, grams))
    rows = []
    for key, (name, weight, made, seconds) in zip(["input", *keys[1:]], arms, strict=True):
        with torch.no_grad():
            each = [
                losses(vgg, vgg(frame, {CONTENT_LAYER, *STYLE_LAYERS}), own, grams)
                for frame, own in zip(content, made, strict=True)
            ]
        means = [fmean(one[kind] for one in each) for kind in ("style_loss", "content_loss")]
        numbers = [f"{found[key][metric]:.2f}" for metric in COLUMNS.values()]
        rate = "-" if seconds != seconds else f"{seconds:.2g}"
        rows.append([name, weight, *numbers, *(f"{mean:.3f}" for mean in means), rate])
    return rows


def main() -> None:
    """Measures all arms on a clip and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--style", default="picasso")
    parser.add_argument("--nets", nargs="*", default=["picasso", "picasso-lite"])
    parser.add_argument("--network", default="vgg19", choices=("vgg19", "vgg16"))
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--rows", type=int, default=144)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--weights", type=float, nargs="*", default=[1.0], help="of the stabilization loss")
    parser.add_argument("--picture", type=Path, help="two frames of every arm, below each other")
    options = parser.parse_args()
    arms = list(optimized(options))
    arms += stylized(options, arms[0][2])
    height, width = arms[0][2][0].shape[2:]
    about = (
        f"{options.clip.name}, {options.frames} frames at {width}x{height}, {options.style}, {options.network}, "
        f"preset=report, {options.rounds} rounds of 20 evaluations a frame, 1 thread, torch {torch.__version__}."
    )
    write_table(
        f"method {options.clip.stem}", [about, "", table([HEAD, *rows_of(arms, options.style, options.network)])]
    )
    if options.picture:
        strips = [np.concatenate([to_array(made[at][0]) for _, _, made, _ in arms], 1) for at in (0, -1)]
        save_image(np.concatenate(strips), options.picture)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
