"""Consecutive frames of real clips, with the flow between them, for training: `data=clips temporal=video`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from fastnst.errors import ConfigError, InputError
from fastnst.flow import dis_flow, occlusion_mask
from fastnst.training.pairs import NextFrame
from fastnst.training.photos import centre_box, cropped, random_box
from fastnst.video.colour import to_rgb24
from fastnst.video.opening import find_videos, main_video_stream, open_input

Flow = Callable[[Tensor, Tensor], Tensor]  # two batches of frames -> the flow from the first to the second


class Shot(NamedTuple):
    """Two consecutive frames of a clip.

    Attributes:
        path: the clip.
        pts: when the first frame is shown, in the stream's unit.
    """

    path: Path
    pts: int


class Clips(Dataset):
    """Square crops of consecutive frames. An item is asked for as (shot, key), and the key decides the crop.

    Both frames are cropped alike. The flow goes from the next frame back to the first, measured on the *input* frames;
    the mask leaves out what the first frame does not show. A shot that cannot be read is replaced by the next one, and
    its clip named in the item.

    Args:
        items: the shots.
        image_size: side of the crops, pixels.
        augment: whether crops are drawn; or the middle is taken.
        flow: what measures the flow from a frame to the next: OpenCV's DIS, or RAFT.

    Source: Ruder et al. 2018, arXiv:1708.04538; masks after Sundaram et al. 2010, see `flow.occlusion_mask`.
    """

    def __init__(self, items: list[Shot], image_size: int, augment: bool = True, flow: Flow = dis_flow) -> None:
        self.items, self.image_size, self.augment, self.flow = items, image_size, augment, flow

    def __getitem__(self, item: tuple[int, tuple[int, ...]]) -> dict[str, Any]:
        """Returns `{"content": (3, size, size) in [0, 1], "seed": int, "unreadable": [names], "filmed": NextFrame}`."""
        number, key = item
        random = np.random.default_rng(key)
        unreadable = []
        for offset in range(len(self.items)):
            shot = self.items[(number + offset) % len(self.items)]
            try:
                frames = read_two(shot)
            except InputError:
                unreadable.append(shot.path.name)
                continue
            box, mirrored = random_box(frames[0].size, random) if self.augment else centre_box(frames[0].size)
            content, following = (cropped(frame, self.image_size, box, mirrored)[None] for frame in frames)
            flow = self.flow(following, content)
            mask = occlusion_mask(flow, self.flow(content, following))
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


def find_shots(root: str | Path) -> tuple[list[Shot], dict[str, str]]:
    """Returns every pair of consecutive frames of the clips in a folder, and the unusable files with the reason.

    Only packets are read, nothing is decoded.

    Raises:
        ConfigError: there is no such folder, or no clip with two frames in it.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise ConfigError(f"no folder '{root}'; data.root=FOLDER names one with clips")
    shots, bad = [], {}
    for path in find_videos(root, deep=True):
        try:
            with open_input(path) as container:
                stream = main_video_stream(container, path)
                times = sorted(
                    packet.pts for packet in container.demux(stream) if packet.size and packet.pts is not None
                )
        except InputError as error:
            bad[str(path.relative_to(root))] = str(error)
            continue
        shots += [Shot(path, pts) for pts in times[:-1]]
    if not shots:
        raise ConfigError(f"no clips with two frames or more in '{root}'")
    return shots, bad


def read_two(shot: Shot) -> tuple[Image.Image, Image.Image]:
    """Returns the two frames of a shot, upright.

    Raises:
        InputError: they cannot be decoded, or are of different sizes.
    """
    images = []
    with open_input(shot.path) as container:
        stream = main_video_stream(container, shot.path)
        try:
            container.seek(shot.pts, stream=stream)
            for frame in container.decode(stream):
                if frame.pts is not None and frame.pts >= shot.pts:
                    rgb = to_rgb24(frame, frame.width, frame.height, stream.codec_context.color_trc)
                    images.append(Image.fromarray(np.ascontiguousarray(np.rot90(rgb, frame.rotation // 90))))
                if len(images) == 2:
                    break
        except av.FFmpegError as error:
            raise InputError(f"cannot decode '{shot.path}' at {shot.pts}") from error
    if len(images) < 2 or images[0].size != images[1].size:
        raise InputError(f"no two frames of one size in '{shot.path}' at {shot.pts}")
    return images[0], images[1]
