"""The styles that a live stream is stylized in: a net each, with what it remembers of the stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from fastnst.errors import ConfigError
from fastnst.live.feeds import Pixels
from fastnst.mixing import Stop, stops_of
from fastnst.settings import LookSettings
from fastnst.stylizer import Stylizer

SLIDE = 600  # frames from one style to the next; a step of it changes less than what flickers: benchmarks/RESULTS.md


class LiveStyle:
    """One style, with what it remembers of the stream.

    Args:
        stylizer: of a checkpoint.
        look: how it stylizes.

    Attributes:
        name: of the style.
    """

    def __init__(self, stylizer: Stylizer, look: LookSettings) -> None:
        self.name, self._stylizer, self._stream = stylizer.style, stylizer, stylizer.stream(look)

    def reset(self) -> None:
        """Forgets the frames so far."""
        self._stream.reset()

    def follow(self, other: LiveStyle) -> None:
        """Takes over what another style of the same kind of net remembers of the stream."""
        self._stream.recall(other._stream.memory())

    def stylize(self, pixels: Pixels, strength: float) -> Pixels:
        """Returns the stream's next frame stylized."""
        self._stream.look = replace(self._stream.look, strength=strength)
        frame = torch.from_numpy(pixels).permute(2, 0, 1)[None]  # (1, 3, H, W)
        return self._stylizer.frames(frame, self._stream)[0].permute(1, 2, 0).contiguous().numpy()


class Slide(LiveStyle):
    """The way from one style to the next: each frame is stylized by weights that are a step further.

    Args:
        stylizer: of a style that moves within a second.
        look: how it stylizes.

    Attributes:
        done: whether the next style is reached.
    """

    def __init__(self, stylizer: Stylizer, look: LookSettings) -> None:
        super().__init__(stylizer, look)
        self._frames, self.done = 0, False

    def begin(self, start: LiveStyle) -> None:
        """Begins at a style, with what that remembers."""
        self._frames, self.done = 0, False
        self.follow(start)

    def stylize(self, pixels: Pixels, strength: float) -> Pixels:
        """Returns the stream's next frame stylized, a step further."""
        self._frames = min(SLIDE, self._frames + 1)
        self.done = self._frames == SLIDE
        self._stylizer.move(self._frames / SLIDE)
        return super().stylize(pixels, strength)


@dataclass
class Styles:
    """The styles to choose from.

    Attributes:
        all: the styles, in their order.
        slides: from each to the next, after the last to the first; an error where two cannot be mixed. Empty for one.
    """

    all: Sequence[LiveStyle]
    slides: Sequence[Slide | ConfigError] = ()


def load_styles(
    names: Sequence[str], device: str, threads: int | None, look: LookSettings, engine: str = "auto"
) -> Styles:
    """Returns the styles of checkpoints.

    Args:
        names: of the checkpoints, or their files, or mixtures of them.
        device: where they run.
        threads: of the CPU; None for all cores.
        look: how they stylize.
        engine: what runs them; slides run on PyTorch, whose nets can be changed from frame to frame.

    Raises:
        InputError: a checkpoint is missing or damaged.
        ConfigError: a mixture is of nets that cannot be mixed.
    """
    if threads:
        torch.set_num_threads(threads)
    styles = [LiveStyle(Stylizer.load(name, device, engine=engine), look) for name in names]
    if len(names) == 1:
        return Styles(styles)
    ways = zip(names, [*names[1:], names[0]], strict=True)
    return Styles(styles, [slide_between(*way, device, look) for way in ways])


def slide_between(start: str, end: str, device: str, look: LookSettings) -> Slide | ConfigError:
    """Returns the slide from one style to another, or why there is none."""
    stops = [Stop(stops_of(start)[0].shares, 0.0), Stop(stops_of(end)[0].shares, 1.0)]
    try:
        return Slide(Stylizer.moving_over(stops, device), look)
    except ConfigError as error:
        return error
