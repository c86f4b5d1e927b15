"""What ends a training early: Ctrl-C, SIGTERM, a terminal or a connection that is closed."""

from __future__ import annotations

import os
import signal
import stat
from typing import Any

import pytorch_lightning as pl

STOPPING = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]  # no HUP on Windows


class StopOnSignal(pl.Callback):
    """Ends the run at the end of a step when a signal of `STOPPING` comes; a second one ends it at once.

    A signal that is ignored stays ignored, as SIGHUP is under nohup.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.before: dict[int, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Takes the signals over."""
        for number in STOPPING:
            if signal.getsignal(number) != signal.SIG_IGN:
                self.before[number] = signal.signal(number, self.note)

    def note(self, number: int, frame: Any) -> None:
        """Remembers the signal."""
        self.received = number
        say(f"\n{signal.Signals(number).name}: stopping after this step\n")
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


def say(text: str) -> None:
    """Writes to stderr without Python's buffer, which the signal may have interrupted.

    If the terminal is gone, whatever is written to it later goes nowhere instead of raising.
    """
    try:
        os.write(2, text.encode())
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for output in (1, 2):
            if closed_terminal(output):
                os.dup2(nowhere, output)


def closed_terminal(output: int) -> bool:
    """Returns whether an output is a terminal, or cannot be written to at all."""
    try:
        return stat.S_ISCHR(os.fstat(output).st_mode)
    except OSError:
        return True
