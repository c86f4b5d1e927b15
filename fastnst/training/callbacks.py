"""What happens around the training steps: progress, checkpoints, signals, pictures to look at."""

from __future__ import annotations

import json
import signal
import sys
import time
import zipfile
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytorch_lightning as pl
import torch
from jaxtyping import Float
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Generator, Tensor
from tqdm import tqdm

from fastnst.checkpoint import is_finite, load_checkpoint, save_checkpoint
from fastnst.errors import Diverged, InputError, OutputError
from fastnst.files import check_input, replaced
from fastnst.flow import inside
from fastnst.images import save_image, to_array
from fastnst.metrics import contrast, mean_absolute_warping_error, noise_gain, static_flicker
from fastnst.net import StylizationNet
from fastnst.training.dashboard import Dashboard
from fastnst.training.module import StyleTransfer
from fastnst.video.silent import silent_clip

LINE_EVERY = 10.0  # seconds between progress lines where there is no terminal
SIGMA = 2 / 255  # noise level of a decent camera, for the validation clip
PAN = (0.4, 0.2)  # pixels to the right and down by which its camera moves per frame
RESUMED = ("state_dict", "optimizer_states", "lr_schedulers", "loops")  # what a run goes on from
MATCH = 0.05  # relative difference up to which two style losses count as the same


