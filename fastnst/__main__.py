"""The command `fastnst`: one name for all that the package does, also as python -m fastnst."""

from __future__ import annotations

import sys
from difflib import get_close_matches
from importlib import import_module

from fastnst import __version__
from fastnst.cli import leave, one_line, open_streams, report
from fastnst.errors import ConfigError

COMMANDS = {  # the module whose `main(argv)` runs it, and what it does
    "infer": ("fastnst.inference", "stylizes videos and pictures"),
    "live": ("fastnst.live.__main__", "stylizes a camera, a stream or a pipe as it comes"),
    "train": ("fastnst.training.__main__", "trains a net on a style picture"),
    "evaluate": ("fastnst.evaluate.__main__", "measures how still nets hold, and how much of the style they have"),
    "verify": ("fastnst.evaluate.verify", "says whether the figures on the card of a trained net hold"),
    "optimize": ("fastnst.optimize.__main__", "stylizes a picture or video by the method of 2016, as a reference"),
    "export": ("fastnst.engines.export", "writes a trained net for other programs: ONNX, OpenVINO, PyTorch"),
}


def usage() -> str:
    """Returns what `fastnst --help` prints."""
    lines = [f"  fastnst {name:<10} {what}" for name, (_, what) in COMMANDS.items()]
    return "\n".join(["fastnst COMMAND name=value ...", "", *lines, "", "fastnst COMMAND --help lists its settings."])


def main() -> None:
    """Runs the command that the first argument names with the arguments after it."""
    open_streams()
    name, *argv = sys.argv[1:] or ["--help"]
    if name in {"-h", "--help", "help"}:
        report(usage())
    elif name == "--version":
        report(f"fastnst {__version__}")
    elif name in COMMANDS:
        import_module(COMMANDS[name][0]).main(argv)
    else:
        near = get_close_matches(name, COMMANDS, 1)
        remedy = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
        leave(ConfigError.exit_status, f"error: there is no command '{one_line(name[:80])}'; {remedy}")


if __name__ == "__main__":
    main()
