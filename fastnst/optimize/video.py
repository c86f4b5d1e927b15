"""The frames of a clip, optimised in order, each held to what was made of those before it."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from fastnst import cli
from fastnst.errors import OutputError
from fastnst.files import local_name, only_one, replaced
from fastnst.flow import dis_flow, occlusion_mask, warp
from fastnst.images import load_image, save_image, to_array, to_tensor, to_uint8
from fastnst.lbfgs import Minimum
from fastnst.optimize.objective import FrameObjective, PictureObjective, Reference
from fastnst.optimize.picture import Method, Told, in_rounds, start_picture
from fastnst.progress import Progress
from fastnst.settings import OptimizeSettings
from fastnst.shots import is_cut
from fastnst.stylizer import identity
from fastnst.video.encoders import check_video_target
from fastnst.video.reader import VideoReader, time_named
from fastnst.video.writer import VideoWriter

log = logging.getLogger(__name__)

BEFORE = (1, 2, 4)  # frames back that Ruder's form looks: the nearest that sees a pixel counts
BLEND = 0.5  # how much of the neighbour a frame begins with in a later pass


class FrameStore:
    """The frames of a clip and what has been made of them, as PNG files in a folder.

    Numbers run from 0. What is read is what was written, in 8 bits, so that a run that resumes sees the same.

    Args:
        folder: where they lie.
        device: where they are read to.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        self.folder, self.device = folder, device

    def path(self, kind: str, number: int) -> Path:
        """Returns where a picture lies: "content", "pass1", "round3" ..."""
        return self.folder / f"{kind}_{number:06}.png"

    def has(self, kind: str, number: int) -> bool:
        """Returns whether a picture is there."""
        return self.path(kind, number).exists()

    def read(self, kind: str, number: int) -> Float[Tensor, "1 3 height width"]:
        """Returns a picture in [0, 1]."""
        return to_tensor(load_image(self.path(kind, number)))[None].to(self.device)

    def write(self, kind: str, number: int, picture: Float[Tensor, "1 3 height width"]) -> None:
        """Writes a picture; it is there when it is whole."""
        save_image(to_array(picture[0]), self.path(kind, number))


def optimize_video(settings: OptimizeSettings) -> None:
    """Makes the video that the settings describe, and says what came of it."""
    source, started = Path(settings.content), perf_counter()
    out = (
        Path(local_name(settings.out)) if settings.out else source.with_name(f"{source.stem}_{settings.style_name}.mp4")
    )
    check_video_target(out, source, settings.overwrite)
    opened_clip(settings).close()  # what is unreadable shows now
    method = Method.load(settings)
    with (
        only_one(out.with_suffix(".frames.claim"), f"is making '{out}'; wait for it"),  # the writer has its own
        working_folder(out.with_suffix(".frames"), {**identity(source), **method.made_of}, settings.resume) as folder,
    ):
        frames = FrameStore(folder, method.style.device)
        count = unpack(settings, frames)
        each = settings.rounds * settings.evaluations
        with Progress("evaluation") as progress:
            for step, (turn, number, direction) in enumerate(order(count, settings.passes)):
                if frames.has(f"pass{turn}", number):
                    continue

                def told(done: int, loss: float, step: int = step, number: int = number) -> None:
                    note = f"frame {number + 1} of {count}, loss {loss:.4g}"
                    progress(step * each + done, count * settings.passes * each, note)

                optimize_frame(method, frames, turn, number, direction, told)
        made = encode(settings, frames, out)
    seconds = perf_counter() - started
    cli.report(f"{made} frames, {seconds:.1f} s, {seconds / count:.1f} s a frame; {method.about}\n{out}")


def opened_clip(settings: OptimizeSettings) -> VideoReader:
    """Returns the clip, open, its frames of no more than so many rows."""
    end = float("inf") if settings.end is None else time_named(settings.end)
    reader = VideoReader(settings.content, fps=settings.fps, end=end)
    if not settings.rows or reader.height <= settings.rows:
        return reader
    reader.close()
    longer = max(reader.width, reader.height)
    max_side = round(longer * settings.rows / reader.height)
    return VideoReader(settings.content, max_side=max_side, fps=settings.fps, end=end)


def order(count: int, passes: int) -> Iterator[tuple[int, int, int]]:
    """Yields the pass, the frame and the direction of each step: there, and back, and there again.

    >>> list(order(2, 2))
    [(1, 0, 1), (1, 1, 1), (2, 1, -1), (2, 0, -1)]
    """
    for turn in range(1, passes + 1):
        direction = 1 if turn % 2 else -1
        for number in range(count)[::direction]:
            yield turn, number, direction


def unpack(settings: OptimizeSettings, frames: FrameStore) -> int:
    """Writes the frames of the clip into the folder, unless they are there; returns how many there are."""
    count = 0
    with opened_clip(settings) as reader:
        for count, frame in enumerate(reader, 1):
            if not frames.has("content", count - 1):
                save_image(frame.pixels[0].permute(1, 2, 0).numpy(), frames.path("content", count - 1))
    return count


