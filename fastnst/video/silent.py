"""A clip without sound, made of frames at an even rate, for people to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream

from fastnst.files import replaced
from fastnst.video.colour import BT709, LIMITED, from_rgb24


@contextmanager
def silent_clip(path: Path, frame_rate: Fraction) -> Iterator[Callable[[np.ndarray], None]]:
    """Yields what adds a frame, (height, width, 3) uint8 RGB, to an H.264 clip.

    Odd sides lose a row or column. The clip appears when the block ends without error.

    Raises:
        OutputError: the file cannot be written.
    """
    with replaced(path) as part, av.open(str(part), "w") as container:
        streams: list[VideoStream] = []

        def write(rgb: np.ndarray) -> None:
            rgb = np.ascontiguousarray(rgb[: rgb.shape[0] // 2 * 2, : rgb.shape[1] // 2 * 2])
            if not streams:
                streams.append(video_stream(container, rgb.shape[0], rgb.shape[1], frame_rate))
            container.mux(streams[0].encode(from_rgb24(rgb, "yuv420p")))

        yield write
        for stream in streams:
            container.mux(stream.encode(None))


def video_stream(container: OutputContainer, height: int, width: int, frame_rate: Fraction) -> VideoStream:
    """Returns a new H.264 stream, tagged BT.709."""
    stream = cast(VideoStream, container.add_stream("libx264", rate=frame_rate, options={"crf": "18"}))
    stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
    context = stream.codec_context
    context.color_primaries = context.color_trc = context.colorspace = BT709
    context.color_range = LIMITED
    return stream
