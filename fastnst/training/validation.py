"""How good a net is while it trains: on photos set aside, and on a short clip; and which nets are kept for that."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytorch_lightning as pl
import torch
from jaxtyping import Float
from torch import Generator, Tensor

from fastnst.checkpoint import is_finite, read_checkpoint, save_checkpoint
from fastnst.errors import OutputError
from fastnst.files import replaced
from fastnst.flow import inside
from fastnst.images import save_image, to_array
from fastnst.metrics import Stylize, contrast, mean_absolute_warping_error, noise_gain, static_flicker
from fastnst.net import StylizationNet
from fastnst.training.dashboard import Dashboard
from fastnst.training.module import StyleTransfer
from fastnst.training.pairs import unit_noise
from fastnst.training.photos import flattened
from fastnst.video.silent import silent_clip

SIGMA = 2 / 255  # noise level of a decent camera, for the validation clip
GRAIN_NOISE = 0.7 / 255  # of grains on flat crops: the change from frame to frame is as on real walls, 0.8 levels
PAN = (0.4, 0.2)  # pixels to the right and down by which its camera moves per frame
SO_FAR = "so_far.ckpt"  # in the run's folder: the best net so far, which can be used while the training goes on
MATCH = 0.05  # relative difference up to which two style losses count as the same


class Candidate(NamedTuple):
    """A net on the front.

    Attributes:
        step: of the training.
        style_loss: on the photos set aside.
        warping_error: on the clip made from one of them, grey levels.
    """

    step: int
    style_loss: float
    warping_error: float


class ParetoFront:
    """The nets of a run that no other one beats in both style and steadiness, each a file that can be used.

    Args:
        folder: where they go, as `<step>.ckpt`; those of a run that is resumed are kept.
        style: the style's name.

    Raises:
        InputError: a file in the folder is no net.
    """

    def __init__(self, folder: Path, style: str) -> None:
        self.folder, self.style = folder, style
        recipes = [read_checkpoint(path).recipe for path in sorted(folder.glob("*.ckpt"))]
        self.candidates = [Candidate(**{name: recipe[name] for name in Candidate._fields}) for recipe in recipes]

    def path(self, candidate: Candidate) -> Path:
        """Returns where its net is."""
        return self.folder / f"{candidate.step:06d}.ckpt"

    def offer(self, net: StylizationNet, step: int, measured: Mapping[str, float]) -> None:
        """Keeps the net if it is on the front, and removes those that it beats; not if its weights are broken.

        Args:
            net: what is kept.
            step: of the training.
            measured: "val/style_loss", "val/warping_error", and whatever else its file should tell of it.

        Raises:
            OutputError: the file cannot be written.
        """
        new = Candidate(step, measured["val/style_loss"], measured["val/warping_error"])
        if not is_finite(net) or any(beats(old, new) for old in self.candidates):
            return
        self.folder.mkdir(exist_ok=True)
        told = {name: round(value, 5) for name, value in measured.items()}
        save_checkpoint(self.path(new), net, self.style, {**new._asdict(), "final": told})
        for old in self.candidates:
            if beats(new, old):
                self.path(old).unlink(missing_ok=True)
        self.candidates = [old for old in self.candidates if not beats(new, old)] + [new]

    def keep_so_far(self, path: Path, net: StylizationNet, step: int) -> None:
        """Writes the best of the front to `path`, or `net`, of that step, while there is none.

        Raises:
            OutputError: the file cannot be written.
        """
        if best := self.best():
            with replaced(path) as part:
                shutil.copyfile(self.path(best), part)
        elif is_finite(net):
            save_checkpoint(path, net, self.style, {"step": step})

    def best(self) -> Candidate | None:
        """Returns the steadiest of those whose style loss is within `MATCH` of the lowest; None if there is none.

        What is steady is easily had where there is little style: so only nets of about the same style are compared.
        """
        lowest = min((each.style_loss for each in self.candidates), default=0.0)
        matched = [each for each in self.candidates if each.style_loss <= (1 + MATCH) * lowest]
        return min(matched, key=lambda each: each.warping_error, default=None)


def beats(first: Candidate, second: Candidate) -> bool:
    """Returns whether one net is at least as good in both, or the same step done again."""
    better = first.style_loss <= second.style_loss and first.warping_error <= second.warping_error
    return better or first.step == second.step


class Samples(pl.Callback):
    """Stylizes the photos set aside, and one short clip made from the first of them, at every validation.

    Logs how steady the net is there, in grey levels and beside the input's own: `val/static_flicker`,
    `val/warping_error` along the known motion, `val/noise_gain`, and `val/contrast`; and `val/flat_flicker`,
    `val/flat_style_loss` and `val/flat_content_loss` on the photos made like flat footage. Keeps the nets of the front,
    once training has settled: before, the temporal loss is still coming in, and the learning rate is high.

    Args:
        folder: where `stylized_<step>.png`, `clip_<step>.mp4` and the best net so far go.
        dashboard: where they are shown.
        photos: the photos, in [0, 1].
        front: where the net goes, with what was measured.
    """

    def __init__(
        self, folder: Path, dashboard: Dashboard, photos: Float[Tensor, "batch 3 height width"], front: ParetoFront
    ) -> None:
        self.folder, self.dashboard, self.photos, self.front = folder, dashboard, photos, front
        self.clip = panned(photos[0])
        flat = [flattened(photo, np.random.default_rng((1, place))) for place, photo in enumerate(photos)]
        self.flat = twice(torch.stack(flat))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes and shows them; a full disk is reported, and training goes on."""
        assert isinstance(pl_module, StyleTransfer)
        if not trainer.is_global_zero or trainer.sanity_checking:
            return
        step = trainer.global_step

        def stylize(pictures: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3 height width"]:
            with torch.no_grad():
                return pl_module(pictures.to(pl_module.device)).float().cpu()

        stylized = stylize(self.photos)
        clip = torch.cat([stylize(frame[None]) for frame in self.clip])
        steadiness = {
            "val/static_flicker": still_flicker(clip),
            "val/static_flicker_input": still_flicker(self.clip),
            "val/warping_error": pan_error(clip),
            "val/warping_error_input": pan_error(self.clip),
            "val/contrast": contrast(clip).mean().item(),
            "val/noise_gain": noise_gain(stylize, self.photos, SIGMA, Generator().manual_seed(0)).mean().item(),
        }
        steadiness |= self.on_flat_crops(stylize, pl_module)
        self.dashboard.log_metrics(steadiness, step)
        grid = torch.cat([torch.cat(list(row), dim=2) for row in (self.photos, stylized)], dim=1)
        try:
            picture, video = self.folder / f"stylized_{step:06d}.png", self.folder / f"clip_{step:06d}.mp4"
            save_image(to_array(grid), picture)
            with silent_clip(video, Fraction(12)) as write:
                for frame in clip:
                    write(to_array(frame))
            if pl_module.settled:
                losses = {name: float(value) for name, value in trainer.callback_metrics.items() if "val/" in name}
                self.front.offer(pl_module.finished, step, losses | steadiness)
            self.front.keep_so_far(self.folder / SO_FAR, pl_module.finished, step)
        except OutputError as error:
            print(f"error: {error}; training goes on", file=sys.stderr)
            return
        self.dashboard.log_media("val/stylized", picture, step)
        self.dashboard.log_media("val/clip", video, step)

    def on_flat_crops(self, stylize: Stylize, module: StyleTransfer) -> dict[str, float]:
        """Returns how still the net holds on the flat crops, and what it paints there."""
        before, after = (stylize(frames) for frames in self.flat)
        everywhere = torch.ones_like(before[:, :1])
        with torch.no_grad():
            styles = module.styles_of(range(len(before)))
            losses = module.losses(self.flat[0].to(module.device), None, before.to(module.device), styles)
        return {
            "val/flat_flicker": static_flicker(before, after, everywhere).mean().item(),
            "val/flat_flicker_input": static_flicker(*self.flat, everywhere).mean().item(),
            "val/flat_style_loss": losses["style_loss"].item(),
            "val/flat_content_loss": losses["content_loss"].item(),
        }


def twice(
    pictures: Float[Tensor, "batch 3 height width"],
) -> tuple[Float[Tensor, "batch 3 height width"], Float[Tensor, "batch 3 height width"]]:
    """Returns two frames of each picture that differ in grains of noise alone, as a codec leaves on a flat wall."""
    generator = Generator().manual_seed(0)

    def frame(picture: Tensor) -> Tensor:
        return picture + GRAIN_NOISE * unit_noise("correlated", picture.shape[1], picture.shape[2], generator)

    one, other = (torch.stack([frame(picture) for picture in pictures]).clamp(0, 1) for _ in range(2))
    return one, other


def pan_error(clip: Float[Tensor, "time 3 height width"]) -> float:
    """Returns the mean change from frame to frame along the motion, in grey levels, while the camera of `panned` pans.

    The motion is known: no flow is estimated.
    """
    moving = clip[len(clip) // 3 :]
    right, down = PAN
    flow = clip.new_tensor([-right, -down])[None, :, None, None].expand(len(moving) - 1, 2, *clip.shape[2:])
    return mean_absolute_warping_error(moving[:-1], moving[1:], flow, inside(flow)).mean().item()


def still_flicker(clip: Float[Tensor, "time 3 height width"]) -> float:
    """Returns the mean change from frame to frame, in grey levels, while the camera of `panned` stands still."""
    still = clip[: len(clip) // 3]
    return static_flicker(still[:-1], still[1:], torch.ones_like(still[1:, :1])).mean().item()


def panned(photo: Float[Tensor, "3 height width"], frames: int = 24) -> Float[Tensor, "time 3 height width"]:
    """Returns a clip in which a camera with a little noise stands still for a third of the time, then pans slowly."""
    picture = photo.permute(1, 2, 0).numpy()
    size = photo.shape[2], photo.shape[1]
    random = np.random.default_rng(0)
    clip = []
    for frame in range(frames):
        steps = max(0, frame - frames // 3)
        move = np.array([[1, 0, -PAN[0] * steps], [0, 1, -PAN[1] * steps]], np.float32)
        moved = cv2.warpAffine(picture, move, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        clip.append(np.clip(moved + SIGMA * random.standard_normal(picture.shape), 0, 1))
    return torch.from_numpy(np.stack(clip)).float().permute(0, 3, 1, 2)
