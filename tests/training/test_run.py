import contextlib
import json
import os
import re
import resource
import signal
import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from runs import at_step, command, reshaped, same, start, weights

from fastnst.checkpoint import load_checkpoint, save_checkpoint
from fastnst.errors import ConfigError, EnvironmentFault, InputError
from fastnst.images import load_image
from fastnst.mixing import ancestor_of
from fastnst.net import StylizationNet
from fastnst.settings import NetSettings, StyleSettings, TrainSettings
from fastnst.training.__main__ import main
from fastnst.training.module import StyleTransfer
from fastnst.training.run import fit, net_of, planned, style_of
from fastnst.training.saving import load_training_checkpoint
from fastnst.video.reader import VideoReader


def test_own_picture_names_the_style_and_is_scaled(photo_folder):
    name, pictures = style_of(StyleSettings(image=f"{photo_folder}/03.png", size=64))
    assert name == "03"
    assert pictures["03"].shape == (64, 85, 3)


def test_own_picture_is_turned_as_its_exif_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (128, 64)).save(tmp_path / "..a (1).jpg", exif=exif)
    name, pictures = style_of(StyleSettings(image=f"{tmp_path}/..a (1).jpg", size=64))
    assert name == "a_1_"
    assert pictures["a_1_"].shape == (128, 64, 3)


def test_several_pictures_are_styles_of_one_net_by_their_names(photo_folder):
    name, pictures = style_of(StyleSettings(name="base", images=("wave", f"{photo_folder}/03.png"), size=64))
    assert (name, list(pictures)) == ("base", ["wave", "03"])
    with pytest.raises(ConfigError, match="two pictures called 'wave'"):
        style_of(StyleSettings(images=("wave", "wave")))


def test_net_of_many_styles_begins_from_one_and_gives_one_a_start(tmp_path):
    one = StylizationNet.preset("lite", antialias=True)
    save_checkpoint(tmp_path / "a.ckpt", one, "a", {})
    many = net_of(NetSettings(preset="lite", init=str(tmp_path / "a.ckpt")), ["a", "b"], many=True)
    assert many.styles == ("a", "b")
    save_checkpoint(tmp_path / "base.ckpt", many, "base", {})
    choice = NetSettings(preset="lite", init=str(tmp_path / "base.ckpt"))
    for style in ("a", "new"):  # the rows are alike so far, so their mean is too
        assert net_of(choice, [style]).state_dict().keys() == one.state_dict().keys()
        picture = torch.rand(1, 3, 32, 32)
        torch.testing.assert_close(net_of(choice, [style]).eval()(picture), one.eval()(picture), atol=2e-3, rtol=0)


def test_style_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="dots"):
        style_of(StyleSettings(name="dots"))


def test_net_to_begin_from_is_of_the_preset_that_was_asked_for(tmp_path):
    save_checkpoint(tmp_path / "a.ckpt", StylizationNet.preset("lite"), "a", {})
    lite = net_of(NetSettings(preset="lite", init=str(tmp_path / "a.ckpt")), ["a"])
    assert lite.settings == StylizationNet.preset("lite", antialias=True).settings
    with pytest.raises(ConfigError, match=r"a\.ckpt is a net of net\.preset=lite, not half; give net=lite"):
        net_of(NetSettings(init=str(tmp_path / "a.ckpt")), ["a"])


def test_recipe_names_other_nets_without_their_folders(tmp_path, photo_folder):
    save_checkpoint(tmp_path / "first.ckpt", StylizationNet((4, 6, 8), 1), "a", {})
    first = str(tmp_path / "first.ckpt")
    settings = TrainSettings.of({"teacher": first, "net": {"init": first}, "data": {"root": str(photo_folder)}})
    recipe = planned(settings).recipe()
    assert (recipe["teacher"], recipe["net_init"]) == ("first.ckpt", "first.ckpt")
    assert str(tmp_path) not in json.dumps(recipe)


