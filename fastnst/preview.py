"""A look before the long run: single frames stylized to a picture, and what the whole would take."""

from __future__ import annotations

import io
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import av
import numpy as np

from fastnst.files import check_picture_target
from fastnst.settings import VideoSettings
from fastnst.video.reader import time_named

if TYPE_CHECKING:  # what is wrong with `preview` is said before torch is imported, which takes seconds
    from torch import Tensor

    from fastnst.stylizer import Stylizer
    from fastnst.video.reader import VideoReader

LATER = 0.45  # of the bytes of a keyframe those of a frame after it: 0.16 to 0.59 on seven clips, picasso at 384 pixels


@dataclass(frozen=True)
class Preview:
    """What a preview shows, and what the whole run would take.

    Attributes:
        path: the picture.
        times: when its frames are shown in the video, seconds.
        frames: of the whole run; None if the file does not say.
        seconds: that the net would take for them.
        megabytes: that their pictures would take, roughly, in H.264: as far as keyframes of those shown tell.
    """

    path: str
    times: list[float]
    frames: int | None
    seconds: float | None
    megabytes: float | None

    def __str__(self) -> str:
        """Returns the report for people: two lines."""
        shown = ", ".join(f"{time:.2f}" for time in self.times)
        whole = "the file does not say how long it is"
        if self.frames and self.seconds is not None and self.megabytes is not None:
            whole = f"{self.frames} frames, about {lasting(self.seconds)} and {self.megabytes:.2g} MB"
        return f"the whole: {whole}\n{self.path} (at {shown} s)"


def times_of(text: str, seconds: float) -> list[float]:
    """Returns the times that a `preview` names, in a video of that length: seconds.

    >>> times_of("3", 12.0), times_of("00:12.5", 60.0), times_of("1s,2s", 60.0)
    ([2.0, 6.0, 10.0], [12.5], [1.0, 2.0])
    """
    if text.isdecimal():
        return [(number + 0.5) * seconds / int(text) for number in range(int(text))]
    return [time_named(time.strip()) for time in text.split(",")]


def preview(stylizer: Stylizer, reader: VideoReader, out: Path, settings: VideoSettings, text: str) -> Preview:
    """Stylizes the frames of a video that `text` names to a PNG: one alone, or several below their inputs.

    Args:
        stylizer: the net.
        reader: the video, as `settings.open` returned it.
        out: where the result of the whole run would go; the picture goes beside it.
        settings: those of the whole run.
        text: a number of frames, spread over the video, or times with commas between.

    Raises:
        ConfigError: there is no frame at a time.
        OutputError: the picture exists, or cannot be written.
    """
    from fastnst.images import save_image
    from fastnst.mask import masked, pixels_of

    target = out.with_name(f"{out.stem}_preview.png")
    check_picture_target(target, reader.path, settings.overwrite)
    start = settings.part[0]
    length = (reader.frame_count or 1) / float(reader.frame_rate)
    times = [time + (start if text.isdecimal() else 0) for time in times_of(text, length)]
    columns, seconds, sizes = [], [], []
    for time in times:
        content, mask = frame_at(reader.path, time, settings)
        begun = perf_counter()
        stylizer.move(time - start)
        stylized = stylizer.image(content, settings)
        seconds.append(perf_counter() - begun)
        if mask is not None:
            stylized = masked(pixels_of(content), pixels_of(stylized), mask)[0].permute(1, 2, 0).numpy()
        sizes.append(keyframe_bytes(stylized, settings.crf))
        columns.append(stylized if len(times) == 1 else np.concatenate([content, stylized]))
    save_image(np.concatenate(columns, 1), target)
    frames = reader.frame_count
    size = float(np.mean(sizes)) * (1 + LATER * (frames - 1)) / 1e6 if frames else None
    return Preview(str(target), [round(time, 3) for time in times], frames, frames and frames * min(seconds), size)


def frame_at(path: Path, time: float, settings: VideoSettings) -> tuple[np.ndarray, Tensor | None]:
    """Returns the frame of a video that begins at a time, or next after it, (height, width, 3), and its mask if any."""
    from fastnst.mask import VideoMask

    there = replace(settings, start=f"{time:.6f}", end=None, fps=None, batch=1)
    with there.open(path) as reader, VideoMask(reader, there) if settings.mask else nullcontext() as mask:
        pixels = next(iter(reader)).pixels[0].permute(1, 2, 0).numpy()
        return pixels, mask and mask.next(1, *pixels.shape[:2])


def keyframe_bytes(picture: np.ndarray, crf: int) -> int:
    """Returns how many bytes H.264 takes for a picture alone."""
    height, width = (side - side % 2 for side in picture.shape[:2])
    written = io.BytesIO()
    with av.open(written, "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": str(crf)})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]))
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return len(written.getvalue())


def lasting(seconds: float) -> str:
    """Returns a duration in words.

    >>> lasting(7.3), lasting(300), lasting(9000)
    ('7 s', '5 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
