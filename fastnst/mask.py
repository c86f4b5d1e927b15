"""Where a picture or a video is stylized, and where the input stays: `mask`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor

from fastnst.errors import InputError
from fastnst.files import check_input, kind_of
from fastnst.images import load_image, luma
from fastnst.settings import VideoSettings
from fastnst.video.reader import VideoReader

ALPHA = "alpha"  # the `mask` that is the opacity of the input itself
SLACK = 0.001  # by which two frame rates may differ, relative: containers round times


class VideoMask:
    """The masks of a video's frames, one after the other; it is closed at the end.

    Args:
        reader: the video.
        settings: `mask`, a picture for all frames, a video of the same length and frame rate, or "alpha"; and
            `mask_invert`. What is read of a video is what `settings` read of the input.

    Raises:
        InputError: the mask cannot be read, or has another length or frame rate than the video.
    """

    def __init__(self, reader: VideoReader, settings: VideoSettings) -> None:
        self._reader, self._invert, self._open = reader, settings.mask_invert, ExitStack()
        name = settings.mask or ALPHA
        self._last: Tensor | None = None
        if name == ALPHA:
            self._masks = map(opacity, *(self._frames(settings, reader.path, colour) for colour in ("black", "white")))
            return
        check_input(Path(name), "mask")
        if kind_of(Path(name)) == "picture":
            self._masks, self._last = iter(()), brightness(pixels_of(load_image(name)))
            return
        self._masks = map(brightness, self._frames(settings, Path(name), "black"))

    def __enter__(self) -> VideoMask:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _frames(self, settings: VideoSettings, path: Path, background: str) -> Iterator[Tensor]:
        """Returns the frames of a mask's video, (1, 3, H, W), which is opened and compared with the input."""
        size = settings.max_side if path == self._reader.path else None
        mask = VideoReader(path, 1, size, False, background, settings.fps, *settings.part)
        self._open.enter_context(mask)
        rates = mask.source_rate, self._reader.source_rate
        if abs(rates[0] / rates[1] - 1) > SLACK:
            shown = " and ".join(f"{float(rate):.5g}" for rate in rates)
            raise InputError(f"mask '{path}' and '{self._reader.path}' should have one frame rate, not {shown} fps")
        counts = mask.frame_count, self._reader.frame_count
        if counts[0] and counts[1] and abs(counts[0] - counts[1]) > 1:
            shown = " and ".join(map(str, counts))
            raise InputError(f"mask '{path}' and '{self._reader.path}' should have as many frames, not {shown}")
        return (frames.pixels for frames in mask)

    def next(self, frames: int, height: int, width: int) -> UInt8[Tensor, "time 1 height width"]:
        """Returns the masks of the next frames, 255 where they are stylized."""
        masks = []
        for _ in range(frames):
            self._last = next(self._masks, self._last)
            if self._last is None:
                raise InputError(f"the mask of '{self._reader.path}' has no frames")
            masks.append(fitted(self._last, height, width))
        return inverted(torch.cat(masks), self._invert)


def picture_mask(
    source: str | Path, settings: VideoSettings, height: int, width: int
) -> UInt8[Tensor, "1 1 height width"]:
    """Returns the mask of a picture.

    Raises:
        InputError: the mask cannot be read, or is no picture.
    """
    if settings.mask == ALPHA:
        mask = opacity(*(pixels_of(load_image(source, colour)) for colour in ("black", "white")))
    else:
        mask = brightness(pixels_of(load_image(settings.mask or "")))
    return inverted(fitted(mask, height, width), settings.mask_invert)


def masked(
    content: UInt8[Tensor, "time 3 height width"],
    stylized: UInt8[Tensor, "time 3 height width"],
    mask: UInt8[Tensor, "time 1 height width"],
) -> UInt8[Tensor, "time 3 height width"]:
    """Returns the stylized frames where the mask is 255, the content to the bit where it is 0, a mixture between."""
    share = mask.to(stylized.device, torch.float32) / 255
    return torch.lerp(content.to(share), stylized.to(share), share).round_().to(torch.uint8)


def pixels_of(picture: object) -> UInt8[Tensor, "1 3 height width"]:
    """Returns the pixels of a picture."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]


def brightness(pixels: UInt8[Tensor, "1 3 height width"]) -> UInt8[Tensor, "1 1 height width"]:
    """Returns how white the pixels are."""
    return luma(pixels.float()).round().clamp(0, 255).to(torch.uint8)


def opacity(
    on_black: UInt8[Tensor, "1 3 height width"], on_white: UInt8[Tensor, "1 3 height width"]
) -> UInt8[Tensor, "1 1 height width"]:
    """Returns how opaque the pixels are that look like this on black and on white.

    >>> opacity(torch.full((1, 3, 1, 1), 60).byte(), torch.full((1, 3, 1, 1), 160).byte()).item()
    155
    """
    through = (on_white.float() - on_black.float()).mean(1, keepdim=True)
    return (255 - through).round().clamp(0, 255).to(torch.uint8)


def fitted(mask: UInt8[Tensor, "1 1 rows columns"], height: int, width: int) -> UInt8[Tensor, "1 1 height width"]:
    """Returns the mask at the size of the frames."""
    if mask.shape[2:] == (height, width):
        return mask
    resized = F.interpolate(mask.float(), (height, width), mode="bilinear", antialias=True)
    return resized.round().clamp(0, 255).to(torch.uint8)


def inverted(mask: UInt8[Tensor, "time 1 height width"], invert: bool) -> UInt8[Tensor, "time 1 height width"]:
    """Returns the mask, or what it leaves out."""
    return 255 - mask if invert else mask
