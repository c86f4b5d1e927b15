"""The styles that a live stream is stylized in: a net each, with what it remembers of the stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from fastnst.live.feeds import Pixels
from fastnst.settings import LookSettings
from fastnst.stylizer import Stylizer


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

    def stylize(self, pixels: Pixels, strength: float) -> Pixels:
        """Returns the stream's next frame stylized."""
        self._stream.look = replace(self._stream.look, strength=strength)
        frame = torch.from_numpy(pixels).permute(2, 0, 1)[None]  # (1, 3, H, W)
        return self._stylizer.frames(frame, self._stream)[0].permute(1, 2, 0).contiguous().numpy()


def load_styles(
    names: Sequence[str], device: str, threads: int | None, look: LookSettings, engine: str = "auto"
) -> list[LiveStyle]:
    """Returns the styles of checkpoints.

    Args:
        names: of the checkpoints, or their files.
        device: where they run.
        threads: of the CPU; None for all cores.
        look: how they stylize.
        engine: what runs them.

    Raises:
        InputError: a checkpoint is missing or damaged.
    """
    if threads:
        torch.set_num_threads(threads)
    return [LiveStyle(Stylizer.load(name, device, engine=engine), look) for name in names]
