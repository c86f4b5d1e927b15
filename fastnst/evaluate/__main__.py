"""Judges nets, and clips that any program has stylized: fastnst evaluate ckpt=a.ckpt,wave videos=folder."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fastnst import cli
from fastnst.settings import EvaluateSettings, ObjectiveSettings

USAGE = """
fastnst evaluate ckpt=a.ckpt,wave videos=FOLDER
fastnst evaluate stylized=STYLIZED videos=FOLDER style_image=style.jpg
fastnst evaluate objective ckpt=wave      (fastnst evaluate objective --help)

Prints how still nets hold and how much of the style they have, beside the input's own values: means over the clips,
then clip by clip. STYLIZED is a folder with what any program made of the clips in FOLDER, under their names.
Exit status: 0 done, 2 wrong settings, 3 unreadable input, 4 results exist or cannot be written, 5 the machine lacks
something.
"""


OBJECTIVE_USAGE = """
fastnst evaluate objective ckpt=wave
fastnst evaluate objective ckpt=a.ckpt photos=FOLDER count=10 sizes=[256]

Johnson's own yardstick: how many evaluations of the net's objective L-BFGS needs, from the content itself, to pass what
the net reaches at once, photo by photo and with the spread. Evaluations of loss and gradient, not iterations.
Exit status: 0 done, 2 wrong settings, 3 unreadable input, 5 the machine lacks something.
"""


def objective(settings: ObjectiveSettings) -> None:
    """Counts the evaluations that a net saves."""
    from fastnst.evaluate.objective import count_evaluations

    count_evaluations(settings)


def evaluate(settings: EvaluateSettings) -> None:
    """Judges what the settings name."""
    from fastnst.evaluate.verdict import give_verdict  # with torch, which takes seconds: wrong settings show before

    give_verdict(settings)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command with the arguments after its name; None: those of the process."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] == ["objective"]:
        return cli.main(objective, ObjectiveSettings, OBJECTIVE_USAGE, argv=argv[1:])
    cli.main(evaluate, EvaluateSettings, USAGE, argv=argv)


if __name__ == "__main__":
    main()