def test_net_that_begins_from_another_names_its_ancestor(tmp_path, photo_folder):
    save_checkpoint(tmp_path / "first.ckpt", StylizationNet((4, 6, 8), 1), "a", {})
    save_checkpoint(tmp_path / "second.ckpt", StylizationNet((4, 6, 8), 1), "a", {"ancestor": "x"})

    def ancestor(init):
        init = init and str(tmp_path / init)
        return (
            planned(TrainSettings.of({"net": {"init": init}, "data": {"root": str(photo_folder)}}))
            .recipe()
            .get("ancestor")
        )

    assert ancestor("second.ckpt") == "x"
    assert ancestor("first.ckpt") == ancestor_of(load_checkpoint(tmp_path / "first.ckpt"))
    assert ancestor(None) is None


@pytest.mark.parametrize(
    ("wrong", "status", "message"),
    [
        ("data.root=/nonexistent", 2, "no folder '/nonexistent'"),
        ("data.validation=100", 2, "data.validation=100 is over half of the 12 photos; give at most data.validation=6"),
        ("net.init=missing", 3, "checkpoint 'missing' does not exist"),
        ("vgg=/nonexistent", 3, "VGG-16 weights '/nonexistent' do not exist"),
        ("style.image=/nonexistent.png", 3, "/nonexistent.png"),
        ("resume=/nonexistent.ckpt", 3, "cannot read training checkpoint '/nonexistent.ckpt'"),
    ],
)
def test_files_that_are_not_there_are_one_line_and_leave_no_folder(wrong, status, message, tiny, tmp_path, capsys):
    assert command(*tiny, f"run={tmp_path}/run", wrong) == status
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_command_trains_a_style_that_loads_logs_it_and_stops_and_resumes(tiny, tmp_path, monkeypatch, capsys):
    """The whole life of a run, with W&B offline: start, Ctrl-C, refusal to overwrite, resume, finished net."""
    arguments = [
        *tiny, f"run={tmp_path}/my run", "wandb=true", "temporal=mixed", "trainer.batch_size=1",
        "trainer.max_steps=40", "trainer.validate_every=20", "trainer.save_every=2",
    ]  # fmt: skip
    process = start(*arguments, cwd=tmp_path, environment={"WANDB_MODE": "offline"})
    folder = tmp_path / "my run"
    deadline = time.monotonic() + 200
    while not (folder / "last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "resume=auto" in errors
    assert "Traceback" not in errors
    stopped = load_training_checkpoint(folder / "last.ckpt")["global_step"]
    assert 2 <= stopped < 40
    assert not (folder / ".lock").exists()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert command(*arguments) == 4
    errors = capsys.readouterr().err
    assert errors.strip().splitlines()[-1].startswith("error: ")
    assert "resume=auto" in errors

    assert command(*arguments, "resume=auto") == 0
    assert "picasso.ckpt" in capsys.readouterr().out
    checkpoint = load_checkpoint(folder / "picasso.ckpt")
    assert checkpoint.style == "picasso"
    assert checkpoint.recipe["steps"] == 40
    assert checkpoint.recipe["trainer.max_steps"] == 40
    assert set(checkpoint.recipe["final"]) >= {"val/style_loss", "val/content_loss", "val/tv_loss"}
    assert checkpoint.net(torch.rand(1, 3, 20, 20)).isfinite().all()
    check_folder_of_a_run(folder, checkpoint)
    check_wandb_names_no_folder(folder, tmp_path, arguments)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my run"]


def check_folder_of_a_run(folder, checkpoint):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    logged = {name for line in lines for name in line}
    assert {"train/loss", "train/style_loss", "train/style_share", "train/temporal_loss", "val/style_loss"} <= logged
    validated = [line for line in lines if "val/static_flicker" in line]
    assert [line["step"] for line in validated if line["step"] >= 20][-2:] == [20, 40]
    assert checkpoint.recipe["final"]["val/noise_gain"] == pytest.approx(validated[-1]["val/noise_gain"], abs=1e-5)
    assert validated[0]["val/static_flicker_input"] == pytest.approx(2.26, abs=0.3)  # of 2 levels of noise
    assert validated[0]["val/noise_gain"] > 0
    assert validated[0]["val/flat_flicker_input"] == pytest.approx(0.8, abs=0.2)
    assert checkpoint.recipe["final"]["val/flat_flicker"] == pytest.approx(validated[-1]["val/flat_flicker"], abs=1e-5)
    assert 0 < validated[-1]["val/flat_style_loss"] < 2
    assert checkpoint.recipe["data.flat"] == 0.2
    assert 0 < validated[0]["val/contrast"] < 127.5
    assert validated[0]["val/warping_error"] > 0
    assert {int(path.stem) for path in (folder / "front").iterdir()} == {40} == {checkpoint.recipe["best_step"]}
    assert (folder / "so_far.ckpt").read_bytes() == (folder / "front" / "000040.ckpt").read_bytes()
    assert load_image(folder / "stylized_000040.png").size == (64, 128)
    with VideoReader(folder / "clip_000040.mp4") as clip:
        assert torch.cat([frame.pixels for frame in clip]).shape == (24, 3, 64, 64)


def check_wandb_names_no_folder(folder, tmp_path, arguments):
    """W&B's debug.log names the folder it lies in; it is not uploaded. What is uploaded names no folder at all."""
    assert list(folder.glob("wandb/offline-run-*/*.wandb"))
    (photos,) = [text.partition("=")[2] for text in arguments if text.startswith("data.root=")]
    local = [path for path in folder.glob("wandb/**/*") if path.is_file()]
    uploaded = [path for path in local if path.suffix == ".wandb" or "files" in path.parts]
    leaked = [path for path in uploaded if str(tmp_path).encode() in path.read_bytes()]
    leaked += [path for path in local if photos.encode() in path.read_bytes()]
    assert uploaded
    assert leaked == []


def test_kill_9_then_resume_equals_an_uninterrupted_run_bit_for_bit(tiny, whole, tmp_path):
    process, last = start(*tiny, f"run={tmp_path}/run", cwd=tmp_path), tmp_path / "run" / "last.ckpt"
    deadline = time.monotonic() + 200
    while not last.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert 1 <= load_training_checkpoint(last)["global_step"] < 8
    assert command(*tiny, f"run={tmp_path}/run", "resume=auto") == 0
    assert load_training_checkpoint(last)["global_step"] == 8
    assert same(weights(tmp_path / "run"), weights(whole))
    assert not list((tmp_path / "run").glob(".*"))


def test_training_gives_the_same_to_the_bit_with_and_without_wandb(tiny, whole, tmp_path):
    """With W&B offline, which is also where an address that is none leads."""
    broken = {"WANDB_BASE_URL": "nonsense", "WANDB_API_KEY": "0" * 40}
    process = start(*tiny, f"run={tmp_path}/run", "wandb=true", cwd=tmp_path, environment=broken)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert [line for line in errors.splitlines() if "W&B" in line or "logging" in line] == [
        f"W&B runs offline; to upload: wandb sync {tmp_path}/run/wandb/offline-run-*"
    ]
    assert list(tmp_path.glob("run/wandb/offline-run-*/files/media/*/val/*"))  # W&B did have something to do
    assert same(weights(tmp_path / "run"), weights(whole))
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()


def test_resume_of_a_run_with_other_settings_is_status_3_and_changes_nothing(tiny, whole, capsys):
    before = sorted(whole.iterdir()), (whole / "last.ckpt").read_bytes()
    other = ["style=wave", "net=johnson", "seed=3", "trainer.max_steps=9"]
    assert command(*tiny, *other, f"run={whole}", f"resume={whole}/last.ckpt") == 3
    error = capsys.readouterr().err
    assert error.startswith(f"error: '{whole}/last.ckpt' is of another run: style_sha256=")
    assert "; seed=0, not 3; net.preset=half, not johnson; give the same settings" in error
    assert error.count("\n") == 1
    assert (sorted(whole.iterdir()), (whole / "last.ckpt").read_bytes()) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (reshaped, r"is of another net: net\.encoder\.0\.0\.weight 7x2, not 16x4x9x9; "),
        (lambda content: content["optimizer_states"][0]["param_groups"].clear(), "is damaged: "),
    ],
)
def test_resume_that_does_not_fit_is_status_3_in_one_line(change, message, tiny, whole, tmp_path, capsys):
    content = load_training_checkpoint(whole / "last.ckpt")
    change(content)
    torch.save(content, tmp_path / "last.ckpt")
    assert command(*tiny, f"run={tmp_path}/run", f"resume={tmp_path}/last.ckpt") == 3
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(f"^error: '{tmp_path}/last.ckpt' {message}", error), error
    assert not (tmp_path / "run").exists()


