"""Trained nets on disk: small, safe, and complete in one file.

A checkpoint is a safetensors file, whatever it is called: the weights in half precision, and in its header the net's
settings, the style's name and the recipe that made it. It holds no code and no pickle, so a stranger's is safe to open.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize

from fastnst.errors import ConfigError, FastnstError, InputError
from fastnst.files import check_input, replaced
from fastnst.net import StylizationNet

FORMAT = 1
SHIPPED = [Path(__file__).parent / "checkpoints", Path(__file__).parent.parent / "checkpoints"]  # wheel, repository
STYLE_NAME = re.compile(r"[\w.-]{1,100}")  # letters of any script, digits, dots, dashes: never a path separator


@dataclass(frozen=True)
class Checkpoint:
    """A trained net with its name and history.

    Attributes:
        net: the net, in float32, in evaluation mode, on the CPU.
        style: the style's name, which output files carry.
        recipe: what made it: style hash, data hash, steps, seed, weights, final losses. Plain JSON values.
    """

    net: StylizationNet
    style: str
    recipe: dict[str, Any] = field(default_factory=dict)


def save_checkpoint(path: str | Path, net: StylizationNet, style: str, recipe: dict[str, Any]) -> None:
    """Writes a net for use, the weights in half precision; the file appears under its name only when it is whole.

    Raises:
        ConfigError: `style` is not a plain name.
        OutputError: the file cannot be written; an older one of that name is untouched.
    """
    if not STYLE_NAME.fullmatch(style):
        raise ConfigError(f"style name {style!r} may hold letters, digits, '.', '_' and '-' only")
    weights = {name: value.detach().half().cpu().contiguous() for name, value in net.state_dict().items()}
    about = {"format": FORMAT, "style": style, "net": net.settings, "recipe": recipe}
    with replaced(path) as part:
        part.write_bytes(serialize(weights, metadata={"fastnst": json.dumps(about)}))


def load_checkpoint(name: str | Path, many: bool = False) -> Checkpoint:
    """Returns the checkpoint at the path `name`, or the shipped one of that name: `load_checkpoint("picasso")`.

    `base:wave` is one style of a net of many.

    Args:
        name: the file, or the name.
        many: whether a net of many styles will do, too.

    Raises:
        InputError: there is no such file, or it is not a whole fastnst checkpoint.
        ConfigError: it is a net of many styles, and none that it knows is named.
    """
    path, style = find_style(name)
    found = read_checkpoint(path)
    if style is not None:
        return Checkpoint(found.net.of_style(style).requires_grad_(False), style, found.recipe)
    if found.net.styles and not many:
        example = f"{name}:{found.net.styles[0]}"
        raise ConfigError(
            f"'{name}' is a net of many styles, name one of them: {example}; it knows {', '.join(found.net.styles)}"
        )
    return found


def read_checkpoint(path: Path) -> Checkpoint:
    """Returns the checkpoint in a file; raises InputError if it is not a whole fastnst checkpoint."""
    check_input(path, "checkpoint")
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get("fastnst", "null"))
            net, style, recipe = described(path, about)
            check_shapes(path, {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}, net)  # noqa: SIM118
            weights = {key: in_float32(file.get_tensor(key)) for key in net.state_dict()}  # only now memory is taken
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise InputError(f"'{path}' is not a fastnst checkpoint ({looks_like(path)})") from error
    if broken := [name for name, value in weights.items() if not torch.isfinite(value).all()]:
        raise InputError(f"'{path}' holds weights that are not finite numbers: {', '.join(broken[:3])}")
    net.load_state_dict(weights, assign=True)
    return Checkpoint(net.eval().requires_grad_(False), style, recipe)


def read_cards(path: Path) -> dict[str, Any]:
    """Returns the cards in a file that `read_checkpoint` could read, by style; see `fastnst.evaluate.card`."""
    with safe_open(path, framework="pt") as file:
        cards = json.loads(file.metadata()["fastnst"]).get("cards")
    return cards if isinstance(cards, dict) else {}


def write_card(path: Path, style: str, card: dict[str, Any]) -> None:
    """Puts the card of a style into a file that `read_checkpoint` could read, in place of an older one.

    All else in the header stays as it is, and the weights bit for bit.

    Raises:
        OutputError: the file cannot be written; it is as it was.
    """
    whole = path.read_bytes()
    end = 8 + int.from_bytes(whole[:8], "little")  # of the header, as safetensors has it
    header = json.loads(whole[8:end])
    about = json.loads(header["__metadata__"]["fastnst"])
    header["__metadata__"]["fastnst"] = json.dumps(about | {"cards": read_cards(path) | {style: card}})
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with replaced(path) as part:
        part.write_bytes(len(text).to_bytes(8, "little") + text + whole[end:])


def described(path: Path, about: Any) -> tuple[StylizationNet, str, dict[str, Any]]:
    """Returns what a checkpoint's header describes: the net, without memory for its weights, its style and recipe.

    Raises:
        InputError: the header is not fastnst's, or makes no sense.
    """
    if not isinstance(about, dict):
        raise InputError(f"'{path}' is not a fastnst checkpoint (safetensors, but not written by fastnst)")
    if about.get("format") != FORMAT:
        raise InputError(
            f"'{path}' has checkpoint format {about.get('format')!r}, this fastnst reads {FORMAT}; update it"
        )
    try:
        settings, style, recipe = about["net"], str(about["style"]), about.get("recipe", {})
        if not STYLE_NAME.fullmatch(style):
            raise InputError(f"'{path}' carries the style name {style!r}, which is not a plain name")
        if not isinstance(recipe, dict):
            raise ValueError("the recipe is not a mapping")
        with torch.device("meta"):
            return StylizationNet(**checked_settings(settings)), style, recipe
    except FastnstError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"'{path}' is a damaged fastnst checkpoint (its header makes no sense)") from error


def find_style(name: str | Path) -> tuple[Path, str | None]:
    """Returns the file that `name` stands for, and the style that `base:wave` takes of it; None for all of it.

    Raises:
        InputError: there is no such file.
    """
    whole, _, style = str(name).rpartition(":")
    if whole and not is_file(name) and is_there(whole):
        return find_checkpoint(whole), style
    return find_checkpoint(name), None


def find_checkpoint(name: str | Path) -> Path:
    """Returns the path that `name` stands for: a file, or the name of a checkpoint that ships.

    Raises:
        InputError: neither exists.
    """
    path = Path(name)
    if is_file(name):
        return path
    if STYLE_NAME.fullmatch(str(name)):
        for folder in SHIPPED:
            if (folder / f"{name}.ckpt").is_file():
                return folder / f"{name}.ckpt"
    shipped = sorted({file.stem for folder in SHIPPED for file in folder.glob("*.ckpt")})
    problem = "is a folder" if path.is_dir() else "does not exist"
    raise InputError(f"checkpoint '{name}' {problem}; give a file, or one that ships: {', '.join(shipped)}")


def is_there(name: str) -> bool:
    """Returns whether `find_checkpoint` finds a checkpoint."""
    try:
        find_checkpoint(name)
    except InputError:
        return False
    return True


def is_file(name: str | Path) -> bool:
    """Returns whether there is a file of that name; raises InputError if that cannot be said."""
    try:
        return Path(name).is_file()
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise InputError(f"cannot read checkpoint '{name}': {(error.strerror or str(error)).lower()}") from error


def checked_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Returns the net settings of a checkpoint's header if they are of a plausible size.

    A header is a stranger's input: without limits it could ask for a net of any size.

    Raises:
        ValueError: a setting is out of range.
    """
    channels, blocks = tuple(settings["channels"]), settings["residual_blocks"]
    if not all(type(count) is int for count in (*channels, blocks)):
        raise ValueError("net settings that are not whole numbers")
    settings = {"canvas": False, **settings}  # nets from before there was one
    if not all(type(settings.get(choice, False)) is bool for choice in ("antialias", "canvas")):
        raise ValueError("net settings that are no choice")
    least = (0, 1, 1)  # a lite net has no channels at full resolution
    in_range = len(channels) == 3 and all(low <= count <= 1024 for low, count in zip(least, channels, strict=True))
    if not in_range or not 0 <= blocks <= 64:
        raise ValueError("net settings out of range")
    styles = settings.get("styles", [])
    if not isinstance(styles, list) or len(styles) > 1000 or len(set(map(str, styles))) < len(styles):
        raise ValueError("styles that are no list of names")
    if not all(isinstance(style, str) and STYLE_NAME.fullmatch(style) for style in styles):
        raise ValueError("styles that are no plain names")
    return {**settings, "channels": channels}


