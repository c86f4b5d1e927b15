"""What settings are made of: fields of frozen dataclasses, each with a type, a default, a sentence and its limits.

A settings class is the schema of a command, the text of its `--help`, and the check of what was typed. Nothing is
checked a second time: a settings object that exists is right. The classes are in `fastnst.settings`.
"""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from types import UnionType
from typing import Any, ClassVar, Literal, NamedTuple, Self, Union, get_args, get_origin, get_type_hints

from fastnst.errors import ConfigError

LARGEST = 10**9  # of a whole number whose option names no limit
SHOWN = 80  # characters of a value in a message


@dataclass(frozen=True)
class Option:
    """What a field says about itself beside its type and default; `option` makes one.

    Attributes:
        doc: what it does, and when one wants it; without a full stop at the end.
        low, high: the smallest and the largest number; of a list, of each number in it.
        above: numbers must be larger than this.
        ordered: the numbers of a list must not fall.
        check: raises ConfigError, with the option's name, for a value that is wrong in another way.
        may_change: a run that resumes an earlier one may have another value, as the result stays the same.
        example: a value for the message that the option is missing; an option with an example must be given.
    """

    doc: str
    low: float | None = None
    high: float | None = None
    above: float | None = None
    ordered: bool = False
    check: Callable[[Any], object] | None = None
    may_change: bool = False
    example: str = ""


def option(default: Any, doc: str, **about: Any) -> Any:
    """Returns a dataclass field with a default and what `Option` holds."""
    return field(default=default, metadata={"option": Option(doc, **about)})


def group(schema: type[Settings]) -> Any:
    """Returns a dataclass field that holds settings of its own: a group, such as `temporal` in `temporal.weight`."""
    return field(default_factory=schema)


class Entry(NamedTuple):
    """One option of a command.

    Attributes:
        name: in full, as it is typed: "temporal.motion.zoom".
        hint: its type.
        default: its value if nobody says.
        option: what else is known about it.
    """

    name: str
    hint: Any
    default: Any
    option: Option

    @property
    def is_text(self) -> bool:
        """Whether text is taken as it was typed, such as a file name: Hydra's grammar would refuse some."""
        return self.hint is str or (get_origin(self.hint) in (Union, UnionType) and str in get_args(self.hint))

    @property
    def allowed(self) -> str:
        """What values the option takes, in words: "a whole number from 1 to 256, or null"."""
        return allowed(self.hint, self.option)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings that are checked when they are made; what is wrong is a ConfigError that names option and value.

    A list becomes a tuple, a whole number a float where the type is float, a number text where the type is `str`.

    Attributes:
        PREFIX: in front of the names of a group's options, with the dot; empty for a command's own.
    """

    PREFIX: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for each in entries_here(type(self)):
            name = each.name.rpartition(".")[2]
            object.__setattr__(self, name, checked(each, getattr(self, name)))
        self.check()

    def check(self) -> None:
        """Raises ConfigError for settings that do not go together; a class with such settings has its own."""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Returns the settings with the given values, by name, those of a group as a mapping too; the rest by default.

        Raises:
            ConfigError: a name does not exist, or a value is wrong.
        """
        parts = groups(cls)
        known = {each.name for each in fields(cls)}
        given = {}
        for name, value in values.items():
            if name not in known:
                raise unknown(cls.PREFIX + name, cls)
            if name in parts and not isinstance(value, (Mapping, parts[name])):
                raise ConfigError(f"{cls.PREFIX}{name}={as_typed(value)} is not possible: it is a group of settings")
            given[name] = parts[name].of(value) if name in parts and isinstance(value, Mapping) else value
        return cls(**given)

    def by_name(self, compared: bool = False) -> dict[str, Any]:
        """Returns all values by full name, lists as lists.

        Args:
            compared: only those that decide what the result is: all that are not marked `may_change`.
        """
        values = {}
        for each in entries_here(type(self)):
            value = getattr(self, each.name.rpartition(".")[2])
            if not (compared and each.option.may_change):
                values[each.name] = list(value) if isinstance(value, tuple) else value
        for name in groups(type(self)):
            values |= getattr(self, name).by_name(compared)
        return values


@cache
def hints_of(schema: type[Settings]) -> dict[str, Any]:
    """Returns the types of a class's fields, by name."""
    return get_type_hints(schema)


def groups(schema: type[Settings]) -> dict[str, type[Settings]]:
    """Returns the fields of a class that are groups of settings, by name."""
    hints = hints_of(schema)
    return {
        each.name: hints[each.name]
        for each in fields(schema)
        if isinstance(hints[each.name], type) and issubclass(hints[each.name], Settings)
    }


@cache
def entries_here(schema: type[Settings]) -> tuple[Entry, ...]:
    """Returns the options of a class without those of its groups: its own first, then those of its bases."""
    ages = {name: age for age, each in reversed([*enumerate(schema.__mro__)]) for name in inspect.get_annotations(each)}
    own_first = sorted(fields(schema), key=lambda each: ages[each.name])
    parts, hints = groups(schema), hints_of(schema)
    return tuple(
        Entry(schema.PREFIX + each.name, hints[each.name], each.default, each.metadata["option"])
        for each in own_first
        if each.name not in parts
    )


def entries(schema: type[Settings]) -> Iterator[Entry]:
    """Yields all options of a command, those of groups too."""
    yield from entries_here(schema)
    for part in groups(schema).values():
        yield from entries(part)


