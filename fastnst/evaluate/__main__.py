"""Judges nets, and clips that any program has stylized: fastnst evaluate ckpt=a.ckpt,wave videos=folder."""

from __future__ import annotations

from collections.abc import Sequence

from fastnst import cli
from fastnst.settings import EvaluateSettings

USAGE = """
fastnst evaluate ckpt=a.ckpt,wave videos=FOLDER
fastnst evaluate stylized=STYLIZED videos=FOLDER style_image=style.jpg

Prints how still nets hold and how much of the style they have, beside the input's own values: means over the clips,
then clip by clip. STYLIZED is a folder with what any program made of the clips in FOLDER, under their names.
Exit status: 0 done, 2 wrong settings, 3 unreadable input, 4 results exist or cannot be written, 5 the machine lacks
something.
"""


def evaluate(settings: EvaluateSettings) -> None:
    """Judges what the settings name."""
    from fastnst.evaluate.verdict import give_verdict  # with torch, which takes seconds: wrong settings show before

    give_verdict(settings)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command with the arguments after its name; None: those of the process."""
    cli.main(evaluate, EvaluateSettings, USAGE, argv=argv)


if __name__ == "__main__":
    main()
