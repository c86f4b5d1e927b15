"""How still nets hold on clips from a fixed camera: python benchmarks/steady.py picasso,wave clip.mp4 other.mp4.

Prints the change from frame to frame, in grey levels, where the input holds still: of the input, and of each net's
output with the norm statistics of each frame and of the shot. Beside it, the noise gain at two grey levels and the
contrast: a flatter style is always steadier.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

import torch

from fastnst.checkpoint import load_checkpoint
from fastnst.images import to_float
from fastnst.metrics import contrast, noise_gain, static_flicker, static_mask
from fastnst.shots import ShotNorm
from fastnst.video import VideoReader

MAX_SIDE, FRAMES = 480, 24  # pixels, frames of each clip


def main() -> None:
    """Prints one row per net and clip."""
    nets = {name: load_checkpoint(name).net for name in sys.argv[1].split(",")}
    print(f"{FRAMES} frames, longer side {MAX_SIDE} pixels\n")
    print("| net | clip | still | input | norm=frame | norm=shot | times the input | noise gain 2/255 | contrast |")
    print("|---|---|---|---|---|---|---|---|---|")
    for path in map(Path, sys.argv[2:]):
        frames = read(path)
        mask = static_mask(frames.split(1))
        for name, net in nets.items():
            with torch.inference_mode():
                plain = torch.cat([net(frame) for frame in frames.split(1)])
                shot = ShotNorm(net)(frames)
                gain = noise_gain(net, frames[::8], 2 / 255, torch.Generator().manual_seed(0)).mean().item()
            changes = [flicker(each, mask) for each in (frames, plain, shot)]
            times = f"{changes[2] / changes[0]:.2f}" if changes[0] > 0.01 else "-"
            cells = [f"{value:.3f}" for value in changes] + [
                times,
                f"{gain:.2f}",
                f"{contrast(shot).mean().item():.0f}",
            ]
            print(f"| {name} | {path.stem} | {mask.mean().item():.0%} | " + " | ".join(cells) + " |", flush=True)


def read(path: Path) -> torch.Tensor:
    """Returns the clip's first frames, (T, 3, H, W) in [0, 1]."""
    frames = []
    with VideoReader(path, max_side=MAX_SIDE) as reader:
        for each in reader:
            frames.append(to_float(each.pixels))
            if len(frames) == FRAMES:
                break
    return torch.cat(frames)


def flicker(frames: torch.Tensor, mask: torch.Tensor) -> float:
    """Returns the mean change from frame to frame under the mask, grey levels."""
    pairs = zip(frames[:-1].split(1), frames[1:].split(1), strict=True)
    return statistics.mean(static_flicker(before, after, mask).item() for before, after in pairs)


if __name__ == "__main__":
    main()
