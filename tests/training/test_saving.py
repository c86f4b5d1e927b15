import multiprocessing
import os
import random
import signal
import subprocess
import time

import pytest
import torch
from runs import StopAt, make_content, make_module, make_trainer, reshaped

from fastnst.checkpoint import load_checkpoint, save_checkpoint
from fastnst.errors import InputError, OutputError
from fastnst.net import StylizationNet
from fastnst.training.folder import prepare
from fastnst.training.saving import (
    AtomicCheckpointIO,
    Saving,
    check_resumable,
    check_same_run,
    load_training_checkpoint,
)


@pytest.fixture(scope="module")
def stopped(tiny_vgg, photo_folder, tmp_path_factory):
    """The checkpoint of a run that stopped at step 2."""
    folder = tmp_path_factory.mktemp("stopped")
    trainer = make_trainer(folder, 8, Saving(folder / "last.ckpt", 2, {}), StopAt(2))
    trainer.fit(make_module(tiny_vgg), make_content(photo_folder))
    return folder / "last.ckpt"


@pytest.mark.parametrize("saved", ["during", "after"])
def test_6_and_2_steps_equal_8_bit_for_bit(saved, tiny_vgg, photo_folder, tmp_path):
    whole = make_module(tiny_vgg)
    make_trainer(tmp_path, 8).fit(whole, make_content(photo_folder))

    first, last = make_trainer(tmp_path, 8, Saving(tmp_path / "last.ckpt", 6, {}), StopAt(6)), tmp_path / "last.ckpt"
    first.fit(make_module(tiny_vgg), make_content(photo_folder))
    if saved == "after":
        first.save_checkpoint(last)
    resumed, second = make_module(tiny_vgg), make_trainer(tmp_path, 8)
    resumed.load_state_dict({key: value * 0 for key, value in resumed.state_dict().items()})
    second.fit(resumed, make_content(photo_folder), ckpt_path=last, weights_only=True)

    assert second.global_step == 8
    different = [key for key, value in whole.state_dict().items() if not torch.equal(value, resumed.state_dict()[key])]
    assert different == []
    assert second.lr_scheduler_configs[0].scheduler.get_last_lr() == pytest.approx([1e-5])


def test_failed_save_does_not_stop_training(tiny_vgg, photo_folder, tmp_path, capsys):
    trainer = make_trainer(tmp_path, 3, Saving(tmp_path / "no" / "last.ckpt", 1, {}))
    trainer.fit(make_module(tiny_vgg, max_steps=3), make_content(photo_folder))
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


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 600 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("only root mounts a disk; test_failed_save_leaves_the_old_checkpoint asks the same")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_full_disk_leaves_the_old_checkpoint_and_is_called_full(small_disk):
    io = AtomicCheckpointIO()
    io.save_checkpoint({"recipe": {}, "x": torch.ones(50_000)}, small_disk / "last.ckpt")
    with pytest.raises(OutputError, match="no space left on device"):
        io.save_checkpoint({"recipe": {}, "x": torch.zeros(200_000)}, small_disk / "last.ckpt")
    assert torch.equal(io.load_checkpoint(small_disk / "last.ckpt")["x"], torch.ones(50_000))
    assert [path.name for path in small_disk.iterdir()] == ["last.ckpt"]


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_malicious_training_checkpoint_is_refused_and_never_run(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch.save({"recipe": Payload(tmp_path / "pwned")}, tmp_path / "last.ckpt")
    with pytest.raises(InputError, match="not a training checkpoint"):
        load_training_checkpoint(tmp_path / "last.ckpt")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("recipe", [None, 3, {"seed": torch.ones(2)}])
def test_training_checkpoint_without_a_plain_recipe_is_refused(recipe, tmp_path):
    torch.save({"recipe": recipe}, tmp_path / "last.ckpt")
    with pytest.raises(InputError, match="not a training checkpoint"):
        load_training_checkpoint(tmp_path / "last.ckpt")


def renamed(content):
    content["state_dict"]["module.x"] = content["state_dict"].pop("net.encoder.0.0.bias")


def other_moments(content):
    content["optimizer_states"][0]["state"][1]["exp_avg"] = torch.zeros(3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("state_dict"), "cannot be resumed: it has no state_dict$"),
        (lambda content: content.clear(), "has no state_dict, optimizer_states, lr_schedulers$"),
        (reshaped, r"another net: net\.encoder\.0\.0\.weight 7x2, not 4x4x9x9; [^;]*bias 7x2, not 4; [^;]*$"),
        (renamed, r"another net: net\.encoder\.0\.0\.bias missing, not 4; module\.x 4, not missing$"),
        (other_moments, "another net: exp_avg 1 3, not 4$"),
        (lambda content: content["optimizer_states"][0]["state"][1].pop("exp_avg_sq"), "state is damaged$"),
        (lambda content: content.update(state_dict=[1]), "state is damaged$"),
    ],
)
def test_checkpoint_that_a_run_cannot_resume_from_is_refused_with_three_differences(change, message, stopped, tiny_vgg):
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
    with pytest.raises(InputError, match="damaged: of step 2, it resumes from 0"):
        trainer.fit(make_module(tiny_vgg), make_content(photo_folder), ckpt_path=tmp_path / "last.ckpt")


