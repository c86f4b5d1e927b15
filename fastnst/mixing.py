"""Mixtures of styles: nets that descend from one net, averaged weight by weight, paint what lies between them.

`picasso:0.6,wave:0.4` is a mixture; `picasso@0s -> wave@10s` moves from one to the other while the clip goes by.
"""

from __future__ import annotations

import math
import os
import re
from bisect import bisect
from collections.abc import Mapping, Sequence
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fastnst.cli import listed
from fastnst.errors import ConfigError

if TYPE_CHECKING:  # what is wrong with a mixture is said before torch is imported, which takes seconds
    from torch import Tensor, nn

    from fastnst.checkpoint import Checkpoint

ALIKE = 0.2  # cosine between the weights of two nets: 0.34 to 0.6 for those that ship, 0.00 for strangers
SHARE = r"\d{1,7}(?:\.\d{1,9})?|\.\d{1,9}"
EXAMPLE = "picasso:0.6,wave:0.4, or 'picasso@0s -> wave@10s'"


class Stop(NamedTuple):
    """A mixture and when it is reached.

    Attributes:
        shares: of each checkpoint, by name; their sum is 1.
        seconds: from the beginning of the clip.
    """

    shares: dict[str, float]
    seconds: float = 0.0


def stops_of(text: str) -> list[Stop]:
    """Returns what a `ckpt` names: one stop, or more if the style moves; a file's name is that file.

    Raises:
        ConfigError: a share or a time is no number, or times do not rise.

    >>> stops_of("wave"), stops_of("picasso:3,wave:1")
    ([Stop(shares={'wave': 1.0}, seconds=0.0)], [Stop(shares={'picasso': 0.75, 'wave': 0.25}, seconds=0.0)])
    >>> [stop.seconds for stop in stops_of("picasso@0s -> wave@2.5s")]
    [0.0, 2.5]
    """
    if len(text) < 4096 and Path(text).is_file():
        return [Stop({text: 1.0})]
    parts = [part.strip() for part in text.split("->")]
    if len(parts) == 1 and "@" not in text:
        return [Stop(shares_of(text))]
    stops = []
    for part in parts:
        found = re.fullmatch(r"(.+)@(\d{1,7}(?:\.\d{1,6})?)s?", part)
        if not found:
            raise ConfigError(f"ckpt={text} should be like {EXAMPLE}: '{part}' has no time")
        stops.append(Stop(shares_of(found[1]), float(found[2])))
    times = [stop.seconds for stop in stops]
    if any(after <= before for before, after in pairwise(times)):
        raise ConfigError(f"ckpt={text} should have rising times")
    return stops


def styles_of(ckpt: str | Sequence[str]) -> list[str]:
    """Returns the nets that a setting lists, where a mixture is one: its parts have shares.

    In a list of Python, or in quotes, each stays what it is.

    >>> styles_of("[picasso,picasso:0.6,wave:0.4,wave]")
    ['picasso', 'picasso:0.6,wave:0.4', 'wave']
    """
    if not isinstance(ckpt, str):
        return list(ckpt)
    styles: list[str] = []
    open_mixture = False  # whether the last one's parts stood in no quotes, so that another may follow
    for name in listed(ckpt):
        is_part = bool(re.fullmatch(rf"[^,]+:({SHARE})", name)) and not os.path.lexists(name)
        if is_part and open_mixture:
            styles[-1] += f",{name}"
        else:
            styles.append(name)
        open_mixture = is_part
    return styles


def shares_of(text: str) -> dict[str, float]:
    """Returns the checkpoints of a mixture with their shares, which add up to 1.

    Raises:
        ConfigError: a share is no positive number, or missing.
    """
    shares: dict[str, float] = {}
    parts = [part.strip() for part in text.split(",")]
    for part in parts:
        name, colon, share = part.rpartition(":")
        if len(parts) == 1 and not (colon and re.fullmatch(r"[\d.]+", share)):
            return {text.strip(): 1.0}
        if not name or not re.fullmatch(SHARE, share):
            raise ConfigError(f"ckpt={text} should be like {EXAMPLE}: '{part}' has no share")
        shares[name] = shares.get(name, 0.0) + float(share)
    whole = sum(shares.values())
    if not whole:
        raise ConfigError(f"ckpt={text} should have a share above 0")
    return {name: share / whole for name, share in shares.items()}


