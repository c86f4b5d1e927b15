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

from fastnst.evaluate.judge import METRICS, SIGMAS, mean
from fastnst.files import replaced
from fastnst.images import to_array
from fastnst.metrics import MOTIONS
from fastnst.video.silent import silent_clip

TABLES = {  # heading, and by column the metric and its decimals; the files have all of `METRICS`
    "How still it holds": {
        "still": ("static_share", 2), "static": ("static_flicker", 3), "/ input": ("static_flicker_ratio", 2),
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
still: share of the pixels that hold still in the input; flat areas do, whatever the camera does. static: change from
frame to frame there. warp: change along the motion, over 1 and 10 frames.
shift, rotation, zoom: motion error. contrast: deviation of the pixels. All these are in grey levels. Lai, stab:
warping and stability error, of [0, 1]. noise: gain for noise of so many grey levels. style, content: losses; of input:
the style loss of the frames as they came. -: not measured. mean: over the clips that have the number, of each clip's
own ratio too. What is flatter is steadier: compare at one style loss."""

COLOURS = ("#1b6ca8", "#c8321e", "#2e8b57", "#8a4fa3", "#b8860b", "#444444")  # of the plot, one for each style
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 520, 70, 24, 40, 64  # of the plot and its margins, pixels
SMALL, LARGE = ImageFont.load_default(13), ImageFont.load_default(16)

Row = dict[str, Any]  # "net", "clip", and a number for each of `METRICS`, NaN where nothing could be measured
Show = Callable[[Mapping[str, Tensor]], None]


def means(rows: Sequence[Row]) -> list[Row]:
    """Returns a row for each net, with "mean" for the clip: the means over the clips that have a value."""
    names = dict.fromkeys(row["net"] for row in rows)
    return [{"net": name, "clip": "mean", **mean([row for row in rows if row["net"] == name])} for name in names]


def tables(rows: Sequence[Row]) -> str:
    """Returns the tables, in Markdown that reads well as it is."""
    texts = []
    for heading, columns in TABLES.items():
        body = [
            [row["net"], row["clip"], *(shown(row[metric], digits) for metric, digits in columns.values())]
            for row in rows
        ]
        texts.append(f"{heading}\n\n{aligned([['net', 'clip', *columns], *body])}\n")
    return "\n".join([*texts, LEGEND])


def aligned(cells: Sequence[Sequence[str]], names: int = 2) -> str:
    """Returns a Markdown table: the first row is its head, the first columns are names, the others numbers.

    >>> print(aligned([["net", "error"], ["wave", "0.1"]], names=1))
    | net  | error |
    |------|------:|
    | wave |   0.1 |
    """
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rule = ["-" * (width + 2) if number < names else "-" * (width + 1) + ":" for number, width in enumerate(widths)]
    lines = [
        [f" {text.ljust(width) if number < names else text.rjust(width)} " for number, (text, width) in enumerate(line)]
        for line in (list(zip(row, widths, strict=True)) for row in cells)
    ]
    return "\n".join(f"|{'|'.join(line)}|" for line in [lines[0], rule, *lines[1:]])


def shown(value: float, digits: int) -> str:
    """Returns a number as the tables have it."""
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def write_results(folder: Path, rows: Sequence[Row], settings: Mapping[str, Any]) -> None:
    """Writes results.csv and results.json: the same numbers, to six digits, empty or null where there is none."""
    plain = [row | {name: rounded(row[name]) for name in METRICS} for row in rows]
    with replaced(folder / "results.json") as part:
        part.write_text(json.dumps({"settings": settings, "rows": plain}, indent=1), encoding="utf-8")
    with replaced(folder / "results.csv") as part, open(part, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["net", "clip", *METRICS])
        writer.writeheader()
        writer.writerows(plain)


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
    ImageDraw.Draw(image).text((6, 4), name, "white", LARGE, stroke_width=2, stroke_fill="black")
    return np.asarray(image)


def front(rows: Sequence[Row], styles: Mapping[str, str]) -> Image.Image:
    """Returns the plot of style loss against warping error, means over the clips; the best nets are at the lower left.

    Args:
        rows: of all nets, and of the input, whose own error is a line; nets without a style loss are left out.
        styles: by net, the style's name, which has a colour of its own: style losses compare within a style.
    """
    of_net = {row["net"]: row for row in rows if row["clip"] == "mean"}
    floor = of_net["input"]["absolute_warping_error_1"]
    points = {
        name: (row["style_loss"], row["absolute_warping_error_1"])
        for name, row in of_net.items()
        if name in styles and not math.isnan(row["style_loss"] + row["absolute_warping_error_1"])
    }
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    draw.text((LEFT, 12), "warping error over 1 frame, grey levels", "#222222", SMALL)
    draw.text((WIDTH - RIGHT, HEIGHT - 26), "style loss", "#222222", SMALL, anchor="ra")
    if not points or math.isnan(floor):
        draw.text((WIDTH / 2, HEIGHT / 2), "no style loss or no warping error is known", "#222222", LARGE, anchor="mm")
        return image
    across = [x for x, _ in points.values()]
    margin = 0.15 * (max(across) - min(across)) or 0.1 * max(across)
    low, high = max(0.0, min(across) - margin), max(across) + 2 * margin  # names stand at the right of the points
    top = 1.1 * max(floor, *(y for _, y in points.values()))

    def place(x: float, y: float) -> tuple[float, float]:
        right, up = (x - low) / (high - low), y / top
        return LEFT + (WIDTH - LEFT - RIGHT) * right, HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * up

    for x in ticks(low, high):
        draw.line([place(x, 0), place(x, top)], "#eeeeee")
        draw.text((place(x, 0)[0], HEIGHT - BOTTOM + 8), f"{x:.3g}", "#555555", SMALL, anchor="ma")
    for y in ticks(0, top):
        draw.line([place(low, y), place(high, y)], "#eeeeee")
        draw.text((LEFT - 8, place(low, y)[1]), f"{y:.3g}", "#555555", SMALL, anchor="rm")
    draw.line([place(low, top), place(low, 0), place(high, 0)], "#777777")
    (start, y), (end, _) = place(low, floor), place(high, floor)
    for dash in range(int(start), int(end), 10):
        draw.line([(dash, y), (dash + 5, y)], "#222222")
    draw.text((end, y - 4), "the input itself", "#222222", SMALL, anchor="rd")
    colours = dict(zip(dict.fromkeys(styles[name] for name in points), COLOURS * len(points), strict=False))
    dots = [place(*point) for point in points.values()]
    taken = [(x - 6, x + 6, y) for x, y in dots]  # by points and the names so far: left, right, middle
    for name, point in points.items():
        (x, y), colour, wide = place(*point), colours[styles[name]], draw.textlength(name, SMALL)
        draw.ellipse([x - 5, y - 5, x + 5, y + 5], colour)
        left = x + 10 if x + 10 + wide < WIDTH else x - 10 - wide
        for offset in sorted(range(-HEIGHT, HEIGHT, 8), key=abs):  # beside its point, or at the next free place
            free = all(
                abs(y + offset - middle) > 14 or left > end or left + wide < start for start, end, middle in taken
            )
            if free and TOP < y + offset < HEIGHT - BOTTOM:
                break
        taken.append((left, left + wide, y + offset))
        if abs(offset) > 8:
            draw.line([(x, y), (left if left > x else left + wide, y + offset)], "#bbbbbb")
        draw.text((left, y + offset), name, colour, SMALL, anchor="lm")
    return image


def ticks(low: float, high: float) -> list[float]:
    """Returns the round numbers between two numbers, four to nine of them.

    >>> ticks(0, 5.2), ticks(0.2, 0.23)
    ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], [0.2, 0.205, 0.21, 0.215, 0.22, 0.225, 0.23])
    """
    power = 10.0 ** math.floor(math.log10(high - low))
    step = next(step for step in (power / 5, power / 2, power, 2 * power) if (high - low) / step < 9)
    first, last = math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)
    return [round(number * step, 10) for number in range(first, last + 1)]
