"""Frames per second of the net alone, by preset and frame size: python benchmarks/speed.py.

The presets alternate, so that a busy machine slows all of them alike; medians are printed.
"""

from __future__ import annotations

import statistics
import time

import torch

from fastnst.net import PRESETS, StylizationNet
from fastnst.stylizer import Stylizer

SIZES = ((360, 640), (720, 1280), (1080, 1920))
ROUNDS = 5


def main() -> None:
    """Prints one row per frame size."""
    stylizers = {preset: Stylizer(StylizationNet.preset(preset)) for preset in PRESETS}
    device = next(iter(stylizers.values())).device
    print(f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}, median of {ROUNDS}\n")
    print("| frame | " + " | ".join(f"{preset}, fps" for preset in stylizers) + " |")
    print("|---|" + "---|" * len(stylizers))
    for height, width in SIZES:
        frame = torch.randint(0, 256, (1, 3, height, width), dtype=torch.uint8)
        seconds: dict[str, list[float]] = {preset: [] for preset in stylizers}
        for turn in range(ROUNDS + 1):
            for preset, stylizer in stylizers.items():
                begun = time.perf_counter()
                stylizer.frames(frame)
                if turn:  # the first call of each warms up
                    seconds[preset].append(time.perf_counter() - begun)
        print(
            f"| {width}x{height} | "
            + " | ".join(f"{1 / statistics.median(times):.2f}" for times in seconds.values())
            + " |"
        )


if __name__ == "__main__":
    main()