def mixed(shares: Mapping[str, float]) -> Checkpoint:
    """Returns the net whose weights are the average of those of the checkpoints, by their shares.

    Source: Wortsman et al. 2022, arXiv:2203.05482 (averages of nets that were tuned from one), here of styles.

    Raises:
        InputError: a checkpoint does not exist or is damaged.
        ConfigError: there are no shares, one is negative, or the nets cannot be mixed, see `check_related`.
    """
    from fastnst.checkpoint import Checkpoint, load_checkpoint

    whole = sum(shares.values())
    if not shares or min(shares.values()) < 0 or not 0 < whole < math.inf:
        raise ConfigError(
            f"the shares {dict(shares)} should be positive numbers, such as {{'picasso': 0.6, 'wave': 0.4}}"
        )
    loaded = {name: load_checkpoint(name) for name in shares}
    check_related(loaded)
    first = next(iter(loaded.values()))
    if len(loaded) == 1:
        return first
    states = [each.net.state_dict() for each in loaded.values()]
    parts = [share / whole for share in shares.values()]
    first.net.load_state_dict({
        key: sum(part * state[key] for part, state in zip(parts, states, strict=True)) for key in states[0]
    })  # fmt: skip
    style = "-".join(f"{each.style}{round(100 * part)}" for each, part in zip(loaded.values(), parts, strict=True))
    return Checkpoint(first.net, style[:100], {"mixed": dict(zip(shares, parts, strict=True))})


def check_related(loaded: Mapping[str, Checkpoint]) -> None:
    """Raises ConfigError if the nets have different shapes, or do not descend from one net.

    They do if they name the same ancestor, or one is the other's; where they name none, if their weights are alike.
    """
    names = list(loaded)
    for name in names[1:]:
        first, other = loaded[names[0]], loaded[name]
        pair = f"'{names[0]}' and '{name}'"
        if first.net.settings != other.net.settings:
            own, others = first.net.settings, other.net.settings
            what = ", ".join(sorted(key for key in own | others if own.get(key) != others.get(key)))
            raise ConfigError(f"{pair} differ in {what}: mix nets of one preset, all with a canvas or all without")
        if ancestor_of(first) != ancestor_of(other) and likeness(first.net, other.net) < ALIKE:
            remedy = f"train one from the other: net.init={names[0]}"
            raise ConfigError(f"{pair} do not descend from one net, so that their average paints nothing; {remedy}")


def ancestor_of(checkpoint: Checkpoint) -> str:
    """Returns the hash of the weights of the first net that a net's training went back to; its own if there is none."""
    return str(checkpoint.recipe.get("ancestor") or fingerprint(checkpoint.net.state_dict()))


def fingerprint(*states: Mapping[str, Tensor]) -> str:
    """Returns what tells the weights of nets from others: a hash of them."""
    digest = sha256()
    for state in states:
        for weights in state.values():
            digest.update(weights.cpu().numpy().tobytes())
    return digest.hexdigest()


def likeness(net: nn.Module, other: nn.Module) -> float:
    """Returns the cosine between the convolutions' weights of two nets of one shape."""
    import torch

    flat = [
        torch.cat([weight.float().flatten() for weight in each.state_dict().values() if weight.dim() == 4])
        for each in (net, other)
    ]
    return torch.cosine_similarity(*flat, dim=0).item()


class Moving:
    """The weights of a net as they move from one mixture to the next.

    Args:
        stops: when each is reached, seconds.
        states: their weights, by name, each on the net's device.
    """

    def __init__(self, stops: Sequence[float], states: Sequence[Mapping[str, Tensor]]) -> None:
        self.stops, self.states = list(stops), list(states)

    def at(self, seconds: float) -> dict[str, Tensor]:
        """Returns the weights at a time: those of the first or last stop outside, and in between on the line."""
        import torch

        after = bisect(self.stops, seconds)
        if after in (0, len(self.stops)):
            return dict(self.states[min(after, len(self.stops) - 1)])
        start, end = self.stops[after - 1 : after + 1]
        share = (seconds - start) / (end - start)
        before, next_one = self.states[after - 1 : after + 1]
        return {key: torch.lerp(each, next_one[key], share) for key, each in before.items()}
