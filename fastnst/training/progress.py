"""How far a training has come, with its losses and the time left."""

from __future__ import annotations

import sys
import time
from typing import Any

import pytorch_lightning as pl
from tqdm import tqdm

LINE_EVERY = 10.0  # seconds between progress lines where there is no terminal


class StepProgress(pl.Callback):
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
            left = tqdm.format_interval(rate * (trainer.max_steps - step))  # hours do not wrap at 24
            values = " ".join(f"{name} {value}" for name, value in losses.items())
            line = f"step {step}/{trainer.max_steps}  {values}  {rate:.2f} s/step, {left} left"
            print(line, file=sys.stderr, flush=True)
            self.last_line = now

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Closes it."""
        self.bar.close()
