"""Stylizes videos and pictures, one or many: python infer.py video=in.mp4 ckpt=checkpoints/picasso.ckpt."""

from __future__ import annotations

import json
import logging
import re
import signal
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastnst.cli import main
from fastnst.errors import ConfigError, DamagedInput
from fastnst.files import PICTURES, check_input, check_target
from fastnst.jobs import Job, check_folder, find_sources, jobs_of, run_all
from fastnst.progress import ProgressBar
from fastnst.video.colour import colour_named
from fastnst.video.encoders import check_video_target
from fastnst.video.reader import VideoReader, rate_named
from fastnst.video.tracks import check_audio

if TYPE_CHECKING:
    from fastnst.stylizer import Stylizer, Summary

LIVE = re.compile(r"-|\d+|\w+://.*")  # a pipe, a camera's number, an address

PATHS = ("video", "out", "ckpt", "background")

USAGE = """
python infer.py video=in.mp4 ckpt=checkpoints/picasso.ckpt

Stylizes a video frame by frame; frame count, timing, size and sound are kept. Many at once: video=[a.mp4,b.mp4],
video='clips/*.mp4' or video=FOLDER, and out=FOLDER. Outputs that exist are skipped; what fails does not stop the rest.
Exit status: 0 done, 2 wrong settings, 3 unreadable input, 4 output exists or cannot be written, 5 the machine lacks
something, 6 done, but the input was damaged, 130 Ctrl-C; of many inputs the first failure's, 6 if nothing is worse.
"""


def infer(settings: dict[str, Any]) -> None:
    """Checks what can be checked in no time, stylizes, reports."""
    logging.basicConfig(format="note: %(message)s")
    signal.signal(signal.SIGINT, stop_once)
    check(settings)
    sources, many = find_sources(settings["video"])
    out = None if settings["out"] is None else Path(settings["out"])
    one = None if many or out is None or out.is_dir() else Job(sources[0].path, out)
    if many:
        check_folder(out, len(sources))
    elif one:
        check_job(one, settings["overwrite"])
    else:
        is_video(sources[0].path)

    import torch  # from here on it takes seconds

    from fastnst.dials import Smooth
    from fastnst.stylizer import Stylizer

    Smooth(torch.nn.Identity(), settings["smooth"])  # out of range: now, not at the first of many jobs
    if settings["threads"]:
        torch.set_num_threads(settings["threads"])
    dials = {name: settings[name] for name in ("strength", "color", "scale", "max_pixels_per_pass")}
    stylizer = Stylizer.load(settings["ckpt"], settings["device"], **dials)
    jobs = [one] if one else jobs_of(sources, out, stylizer.style)
    if many:
        return run_all(jobs, partial(stylize, stylizer, settings), settings["overwrite"], settings["report"])
    summary = stylize(stylizer, settings, jobs[0])
    if settings["report"] == "json":
        print(json.dumps(asdict(summary)))
    else:
        frames = "1 frame" if summary.frames == 1 else f"{summary.frames} frames"
        print(f"{frames}, {summary.width}x{summary.height}, in {summary.seconds:.1f} s")
        print(f"{summary.fps:.2f} fps end to end, {summary.net_fps:.2f} fps net only, on {stylizer.device}")
        print(summary.path)
    if summary.damage:
        raise DamagedInput(
            f"'{jobs[0].source}' is damaged, what could be read is stylized: {'; '.join(summary.damage)}"
        )


def stylize(stylizer: Stylizer, settings: dict[str, Any], job: Job) -> Summary:
    """Does one job: a video, or a picture."""
    shared: dict[str, Any] = {name: settings[name] for name in ("overwrite", "max_side")}
    if job.source.suffix.lower() in PICTURES:
        return stylizer.picture(*job, **shared)
    names = ("strict", "batch", "norm", "smooth", "codec", "crf", "preset", "audio", "background", "fps", "resume")
    coding = {name: settings[name] for name in names}
    progress = ProgressBar()
    try:
        return stylizer.video(*job, progress=progress, **shared, **coding)
    finally:
        progress.close()


def check(settings: dict[str, Any]) -> None:
    """Raises ConfigError for the first setting that is missing or out of range."""
    if LIVE.fullmatch(str(settings["video"])) and not Path(settings["video"]).exists():
        raise ConfigError(
            f"video={settings['video']} is no file; a camera, an address or a pipe: "
            f"python -m fastnst.live video={settings['video']} ckpt={settings['ckpt'] or 'picasso'}"
        )
    for name, example in (("video", "in.mp4"), ("ckpt", "checkpoints/picasso.ckpt")):
        if settings[name] in (None, "", []):
            raise ConfigError(f"{name} is missing; write {name}={example}, --help lists the settings")
    for name, low, high in (
        ("threads", 1, 1024), ("batch", 1, 256), ("max_side", 16, 16384), ("crf", 0, 63),
        ("max_pixels_per_pass", 10_000, 10**9),
    ):  # fmt: skip
        value = settings[name]
        if not (type(value) is int and low <= value <= high) and not (value is None and name != "crf"):
            raise ConfigError(f"{name}={value} should be a whole number from {low} to {high}")
    colour_named(settings["background"])
    check_audio(settings["audio"])
    if settings["fps"] is not None:
        rate_named(settings["fps"])
    for name, choices in (("report", ("text", "json")), ("norm", ("shot", "frame"))):
        if settings[name] not in choices:
            raise ConfigError(f"{name}={settings[name]} should be {' or '.join(choices)}")


def check_job(job: Job, overwrite: bool) -> None:
    """Raises InputError, ConfigError or OutputError if the input cannot be read or the result cannot be written."""
    (check_video_target if is_video(job.source) else check_target)(job.out, job.source, overwrite)


def is_video(source: Path) -> bool:
    """Returns whether the file is a video, or else a picture; raises InputError if it cannot be read.

    It is opened here so that what cannot be read is refused at once, and again, when torch and the net are loaded, to
    be stylized: how it is read then hangs on the device.
    """
    if source.suffix.lower() in PICTURES:
        check_input(source, "picture")
        return False
    VideoReader(source).close()
    return True


def stop_once(*_: object) -> None:
    """Stops the run in an orderly way on the first Ctrl-C, and at once on the second."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    raise KeyboardInterrupt


if __name__ == "__main__":
    main(infer, config="infer", usage=USAGE, paths=PATHS)
