"""What is judged, and on what: nets, folders of clips that are stylized already, and the clips both were given."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from fastnst import cli
from fastnst.checkpoint import Checkpoint
from fastnst.cli import listed
from fastnst.errors import ConfigError, InputError
from fastnst.evaluate.judge import Grams, Rendition, style_grams
from fastnst.files import local_name
from fastnst.images import load_style, paintings, to_float, to_tensor
from fastnst.mixing import mixed, stops_of, styles_of
from fastnst.settings import EvaluateSettings, LookSettings
from fastnst.stylizer import stream_of
from fastnst.vgg import VGGFeatures
from fastnst.video.opening import find_videos
from fastnst.video.reader import VideoReader

STYLE_SIZE = 384  # pixels, as in conf/style/*.yaml
STYLE_SIZES = (64, 4096)  # that a checkpoint may name: a header is a stranger's input


@dataclass(frozen=True)
class ClipFile:
    """The first frames of a video file; each loop over it reads the file again.

    Attributes:
        path: the file.
        max_side: larger frames are made smaller first, pixels of the longer side; None keeps the size.
        frames: how many; None for all.
    """

    path: Path
    max_side: int | None = None
    frames: int | None = None

    def __iter__(self) -> Iterator[Float[Tensor, "1 3 height width"]]:
        with VideoReader(self.path, max_side=self.max_side) as reader:
            for frame in islice(reader, self.frames):
                yield to_float(frame.pixels)

    @property
    def frame_rate(self) -> Fraction:
        """The average frame rate."""
        with VideoReader(self.path) as reader:
            return reader.frame_rate


class Contender(NamedTuple):
    """What is judged.

    Attributes:
        name: of its rows.
        start: from a clip's name to the rendition of that clip, at its first frame.
        style: the style's name.
        grams: of the style picture; None if the style is unknown.
    """

    name: str
    start: Callable[[str], Rendition]
    style: str
    grams: Grams | None


def find_clips(names: Sequence[str]) -> dict[str, Path]:
    """Returns the clips by name: files, and the video files of folders, without their subfolders.

    Raises:
        InputError: there is none in a folder, or two have one name.
    """
    clips: dict[str, Path] = {}
    for name in names:
        path = Path(local_name(name))
        found = find_videos(path) if path.is_dir() else [path]
        if not found:
            raise InputError(f"no clips in '{path}'")
        for file in found:
            if file.stem in clips:
                raise InputError(f"two clips are called '{file.stem}': '{clips[file.stem]}' and '{file}'")
            clips[file.stem] = file
    return clips


def clip_length(path: Path, limit: int | None) -> int | None:
    """Returns how many frames of a clip are looked at, for the progress bar; None if the file does not say."""
    with VideoReader(path) as reader:
        return limit if reader.frame_count is None else min(reader.frame_count, limit or reader.frame_count)


def find_contenders(settings: EvaluateSettings, vgg: VGGFeatures, clips: Mapping[str, Path]) -> list[Contender]:
    """Returns all that the settings name.

    Raises:
        ConfigError: two have one name.
        InputError: a checkpoint cannot be read, or a stylized clip is missing or of another length than its input.
    """
    contenders = [*nets(settings, vgg), *stylized_clips(settings, vgg, clips)]
    names = [each.name for each in contenders]
    for name in names:
        if name == "input" or names.count(name) > 1:
            raise ConfigError(f"two rows would be called '{name}': give the files other names")
    return contenders


def nets(settings: EvaluateSettings, vgg: VGGFeatures) -> Iterator[Contender]:
    """Yields the checkpoints, each under its file's name; mixtures, and two files of one name, as they were typed."""
    typed = list(dict.fromkeys(styles_of(settings.ckpt or ())))
    stems = [name if "," in name and not Path(name).is_file() else Path(name).stem for name in typed]
    for name, stem in zip(typed, stems, strict=True):
        checkpoint = mixed(still_shares(name))
        net = checkpoint.net.to(vgg.mean.device)
        row = stem if stems.count(stem) == 1 else name
        picture = known_style_picture(checkpoint, settings.style_image, settings.style_size)

        def start(clip: str, net: nn.Module = net) -> Rendition:
            return net_rendition(net, settings)

        yield Contender(row, start, Path(settings.style_image or checkpoint.style).stem, known_grams(picture, row, vgg))


def still_shares(name: str) -> dict[str, float]:
    """Returns the shares of a mixture, or of one net; raises ConfigError if it moves."""
    first, *more = stops_of(name)
    if more:
        raise ConfigError(f"ckpt={name} moves over a clip; judge what it stylized: stylized=FOLDER")
    return first.shares


