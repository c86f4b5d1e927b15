"""Times that rise, from times of which some do not: formats and encoders take no others."""

from __future__ import annotations

from typing import Any, NamedTuple

WAITING = 3  # items in a row that may be misplaced; more of them are another recording, joined to the one before


class At(NamedTuple):
    """A frame or packet; all times in units of its stream.

    Attributes:
        item: the frame or packet.
        time: when it is shown.
        lasts: for how long.
        until: when the next one is shown; None if that is not known, or it is the last.
    """

    item: Any
    time: int
    lasts: int
    until: int | None = None


class Rising:
    """Gives times that rise to items whose times are equal to, or before, those of earlier items. None is lost.

    A few misplaced items are put between their neighbours, and nothing else moves. From many in a row, as where
    recordings are joined, all times move behind what came before.

    Args:
        dense: as pictures and sound are: their times differ, and an item waits for its successor, which shows whether
            it is misplaced. Otherwise, as for subtitles, times may be equal, and an item that is in order does not
            wait, because its successor may be minutes away.

    Attributes:
        moved: by how much later times now are than in the file.
        misplaced: how many items were put between their neighbours.
    """

    def __init__(self, dense: bool = True) -> None:
        self.moved = self.misplaced = 0
        self._dense, self._least = dense, int(dense)  # the smallest step between two times
        self._before: int | None = None  # time of the item before `_last`
        self._last: At | None = None  # the last that was in order; it waits if dense
        self._waiting: list[At] = []  # those after it that are not, with the times of the file

    def add(self, item: Any, time: int, lasts: int) -> list[At]:
        """Takes the next item; returns those that are ready, in order."""
        last, shown = self._last, time + self.moved
        if last is None or shown >= last.time + self._least:
            ready = self._between(shown)
            if ready:
                self._before = ready[-1].time
                shown = max(shown, self._before + self._least)
            self._last = At(item, shown, lasts)
            return with_ends(ready, shown) if self._dense else [*ready, self._last]
        self._waiting.append(At(item, time, lasts))
        if len(self._waiting) <= WAITING:
            return []
        again, self._waiting = self._waiting, []
        first = again[0].time + self.moved
        if self._dense and self._before is not None and first > self._before + 1:  # the one before was too far ahead
            self.misplaced += 1
            self._last = last._replace(time=(self._before + first) // 2)
        else:
            self.moved += last.time + max(1, last.lasts) - first
        return [ready for each in again for ready in self.add(each.item, each.time, each.lasts)]

    def rest(self) -> list[At]:
        """Returns the items that still wait."""
        last, waiting = self._last, self._waiting
        if last is None:
            return []
        ready = [last] if self._dense else []
        time = last.time
        for each in waiting:
            time += max(1, last.lasts)
            ready.append(each._replace(time=time))
        self._last, self._waiting = None, []
        return with_ends(ready, None)

    def _between(self, time: int) -> list[At]:
        """Returns those that waited for an item at `time`."""
        last, waiting = self._last, self._waiting
        if last is None:
            return []
        ready = [last] if self._dense else []
        step = max(self._least, (time - last.time) // (len(waiting) + 1))
        ready += [each._replace(time=last.time + number * step) for number, each in enumerate(waiting, 1)]
        self.misplaced += len(waiting)
        self._waiting = []
        return ready


def with_ends(ready: list[At], following: int | None) -> list[At]:
    """Returns the items with the time of their successor; that of the last is `following`."""
    after = [*(each.time for each in ready[1:]), following]
    return [each._replace(until=until) for each, until in zip(ready, after, strict=True)] if ready else []
