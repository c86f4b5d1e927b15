"""How far a long run has come: a bar on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import sys
from time import monotonic

from tqdm import tqdm

from fastnst import cli

LINE_EVERY = 5.0  # seconds between plain lines


class Progress:
    """Shows on stderr how much is done; call it with the count and, if known, the total.

    Args:
        unit: what is counted: "frame", "step".
        first: how many were done before, as in a run that is resumed.
    """

    def __init__(self, unit: str, first: int = 0) -> None:
        self._unit, self._first, self._bar = unit, first, None
        self._started = self._said = monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __call__(self, done: int, total: int | None, note: str = "") -> None:
        """Shows that `done` of `total` are done, and behind that a note."""
        if sys.stderr.isatty():
            self._bar = self._bar or tqdm(
                total=total, initial=self._first, unit=self._unit, dynamic_ncols=True, leave=False
            )
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(done - self._bar.n)
        elif monotonic() - self._said >= LINE_EVERY:
            self._said = monotonic()
            cli.note(self._line(done, total, note))

    def _line(self, done: int, total: int | None, note: str) -> str:
        """Returns what is shown where there is no terminal: "frame 120 of 300, 0:18 left, 10.0 frames/s"."""
        rate = (done - self._first) / max(self._said - self._started, 1e-9)
        all_of_it = f" of {total}, {clock(max(0, total - done) / rate)} left" if total and rate else ""
        speed = f"{rate:.1f} {self._unit}s/s" if rate >= 1 else f"{1 / rate:.1f} s/{self._unit}" if rate else ""
        return ", ".join(filter(None, [f"{self._unit} {done}{all_of_it}", speed, note]))

    def close(self) -> None:
        """Removes the bar."""
        if self._bar:
            self._bar.close()


def clock(seconds: float) -> str:
    """Returns a time span as hours, minutes and seconds; hours may be many.

    >>> clock(59.6), clock(3599), clock(30 * 3600)
    ('1:00', '59:59', '30:00:00')
    """
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"
