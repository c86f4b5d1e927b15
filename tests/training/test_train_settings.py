import pytest
import torch

from fastnst import cli
from fastnst.errors import ConfigError
from fastnst.net import PRESETS
from fastnst.schema import entries
from fastnst.settings import Layer, TrainSettings
from fastnst.training.__main__ import with_trainer
from fastnst.training.pairs import PATTERNS
from fastnst.vgg import LAYERS

CHOICES = [
    *(f"style={name}" for name in ("clouds", "liechtenstein", "picasso", "wave")),
    *(f"temporal={name}" for name in ("none", "noise", "motion", "mixed")),
    "data=clips", "data=sample", "data=coco", "net=johnson", "net=half", "net=lite", "trainer=gpu", "trainer=cpu",
]  # fmt: skip


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_composes(choice):
    cli.load(TrainSettings, [choice])


@pytest.mark.parametrize("pair", ["video", "previous"])
def test_pairs_of_real_frames_compose_with_clips_and_need_them(pair):
    assert cli.load(TrainSettings, [f"temporal={pair}", "data=clips"]).temporal.pair == pair
    with pytest.raises(ConfigError, match=f"temporal.pair={pair} needs real frames: data=clips data.root=FOLDER"):
        cli.load(TrainSettings, [f"temporal={pair}"])


def test_choice_of_a_file_sets_what_differs_and_nothing_else():
    plain, cpu = TrainSettings().by_name(), cli.load(TrainSettings, ["trainer=cpu"]).by_name()
    differ = {name for name in plain if plain[name] != cpu[name]}
    assert differ == {
        f"trainer.{name}"
        for name in (
            "accelerator",
            "precision",
            "image_size",
            "batch_size",
            "max_steps",
            "validate_every",
            "save_every",
        )
    }
    assert cli.load(TrainSettings, []).by_name() == plain


@pytest.mark.parametrize(
    ("able", "typed", "precision"),
    [
        ({"avx512_bf16": True}, [], "bf16-mixed"),
        ({"amx_bf16": True}, ["style=wave"], "bf16-mixed"),
        ({"avx512_bf16": True}, ["trainer.precision=32-true"], "32-true"),
        ({"avx512_bf16": True}, ["trainer=cpu"], "32-true"),
        ({"avx512_bf16": False, "avx2": True}, [], "32-true"),
    ],
)
def test_without_a_gpu_and_a_chosen_trainer_a_processor_trains_in_what_it_is_fast_in(
    monkeypatch, able, typed, precision
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able, raising=False)
    trainer = cli.load(TrainSettings, with_trainer(typed)).trainer
    assert (trainer.accelerator, trainer.image_size, trainer.precision) == ("cpu", 128, precision)


