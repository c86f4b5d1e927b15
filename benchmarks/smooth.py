"""What `smooth` does to stylized clips: PYTHONPATH=. python benchmarks/smooth.py picasso CLIP... [--laws LAW...].

For each clip and amount: the change along the motion above the input's own (grey levels, where the flow can be trusted;
the flow is Farneback's, as the average itself follows DIS); the change from frame to frame where a fixed camera's input
holds still, as a multiple of the input's; sharpness (deviation of the Laplacian) and style loss relative to the plain
result, and the time that one frame takes. Then the means over moving and over fixed cameras.

`carried` is no average: it is the last plain result carried along DIS, so what Farneback's flow shows of a painting
that follows DIS perfectly. A law sets constants of `fastnst.smooth` and is measured at amount 1, as with --laws
CARRIED=0.8,AGREES=255. `0.5+2` also looks two frames ahead: it is the mean of the average over the frames so far and of
that over the next two, taken backwards. With --folder, the last frame of each clip goes there: input, plain, and at
0.9.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from time import process_time
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import torch
from torch import Tensor

import fastnst.smooth as law
from fastnst.canvas import CarriedCanvas
from fastnst.checkpoint import load_checkpoint
from fastnst.flow import at_full_size, backward_flow, fetched, half_luma, halved, occlusion_mask
from fastnst.images import load_image, luma, save_image, to_array, to_float, to_tensor, to_uint8
from fastnst.losses import gram_matrix, style_loss
from fastnst.metrics import mean_absolute_warping_error, static_flicker, static_mask
from fastnst.shots import Shot
from fastnst.smooth import MotionAverage
from fastnst.vgg import load_vgg
from fastnst.video.reader import VideoReader

MAX_SIDE, FRAMES, EVERY = 384, 16, 6  # pixels; frames of each clip; frames between those whose style is measured
AMOUNTS, SHOWN, CARRIED = ("0", "0.5", "0.7", "0.9"), "0.9", "carried"
FIXED = "static"  # how the clips of a fixed camera are called
STYLES = Path(__file__).parent.parent / "paintings"


@torch.inference_mode()
def main() -> None:
    """Prints one row per clip and amount, and the means."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("ckpt")
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--laws", nargs="+", default=[])
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    checkpoint, vgg = load_checkpoint(options.ckpt), load_vgg()
    picture = np.array(load_image(STYLES / f"{checkpoint.style}.png").resize((384, 384)))
    style = {name: gram_matrix(each) for name, each in vgg(to_tensor(picture)[None]).items()}
    print("| clip | smooth | along the motion above input | of plain | flicker / input | sharpness | style loss | ms |")
    print("|---|---|---|---|---|---|---|---|")
    means: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
    for path in options.clips:
        content = read(path)
        plain, flows, still = Shot(checkpoint.net)(content), flows_of(content), static_mask(content.split(1))
        kind = "fixed" if path.stem.startswith(FIXED) else "moving"
        before: list[float] = []
        for name in (*AMOUNTS, *options.laws, CARRIED):
            smooth, ms = made(name, content, plain)
            above = along(smooth, flows, plain if name == CARRIED else smooth) - along(content, flows)
            flicker = flicker_of(smooth, still) / flicker_of(content, still) if kind == "fixed" else float("nan")
            found = [above, sharpness(smooth), style_loss(vgg(smooth[3::EVERY]), style).item()]
            before = before or found
            relative = [now / then for now, then in zip(found, before, strict=True)]
            row = [above, relative[0], flicker, *relative[1:], ms]
            row = [*row[:2], *[float("nan")] * 4] if name == CARRIED else row
            means[kind, name].append(row)
            print(line(path.stem, name, row), flush=True)
            if options.folder and name == SHOWN:
                last = [each[-1] for each in (content, plain, smooth)]
                save_image(to_array(torch.cat(last, 2)), options.folder / f"{path.stem}.png")
    for (kind, name), rows in means.items():
        print(line(f"mean, {kind}", name, [fmean(column) for column in zip(*rows, strict=True)]))


