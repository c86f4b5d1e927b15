"""Stylizes a video, a picture or a folder of pictures: python infer.py video=in.mp4 ckpt=checkpoints/picasso.ckpt."""

from __future__ import annotations

import json
import logging
import re
import signal
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastnst.cli import main
from fastnst.containers import check_video_target
from fastnst.errors import ConfigError, DamagedInput
from fastnst.files import PICTURES, check_input, check_target
from fastnst.progress import ProgressBar
from fastnst.video import VideoReader

LIVE = re.compile(r"-|\d+|\w+://.*")  # a pipe, a camera's number, an address

USAGE = """
python infer.py video=in.mp4 ckpt=checkpoints/picasso.ckpt

Stylizes a video frame by frame; frame count, timing, size and sound are kept. Exit status: 0 done, 2 wrong settings,
3 unreadable input, 4 output exists or cannot be written, 5 the machine lacks something, 6 done, but the input was
damaged, 130 Ctrl-C.
"""


def infer(settings: dict[str, Any]) -> None:
    """Checks what can be checked in no time, stylizes, reports."""
    logging.basicConfig(format="note: %(message)s")
    signal.signal(signal.SIGINT, stop_once)
    check(settings)
    source, is_video = open_source(Path(settings["video"]))
    if settings["out"] is not None:
        check_out(Path(settings["out"]), source, settings["overwrite"], is_video)

    import torch  # from here on it takes seconds

    from fastnst.stylizer import Stylizer

    if settings["threads"]:
        torch.set_num_threads(settings["threads"])
    dials = {name: settings[name] for name in ("strength", "color", "scale", "max_pixels_per_pass")}
    stylizer = Stylizer.load(settings["ckpt"], settings["device"], **dials)
    out = Path(settings["out"] or default_out(source, stylizer.style, is_video))
    check_out(out, source, settings["overwrite"], is_video)
    progress = ProgressBar()
    shared: dict[str, Any] = {name: settings[name] for name in ("overwrite", "strict", "max_side")}
    try:
        if is_video:
            names = ("batch", "norm", "smooth", "codec", "crf", "preset", "resume")
            coding = {name: settings[name] for name in names}
            summary = stylizer.video(source, out, progress=progress, **shared, **coding)
        else:
            summary = stylizer.pictures(source, out, progress=progress, **shared)
    finally:
        progress.close()

    if settings["report"] == "json":
        print(json.dumps(asdict(summary)))
    else:
        what = "frames" if is_video else "pictures"
        print(f"{summary.frames} {what}, {summary.width}x{summary.height}, in {summary.seconds:.1f} s")
        print(f"{summary.fps:.2f} fps end to end, {summary.net_fps:.2f} fps net only, on {stylizer.device}")
        print(summary.path)
    if summary.damage:
        raise DamagedInput(f"'{source}' is damaged, what could be read is stylized: {'; '.join(summary.damage)}")


def check(settings: dict[str, Any]) -> None:
    """Raises ConfigError for the first setting that is missing or out of range."""
    if LIVE.fullmatch(str(settings["video"])) and not Path(settings["video"]).exists():
        raise ConfigError(
            f"video={settings['video']} is no file; a camera, an address or a pipe: "
            f"python -m fastnst.live video={settings['video']} ckpt={settings['ckpt'] or 'picasso'}"
        )
    for name, example in (("video", "in.mp4"), ("ckpt", "checkpoints/picasso.ckpt")):
        if settings[name] in (None, ""):
            raise ConfigError(f"{name} is missing; write {name}={example}, --help lists the settings")
    for name, low, high in (
        ("threads", 1, 1024), ("batch", 1, 256), ("max_side", 16, 16384), ("crf", 0, 63),
        ("max_pixels_per_pass", 10_000, 10**9),
    ):  # fmt: skip
        value = settings[name]
        if not (type(value) is int and low <= value <= high) and not (value is None and name != "crf"):
            raise ConfigError(f"{name}={value} should be a whole number from {low} to {high}")
    if not 0 <= settings["smooth"] <= 0.95:
        raise ConfigError(f"smooth={settings['smooth']} must be from 0 to 0.95")
    for name, choices in (("report", ("text", "json")), ("norm", ("shot", "frame"))):
        if settings[name] not in choices:
            raise ConfigError(f"{name}={settings[name]} should be {' or '.join(choices)}")


def open_source(source: Path) -> tuple[Path, bool]:
    """Returns the input and whether it is a video; raises InputError if it cannot be read."""
    if source.is_dir():
        return source, False
    if source.suffix.lower() in PICTURES:
        check_input(source, "picture")
        return source, False
    VideoReader(source).close()
    return source, True


def check_out(out: Path, source: Path, overwrite: bool, is_video: bool) -> None:
    """Raises ConfigError or OutputError if the result cannot go to `out`; the files of a folder are checked later."""
    if is_video:
        check_video_target(out, source, overwrite)
    elif not source.is_dir():
        check_target(out, source, overwrite)


def default_out(source: Path, style: str, is_video: bool) -> Path:
    """Returns the input's name with the style's name behind it: clip.mov becomes clip_picasso.mp4."""
    if source.is_dir():
        source = source.resolve()  # "." has no name
        return source.with_name(f"{source.name}_{style}")
    return source.with_name(f"{source.stem}_{style}{'.mp4' if is_video else source.suffix}")


def stop_once(*_: object) -> None:
    """Stops the run in an orderly way on the first Ctrl-C, and at once on the second."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    raise KeyboardInterrupt


if __name__ == "__main__":
    main(infer, config="infer", usage=USAGE, paths={"video", "out", "ckpt"})
