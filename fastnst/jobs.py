"""Many inputs: a list, a folder or a glob -> one job per file, each on its own; a table of what became of them."""

from __future__ import annotations

import glob
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fastnst.cli import listed, printable, table
from fastnst.cli import report as report_line
from fastnst.errors import ConfigError, DamagedInput, FastnstError, OutputError
from fastnst.files import PICTURES, SAVED, check_picture_target, kind_of, local_name, only_one, picture_format
from fastnst.video.animation import ANIMATIONS, check_animation_target
from fastnst.video.encoders import CONTAINERS, check_video_target
from fastnst.video.opening import READABLE
from fastnst.video.parts import kept_path, part_path

if TYPE_CHECKING:  # `infer.py` finds its inputs before it pays for the import of torch
    from fastnst.stylizer import Summary

log = logging.getLogger(__name__)

HEADINGS: tuple[str, ...] = ("state", "frames", "size", "seconds", "fps", "result")


class Source(NamedTuple):
    """An input file.

    Attributes:
        path: the file.
        folder: the folder that was named and in which it was found; None if the file itself, or a glob, was named.
    """

    path: Path
    folder: Path | None = None


class Job(NamedTuple):
    """An input file and where its result goes."""

    source: Path
    out: Path


def find_sources(named: str | Sequence[str]) -> tuple[list[Source], bool]:
    """Returns the input files, and whether many were meant: also a list, folder or glob of one file means many.

    A file that is called like a list or a glob is that file. What is neither there nor matches anything is returned as
    one file, for whoever opens it to complain.

    Args:
        named: a file, a folder, a glob ("clips/*.mp4"), or a list of these: "[a.mp4,b.mp4]", where a name with a comma
            stands in quotes.

    Raises:
        ConfigError: a list is empty, or a folder has no videos or pictures.
    """
    if not isinstance(named, str):
        sources = [source for each in named for source in find_sources(str(each))[0]]
        if not sources:
            raise ConfigError("video=[] is an empty list; name at least one file")
        return list(dict.fromkeys(sources)), True
    named = local_name(named)
    path = Path(named)
    if os.path.lexists(path):
        if not path.is_dir():
            return [Source(path)], False
        files = media(file for file in path.iterdir() if not file.name.startswith("."))
        if not files:
            raise ConfigError(f"no videos or pictures in '{path}'")
        return [Source(file, path) for file in files], True
    if named.startswith("[") and named.endswith("]"):
        return find_sources(listed(named))
    if files := media(map(Path, glob.iglob(named, recursive=True))):  # noqa: PTH207 (Path.glob takes no absolute ones)
        return [Source(file) for file in files], True
    return [Source(path)], False


def media(paths: Iterable[Path]) -> list[Path]:
    """Returns the files that are called like a video or a picture, sorted."""
    return sorted(path for path in paths if path.suffix.lower() in PICTURES | READABLE and path.is_file())


def jobs_of(sources: Sequence[Source], out: Path | None, style: str) -> list[Job]:
    """Returns the jobs: clip.mov becomes clip_picasso.mp4, photo.png photo_picasso.png, also if it moves.

    Results go to the folder `out`; if that is None, beside their input, or for a folder F to F_picasso beside it. An
    input that is the result of another one, as in the second run of a glob, is left out.
    """
    jobs = []
    for path, found_in in sources:
        folder = out or path.parent
        if out is None and found_in is not None:
            found_in = found_in.resolve()  # "." has no name
            folder = found_in.with_name(f"{found_in.name}_{style}")
        jobs.append(Job(path, folder / f"{path.stem}_{style}{ending_of(path)}"))
    results = {result for job in jobs for result in (job.out, part_path(job.out), kept_path(part_path(job.out)))}
    inputs = [job for job in jobs if job.source not in results]
    if len(inputs) < len(jobs):
        log.warning("%d of %d inputs are results of the others; left out", len(jobs) - len(inputs), len(jobs))
    return inputs


def ending_of(source: Path) -> str:
    """Returns the ending of a result: the input's own, if files of its kind are written with that; else a usual one."""
    kind, ending = kind_of(source), source.suffix.lower()
    if kind == "video":
        return ".mp4"
    if kind == "animation":
        form, _ = picture_format(source)
        usual = {"GIF": ".gif", "PNG": ".png", "WEBP": ".webp"}[form]
        return source.suffix if ANIMATIONS.get(ending) == form else usual
    return source.suffix if ending in SAVED else ".jpg" if ending in (".heic", ".heif") else ".png"


