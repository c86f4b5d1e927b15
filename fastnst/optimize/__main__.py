"""Stylizes a picture or a video by optimising it: fastnst optimize content=photo.jpg style=picasso."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fastnst import cli
from fastnst.errors import ConfigError
from fastnst.files import check_input, kind_of
from fastnst.settings import OptimizeSettings

USAGE = """
fastnst optimize content=photo.jpg style=picasso
fastnst optimize content=photo.jpg style.image=style.jpg start=noise rounds=30
fastnst optimize content=photo.jpg sweep=[1,1e-2,8.5e-5]
fastnst optimize content=clip.mp4 stabilize=final fps=15

The method of 2016: L-BFGS on the pixels, for content, style and total variation in a loss network; minutes a picture.
The best picture so far lies beside the output, as <name>.part; resume=true goes on from it after a stop. The frames of
a video are optimised in order, and held to those before; until all are done they lie in the folder <name>.frames.
Exit status: 0 done, 2 wrong settings, 3 unreadable input, 4 output exists or cannot be written, 5 the machine lacks
something, 7 the loss is no finite number, 130 Ctrl-C.
"""


def optimize(settings: OptimizeSettings) -> None:
    """Stylizes what the settings name."""
    source = Path(settings.content)
    check_input(source, "picture or video")
    if kind_of(source) != "picture":
        if settings.sweep:
            raise ConfigError("sweep is for pictures; compare a frame of the video first")
        from fastnst.optimize.video import optimize_video

        return optimize_video(settings)
    from fastnst.optimize.picture import optimize_picture  # with torch, which takes seconds: wrong input shows before

    return optimize_picture(settings)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command with the arguments after its name; None: those of the process."""
    cli.main(optimize, OptimizeSettings, USAGE, argv=argv)


if __name__ == "__main__":
    main()