def test_resume_with_other_settings_names_three_of_them():
    before, now = {"seed": 0, "a": 1, "b": 2, "c": [1]}, {"seed": 3, "a": 1, "b": 5, "c": [2], "d": 4}
    with pytest.raises(InputError, match=r"seed=0, not 3; b=2, not 5; c=\[1\], not \[2\]; give the same settings"):
        check_same_run(before, now, "last.ckpt")
    check_same_run(now, now, "last.ckpt")


def save_for_ever(folder, step):
    io, net = AtomicCheckpointIO(), StylizationNet((4, 6, 8), residual_blocks=1)
    while True:
        step += 1
        big = torch.full((100_000,), float(step))
        io.save_checkpoint({"recipe": {}, "step": step, "x": big}, folder / "last.ckpt")
        save_checkpoint(folder / "net.ckpt", net, "s", {"step": step})


def test_10_kills_of_a_process_that_saves_always_leave_whole_checkpoints(tmp_path):
    io, names = AtomicCheckpointIO(), ["last.ckpt", "net.ckpt"]
    io.save_checkpoint({"recipe": {}, "step": 0, "x": torch.zeros(100_000)}, tmp_path / names[0])
    save_checkpoint(tmp_path / names[1], StylizationNet((4, 6, 8), residual_blocks=1), "s", {"step": 0})
    processes = multiprocessing.get_context("forkserver")  # from one without threads: a fork beside threads may crash
    processes.set_forkserver_preload(["pytest", "fastnst.training.saving", "fastnst.training.data"])
    moments, step, made, halves = random.Random(0), 0, 0, 0
    for _ in range(10):
        prepare(tmp_path, over=False)
        assert sorted(path.name for path in tmp_path.iterdir()) == names
        child = processes.Process(target=save_for_ever, args=(tmp_path, step))
        child.start()
        before, deadline = (tmp_path / names[0]).stat().st_mtime_ns, time.monotonic() + 30
        while (tmp_path / names[0]).stat().st_mtime_ns == before and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.1))
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        last, net = load_training_checkpoint(tmp_path / names[0]), load_checkpoint(tmp_path / names[1])
        assert last["step"] >= step
        assert net.recipe["step"] >= made
        assert (last["x"] == last["step"]).all()
        rubbish = [path.name for path in tmp_path.iterdir() if path.name not in names]
        assert len(rubbish) <= 1
        halves += len(rubbish)
        step, made = last["step"], net.recipe["step"]
    assert step >= 10  # the process did save between the kills
    assert halves > 0  # and some kills did come in the middle of a save
