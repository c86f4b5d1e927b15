"""What the canvas does: python benchmarks/canvas.py CKPT CLIP... [--without CKPT] [--frames 12].

A row for each clip and each `texture`, and one for a net without a canvas if it is given: how much flat areas change
from frame to frame, warping error along Farneback's flow, style and content loss.
`pictures.py` makes the picture.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from fastnst.checkpoint import load_checkpoint
from fastnst.evaluate.contenders import ClipFile, net_rendition
from fastnst.evaluate.judge import STYLE_LAYERS, evaluate_clip, style_grams
from fastnst.images import load_style, to_tensor
from fastnst.settings import LookSettings
from fastnst.vgg import load_vgg

TEXTURES = (0.0, 0.5, 1.0, 1.5)
COLUMNS = ("static_flicker", "static_flicker_ratio", "absolute_warping_error_1", "style_loss", "content_loss")


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("ckpt")
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--without", help="a net of the same style without a canvas")
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--max-side", type=int, default=384)
    options = parser.parse_args()
    checkpoint = load_checkpoint(options.ckpt)
    vgg = load_vgg("auto", STYLE_LAYERS)
    grams = style_grams(vgg, to_tensor(load_style(checkpoint.style, checkpoint.recipe.get("style_size", 384))))
    nets = {f"texture {texture:g}": (checkpoint.net, LookSettings(texture=texture, smooth=0.0)) for texture in TEXTURES}
    if options.without:
        nets = {"no canvas": (load_checkpoint(options.without).net, LookSettings(smooth=0.0)), **nets}
    print("| clip | net | " + " | ".join(COLUMNS) + " |\n|" + "---|" * (len(COLUMNS) + 2))
    for path in options.clips:
        found = evaluate_clip(
            ClipFile(path, options.max_side, options.frames),
            {name: net_rendition(*each) for name, each in nets.items()},
            vgg,
            dict.fromkeys(nets, grams),
        )
        for name, numbers in found.items():
            cells = [path.stem, name, *(f"{numbers[key]:.3f}" for key in COLUMNS)]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
