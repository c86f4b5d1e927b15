"""Wrong settings, command by command: each is refused when the settings are made, in one line that names it."""

import subprocess
import sys
from typing import Any

import pytest

from fastnst import __main__ as console
from fastnst import cli, settings
from fastnst.errors import ConfigError
from fastnst.schema import entries
from fastnst.settings import InferSettings

NAMES = [f"{command.title()}Settings" for command in console.COMMANDS]
COMMANDS = [getattr(settings, name) for name in NAMES if hasattr(settings, name)]

WRONG_FOR_INFER = [
    ("=5", "'=5' is no setting; write name=value, as video=in.mp4"),
    ("in.mp4", "'in.mp4' is no setting; write name=value, as video=in.mp4"),
    ("--loud", "unknown flag '--loud'; settings are written name=value"),
    ("video=", "video is missing; write video=in.mp4, --help lists the settings"),
    ("video=null", "video is missing"),
    ("video=0", "video=0 is no file; for a pipe, a camera or an address: python -m fastnst.live video=0 ckpt=picasso"),
    ("video=-", "python -m fastnst.live video=- ckpt=picasso"),
    ("ckpt=", "ckpt is missing; write ckpt=checkpoints/picasso.ckpt"),
    ("out=", "out= is empty; it must be text, or null"),
    ("vidoe=x", "there is no setting 'vidoe'; did you mean video?"),
    ("colour=red", "there is no setting 'colour'; did you mean color?"),
    ("crf.x=1", "there is no setting 'crf.x'"),
    ("crf=high", "crf=high must be a whole number from 0 to 63"),
    ("crf=99", "crf=99 must be a whole number from 0 to 63"),
    ("crf=1.5", "crf=1.5 must be a whole number"),
    ("crf=null", "crf=null must be a whole number"),
    ("crf=[18]", "crf=[18] must be a whole number"),
    ("crf={a: 1}", "crf={'a': 1} must be a whole number"),
    ("crf=1,2", "crf=1,2"),
    ("batch=0", "batch=0 must be a whole number from 1 to 256, or null"),
    ("batch=-3", "batch=-3 must be"),
    ("batch=true", "batch=true must be"),
    ("threads=0", "threads=0 must be a whole number from 1 to 1024, or null"),
    ("max_side=big", "max_side=big must be a whole number from 16 to 16384, or null"),
    ("max_side=99999999999999999999", "max_side=99999999999999999999 must be"),
    ("max_pixels_per_pass=1", "max_pixels_per_pass=1 must be a whole number from 10000 to 1000000000, or null"),
    ("strength=1.5", "strength=1.5 must be a number from 0 to 1"),
    ("strength=nan", "strength=nan must be a number from 0 to 1"),
    ("strength=-inf", "strength=-inf must be a number from 0 to 1"),
    ("scale=0", "scale=0 must be a number from 0.1 to 4"),
    ("smooth=1.5", "smooth=1.5 must be a number from 0 to 1"),
    ("smooth=strong", "smooth=strong must be a number"),
    ("color=red", "color=red must be style or content"),
    ("norm=shots", "norm=shots must be shot or frame"),
    ("norm=[shot]", "norm=[shot] must be shot or frame"),
    ("overwrite=7", "overwrite=7 must be true or false"),
    ("resume=auto", "resume=auto must be true or false"),
    ("background=#12", "background=#12 is no colour; use a name"),
    ("start=noon", "'noon' is no time; write seconds"),
    ("end=0", "end=0 must be after start=0"),
    ("ckpt=a:1,b", "ckpt=a:1,b should be like"),
    ("fps=0", "fps=0 should be frames per second from 0.1 to 1000, such as 25"),
    ("fps=1/0", "fps=1/0 should be"),
    ("fps=-25", "fps=-25 should be"),
    ("fps=1e9", "fps=1e9 should be"),
    ("fps=nan", "fps=nan should be"),
    ("fps=true", "fps=true should be"),
    ("audio=mp3", "audio=mp3 must be copy, aac or none"),
    ("codec=null", "codec=null must be text"),
    ("report=xml", "report=xml must be text or json"),
    ("device=toaster", "device=toaster is no device; use auto, cpu, cuda, cuda:1, mps or xpu"),
    ("device=null", "device=null must be text"),
    ("device=cpu:99", "device=cpu:99 is no device"),
    ("device=cuda:-1", "device=cuda:-1 is no device"),
    ("device=0", "device=0 is no device"),
]


@pytest.mark.parametrize(("argument", "message"), WRONG_FOR_INFER)
def test_wrong_setting_of_infer_is_one_line(argument, message):
    with pytest.raises(ConfigError) as error:
        cli.load(InferSettings, ["video=in.mp4", "ckpt=picasso", argument])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


ODD = [
    *(None, True, -1, 0, 10**20, -(10**20), 1.5, float("nan"), float("inf"), 1e300, "", "x", "x" * 10_000, "1" * 5000),
    *("[", "]", "\0", "a\nb", "..", "-", "~", "$HOME", "${x}", b"x"),
    *([], [[]], ["x"], [float("nan")], [0, 0], {}, {"a": 1}),
]


@pytest.mark.parametrize("schema", COMMANDS, ids=lambda schema: schema.__name__)
def test_no_value_of_any_setting_ends_in_anything_but_one_line(schema):
    messages, needed = [], {each.name: each.option.example for each in entries(schema) if each.option.example}
    for each in entries(schema):
        for value in ODD:
            *groups, name = each.name.split(".")
            values: dict[str, Any] = {name: value}
            for group in reversed(groups):
                values = {group: values}
            try:
                schema.of(needed | values)
            except ConfigError as error:
                messages.append(str(error))
    assert messages
    assert [message for message in messages if len(message) > 400] == []


def test_a_number_may_name_a_file_a_codec_or_a_preset():
    found = cli.load(InferSettings, ["video=2024.5", "ckpt=1", "preset=8", "fps=25"])
    assert (found.video, found.ckpt, found.preset, found.fps) == ("2024.5", "1", "8", "25")


def test_a_resumed_render_compares_all_settings_but_those_that_leave_the_result_alone():
    """A new setting is compared, unless it says `may_change`: then this list grows."""
    free = {
        *("video", "ckpt", "out"),  # compared as what they hold: the input's size and time, the net's weights
        *("overwrite", "resume", "strict", "report", "preview", "audio"),
        *("device", "engine", "threads", "batch", "max_pixels_per_pass"),
    }
    found = InferSettings(video="x", ckpt="y")
    assert found.by_name().keys() - found.by_name(compared=True).keys() == free


@pytest.mark.parametrize("schema", COMMANDS, ids=lambda schema: schema.__name__)
def test_every_setting_has_a_sentence_without_a_full_stop_and_is_in_the_help(schema):
    text = cli.help_of(schema)
    for each in entries(schema):
        assert each.option.doc
        assert not each.option.doc.endswith(".")
        assert f"\n{each.name}" in text


def test_settings_are_made_without_torch():
    code = (
        "import sys; from fastnst import cli, inference; from fastnst.settings import InferSettings\n"
        "cli.load(InferSettings, ['video=a', 'ckpt=b', 'background=red', 'fps=25']); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
