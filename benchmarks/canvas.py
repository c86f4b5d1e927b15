"""What the canvas does: python benchmarks/canvas.py CKPT CLIP... [--without CKPT] [--frames 12] [--photos FOLDER].

A row for each clip and each `texture`, and one for a net without a canvas if it is given: how much flat areas change
from frame to frame, warping error along Farneback's flow, style and content loss.
`pictures.py` makes the picture.

With photos, what carrying it adds: they are moved by `MOTIONS`, so that the true flow is known, and the warping error
of the painting along that is printed for a canvas that is carried by the true flow, by the flow that a render finds, or
not at all, and for none. `smooth` is that of a render with the default of it, and `sharpness` what it leaves of the
deviation of the Laplacian.
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import torch
from PIL import ImageOps
from smooth import sharpness
from torch import Tensor, nn

from fastnst.canvas import TEXTURE, CarriedCanvas, fixed_canvas, positions, sampled
from fastnst.checkpoint import load_checkpoint
from fastnst.cli import table
from fastnst.evaluate.contenders import ClipFile, net_rendition
from fastnst.evaluate.judge import STYLE_LAYERS, evaluate_clip, style_grams
from fastnst.evaluate.objective import photos_in
from fastnst.flow import affine_flow, backward_flow, half_luma, halved, inside, warp
from fastnst.images import load_image, load_style, to_float, to_tensor, to_uint8
from fastnst.metrics import mean_absolute_warping_error
from fastnst.settings import LookSettings
from fastnst.shots import Shot
from fastnst.vgg import load_vgg

TEXTURES = (0.0, 0.5, 1.0, 1.5)
MOTIONS = {  # of the photos, from frame to frame: shift in pixels, turn in degrees, zoom
    "1.3 and 0.4 px": ((1.3, 0.4), 0.0, 1.0),
    "2 px": ((2.0, 0.0), 0.0, 1.0),
    "0.5 degrees": ((0.0, 0.0), 0.5, 1.0),
    "zoom 1 %": ((0.0, 0.0), 0.0, 1.01),
}
SIDE, EDGE, FRAMES = 320, 64, 6  # of the moved photos, pixels; what is cut off around them, since it shows their border
SMOOTH = LookSettings().smooth
NOISE = 1.0  # grey levels: deviation of the noise of the camera that films them
COLUMNS = ("static_flicker", "static_flicker_ratio", "absolute_warping_error_1", "style_loss", "content_loss")


def moved(photo: Path, motion: str) -> tuple[list[Tensor], list[Tensor]]:
    """Returns the frames of a photo that moves, (1, 3, SIDE, SIDE), and the true flow of each back to the first."""
    shift, degrees, zoom = MOTIONS[motion]
    whole = SIDE + 2 * EDGE
    picture = to_tensor(ImageOps.fit(load_image(photo), (whole, whole)))[None]
    inner = (..., slice(EDGE, -EDGE), slice(EDGE, -EDGE))
    flows = [affine_flow(whole, whole, (-t * shift[0], -t * shift[1]), -t * degrees, zoom**-t) for t in range(FRAMES)]
    noise = torch.Generator().manual_seed(0)
    frames = [warp(picture, flow, "bicubic")[inner] for flow in flows]
    noisy = [frame + torch.randn(frame.shape, generator=noise) * NOISE / 255 for frame in frames]
    return [to_float(to_uint8(frame.clamp(0, 1))) for frame in noisy], [flow[inner] for flow in flows]


def canvases(frames: list[Tensor], flows: list[Tensor]) -> dict[str, list[Tensor]]:
    """Returns the canvases of frames, by what carries them."""
    x, y = positions(SIDE, SIDE)
    halves = [half_luma(halved(frame)) for frame in frames]
    carried = CarriedCanvas()
    found = [carried.next(halves[0], None, SIDE, SIDE)]
    found += [carried.next(now, backward_flow(before, now), SIDE, SIDE) for before, now in pairwise(halves)]
    true = [TEXTURE * sampled(x + flow[0, 0].numpy(), y + flow[0, 1].numpy()) for flow in flows]
    fixed = TEXTURE * fixed_canvas(SIDE, SIDE)
    return {
        "true flow": [torch.from_numpy(each)[None, None] for each in true],
        "found flow": found,
        "fixed": [fixed] * len(frames),
        "none": [torch.zeros_like(fixed)] * len(frames),
    }


@torch.inference_mode()
def moved_table(net: nn.Module, photos: list[Path]) -> str:
    """Returns the warping errors along the true flow, grey levels, the mean over photos and pairs of frames."""
    rows: list[list[str]] = []
    for motion, (shift, degrees, zoom) in MOTIONS.items():
        back = affine_flow(SIDE, SIDE, (-shift[0], -shift[1]), -degrees, 1 / zoom)
        mask, errors = inside(back), defaultdict(list)
        for photo in photos:
            frames, flows = moved(photo, motion)
            painted = {"input": frames}
            for name, own in canvases(frames, flows).items():
                painted[name] = [net(frame, canvas=canvas) for frame, canvas in zip(frames, own, strict=True)]
            plain, painted["smooth"] = (list(Shot(net, smooth=own)(torch.cat(frames)).split(1)) for own in (0, SMOOTH))
            for name, pictures in painted.items():
                for before, now in pairwise(pictures):
                    errors[name].append(mean_absolute_warping_error(now, before, back, mask).item())
            errors["sharpness"].append(sharpness(torch.cat(painted["smooth"])) / sharpness(torch.cat(plain)))
        rows = rows or [["motion", *errors]]
        rows.append([motion, *(f"{statistics.fmean(each):.2f}" for each in errors.values())])
    return table(rows)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("ckpt")
    parser.add_argument("clips", nargs="*", type=Path)
    parser.add_argument("--photos", help="a folder of photos, which are moved")
    parser.add_argument("--without", help="a net of the same style without a canvas")
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--max-side", type=int, default=384)
    options = parser.parse_args()
    checkpoint = load_checkpoint(options.ckpt)
    if options.photos:
        print(moved_table(checkpoint.net, photos_in(options.photos)))
        return
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
