"""One training run, from settings to a finished net: settings, plan, build, fit, outcome."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import time
import traceback
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from fastnst.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from fastnst.errors import ConfigError, Diverged, EnvironmentFault, FastnstError, InputError, OutputError
from fastnst.images import load_style, to_tensor
from fastnst.mixing import ancestor_of
from fastnst.net import PRESETS, StylizationNet
from fastnst.settings import NetSettings, StyleSettings, TrainSettings
from fastnst.training.content import Content, Items, find_items
from fastnst.training.dashboard import Dashboard
from fastnst.training.folder import claimed, plain_name, prepare, run_folder
from fastnst.training.module import StyleTransfer
from fastnst.training.progress import StepProgress
from fastnst.training.saving import (
    AtomicCheckpointIO,
    Saving,
    check_resumable,
    check_same_run,
    load_training_checkpoint,
)
from fastnst.training.signals import StopOnSignal
from fastnst.training.validation import ParetoFront, Samples
from fastnst.vgg import load_vgg

RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")  # what a launcher of several processes numbers them with
DEVICE_TIMEOUT = timedelta(minutes=5)  # after which a device that waits for another one gives up
DAMAGE = (AttributeError, IndexError, KeyError, TypeError, ValueError)  # what Lightning raises on damaged checkpoints


@dataclass(frozen=True)
class Plan:
    """What a run is, before anything is computed.

    Attributes:
        settings: of the run.
        first: whether this is the process that writes; each further device runs the command again.
        style: the style's name.
        pictures: the style picture, (height, width, 3) uint8, by its name; several for a net of many styles.
        items: what is trained on.
        folder: of the run.
        resume: the checkpoint to resume from, or None.
    """

    settings: TrainSettings
    first: bool
    style: str
    pictures: dict[str, np.ndarray]
    items: Items
    folder: Path
    resume: Path | None

    @property
    def last(self) -> Path:
        """Where the training checkpoint goes."""
        return self.folder / "last.ckpt"

    @property
    def finished(self) -> Path:
        """Where the finished net goes."""
        return self.folder / f"{self.style}.ckpt"

    def recipe(self) -> dict[str, Any]:
        """Returns what decides the result: a resumed run must agree with it, and the finished net carries it.

        Nets that descend from one ancestor can be mixed, so a net that begins from another one names it.
        """
        init, teacher = self.settings.net.init, self.settings.teacher
        return {
            "style_sha256": hashlib.sha256(b"".join(each.tobytes() for each in self.pictures.values())).hexdigest(),
            "style_size": self.settings.style.size,
            "data_sha256": self.items.fingerprint(),
            "data_items": len(self.items.training) + len(self.items.validation) + len(self.items.beside),
            **({"net_init": Path(init).name, "ancestor": ancestor_of(load_checkpoint(init, True))} if init else {}),
            **self.settings.by_name(compared=True),
            "teacher": Path(teacher).name if teacher else None,  # no folder of the machine that it was made on
        }


@dataclass(frozen=True)
class Parts:
    """What a run is made of.

    Attributes:
        module: the net, the loss network and the training step.
        content: the crops.
        trainer: Lightning's, which runs the loop.
        stop: ends the loop when a signal comes.
        front: the best nets so far.
        dashboard: where numbers and pictures go.
        recipe: what decides the result.
    """

    module: StyleTransfer
    content: Content
    trainer: pl.Trainer
    stop: StopOnSignal
    front: ParetoFront
    dashboard: Dashboard
    recipe: dict[str, Any]


def run(settings: TrainSettings) -> None:
    """Trains one net for one style; exits with a status of its own if a signal stopped it."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", "`isinstance", FutureWarning)  # pytorch_lightning 2.6 with torch 2.14
    plan = planned(settings)
    began, status = time.monotonic(), 1
    with claimed(plan.folder) if plan.first else nullcontext():
        parts = built(plan)
        try:
            fit(plan, parts)
            status = concluded(plan, parts)
        finally:
            parts.dashboard.finish(status)
    if status:
        sys.exit(status)
    if plan.first:
        print(f"{parts.trainer.global_step} steps in {time.monotonic() - began:.0f} s; the net: {plan.finished}")
        print(f"python infer.py video=in.mp4 ckpt={plan.finished}")


