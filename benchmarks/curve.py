"""A run's loss curve, as a table and a picture: python benchmarks/curve.py runs/picasso/metrics.jsonl curve.png.

The picture takes matplotlib: pip install -e ".[report]".
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
from pathlib import Path

import matplotlib.pyplot as plt

LOSSES = ("content_loss", "structure_loss", "style_loss", "tone_loss", "palette_loss", "tv_loss", "temporal_loss")
ROWS = 10  # of the table


def main() -> None:
    """Prints the table, writes the picture."""
    lines = [json.loads(line) for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()]
    train = [line for line in lines if "train/loss" in line]
    names = [name for name in LOSSES if any(f"train/{name}" in line for line in train)]
    steps = [line["step"] for line in train]

    print("| steps | " + " | ".join(name.replace("_", " ") for name in names) + " |")
    print("|---|" + "---|" * len(names))
    edges = [round((steps[-1] + 1) * row / ROWS) for row in range(ROWS + 1)]
    for start, end in itertools.pairwise(edges):
        part = [line for line in train if start <= line["step"] < end]
        means = [statistics.mean(line[f"train/{name}"] for line in part) for name in names]
        print(f"| {start}-{end} | " + " | ".join(f"{mean:.4f}" for mean in means) + " |")

    figure, _ = plt.subplots(len(names), sharex=True, figsize=(8, 1.6 * len(names)), layout="constrained")
    for panel, name in zip(figure.axes, names, strict=True):
        values = [line[f"train/{name}"] for line in train]
        panel.plot(steps, values)
        panel.set_ylim(0, statistics.quantiles(values, n=100)[-1])  # a single spike must not flatten the rest
        panel.set_ylabel(name.replace("_", " "))
    figure.axes[-1].set_xlabel("step")
    figure.savefig(sys.argv[2])


if __name__ == "__main__":
    main()