def is_finite(net: torch.nn.Module) -> bool:
    """Returns whether all weights are finite numbers, also in the half precision that they are kept in."""
    return all(bool(value.half().isfinite().all()) for value in net.state_dict().values())


def in_float32(weights: torch.Tensor) -> torch.Tensor:
    """Returns a copy in float32 that does not depend on the file any more; raises ValueError if they are no floats."""
    if not weights.is_floating_point():
        raise ValueError(f"weights of type {weights.dtype}")
    return weights.to(torch.float32, copy=True)


def check_shapes(path: Path, found: dict[str, tuple[int, ...]], net: StylizationNet) -> None:
    """Raises InputError with the first differences if the shapes in the file do not fit `net` exactly."""
    wanted = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    if differences := [name for name in sorted(wanted.keys() | found.keys()) if wanted.get(name) != found.get(name)]:
        raise InputError(f"'{path}' does not fit its own settings; first differences: {', '.join(differences[:3])}")


def looks_like(path: Path) -> str:
    """Returns a guess, in words, at what a file that is no checkpoint is."""
    with open(path, "rb") as file:
        head = file.read(64)
    if head.startswith(b"version https://git-lfs"):
        return "looks like a Git LFS pointer: run 'git lfs pull'"
    if head.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x04")):
        return "looks like a PyTorch pickle, which fastnst does not open: a training checkpoint or another program's"
    return "truncated, or another kind of file"
