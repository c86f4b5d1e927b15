"""Stylizes videos and pictures, one or many: what `python infer.py` and `fastnst infer` run."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fastnst import cli
from fastnst.errors import ConfigError, DamagedInput
from fastnst.files import check_input, kind_of
from fastnst.jobs import Job, check_folder, check_out, find_sources, jobs_of, one_batch, run_all
from fastnst.progress import Progress
from fastnst.settings import InferSettings

if TYPE_CHECKING:  # what is wrong with the settings or the input is said before torch is imported, which takes seconds
    from fastnst.stylizer import Stylizer, Summary
    from fastnst.video.reader import VideoReader

USAGE = """
python infer.py video=in.mp4 ckpt=checkpoints/picasso.ckpt

Stylizes a video frame by frame; frame count, timing, size and sound are kept. Many at once: video=[a.mp4,b.mp4],
video='clips/*.mp4' or video=FOLDER, and out=FOLDER. Outputs that exist are skipped; what fails does not stop the rest.
Exit status: 0 done, 2 wrong settings, 3 unreadable input, 4 output exists or cannot be written, 5 the machine lacks
something, 6 done, but the input was damaged, 130 Ctrl-C; of many inputs the first failure's, 6 if nothing is worse.
"""


def infer(settings: InferSettings) -> None:
    """Finds the inputs, stylizes them, reports."""
    signal.signal(signal.SIGINT, stop_once)
    sources, many = find_sources(settings.video)
    out = None if settings.out is None else Path(settings.out)
    if many and settings.preview:
        raise ConfigError(f"preview={settings.preview} takes one video, not {len(sources)}; name one")
    if many:
        check_folder(out, len(sources))
        stylizer = loaded_stylizer(settings)
        jobs = jobs_of(sources, out, stylizer.style)
        with one_batch(jobs):
            return run_all(jobs, partial(stylize, stylizer, settings), settings.overwrite, settings.report)
    source = sources[0].path
    with opened(source, settings) as reader:
        if out is not None and not out.is_dir() and not settings.preview:
            check_out(Job(source, out), settings.overwrite)
        stylizer = loaded_stylizer(settings)
        job = jobs_of(sources, out, stylizer.style)[0] if out is None or out.is_dir() else Job(source, out)
        if settings.preview:
            return look(stylizer, settings, job, reader)
        summary = stylize(stylizer, settings, job, reader)
    cli.report(json.dumps(asdict(summary)) if settings.report == "json" else text_of(summary, stylizer))
    if summary.damage:
        raise DamagedInput(f"'{source}' is damaged, what could be read is stylized: {'; '.join(summary.damage)}")


def opened(source: Path, settings: InferSettings) -> AbstractContextManager[VideoReader | None]:
    """Returns the video, open, or None for a picture; raises InputError if it cannot be read."""
    if kind_of(source) != "picture":
        return settings.open(source)
    check_input(source, "picture")
    return nullcontext()


def loaded_stylizer(settings: InferSettings) -> Stylizer:
    """Returns the net, ready to stylize."""
    import torch  # from here on it takes seconds

    from fastnst.stylizer import Stylizer

    if settings.threads:
        torch.set_num_threads(settings.threads)
    return Stylizer.load(settings.ckpt, settings.device, settings.max_pixels_per_pass, settings.engine)


def stylize(stylizer: Stylizer, settings: InferSettings, job: Job, reader: VideoReader | None = None) -> Summary:
    """Does one job: a video, already open or not, or a picture."""
    if kind_of(job.source) == "picture":
        return stylizer.picture(job.source, job.out, settings)
    with Progress("frame") as progress:
        return stylizer.video(reader or job.source, job.out, settings, progress)


def look(stylizer: Stylizer, settings: InferSettings, job: Job, reader: VideoReader | None) -> None:
    """Makes a preview and reports it; raises ConfigError for a picture."""
    from fastnst.preview import preview

    if reader is None:
        raise ConfigError(f"preview={settings.preview}: '{job.source}' is a picture; leave preview out")
    found = preview(stylizer, reader, job.out, settings, settings.preview or "1")
    cli.report(json.dumps(asdict(found)) if settings.report == "json" else str(found))


def text_of(summary: Summary, stylizer: Stylizer) -> str:
    """Returns the report for people: three lines."""
    frames = "1 frame" if summary.frames == 1 else f"{summary.frames} frames"
    return (
        f"{frames}, {summary.width}x{summary.height}, in {summary.seconds:.1f} s\n"
        f"{summary.fps:.2f} fps end to end, {summary.net_fps:.2f} fps net only, on {stylizer.device}\n{summary.path}"
    )


def stop_once(*_: object) -> None:
    """Stops the run in an orderly way on the first Ctrl-C, and at once on the second."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command with the arguments after its name; None: those of the process."""
    cli.main(infer, InferSettings, USAGE, argv=argv)