def made(name: str, content: Tensor, plain: Tensor) -> tuple[Tensor, float]:
    """Returns what an amount or a law makes of the plain result, and ms a frame; or the plain result, carried."""
    if name == CARRIED:
        flows = [backward_flow(*pair) for pair in pairwise(half_luma(halved(frame)) for frame in content.split(1))]
        moved = zip(plain[:-1].split(1), flows, content[1:].split(1), strict=True)
        return torch.cat([plain[:1], *(fetched(one, at_full_size(flow, frame), True) for one, flow, frame in moved)]), 0
    if "=" not in name:
        amount, _, ahead = name.partition("+")
        return looked_ahead(content, plain, float(amount), int(ahead or 0))
    set_to: dict[str, Any] = {key: float(value) for key, value in (each.split("=") for each in name.split(","))}
    with patch.multiple(law, **set_to):
        return averaged(content, plain, 1.0)


def line(name: str, amount: str, row: list[float]) -> str:
    """Returns a row of the table."""
    cells = (f"{value:.2f}" if value == value else "-" for value in row)
    return f"| {name} | {amount} | {' | '.join(cells)} |"


def read(path: Path) -> Tensor:
    """Returns the clip's first frames, (T, 3, H, W) in [0, 1]."""
    frames = []
    with VideoReader(path, max_side=MAX_SIDE) as reader:
        for each in reader:
            frames.append(to_float(each.pixels))
            if len(frames) == FRAMES:
                break
    return torch.cat(frames)


def averaged(content: Tensor, plain: Tensor, amount: float) -> tuple[Tensor, float]:
    """Returns the average of the plain result along the motion, and how long a frame takes with flow and canvas, ms."""
    average, canvas, frames, best = MotionAverage(amount), CarriedCanvas(), [plain[:1]], float("inf")
    size, half = content.shape[-2:], halved(content[:1])
    before = half_luma(half)
    average.next(half, plain[:1], None)
    canvas.next(before, None, *size)
    for t in range(1, len(content)):
        begun = process_time()
        half = halved(content[t, None])
        levels = half_luma(half)
        flow = backward_flow(before, levels)
        canvas.next(levels, flow, *size)
        frames.append(average.next(half, plain[t, None], flow, canvas.moved))
        best, before = min(best, process_time() - begun), levels
    return torch.cat(frames), 1000 * best


def looked_ahead(content: Tensor, plain: Tensor, amount: float, ahead: int) -> tuple[Tensor, float]:
    """Returns the average; with frames `ahead` its mean with that over those, taken backwards; and ms a frame."""
    average, ms = averaged(content, plain, amount)
    if not ahead:
        return average, ms
    back = []
    for t in range(len(content)):
        then = slice(t, t + ahead + 1)
        back.append(averaged(content[then].flip(0), plain[then].flip(0), amount)[0][-1:])
    return (average + torch.cat(back)) / 2, ms * (1 + ahead)


def flows_of(content: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Returns Farneback's flow from each frame to its next one, and the mask where it can be trusted."""
    grey = [to_uint8(luma(frame))[0, 0].numpy() for frame in content.split(1)]
    flows = []
    for one, other in pairwise(grey):
        there, back = (farneback(*pair) for pair in ((one, other), (other, one)))
        flows.append((there, occlusion_mask(there, back)))
    return flows


def farneback(one: np.ndarray, other: np.ndarray) -> Tensor:
    """Returns the flow from one grey picture to another, (1, 2, H, W)."""
    flow = cv2.FarnebackOpticalFlow.create(numLevels=5, winSize=15, polyN=7, polySigma=1.5).calc(one, other, None)  # pyright: ignore
    return torch.from_numpy(flow).permute(2, 0, 1)[None].contiguous()


def along(frames: Tensor, flows: list[tuple[Tensor, Tensor]], before: Tensor | None = None) -> float:
    """Returns the mean change along the motion, grey levels; of the frames since those `before`, or each other."""
    before = frames if before is None else before
    pairs = zip(before[:-1].split(1), frames[1:].split(1), flows, strict=True)
    return fmean(mean_absolute_warping_error(one, other, *flow).item() for one, other, flow in pairs)


def sharpness(frames: Tensor) -> float:
    """Returns the deviation of the Laplacian of the later half of the frames, grey levels."""
    grey = [255 * luma(frame)[0, 0].numpy() for frame in frames[len(frames) // 2 :].split(1)]
    return fmean(float(cv2.Laplacian(each, cv2.CV_32F).std()) for each in grey)


def flicker_of(frames: Tensor, still: Tensor) -> float:
    """Returns the mean change from frame to frame under the mask, grey levels."""
    pairs = zip(frames[:-1].split(1), frames[1:].split(1), strict=True)
    return fmean(static_flicker(before, after, still).item() for before, after in pairs)


if __name__ == "__main__":
    main()