def stylized_clips(settings: EvaluateSettings, vgg: VGGFeatures, clips: Mapping[str, Path]) -> Iterator[Contender]:
    """Yields the folders of clips that are stylized already.

    Raises:
        InputError: a folder lacks a clip, or one of its clips has more frames than the input, or too few.
    """
    for folder in listed(settings.stylized):
        found = find_clips([folder])
        for name, path in clips.items():
            if name not in found:
                stylized = [stem for stem in found if stem.startswith(f"{name}_")]  # as infer.py calls them
                if len(stylized) != 1:
                    raise InputError(f"'{folder}' has no clip called '{name}', as '{path}' is")
                found[name] = found[stylized[0]]
            own, frames, limit = clip_length(found[name], None), clip_length(path, None), settings.frames
            if own and frames and own > 1.02 * frames + 1:
                raise InputError(f"'{found[name]}' has {own} frames, '{path}' {frames}: it was made of another clip")
            if own and frames and own < min(frames, limit or frames):
                raise InputError(f"'{found[name]}' has {own} frames, '{path}' {frames}; frames={own} judges as many")

        def start(clip: str, found: dict[str, Path] = found) -> Rendition:
            return file_rendition(ClipFile(found[clip], settings.max_side, settings.frames))

        row = Path(folder).resolve().name
        picture = known_style_picture(None, settings.style_image, settings.style_size)
        yield Contender(row, start, Path(settings.style_image or "unknown").stem, known_grams(picture, row, vgg))


def net_rendition(net: nn.Module, look: LookSettings) -> Rendition:
    """Returns a net at a clip's first frame; it stylizes as `infer.py` does, by the same stack.

    What it is probed with counts as the next frame of the clip, and is forgotten.
    """
    stream = stream_of(net, look)

    def probe(images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3 height width"]:
        before, stylized = stream.memory(), []
        for image in images.split(1):
            stylized.append(stream(image))
            stream.recall(before)
        return torch.cat(stylized)

    return Rendition(stream, probe)


def file_rendition(stylized: ClipFile) -> Rendition:
    """Returns the rendition whose frames come from a clip that is stylized already, made to the size of the input's.

    Its `next_frame` raises InputError if that clip ends before its input, or is of another shape.
    """
    frames = iter(stylized)

    def next_frame(frame: Float[Tensor, "1 3 height width"]) -> Float[Tensor, "1 3 height width"]:
        own = next(frames, None)
        if own is None:
            raise InputError(f"'{stylized.path}' has fewer frames than its input")
        (height, width), (own_height, own_width) = frame.shape[2:], own.shape[2:]
        if abs(math.log(own_width / own_height * height / width)) > 0.03:
            raise InputError(f"'{stylized.path}' is {own_width}x{own_height}, of another shape than its input")
        if own.shape != frame.shape:
            own = F.interpolate(own, (height, width), mode="bilinear", antialias=True)
        return own.to(frame.device)

    return Rendition(next_frame, None)


def known_style_picture(checkpoint: Checkpoint | None, image: str | None, size: int | None) -> np.ndarray | None:
    """Returns the style picture, (height, width, 3) uint8; None if nobody says which it is.

    Args:
        checkpoint: the net's; its recipe names the picture and its size.
        image: a file or a drawn picture's name, which counts more than the recipe; None if there is none.
        size: pixels of the shorter side; None: as the recipe says.
    """
    recipe = checkpoint.recipe if checkpoint else {}
    told, (low, high) = recipe.get("style_size"), STYLE_SIZES
    trained = told if type(told) is int and low <= told <= high else STYLE_SIZE
    size = size or trained
    if image:
        return load_style(image, size)
    if checkpoint is None or checkpoint.style not in paintings():
        return None
    picture = load_style(checkpoint.style, trained)
    if recipe.get("style_sha256") != hashlib.sha256(picture.tobytes()).hexdigest():
        return None  # somebody's own picture may be called wave.jpg
    return picture if size == trained else load_style(checkpoint.style, size)


def known_grams(picture: np.ndarray | None, row: str, vgg: VGGFeatures) -> Grams | None:
    """Returns the Gram matrices of the style picture; without one, None, with a note on stderr."""
    if picture is None:
        cli.note(f"note: no style loss of '{row}', its style picture is unknown: style_image= names it")
        return None
    return style_grams(vgg, to_tensor(picture))
