"""How much a slide changes from frame to frame: PYTHONPATH=. python benchmarks/slide.py picasso wave CLIP...

For each clip of a fixed camera: mean change from frame to frame where the input holds still, grey levels, of the input
and of both styles; then of a slide from one style to the other over the first frame, which stands still, so that all
change is the slide's: median and largest step. Last, how far the end of the slide is from what the second style makes
of that frame, mean difference.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median

import numpy as np
import torch

from fastnst.evaluate.contenders import ClipFile
from fastnst.images import to_array
from fastnst.live import styles as live_styles
from fastnst.live.feeds import Pixels
from fastnst.live.styles import LiveStyle, Slide, load_styles
from fastnst.metrics import static_mask
from fastnst.settings import LookSettings


def main() -> None:
    """Prints a row for each clip."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("start")
    parser.add_argument("end")
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--max-side", type=int, default=384)
    options = parser.parse_args()
    styles = load_styles([options.start, options.end], "cpu", 1, LookSettings(smooth=0.0))
    slide = styles.slides[0]
    if not isinstance(slide, Slide):
        raise SystemExit(str(slide))
    steps_of = f"a step of {live_styles.SLIDE}: median"
    print(f"| clip | input | {options.start} | {options.end} | {steps_of} | largest | at the end |")
    print("|---|---|---|---|---|---|---|")
    for path in options.clips:
        tensors = list(ClipFile(path, options.max_side, options.frames))
        still = static_mask(tensors)[0, 0].numpy().astype(bool)
        frames = [to_array(each[0]) for each in tensors]
        cells = [change(frames, still), *(change(stylized(style, frames), still) for style in styles.all)]
        cells += steps(slide, styles.all, frames[0])
        print(f"| {path.stem} | {' | '.join(f'{each:.2f}' for each in cells)} |", flush=True)


def stylized(style: LiveStyle, frames: list[Pixels]) -> list[Pixels]:
    """Returns the frames of a stream stylized."""
    style.reset()
    return [style.stylize(frame, 1.0) for frame in frames]


def change(frames: list[Pixels], still: np.ndarray) -> float:
    """Returns the mean change from frame to frame under the mask, grey levels."""
    return fmean(difference(*pair, still) for pair in pairwise(frames))


def difference(one: Pixels, other: Pixels, mask: np.ndarray) -> float:
    """Returns the mean difference of two frames under the mask, grey levels."""
    return float(np.abs(one.astype(float) - other)[mask].mean())


def steps(slide: Slide, styles: Sequence[LiveStyle], frame: Pixels) -> tuple[float, float, float]:
    """Returns the median and the largest change of a step, and how far the end is from the second style."""
    whole = np.ones(frame.shape[:2], bool)
    start, end = styles
    last, changes = stylized(start, [frame])[0], []
    slide.begin(start)
    while not slide.done:
        now = slide.stylize(frame, 1.0)
        changes.append(difference(now, last, whole))
        last = now
    return median(changes), max(changes), difference(last, stylized(end, [frame])[0], whole)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
