"""How far a long run has come: a bar on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import sys
from time import monotonic

from tqdm import tqdm

EVERY = 5.0  # seconds between plain lines


class ProgressBar:
    """Shows how many frames are done, on stderr; call it with the count and, if known, the total."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._started = self._said = monotonic()

    def __call__(self, done: int, total: int | None) -> None:
        """Shows `done` of `total` frames."""
        if sys.stderr.isatty():
            self._bar = self._bar or tqdm(total=total, unit="frame", dynamic_ncols=True, leave=False)
            self._bar.update(done - self._bar.n)
        elif monotonic() - self._said >= EVERY:
            self._said = monotonic()
            rate = done / (self._said - self._started)
            of_all = f" of {total}, {max(0, total - done) / rate:.0f} s left" if total else ""
            print(f"{done} frames{of_all}, {rate:.1f} fps", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Removes the bar."""
        if self._bar:
            self._bar.close()
