"""What a render that did not finish left on disk, and how the next one resumes from it.

Beside the growing `out.part.mp4` lies `out.part.state`. It says what the part is made of, how many of its frames would
outlast a loss of power, and what the net remembered of the shot by then. The next run copies these frames, packet by
packet, and encodes those after them. Meanwhile the old part has the name `out.part.kept.mp4`: nothing is lost if that
run is killed too. `out.part.claim` says which process is at work.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.bitstream import BitStreamFilterContext
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from fastnst.errors import FastnstError, OutputError
from fastnst.files import replaced
from fastnst.video.opening import main_video_stream, open_input

log = logging.getLogger(__name__)

ANNEX_B = {"h264": "h264_mp4toannexb", "hevc": "hevc_mp4toannexb"}  # to packets as an encoder gives them


@dataclass(frozen=True)
class State:
    """How far a render has come.

    Attributes:
        frames: how many first frames of the part are safe; a keyframe comes after them.
        seen: how many first frames had been stylized when `memory` was taken; no more than `frames`.
        memory: what the net remembered of them, by name.
    """

    frames: int = 0
    seen: int = 0
    memory: Mapping[str, np.ndarray] = field(default_factory=dict)


def part_path(path: Path) -> Path:
    """Returns where the video for `path` grows until it is whole.

    >>> part_path(Path("a/clip.mp4")).as_posix()
    'a/clip.part.mp4'
    """
    ending = f".part{path.suffix}"
    stem = os.fsencode(path.stem)[: 255 - len(b".part.kept.state")]  # names have at most 255 bytes
    return path.with_name(os.fsdecode(stem) + ending)


def kept_path(part: Path) -> Path:
    """Returns where a part lies while another run goes on from it.

    >>> kept_path(Path("clip.part.mp4")).name
    'clip.part.kept.mp4'
    """
    return part.with_suffix(f".kept{part.suffix}")


def claim_path(part: Path) -> Path:
    """Returns where a run says that it is writing a part.

    >>> claim_path(Path("clip.part.mp4")).name
    'clip.part.claim'
    """
    return part.with_suffix(".claim")


def state_path(part: Path) -> Path:
    """Returns where the state of a part lies.

    >>> state_path(Path("clip.part.mp4")).name
    'clip.part.state'
    """
    return part.with_suffix(".state")


def save_state(part: Path, made_of: dict[str, Any], state: State) -> None:
    """Writes down what a part is made of and how far it has come; the file is always whole.

    Raises:
        OutputError: the disk is full.
    """
    about = {"made_of": made_of, "frames": state.frames, "seen": state.seen}
    arrays = {name: np.ascontiguousarray(each) for name, each in state.memory.items()}
    with replaced(state_path(part)) as file:
        try:
            save_file(arrays, file, metadata={"fastnst": json.dumps(about)})
        except SafetensorError as error:
            reason = "no space left on device" if "os error 28" in str(error) else str(error).lower()
            raise OutputError(f"cannot write '{state_path(part)}': {reason}") from error


def load_state(part: Path, made_of: dict[str, Any]) -> State:
    """Returns how far a part has come; raises OutputError unless it was made of the same."""
    remedy = "resume=false starts over"
    try:
        with safe_open(state_path(part), framework="np") as file:
            about = json.loads(file.metadata()["fastnst"])
            before, frames, seen = about["made_of"], int(about["frames"]), int(about["seen"])
            different = [name for name in made_of | before if before.get(name) != made_of.get(name)]
            state = State(frames, seen, {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError, LookupError) as error:
        raise OutputError(f"cannot resume from '{part}': nothing says what it is made of; {remedy}") from error
    if different:
        names = ", ".join(different)
        raise OutputError(f"cannot resume from '{part}': it was made with another {names}; {remedy}")
    return state


def start_over(part: Path, made_of: dict[str, Any] | None) -> State:
    """Removes what an earlier run left, with a warning, and writes down what the part that now begins is made of."""
    found = [path for path in (part, kept_path(part)) if path.exists()]
    if found:
        log.warning("replacing '%s', left by a run that did not finish; resume=true would resume from it", found[0])
    forget(part, made_of)
    return State()


def forget(part: Path, made_of: dict[str, Any] | None = None) -> None:
    """Removes a part and what belongs to it; then, if given, writes down what the next one is made of."""
    part.unlink(missing_ok=True)
    state_path(part).unlink(missing_ok=True)
    forget_kept(part)
    if made_of is not None:  # last: no part may ever lie beside the state of another
        save_state(part, made_of, State())


def forget_kept(part: Path) -> None:
    """Removes the part that was resumed from."""
    kept = kept_path(part)
    if state_path(kept).exists():
        kept.unlink(missing_ok=True)
        state_path(kept).unlink()


def resume_from(part: Path, made_of: dict[str, Any] | None) -> State:
    """Moves what an earlier run left, so that it can be read while a new part grows; returns what it gives.

    Raises:
        OutputError: it was made of something else, or nothing says of what.
    """
    kept, made_of = kept_path(part), made_of or {}
    found = {path: usable_part(path, load_state(path, made_of)) for path in (part, kept) if path.exists()}
    best = max(found, key=lambda path: found[path].frames, default=None)
    if best is None or not found[best].frames:
        if best is not None:
            log.warning("'%s' does not yet hold a whole group of pictures: starting over", best)
        forget(part, made_of)
        return State()
    if best is part:
        shutil.copyfile(state_path(part), state_path(kept))
        part.replace(kept)
    save_state(part, made_of, State())
    log.warning("resuming after %d frames that '%s' holds", found[best].frames, part)
    return found[best]


def usable_part(part: Path, state: State) -> State:
    """Returns what a part gives the next run: what is in it up to a keyframe, if that is less than its state says.

    If the memory is of more frames than that, all of them are stylized again.
    """
    frames = whole_frames(part, state.frames)
    return State(frames, state.seen, state.memory) if state.seen <= frames else State(frames)


def give_back(part: Path) -> None:
    """Puts what the earlier run left back to where it was."""
    kept = kept_path(part)
    if kept.exists():
        kept.replace(part)
        state_path(kept).replace(state_path(part))
        log.warning("'%s' is again as the earlier run left it", part)


def whole_frames(path: Path, limit: int) -> int:
    """Returns how many frames, up to `limit`, come before a keyframe of a file whose end may be missing.

    Up to there every group of pictures is whole, whatever happened to the end; 0 if none can be read.
    """
    count = whole = 0
    with suppress(FastnstError, av.FFmpegError, EOFError), open_input(path) as container:
        for packet in container.demux(main_video_stream(container, path)):
            if not packet.size or packet.is_corrupt or count > limit:
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
        plain = ANNEX_B.get(stream.codec_context.name)
        change = BitStreamFilterContext(plain, stream) if plain else None
        for packet in container.demux(stream):
            if packet.size:
                yield from change.filter(packet) if change else [packet]
