"""A camera, a stream or a pipe, stylized as it comes: fastnst live video=0 ckpt=picasso."""

from __future__ import annotations

import cv2  # isort: skip (first: windows hang if PyAV comes before, pytorch/vision#5940)

from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING

from fastnst import cli
from fastnst.errors import ConfigError
from fastnst.live.feeds import Feed, LiveFrame, Pixels, Say, find_source
from fastnst.live.sinks import Sink, open_sink
from fastnst.mixing import styles_of
from fastnst.settings import LiveSettings
from fastnst.video.reader import scaled_size

if TYPE_CHECKING:
    from fastnst.live.styles import LiveStyle, Slide, Styles

USAGE = """
fastnst live video=0 ckpt=picasso
fastnst live video=rtsp://camera.local/stream ckpt=[picasso,wave] out=camera
ffmpeg -i in.mp4 -f yuv4mpegpipe - | fastnst live video=- ckpt=picasso out=- | ffplay -

Of a camera and an address the newest frame is stylized, and those that the net is too slow for are dropped; of a file
and a pipe every frame. Keys in the window: n next style, s slide to it over 600 frames, + and - strength, f freeze,
q quit. Exit status: 0 done, 2 wrong settings, 3 nothing to read, 4 nobody reads the output, 5 the machine lacks
something, 130 Ctrl-C.
"""
TICK = 0.03  # seconds between looks at the keys while no frame comes
REPORT = 10.0  # seconds between lines on the rate
STEP = 0.1  # of strength, per key
SYNONYMS = {"\x1b": "q", "=": "+"}  # keys that mean the same


class Controls:
    """What the keys change while the stream runs.

    Args:
        styles: to choose from; the first is chosen.
        strength: at the start.
        say: is told the style and the strength when they change.

    Attributes:
        style: the chosen one, or a slide to the next.
        strength: from 0 to 1.
        frozen: whether the last frame stays on show.
        quit: whether the run should end.
        turned: whether the last key changed how a frame looks.
    """

    def __init__(self, styles: Styles, strength: float, say: Say) -> None:
        self._styles, self._say = styles, say
        self._chosen, self._slide = 0, None
        self.strength, self.frozen, self.quit, self.turned = strength, False, False, False

    @property
    def style(self) -> LiveStyle:
        """The chosen style, or the slide to the next one."""
        return self._slide or self._styles.all[self._chosen]

    def press(self, key: str) -> None:
        """Does what a key stands for; an empty one stands for nothing."""
        key = SYNONYMS.get(key, key)
        self.quit = key == "q"
        self.frozen ^= key == "f"
        self.turned = key in ("n", "+", "-")
        if key == "n":
            self._next()
            self.style.reset()
        elif key == "s" and self._slide is None:
            self._begin_slide()
        elif self.turned:
            self.strength = min(1.0, max(0.0, round(self.strength + (STEP if key == "+" else -STEP), 2)))
        if self.turned:
            self._tell()

    def arrive(self) -> None:
        """Goes on with the next style where a slide has come to its end; nothing is forgotten."""
        if self._slide is not None and self._slide.done:
            slide = self._slide
            self._next()
            self.style.follow(slide)
            self._tell()

    def _next(self) -> None:
        self._chosen, self._slide = (self._chosen + 1) % len(self._styles.all), None

    def _begin_slide(self) -> None:
        if not self._styles.slides:
            return self._say("there is one style only; several: ckpt=[picasso,wave]")
        slide = self._styles.slides[self._chosen]
        if isinstance(slide, ConfigError):
            return self._say(f"{slide}; n changes at once")
        slide.begin(self.style)
        self._slide: Slide | None = slide
        self._tell()

    def _tell(self) -> None:
        self._say(f"{self.style.name}, strength {self.strength:g}")


class Tally:
    """How many frames were shown, how fast, and how late; `say` is told every `REPORT` seconds, and at the end."""

    def __init__(self, feed: Feed, say: Say) -> None:
        self._feed, self._say, self._started = feed, say, monotonic()
        self._shown, self._behind, self._longest, self._due = 0, 0.0, 0.0, self._started + REPORT

    def count(self, frame: LiveFrame) -> None:
        """Counts a frame that was shown just now."""
        self._shown, self._behind = self._shown + 1, monotonic() - frame.taken
        self._longest = max(self._longest, self._behind)

    def report(self, end: bool = False) -> None:
        """Says a line if it is time for one, and at the `end`."""
        if not self._shown or not (end or monotonic() >= self._due):
            return
        self._due += REPORT
        fps = self._shown / max(monotonic() - self._started, 1e-9)
        late = f"{1000 * self._behind:.0f} ms behind, {1000 * self._longest:.0f} at most"
        self._say(f"{self._shown} frames, {fps:.1f} fps, {late}, {self._feed.dropped} dropped")


def stylize_stream(
    feed: Feed,
    styles: Styles,
    sink: Sink,
    strength: float = 1.0,
    max_side: int | None = None,
    say: Say = lambda line: None,
) -> None:
    """Stylizes what comes, until it ends or somebody presses q.

    Args:
        feed: the frames.
        styles: to choose from by key.
        sink: where to.
        strength: at the start.
        max_side: larger frames are made smaller first, pixels of the longer side; all to the size of the first.
        say: is told the style when it changes, and the rate.
    """
    controls, tally = Controls(styles, strength, say), Tally(feed, say)
    frame, size = None, None
    try:
        while not (feed.ended or controls.quit):
            arrived = feed.next(TICK)
            if arrived is not None and arrived.first:
                controls.style.reset()
            if controls.frozen:
                arrived = None
            if arrived is not None:
                size = size or scaled_size(arrived.pixels.shape[1], arrived.pixels.shape[0], max_side)
                frame = arrived._replace(pixels=at_size(arrived.pixels, size))
            if frame is not None and (arrived is not None or controls.turned):
                key = sink.show(controls.style.stylize(frame.pixels, controls.strength), frame.rate)
            else:
                key = sink.hold()
            if arrived is not None:
                tally.count(arrived)
            controls.arrive()
            controls.press(key)
            tally.report()
    finally:
        tally.report(end=True)


def at_size(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Returns the frame at a width and height."""
    fits = (pixels.shape[1], pixels.shape[0]) == size
    return pixels if fits else cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def live(settings: LiveSettings) -> None:
    """Opens both ends, loads the styles, runs."""
    source, is_live = find_source(settings.video, settings.size, settings.fps, paced=settings.out != "-")
    sink = open_sink(settings.out, is_live)

    from fastnst.live.styles import load_styles  # with torch, which takes seconds: what is wrong shows before

    styles = load_styles(styles_of(settings.ckpt), settings.device, settings.threads, settings, settings.engine)
    feed = Feed(source, is_live, settings.give_up_s, say=print_note)
    try:
        stylize_stream(feed, styles, sink, settings.strength, settings.max_side, print_note)
    finally:
        feed.close()


def print_note(line: str) -> None:
    """Prints a note on stderr."""
    cli.note(f"note: {cli.one_line(line)}")


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command with the arguments after its name; None: those of the process."""
    cli.main(live, LiveSettings, USAGE, argv=argv)


if __name__ == "__main__":
    main()
