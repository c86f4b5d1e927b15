"""The verdict on all contenders and clips that the settings name: measured, printed, written to files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import torch
from torch import Tensor

from fastnst import cli
from fastnst.cli import listed
from fastnst.errors import EnvironmentFault, OutputError
from fastnst.evaluate.contenders import ClipFile, Contender, clip_length, find_clips, find_contenders
from fastnst.evaluate.judge import evaluate_clip
from fastnst.evaluate.report import Row, Show, means, side_by_side, tables, write_results
from fastnst.files import local_name
from fastnst.progress import Progress
from fastnst.settings import EvaluateSettings
from fastnst.stylizer import find_device
from fastnst.vgg import VGGFeatures, load_vgg


def give_verdict(settings: EvaluateSettings) -> None:
    """Measures each contender on each clip, prints the tables, writes the files."""
    clips = find_clips(listed(settings.videos))
    lengths = [
        clip_length(path, settings.frames) for path in clips.values()
    ]  # opens them: what is unreadable shows now
    total = None if None in lengths else sum(filter(None, lengths))
    out = Path(local_name(settings.out)) if settings.out else None
    if out:
        prepare_results(out, settings.overwrite)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    vgg = load_vgg(settings.vgg).to(find_device(settings.device))
    contenders = find_contenders(settings, vgg, clips)
    with Progress("frame") as progress:
        rows = measure(settings, clips, contenders, vgg, out, lambda done: progress(done, total))
    cli.report(tables([*means(rows), *rows], settings.flow))
    if out:
        write_results(out, rows, settings.by_name(), {each.name: each.style for each in contenders})
        cli.note(f"'{out}' has results.csv, results.json, front.png, clips/")


def measure(
    settings: EvaluateSettings,
    clips: Mapping[str, Path],
    contenders: Sequence[Contender],
    vgg: VGGFeatures,
    out: Path | None,
    progress: Callable[[int], None],
) -> list[Row]:
    """Returns a row for each contender on each clip, and for the clips themselves.

    Args:
        settings: how much of the clips is looked at, and along which flow.
        clips: by name.
        contenders: what is judged.
        vgg: the loss network.
        out: the folder for the side-by-side clips; None for none.
        progress: is called after each frame with the number of frames so far.
    """
    rows, done = [], count(1)
    grams = {each.name: each.grams for each in contenders}
    for name, path in clips.items():
        clip = ClipFile(path, settings.max_side, settings.frames)
        renditions = {each.name: each.start(name) for each in contenders}
        with side_by_side(out and out / "clips" / f"{name}.mp4", clip.frame_rate) as write:

            def show(frames: Mapping[str, Tensor], write: Show = write) -> None:
                progress(next(done))
                write(frames)

            found = evaluate_clip(clip, renditions, vgg, grams, show, settings.flow)
        rows += [{"net": net, "clip": name, **numbers} for net, numbers in found.items()]
    return rows


def prepare_results(out: Path, overwrite: bool) -> None:
    """Makes the folder of the results.

    Raises:
        OutputError: it holds results already, or cannot be made.
        EnvironmentFault: the plot cannot be drawn here.
    """
    if (out / "results.json").exists() and not overwrite:
        raise OutputError(f"'{out}' holds results already; use overwrite=true or another out=")
    if find_spec("matplotlib") is None:
        raise EnvironmentFault("out= needs matplotlib, for its plot: pip install 'fastnst[report]'")
    try:
        (out / "clips").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder '{out}': {(error.strerror or str(error)).lower()}") from error
