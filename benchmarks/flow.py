"""How far `dis_flow` and `occlusion_mask` are from the truth: `python benchmarks/flow.py ../shared/flow`.

Prints one row per pair of frames. The folder holds pairs of MPI Sintel, Middlebury and FlyingChairs under the names
that those data sets give them; pairs that are missing are left out.

    motion      mean length of the true flow, pixels
    epe         mean end-point error of DIS over all pixels with known flow; visible: over pixels that are not occluded
    render      the latter of `backward_flow`, along which a render carries the canvas and the average
    trusted     share of the visible pixels that `occlusion_mask` of the two DIS flows keeps
    epe trusted the same error over the pixels that are visible and trusted: those that a metric uses
    hidden      share of the occluded pixels that the mask keeps all the same (only Sintel says which are occluded;
                elsewhere they are those that leave the picture)
    true, dis   mean absolute warping error of the frames, grey levels, over visible and trusted pixels, by either flow
    strokes     the same by the DIS flow for a picture that follows the true flow perfectly: what DIS adds to the error
                of a stylized clip. A texture of 2 px grain, contrast 55 grey levels, as stylized frames have
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from fastnst.flow import (
    at_full_size,
    backward_flow,
    dis_flow,
    half_luma,
    halved,
    inside,
    occlusion_mask,
    read_flo,
    warp,
)
from fastnst.images import load_image, to_tensor
from fastnst.metrics import mean_absolute_warping_error


class Pair(NamedTuple):
    """Two frames, the true flow from the first to the second, and pictures that are white where it does not hold."""

    frame: str
    next_frame: str
    flow: str
    hidden: tuple[str, ...] = ()


def sintel(name: str) -> Pair:
    """Returns frames 2 and 3 of a scene of MPI Sintel, final pass."""
    folder, frame = f"sintel/{name}", "frame_0002"
    hidden = (f"{folder}/occlusions/{frame}.png", f"{folder}/invalid/{frame}.png")
    return Pair(f"{folder}/final/{frame}.png", f"{folder}/final/frame_0003.png", f"{folder}/flow/{frame}.flo", hidden)


def middlebury(name: str) -> Pair:
    """Returns frames 10 and 11 of a sequence of Middlebury."""
    folder = f"middlebury/{name}"
    return Pair(f"{folder}/frame10.png", f"{folder}/frame11.png", f"{folder}/flow10.flo")


CHAIRS = "flyingchairs/0000001"
PAIRS = {
    "Sintel alley_1": sintel("alley_1"),
    "Sintel cave_2": sintel("cave_2"),
    "Middlebury RubberWhale": middlebury("RubberWhale"),
    "Middlebury Grove2": middlebury("Grove2"),
    "Middlebury Urban2": middlebury("Urban2"),
    "FlyingChairs 1": Pair(f"{CHAIRS}/img0.png", f"{CHAIRS}/img1.png", f"{CHAIRS}/flow.flo"),
}
COLUMNS = (
    "motion", "epe", "visible", "render", "trusted", "epe trusted", "hidden", "true", "dis", "strokes", "seconds",
)  # fmt: skip


def strokes(height: int, width: int) -> Tensor:
    """Returns smooth random colours, of standard deviation 55 / 255 before they are clipped to [0, 1]."""
    grain = gaussian_blur(
        torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0)), [9, 9], [2.0, 2.0]
    )
    return (0.5 + 55 / 255 * (grain - grain.mean()) / grain.std()).clamp(0, 1)


def measure(root: Path, pair: Pair) -> list[float]:
    """Returns the values of `COLUMNS` for one pair."""
    frame, next_frame = (to_tensor(load_image(root / name))[None] for name in (pair.frame, pair.next_frame))
    true = read_flo(root / pair.flow)
    known = (true.abs() < 1e9).all(1, keepdim=True).float()
    true = true * known
    visible = known * inside(true)
    for name in pair.hidden:
        visible = visible * (to_tensor(load_image(root / name))[None, :1] < 0.5)

    start = time.perf_counter()
    dis, dis_back = dis_flow(frame, next_frame), dis_flow(next_frame, frame)
    seconds = (time.perf_counter() - start) / 2
    carried = at_full_size(backward_flow(*(half_luma(halved(each)) for each in (next_frame, frame))), frame)
    mask = occlusion_mask(dis, dis_back)
    trusted, occluded = visible * mask, known * (1 - visible)
    distance = (dis - true).norm(dim=1, keepdim=True)

    def mean(values: Tensor, where: Tensor) -> float:
        return ((values * where).sum() / where.sum()).item()

    texture = strokes(*frame.shape[2:])
    return [
        mean(true.norm(dim=1, keepdim=True), known),
        mean(distance, known),
        mean(distance, visible),
        mean((carried - true).norm(dim=1, keepdim=True), visible),
        mean(mask, visible),
        mean(distance, trusted),
        mean(mask, occluded),
        mean_absolute_warping_error(frame, next_frame, true, trusted).item(),
        mean_absolute_warping_error(frame, next_frame, dis, trusted).item(),
        mean_absolute_warping_error(warp(texture, true), texture, dis, trusted).item(),
        seconds,
    ]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="folder with sintel/, middlebury/, flyingchairs/")
    root = parser.parse_args().root
    print("| pair | " + " | ".join(COLUMNS) + " |")
    print("|---" * (len(COLUMNS) + 1) + "|")
    for name, pair in PAIRS.items():
        if (root / pair.flow).is_file():
            print(f"| {name} | " + " | ".join(f"{value:.3f}" for value in measure(root, pair)) + " |", flush=True)


if __name__ == "__main__":
    main()
