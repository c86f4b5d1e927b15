"""A picture and its next frame: what training sees of video. Each `temporal=` choice is one class.

All randomness comes from the generator, one per picture, so that a training step is a pure function of its number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor

from fastnst.errors import ConfigError
from fastnst.flow import affine_flow, inside, warp
from fastnst.images import to_float, to_uint8
from fastnst.settings import MotionSettings, TemporalSettings

PATTERNS = ("sparse", "gaussian", "correlated", "jpeg")


class NextFrame(NamedTuple):
    """The frame that follows a picture.

    Attributes:
        content_next: the frame, in [0, 1].
        flow: where each pixel of the next frame was in the picture, in pixels (x, y): `warp(picture, flow)` lies on top
            of the next frame. None if nothing moves.
        mask: 1 where the next frame shows what the picture shows, 0 elsewhere.
    """

    content_next: Float[Tensor, "*batch 3 height width"]
    flow: Float[Tensor, "*batch 2 height width"] | None
    mask: Float[Tensor, "*batch 1 height width"]


@runtime_checkable
class Pair(Protocol):
    """Makes the next frame of one picture."""

    def __call__(
        self, content: Float[Tensor, "3 height width"], generator: Generator, filmed: NextFrame | None = None
    ) -> NextFrame:
        """Returns the next frame.

        Args:
            content: the picture, in [0, 1].
            generator: where all randomness comes from, on the CPU.
            filmed: the frame that really followed, if the picture is from a clip.
        """
        ...


class NoisePair:
    """The next frame is the same picture with fresh noise: `temporal=noise`.

    Args:
        sigma: lowest and highest noise level, in units of the [0, 1] range; the level is drawn between them.
        patterns: the patterns to draw from: `sparse` changes one pixel in twenty by up to 3 sigma; `gaussian` every
            value by itself; `correlated` the luma, in grains of two to four pixels, as sensors do; `jpeg` is what a
            codec leaves of the picture, at a quality whose error is about sigma.

    Source: Rainy and de Berker 2018, "Stabilizing neural style-transfer for video" (Element AI): sparse noise.
    Differs: a level and a pattern drawn per picture instead of one for the whole training; the pair's first frame is
    clean.
    """

    def __init__(self, sigma: tuple[float, float], patterns: Sequence[str] = PATTERNS) -> None:
        self.sigma, self.patterns = sigma, tuple(patterns)

    def __call__(
        self, content: Float[Tensor, "3 height width"], generator: Generator, filmed: NextFrame | None = None
    ) -> NextFrame:
        """Returns the picture with noise."""
        pattern = self.patterns[int(torch.randint(len(self.patterns), (), generator=generator))]
        level = uniform(*self.sigma, generator)
        if pattern == "jpeg":
            noisy = reencoded(content, quality=round(min(95.0, max(20.0, 100 - 1200 * level))))
        else:
            height, width = content.shape[-2:]
            noisy = content + level * unit_noise(pattern, height, width, generator).to(content)
        return NextFrame(noisy.clamp(0, 1), None, torch.ones_like(content[:1]))


class MotionPair:
    """The next frame is the picture moved by a known flow, in another light, with noise: `temporal=motion`.

    The flow is exact, and so is the mask of pixels that come from inside the picture: no video, no flow network.

    Args:
        largest: shift, rotation, change of size and of light; each is drawn from 0 to this, in either direction.
        noise: what is added last, or None.

    Source: Ruder et al. 2018, arXiv:1708.04538 (motion made up on stills); Wang et al. 2020, "Consistent Video Style
    Transfer via Relaxation and Regularization", doi:10.1109/TIP.2020.3024018 (smooth random fields, changing light).
    """

    def __init__(self, largest: MotionSettings, noise: NoisePair | None) -> None:
        self.largest, self.noise = largest, noise

    def __call__(
        self, content: Float[Tensor, "3 height width"], generator: Generator, filmed: NextFrame | None = None
    ) -> NextFrame:
        """Returns the picture moved, relit, and with noise."""

        def drawn(limit: float) -> float:
            return uniform(-limit, limit, generator)

        largest = self.largest
        height, width = content.shape[-2:]
        move = affine_flow(
            height, width, (drawn(largest.shift), drawn(largest.shift)), drawn(largest.degrees), 1 + drawn(largest.zoom)
        )
        coarse = torch.randn(1, 2, 4, 4, generator=generator) * largest.wave
        wave = F.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)
        flow = (move + wave).to(content)
        moved = warp(content[None], flow)[0] * (1 + drawn(largest.gain)) + drawn(largest.brightness)
        after = self.noise(moved.clamp(0, 1), generator).content_next if self.noise else moved.clamp(0, 1)
        return NextFrame(after, flow[0], inside(flow)[0])


class VideoPair:
    """The next frame is the one that followed in the clip, with the flow measured between them: `temporal=video`.

    Source: Ruder et al. 2018, arXiv:1708.04538; Gao et al. 2018 (ReCoNet), arXiv:1807.01197.
    """

    def __call__(
        self, content: Float[Tensor, "3 height width"], generator: Generator, filmed: NextFrame | None = None
    ) -> NextFrame:
        """Returns the frame that followed.

        Raises:
            ConfigError: the picture is not from a clip.
        """
        if filmed is None:
            raise ConfigError("temporal=video and temporal=previous need real frames: data=clips data.root=FOLDER")
        return filmed


class PreviousPair(VideoPair):
    """The frame that followed, compared pixel by pixel as if nothing moved: `temporal=previous`.

    Source: the student report of 2019 that this project continues: mean squared difference to the previous stylized
    frame. It is the baseline: it punishes whatever moves.
    """

    def __call__(
        self, content: Float[Tensor, "3 height width"], generator: Generator, filmed: NextFrame | None = None
    ) -> NextFrame:
        """Returns the frame that followed, without flow and with nothing masked."""
        followed = super().__call__(content, generator, filmed)
        return NextFrame(followed.content_next, None, torch.ones_like(followed.mask))


class MixedPair:
    """Draws one of several pairs for each picture: `temporal=mixed`. Clips have real frames among them."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.pairs = list(pairs)

    def __call__(
        self, content: Float[Tensor, "3 height width"], generator: Generator, filmed: NextFrame | None = None
    ) -> NextFrame:
        """Returns the next frame that the drawn pair makes."""
        pairs = [*self.pairs, VideoPair()] if filmed else self.pairs
        return pairs[int(torch.randint(len(pairs), (), generator=generator))](content, generator, filmed)


