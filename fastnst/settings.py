"""The settings of every command: their types, defaults, limits, and what they are for.

To add an option: write a field `name: type = option(default, "What it does, and when one wants it", low=.., high=..)`;
`Option` in `fastnst.schema` lists what else it can say. `--help`, the check and "did you mean" follow from that.
To add a command: write a class `NameSettings(Settings)`, and run `cli.main(command, NameSettings, USAGE)`; the command
gets the checked object. A group `x.y` is a class with `PREFIX = "x."`, named in the command's class as `x: XSettings =
group(XSettings)`; if there is a folder `conf/x/`, its files are the choices of `x=...`, and hold only what differs.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fastnst.errors import ConfigError
from fastnst.schema import Settings, option

if TYPE_CHECKING:
    from fastnst.video.reader import VideoReader


def is_device(name: str) -> None:
    """Raises ConfigError if `device` is no device that the nets run on."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", name):
        raise ConfigError(f"device={name} is no device; use auto, cpu, cuda or cuda:1")


def is_colour(name: str) -> None:
    """Raises ConfigError if `background` is no colour."""
    from fastnst.video.colour import colour_named

    colour_named(name)


def is_rate(fps: str) -> None:
    """Raises ConfigError if `fps` is no frame rate."""
    from fastnst.video.reader import rate_named

    rate_named(fps)


def is_file(video: str | tuple[str, ...]) -> None:
    """Raises ConfigError if `video` is a pipe, a camera's number or an address, and no file of that name."""
    if isinstance(video, str) and re.fullmatch(r"-|\d+|\w+://.*", video) and not os.path.lexists(video):
        remedy = f"for a pipe, a camera or an address: python -m fastnst.live video={video} ckpt=picasso"
        raise ConfigError(f"video={video} is no file; {remedy}")


@dataclass(frozen=True, kw_only=True)
class MachineSettings(Settings):
    """Where the net runs."""

    device: str = option("auto", "auto: a GPU if there is one; or cpu, cuda, cuda:1", may_change=True, check=is_device)
    threads: int | None = option(
        None, "CPU threads of the net; fewer leave the machine to others; null: all cores",
        low=1, high=1024, may_change=True,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class LookSettings(Settings):
    """How a trained net stylizes a stream of frames: what can be turned without training again."""

    strength: float = option(1.0, "0 is the input, 1 the style in full; less where faces must stay", low=0, high=1)
    color: Literal["style", "content"] = option(
        "style", "whose colours: the style picture's, or the input's: then only light and dark are stylized"
    )
    scale: float = option(
        1.0, "of the frame that the net sees: 0.5 makes strokes twice as broad, and is four times as fast",
        low=0.1, high=4,
    )  # fmt: skip
    norm: Literal["shot", "frame"] = option(
        "shot", "statistics of instance norm: of the shot so far, which holds still; or of each frame alone"
    )
    texture: float = option(
        1.0, "strokes on flat areas: 0 leaves walls and skies calm, 1.5 is full; for nets with a canvas",
        low=0, high=1.5,
    )  # fmt: skip
    canvas_motion: Literal["flow", "fixed"] = option(
        "flow", "strokes on flat areas move along with the picture; fixed is faster, for a camera that never moves"
    )
    smooth: float = option(
        0.0, "average over time, along the motion of the input: 0.8 where strokes still boil, 1 at most",
        low=0, high=1,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class VideoSettings(LookSettings):
    """How a video file becomes a stylized one."""

    overwrite: bool = option(False, "replace an output that exists", may_change=True)
    resume: bool = option(
        False, "continue from the part that an interrupted run with the same settings left", may_change=True
    )
    strict: bool = option(False, "refuse damaged input instead of stylizing what can be read", may_change=True)
    batch: int | None = option(
        None, "frames per pass of the net; null: 4 on a GPU, 1 on a CPU", low=1, high=256, may_change=True
    )
    max_side: int | None = option(
        None, "make larger frames smaller first: pixels of the longer side; null keeps the size", low=16, high=16384
    )
    background: str = option(
        "white", "what transparent video is laid on: the name of a colour, or #rrggbb", check=is_colour
    )
    fps: str | None = option(
        None, "constant frame rate: 25, 29.97, 30000/1001; frames are repeated or dropped; null keeps their times",
        check=is_rate,
    )  # fmt: skip
    codec: str = option(
        "auto",
        "H.264, by the GPU if it can, or VP9 in .webm; or any encoder of FFmpeg: libx265, h264_nvenc, libsvtav1, ffv1",
    )
    crf: int = option(18, "quality: 0 is best, 51 worst (63 for VP9 and AV1)", low=0, high=63)
    preset: str | None = option(
        None, "the encoder's trade of speed for size: ultrafast ... veryslow for libx264, 0 ... 13 for libsvtav1"
    )
    audio: Literal["copy", "aac", "none"] = option(
        "copy", "sound: copy, bit for bit where the container can hold it; aac, encoded again; none", may_change=True
    )

    def open(self, path: str | Path) -> VideoReader:
        """Returns a reader of the video file that reads it as these settings say."""
        from fastnst.video.reader import VideoReader

        return VideoReader(path, self.batch or 1, self.max_side, self.strict, self.background, self.fps)


@dataclass(frozen=True, kw_only=True)
class InferSettings(VideoSettings, MachineSettings):
    """Settings of `infer`: which files are stylized, by which net, and how."""

    video: str | tuple[str, ...] = option(
        None, "what to stylize: a video or a picture; many: [a.mp4,b.mp4], a folder, or a glob like 'clips/*.mp4'",
        may_change=True, example="in.mp4", check=is_file,
    )  # fmt: skip
    ckpt: str = option(
        None, "the trained net: a file, or the name of one that ships (picasso)",
        may_change=True, example="checkpoints/picasso.ckpt",
    )  # fmt: skip
    out: str | None = option(
        None, "where to: .mp4, .mov, .mkv or .webm, or a folder; null: <name>_<style>.mp4 beside the input",
        may_change=True,
    )  # fmt: skip
    max_pixels_per_pass: int | None = option(
        None, "larger frames are stylized in tiles, to the same result; null: 2 million, or by the memory of the GPU",
        low=10_000, high=10**9, may_change=True,
    )  # fmt: skip
    report: Literal["text", "json"] = option(
        "text", "what is printed at the end; json, for programs: one line on standard output", may_change=True
    )
