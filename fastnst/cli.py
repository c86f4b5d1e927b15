"""What the commands share: settings from the command line, and one clear line for every error a user can cause."""

from __future__ import annotations

import csv
import io
import logging
import os
import re
import signal
import sys
import textwrap
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast

from fastnst.errors import ConfigError, FastnstError, OutputError
from fastnst.files import local_name
from fastnst.schema import Settings, as_typed, defaults, either, entries, entries_here, groups, unknown

CONF = next(
    folder for folder in (Path(__file__).parent / "conf", Path(__file__).parent.parent / "conf") if folder.is_dir()
)  # in a wheel, in the repository
NUMBER = re.compile(r"-?[\d.]+(e[-+]?\d+)?x?|-|")  # in a table; "1.5x" is one and a half times as much
HELP_WIDTH, HELP_INDENT = 120, 34  # characters


def end_by_signal(number: int, _: object) -> None:
    """Ends the command with the status that says which signal ended it."""
    sys.exit(128 + number)


def main(command: Callable[[Any], None], schema: type[Settings], usage: str, argv: Sequence[str] | None = None) -> None:
    """Runs `command` with the settings that the command line gives, and exits.

    Args:
        command: takes the settings.
        schema: the class of the settings.
        usage: printed above the settings by `--help`.
        argv: what was typed after the command's name; None: `sys.argv`.
    """
    open_streams()
    argv = list(sys.argv[1:] if argv is None else argv)
    for name in ("SIGTERM", "SIGHUP"):  # the latter: the terminal or the connection is closed; not on Windows
        number = getattr(signal, name, signal.SIGTERM)
        if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
            signal.signal(number, end_by_signal)
    try:
        if {"-h", "--help"} & set(argv) or argv[:1] == ["help"]:
            return report(f"{usage.strip()}\n\n{help_of(schema)}")
        command(load(schema, argv))
        report("", end="")
    except FastnstError as error:
        leave(error.exit_status, f"error: {one_line(error)}")
    except BrokenPipeError:
        leave(OutputError.exit_status, "error: the reader of standard output went away")
    except KeyboardInterrupt:
        leave(128 + signal.SIGINT, "stopped by Ctrl-C")


S = TypeVar("S", bound=Settings)


def load(schema: type[S], argv: Sequence[str]) -> S:
    """Returns the settings of a command line: defaults, then the chosen files of `conf/`, then what was typed.

    Hydra reads the arguments and the files. The types are checked by the class: OmegaConf knows neither `Literal` nor
    ranges, and turns 1.5 into "1.5" without a word.

    Raises:
        ConfigError: an argument names no setting, a choice that does not exist, or cannot be read; a value is wrong.
    """
    quote = {each.name for each in entries(schema) if each.is_text}
    overrides = [quoted(argument, quote) for argument in argv]
    check_names(schema, overrides)
    return schema.of(composed(schema, overrides)[0])


def composed(schema: type[Settings], overrides: Sequence[str] = ()) -> tuple[dict[str, Any], dict[str, str]]:
    """Returns the values of `load` as plain dictionaries, not yet checked, and which file each group was given."""
    from hydra import compose, initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from hydra.errors import HydraException
    from omegaconf import OmegaConf, open_dict
    from omegaconf.errors import OmegaConfBaseException

    command = schema.__name__.removesuffix("Settings").lower()
    ConfigStore.instance().store(f"{command}_settings", defaults(schema))  # conf/train.yaml begins with it
    config = command if (CONF / f"{command}.yaml").is_file() else f"{command}_settings"
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            made = compose(config, list(overrides), return_hydra_config=True)
        chosen = {name: made.hydra.runtime.choices.get(name) for name in choices_of(schema)}
        with open_dict(made):
            del made["hydra"]
        plain = cast(dict[str, Any], OmegaConf.to_container(made, resolve=True))
    except ValueError as error:
        raise ConfigError("a number has too many digits; --help lists the settings") from error
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(f"{hydra_reason(error)}; --help lists the settings") from error
    return plain, chosen


def choices_of(schema: type[Settings]) -> dict[str, list[str]]:
    """Returns the names of the files in `conf/` for each group of settings that has some."""
    files = {name: sorted(file.stem for file in (CONF / name).glob("*.yaml")) for name in groups(schema)}
    return {name: names for name, names in files.items() if names}


def check_names(schema: type[Settings], overrides: Sequence[str]) -> None:
    """Raises ConfigError for the first argument that is not `name=value` with a name, or choice, that exists."""
    names, choices = {each.name for each in entries(schema)}, choices_of(schema)
    example = next((each for each in entries(schema) if each.option.example), None)
    like = f", as {example.name}={example.option.example}" if example else ""
    for argument in overrides:
        name, equals, value = argument.partition("=")
        if argument.startswith("-"):
            raise ConfigError(f"unknown flag '{argument}'; settings are written name=value, --help lists them")
        if not equals or not name:
            raise ConfigError(f"'{argument}' is no setting; write name=value{like}, --help lists the settings")
        if name in choices:
            if value not in choices[name]:  # a path would read a stranger's file
                raise ConfigError(f"{argument} must be {either(choices[name])}")
        elif any(each.startswith(f"{name}.") for each in names):
            inside = [each for each in names if each.startswith(f"{name}.")]
            raise ConfigError(f"{argument} is not possible: {name} is a group; set {either(sorted(inside))}")
        elif name not in names:
            raise unknown(name, schema)


def help_of(schema: type[Settings]) -> str:
    """Returns what `--help` prints of the settings: every name and default, what it is for, and what it may be."""
    values, chosen = composed(schema)
    lines = help_lines(schema, values, chosen)
    return "\n".join(["Settings, written name=value, with their defaults:", "", *lines])


