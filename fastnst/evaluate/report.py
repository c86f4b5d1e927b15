"""Shows what `fastnst.evaluate.judge` found: tables, files of numbers, a plot, and clips side by side."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from fastnst.cli import table
from fastnst.evaluate.judge import METRICS, SIGMAS, mean
from fastnst.files import replaced
from fastnst.images import to_array
from fastnst.metrics import FIXED_CAMERA, MOTIONS, VISIBLE_CHANGE
from fastnst.video.silent import silent_clip

TABLES = {  # heading, and by column the metric and its decimals; the files have all of `METRICS`
    "How still it holds": {
        "camera": ("camera_motion", 2), "still": ("static_share", 2), "static": ("static_flicker", 3),
        "/ input": ("static_flicker_ratio", 2), "seen": ("static_changed", 3),
        "warp 1": ("absolute_warping_error_1", 2), "warp 10": ("absolute_warping_error_10", 2),
        "Lai 1": ("warping_error_1", 5), "Lai 10": ("warping_error_10", 5),
        "stab 1": ("stability_error_1", 4), "stab 10": ("stability_error_10", 4),
    },
    "What it makes of noise and motion, and of the style": {
        **{f"noise {sigma}": (f"noise_gain_{sigma}", 2) for sigma in SIGMAS},
        **{motion: (f"motion_error_{motion}", 2) for motion in MOTIONS},
        "style": ("style_loss", 3), "of input": ("style_loss_input", 3), "content": ("content_loss", 3),
        "contrast": ("contrast", 1),
    },
}  # fmt: skip
LEGEND = """\
camera: how far it moves, pixels per frame; above {fixed} it counts as moving, and the clip has no static figures.
still: share of the pixels that hold still in the input. static: how much these change from frame to frame, grey levels.
/ input: how many times the input's own static. seen: share of the still pixels that change by more than {visible:g}.
warp: change along the motion, by {flow} flow, over 1 and 10 frames, grey levels.
Lai, stab: warping and stability error over 1 and 10 frames, of [0, 1].
noise: how many times stronger noise of 1, 2, 4 or 8 grey levels comes out.
shift, rotation, zoom: error under that motion of the camera, grey levels.
style, content: losses. of input: the style loss of the frames before they are stylized.
contrast: deviation of the pixels, grey levels. -: not measured.
{means}
The mean of / input is the mean of static divided by that of the input.
A flat picture is a steady one: compare nets that have the same style loss."""

STYLE_COLOURS = ("#1b6ca8", "#c8321e", "#2e8b57", "#8a4fa3", "#b8860b", "#444444")  # of the plot
NAME_FONT = ImageFont.load_default(16)

Row = dict[str, Any]  # "net", "clip", and a number for each of `METRICS`, NaN where nothing could be measured
Show = Callable[[Mapping[str, Tensor]], None]


def means(rows: Sequence[Row]) -> list[Row]:
    """Returns a row for each net, with "mean" for the clip: the means over the clips that have a value."""
    by_net = {name: [row for row in rows if row["net"] == name] for name in dict.fromkeys(row["net"] for row in rows)}
    return [{"net": name, "clip": "mean", **mean(own, by_net["input"])} for name, own in by_net.items()]


def means_over(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Returns which clips each metric's mean is over: those of the rows on which it could be measured."""
    over = {
        metric: list(dict.fromkeys(row["clip"] for row in rows if not math.isnan(row[metric]))) for metric in METRICS
    }
    return over | {"static_flicker_ratio": over["static_flicker"]}  # a ratio of means


def tables(rows: Sequence[Row], flow: str) -> str:
    """Returns the tables, in Markdown that reads well as it is.

    Args:
        rows: of `means`, and of each clip.
        flow: along which frames were compared.
    """
    texts = []
    for heading, columns in TABLES.items():
        body = [
            [row["net"], row["clip"], *(decimal(row[metric], digits) for metric, digits in columns.values())]
            for row in rows
        ]
        texts.append(f"{heading}\n\n{table([['net', 'clip', *columns], *body])}\n")
    over = means_in_words([row for row in rows if row["clip"] != "mean"])
    legend = LEGEND.format(fixed=FIXED_CAMERA, visible=VISIBLE_CHANGE, flow=flow, means=over)
    return "\n".join([*texts, legend])


