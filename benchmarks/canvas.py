"""What the canvas does: python benchmarks/canvas.py CKPT CLIP... [--without CKPT] [--picture OUT.jpg] [--frames 12].

A row for each clip and each `texture`, and one for a net without a canvas if it is given: how much flat areas change
from frame to frame, warping error along Farneback's flow, style and content loss. The picture shows one frame of each
clip: the input, the net without a canvas, and every texture.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fastnst.checkpoint import load_checkpoint
from fastnst.evaluate.contenders import ClipFile, net_rendition
from fastnst.evaluate.judge import STYLE_LAYERS, evaluate_clip, style_grams
from fastnst.images import load_style, save_image, to_array, to_tensor
from fastnst.settings import LookSettings
from fastnst.vgg import load_vgg

TEXTURES = (0.0, 0.5, 1.0, 1.5)
COLUMNS = ("static_flicker", "static_flicker_ratio", "absolute_warping_error_1", "style_loss", "content_loss")


def main() -> None:
    """Prints the table, and writes the picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("ckpt")
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--without", help="a net of the same style without a canvas")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--max-side", type=int, default=384)
    options = parser.parse_args()
    checkpoint = load_checkpoint(options.ckpt)
    vgg = load_vgg("auto", STYLE_LAYERS)
    grams = style_grams(vgg, to_tensor(load_style(checkpoint.style, checkpoint.recipe.get("style_size", 384))))
    nets = {f"texture {texture:g}": (checkpoint.net, LookSettings(texture=texture)) for texture in TEXTURES}
    if options.without:
        nets = {"no canvas": (load_checkpoint(options.without).net, LookSettings()), **nets}
    print("| clip | net | " + " | ".join(COLUMNS) + " |\n|" + "---|" * (len(COLUMNS) + 2))
    rows = []
    for path in options.clips:
        shown: list[dict[str, Tensor]] = []
        found = evaluate_clip(
            ClipFile(path, options.max_side, options.frames),
            {name: net_rendition(*each) for name, each in nets.items()},
            vgg,
            dict.fromkeys(nets, grams),
            lambda frames, shown=shown: shown.append(dict(frames)),
        )
        for name, numbers in found.items():
            cells = [path.stem, name, *(f"{numbers[key]:.3f}" for key in COLUMNS)]
            print(f"| {' | '.join(cells)} |", flush=True)
        middle = shown[len(shown) // 2]
        rows.append(np.concatenate([to_array(middle[name][0]) for name in ("input", *nets)], 1))
    if options.picture:
        narrowest = min(row.shape[1] for row in rows)
        save_image(np.concatenate([row[:, :narrowest] for row in rows]), options.picture)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
