"""How fast a training step is beside the plain loop that the field copies: PYTHONPATH=. python benchmarks/training.py.

The plain loop: eager PyTorch, NCHW, float32, instance norm of PyTorch, a pair's two frames one after the other, the
loss network up to relu4_3 on stylized and content. Ours: the step of `train.py` but for what Lightning adds. Both train
the same net, with the same pairs and losses, and take turns in one process. What is typed behind the name are settings
of `train.py`, such as `net=lite trainer=gpu`; without a GPU they are `trainer=cpu`. The table replaces the one between
the markers in RESULTS.md.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from speed import Arm, in_plain_layers, measured_ms, picture_in_motion, write_table

from fastnst import cli
from fastnst.flow import warp
from fastnst.losses import content_loss, structure_loss, temporal_loss, tone_loss, total_variation_loss
from fastnst.settings import STRUCTURE_LAYER, TrainSettings
from fastnst.training.__main__ import with_trainer
from fastnst.training.module import StyleTransfer
from fastnst.training.run import built_module, style_of

ROUNDS = 9
PLAIN = "plain loop, float32"
DTYPES = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def a_batch(settings: TrainSettings, device: torch.device) -> dict[str, Any]:
    """Returns a batch of made-up photos, as the data loader has it."""
    size, count = settings.trainer.image_size, settings.trainer.batch_size
    content = torch.cat([picture_in_motion(size, size, 1) for _ in range(count)]).float() / 255
    return {"content": content.to(device), "seed": list(range(count)), "unreadable": [], "filmed": [None] * count}


def stepping(module: StyleTransfer, loss_of: Callable[[], torch.Tensor]) -> Arm:
    """Returns a training step: loss, gradient, clipping, Adam."""
    optimizer = module.configure_optimizers()["optimizer"]

    def step() -> None:
        loss = loss_of()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.net.parameters(), module.trainer_settings.clip_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()  # waits for the GPU

    return step


def our_arm(module: StyleTransfer, batch: dict[str, Any]) -> Arm:
    """Returns the training step of `train.py`."""
    dtype = DTYPES.get(module.trainer_settings.precision)

    def loss_of() -> torch.Tensor:
        with torch.autocast(module.device.type, dtype, enabled=dtype is not None):
            return module.training_step(batch, 0)

    return stepping(module.train(), loss_of)


def plain_style_loss(features: dict[str, torch.Tensor], target: dict[str, torch.Tensor]) -> torch.Tensor:
    """Returns `fastnst.losses.style_loss`, without what makes our Gram matrices fast."""
    errors = []
    for layer, gram in target.items():
        flat = features[layer].flatten(2)
        own = torch.bmm(flat, flat.transpose(1, 2)) / flat.shape[-1]
        errors.append((own - gram).square().sum((1, 2)) / gram.square().sum((1, 2)))
    return torch.stack(errors).mean()


def plain_arm(module: StyleTransfer, batch: dict[str, Any]) -> Arm:
    """Returns the plain training step."""
    module.to(memory_format=torch.contiguous_format).eval()  # pyright: ignore[reportCallIssue]
    own, content, net = module.perceptual, batch["content"], in_plain_layers(module.net)
    weights, layer, layers = own.weights, own.loss.content_layer, own.loss.layers

    def loss_of() -> torch.Tensor:
        following = module.following(batch)
        stylized = net(content)
        features, target = own.vgg(stylized, layers), own.vgg(content, layers)
        least = own.get_buffer("least_content")
        loss = weights["content_loss"] * content_loss(features[layer], target[layer], least)
        structure = structure_loss(features[STRUCTURE_LAYER], target[STRUCTURE_LAYER])
        loss = loss + weights["structure_loss"] * structure
        loss = loss + weights["style_loss"] * plain_style_loss(features, own.style_grams)
        loss = loss + weights["tone_loss"] * tone_loss(stylized, content, own.get_buffer("style_tones"))
        loss = loss + weights["palette_loss"] * own.palette_loss(stylized, None)
        loss = loss + weights["tv_loss"] * total_variation_loss(stylized)
        if following is not None:
            before = stylized if following.flow is None else warp(stylized, following.flow)
            change = temporal_loss(before, net(following.content_next), following.mask)
            loss = loss + module.temporal.weight * change
        return loss

    return stepping(module, loss_of)


def arms_of(settings: TrainSettings, device: torch.device) -> dict[str, tuple[Arm, int]]:
    """Returns the plain step and ours, in full precision and in that which train.py takes here."""
    _, pictures = style_of(settings.style)
    module, batch = built_module(settings, pictures).to(device), a_batch(settings, device)
    arms = {PLAIN: (plain_arm(deepcopy(module), batch), 1)}
    for precision in dict.fromkeys(("32-true", settings.trainer.precision)):
        own = deepcopy(module)
        own.trainer_settings = replace(settings.trainer, precision=precision)
        arms[f"ours, {precision}"] = (our_arm(own, batch), 1)
    return arms


def main() -> None:
    """Measures, and writes the table."""
    warnings.filterwarnings("ignore", ".*self.log.*")  # there is no trainer
    settings = cli.load(TrainSettings, with_trainer(sys.argv[1:]))
    usable = torch.cuda.is_available() and settings.trainer.accelerator != "cpu"
    device = torch.device("cuda" if usable else "cpu")
    times = measured_ms(arms_of(settings, device), ROUNDS)
    plain, setup = times[PLAIN], settings.trainer
    where = torch.cuda.get_device_name() if usable else f"{torch.get_num_threads()} threads of a CPU"
    about = (
        f"net={settings.net.preset}, {setup.batch_size} x {setup.image_size} px, temporal={settings.temporal.pair}, "
        f"{where}, torch {torch.__version__}; medians of {ROUNDS}."
    )
    rows = [
        f"| {name} | {each.processor:.0f} | {each.low:.0f}-{each.high:.0f} | {each.wall:.0f} | "
        f"{1000 / each.wall:.2f} | {plain.processor / each.processor:.2f} | {plain.wall / each.wall:.2f} |"
        for name, each in times.items()
    ]
    head = ["| step | processor, ms | spread | wall, ms | steps a second | times the plain loop | by the clock |"]
    key = f"training {settings.net.preset} {setup.batch_size}x{setup.image_size} {device.type}"
    write_table(key, [about, "", *head, "|---|---|---|---|---|---|---|", *rows])


if __name__ == "__main__":
    main()
