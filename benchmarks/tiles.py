"""What tiles cost, and what they change: PYTHONPATH=. python benchmarks/tiles.py picasso frame.jpg 1920x1080.

`benchmarks/tiles.py video picasso 3840x2160:4,7680x4320:3` prints instead the peak memory of `infer.py` on clips of
these sizes and frame counts.

Prints, for each size (several are divided by commas; none is ""), how far the tiled result is from the untiled one in
grey levels, and processor time; then, for 3840x2160 and 7680x4320, the peak memory of a process that loads, stylizes
and saves such a picture with the defaults of `infer.py`.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter, process_time

import torch
from imageio_ffmpeg import get_ffmpeg_exe
from torch import Tensor, nn

from fastnst.checkpoint import load_checkpoint
from fastnst.dials import resized
from fastnst.images import load_image, save_image, to_array, to_tensor
from fastnst.stylizer import Stylizer
from fastnst.tiles import Tiled

SHARES = (1 / 2, 1 / 4, 1 / 8)  # of the frame, in a tile
LARGE = ((2160, 3840), (4320, 7680))  # height and width


def main() -> None:
    """Prints a row per size and tile, and one per large picture; or one per clip."""
    if sys.argv[1] == "video":
        return videos(sys.argv[2], sys.argv[3])
    name, picture, sizes = sys.argv[1:4]
    net, content = load_checkpoint(name).net.eval(), to_tensor(load_image(Path(picture)))[None]
    print("| frame | max_pixels | mean difference | largest | seconds | times untiled |")
    print("|---|---|---|---|---|---|")
    for size in filter(None, sizes.split(",")):
        width, height = map(int, size.split("x"))
        frame = resized(content, (height, width))
        expected, untiled = timed(net, frame)
        print(f"| {size} | untiled | | | {untiled:.2f} | 1.00 |", flush=True)
        for share in SHARES:
            limit = int(share * width * height)
            stylized, seconds = timed(Tiled(net, limit), frame)
            change = 255 * (stylized - expected).abs()
            cells = f"{change.mean():.5f} | {change.max():.5f} | {seconds:.2f} | {seconds / untiled:.2f}"
            print(f"| {size} | {limit} | {cells} |", flush=True)
    print("\n| picture | peak memory, GB | seconds |")
    print("|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for height, width in LARGE:
            source = Path(folder) / f"{width}.jpg"
            save_image(to_array(resized(content, (height, width))[0]), source)
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                held, seconds = pool.apply(peak, (name, source))
            print(f"| {width}x{height} | {held:.2f} | {seconds:.0f} |", flush=True)


def videos(name: str, clips: str) -> None:
    """Prints a row per clip, as `WIDTHxHEIGHT:FRAMES` divided by commas."""
    print("| net | video | frames | peak memory, GB | seconds |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for clip in clips.split(","):
            size, frames = clip.split(":")
            source = f"{folder}/{size}.mp4"
            made = ["-f", "lavfi", "-i", f"testsrc2=s={size}:d=60", "-frames:v", frames, "-preset", "ultrafast"]
            subprocess.run([get_ffmpeg_exe(), "-v", "error", *made, "-pix_fmt", "yuv420p", source], check=True)
            command = [sys.executable, "infer.py", f"video={source}", f"ckpt={name}", "device=cpu", "threads=1"]
            begun, process = perf_counter(), subprocess.Popen(command, stdout=subprocess.DEVNULL)
            _, status, usage = os.wait4(process.pid, 0)
            assert status == 0, f"infer.py failed on {clip}"
            held = usage.ru_maxrss / 2**20
            print(f"| {Path(name).stem} | {size} | {frames} | {held:.2f} | {perf_counter() - begun:.0f} |", flush=True)


@torch.inference_mode()
def timed(net: nn.Module, frame: Tensor) -> tuple[Tensor, float]:
    """Returns the frame stylized, and the processor seconds that it took."""
    begun = process_time()
    return net(frame), process_time() - begun


def peak(name: str, source: Path) -> tuple[float, float]:
    """Returns the most memory that this process held, in GB, and the seconds, for one picture from file to file."""
    begun = perf_counter()
    Stylizer.load(name, "cpu").picture(source, source.with_suffix(".out.jpg"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, perf_counter() - begun  # Linux counts KiB


if __name__ == "__main__":
    main()
