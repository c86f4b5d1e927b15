"""Small runs that take seconds, and what to ask of them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytorch_lightning as pl
import torch

from fastnst.net import StylizationNet
from fastnst.settings import LossSettings, TemporalSettings, TrainerSettings
from fastnst.training.__main__ import main
from fastnst.training.content import Content
from fastnst.training.module import StyleTransfer
from fastnst.training.photos import Photos, find_photos
from fastnst.training.saving import AtomicCheckpointIO, load_training_checkpoint

ROOT = Path(__file__).parent.parent.parent


def make_module(vgg, max_steps=8, loss=(), temporal=(), trainer=()):
    """A tiny net, its style random, its next frames noisy."""
    torch.manual_seed(0)
    return StyleTransfer(
        StylizationNet((4, 6, 8), residual_blocks=1),
        vgg,
        [torch.rand(3, 48, 48, generator=torch.Generator().manual_seed(1))],
        LossSettings(**{"style_layers": ["relu1_2", "relu2_2", "relu3_3"], "style_weight": 5.0, **dict(loss)}),
        TemporalSettings(**{"pair": "noise", "weight": 10.0, "ramp": [0.0, 0.5], **dict(temporal)}),
        TrainerSettings(**{"max_steps": max_steps, "ema": 0.9, **dict(trainer)}),
    )


def make_trainer(folder, max_steps, *callbacks):
    return pl.Trainer(
        accelerator="cpu", max_steps=max_steps, max_epochs=-1, logger=False, callbacks=list(callbacks),
        plugins=[AtomicCheckpointIO()], enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, val_check_interval=3, check_val_every_n_epoch=None,
        default_root_dir=folder,
    )  # fmt: skip


def make_content(photo_folder, workers=0):
    photos, _ = find_photos(photo_folder)
    return Content(Photos(photos[2:], 32), Photos(photos[:2], 32, augment=False), 2, workers, seed=0)


class StopAt(pl.Callback):
    """Ends the run after a step, as a signal does."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, *_, **__):
        trainer.should_stop = trainer.global_step >= self.step


def command(*arguments):
    """Runs the command in this process, on one thread as `start` does, and returns its exit status."""
    threads, handler = torch.get_num_threads(), signal.getsignal(signal.SIGTERM)
    torch.set_num_threads(1)
    try:
        main([*map(str, arguments)])
    except SystemExit as end:
        return end.code
    finally:
        torch.set_num_threads(threads)
        signal.signal(signal.SIGTERM, handler)
    return 0


def start(*arguments, script=ROOT / "train.py", environment=None, **kwargs):
    """Starts the command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, str(script), *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **(environment or {})}, **kwargs,
    )  # fmt: skip


def at_step(monkeypatch, step, action):
    """Has `action` happen in a training step, before anything is computed."""
    original = StyleTransfer.training_step

    def training_step(self, batch, batch_idx):
        if self.global_step == step:
            action()
        return original(self, batch, batch_idx)

    monkeypatch.setattr(StyleTransfer, "training_step", training_step)


def weights(folder):
    return load_training_checkpoint(folder / "last.ckpt")["state_dict"]


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def reshaped(content):
    """Gives some weights of a training checkpoint another shape."""
    for name in ("net.encoder.0.0.weight", "net.encoder.0.0.bias", "net.encoder.0.1.bias", "net.encoder.0.1.weight"):
        content["state_dict"][name] = torch.zeros(7, 2)
