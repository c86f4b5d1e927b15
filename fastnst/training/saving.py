"""The training checkpoint: written so that it is always whole, read without running code, and checked before use."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from fastnst.errors import Diverged, InputError, OutputError
from fastnst.files import check_input, replaced
from fastnst.training.module import StyleTransfer

RESUMED = ("state_dict", "optimizer_states", "lr_schedulers", "loops")  # what a run resumes from


class AtomicCheckpointIO(TorchCheckpointIO):
    """Training checkpoints that are always whole, and loaded without running any code that they may hold.

    Differs from Lightning's own: the new file is written beside the old one and takes its place when it is safely on
    disk, so that a full disk or a kill leaves the old one; and only plain data is ever unpickled.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Writes the checkpoint; raises OutputError if that fails, and the older file is untouched."""
        content = io.BytesIO()  # on a full disk torch's own writer does not say that it is full
        torch.save(checkpoint, content)
        with replaced(path) as part:
            part.write_bytes(content.getbuffer())

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
    """Raises InputError with the first three differences if `module` cannot resume from a training checkpoint."""
    if missing := [part for part in RESUMED if not checkpoint.get(part)]:
        raise InputError(f"'{path}' cannot be resumed: it has no {', '.join(missing[:3])}")
    wanted = {name: value.shape for name, value in module.state_dict().items()}
    try:
        found = {name: value.shape for name, value in checkpoint["state_dict"].items()}
        (adam,) = checkpoint["optimizer_states"]
        for number, parameter in enumerate(module.net.parameters()):
            for name in ("exp_avg", "exp_avg_sq") if number in adam["state"] else ():  # none before its first step
                wanted[f"{name} {number}"] = parameter.shape
                found[f"{name} {number}"] = adam["state"][number][name].shape
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"'{path}' cannot be resumed: its state is damaged") from error
    differences = [
        f"{name!s:.100} {shape_words(found.get(name))}, not {shape_words(wanted.get(name))}"
        for name in wanted | found
        if found.get(name) != wanted.get(name)
    ]
    if differences:
        raise InputError(f"'{path}' is of another net: {'; '.join(differences[:3])}")


def shape_words(shape: Sequence[int] | None) -> str:
    """Returns a shape as people write it.

    >>> shape_words((4, 3, 9, 9)), shape_words(()), shape_words(None)
    ('4x3x9x9', 'single', 'missing')
    """
    return "missing" if shape is None else "x".join(map(str, shape)) or "single"


class Saving(pl.Callback):
    """Keeps `last.ckpt`, from which a run resumes exactly where it was.

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
        """Remembers the step that the run should resume from."""
        self.loaded = checkpoint.get("global_step")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Raises InputError if a run resumes from another step than its checkpoint's: Lightning takes a gap for 0."""
        if self.loaded is not None and self.loaded != trainer.global_step:
            raise InputError(f"'{self.path}' is damaged: of step {self.loaded}, it resumes from {trainer.global_step}")
        self.began = True

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any, **__: Any) -> None:
        """Writes it every so many steps; a failure is reported, and training goes on.

        Weights that a huge learning rate has just broken are not written: the next step finds its gradient broken.
        """
        assert isinstance(pl_module, StyleTransfer)
        if trainer.global_step and trainer.global_step % self.every == 0 and pl_module.is_finite():
            try:
                trainer.save_checkpoint(self.path)
            except OutputError as error:
                print(f"error: {error}; training goes on", file=sys.stderr)
                trainer.strategy.barrier()  # the other devices wait there

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Writes it as it is after the last whole step, unless training diverged or other devices are waited for."""
        assert isinstance(pl_module, StyleTransfer)
        if trainer.world_size > 1 or not self.began or not trainer.global_step or isinstance(exception, Diverged):
            return
        try:
            if pl_module.is_finite():
                trainer.save_checkpoint(self.path)
                print(f"saved step {trainer.global_step}; to continue: resume=auto", file=sys.stderr)
        except OutputError as error:
            print(f"error: {error}", file=sys.stderr)


def check_same_run(before: Mapping[str, Any], now: Mapping[str, Any], path: str | Path) -> None:
    """Raises InputError with the first three differences if the run to resume was made with other settings."""
    changed = [f"{key}={before.get(key)!s:.40}, not {now[key]!s:.40}" for key in now if before.get(key) != now[key]]
    if changed:
        raise InputError(f"'{path}' is of another run: {'; '.join(changed[:3])}; give the same settings to resume")