def optimize_frame(method: Method, frames: FrameStore, turn: int, number: int, direction: int, told: Told) -> None:
    """Optimises one frame and writes it."""
    settings = method.settings
    content = frames.read("content", number)
    still = PictureObjective(method.vgg, content, method.style, method.weights)
    references = references_of(settings, frames, turn, number, direction)
    start = first_picture(settings, frames, turn, number, content, references)

    def objective(round_number: int) -> FrameObjective:
        held = references
        if settings.stabilize == "iteration" and references:
            picture = frames.read(f"round{round_number + 1}", number - 1)
            held = [Reference(picture, references[0].mask)]
        return FrameObjective(still, held, settings.temporal_weight)

    def after(rounds: int, best: Minimum) -> None:
        if settings.stabilize == "iteration":
            frames.write(f"round{rounds}", number, best.picture)
            frames.path(f"round{rounds}", number - 2).unlink(missing_ok=True)
        frames.write("best", 0, best.picture)  # the best picture so far of this frame

    found = in_rounds(objective, Minimum(start, float("inf"), 0), 0, settings, after, told)
    frames.write(f"pass{turn}", number, found.picture)


def references_of(
    settings: OptimizeSettings, frames: FrameStore, turn: int, number: int, direction: int
) -> list[Reference]:
    """Returns what a frame is held to: nothing at the first frame of a shot.

    The report's forms hold a frame to the one before as if nothing moved.

    Source: Ruder et al. 2016, arXiv:1604.08610, equations 5 to 9: earlier results along the optical flow, where the
    flow can be trusted, each pixel by the nearest earlier frame that sees it.
    Differs: the flow is OpenCV's DIS.
    """
    references, content = [], frames.read("content", number)
    seen = torch.zeros_like(content[:, :1])
    for distance in BEFORE if settings.stabilize == "ruder" else (1,):
        other = number - direction * distance
        if settings.stabilize == "none" or not frames.has(f"pass{turn}", other):
            break
        there, made = frames.read("content", other), frames.read(f"pass{turn}", other)
        if is_cut(there, content):
            break
        if settings.stabilize != "ruder":
            return [Reference(made, torch.ones_like(seen))]
        flow = dis_flow(content, there)
        mask = (occlusion_mask(flow, dis_flow(there, content)) - seen).clamp(min=0)
        references.append(Reference(warp(made, flow), mask))
        seen = seen + mask
    return references


def first_picture(
    settings: OptimizeSettings,
    frames: FrameStore,
    turn: int,
    number: int,
    content: Float[Tensor, "1 3 height width"],
    references: list[Reference],
) -> Float[Tensor, "1 3 height width"]:
    """Returns where the optimisation of a frame begins.

    Source: Ruder et al. 2016, sections 4.1 and 4.4: at the frame before, moved along the flow; in later passes at the
    frame's own result, blended with that.
    Differs: what was hidden in the frame before begins as in the first frame. The temporal loss counts in every pass.
    """
    if turn > 1:
        own = frames.read(f"pass{turn - 1}", number)
        return own.lerp(references[0].picture, BLEND * references[0].mask) if references else own
    begin = start_picture(settings.start, content, settings.seed)
    if settings.stabilize != "ruder" or not references:
        return begin
    return begin.lerp(references[0].picture, references[0].mask)


def encode(settings: OptimizeSettings, frames: FrameStore, out: Path) -> int:
    """Writes the video, with the timing and the sound of the clip; returns how many frames it has."""
    with (
        opened_clip(settings) as reader,
        VideoWriter(out, reader, overwrite=settings.overwrite, audio=settings.audio) as writer,
    ):
        for number, frame in enumerate(reader):
            pixels = to_uint8(frames.read(f"pass{settings.passes}", number)).cpu()
            writer.write(replace(frame, pixels=pixels))
    return writer.frames_written


@contextmanager
def working_folder(folder: Path, made_of: dict[str, Any], resume: bool) -> Iterator[Path]:
    """Yields the folder of the frames; it is removed when the block ends without error, and else stays for `resume`.

    Raises:
        OutputError: it is none of ours, cannot be made, or was begun with other settings.
    """
    about, made_of = folder / "made_of.json", json.loads(json.dumps(made_of))
    if folder.exists() and not about.is_file():
        raise OutputError(f"'{folder}' is in the way: it is no folder of frames of this program; rename it")
    if folder.exists() and not resume:
        log.warning("replacing '%s', left by a run that did not finish; resume=true would go on from it", folder)
        shutil.rmtree(folder)
    try:
        if folder.exists():
            before = json.loads(about.read_text(encoding="utf-8"))
            if other := [name for name in made_of | before if before.get(name) != made_of.get(name)]:
                names = ", ".join(other)
                raise OutputError(f"cannot resume from '{folder}': it was made with another {names}; resume=false")
        else:
            folder.mkdir()
            with replaced(about) as file:
                file.write_text(json.dumps(made_of), encoding="utf-8")
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot use the folder '{folder}': {str(error).lower()}") from error
    try:
        yield folder
    except BaseException:
        log.warning("finished frames are in '%s'; resume=true goes on from there", folder)
        raise
    shutil.rmtree(folder)