def planned(settings: TrainSettings) -> Plan:
    """Returns what is to be done, once it is clear that all files that the settings name are there."""
    first = all(os.environ.get(rank, "0") == "0" for rank in RANKS)
    style, pictures = style_of(settings.style)
    folder, resume = run_folder(settings, style, first)
    if settings.net.init:
        load_checkpoint(settings.net.init, many=True)
    return Plan(settings, first, style, pictures, find_items(settings.data, first), folder, resume)


def style_of(style: StyleSettings) -> tuple[str, dict[str, np.ndarray]]:
    """Returns the style's name, and its picture by name: the user's, or a drawn one; or several of both kinds.

    Raises:
        ConfigError: two of several pictures have one name.
    """
    if style.images:
        names = [plain_name(Path(image).stem) for image in style.images]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ConfigError(f"style.images has two pictures called {twice[0]!r}; give one of them another name")
        return style.name, {
            name: load_style(image, style.size) for name, image in zip(names, style.images, strict=True)
        }
    if style.image is None:
        return style.name, {style.name: load_style(style.name, style.size)}
    name = plain_name(Path(style.image).stem)
    return name, {name: load_style(style.image, style.size)}


def built(plan: Plan) -> Parts:
    """Returns the parts of the run; what an earlier run left in the folder is removed if this one starts over."""
    settings, recipe = plan.settings, plan.recipe()
    before = load_training_checkpoint(plan.resume) if plan.resume else {}
    if plan.resume:
        check_same_run(before["recipe"], recipe, plan.resume)
    pl.seed_everything(settings.seed, verbose=False)
    module = built_module(settings, plan.pictures)
    if plan.resume:
        check_resumable(before, module, plan.resume)
    content = Content(
        *plan.items.crops(settings.trainer.image_size, settings.data.flat),
        settings.trainer.batch_size,
        settings.data.workers,
        settings.seed,
    )
    if plan.first:
        prepare(plan.folder, over=settings.overwrite and not settings.resume)
    front, stop = ParetoFront(plan.folder / "front", plan.style), StopOnSignal()
    dashboard = Dashboard(plan.folder, plan.style, settings.by_name(), settings.wandb)
    callbacks = [
        stop,
        Saving(plan.last, settings.trainer.save_every, recipe),
        StepProgress(),
        Samples(plan.folder, dashboard, content.validation_pictures(), front),
    ]
    try:
        trainer = built_trainer(plan, dashboard, callbacks)
    except BaseException:
        dashboard.finish(1)
        raise
    return Parts(module, content, trainer, stop, front, dashboard, recipe)


def built_module(settings: TrainSettings, pictures: Mapping[str, np.ndarray]) -> StyleTransfer:
    """Returns the net with its losses, in channels-last, which is 1.1 to 1.15 times as fast."""
    module = StyleTransfer(
        net_of(settings.net, list(pictures), many=bool(settings.style.images)),
        load_vgg(settings.vgg, settings.loss.layers),
        [to_tensor(picture) for picture in pictures.values()],
        settings.loss,
        settings.temporal,
        settings.trainer,
        load_checkpoint(settings.teacher).net if settings.teacher else None,
    )
    return module.to(memory_format=torch.channels_last)


def net_of(choice: NetSettings, styles: Sequence[str], many: bool = False) -> StylizationNet:
    """Returns a new net, or the trained one to begin from.

    Args:
        choice: which.
        styles: names of what it is to paint, one of them if it is not a net of `many`.
        many: whether it is one.

    Raises:
        ConfigError: the trained one is of another preset, or has a canvas, which it cannot lose.
    """
    rows = styles if many else ()
    if not choice.init:
        return StylizationNet.preset(choice.preset, choice.antialias, choice.canvas, rows)
    net = load_checkpoint(choice.init, many=True).net
    if not many and styles[0] in net.styles:
        net = net.of_style(styles[0])
    presets = {channels: name for name, channels in PRESETS.items()}
    own = presets.get(tuple(net.settings["channels"]), choice.preset)  # pyright: ignore[reportArgumentType]
    if own != choice.preset:
        raise ConfigError(
            f"net.init={choice.init} is a net of net.preset={own}, not {choice.preset}; "
            f"give net={own}, or net.init=null to begin from scratch"
        )
    return net.renewed(choice.antialias, choice.canvas, rows)