def help_lines(schema: type[Settings], values: Mapping[str, Any], chosen: Mapping[str, str]) -> Iterator[str]:
    """Yields the lines of `help_of` for a class of settings and its groups."""
    for each in entries_here(schema):
        value = values[each.name.removeprefix(schema.PREFIX)]
        left = each.name if each.option.example else f"{each.name}={as_typed(value)}"
        kind = "must be given" if each.option.example else "" if each.hint is bool else each.allowed
        yield help_line(left, each.option.doc + (f" ({kind})" if kind and "text" not in kind else ""))
    for name, part in groups(schema).items():
        yield ""
        if name in chosen:
            yield help_line(f"{name}={chosen[name]}", f"{either(choices_of(schema)[name])}; sets what follows")
        yield from help_lines(part, values[name], {})


def help_line(left: str, right: str) -> str:
    """Returns two columns, the right one wrapped."""
    indent = " " * HELP_INDENT
    text = textwrap.fill(right, HELP_WIDTH, initial_indent=indent, subsequent_indent=indent)
    return left + text[len(left) :] if len(left) < HELP_INDENT - 1 else f"{left}\n{text}"


def hydra_reason(error: Exception) -> str:
    """Returns the first line of Hydra's message that says what is wrong, without its advice on Hydra itself."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    cause = str(error.__cause__).splitlines()[0] if error.__cause__ and str(error.__cause__).strip() else ""
    return f"{lines[0]} ({cause})" if cause and cause not in lines[0] else lines[0]


def quoted(argument: str, texts: Collection[str]) -> str:
    """Returns the argument with its value quoted for Hydra's grammar, if it sets one of the `texts`.

    A name in brackets is a name too: `[a].mp4` is a file, not a list. See `local_name` for what else may name a file.

    >>> quoted("video=my clip (1).mp4", {"video"})
    "video='my clip (1).mp4'"
    """
    name, equals, value = argument.partition("=")
    already = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    if not equals or name not in texts or already or value == "null":
        return argument
    value = re.sub(r"(\\*)'", lambda match: match.group(1) * 2 + r"\'", local_name(value))
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
    if isinstance(value, (list, tuple)):
        return [str(each) for each in value]
    text = str(value)
    if os.path.exists(text):  # noqa: PTH110 (a name with a comma in it; Path's own raises on a long list)
        return [text]
    if text[0] == "[" and text[-1] == "]":
        text = text[1:-1]
    quote = "'" if re.search(r"(^|,)\s*'[^']*'\s*(,|$)", text) else '"'
    try:
        names = next(csv.reader([text], quotechar=quote, skipinitialspace=True), [])
    except csv.Error:  # a line break, which a list has not
        names = [text]
    return [name.strip() for name in names if name.strip()]


def table(cells: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table that reads well as it is; the first row is its head, columns of numbers stand right.

    >>> print(table([["net", "error"], ["wave", "0.1"], ["clouds", "-"]]))
    | net    | error |
    |--------|------:|
    | wave   |   0.1 |
    | clouds |     - |
    """
    lines, rule = [[] for _ in cells], []
    for column in zip(*cells, strict=True):
        width, right = max(map(len, column)), all(NUMBER.fullmatch(text) for text in column[1:])
        rule.append("-" * (width + 1) + (":" if right else "-"))
        for line, text in zip(lines, column, strict=True):
            line.append(f" {text:{'>' if right else '<'}{width}} ")
    return "\n".join(f"|{'|'.join(line)}|" for line in [lines[0], rule, *lines[1:]])


def one_line(message: object) -> str:
    r"""Returns the message without line breaks, passwords in addresses, and signs that a terminal would obey.

    >>> print(one_line("no\n  rtsp://bob:secret@cam/1 \x1b[2J"))
    no rtsp://***@cam/1 \x1b[2J
    """
    return printable(re.sub(r"(\w+://)[^/@\s]+@", r"\1***@", " ".join(str(message).split())))


def printable(text: str) -> str:
    """Returns the text with escapes for what no terminal shows: control signs, and bytes of names that are no UTF-8."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


class Notes(logging.Formatter):
    """Makes a warning one line that begins with "note:"."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line."""
        return f"note: {one_line(record.getMessage())}"


def open_streams() -> None:
    """Makes the standard streams safe to write to: none is closed, and every file name can be written to them.

    A closed one (`>&-`, as services have it) becomes the null device. Else the next file that is opened would take its
    number, and what a library prints would end up in that file.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, number)
            if null != number:
                os.close(null)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):  # names go out as the bytes that they are, where the coding allows it
        utf8 = sys.stdout.encoding.lower() in ("utf-8", "utf8")
        sys.stdout.reconfigure(errors="surrogateescape" if utf8 else "backslashreplace")
    handler = logging.StreamHandler()
    handler.setFormatter(Notes())
    logging.basicConfig(handlers=[handler])


def report(text: str, end: str = "\n") -> None:
    """Prints on standard output. Where nobody reads that, or it is full, a note says so, and the work goes on."""
    try:
        print(text, end=end, flush=True)
    except OSError as error:
        note(f"note: standard output takes no more: {(error.strerror or str(error)).lower()}")
        drop_output()


def note(line: str) -> None:
    """Prints a line on standard error, if that takes it."""
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def drop_output() -> None:
    """Sends what is and will be printed on standard output nowhere, so that it raises no more errors."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.stdout.flush()


def leave(status: int, line: str) -> NoReturn:
    """Prints `line` on standard error and ends the process with `status`."""
    note(line)
    try:
        sys.stdout.flush()
    except OSError:
        drop_output()
    sys.exit(status)
