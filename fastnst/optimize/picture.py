"""One picture, optimised in rounds; after each the best so far is on disk, and another run can go on from it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from fastnst import cli
from fastnst.files import check_picture_target, local_name, only_one
from fastnst.images import load_image, load_style, save_image, to_array, to_tensor
from fastnst.lbfgs import Minimum, Objective, minimized
from fastnst.optimize.objective import PictureObjective, Weights
from fastnst.progress import Progress
from fastnst.settings import OptimizeSettings
from fastnst.stylizer import find_device, identity
from fastnst.vgg import VGGFeatures, load_deep_vgg
from fastnst.video.parts import State, claim_path, forget, load_state, part_path, save_state, start_over

log = logging.getLogger(__name__)

FONT = ImageFont.load_default(18)
CAPTION = 26  # pixels, height of the line above each picture of a contact sheet
COLUMN = 420  # pixels, width of a picture in a contact sheet
Told = Callable[[int, float], None]  # the number of evaluations so far, and the loss


@dataclass(frozen=True)
class Method:
    """What does not depend on the content: the loss network, the style, and how they count.

    Attributes:
        settings: of the command.
        vgg: the loss network.
        about: which it is and where its weights come from, in words.
        style: the style picture, in [0, 1], on the device of `vgg`.
        weights: of the losses.
        made_of: what decides how a result looks, for a run that goes on from what an earlier one left.
    """

    settings: OptimizeSettings
    vgg: VGGFeatures
    about: str
    style: Float[Tensor, "1 3 height width"]
    weights: Weights
    made_of: dict[str, Any]

    @classmethod
    def load(cls, settings: OptimizeSettings) -> Method:
        """Returns the method as the settings describe it.

        Raises:
            InputError: the style picture or the weights of the loss network cannot be read.
            ConfigError: the loss network has no such layer.
        """
        if settings.threads:
            torch.set_num_threads(settings.threads)
        device = find_device(settings.device)
        style = load_style(settings.style.image or settings.style.name, settings.style.size, log.warning)
        names = ("content_layer", "style_layers", "content_weight", "style_weight", "tv_weight")
        weights = Weights(*(settings.chosen(name) for name in names))
        vgg, about = load_deep_vgg(settings.network, settings.vgg, {weights.content_layer, *weights.style_layers})
        sha = hashlib.sha256(style.tobytes()).hexdigest()
        made_of = settings.by_name(compared=True) | {"style": sha, "network": about}
        return cls(settings, vgg.to(device), about, to_tensor(style)[None].to(device), weights, made_of)

    def with_tv_weight(self, tv_weight: float) -> Method:
        """Returns the same with another weight of the total variation."""
        made_of = {**self.made_of, "tv_weight": tv_weight}
        return replace(self, weights=self.weights._replace(tv=tv_weight), made_of=made_of)


def optimize_picture(settings: OptimizeSettings) -> None:
    """Makes the picture that the settings describe, or one for each weight of the sweep and their contact sheet."""
    source = Path(settings.content)
    name = settings.style_name
    ending = source.suffix if source.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp") else ".png"
    out = Path(local_name(settings.out)) if settings.out else source.with_name(f"{source.stem}_{name}{ending}")
    sweep = {out.with_stem(f"{out.stem}_tv{each:g}"): each for each in settings.sweep or ()}
    sheet = out.with_stem(f"{out.stem}_sweep")
    for each in [*sweep, sheet] if sweep else [out]:
        finished = settings.resume and each in sweep and each.exists()
        check_picture_target(each, source, settings.overwrite or finished)
    content = content_picture(source, settings.rows)
    method = Method.load(settings)
    for path, tv_weight in (sweep or {out: method.weights.tv}).items():
        if settings.resume and path in sweep and path.exists():
            log.warning("'%s' is there already: kept", path)
            continue
        make(path, source, content, method.with_tv_weight(tv_weight))
    if sweep:
        captions = {f"total variation {weight:g}": np.array(load_image(path)) for path, weight in sweep.items()}
        save_image(captioned_sheet({"content": content, **captions}), sheet)
        cli.report(str(sheet))


def content_picture(source: Path, rows: int | None) -> UInt8[np.ndarray, "height width 3"]:
    """Returns the picture that is kept, of no more than so many rows."""
    image = load_image(source, notice=log.warning)
    if rows and image.height > rows:
        image = image.resize((max(1, round(image.width * rows / image.height)), rows), reducing_gap=3)
    return np.array(image)


def make(out: Path, source: Path, content: np.ndarray, method: Method) -> None:
    """Optimises one picture, writes it, and says what came of it."""
    settings, started, part = method.settings, perf_counter(), part_path(out)
    made_of = {**identity(source), **method.made_of}
    picture = to_tensor(content)[None].to(method.style.device)
    objective = PictureObjective(method.vgg, picture, method.style, method.weights)
    start = start_picture(settings.start, picture, settings.seed)
    total = settings.rounds * settings.evaluations
    with only_one(claim_path(part), f"is making '{out}'; wait for it"):
        if not settings.resume or not part.exists():
            start_over(part, made_of)
        before = load_state(part, made_of)
        found = Minimum(start, float("inf"), 0)
        if before.frames:
            kept = torch.from_numpy(before.memory["picture"]).to(start)
            found = Minimum(kept, float(before.memory["loss"].item()), 0)
            log.warning("going on after %d of %d rounds", before.frames, settings.rounds)

        def after(rounds: int, best: Minimum) -> None:
            save_image(to_array(best.picture[0]), part)
            memory = {"picture": best.picture.cpu().numpy(), "loss": np.array(best.loss)}
            save_state(part, made_of, State(rounds, 0, memory))

        with Progress("evaluation", before.frames * settings.evaluations) as progress, keeping(part):

            def told(number: int, loss: float) -> None:
                progress(number, total, f"loss {loss:.4g}")

            found = in_rounds(lambda _: objective, found, before.frames, settings, after, told)
        save_image(to_array(found.picture[0]), out)
        forget(part)
    with torch.no_grad():
        losses = objective.terms(found.picture)
    shares = ", ".join(f"{name.removesuffix('_loss')} {loss.item():.4g}" for name, loss in losses.items())
    cli.report(f"{settings.rounds} rounds of {settings.evaluations} evaluations, {perf_counter() - started:.1f} s")
    cli.report(f"loss {found.loss:.5g}: {shares}; {method.about}\n{out}")


@contextmanager
def keeping(part: Path) -> Iterator[None]:
    """Says where the best picture so far lies if the block is left by Ctrl-C, a signal or an error."""
    try:
        yield
    except BaseException:
        if part.exists():
            log.warning("the best picture so far is '%s'; resume=true goes on from there", part)
        else:
            forget(part)
        raise


def in_rounds(
    objective: Callable[[int], Objective],
    start: Minimum,
    first: int,
    settings: OptimizeSettings,
    after: Callable[[int, Minimum], None],
    told: Told,
) -> Minimum:
    """Returns the best picture after all rounds.

    L-BFGS begins each round anew, as SciPy's does in Keras' example. So nothing but the picture is kept between rounds,
    and a run that resumes gives the picture of one that was not interrupted.

    Args:
        objective: what is minimised in a round, by its number from 0 on.
        start: the picture before the first round.
        first: how many rounds are done already.
        settings: say how many rounds of how many evaluations.
        after: is called after each round with the number of rounds so far and the best picture of it.
        told: is told of each evaluation.
    """
    found = start
    for number in range(first, settings.rounds):
        done = number * settings.evaluations

        def each(count: int, loss: float, done: int = done) -> bool:
            told(done + count, loss)
            return False

        found = minimized(objective(number), found.picture, settings.evaluations, each)
        after(number + 1, found)
    return found


def start_picture(
    start: str, content: Float[Tensor, "1 3 height width"], seed: int
) -> Float[Tensor, "1 3 height width"]:
    """Returns where the optimisation begins: at the content, at noise, or at a picture stretched to its size."""
    if start == "content":
        return content
    if start == "noise":
        return torch.rand(content.shape, generator=torch.Generator().manual_seed(seed)).to(content)
    image = load_image(Path(local_name(start)))
    return to_tensor(image.resize((content.shape[3], content.shape[2])))[None].to(content)


def captioned_sheet(pictures: dict[str, np.ndarray]) -> UInt8[np.ndarray, "height width 3"]:
    """Returns the pictures, all of one shape, side by side, each below its caption."""
    columns = []
    for caption, array in pictures.items():
        image = Image.fromarray(array)
        image = image.resize((COLUMN, round(COLUMN * image.height / image.width)), Image.Resampling.LANCZOS)
        column = Image.new("RGB", (COLUMN, image.height + CAPTION), "white")
        column.paste(image, (0, CAPTION))
        ImageDraw.Draw(column).text((4, 2), caption, "black", FONT)
        columns.append(np.asarray(column))
    return np.concatenate(columns, 1)
