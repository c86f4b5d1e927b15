"""A still and its next frame: what training sees in place of video.

All randomness comes from the generator, one per picture, so that a training step is a pure function of its number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor

from fastnst.errors import ConfigError

PATTERNS = ("sparse", "gaussian", "correlated")


class NextFrame(NamedTuple):
    """The frame that follows a content picture.

    Attributes:
        content_next: the frame, in [0, 1].
        flow: where each pixel of the content is found in the next frame, in pixels (x, y), or None if nothing moves.
        mask: 1 where the two frames show the same thing, 0 elsewhere.
    """

    content_next: Float[Tensor, "*batch 3 height width"]
    flow: Float[Tensor, "*batch 2 height width"] | None
    mask: Float[Tensor, "*batch 1 height width"]


class NoisePair:
    """The next frame is the same picture with fresh noise: `temporal=noise`.

    Args:
        sigma: lowest and highest noise level, in units of the [0, 1] range; the level is drawn between them.
        patterns: the patterns to draw from: `sparse` changes one pixel in twenty by up to 3 sigma; `gaussian` every
            value by itself; `correlated` the luma, in grains of two to four pixels, as sensors and codecs do.

    Source: Rainy and de Berker 2018, "Stabilizing neural style-transfer for video" (Element AI): sparse noise.
    Differs: a level and a pattern drawn per picture instead of one for the whole training; the pair's first frame is
    clean.

    Raises:
        ConfigError: a pattern is unknown, or the levels are not 0 <= low <= high.
    """

    def __init__(self, sigma: tuple[float, float], patterns: Sequence[str] = PATTERNS) -> None:
        low, high = sigma
        if not 0 <= low <= high:
            raise ConfigError(f"temporal.sigma=[{low}, {high}] must be two levels, low and high, 0 or above")
        if not patterns or not set(patterns) <= set(PATTERNS):
            raise ConfigError(f"temporal.patterns={list(patterns)} must be some of {', '.join(PATTERNS)}")
        self.low, self.high, self.patterns = low, high, tuple(patterns)

    def __call__(self, content: Float[Tensor, "3 height width"], generator: Generator) -> NextFrame:
        """Returns the next frame of one picture; the noise is drawn on the CPU."""
        pattern = self.patterns[int(torch.randint(len(self.patterns), (), generator=generator))]
        level = self.low + (self.high - self.low) * float(torch.rand((), generator=generator))
        noise = level * unit_noise(pattern, content.shape[-2], content.shape[-1], generator)
        return NextFrame((content + noise.to(content)).clamp(0, 1), None, torch.ones_like(content[:1]))


def unit_noise(pattern: str, height: int, width: int, generator: Generator) -> Float[Tensor, "3 height width"]:
    """Returns noise of one of the `PATTERNS` with standard deviation 1 (`sparse`: between -3 and 3 where it acts)."""
    if pattern == "gaussian":
        return torch.randn(3, height, width, generator=generator)
    if pattern == "sparse":
        changed = torch.rand(1, height, width, generator=generator) < 0.05
        return changed * (torch.rand(3, height, width, generator=generator) * 6 - 3)
    grain = int(torch.randint(2, 5, (), generator=generator))
    coarse = torch.randn(1, 1, height // grain + 2, width // grain + 2, generator=generator)
    smooth = F.interpolate(coarse, scale_factor=grain, mode="bicubic", align_corners=False)[0, :, :height, :width]
    return (smooth / smooth.std()).expand(3, height, width)


def make_pair(temporal: Mapping[str, Any]) -> NoisePair | None:
    """Returns what `conf/temporal/*.yaml` names in `pair`: None for `none`.

    Raises:
        ConfigError: there is no such pair, or its settings are out of range.
    """
    if temporal["pair"] == "none":
        return None
    if temporal["pair"] == "noise":
        return NoisePair(temporal["sigma"], temporal["patterns"])
    raise ConfigError(f"temporal.pair={temporal['pair']} must be none or noise")


def next_frames(
    pair: NoisePair, content: Float[Tensor, "batch 3 height width"], seeds: Sequence[int]
) -> NextFrame:
    """Returns the next frames of a batch, each picture's drawn from a seed of its own."""
    frames = [pair(picture, Generator().manual_seed(seed)) for picture, seed in zip(content, seeds, strict=True)]
    flows = [frame.flow for frame in frames if frame.flow is not None]
    return NextFrame(
        torch.stack([frame.content_next for frame in frames]),
        torch.stack(flows) if flows else None,
        torch.stack([frame.mask for frame in frames]),
    )
