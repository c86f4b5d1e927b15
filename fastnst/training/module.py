"""The training step: weighs the losses, logs them, steps. The only file that knows Lightning's module."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from fastnst.canvas import drawn_canvas
from fastnst.errors import ConfigError, Diverged
from fastnst.flow import warp
from fastnst.images import luma
from fastnst.losses import content_loss, gram_matrix, style_loss, temporal_loss, total_variation_loss
from fastnst.net import STRIDE, Statistics, StylizationNet
from fastnst.training.pairs import NextFrame, Pair, next_frames
from fastnst.vgg import VGGFeatures

PATIENCE = 3  # skipped steps in a row that end the run
BALANCE_EVERY = 20  # steps between looks at the gradients
BALANCE_PACE = 0.2  # share of the way to the wanted weight, in logarithms, each time
BALANCE_LEAP = 32  # a weight that many times as large or small is aimed at at most: one odd pair of frames moves little


class StyleTransfer(pl.LightningModule):
    """Trains a `StylizationNet` on content photos for one style picture.

    Source: Johnson et al. 2016, arXiv:1603.08155; the temporal loss from Rainy and de Berker 2018 and Ruder et al.
    2018, arXiv:1708.04538.

    Args:
        net: the net to train.
        vgg: the loss network; it has all the layers named here.
        style: the style picture, in [0, 1].
        content_layer: the VGG layer of the content loss.
        style_layers: the VGG layers of the style loss.
        content_weight: weight of the content loss.
        style_weight: weight of the style loss.
        tv_weight: weight of the total variation loss.
        pair: makes the next frame of each photo, or None to train without the temporal loss.
        temporal_weight: weight of the temporal loss once it is ramped up.
        temporal_balance: wanted ratio of the temporal to the perceptual gradient's norm on the painted frames. The
            weight then starts from `temporal_weight` and follows slowly, so that one setting serves every style.
        shared_statistics: normalise each next frame with the statistics of its picture, as inference with `norm=shot`
            does, so that training knows of that lever.
        feature_weight: weight, within the temporal loss, of the squared change of the encoder's features as a share of
            their own square (ReCoNet's feature-map-level loss; there a squared distance, not a share).
        luminance: let the painting follow changes of the input's light (ReCoNet's luminance warping, arXiv:1807.01197).
        temporal_ramp: (start, end) of the ramp, as fractions of the run, so that the style comes first.
        max_steps: length of the run.
        learning_rate: of Adam, until the cosine tail begins.
        tail: fraction of the run, at its end, in which the learning rate falls to a hundredth.
        clip_norm: the gradient's norm is clipped to this.

    Raises:
        ConfigError: a VGG layer is unknown or a weight is negative.
    """

    def __init__(
        self,
        net: StylizationNet,
        vgg: VGGFeatures,
        style: Float[Tensor, "3 height width"],
        *,
        content_layer: str,
        style_layers: Sequence[str],
        content_weight: float,
        style_weight: float,
        tv_weight: float,
        pair: Pair | None,
        temporal_weight: float,
        temporal_balance: float | None = None,
        shared_statistics: bool = False,
        feature_weight: float = 0.0,
        luminance: bool = False,
        temporal_ramp: tuple[float, float],
        max_steps: int,
        learning_rate: float,
        tail: float,
        clip_norm: float,
    ) -> None:
        super().__init__()
        self.temporal_weight: Tensor
        self.weights = {
            "content_loss": content_weight,
            "style_loss": style_weight,
            "tv_loss": tv_weight,
        }
        if negative := [name for name, weight in self.weights.items() if weight < 0]:
            raise ConfigError(f"the weight of the {negative[0]} is {self.weights[negative[0]]}, it must be 0 or above")
        if min(temporal_weight, temporal_balance or 0, feature_weight) < 0:
            raise ConfigError(
                f"temporal.weight={temporal_weight}, temporal.balance={temporal_balance}, "
                f"temporal.feature_weight={feature_weight}: 0 or above"
            )
        self.balance, self.luminance, self.shared_statistics = temporal_balance, luminance, shared_statistics
        self.net, self.vgg, self.pair = net, vgg, pair
        self.feature_weight, self.encoded = feature_weight, torch.empty(0)
        if feature_weight:
            net.encoder[-1].register_forward_hook(self.keep_encoded)
        self.content_layer, self.style_layers = content_layer, tuple(style_layers)
        self.temporal_ramp = temporal_ramp
        self.max_steps, self.learning_rate, self.tail, self.clip_norm = max_steps, learning_rate, tail, clip_norm
        self.skipped = self.skipped_in_a_row = 0
        self.unreadable: set[str] = set()
        self.register_buffer("temporal_weight", torch.tensor(float(temporal_weight)))
        with torch.no_grad():
            for layer, features in vgg(style[None], self.style_layers).items():
                self.register_buffer(f"style_{layer}", gram_matrix(features), persistent=False)

    @property
    def style_grams(self) -> dict[str, Float[Tensor, "1 channels channels"]]:
        """The style picture's Gram matrices by layer, computed once."""
        return {layer: self.get_buffer(f"style_{layer}") for layer in self.style_layers}

    def forward(self, content: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3 height width"]:
        """Returns the stylized pictures."""
        return self.net(content)

    def losses(
        self,
        content: Float[Tensor, "batch 3 height width"],
        following: NextFrame | None,
        painted: Float[Tensor, "frames 3 height width"],
    ) -> dict[str, Float[Tensor, ""]]:
        """Returns `{"content_loss", "style_loss", "tv_loss", "temporal_loss"}`, unweighted, in float32.

        Args:
            content: the pictures.
            following: their next frames, or None: then there is no temporal loss.
            painted: what the net makes of the pictures, and behind them of their next frames.
        """
        stylized, *after = painted.split(len(content))
        features = self.vgg(stylized, {self.content_layer, *self.style_layers})
        with torch.no_grad():
            target = self.vgg(content, {self.content_layer})
        losses = {
            "content_loss": content_loss(features[self.content_layer], target[self.content_layer]),
            "style_loss": style_loss(features, self.style_grams),
            "tv_loss": total_variation_loss(stylized),
        }
        if following is not None:
            before, light = stylized.float(), content
            if following.flow is not None:
                before, light = warp(before, following.flow), warp(content, following.flow)
            if self.luminance:
                before = before + luma(following.content_next) - luma(light)
            losses["temporal_loss"] = temporal_loss(before, after[0], following.mask)
            if self.feature_weight:
                losses["temporal_loss"] = losses["temporal_loss"] + self.feature_weight * self.feature_loss(following)
        return losses

    def keep_encoded(self, encoder: nn.Module, received: tuple[Any, ...], features: Any) -> None:
        """Keeps what the encoder makes of the pictures and their next frames."""
        self.encoded = features

    def feature_loss(self, following: NextFrame) -> Float[Tensor, ""]:
        """Returns the temporal loss of the encoder's features, as a share of their mean square.

        Source: Gao et al. 2018 (ReCoNet), arXiv:1807.01197, equation 4.
        """
        before, after = self.encoded.float().chunk(2)
        if following.flow is not None:
            before = warp(before, F.avg_pool2d(following.flow, STRIDE, ceil_mode=True) / STRIDE)
        comparable = 1 - F.max_pool2d(1 - following.mask, STRIDE, ceil_mode=True)
        return temporal_loss(before, after, comparable) / before.detach().square().mean().clamp(min=1e-6)

    def paint(
        self, content: Float[Tensor, "batch 3 height width"], following: NextFrame | None, seeds: Sequence[int]
    ) -> Float[Tensor, "frames 3 height width"]:
        """Returns the pictures stylized, and behind them their next frames, all in one batch of the stateless net.

        Each picture has a canvas of its own, drawn from its seed; it moves with the picture to the next frame.
        """
        height, width = content.shape[-2:]
        flows = [None] * len(content) if following is None or following.flow is None else following.flow
        canvases, canvases_next = zip(
            *(drawn_canvas(seed, height, width, flow) for seed, flow in zip(seeds, flows, strict=True)), strict=True
        )
        if following is None:
            return self.net(content, canvas=torch.stack(canvases))
        both = torch.cat([content, following.content_next])
        return self.net(both, shared if self.shared_statistics else None, torch.stack(canvases + canvases_next))

    def following(self, batch: dict[str, Any]) -> NextFrame | None:
        """Returns the frames that follow the batch's, or None without temporal loss."""
        return next_frames(self.pair, batch["content"], batch["seed"], batch.get("filmed")) if self.pair else None

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Float[Tensor, ""]:
        """Returns the weighted loss; logs each loss and its share of the total."""
        content, following = batch["content"], self.following(batch)
        painted = self.paint(content, following, batch["seed"])
        losses = self.losses(content, following, painted)
        weighted = {name: losses[name] * weight for name, weight in self.weights.items()}
        if following is not None:
            if self.balance:
                self.follow_balance(torch.stack(list(weighted.values())).sum(), losses["temporal_loss"], painted)
            weighted["temporal_loss"] = losses["temporal_loss"] * self.temporal_weight * self.ramp()
        total = torch.stack(list(weighted.values())).sum()
        logged = {"train/loss": total, **{f"train/{name}": loss for name, loss in losses.items()}}
        shares = {f"train/{name.replace('loss', 'share')}": part / total for name, part in weighted.items()}
        self.log_dict(logged | shares, sync_dist=True)  # the mean over all devices
        self.unreadable.update(batch["unreadable"])
        self.log("train/unreadable_photos", float(len(self.unreadable)), reduce_fx="sum", sync_dist=True)
        return total

    def follow_balance(
        self,
        perceptual: Float[Tensor, ""],
        temporal: Float[Tensor, ""],
        painted: Float[Tensor, "frames 3 height width"],
    ) -> None:
        """Moves the temporal weight a little towards the wanted ratio of gradients, every `BALANCE_EVERY` steps."""
        if self.global_step % BALANCE_EVERY:
            return
        squares = [
            torch.autograd.grad(loss, painted, retain_graph=True)[0].float().square().sum()
            for loss in (perceptual, temporal)
        ]
        over, under = self.trainer.strategy.reduce(torch.stack(squares), reduce_op="mean")  # of all devices
        wanted, now = (self.balance or 0.0) * (over / under).sqrt(), self.temporal_weight
        if under > 0 and torch.isfinite(wanted):  # a pair without a comparable pixel says nothing
            if self.global_step:
                wanted = (
                    now ** (1 - BALANCE_PACE) * wanted.clamp(now / BALANCE_LEAP, now * BALANCE_LEAP) ** BALANCE_PACE
                )
            self.temporal_weight.copy_(wanted)
        self.log("train/temporal_weight", self.temporal_weight)

    def ramp(self) -> float:
        """Returns the share of the temporal weight that applies now: 0 at first, then rising to 1."""
        start, end = self.temporal_ramp
        progress = self.global_step / self.max_steps
        return min(1.0, max(0.0, (progress - start) / (end - start))) if end > start else float(progress >= start)

    @property
    def settled(self) -> bool:
        """Whether the temporal weight is whole and the learning rate has begun to fall, if it ever does."""
        falls = 1 - self.tail if self.tail else 0.0
        return self.global_step >= self.max_steps * max(self.temporal_ramp[1], falls)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Logs the losses on the photos set aside, next frames included."""
        content = batch["content"]
        following = self.following(batch)
        losses = self.losses(content, following, self.paint(content, following, batch["seed"]))
        self.log_dict({f"val/{name}": loss for name, loss in losses.items()}, batch_size=len(content), sync_dist=True)

    def configure_optimizers(self) -> dict[str, Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Returns Adam with a constant learning rate and a cosine tail."""
        optimizer = torch.optim.Adam(self.net.parameters(), lr=self.learning_rate)

        def factor(step: int) -> float:
            into_tail = (step / self.max_steps - 1 + self.tail) / self.tail if self.tail else 0.0
            return 0.01 + 0.99 * (1 + math.cos(math.pi * min(1.0, max(0.0, into_tail)))) / 2

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(self, optimizer: torch.optim.Optimizer, *_: Any, **__: Any) -> None:
        """Clips the gradient. If it is not finite the step is skipped: Adam leaves parameters without one alone.

        The gradient is the mean over all devices, so that all of them skip a step or none does.

        Raises:
            Diverged: that happened `PATIENCE` times in a row.
        """
        norm = torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.clip_norm)
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


def shared(own: Statistics) -> Statistics:
    """Returns the first half's statistics twice: those of the pictures, for them and for their next frames."""
    pictures = len(own.mean) // 2
    return Statistics(own.mean[:pictures].repeat(2, 1), own.variance[:pictures].repeat(2, 1))