def unit_noise(pattern: str, height: int, width: int, generator: Generator) -> Float[Tensor, "3 height width"]:
    """Returns noise of a pattern that is added, standard deviation 1 (`sparse`: between -3 and 3 where it acts)."""
    if pattern == "gaussian":
        return torch.randn(3, height, width, generator=generator)
    if pattern == "sparse":
        changed = torch.rand(1, height, width, generator=generator) < 0.05
        return changed * (torch.rand(3, height, width, generator=generator) * 6 - 3)
    grain = int(torch.randint(2, 5, (), generator=generator))
    coarse = torch.randn(1, 1, height // grain + 2, width // grain + 2, generator=generator)
    smooth = F.interpolate(coarse, scale_factor=grain, mode="bicubic", align_corners=False)[0, :, :height, :width]
    return (smooth / smooth.std()).expand(3, height, width)


def reencoded(picture: Float[Tensor, "3 height width"], quality: int) -> Float[Tensor, "3 height width"]:
    """Returns what JPEG leaves of a picture at a quality from 1 to 100."""
    bgr = np.ascontiguousarray(to_uint8(picture).flip(0).permute(1, 2, 0).cpu().numpy())
    decoded = cv2.imdecode(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)
    assert decoded is not None
    return to_float(torch.from_numpy(decoded).permute(2, 0, 1)).flip(0).to(picture)


def uniform(low: float, high: float, generator: Generator) -> float:
    """Returns a number drawn uniformly from [low, high)."""
    return low + (high - low) * float(torch.rand((), generator=generator))


REAL: dict[str, type[VideoPair]] = {"video": VideoPair, "previous": PreviousPair}  # pairs that need data=clips


def make_pair(temporal: TemporalSettings) -> Pair | None:
    """Returns what `temporal.pair` names: None for "none"."""
    if temporal.pair == "none":
        return None
    if temporal.pair in REAL:
        return REAL[temporal.pair]()
    noise = NoisePair(temporal.sigma, temporal.patterns)
    if temporal.pair == "noise":
        return noise
    motion = MotionPair(temporal.motion, noise)
    return motion if temporal.pair == "motion" else MixedPair([noise, motion])


def next_frames(
    pair: Pair,
    content: Float[Tensor, "batch 3 height width"],
    seeds: Sequence[int],
    filmed: Sequence[NextFrame | None] = (),
) -> NextFrame:
    """Returns the next frames of a batch, each picture's drawn from a seed of its own.

    Args:
        pair: makes them.
        content: the pictures, in [0, 1].
        seeds: one for each picture.
        filmed: the frames that really followed, None for photos; or nothing at all.
    """
    frames = [
        pair(picture, Generator().manual_seed(seed), after)
        for picture, seed, after in zip(content, seeds, filmed or [None] * len(content), strict=True)
    ]
    still = torch.zeros_like(content[0, :2])
    moves = any(frame.flow is not None for frame in frames)
    return NextFrame(
        torch.stack([frame.content_next for frame in frames]),
        torch.stack([still if frame.flow is None else frame.flow for frame in frames]) if moves else None,
        torch.stack([frame.mask for frame in frames]),
    )
