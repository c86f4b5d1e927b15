"""Judges nets, and clips that any program has stylized: python -m fastnst.evaluate ckpt=a.ckpt,wave videos=folder."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from fastnst import cli
from fastnst.checkpoint import Checkpoint, load_checkpoint
from fastnst.cli import listed
from fastnst.errors import ConfigError, InputError, OutputError
from fastnst.evaluate.judge import ClipFile, Grams, Painter, evaluate_clip, file_painter, net_painter, style_grams
from fastnst.evaluate.report import Show, front, means, side_by_side, tables, write_results
from fastnst.images import load_style, paintings, save_image, to_tensor
from fastnst.progress import Progress
from fastnst.stylizer import NORMS, find_device
from fastnst.vgg import VGGFeatures, load_vgg
from fastnst.video.opening import find_videos
from fastnst.video.reader import VideoReader

USAGE = """
python -m fastnst.evaluate ckpt=a.ckpt,wave videos=FOLDER
python -m fastnst.evaluate stylized=PAINTED videos=FOLDER style_image=style.jpg

Prints how still nets hold and how much of the style they have, beside the input's own values: means over the clips,
then clip by clip. PAINTED is a folder with what any program made of the clips in FOLDER, under their names.
Exit status: 0 done, 2 wrong settings, 3 unreadable input, 4 results exist or cannot be written, 5 the machine lacks
something.
"""
PATHS = ("ckpt", "stylized", "videos", "out", "style_image", "vgg")
STYLE_SIZE = 384  # pixels, as in conf/style/*.yaml
LIMITS = {"max_side": (64, 16384), "frames": (2, 10**9), "style_size": (64, 4096), "threads": (1, 1024)}


class Contender(NamedTuple):
    """What is judged.

    Attributes:
        name: of its rows.
        start: from a clip's name to the painter at its first frame.
        style: the style's name.
        grams: of the style picture; None if the style is unknown.
    """

    name: str
    start: Callable[[str], Painter]
    style: str
    grams: Grams | None


def evaluate(settings: dict[str, Any]) -> None:
    """Checks what can be checked in no time, measures, prints the tables, writes the files."""
    check(settings)
    clips = find_clips(listed(settings["videos"]))
    lengths = [length(path, settings["frames"]) for path in clips.values()]  # opens them: what is unreadable shows now
    out = Path(settings["out"]).expanduser() if settings["out"] else None
    if out:
        prepare(out, settings["overwrite"])
    if settings["threads"]:
        torch.set_num_threads(settings["threads"])
    vgg = load_vgg(settings["vgg"]).to(find_device(settings["device"]))
    contenders = [*nets(settings, vgg), *painted_clips(settings, vgg, clips)]
    names = [each.name for each in contenders]
    if twice := {name for name in names if names.count(name) > 1 or name == "input"}:
        raise ConfigError(f"two rows would be called '{twice.pop()}': give the files other names")

    progress, done, rows = Progress("frame"), count(1), []
    total = None if None in lengths else sum(filter(None, lengths))
    try:
        for name, path in clips.items():
            clip = ClipFile(path, settings["max_side"], settings["frames"])
            painters = {each.name: each.start(name) for each in contenders}
            grams = {each.name: each.grams for each in contenders}
            with side_by_side(out and out / "clips" / f"{name}.mp4", frame_rate(path)) as write:

                def show(frames: Mapping[str, Tensor], write: Show = write) -> None:
                    progress(next(done), total)
                    write(frames)

                found = evaluate_clip(clip, painters, vgg, grams, show)
            rows += [{"net": net, "clip": name, **numbers} for net, numbers in found.items()]
    finally:
        progress.close()
    rows = [*means(rows), *rows]
    print(tables(rows))
    if out:
        write_results(out, rows, settings)
        plot = front(rows, {each.name: each.style for each in contenders})
        save_image(np.asarray(plot), out / "front.png")
        print(f"'{out}' has results.csv, results.json, front.png, clips/", file=sys.stderr)


def check(settings: dict[str, Any]) -> None:
    """Raises ConfigError for the first setting that is missing or out of range."""
    if not settings["videos"]:
        raise ConfigError("videos is missing; write videos=FOLDER, --help lists the settings")
    if not settings["ckpt"] and not settings["stylized"]:
        raise ConfigError("nothing to judge; write ckpt=picasso or stylized=FOLDER, --help lists the settings")
    for name, (low, high) in LIMITS.items():
        value = settings[name]
        if value is not None and not (type(value) is int and low <= value <= high):
            raise ConfigError(f"{name}={value} should be a whole number from {low} to {high}")
    if settings["norm"] not in NORMS:
        raise ConfigError(f"norm={settings['norm']} should be {' or '.join(NORMS)}")


def find_clips(names: Sequence[str]) -> dict[str, Path]:
    """Returns the clips by name: files, and the video files of folders, without their subfolders.

    Raises:
        InputError: there is none in a folder, or two have one name.
    """
    clips: dict[str, Path] = {}
    for name in names:
        path = Path(name).expanduser()
        found = [path]
        if path.is_dir():
            found = find_videos(path)
            if not found:
                raise InputError(f"no clips in '{path}'")
        for file in found:
            if file.stem in clips:
                raise InputError(f"two clips are called '{file.stem}': '{clips[file.stem]}' and '{file}'")
            clips[file.stem] = file
    return clips


def length(path: Path, limit: int | None) -> int | None:
    """Returns how many frames of a clip will be looked at, for the progress bar; None if the file does not say."""
    with VideoReader(path) as reader:
        return limit if reader.frame_count is None else min(reader.frame_count, limit or reader.frame_count)


def frame_rate(path: Path) -> Fraction:
    """Returns a clip's average frame rate."""
    with VideoReader(path) as reader:
        return reader.frame_rate


