"""A run's loss curve, as a table and a picture: python benchmarks/curve.py runs/picasso/metrics.jsonl curve.png."""

from __future__ import annotations

import itertools
import json
import statistics
import sys
from pathlib import Path

from PIL import Image, ImageDraw

LOSSES = {"content_loss": "#1b6ca8", "style_loss": "#c8321e", "tv_loss": "#7a7a7a", "temporal_loss": "#2e8b57"}
WIDTH, PANEL, MARGIN = 760, 150, 56  # pixels: of the picture, of each loss's panel, beside it for the numbers
ROWS = 10  # of the table


def main() -> None:
    """Prints the table, writes the picture."""
    lines = [json.loads(line) for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()]
    train = [line for line in lines if "train/loss" in line]
    last = train[-1]["step"] + 1
    names = [name for name in LOSSES if any(f"train/{name}" in line for line in train)]

    print("| steps | " + " | ".join(name.replace("_", " ") for name in names) + " |")
    print("|---|" + "---|" * len(names))
    edges = [round(last * row / ROWS) for row in range(ROWS + 1)]
    for start, end in itertools.pairwise(edges):
        part = [line for line in train if start <= line["step"] < end]
        means = [statistics.mean(line[f"train/{name}"] for line in part) for name in names]
        print(f"| {start}-{end} | " + " | ".join(f"{mean:.4f}" for mean in means) + " |")

    picture = Image.new("RGB", (WIDTH, PANEL * len(names) + 24), "white")
    draw = ImageDraw.Draw(picture)
    for row, name in enumerate(names):
        points = [(line["step"], line[f"train/{name}"]) for line in train]
        values = sorted(value for _, value in points)
        top = values[min(len(values) - 1, int(0.99 * len(values)))]  # a single spike must not flatten the rest
        left, bottom, height = MARGIN, PANEL * (row + 1) - 8, PANEL - 32

        def place(step: float, value: float, top: float = top, bottom: int = bottom, height: int = height) -> tuple:
            return MARGIN + (WIDTH - MARGIN - 12) * step / last, bottom - height * min(value / top, 1.05)

        draw.line([(left, bottom - height), (left, bottom), (WIDTH - 12, bottom)], fill="#999999")
        draw.line([place(*point) for point in points], fill=LOSSES[name], width=2)
        draw.text((left + 6, bottom - height - 14), name.replace("_", " "), fill=LOSSES[name])
        draw.text((4, bottom - height - 4), f"{top:.3g}", fill="#555555")
        draw.text((4, bottom - 8), "0", fill="#555555")
    draw.text((MARGIN, picture.height - 16), "step 0", fill="#555555")
    draw.text((WIDTH - 60, picture.height - 16), str(last), fill="#555555")
    picture.save(sys.argv[2])


if __name__ == "__main__":
    main()