def defaults(schema: type[Settings]) -> dict[str, Any]:
    """Returns the default values as plain dictionaries and lists, None for an option that must be given."""
    own = {each.name.rpartition(".")[2]: each.default for each in entries_here(schema)}
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in own.items()}
    return plain | {name: defaults(part) for name, part in groups(schema).items()}


def checked(entry: Entry, value: Any) -> Any:
    """Returns the value as the option's type has it.

    Raises:
        ConfigError: it is of another type or out of range, with the option's full name, the value and what is allowed.
    """
    if entry.option.example and value in (None, "", (), []):
        raise ConfigError(
            f"{entry.name} is missing; write {entry.name}={entry.option.example}, --help lists the settings"
        )
    try:
        value = converted(entry.hint, value, entry.option)
    except ValueError:
        empty = " is empty; it" if value in ("", (), []) else ""
        raise ConfigError(f"{entry.name}={as_typed(value)}{empty} must be {entry.allowed}") from None
    if entry.option.check is not None and value is not None:
        try:
            entry.option.check(value)
        except ConfigError as error:
            raise ConfigError(str(error).replace(str(value), as_typed(value))) from error
    return value


def converted(hint: Any, value: Any, about: Option) -> Any:
    """Returns the value as the type `hint` has it; raises ValueError if it is of another type or out of range."""
    kind, inner = get_origin(hint), get_args(hint)
    if kind in (Union, UnionType):
        for each in inner:
            try:
                return converted(each, value, about)
            except ValueError:
                continue
    elif kind is Literal:
        if any(type(value) is type(each) and value == each for each in inner):
            return value
    elif kind is tuple:
        if isinstance(value, (list, tuple)):
            each = [inner[0]] * len(value) if inner[1:] == (...,) else inner
            items = tuple(converted(one, item, about) for one, item in zip(each, value, strict=True))
            if items and (not about.ordered or list(items) == sorted(items)):
                return items
    elif hint is float:
        if type(value) in (int, float) and math.isfinite(value) and in_range(value, about):
            return float(value)
    elif hint is int:
        if type(value) is int and in_range(value, about) and abs(value) <= max(LARGEST, about.high or 0):
            return value
    elif hint is str:
        if type(value) in (str, int, float) and value != "":
            return str(value)
    elif type(value) is hint:  # bool, None
        return value
    raise ValueError


def in_range(value: float, about: Option) -> bool:
    """Returns whether a number is within the option's limits."""
    low, high, above = about.low, about.high, about.above
    return (low is None or value >= low) and (high is None or value <= high) and (above is None or value > above)


def allowed(hint: Any, about: Option) -> str:
    """Returns in words which values fit.

    >>> allowed(int | None, Option("", low=1, high=256)), allowed(Literal["shot", "frame"], Option(""))
    ('a whole number from 1 to 256, or null', 'shot or frame')
    >>> allowed(tuple[float, float], Option("", low=0, high=1, ordered=True))
    'a list of 2 numbers from 0 to 1, in rising order'
    """
    kind, inner = get_origin(hint), get_args(hint)
    if kind in (Union, UnionType):
        words = [allowed(each, about) for each in inner if each is not type(None)]
        return " or ".join(words) + (", or null" if type(None) in inner else "")
    if kind is Literal:
        return either([as_typed(each) for each in inner])
    if kind is tuple:
        many = inner[1:] == (...,)
        count, what = "" if many else f"{len(inner)} ", allowed(inner[0], about)
        if get_origin(inner[0]) is Literal:
            return f"a list of {count}words ({what})"
        what = what.removeprefix("a ").replace("number", "numbers")
        return f"a list of {count}{what}" + (", in rising order" if about.ordered else "")
    if hint is int:
        return "a whole number" + limits(about.low, about.above, LARGEST if about.high is None else about.high)
    if hint is float:
        return "a number" + limits(about.low, about.above, about.high)
    return {bool: "true or false", str: "text"}[hint]


def limits(low: float | None, above: float | None, high: float | None) -> str:
    """Returns the range of a number in words, with a space in front; nothing if there is none."""
    if above is not None:
        return f" above {above:.12g}" + ("" if high is None else f", up to {high:.12g}")
    if low is not None and high is not None:
        return f" from {low:.12g} to {high:.12g}"
    return (f" of at least {low:.12g}" if low is not None else "") + (f" up to {high:.12g}" if high is not None else "")


def either(words: list[str]) -> str:
    """Returns the words with commas, and "or" before the last."""
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def as_typed(value: Any) -> str:
    """Returns a value as it is typed on a command line, shortened if it is long.

    >>> as_typed(None), as_typed(True), as_typed((0.0, 0.25)), as_typed("x" * 99)[-4:]
    ('null', 'true', '[0.0,0.25]', 'x...')
    """
    if isinstance(value, (list, tuple)):
        text = f"[{','.join(map(as_typed, value))}]"
    else:
        text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def unknown(name: str, schema: type[Settings]) -> ConfigError:
    """Returns the error for an option that does not exist, with the nearest one that does."""
    names = [each.name for each in entries(schema)] + list(groups(schema))
    last = {each.rpartition(".")[2]: each for each in reversed(names)}
    near = [each for each in names if each.rpartition(".")[2] == name.rpartition(".")[2]]
    near = near or difflib.get_close_matches(name, names, 1)
    near = near or [last[each] for each in difflib.get_close_matches(name.rpartition(".")[2], last, 1)]
    remedy = f"did you mean {either(near[:3])}?" if near else "--help lists the settings"
    return ConfigError(f"there is no setting '{as_typed(name)}'; {remedy}")