def test_with_a_gpu_the_command_line_stays_as_it_is(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert with_trainer(["style=wave"]) == ["style=wave"]


def test_lists_of_names_are_those_of_the_modules():
    names = {each.name: each for each in entries(TrainSettings)}
    assert Layer.__args__ == LAYERS
    assert names["net.preset"].hint.__args__ == tuple(PRESETS)
    assert names["temporal.patterns"].default == PATTERNS


WRONG = [  # what is typed, and what the one line says
    ("temporal.motion.zoom=nan", "temporal.motion.zoom=nan must be a number from 0 to 0.9"),
    ("temporal.motion.zoom=-1", "temporal.motion.zoom=-1 must be"),
    ("temporal.motion.shift=1e9", "temporal.motion.shift=1000000000.0 must be a number from 0 to 1000"),
    ("temporal.motion=3", "temporal.motion=3 is not possible: temporal.motion is a group"),
    ("temporal.ramp=[0.5,0.1]", "temporal.ramp=[0.5,0.1] must be a list of 2 numbers from 0 to 1, in rising order"),
    ("temporal.ramp=[0]", "temporal.ramp=[0] must be a list of 2 numbers"),
    ("temporal.sigma=[0.1]", "temporal.sigma=[0.1] must be a list of 2 numbers"),
    ("temporal.patterns=[]", "temporal.patterns=[] is empty"),
    ("temporal.patterns=[rain]", "sparse, gaussian, correlated or jpeg"),
    ("temporal.pair=dreams", "temporal.pair=dreams must be none, noise, motion, mixed, video or previous"),
    ("temporal.weight=nan", "temporal.weight=nan must be a number from 0"),
    ("temporal.balance=abc", "there is no setting 'temporal.balance'"),
    ("loss.style_layers=[]", "loss.style_layers=[] is empty"),
    ("loss.style_layers=[relu9_9]", "loss.style_layers=[relu9_9] must be a list of words (relu1_1, "),
    ("loss.style_weight=nan", "loss.style_weight=nan must be a number from 0"),
    ("loss.content_weight=-1", "loss.content_weight=-1 must be a number from 0"),
    ("trainer.devices=-1", "trainer.devices=-1 must be a whole number from 1"),
    ("trainer.devices=3", "trainer.batch_size=8 must be a multiple of 3 devices"),
    ("trainer.learning_rate=nan", "trainer.learning_rate=nan must be a number above 0"),
    ("trainer.learning_rate=abc", "trainer.learning_rate=abc must be a number above 0"),
    ("trainer.learning_rate=0", "trainer.learning_rate=0 must be a number above 0"),
    ("trainer.max_steps=99999999999999999999", "trainer.max_steps=99999999999999999999 must be a whole number from 1"),
    ("trainer.max_steps=1.5", "trainer.max_steps=1.5 must be a whole number"),
    ("trainer.max_steps=0", "trainer.max_steps=0 must be a whole number from 1"),
    ("trainer.batch_size=0", "trainer.batch_size=0 must be"),
    ("trainer.image_size=4", "trainer.image_size=4 must be a whole number from 64"),
    ("trainer.clip_norm=-1", "trainer.clip_norm=-1 must be a number above 0"),
    ("trainer.tail=2", "trainer.tail=2 must be a number from 0 to 1"),
    ("trainer.ema=1", "trainer.ema=1 must be a number from 0 to 0.9999"),
    ("trainer.precision=8", "trainer.precision=8 must be 32-true, bf16-mixed or 16-mixed"),
    ("trainer.nonsense=1", "there is no setting 'trainer.nonsense'"),
    ("seed=-1", "seed=-1 must be a whole number from 0 to 4294967295"),
    ("seed=99999999999", "seed=99999999999 must be a whole number from 0 to 4294967295"),
    ("data.root=", "data.root= is empty"),
    ("data.root=null", "data.root is missing; write data.root=FOLDER"),
    ("data.workers=-7", "data.workers=-7 must be a whole number from -1 to 256"),
    ("data.validation=0", "data.validation=0 must be a whole number from 1"),
    ("data.flat=2", "data.flat=2 must be a number from 0 to 1"),
    ("data.max_bad=-1", "data.max_bad=-1 must be a number from 0 to 1"),
    ("data.source=foo", "data.source=foo must be folder, sample or clips"),
    ("data.raft=x", "there is no setting 'data.raft'"),
    ("data.clips=x temporal=none", "data.clips needs a temporal loss"),
    ("data.clips=x data=clips", "data.clips is for clips beside photos"),
    ("style=nothing", "style=nothing must be base, clouds, liechtenstein, picasso or wave"),
    ("style.name=../x", "style.name=../x must be letters"),
    ("style.size=1", "style.size=1 must be a whole number from 64 to 4096"),
    ("logger=none", "there is no setting 'logger'"),
    ("wandb=maybe", "wandb=maybe must be true or false"),
    ("--verbose", "unknown flag '--verbose'"),
    ("=5", "'=5' is no setting"),
]


@pytest.mark.parametrize(("typed", "message"), WRONG, ids=[typed for typed, _ in WRONG])
def test_wrong_setting_is_one_line_and_status_2(typed, message):
    with pytest.raises(ConfigError) as failure:
        cli.load(TrainSettings, typed.split(" "))
    assert message in str(failure.value)
    assert "\n" not in str(failure.value)
    assert failure.value.exit_status == 2
