"""What tiles cost, and whether they change anything: python benchmarks/tiles.py picasso frame.jpg [1280x720,1920x1080].

Prints, for each size of the picture, how far the tiled result is from the untiled one in grey levels, and processor
time; then the peak memory of a process that stylizes one 3840x2160 frame in tiles.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
from pathlib import Path
from time import process_time

import torch
from torch import Tensor, nn

from fastnst.checkpoint import load_checkpoint
from fastnst.dials import resized
from fastnst.images import load_image, to_tensor
from fastnst.tiles import Tiled

SHARES = (1 / 2, 1 / 4, 1 / 8)  # of the frame, in a tile
LARGE, LIMIT = (2160, 3840), 1920 * 1080  # height and width, pixels in a tile


def main() -> None:
    """Prints a row per size and tile, and the memory."""
    name, picture = sys.argv[1:3]
    sizes = sys.argv[3] if len(sys.argv) > 3 else "1280x720"
    net = load_checkpoint(name).net.eval()
    print("| frame | max_pixels | mean difference | largest | seconds | times untiled |")
    print("|---|---|---|---|---|---|")
    for size in sizes.split(","):
        width, height = map(int, size.split("x"))
        frame = resized(to_tensor(load_image(Path(picture)))[None], (height, width))
        expected, untiled = timed(net, frame)
        print(f"| {size} | untiled | | | {untiled:.2f} | 1.00 |", flush=True)
        for share in SHARES:
            limit = int(share * width * height)
            stylized, seconds = timed(Tiled(net, limit), frame)
            change = 255 * (stylized - expected).abs()
            cells = f"{change.mean():.5f} | {change.max():.5f} | {seconds:.2f} | {seconds / untiled:.2f}"
            print(f"| {size} | {limit} | {cells} |", flush=True)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(f"\npeak memory, {LARGE[1]}x{LARGE[0]} in tiles of {LIMIT} pixels: {pool.apply(peak, (name,)):.2f} GB")


@torch.inference_mode()
def timed(net: nn.Module, frame: Tensor) -> tuple[Tensor, float]:
    """Returns the frame stylized, and the processor seconds that it took."""
    begun = process_time()
    return net(frame), process_time() - begun


def peak(name: str) -> float:
    """Returns the most memory that this process held, in GB, after it stylized one large frame in tiles."""
    timed(Tiled(load_checkpoint(name).net.eval(), LIMIT), torch.rand(1, 3, *LARGE))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts it in KiB


if __name__ == "__main__":
    main()
