"""How still the four nets hold that ship: PYTHONPATH=. python benchmarks/stillness.py CLIP...

The tables replace those between the marks in checkpoints/README.md. Judged as `fastnst evaluate` does, along
Farneback's flow, without its probes for noise and motion: without `smooth`, and with it as a render has it.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import fill

import torch
from speed import write_table

from fastnst.cli import table
from fastnst.evaluate.contenders import Contender, find_clips, find_contenders
from fastnst.evaluate.judge import Rendition
from fastnst.evaluate.report import Row, decimal, means, means_over
from fastnst.evaluate.verdict import measure
from fastnst.metrics import VISIBLE_CHANGE
from fastnst.progress import Progress
from fastnst.settings import EvaluateSettings, LookSettings
from fastnst.vgg import load_vgg

NETS = ("clouds", "liechtenstein", "picasso", "wave")
PAGE = Path(__file__).parent.parent / "checkpoints" / "README.md"
FRAMES = 16
NOT_USED = (  # in a training, or in a choice of a net
    "static_cars_flat_road", "static_coffee_720p", "static_bottles_flat_wall", "static_blocks_720p",
    "move_apple_720p", "hand_pillow_portrait",
)  # fmt: skip
MOST_TIMES, MOST_LEVELS = 1.5, 0.5  # the aim: no more change than one of the two, times the input's, grey levels
COLUMNS = {  # by heading: the metric and its decimals
    "static": ("static_flicker", 3), "/ input": ("static_flicker_ratio", 2), "seen": ("static_changed", 3),
    "warp - input": ("above_input", 2), "style loss": ("style_loss", 3), "content loss": ("content_loss", 2),
    "contrast": ("contrast", 0),
}  # fmt: skip
WARP = "absolute_warping_error_1"
ABOUT = (
    "The first {frames} frames of {clips} clips, longer side {side} px, norm={norm}, texture {texture:g}, "
    "torch {torch}. Means over the clips; `static`, `/ input` and `seen` over the {fixed} of a fixed camera. `static`: "
    "change from frame to frame where the input holds still, grey levels; `/ input`: how many times the input's; "
    "`seen`: share of those pixels that change by more than {visible:g} levels; `warp - input`: change along the "
    "motion, by Farneback's flow, above the input's own, which is {warp:.2f} levels. A flat picture is a steady one: "
    "compare nets of one style."
)
BY_CLIP = (
    "{start} clip, grey levels: of a fixed camera `static`, and how many times the input's; of a moving one "
    "`warp - input`, and the input's own. A clip that is not marked was in no training, and no net was chosen by it. "
    "At most {times:g} times the input's `static`, or {levels:g} levels, on those of a fixed camera: {met}."
)
RENDERED = "The same with smooth={smooth:g}, as a render has it by default:"


def unprobed(contender: Contender) -> Contender:
    """Returns the contender without what costs most time: its answers to noise and to motion."""

    def start(clip: str) -> Rendition:
        return contender.start(clip)._replace(probe=None)

    return contender._replace(start=start)


def means_table(rows: Sequence[Row]) -> str:
    """Returns the means over clips: a row for each net."""
    found = means(rows)
    body = []
    for row in found:
        row["above_input"] = row[WARP] - found[0][WARP]
        body.append([row["net"], *(decimal(row[metric], digits) for metric, digits in COLUMNS.values())])
    return table([["net", *COLUMNS], *body])


def clips_table(rows: Sequence[Row]) -> str:
    """Returns a row for each clip: static flicker of a fixed camera, warping error of a moving one."""
    body = []
    for clip in dict.fromkeys(row["clip"] for row in rows):
        of_input, *of_nets = [row for row in rows if row["clip"] == clip]
        fixed = not math.isnan(of_input["static_flicker"])
        cells = [clip, "fixed" if fixed else "moves", "" if clip in NOT_USED else "yes"]
        cells.append(decimal(of_input["static_flicker" if fixed else WARP], 2))
        for row in of_nets:
            times = row["static_flicker_ratio"]
            ratio = "" if math.isnan(times) else f" ({times:.1f}x)"
            cells.append(f"{row['static_flicker']:.2f}{ratio}" if fixed else f"{row[WARP] - of_input[WARP]:.2f}")
        body.append(cells)
    return table([["clip", "camera", "used before", "input", *NETS], *sorted(body, key=lambda cells: cells[1:3])])


def aim_met(rows: Sequence[Row]) -> str:
    """Returns on how many of the clips that were not used before each net holds as still as was aimed at."""
    found = []
    for net in NETS:
        flickers = [
            (row["static_flicker"], row["static_flicker_ratio"])
            for row in rows
            if row["net"] == net and row["clip"] in NOT_USED and not math.isnan(row["static_flicker"])
        ]
        held = sum(levels <= MOST_LEVELS or times <= MOST_TIMES for levels, times in flickers)
        found.append(f"{net} on {held} of {len(flickers)}")
    return ", ".join(found)


def main() -> None:
    """Measures, and writes the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("clips", nargs="+", help="files or folders")
    options = parser.parse_args()
    settings = EvaluateSettings(ckpt=NETS, videos=tuple(options.clips), frames=FRAMES)
    rendered = replace(settings, smooth=LookSettings().smooth)
    clips, vgg, found = find_clips(options.clips), load_vgg("auto"), []
    for each in (settings, rendered):
        contenders = [unprobed(net) for net in find_contenders(each, vgg, clips)]
        with Progress("frame") as progress:
            found.append(measure(each, clips, contenders, vgg, None, lambda done: progress(done, FRAMES * len(clips))))
    rows, rendered_rows = found
    about = ABOUT.format(
        frames=FRAMES,
        clips=len(clips),
        side=settings.max_side,
        norm=settings.norm,
        texture=settings.texture,
        torch=torch.__version__,
        fixed=len(means_over(rows)["static_flicker"]),
        visible=VISIBLE_CHANGE,
        warp=means(rows)[0][WARP],
    )
    said = RENDERED.format(smooth=rendered.smooth)
    lines = [fill(about, 120), "", means_table(rows), "", said, "", means_table(rendered_rows)]
    for each, of in (("Without smooth, by", rows), ("As rendered, by", rendered_rows)):
        by_clip = BY_CLIP.format(start=each, times=MOST_TIMES, levels=MOST_LEVELS, met=aim_met(of))
        lines += ["", fill(by_clip, 120), "", clips_table(of)]
    write_table("how still", lines, PAGE)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
