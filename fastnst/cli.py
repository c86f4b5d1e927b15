"""What the commands share: settings from the command line, and one clear line for every error a user can cause."""

from __future__ import annotations

import csv
import os
import re
import signal
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from fastnst.errors import ConfigError, FastnstError, OutputError

CONF = next(
    folder for folder in (Path(__file__).parent / "conf", Path(__file__).parent.parent / "conf") if folder.is_dir()
)  # in a wheel, in the repository


def main(command: Callable[[dict[str, Any]], None], config: str, usage: str, paths: Collection[str]) -> None:
    """Runs `command` with the settings of `conf/<config>.yaml` and the overrides of the command line, and exits.

    Args:
        command: takes the settings as plain dicts, lists, strings and numbers.
        config: the file in `conf/`, without `.yaml`.
        usage: printed above the settings by `--help`.
        paths: settings that hold file names: any name works there, also those that Hydra's grammar refuses.
    """
    argv = [quoted(argument, paths) for argument in sys.argv[1:]]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        if argv and argv[0] in {"-h", "--help", "help"}:
            print(f"{usage.strip()}\n\nSettings (name=value) and their defaults, from {config}.yaml:\n")
            print((CONF / f"{config}.yaml").read_text(encoding="utf-8").rstrip())
            return
        command(settings(config, argv))
        sys.stdout.flush()
    except FastnstError as error:
        leave(error.exit_status, f"error: {one_line(error)}")
    except BrokenPipeError:
        leave(OutputError.exit_status, "error: the reader of standard output went away")
    except KeyboardInterrupt:
        leave(128 + signal.SIGINT, "stopped by Ctrl-C")


def settings(config: str, overrides: list[str]) -> dict[str, Any]:
    """Returns `conf/<config>.yaml` with `overrides` applied, as plain Python objects.

    Raises:
        ConfigError: an override names no setting, a choice that does not exist, or cannot be parsed.
    """
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if flags := [argument for argument in overrides if argument.startswith("-")]:
        raise ConfigError(f"unknown flag '{flags[0]}'; settings are written name=value, --help lists them")
    folders = [path for path in CONF.iterdir() if path.is_dir()]
    groups = {folder.name: sorted(file.stem for file in folder.glob("*.yaml")) for folder in folders}
    for argument in overrides:
        name, _, value = argument.partition("=")
        if argument.startswith(("+", "~", "hydra")):
            raise ConfigError(f"'{argument}': there are no other settings than those that --help lists; name=value")
        if name in groups and not re.fullmatch(r"[\w-]+", value):  # a path would read a stranger's file
            raise ConfigError(f"'{argument}' should be one of {', '.join(groups[name])}")
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            composed = compose(config, overrides)
            defaults = compose(config, [text for text in overrides if text.partition("=")[0] in groups])
        check_types(OmegaConf.to_container(defaults, resolve=True), OmegaConf.to_container(composed, resolve=True))
        plain = OmegaConf.to_container(composed, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(f"{hydra_reason(error)}; --help lists the settings") from error
    assert isinstance(plain, dict)
    return plain  # pyright: ignore[reportReturnType]


def check_types(default: Any, value: Any, name: str = "") -> None:
    """Raises ConfigError if a value is of another kind than its default, where that is a number, a switch or a list."""
    if isinstance(default, dict) and isinstance(value, dict):
        for key in default.keys() & value.keys():
            check_types(default[key], value[key], f"{name}.{key}" if name else key)
    if isinstance(value, dict) and not isinstance(default, dict):
        raise ConfigError(f"{name}={value} must be a single value")
    for kinds, accepted, words in (
        (bool, bool, "true or false"), (int, int, "a whole number"), (float, (int, float), "a number"),
        (list, list, "a list"),
    ):  # fmt: skip
        if isinstance(default, kinds):
            if not isinstance(value, accepted) or (isinstance(value, bool) and kinds is not bool):
                raise ConfigError(f"{name}={value} must be {words}")
            return


def hydra_reason(error: Exception) -> str:
    """Returns the first line of Hydra's message that says what is wrong, without its advice on Hydra itself."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    cause = str(error.__cause__).splitlines()[0] if error.__cause__ and str(error.__cause__).strip() else ""
    return f"{lines[0]} ({cause})" if cause and cause not in lines[0] else lines[0]


def quoted(argument: str, paths: Collection[str]) -> str:
    """Returns the argument with its value quoted for Hydra's grammar, if it sets one of the `paths`.

    A name in brackets is a name too: `[a].mp4` is a file, not a list.

    >>> quoted("video=my clip (1).mp4", {"video"})
    "video='my clip (1).mp4'"
    """
    name, equals, value = argument.partition("=")
    already = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    if not equals or name.lstrip("+~") not in paths or already or value == "null":
        return argument
    value = re.sub(r"(\\*)'", lambda match: match.group(1) * 2 + r"\'", value)
    value = re.sub(r"(\\+)$", lambda match: match.group(1) * 2, value)
    return f"{name}='{value.replace('${', chr(92) + '${')}'"


def listed(value: Any) -> list[str]:
    """Returns the names in a setting: a list, or text with commas between them, in brackets or not.

    A name with a comma stands in quotes; text that names a file is that file.

    >>> listed("a.ckpt,wave"), listed("['a,b.ckpt', wave]"), listed(None)
    (['a.ckpt', 'wave'], ['a,b.ckpt', 'wave'], [])
    """
    if not value:
        return []
    if isinstance(value, list):
        return [str(each) for each in value]
    text = str(value)
    if os.path.exists(text):  # noqa: PTH110 (a name with a comma in it; Path's own raises on a long list)
        return [text]
    if text[0] == "[" and text[-1] == "]":
        text = text[1:-1]
    quote = "'" if re.search(r"(^|,)\s*'[^']*'\s*(,|$)", text) else '"'
    reader = csv.reader([text], quotechar=quote, skipinitialspace=True)
    return [name.strip() for name in next(reader, []) if name.strip()]


def one_line(error: BaseException) -> str:
    """Returns the message without line breaks and without passwords in addresses."""
    return re.sub(r"(\w+://)[^/@\s]+@", r"\1***@", " ".join(str(error).split()))


def leave(status: int, line: str) -> None:
    """Prints `line` on stderr and ends the process with `status`."""
    print(line, file=sys.stderr, flush=True)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)
