"""Johnson's yardstick: how many evaluations of a net's own objective L-BFGS needs to pass what the net reaches."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageOps
from torch import Tensor

from fastnst import cli
from fastnst.checkpoint import Checkpoint, load_checkpoint
from fastnst.errors import InputError
from fastnst.evaluate.contenders import known_style_picture
from fastnst.files import PICTURES, local_name
from fastnst.images import load_image, to_tensor
from fastnst.lbfgs import minimized
from fastnst.perceptual import PerceptualLoss
from fastnst.progress import Progress
from fastnst.samples import sample_photos
from fastnst.settings import LookSettings, LossSettings, ObjectiveSettings
from fastnst.stylizer import find_device, stream_of
from fastnst.vgg import VGGFeatures, load_vgg

JOHNSON_HISTORY = 100  # steps that the curvature is estimated from, as in Torch's L-BFGS, which Johnson used
OLDER = {"content_weight": 1.0, "structure_weight": 0.0, "tone_weight": 0.0, "palette_weight": 0.0}  # of older nets
COUNT_LEGEND = """\
evaluations: of loss and gradient together, by L-BFGS (strong Wolfe line search, history of {history}), from the content
itself, until the loss is no higher than the net's; iterations are fewer, as a line search may take several.
The objective is the training's without its temporal loss: content x {content_loss:g}, structure x {structure_loss:g},
style x {style_loss:g}, tones x {tone_loss:g}, palette x {palette_loss:g}, total variation x {tv_loss:g}; the content
loss with the floor that training has for flat contents.
L-BFGS may leave [0, 1], nets may not."""


class TrainingObjective:
    """The loss of pictures that training minimises, without the temporal loss, for one content.

    Args:
        vgg: the loss network.
        content: the content, in [0, 1].
        style: the style picture, in [0, 1].
        loss: layers and weights.
    """

    def __init__(
        self,
        vgg: VGGFeatures,
        content: Float[Tensor, "1 3 height width"],
        style: Float[Tensor, "1 3 style_height style_width"],
        loss: LossSettings,
    ) -> None:
        self._losses, self._content = PerceptualLoss(vgg, [style[0]], loss), content
        self._target = self._losses.target(content)

    def __call__(self, picture: Float[Tensor, "1 3 height width"]) -> Float[Tensor, ""]:
        """Returns the weighted loss."""
        losses = self._losses(picture, self._content, self._target)
        return torch.stack([*self._losses.weighted(losses).values()]).sum()


class Count(NamedTuple):
    """What was found on one photo.

    Attributes:
        photo: its name.
        size: side of the square, pixels.
        of_content: the loss of the content itself, where L-BFGS begins.
        of_net: the loss of what the net makes of it.
        evaluations: until L-BFGS passed the net; None if it did not within the limit.
    """

    photo: str
    size: int
    of_content: float
    of_net: float
    evaluations: int | None


def count_evaluations(settings: ObjectiveSettings) -> None:
    """Counts for each photo and size, and prints the tables."""
    if settings.threads:
        torch.set_num_threads(settings.threads)
    photos = photos_in(settings.photos)[: settings.count]
    checkpoint = load_checkpoint(settings.ckpt)
    vgg = load_vgg(settings.vgg).to(find_device(settings.device))
    total, counts = len(photos) * len(settings.sizes), []
    with Progress("photo") as progress:
        for found in counted(checkpoint, settings, vgg, photos):
            counts.append(found)
            progress(len(counts), total, f"{found.photo} at {found.size} px: {words(found.evaluations, settings)}")
    weights = loss_of(checkpoint.recipe).weights
    cli.report(count_tables(counts, settings))
    cli.report("\n" + COUNT_LEGEND.format(history=JOHNSON_HISTORY, **weights))


def counted(
    checkpoint: Checkpoint, settings: ObjectiveSettings, vgg: VGGFeatures, photos: Sequence[Path]
) -> Iterator[Count]:
    """Yields what is found on each photo at each size.

    Raises:
        InputError: nobody says what the style picture is, or a photo cannot be read.
    """
    device, loss = vgg.mean.device, loss_of(checkpoint.recipe)
    array = style_picture(checkpoint, settings.ckpt, settings.style_image)
    style, net = to_tensor(array)[None].to(device), checkpoint.net.to(device)
    look = LookSettings().alone()
    for size in settings.sizes:
        for path in photos:
            square = ImageOps.fit(load_image(path), (size, size), Image.Resampling.BICUBIC)
            content = to_tensor(square)[None].to(device)
            objective = TrainingObjective(vgg, content, style, loss)
            with torch.no_grad():
                of_content = objective(content).item()
                of_net = objective(stream_of(net, look)(content)).item()
            yield Count(path.name, size, of_content, of_net, needed(objective, content, of_net, settings.evaluations))


def style_picture(checkpoint: Checkpoint, name: str, image: str | None) -> np.ndarray:
    """Returns the style picture of a net called `name`: `image`, or what the recipe names.

    Raises:
        InputError: nobody says which it is, or it cannot be read.
    """
    picture = known_style_picture(checkpoint, image, None)
    if picture is None:
        raise InputError(f"nothing says which style picture '{name}' has; style_image= names it")
    return picture


def needed(objective: TrainingObjective, content: Tensor, target: float, limit: int) -> int | None:
    """Returns after how many evaluations the loss is no higher than `target`; None if not within the limit."""
    found = minimized(objective, content, limit, lambda number, value: value <= target, JOHNSON_HISTORY)
    return found.evaluations if found.loss <= target else None


def loss_of(recipe: dict[str, Any]) -> LossSettings:
    """Returns the layers and weights that a net was trained with; what its recipe does not say is as it then was.

    Raises:
        ConfigError: the recipe makes no sense.
    """
    nested = recipe.get("loss")
    said = OLDER | (nested if isinstance(nested, dict) else {})
    said = said | {name.removeprefix("loss."): value for name, value in recipe.items() if name.startswith("loss.")}
    known = LossSettings().by_name()
    return LossSettings.of({name: value for name, value in said.items() if f"loss.{name}" in known})


def photos_in(folder: str | None) -> list[Path]:
    """Returns the pictures of a folder by name, or those that pip packages carry.

    Raises:
        InputError: there is none.
        EnvironmentFault: the packages are not installed.
    """
    if folder is None:
        return sample_photos()
    root = Path(local_name(folder))
    found = sorted(path for path in root.glob("*") if path.suffix.lower() in PICTURES and path.is_file())
    if not found:
        raise InputError(f"no photos in '{root}'")
    return found


def count_tables(counts: Sequence[Count], settings: ObjectiveSettings) -> str:
    """Returns a table of each size, with the spread, and one of each photo."""
    rows = [["size", "photos", "evaluations, median", "least", "most"]]
    for size in settings.sizes:
        own = [each.evaluations for each in counts if each.size == size]
        ranked = sorted(settings.evaluations + 1 if each is None else each for each in own)
        cells = [statistics.median_high(ranked), ranked[0], ranked[-1]]
        shown = [words(None if each > settings.evaluations else each, settings) for each in cells]
        rows.append([str(size), str(len(own)), *shown])
    single = [["photo", "size", "loss of the content", "of the net", "evaluations"]]
    for each in counts:
        of_content, of_net = f"{each.of_content:.3f}", f"{each.of_net:.3f}"
        single.append([each.photo, str(each.size), of_content, of_net, words(each.evaluations, settings)])
    return f"{cli.table(rows)}\n\n{cli.table(single)}"


def words(evaluations: int | None, settings: ObjectiveSettings) -> str:
    """Returns a count as it is shown."""
    return f"over {settings.evaluations}" if evaluations is None else str(evaluations)
