"""How far a training has come, with its losses."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl

from fastnst.progress import Progress


class StepProgress(pl.Callback):
    """Shows the step, the time left and the losses; the first device alone does."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begins at the step that the run begins at."""
        self.progress = Progress("step", trainer.global_step) if trainer.is_global_zero else None

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any, **__: Any) -> None:
        """Shows how far it is."""
        losses = {
            name.removeprefix("train/").removesuffix("_loss"): f"{float(value):.3f}"
            for name, value in trainer.callback_metrics.items()
            if name.startswith("train/") and name.endswith("loss")
        }
        if self.progress:
            note = " ".join(f"{name} {value}" for name, value in losses.items())
            self.progress(trainer.global_step, trainer.max_steps, note)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Removes the bar."""
        if self.progress:
            self.progress.close()
