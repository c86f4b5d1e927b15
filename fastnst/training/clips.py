"""Consecutive frames of real clips, with the flow between them, for training: `data=clips`, or `data.clips=FOLDER`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from PIL import Image
from torch.utils.data import Dataset

from fastnst.errors import ConfigError, InputError
from fastnst.flow import dis_flow, occlusion_mask
from fastnst.images import to_tensor
from fastnst.shots import SMALL, is_cut
from fastnst.training.pairs import NextFrame
from fastnst.training.photos import centre_box, cropped, files_below, random_box
from fastnst.video.colour import to_rgb24
from fastnst.video.opening import crop_of, main_video_stream, open_input, videos_among

ASIDE = 5  # one clip, or scene, in so many validates


class FramePair(NamedTuple):
    """Two consecutive frames of a clip.

    Attributes:
        path: the clip.
        pts: when the first frame is shown, in the stream's unit.
    """

    path: Path
    pts: int


class Clips(Dataset):
    """Square crops of consecutive frames. An item is asked for as (number, key), and the key decides the crop.

    Both frames are cropped alike. The flow goes from the next frame back to the first, measured on the *input* frames;
    the mask leaves out what the first frame does not show. A pair that cannot be read is replaced by the next one,
    and its clip named in the item.

    Args:
        items: the pairs of frames.
        image_size: side of the crops, pixels.
        augment: whether crops are drawn; or the middle is taken.

    Source: Ruder et al. 2018, arXiv:1708.04538; masks after Sundaram et al. 2010, see `flow.occlusion_mask`.
    """

    def __init__(self, items: Sequence[FramePair], image_size: int, augment: bool = True) -> None:
        self.items, self.image_size, self.augment = items, image_size, augment

    def __getitem__(self, item: tuple[int, tuple[int, ...]]) -> dict[str, Any]:
        """Returns `{"content": (3, size, size) in [0, 1], "seed": int, "unreadable": [names], "filmed": NextFrame}`."""
        number, key = item
        random = np.random.default_rng(key)
        unreadable = []
        for offset in range(len(self.items)):
            pair = self.items[(number + offset) % len(self.items)]
            try:
                frames = read_two(pair)
            except InputError:
                unreadable.append(pair.path.name)
                continue
            box, mirrored = random_box(frames[0].size, random) if self.augment else centre_box(frames[0].size)
            content, following = (cropped(frame, self.image_size, box, mirrored)[None] for frame in frames)
            flow = dis_flow(following, content)
            mask = occlusion_mask(flow, dis_flow(content, following))
            filmed = NextFrame(following[0], flow[0], mask[0])
            return {
                "content": content[0],
                "seed": int(random.integers(2**62)),
                "unreadable": unreadable,
                "filmed": filmed,
            }
        raise InputError(f"none of the {len(self.items)} pairs of frames can be read any more")

    def __len__(self) -> int:
        """Returns the number of pairs of frames."""
        return len(self.items)


def find_frame_pairs(root: str | Path) -> tuple[list[FramePair], dict[str, str]]:
    """Returns every pair of consecutive frames of the clips below a folder, and the unusable files with the reason.

    Only packets are read, nothing is decoded.

    Raises:
        ConfigError: there is no such folder, or no clip with two frames in it.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise ConfigError(f"no folder '{root}'; data.root=FOLDER, or data.clips=FOLDER, names one with clips")
    pairs, bad = [], {}
    for path in videos_among(files_below(root)):
        try:
            with open_input(path) as container:
                stream = main_video_stream(container, path)
                times = sorted(
                    packet.pts for packet in container.demux(stream) if packet.size and packet.pts is not None
                )
        except (InputError, av.FFmpegError) as error:
            bad[str(path.relative_to(root))] = str(error)
            continue
        if len(times) < 2:
            bad[str(path.relative_to(root))] = "fewer than two frames with a time"
        pairs += [FramePair(path, pts) for pts in times[:-1]]
    if not pairs:
        raise ConfigError(f"no clips with two frames or more in '{root}'")
    return pairs, bad


def split_frame_pairs(pairs: Sequence[FramePair], validation: int) -> tuple[list[FramePair], list[FramePair]]:
    """Returns the pairs to train on, and so many others to validate with, which are of other clips.

    Neighbours in a clip look alike, so whole clips are set aside. If there is only one clip, its scenes take their
    place; if it has one scene, its last fifth validates, and a twentieth before that is not used.

    Raises:
        ConfigError: there are too few.
    """
    if validation > len(pairs) // 2:
        raise ConfigError(
            f"data.validation={validation} is over half of the {len(pairs)} pairs of frames; "
            f"give at most data.validation={len(pairs) // 2}"
        )
    parts = grouped(pairs)
    if len(parts) == 1:
        parts = by_scene(pairs)
    if len(parts) == 1:
        last = max(1, len(pairs) // ASIDE)
        training, aside = list(pairs[: len(pairs) - last - len(pairs) // 20]), list(pairs[-last:])
    else:
        count = min(validation, max(1, len(parts) // ASIDE))
        chosen = {len(parts) * place // count for place in range(count)}
        training = [pair for place, part in enumerate(parts) if place not in chosen for pair in part]
        aside = [pair for place in sorted(chosen) for pair in parts[place]]
    count = min(validation, len(aside))
    return training, [aside[len(aside) * place // count] for place in range(count)]


def grouped(pairs: Sequence[FramePair]) -> list[list[FramePair]]:
    """Returns the pairs clip by clip."""
    clips: dict[Path, list[FramePair]] = {}
    for pair in pairs:
        clips.setdefault(pair.path, []).append(pair)
    return list(clips.values())


def by_scene(pairs: Sequence[FramePair]) -> list[list[FramePair]]:
    """Returns the pairs of one clip scene by scene; those that span a cut are left out."""
    starts, last = scene_starts(pairs[0].path), pairs[-1].pts
    scenes = []
    for start, end in pairwise([pairs[0].pts, *starts, last + 1]):
        inside = [pair for pair in pairs if start <= pair.pts < end]
        scenes.append(inside[:-1] if end <= last else inside)
    return [scene for scene in scenes if scene]


def scene_starts(path: Path) -> list[int]:
    """Returns when each scene but the first begins in a clip, in the stream's unit; what is damaged is left out."""
    starts, before = [], None
    with open_input(path) as container, suppress(av.FFmpegError):
        for frame in container.decode(main_video_stream(container, path)):
            small = to_tensor(frame.to_ndarray(width=SMALL[1], height=SMALL[0], format="rgb24"))[None]
            if before is not None and frame.pts is not None and is_cut(before, small):
                starts.append(frame.pts)
            before = small
    return starts


def read_two(pair: FramePair) -> tuple[Image.Image, Image.Image]:
    """Returns the two frames of a pair, upright.

    Raises:
        InputError: they cannot be decoded, or are of different sizes.
    """
    images = []
    with open_input(pair.path) as container:
        stream = main_video_stream(container, pair.path)
        crop = crop_of(container, stream)
        try:
            container.seek(pair.pts, stream=stream)
            for frame in container.decode(stream):
                if frame.pts is not None and frame.pts >= pair.pts:
                    images.append(Image.fromarray(to_rgb24(frame, crop=crop)))
                if len(images) == 2:
                    break
        except av.FFmpegError as error:
            raise InputError(f"cannot decode '{pair.path}' at {pair.pts}") from error
    if len(images) < 2 or images[0].size != images[1].size:
        raise InputError(f"no two frames of one size in '{pair.path}' at {pair.pts}")
    return images[0], images[1]
