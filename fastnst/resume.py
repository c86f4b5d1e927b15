"""What a render that did not finish left on disk, and how the next one goes on from there.

Beside the growing `out.part.mp4` lies `out.part.json`, which says what it is made of. The next run copies whole groups
of pictures from the part, packet by packet, and encodes what comes after. While it does, the part lies under the name
`out.part.kept.mp4`, so that a run that is killed while it goes on from another costs nothing either.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import av
from av.bitstream import BitStreamFilterContext

from fastnst.containers import kept_path, main_video_stream, open_input
from fastnst.errors import FastnstError, OutputError

log = logging.getLogger(__name__)

PLAIN = {"h264": "h264_mp4toannexb", "hevc": "hevc_mp4toannexb"}  # to packets as an encoder gives them


def record_path(part: Path) -> Path:
    """Returns where it is written what a part is made of.

    >>> record_path(Path("clip.part.mp4")).name
    'clip.part.json'
    """
    return part.with_suffix(".json")


def begin_anew(part: Path, made_of: dict[str, Any] | None) -> None:
    """Removes what an earlier run left, which is said, and writes down what the part that now begins is made of."""
    found = [path for path in (part, kept_path(part)) if path.exists()]
    if found:
        log.warning("replacing '%s', left by a run that did not finish; resume=true goes on from one", found[0])
    forget(part, made_of)


def forget(part: Path, made_of: dict[str, Any] | None = None) -> None:
    """Removes a part and what belongs to it; then, if given, writes down what the next one is made of."""
    for path in (part, *((kept_path(part), record_path(part)) if record_path(part).exists() else ())):
        path.unlink(missing_ok=True)
    if made_of is not None:  # last: no part may ever lie beside the record of another
        record_path(part).write_text(json.dumps(made_of), encoding="utf-8")


def go_on(part: Path, made_of: dict[str, Any] | None) -> int:
    """Puts what an earlier run left where it can be read while a new part grows; returns how many frames it gives.

    Raises:
        OutputError: it was made of something else, or nothing says of what.
    """
    kept = kept_path(part)
    found = {path: whole_frames(path) for path in (part, kept) if path.exists()}
    if found:
        check_record(part, next(iter(found)), made_of or {})
    best = max(found, key=lambda path: found[path], default=None)
    if best is None or not found[best]:
        if best is not None:
            log.warning("'%s' does not yet hold a whole group of pictures: begun anew", best)
        forget(part, made_of)
        return 0
    if best is part:
        part.replace(kept)
    log.warning("going on after %d frames that '%s' holds", found[best], part)
    return found[best]


def check_record(part: Path, found: Path, made_of: dict[str, Any]) -> None:
    """Raises OutputError unless `found` was made of the same."""
    anew = "resume=false begins anew"
    try:
        before = json.loads(record_path(part).read_text(encoding="utf-8"))
        different = [name for name in made_of | before if before.get(name) != made_of.get(name)]
    except (OSError, ValueError, TypeError) as error:
        raise OutputError(f"cannot go on from '{found}': nothing says what it is made of; {anew}") from error
    if different:
        names = ", ".join(different)
        raise OutputError(f"cannot go on from '{found}': it was made with another {names}; {anew}")


def give_back(part: Path) -> None:
    """Puts what the earlier run left back to where it was."""
    if kept_path(part).exists():
        kept_path(part).replace(part)
        log.warning("'%s' is again as the earlier run left it", part)


def whole_frames(path: Path) -> int:
    """Returns how many frames come before the last keyframe of a file whose end may be missing; 0 if none can be read.

    Up to there every group of pictures is whole, whatever happened to the end.
    """
    count = whole = 0
    with suppress(FastnstError, av.FFmpegError, EOFError), open_input(path) as container:
        for packet in container.demux(main_video_stream(container, path)):
            if not packet.size or packet.is_corrupt:
                break
            if packet.is_keyframe:
                whole = count
            count += 1
    return whole


def kept_packets(part: Path) -> Iterator[av.Packet]:
    """Yields the pictures that an earlier run left, one packet a frame, as the encoder gave them."""
    path = kept_path(part)
    with open_input(path) as container:
        stream = main_video_stream(container, path)
        plain = PLAIN.get(stream.codec_context.name)
        change = BitStreamFilterContext(plain, stream) if plain else None
        for packet in container.demux(stream):
            if packet.size:
                yield from change.filter(packet) if change else [packet]
