"""An hour of live video from a fake camera: PYTHONPATH=. python benchmarks/live.py [FRAMES].

First FRAMES frames (108,000: an hour at 30 fps) of 32x24 as fast as they go through the loop of `fastnst.live`, with a
net of two channels and `norm=shot`, and a camera that is lost and comes back a hundred times: resident memory at
intervals. Then a camera of 30 fps and a net of 200 ms for a minute: how far what is shown is behind, what is dropped.
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import count
from pathlib import Path
from time import monotonic, sleep

import numpy as np
import torch

from fastnst.live.__main__ import stylize_stream
from fastnst.live.feeds import Feed, Pixels
from fastnst.live.styles import LiveStyle, Styles
from fastnst.net import StylizationNet
from fastnst.settings import LookSettings
from fastnst.stylizer import Stylizer

HOUR = 108_000
LOSSES, LINES = 100, 12
RATE = Fraction(30)


class Slow:
    """A net that takes its time."""

    name, seconds = "slow", 0.2

    def reset(self) -> None:
        """Has nothing to forget."""

    def stylize(self, pixels: Pixels, strength: float) -> Pixels:
        """Returns the frame as it is."""
        sleep(self.seconds)
        return pixels


class Screen:
    """Counts what is shown, calls `note` with the count and the frame, and presses q after the last frame."""

    def __init__(self, frames: int, note: Callable[[int, Pixels], None]) -> None:
        self.frames, self.note, self.shown = frames, note, 0

    def show(self, pixels: Pixels, rate: Fraction) -> str:
        """Shows a frame."""
        self.shown += 1
        self.note(self.shown, pixels)
        return "q" if self.shown == self.frames else ""

    def hold(self) -> str:
        """Shows nothing new."""
        return ""


def main() -> None:
    """Prints memory over the hour, then the latency."""
    torch.set_num_threads(1)
    frames = int(sys.argv[1]) if len(sys.argv) > 1 else HOUR
    print("| frames | memory, MB | seconds |\n|---|---|---|")
    hour(frames)
    print("\n| camera, fps | net, ms | shown | dropped | behind, ms: median | 99 % | most |")
    print("|---|---|---|---|---|---|---|")
    slow_net(seconds=min(60, frames / 30))


def hour(frames: int) -> None:
    """Prints a row for every twelfth of the frames."""
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (16, 24, 32, 3), np.uint8)
    style = LiveStyle(Stylizer(StylizationNet((2, 2, 2), 0), "cpu"), LookSettings())
    begun = monotonic()

    def camera() -> Iterator[tuple[Pixels, Fraction]]:
        for number in range(frames // LOSSES):
            shown = screen.shown
            yield noise[number % len(noise)].copy(), RATE
            while screen.shown == shown:  # as fast as it goes, but nothing is dropped
                sleep(0)

    def note(shown: int, _: Pixels) -> None:
        if shown % (frames // LINES) == 0:
            held = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            print(f"| {shown} | {held / 1e6:.1f} | {monotonic() - begun:.0f} |", flush=True)

    screen = Screen(frames // LOSSES * LOSSES, note)
    feed = Feed(camera, live=True, retry_s=0.0)
    stylize_stream(feed, Styles([style]), screen)
    feed.close()


def slow_net(seconds: float) -> None:
    """Prints how far behind the camera the screen is, measured from when the camera gave the frame."""
    given, behind = {}, []

    def camera() -> Iterator[tuple[Pixels, Fraction]]:
        begun = monotonic()
        for number in count():
            sleep(max(0.0, begun + number / 30 - monotonic()))
            pixels = np.full((4, 4, 3), number % 256, np.uint8)
            given[number % 256] = monotonic()
            yield pixels, RATE

    screen = Screen(
        round(seconds / Slow.seconds), lambda _, pixels: behind.append(monotonic() - given[int(pixels[0, 0, 0])])
    )
    feed, lines = Feed(camera, live=True), []
    stylize_stream(feed, Styles([Slow()]), screen, say=lines.append)  # pyright: ignore[reportArgumentType]
    feed.close()
    late = [1000 * each for each in sorted(behind)]
    most = f"{statistics.median(late):.0f} | {late[len(late) * 99 // 100]:.0f} | {late[-1]:.0f}"
    print(f"| 30 | {1000 * Slow.seconds:.0f} | {screen.shown} | {feed.dropped} | {most} |")
    print(f"\nThe last line said: {lines[-1]}")


if __name__ == "__main__":
    main()
