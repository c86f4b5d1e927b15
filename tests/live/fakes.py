"""A camera, a screen and a style for the tests of live video: frames that say which one they are."""

import os
import threading
from fractions import Fraction
from itertools import count
from pathlib import Path
from time import monotonic, sleep

import numpy as np

from fastnst.errors import InputError
from fastnst.live.styles import LiveStyle

RATE = Fraction(30)


def numbered(number, side=4):
    """A frame that says which one it is."""
    pixels = np.zeros((side, side, 3), np.uint8)
    pixels[0, 0] = number // 65536, number // 256 % 256, number % 256
    return pixels


def number_of(pixels):
    high, middle, low = (int(value) for value in pixels[0, 0])
    return (high * 256 + middle) * 256 + low


class FakeSource:
    """Frames by number. `ends` says how each opening ends: "stops", "raises", "hangs", or after no frame "absent"."""

    def __init__(self, *ends, frames=3, every=0.005):
        self.ends, self.frames, self.every = list(ends), frames, every
        self.opened, self.made, self.released = 0, count(), threading.Event()
        self.times = []

    def __call__(self):
        self.opened += 1
        end = self.ends.pop(0) if self.ends else None
        if end == "absent":
            raise InputError("there is no such camera")
        for number in count():
            if end and number == self.frames:
                break
            sleep(self.every)
            self.times.append(monotonic())
            yield numbered(next(self.made)), RATE
        if end == "hangs":
            self.released.wait()
        if end == "raises":
            raise InputError("unplugged")


class FakeSink:
    """Keeps what is shown, and presses keys: by the number of frames shown until then."""

    def __init__(self, quit_after=10, keys=()):
        self.frames, self.holds, self.times, self.keys = [], 0, [], {quit_after: "q", **dict(keys)}

    def show(self, pixels, rate):
        self.frames.append(number_of(pixels))
        self.times.append(monotonic())
        return self.keys.pop(len(self.frames), "")

    def hold(self):
        self.holds += 1
        return self.keys.pop(f"held {self.holds}", "")


class FakeStyle(LiveStyle):
    """Gives the frame back, after a time."""

    def __init__(self, name="fake", seconds=0.0):
        self.name, self.seconds, self.resets, self.strengths = name, seconds, 0, []

    def reset(self):
        self.resets += 1

    def stylize(self, pixels, strength):
        self.strengths.append(strength)
        sleep(self.seconds)
        return pixels


def captures():
    """How many threads read a source, or hang in one."""
    return sum(thread.name == "capture" for thread in threading.enumerate())


def memory():
    """Resident memory of this process, bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
