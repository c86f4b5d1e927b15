import json
from dataclasses import FrozenInstanceError, dataclass
from typing import Literal

import pytest

from fastnst import cli
from fastnst.errors import ConfigError
from fastnst.schema import Settings, as_typed, entries, group, option


@dataclass(frozen=True, kw_only=True)
class MotionSettings(Settings):
    PREFIX = "temporal.motion."
    zoom: float = option(0.06, "the largest zoom", low=0, high=1)


@dataclass(frozen=True, kw_only=True)
class TemporalSettings(Settings):
    PREFIX = "temporal."
    weight: float = option(600.0, "weight of the loss", low=0)
    ramp: tuple[float, float] = option((0.0, 0.25), "where the weight rises", low=0, high=1, ordered=True)
    layers: tuple[Literal["a", "b"], ...] = option(("a", "b"), "which layers")
    motion: MotionSettings = group(MotionSettings)


@dataclass(frozen=True, kw_only=True)
class BaseSettings(Settings):
    seed: int = option(0, "of the random numbers", low=0)
    threads: int | None = option(None, "CPU threads", low=1, may_change=True)
    words: tuple[str, ...] = option(("a",), "some words")
    name: str | tuple[str, ...] | None = option(None, "a name, or several")


@dataclass(frozen=True, kw_only=True)
class SomeSettings(BaseSettings):
    root: str = option(None, "the folder", example="photos")
    rate: float = option(1e-3, "learning rate", above=0)
    norm: Literal["shot", "frame"] = option("shot", "which statistics")
    temporal: TemporalSettings = group(TemporalSettings)

    def check(self):
        if self.seed == 13:
            raise ConfigError(f"seed={self.seed} brings bad luck")


@pytest.fixture
def conf(tmp_path, monkeypatch):
    """A `conf/` with a choice that says only what differs."""
    (tmp_path / "temporal").mkdir()
    (tmp_path / "some.yaml").write_text("defaults:\n  - some_settings\n  - temporal: mixed\n  - _self_\n")
    (tmp_path / "temporal" / "mixed.yaml").write_text("{}\n")
    (tmp_path / "temporal" / "none.yaml").write_text("weight: 0.0\n")
    monkeypatch.setattr(cli, "CONF", tmp_path)


def test_values_take_the_types_of_their_options():
    settings = SomeSettings.of({"root": 2024, "rate": 1, "temporal": {"ramp": [0, 1]}})
    assert (settings.root, settings.rate, settings.temporal.ramp) == ("2024", 1.0, (0.0, 1.0))
    assert type(settings.rate) is float
    with pytest.raises(FrozenInstanceError):
        settings.seed = 1  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seed": -1}, "seed=-1 must be a whole number from 0 to 1000000000"),
        ({"seed": 10**10}, "seed=10000000000 must be a whole number from 0 to 1000000000"),
        ({"seed": True}, "seed=true must be a whole number"),
        ({"seed": 13}, "seed=13 brings bad luck"),
        ({"rate": 0}, "rate=0 must be a number above 0"),
        ({"rate": float("nan")}, "rate=nan must be a number above 0"),
        ({"rate": float("inf")}, "rate=inf must be"),
        ({"root": ""}, "root is missing; write root=photos"),
        ({"norm": "shots"}, "norm=shots must be shot or frame"),
        ({"threads": 0}, "threads=0 must be a whole number from 1 to 1000000000, or null"),
        ({"sed": 1}, "there is no setting 'sed'; did you mean seed?"),
        ({"zoom": 1}, "there is no setting 'zoom'; did you mean temporal.motion.zoom?"),
        ({"temporal": {"motion": 3}}, "temporal.motion=3 is not possible: it is a group of settings"),
        ({"temporal": {"motion": {"zoom": 2}}}, "temporal.motion.zoom=2 must be a number from 0 to 1"),
        ({"temporal": {"weigth": 2}}, "there is no setting 'temporal.weigth'; did you mean temporal.weight?"),
        ({"temporal": {"ramp": [0.5, 0.1]}}, "temporal.ramp=[0.5,0.1] must be a list of 2 numbers from 0 to 1, in ris"),
        ({"temporal": {"ramp": [0.5]}}, "temporal.ramp=[0.5] must be a list of 2 numbers"),
        ({"temporal": {"ramp": 0.5}}, "temporal.ramp=0.5 must be a list of 2 numbers"),
        ({"temporal": {"layers": []}}, "temporal.layers=[] is empty; it must be a list of words (a or b)"),
        ({"temporal": {"layers": ["c"]}}, "temporal.layers=[c] must be a list of words (a or b)"),
    ],
)
def test_wrong_values_are_one_line_with_the_full_name(wrong, message):
    with pytest.raises(ConfigError) as error:
        SomeSettings.of({"root": "x"} | wrong)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_compared_is_all_but_what_is_marked():
    settings = SomeSettings(root="x")
    everything = {each.name for each in entries(SomeSettings)}
    assert set(settings.by_name()) == everything
    assert set(settings.by_name(compared=True)) == everything - {"threads"}
    assert json.loads(json.dumps(settings.by_name())) == settings.by_name()


def test_text_is_taken_as_it_was_typed_and_a_list_is_read(conf):
    found = cli.load(SomeSettings, ["root=a b,(c)=[d", "words=[x,y z]", "name=[e]"])
    assert (found.root, found.words, found.name) == ("a b,(c)=[d", ("x", "y z"), "[e]")


def test_a_file_of_a_group_says_only_what_differs(conf):
    assert cli.load(SomeSettings, ["root=x"]).temporal == TemporalSettings()
    chosen = cli.load(SomeSettings, ["root=x", "temporal=none", "temporal.motion.zoom=0.5"])
    assert chosen.temporal == TemporalSettings(weight=0, motion=MotionSettings(zoom=0.5))


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("temporal=some", "temporal=some must be mixed or none"),
        ("temporal=../x", "temporal=../x must be mixed or none"),
        ("temporal.motion=3", "temporal.motion is a group; set temporal.motion.zoom"),
        ("temporal={weight:3}", "temporal={weight:3} must be mixed or none"),
        ("=5", "'=5' is no setting; write name=value, as root=photos"),
        ("photos", "'photos' is no setting; write name=value, as root=photos"),
        ("--steps=3", "unknown flag '--steps=3'"),
        ("+seed=3", "there is no setting '+seed'; did you mean seed?"),
        ("hydra.run.dir=x", "there is no setting 'hydra.run.dir'"),
        ("temporal@x=none", "there is no setting 'temporal@x'"),
        ("seed=1,2", "seed=1,2"),
        ("seed=[1", "'[1'"),
        (f"seed={'1' * 5000}", "too many digits"),
        ("rate={a:1}", "rate={'a': 1} must be a number above 0"),
    ],
)
def test_wrong_arguments_are_one_line(conf, argument, message):
    with pytest.raises(ConfigError) as error:
        cli.load(SomeSettings, ["root=x", argument])
    assert message in str(error.value)


def test_help_has_every_setting_its_default_and_its_range(conf):
    text = cli.help_of(SomeSettings)
    for each in entries(SomeSettings):
        assert f"\n{each.name}" in text
        assert each.option.doc in text
    assert "temporal.ramp=[0.0,0.25]" in text
    assert "temporal=mixed" in text
    assert text.index("root") < text.index("seed=0") < text.index("temporal=mixed")  # own options first, groups last


def test_long_values_are_shortened():
    assert len(as_typed("x" * 10_000)) == 80