def check_out(job: Job, overwrite: bool) -> None:
    """Raises ConfigError or OutputError if the result of a job cannot be written to where it goes."""
    if kind_of(job.source) == "picture":
        check_picture_target(job.out, job.source, overwrite)
    elif job.out.suffix.lower() in ANIMATIONS:
        check_animation_target(job.out, job.source, overwrite)
    else:
        check_video_target(job.out, job.source, overwrite)


def check_folder(out: Path | None, count: int) -> None:
    """Raises ConfigError or OutputError if the results of many inputs cannot go to `out`."""
    if out is None or out.is_dir():
        return
    if out.exists() or out.suffix.lower() in PICTURES | set(CONTAINERS) | set(ANIMATIONS):
        raise ConfigError(f"out={out} is a file, but there are {count} inputs; name a folder")
    if not out.parent.is_dir():
        raise OutputError(f"cannot write to '{out}': the folder '{out.parent}' does not exist")


def run_all(jobs: Sequence[Job], stylize: Callable[[Job], Summary], overwrite: bool, report: str) -> None:
    """Does one job after the other, also after one that fails, and prints what became of each.

    Args:
        jobs: what to do. A job whose result is there already is skipped: results appear whole or not at all.
        stylize: does one.
        overwrite: do finished ones again.
        report: "text" prints a table at the end, also of a run that is stopped; "json" a line after each job.

    Raises:
        FastnstError: not all was done: the first failure, or the first damage if nothing is worse.
    """
    rows, failures, results = [HEADINGS], [], set()
    try:
        for number, job in enumerate(jobs, 1):
            log.warning("%d of %d: %s", number, len(jobs), job.source)
            summary, error = None, None
            try:
                if job.out in results:
                    raise ConfigError(f"'{job.source}': '{job.out}' is the result of another input; rename one")
                results.add(job.out)
                if not overwrite and os.path.lexists(job.out) and job.out.is_file():
                    log.warning("'%s' exists, whatever made it: skipped; overwrite=true makes it again", job.out)
                else:
                    make_folder(job.out.parent)
                    summary = stylize(job)
                    if summary.damage:
                        error = DamagedInput(f"'{job.source}' is damaged: {'; '.join(summary.damage)}")
            except FastnstError as failure:
                error = failure
            failures += [error] if error else []
            state = ("damaged" if error else "done") if summary else "failed" if error else "skipped"
            if report == "json":
                figures = asdict(summary) if summary else {"path": str(job.out)}
                status = error.exit_status if error else 0
                reason = str(error) if error else None
                line = {"source": str(job.source), "state": state, "status": status, "error": reason}
                report_line(json.dumps(line | figures))
            rows.append(row(state, job, summary, error))
    finally:
        if report == "text":
            for line in table(rows).splitlines():
                report_line(line)
    if failures:
        first = next((each for each in failures if not isinstance(each, DamagedInput)), failures[0])
        raise type(first)(f"{len(failures)} of {len(jobs)} inputs failed or are damaged; the first: {first}")


@contextmanager
def one_batch(jobs: Sequence[Job]) -> Iterator[None]:
    """Keeps other processes from doing the same jobs while the block runs.

    Raises:
        OutputError: another process is doing them.
    """
    folder = jobs[0].out.parent if jobs else Path()
    with suppress(OutputError):  # each job says so
        make_folder(folder)
    if not jobs or not os.access(folder, os.W_OK):
        yield
        return
    names = sha256("\0".join(sorted(str(job.out.absolute()) for job in jobs)).encode(errors="surrogateescape"))
    doing = f"is making the same {len(jobs)} results in '{folder}'; wait for it, or choose another out="
    with only_one(folder / f".fastnst-{names.hexdigest()[:12]}.claim", doing):
        yield


def row(state: str, job: Job, summary: Summary | None, error: FastnstError | None) -> tuple[str, ...]:
    """Returns a job's cells, as in `HEAD`."""
    result = printable(f"{job.out} ({error})" if summary and error else str(error or job.out))
    if summary is None:
        return state, "", "", "", "", result
    size = f"{summary.width}x{summary.height}"
    return state, str(summary.frames), size, f"{summary.seconds:.1f}", f"{summary.fps:.2f}", result


def make_folder(folder: Path) -> None:
    """Makes the folder if it is not there; raises OutputError if that fails."""
    try:
        folder.mkdir(exist_ok=True)
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise OutputError(f"cannot make the folder '{folder}': {reason}") from error