def built_trainer(plan: Plan, dashboard: Dashboard, callbacks: list[pl.Callback]) -> pl.Trainer:
    """Returns Lightning's trainer; raises ConfigError if it does not run with these settings on this machine."""
    setup = plan.settings.trainer
    try:
        return pl.Trainer(
            accelerator=setup.accelerator,
            devices=setup.devices,
            strategy="auto" if setup.devices == 1 else DDPStrategy(timeout=DEVICE_TIMEOUT),
            precision=setup.precision,
            max_epochs=-1,
            max_steps=setup.max_steps,
            val_check_interval=setup.validate_every,
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            log_every_n_steps=min(10, setup.max_steps),
            logger=dashboard,
            callbacks=callbacks,
            plugins=[AtomicCheckpointIO()],
            use_distributed_sampler=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=plan.folder,
        )
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        raise ConfigError(f"these trainer settings do not work here: {error}") from error


def fit(plan: Plan, parts: Parts) -> None:
    """Trains, to the end or until a signal comes; and validates the last net, which may be the best.

    Raises:
        Diverged: the last step broke the weights, or several steps in a row could not be taken.
        InputError: Lightning cannot restore the checkpoint to resume from.
        EnvironmentFault: a process that reads photos died.
        FastnstError: one of several devices stopped, with its own error.
    """
    trainer, every = parts.trainer, plan.settings.trainer.validate_every
    try:
        trainer.fit(parts.module, parts.content, ckpt_path=plan.resume, weights_only=True)
        if not parts.module.is_finite():
            raise Diverged("the last step broke the weights; lower trainer.learning_rate")
        measured = dict(trainer.callback_metrics)
        if not parts.stop.received and trainer.global_step % every:
            trainer.validate(parts.module, parts.content, verbose=False)
            measured |= trainer.callback_metrics
        parts.recipe["final"] = {
            key: round(float(value), 5) for key, value in measured.items() if key.startswith("val/")
        }
    except Diverged:
        if plan.first:
            raise
        sys.exit(0)  # all devices found it, one says it
    except Exception as error:
        if isinstance(error, DAMAGE) and is_restoring(error):
            raise InputError(f"'{plan.resume}' is damaged: {type(error).__name__} {error}") from error
        if isinstance(error, RuntimeError) and "DataLoader worker" in str(error):
            raise EnvironmentFault(
                f"a process that reads photos died ({str(error).splitlines()[0]}); "
                "data.workers=0 needs none, data.workers=1 less memory"
            ) from error
        if trainer.world_size == 1 or isinstance(error, FastnstError):
            raise
        raise FastnstError(f"device {trainer.global_rank} stopped: {type(error).__name__}: {error}") from error


def is_restoring(error: BaseException) -> bool:
    """Returns whether an error came from Lightning's own code that restores a training checkpoint."""
    files = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
    return any(Path(file).name == "checkpoint_connector.py" for file in files)


def concluded(plan: Plan, parts: Parts) -> int:
    """Writes the training checkpoint and the finished net, and returns the exit status.

    Raises:
        OutputError: one of the two cannot be written; the other one is all the same.
    """
    trainer, failure = parts.trainer, None
    try:
        trainer.save_checkpoint(plan.last)
    except OutputError as error:
        failure = error
        trainer.strategy.barrier()  # the other devices wait there
    if not plan.first:
        return 0
    if parts.stop.received:
        if failure:
            raise failure
        print(f"stopped at step {trainer.global_step}; to continue: the same command with resume=auto", file=sys.stderr)
        return 128 + parts.stop.received
    net, step, final = parts.module.finished, trainer.global_step, parts.recipe["final"]
    if best := parts.front.best():
        chosen = read_checkpoint(parts.front.path(best))
        net, step, final = chosen.net, best.step, chosen.recipe.get("final", final)
    recipe = parts.recipe | {"steps": trainer.global_step, "best_step": step, "final": final}
    save_checkpoint(plan.finished, net, plan.style, recipe)
    parts.dashboard.log_checkpoint(plan.finished)
    if failure:
        raise OutputError(f"{failure}; the finished net is written: {plan.finished}") from failure
    return 0