class AtomicCheckpointIO(TorchCheckpointIO):
    """Training checkpoints that are always whole, and loaded without running any code that they may hold.

    Differs from Lightning's own: the new file is written beside the old one and takes its place when it is safely on
    disk, so that a full disk or a kill leaves the old one; and only plain data is ever unpickled.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Writes the checkpoint; raises OutputError if that fails, and the older file is untouched."""
        try:
            with replaced(path) as part:
                torch.save(checkpoint, part)
        except RuntimeError as error:  # torch's zip writer on a full disk
            raise OutputError(f"cannot write '{path}': {str(error).splitlines()[0]}") from error

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Returns the checkpoint, on the CPU."""
        return load_training_checkpoint(path)


def load_training_checkpoint(path: str | Path) -> dict[str, Any]:
    """Returns a training checkpoint; only plain data is unpickled, whatever the environment says.

    Raises:
        InputError: the file is missing, damaged, or not a training checkpoint.
    """
    check_input(Path(path), "training checkpoint")
    try:
        with zipfile.ZipFile(path) as parts:
            infos = parts.infolist()
            if sum(info.file_size for info in infos) > Path(path).stat().st_size:
                raise ValueError("it unpacks to more than it is")
            if any(info.filename.endswith(".pkl") and b"bytearray" in parts.read(info) for info in infos):
                raise ValueError("its pickle may take any amount of memory")  # the one such call that torch allows
            if damaged := parts.testzip():  # torch.load itself ignores the checksums
                raise ValueError(f"the checksum of {damaged} is wrong")
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises errors of any kind on damaged files
        raise InputError(
            f"'{path}' is not a training checkpoint of fastnst, or is damaged; resume takes a last.ckpt"
        ) from error
    try:
        plain = isinstance(checkpoint["recipe"], dict) and json.dumps(checkpoint["recipe"])
    except (KeyError, TypeError, ValueError, RecursionError):
        plain = False
    if not plain:
        raise InputError(f"'{path}' is not a training checkpoint of fastnst; resume takes a last.ckpt")
    return checkpoint


def check_resumable(checkpoint: Mapping[str, Any], module: StyleTransfer, path: str | Path) -> None:
    """Raises InputError with the first three differences if `module` cannot go on from a training checkpoint."""
    missing = [part for part in RESUMED if not checkpoint.get(part)]
    if missing:
        raise InputError(f"'{path}' cannot be gone on with: it lacks {', '.join(missing[:3])}")
    wanted = {name: value.shape for name, value in module.state_dict().items()}
    try:
        found = {name: value.shape for name, value in checkpoint["state_dict"].items()}
        (adam,) = checkpoint["optimizer_states"]
        for number, parameter in enumerate(module.net.parameters()):
            for name in ("exp_avg", "exp_avg_sq") if number in adam["state"] else ():  # none before its first step
                wanted[f"{name} {number}"] = parameter.shape
                found[f"{name} {number}"] = adam["state"][number][name].shape
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"'{path}' cannot be gone on with: its state is damaged") from error
    differences = [
        f"{name!s:.100} {shown(found.get(name))}, not {shown(wanted.get(name))}"
        for name in wanted | found
        if found.get(name) != wanted.get(name)
    ]
    if differences:
        raise InputError(f"'{path}' is of another net: {'; '.join(differences[:3])}")


def shown(shape: Sequence[int] | None) -> str:
    """Returns a shape as people write it.

    >>> shown((4, 3, 9, 9)), shown(()), shown(None)
    ('4x3x9x9', 'single', 'missing')
    """
    return "missing" if shape is None else "x".join(map(str, shape)) or "single"


class Saving(pl.Callback):
    """Keeps `last.ckpt`, from which a run goes on exactly where it was.

    Args:
        path: of the checkpoint.
        every: steps between writes.
        recipe: what makes the run what it is; a resumed run must agree with it.
    """

    def __init__(self, path: Path, every: int, recipe: Mapping[str, Any]) -> None:
        self.path, self.every, self.recipe = path, every, dict(recipe)
        self.loaded: int | None = None
        self.began = False

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Adds the recipe."""
        checkpoint["recipe"] = self.recipe

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Remembers the step that the run should go on from."""
        self.loaded = checkpoint.get("global_step")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Raises InputError if a run goes on from another step than its checkpoint's: what this lacks counts as 0."""
        if self.loaded is not None and self.loaded != trainer.global_step:
            raise InputError(f"'{self.path}' is damaged: of step {self.loaded}, it goes on from {trainer.global_step}")
        self.began = True

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any, **__: Any) -> None:
        """Writes it every so many steps; a failure is reported, and training goes on.

        Weights that a huge learning rate has just broken are not written: the next step finds its gradient broken.
        """
        assert isinstance(pl_module, StyleTransfer)
        if trainer.global_step and trainer.global_step % self.every == 0 and is_finite(pl_module.net):
            try:
                trainer.save_checkpoint(self.path)
            except OutputError as error:
                print(f"error: {error}; training goes on", file=sys.stderr)
                trainer.strategy.barrier()  # the other devices wait there

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Writes it as it was after the last whole step, unless training broke down or other devices are waited for."""
        assert isinstance(pl_module, StyleTransfer)
        if trainer.world_size > 1 or not self.began or not trainer.global_step or isinstance(exception, Diverged):
            return
        try:
            if is_finite(pl_module.net):
                trainer.save_checkpoint(self.path)
                print(f"saved step {trainer.global_step}; to go on: resume=auto", file=sys.stderr)
        except OutputError as error:
            print(f"error: {error}", file=sys.stderr)


class StopOnSignal(pl.Callback):
    """Ends the run at the end of a step when Ctrl-C or SIGTERM comes; a second one ends it at once."""

    def __init__(self) -> None:
        self.received: int | None = None
        self.before: dict[int, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Takes the signals over."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self.before[number] = signal.signal(number, self.note)

    def note(self, number: int, frame: Any) -> None:
        """Remembers the signal."""
        self.received = number
        print(f"\n{signal.Signals(number).name}: stopping after this step", file=sys.stderr)
        signal.signal(number, signal.SIG_DFL)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any, **__: Any) -> None:
        """Stops the trainer if a signal came, on any device."""
        if trainer.strategy.reduce_boolean_decision(self.received is not None, all=False):
            self.received = self.received or signal.SIGTERM
            trainer.should_stop = True

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Hands the signals back."""
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Hands the signals back: no step will end any more."""
        self.on_train_end(trainer, pl_module)


class Progress(pl.Callback):
    """A bar with the losses and the time left on a terminal; a line every few seconds elsewhere."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draws the bar."""
        self.first, self.began, self.last_line = trainer.global_step, time.monotonic(), 0.0
        on = trainer.is_global_zero and sys.stderr.isatty()
        self.bar = tqdm(total=trainer.max_steps, initial=self.first, unit="step", dynamic_ncols=True, disable=not on)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any, **__: Any) -> None:
        """Moves it."""
        step, now = trainer.global_step, time.monotonic()
        losses = {
            name.removeprefix("train/").removesuffix("_loss"): f"{float(value):.3f}"
            for name, value in trainer.callback_metrics.items()
            if name.startswith("train/") and name.endswith("loss")
        }
        self.bar.update(step - self.bar.n)
        self.bar.set_postfix(losses, refresh=False)
        if (
            self.bar.disable
            and trainer.is_global_zero
            and (now - self.last_line > LINE_EVERY or step == trainer.max_steps)
        ):
            rate = (now - self.began) / max(1, step - self.first)
            left = time.strftime("%H:%M:%S", time.gmtime(rate * (trainer.max_steps - step)))
            shown = " ".join(f"{name} {value}" for name, value in losses.items())
            print(
                f"step {step}/{trainer.max_steps}  {shown}  {rate:.2f} s/step, {left} left", file=sys.stderr, flush=True
            )
            self.last_line = now

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Closes it."""
        self.bar.close()


class Point(NamedTuple):
    """A net on the front.

    Attributes:
        step: of the training.
        style_loss: on the photos set aside.
        warping_error: on the clip made from one of them, grey levels.
    """

    step: int
    style_loss: float
    warping_error: float


class Front:
    """The nets of a run that no other one beats in both style and steadiness, each a file that can be used.

    Args:
        folder: where they go, as `<step>.ckpt`; those of a run that is gone on with are taken over.
        style: the style's name.

    Raises:
        InputError: a file in the folder is no net.
    """

    def __init__(self, folder: Path, style: str) -> None:
        self.folder, self.style = folder, style
        recipes = [load_checkpoint(path).recipe for path in sorted(folder.glob("*.ckpt"))]
        self.points = [Point(**{name: recipe[name] for name in Point._fields}) for recipe in recipes]

    def path(self, point: Point) -> Path:
        """Returns where its net is."""
        return self.folder / f"{point.step:06d}.ckpt"

    def offer(self, net: StylizationNet, step: int, measured: Mapping[str, float]) -> None:
        """Keeps the net if it is on the front, and removes those that it beats; not if its weights are broken.

        Args:
            net: what is kept.
            step: of the training.
            measured: "val/style_loss", "val/warping_error", and whatever else its file should tell of it.

        Raises:
            OutputError: the file cannot be written.
        """
        new = Point(step, measured["val/style_loss"], measured["val/warping_error"])
        if not is_finite(net) or any(beats(old, new) for old in self.points):
            return
        self.folder.mkdir(exist_ok=True)
        told = {name: round(value, 5) for name, value in measured.items()}
        save_checkpoint(self.path(new), net, self.style, {**new._asdict(), "final": told})
        for old in self.points:
            if beats(new, old):
                self.path(old).unlink(missing_ok=True)
        self.points = [old for old in self.points if not beats(new, old)] + [new]

    def best(self) -> Point | None:
        """Returns the steadiest of those whose style loss is within `MATCH` of the lowest; None if there is none.

        What is steady is easily had where there is little style: so only nets of about the same style are compared.
        """
        lowest = min((point.style_loss for point in self.points), default=0.0)
        matched = [point for point in self.points if point.style_loss <= (1 + MATCH) * lowest]
        return min(matched, key=lambda point: point.warping_error, default=None)


def beats(first: Point, second: Point) -> bool:
    """Returns whether one net is at least as good in both, or the same step done again."""
    better = first.style_loss <= second.style_loss and first.warping_error <= second.warping_error
    return better or first.step == second.step


class Samples(pl.Callback):
    """Stylizes the photos set aside, and one short clip made from the first of them, at every validation.

    Logs how steady the net is there, in grey levels and beside the input's own: `val/static_flicker`,
    `val/warping_error` along the known motion, `val/noise_gain`, and `val/contrast`. Keeps the nets of the front, once
    training has settled: before, the temporal loss is still coming in, and the learning rate is high.

    Args:
        folder: where `stylized_<step>.png` and `clip_<step>.mp4` go.
        dashboard: where they are shown.
        photos: the photos, in [0, 1].
        front: where the net goes, with what was measured.
    """

    def __init__(
        self, folder: Path, dashboard: Dashboard, photos: Float[Tensor, "batch 3 height width"], front: Front
    ) -> None:
        self.folder, self.dashboard, self.photos, self.front = folder, dashboard, photos, front
        self.clip = panned(photos[0])

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes and shows them; a full disk is reported, and training goes on."""
        assert isinstance(pl_module, StyleTransfer)
        if not trainer.is_global_zero or trainer.sanity_checking:
            return
        step = trainer.global_step

        def stylize(pictures: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3 height width"]:
            with torch.no_grad():
                return pl_module.net(pictures.to(pl_module.device)).float().cpu()

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
                self.front.offer(pl_module.net, step, losses | steadiness)
        except OutputError as error:
            print(f"error: {error}; training goes on", file=sys.stderr)
            return
        self.dashboard.log_media("val/stylized", picture, step)
        self.dashboard.log_media("val/clip", video, step)


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