def means_in_words(rows: Sequence[Row]) -> str:
    """Returns which columns' means are over which clips, a line for each set of clips."""
    over = means_over(rows)
    groups: dict[tuple[str, ...], list[str]] = {}
    for columns in TABLES.values():
        for column, (metric, _) in columns.items():
            if over[metric]:
                groups.setdefault(tuple(over[metric]), []).append(column)
    ordered = sorted(groups.items(), key=lambda group: len(group[1]))
    lines = [f"Means of {', '.join(columns)}: over {', '.join(clips)}." for clips, columns in ordered[:-1]]
    lines += [f"All {'other ' if lines else ''}means: over {', '.join(clips)}." for clips, _ in ordered[-1:]]
    return "\n".join(lines)


def decimal(value: float, digits: int) -> str:
    """Returns a number as the tables have it."""
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def write_results(folder: Path, rows: Sequence[Row], settings: Mapping[str, Any], styles: Mapping[str, str]) -> None:
    """Writes results.csv, results.json and front.png.

    The first two hold the same numbers, to six digits, empty or null where there is none; the second one the settings
    too, and which clips each mean is over.

    Args:
        folder: where.
        rows: of the clips; those of `means` come before them.
        settings: of the run.
        styles: by net, see `plot_front`.
    """
    with_means = [*means(rows), *rows]
    plain = [row | {name: rounded(row[name]) for name in METRICS} for row in with_means]
    with replaced(folder / "results.json") as part:
        found = {"settings": settings, "means_over": means_over(rows), "rows": plain}
        part.write_text(json.dumps(found, indent=1), encoding="utf-8")
    with replaced(folder / "results.csv") as part, open(part, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["net", "clip", *METRICS])
        writer.writeheader()
        writer.writerows(plain)
    plot_front(with_means, styles, folder / "front.png")


def rounded(value: float) -> float | None:
    """Returns a number to six digits, None for NaN."""
    return None if math.isnan(value) else float(f"{value:.6g}")


@contextmanager
def side_by_side(path: Path | None, frame_rate: Fraction) -> Iterator[Show]:
    """Yields what writes a row of frames, each with its name, to a clip; without a path it does nothing.

    Raises:
        OutputError: the file cannot be written.
    """
    if path is None:
        yield lambda frames: None
        return
    with silent_clip(path, frame_rate) as write:
        yield lambda frames: write(
            np.concatenate([labelled(to_array(frame[0]), name) for name, frame in frames.items()], axis=1)
        )


def labelled(picture: np.ndarray, name: str) -> np.ndarray:
    """Returns a (height, width, 3) picture with its name in the corner."""
    image = Image.fromarray(picture)
    ImageDraw.Draw(image).text((6, 4), name, "white", NAME_FONT, stroke_width=2, stroke_fill="black")
    return np.asarray(image)


def plot_front(rows: Sequence[Row], styles: Mapping[str, str], path: Path) -> None:
    """Writes a plot of style loss against warping error, means over the clips; the best nets are at the lower left.

    Args:
        rows: of `means`, of all nets, and of the input, whose own error is a line; nets without a style loss are left
            out.
        styles: by net, the style's name, which has a colour of its own: style losses compare within a style.
        path: of the picture, .png.

    Raises:
        OutputError: the file cannot be written.
    """
    from matplotlib.figure import Figure  # of the extra `report`

    of_net = {row["net"]: row for row in rows if row["clip"] == "mean"}
    figure = Figure(figsize=(7.6, 5.2), layout="constrained")
    axes = figure.add_subplot(xlabel="style loss", ylabel="warping error over 1 frame, grey levels")
    colours = dict(zip(dict.fromkeys(styles.values()), STYLE_COLOURS * len(styles), strict=False))
    for name, style in styles.items():
        place = of_net[name]["style_loss"], of_net[name]["absolute_warping_error_1"] if name in of_net else math.nan
        if not math.isnan(sum(place)):
            axes.plot(*place, "o", color=colours[style])
            axes.annotate(name, place, (6, 4), textcoords="offset points", color=colours[style])
    floor = of_net["input"]["absolute_warping_error_1"]
    if not math.isnan(floor):
        axes.axhline(floor, color="#222222", linestyle="--", linewidth=1, label="the input itself")
        axes.legend(loc="upper right", frameon=False)
    axes.margins(x=0.15, y=0.1)
    axes.set_ylim(bottom=0)
    axes.grid(color="#eeeeee")
    with replaced(path) as part:
        figure.savefig(part, format="png", dpi=100)
