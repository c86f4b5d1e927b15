"""The training step: weighs the losses, logs them, steps. The only file that knows Lightning's module."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import pytorch_lightning as pl
import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastnst.canvas import drawn_canvas
from fastnst.checkpoint import is_finite
from fastnst.errors import Diverged
from fastnst.flow import warp
from fastnst.losses import distillation_loss, temporal_loss
from fastnst.net import StylizationNet
from fastnst.perceptual import PerceptualLoss
from fastnst.settings import LossSettings, TemporalSettings, TrainerSettings
from fastnst.training.pairs import NextFrame, make_pair, next_frames
from fastnst.vgg import VGGFeatures

TAUGHT = 0.5  # part of the run in which a net with a teacher learns from that; then come the losses of all nets
PATIENCE = 3  # skipped steps in a row that end the run


class StyleTransfer(pl.LightningModule):
    """Trains a `StylizationNet` on content photos for one style picture.

    Source: Johnson et al. 2016, arXiv:1603.08155; the temporal loss from Rainy and de Berker 2018 and Ruder et al.
    2018, arXiv:1708.04538.

    Args:
        net: the net to train.
        vgg: the loss network; it has all the layers that `loss` names.
        styles: the style picture, in [0, 1]; of a net of many styles one for each, in their order.
        loss: layers and weights of the perceptual loss.
        temporal: what follows a picture, and what the difference costs.
        trainer: length of the run, learning rate, and what else decides a step.
        teacher: a net to learn from in the first part of the run; None: there is none.
    """

    def __init__(
        self,
        net: StylizationNet,
        vgg: VGGFeatures,
        styles: Sequence[Float[Tensor, "3 _height _width"]],
        loss: LossSettings,
        temporal: TemporalSettings,
        trainer: TrainerSettings,
        teacher: StylizationNet | None = None,
    ) -> None:
        super().__init__()
        self._teacher = [] if teacher is None else [teacher]  # in a list: no part of what is trained and saved
        self.net, self.perceptual, self.pair = net, PerceptualLoss(vgg, styles, loss), make_pair(temporal)
        self.average = deepcopy(net).requires_grad_(False) if trainer.ema else None
        self.temporal, self.trainer_settings = temporal, trainer
        self.skipped = self.skipped_in_a_row = 0
        self.unreadable: set[str] = set()

    def forward(self, content: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3 height width"]:
        """Returns what validation judges: the pictures stylized, in the styles in turn if there are many."""
        return self.finished.in_styles(content, self.styles_of(range(len(content))))

    def styles_of(self, numbers: Sequence[int]) -> Int[Tensor, " batch"] | None:
        """Returns the styles that pictures are painted in, by a number of each; None for a net of one style."""
        count = len(self.net.styles)
        return torch.tensor([number % count for number in numbers], device=self.device) if count else None

    def losses(
        self,
        content: Float[Tensor, "batch 3 height width"],
        following: NextFrame | None,
        stylized: Float[Tensor, "pictures 3 height width"],
        styles: Int[Tensor, " batch"] | None = None,
    ) -> dict[str, Float[Tensor, ""]]:
        """Returns the losses of `PerceptualLoss`, and "temporal_loss" if there are next frames; unweighted, in float32.

        Args:
            content: the pictures.
            following: their next frames, or None: then there is no temporal loss.
            stylized: what the net makes of the pictures, and behind them of their next frames.
            styles: that each picture is painted in, see `styles_of`.
        """
        stylized, *after = stylized.split(len(content))
        losses = self.perceptual(stylized, content, self.perceptual.target(content), styles)
        if following is not None:
            before = stylized.float() if following.flow is None else warp(stylized.float(), following.flow)
            losses["temporal_loss"] = temporal_loss(before, after[0], following.mask)
        return losses

    def stylized(
        self,
        net: StylizationNet,
        content: Float[Tensor, "batch 3 height width"],
        following: NextFrame | None,
        seeds: Sequence[int],
        styles: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "pictures 3 height width"]:
        """Returns the pictures stylized, and behind them their next frames, all in one batch of the stateless net.

        Each picture has a canvas of its own, drawn from its seed; it moves with the picture to the next frame, which is
        painted in the same style.
        """
        height, width = content.shape[-2:]
        flows = [None] * len(content) if following is None or following.flow is None else following.flow
        canvases, canvases_next = zip(
            *(drawn_canvas(seed, height, width, flow) for seed, flow in zip(seeds, flows, strict=True)), strict=True
        )
        if following is None:
            return net.in_styles(content, styles, torch.stack(canvases))
        pictures = torch.cat([content, following.content_next])
        twice = None if styles is None else torch.cat([styles, styles])
        return net.in_styles(pictures, twice, torch.stack(canvases + canvases_next))

    def following(self, batch: dict[str, Any]) -> NextFrame | None:
        """Returns the frames that follow the batch's, or None without temporal loss."""
        if self.pair is None:
            return None
        return next_frames(self.pair, batch["content"], batch["seed"], batch["filmed"])

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Float[Tensor, ""]:
        """Returns the weighted loss; logs each loss and its share of the total."""
        if self.is_taught:
            return self.lesson(batch["content"], batch["seed"])
        content, following, styles = batch["content"], self.following(batch), self.styles_of(batch["seed"])
        stylized = self.stylized(self.net, content, following, batch["seed"], styles)
        losses = self.losses(content, following, stylized, styles)
        weighted = self.perceptual.weighted(losses)
        if following is not None:
            weighted["temporal_loss"] = losses["temporal_loss"] * self.temporal.weight * self.ramp()
        total = torch.stack(list(weighted.values())).sum()
        logged = {"train/loss": total, **{f"train/{name}": loss for name, loss in losses.items()}}
        shares = {f"train/{name.replace('loss', 'share')}": part / total for name, part in weighted.items()}
        self.log_dict(logged | shares, sync_dist=True)  # the mean over all devices
        self.unreadable.update(batch["unreadable"])
        self.log("train/unreadable_photos", float(len(self.unreadable)), reduce_fx="sum", sync_dist=True)
        return total

    @property
    def is_taught(self) -> bool:
        """Whether the net learns from a teacher now, and from nothing else."""
        return bool(self._teacher) and self.global_step < TAUGHT * self.trainer_settings.max_steps

    def lesson(self, content: Float[Tensor, "batch 3 height width"], seeds: Sequence[int]) -> Float[Tensor, ""]:
        """Returns the distillation loss of the pictures, and logs it.

        Source: Hinton et al. 2015, arXiv:1503.02531, for learning from a larger net.
        """
        with torch.no_grad():
            taught = self.stylized(self._teacher[0].to(content.device), content, None, seeds)
        loss = distillation_loss(self.stylized(self.net, content, None, seeds), taught)
        self.log_dict({"train/loss": loss, "train/distillation_loss": loss}, sync_dist=True)
        return loss

    def ramp(self) -> float:
        """Returns the share of the temporal weight that applies now: 0 at first, then rising to 1."""
        start, end = self.temporal.ramp
        progress = self.global_step / self.trainer_settings.max_steps
        return min(1.0, max(0.0, (progress - start) / (end - start))) if end > start else float(progress >= start)

    @property
    def settled(self) -> bool:
        """Whether the temporal weight is whole and the learning rate has begun to fall, if it ever does."""
        falls = 1 - self.trainer_settings.tail if self.trainer_settings.tail else 0.0
        return self.global_step >= self.trainer_settings.max_steps * max(self.temporal.ramp[1], falls)

    @property
    def finished(self) -> StylizationNet:
        """The net that validation judges and that the run results in: the average over steps, if there is one."""
        return self.net if self.average is None else self.average

    def is_finite(self) -> bool:
        """Returns whether all weights are finite numbers, also in the half precision that they are kept in."""
        return is_finite(self.net) and is_finite(self.finished)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Logs the losses on the photos set aside, next frames included; of many styles their mean."""
        content, following, found = batch["content"], self.following(batch), []
        for style in range(len(self.net.styles) or 1):
            styles = self.styles_of([style] * len(content))
            stylized = self.stylized(self.finished, content, following, batch["seed"], styles)
            found.append(self.losses(content, following, stylized, styles))
        means = {f"val/{name}": torch.stack([each[name] for each in found]).mean() for name in found[0]}
        self.log_dict(means, batch_size=len(content), sync_dist=True)

    def configure_optimizers(self) -> dict[str, Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Returns Adam with a constant learning rate and a cosine tail."""
        optimizer = torch.optim.Adam(self.net.parameters(), lr=self.trainer_settings.learning_rate)

        tail = self.trainer_settings.tail

        def factor(step: int) -> float:
            into_tail = (step / self.trainer_settings.max_steps - 1 + tail) / tail if tail else 0.0
            return 0.01 + 0.99 * (1 + math.cos(math.pi * min(1.0, max(0.0, into_tail)))) / 2

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def optimizer_step(self, *arguments: Any, **named: Any) -> None:
        """Takes a step, and moves the average towards its result: before a checkpoint is written, which holds both.

        At first the average follows fast, so that it does not remember the random weights.
        """
        super().optimizer_step(*arguments, **named)
        if self.average is not None:
            past = min(self.trainer_settings.ema, (1 + self.global_step) / (10 + self.global_step))
            with torch.no_grad():
                for average, weights in zip(self.average.parameters(), self.net.parameters(), strict=True):
                    average.lerp_(weights, 1 - past)

    def configure_gradient_clipping(self, optimizer: torch.optim.Optimizer, *_: Any, **__: Any) -> None:
        """Clips the gradient. If it is not finite the step is skipped: Adam leaves parameters without one alone.

        The gradient is the mean over all devices, so that all of them skip a step or none does.

        Raises:
            Diverged: that happened `PATIENCE` times in a row.
        """
        norm = torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.trainer_settings.clip_norm)
        self.log("train/gradient_norm", norm)
        self.log("train/learning_rate", optimizer.param_groups[0]["lr"])
        if torch.isfinite(norm):
            self.skipped_in_a_row = 0
            return
        optimizer.zero_grad(set_to_none=True)
        self.skipped += 1
        self.skipped_in_a_row += 1
        self.log("train/skipped_steps", float(self.skipped))
        if self.skipped_in_a_row == PATIENCE:
            raise Diverged(
                f"the gradient was not a finite number {PATIENCE} steps in a row, last at step {self.global_step}; "
                "lower trainer.learning_rate or the loss weights; the last checkpoint is intact"
            )
