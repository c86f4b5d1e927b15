"""What `smooth` does to a painted clip: PYTHONPATH=. python benchmarks/smooth.py picasso clip.mp4 other.mp4 [FOLDER].

Prints, in grey levels, the change from frame to frame where the input holds still, and in all along the optical flow;
contrast and style loss, which should stay; and how far the averaged painting is from the plain one: where the input
moves (0 is right), where it moved in the last five frames but does no more (a trail would show here), and elsewhere.
With a FOLDER: the last frame of each clip there, input, plain, smooth, and four times their difference on grey.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from fastnst.checkpoint import load_checkpoint
from fastnst.flow import at_full_size, backward_flow, dis_flow, half_luma, occlusion_mask
from fastnst.images import load_style, save_image, to_array, to_float, to_tensor
from fastnst.losses import gram_matrix, style_loss
from fastnst.metrics import contrast, mean_absolute_warping_error, static_flicker, static_mask
from fastnst.shots import Shot
from fastnst.smooth import MotionAverage
from fastnst.vgg import load_vgg
from fastnst.video.reader import VideoReader

MAX_SIDE, FRAMES = 384, 24  # pixels, frames of each clip
AMOUNTS = (0.0, 0.5, 0.8, 0.9)
MOVED, RECENT, NEAR = 15, 5, 16  # grey levels of change, frames that a trail would last, pixels kept clear of motion


def averaged(content: Tensor, stylized: Tensor, amount: float) -> Tensor:
    """Returns stylized frames, (T, 3, H, W), averaged along the motion of the input as `smooth=amount` does."""
    average, frames, before = MotionAverage(amount), [], None
    for frame, own in zip(content.split(1), stylized.split(1), strict=True):
        half = half_luma(frame)
        flow = None if before is None else at_full_size(backward_flow(before, half), frame)
        frames.append(average.next(frame, own, flow))
        before = half
    return torch.cat(frames)


@torch.inference_mode()
def main() -> None:
    """Prints one row per clip and amount."""
    checkpoint, vgg = load_checkpoint(sys.argv[1]), load_vgg()
    style = {name: gram_matrix(each) for name, each in vgg(to_tensor(load_style(checkpoint.style, 384))[None]).items()}
    paths = [Path(name) for name in sys.argv[2:]]
    folder = paths.pop() if paths[-1].is_dir() else None
    print(f"{checkpoint.style}, {FRAMES} frames, longer side {MAX_SIDE} pixels\n")
    print("| clip | smooth | flicker | times the input | along flow | contrast | style loss | moving | trail | else |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for path in paths:
        content = read(path)
        plain = Shot(checkpoint.net)(content)
        still, flows, where = static_mask(content.split(1)), flows_of(content), motion(content)
        smooth = plain
        for amount in AMOUNTS:
            smooth = averaged(content, plain, amount)
            flicker, of_input = flicker_of(smooth, still), flicker_of(content, still)
            along = statistics.mean(
                mean_absolute_warping_error(smooth[t, None], smooth[t + 1, None], flow, mask).item()
                for t, (flow, mask) in flows.items()
            )
            loss = style_loss(vgg(smooth[::8]), style).item()
            off = 255 * (smooth - plain)[1:].abs().mean(1, keepdim=True)
            cells = [f"{flicker:.3f}", f"{flicker / of_input:.2f}" if of_input > 0.01 else "-", f"{along:.3f}"]
            cells += [f"{contrast(smooth).mean().item():.1f}", f"{loss:.3f}"]
            cells += [f"{((off * mask).sum() / mask.sum()).item():.2f}" for mask in where]
            print(f"| {path.stem} | {amount} | " + " | ".join(cells) + " |", flush=True)
        if folder:
            last = [each[-1] for each in (content, plain, smooth)]
            save_image(to_array(torch.cat([*last, 0.5 + 4 * (last[2] - last[1])], 2)), folder / f"{path.stem}.png")


def read(path: Path) -> Tensor:
    """Returns the clip's first frames, (T, 3, H, W) in [0, 1]."""
    frames = []
    with VideoReader(path, max_side=MAX_SIDE) as reader:
        for each in reader:
            frames.append(to_float(each.pixels))
            if len(frames) == FRAMES:
                break
    return torch.cat(frames)


def flows_of(content: Tensor) -> dict[int, tuple[Tensor, Tensor]]:
    """Returns the flow from every third frame to its next one, and the mask where it can be trusted."""
    flows = {}
    for t in range(0, len(content) - 1, 3):
        flow = dis_flow(content[t, None], content[t + 1, None])
        flows[t] = flow, occlusion_mask(flow, dis_flow(content[t + 1, None], content[t, None]))
    return flows


def motion(content: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns, for all frames but the first, where the input moves, where it did of late, and where neither is near."""
    grainless = F.avg_pool2d(content, 5, stride=1, padding=2, count_include_pad=False)
    moves = (255 * (grainless[1:] - grainless[:-1]).abs().amax(1, keepdim=True) > MOVED).float()
    of_late = torch.stack([moves[max(0, t - RECENT) : t + 1].amax(0) for t in range(len(moves))])
    near = F.max_pool2d(of_late, 2 * NEAR + 1, stride=1, padding=NEAR)
    return moves, of_late - moves, 1 - near


def flicker_of(frames: Tensor, still: Tensor) -> float:
    """Returns the mean change from frame to frame under the mask, grey levels."""
    pairs = zip(frames[:-1].split(1), frames[1:].split(1), strict=True)
    return statistics.mean(static_flicker(before, after, still).item() for before, after in pairs)


if __name__ == "__main__":
    main()