def fail():
    raise RuntimeError("boom")


def test_mistake_of_ours_before_the_first_step_is_not_told_as_damage_of_the_checkpoint(
    tiny, whole, tmp_path, monkeypatch
):
    content = load_training_checkpoint(whole / "last.ckpt")
    content["recipe"]["trainer.max_steps"] = 9  # so that there is a step to take
    (tmp_path / "run").mkdir()
    torch.save(content, tmp_path / "run" / "last.ckpt")
    monkeypatch.setattr(StyleTransfer, "on_fit_start", lambda self: {}["ours"])
    with pytest.raises(KeyError, match="ours"):  # Python exits with 1 and shows where
        command(*tiny, f"run={tmp_path}/run", "resume=auto", "trainer.max_steps=9")


def test_exception_saves_and_a_resume_equals_an_uninterrupted_run(tiny, whole, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as broken:
        at_step(broken, 3, fail)
        with pytest.raises(RuntimeError, match="boom"):  # Python exits with 1 and shows where: this is our mistake
            command(*tiny, f"run={tmp_path}/run", "trainer.save_every=100")
    assert "saved step 3" in capsys.readouterr().err
    assert load_training_checkpoint(tmp_path / "run" / "last.ckpt")["global_step"] == 3
    assert command(*tiny, f"run={tmp_path}/run", "trainer.save_every=100", "resume=auto") == 0
    assert same(weights(tmp_path / "run"), weights(whole))


def test_process_that_reads_photos_and_dies_is_one_line_with_the_remedy():
    died = RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")
    trainer = SimpleNamespace(world_size=1, fit=lambda *_, **__: exec_raise(died))
    plan: Any = SimpleNamespace(resume=None, first=True, settings=TrainSettings())
    parts: Any = SimpleNamespace(trainer=trainer, module=None, content=None)
    with pytest.raises(EnvironmentFault, match=r"pid 7.*data\.workers=0"):
        fit(plan, parts)


def exec_raise(error):
    raise error


def test_divergence_is_status_7_and_the_last_checkpoint_stays_finite(tiny, tmp_path, monkeypatch, capsys):
    original = StyleTransfer.training_step

    def broken(self, batch, batch_idx):
        return original(self, batch, batch_idx) * (float("nan") if self.global_step > 1 else 1)

    monkeypatch.setattr(StyleTransfer, "training_step", broken)
    assert command(*tiny, f"run={tmp_path}/run") == 7
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("error: ")
    assert all(value.isfinite().all() for value in weights(tmp_path / "run").values())
    assert not (tmp_path / "run" / "picasso.ckpt").exists()


@pytest.fixture
def small_files():
    """Files of over a number of bytes cannot be written, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_saves_that_fail_do_not_stop_training_but_a_failed_last_one_is_status_4(tiny, tmp_path, small_files, capfd):
    small_files(100_000)
    assert command(*tiny, f"run={tmp_path}/run", "trainer.max_steps=2") == 4
    output, errors = capfd.readouterr()
    assert errors.count("last.ckpt") == 2  # the last failure is told of the net, which cannot be written either
    assert errors.count("training goes on") >= 2
    assert errors.strip().splitlines()[-1].startswith("error: cannot write")
    assert "Traceback" not in errors
    assert output == ""
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert not [name for name in names if name.startswith(".") or name.endswith(".ckpt")]


def test_finished_net_is_written_where_there_is_no_room_for_the_training_checkpoint(tiny, tmp_path, small_files, capfd):
    small_files(2_000_000)  # the net has 0.9 MB, last.ckpt 7
    assert command(*tiny, f"run={tmp_path}/run", "trainer.max_steps=2", "trainer.save_every=100") == 4
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert re.fullmatch(r"error: cannot write '.*last\.ckpt': file too large; the finished net is written: .*", last)
    assert load_checkpoint(tmp_path / "run" / "picasso.ckpt").recipe["steps"] == 2
    assert not (tmp_path / "run" / "last.ckpt").exists()


def test_two_processes_give_the_losses_of_one(tiny, tmp_path):
    """Of three steps, small ones: where a gradient is next to nothing, Adam makes a whole step of its float noise."""
    short = [*tiny, "temporal=motion", "trainer.max_steps=3", "trainer.validate_every=1", "trainer.learning_rate=1e-4"]
    process = start(*short, f"run={tmp_path}/two", "trainer.devices=2", cwd=tmp_path)
    assert command(*short, f"run={tmp_path}/one") == 0
    output, errors = process.communicate(timeout=280)
    assert process.returncode == 0, errors
    assert output.count("the net:") == 1
    one, two = (
        {
            (line["step"], name): value
            for line in map(json.loads, (tmp_path / folder / "metrics.jsonl").read_text().splitlines())
            for name, value in line.items()
            if "loss" in name and name != "val/palette_loss"  # validation compares the colours on each device
        }
        for folder in ("one", "two")
    )
    assert {"train/loss", "train/palette_loss", "val/temporal_loss"} <= {name for _, name in one}
    assert len(one) == 32
    assert two == pytest.approx(one, rel=2e-3)  # sums in another order, which Adam enlarges; seen: 6e-4


CRASH = """
import os
from fastnst.training.__main__ import main
from fastnst.training.module import StyleTransfer

original = StyleTransfer.training_step


def training_step(self, batch, batch_idx):
    if self.global_step == 2 and os.environ.get("LOCAL_RANK") == "1":
        raise RuntimeError("boom")
    return original(self, batch, batch_idx)


StyleTransfer.training_step = training_step
main()
"""


def test_crash_of_one_process_ends_the_job_with_its_error(tiny, tmp_path):
    (tmp_path / "crash.py").write_text(CRASH)
    process = start(
        *tiny, f"run={tmp_path}/run", "trainer.devices=2", script=tmp_path / "crash.py", cwd=tmp_path,
        start_new_session=True,
    )  # fmt: skip
    try:
        _, errors = process.communicate(timeout=280)  # a device waits for a lost one for run.DEVICE_TIMEOUT, 300 s
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode not in (0, None)
    assert "error: device 1 stopped: RuntimeError: boom" in errors.splitlines()
    assert "Traceback" not in errors
    assert load_training_checkpoint(tmp_path / "run" / "last.ckpt")["global_step"] == 2


def test_what_is_wrong_is_said_before_torch_is_imported(monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "torch", None)  # an import of it fails
    with pytest.raises(SystemExit) as ended:
        main(["style=picasso", "trainer.max_steps=0"])
    assert ended.value.code == 2
    assert "trainer.max_steps=0" in capfd.readouterr().err