def nets(settings: dict[str, Any], vgg: VGGFeatures) -> Iterator[Contender]:
    """Yields the checkpoints, each under its file's name, or as it was given where two files have one name."""
    given = list(dict.fromkeys(listed(settings["ckpt"])))
    stems = [Path(name).stem for name in given]
    for name, stem in zip(given, stems, strict=True):
        checkpoint = load_checkpoint(name)
        net = checkpoint.net.to(vgg.mean.device)
        row = stem if stems.count(stem) == 1 else name
        grams = known_style(style_picture(checkpoint, settings), row, vgg)

        def start(clip: str, net: nn.Module = net) -> Painter:
            return net_painter(net, settings["norm"])

        yield Contender(row, start, style_name(settings) or checkpoint.style, grams)


def painted_clips(settings: dict[str, Any], vgg: VGGFeatures, clips: Mapping[str, Path]) -> Iterator[Contender]:
    """Yields the folders of clips that are stylized already.

    Raises:
        InputError: a folder lacks a clip, or one of its clips has more frames than the input, or too few.
    """
    for folder in listed(settings["stylized"]):
        found = find_clips([folder])
        for name, path in clips.items():
            if name not in found:
                styled = [stem for stem in found if stem.startswith(f"{name}_")]  # as infer.py calls them
                if len(styled) != 1:
                    raise InputError(f"'{folder}' has no clip called '{name}', as '{path}' is")
                found[name] = found[styled[0]]
            own, frames, limit = length(found[name], None), length(path, None), settings["frames"]
            if own and frames and own > 1.02 * frames + 1:
                raise InputError(f"'{found[name]}' has {own} frames, '{path}' {frames}: it was made of another clip")
            if own and frames and own < min(frames, limit or frames):
                raise InputError(f"'{found[name]}' has {own} frames, '{path}' {frames}; frames={own} judges as many")

        def start(clip: str, found: dict[str, Path] = found) -> Painter:
            return file_painter(ClipFile(found[clip], settings["max_side"], settings["frames"]))

        name = Path(folder).resolve().name
        grams = known_style(style_picture(None, settings), name, vgg)
        yield Contender(name, start, style_name(settings) or "unknown", grams)


def style_picture(checkpoint: Checkpoint | None, settings: dict[str, Any]) -> np.ndarray | None:
    """Returns the style picture that is given, or that a checkpoint's recipe names; None if neither says."""
    recipe = checkpoint.recipe if checkpoint else {}
    told, (low, high) = recipe.get("style_size"), LIMITS["style_size"]
    trained = told if type(told) is int and low <= told <= high else STYLE_SIZE  # a header is a stranger's input
    given, size = settings["style_image"], settings["style_size"] or trained
    if given:
        return load_style(given, size)
    if checkpoint is None or checkpoint.style not in paintings():
        return None
    picture = load_style(checkpoint.style, trained)
    if recipe.get("style_sha256") != hashlib.sha256(picture.tobytes()).hexdigest():
        return None  # somebody's own picture may be called wave.jpg
    return picture if size == trained else load_style(checkpoint.style, size)


def style_name(settings: dict[str, Any]) -> str:
    """Returns the name of the style that is given, or nothing."""
    return Path(settings["style_image"] or "").stem


def known_style(picture: np.ndarray | None, row: str, vgg: VGGFeatures) -> Grams | None:
    """Returns the Gram matrices of the style picture, or says that there is none."""
    if picture is None:
        print(f"note: no style loss of '{row}', its style picture is unknown: style_image= names it", file=sys.stderr)
        return None
    return style_grams(vgg, to_tensor(picture))


def prepare(out: Path, overwrite: bool) -> None:
    """Makes the folder of the results; raises OutputError if it holds some, or cannot be made."""
    if (out / "results.json").exists() and not overwrite:
        raise OutputError(f"'{out}' holds results already; use overwrite=true or another out=")
    try:
        (out / "clips").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder '{out}': {(error.strerror or str(error)).lower()}") from error


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command with the arguments after its name; None: those of the process."""
    cli.main(evaluate, "evaluate", USAGE, PATHS, argv)


if __name__ == "__main__":
    main()
