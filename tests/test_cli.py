import subprocess
import sys

import pytest

from fastnst import __main__ as console
from fastnst import cli
from fastnst.errors import ConfigError
from fastnst.settings import InferSettings

ODD_NAMES = [
    "my clip (1).mp4", "vidéo.mp4", "a=b,c.mp4", "-dash.mp4", "it's.mp4", "sp ace ünï 視頻 'q' [1].mp4", "tail\\",
    "C:\\Users\\me\\in.mp4", "${b}.mp4", "{x}.mp4", "null.mp4", "true", "1e3", "rtsp://u:p@host:1/x?y=z&w", "\\'",
    "a\\\\'b", "  padded ", "%s.mp4", "~/x.mp4", "@x", "a:b", "#1.mp4", '"',
]  # fmt: skip


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_file_name_survives_hydra(name):
    settings = cli.load(InferSettings, [f"video={name}", f"out={name}", "ckpt=x"])
    assert (settings.video, settings.out) == (name, name)


def test_quoted_leaves_other_settings_and_null_alone():
    assert cli.quoted("crf=20", {"video"}) == "crf=20"
    assert cli.quoted("video=null", {"video"}) == "video=null"
    assert cli.quoted("video='done already'", {"video"}) == "video='done already'"


def test_values_are_checked_against_the_kind_of_their_default():
    default = {"a": {"steps": 1, "rate": 0.5, "on": True, "list": [1], "any": None}}
    cli.check_types(default, {"a": {"steps": 2, "rate": 1, "on": False, "list": [], "any": "x"}})
    for wrong in ({"steps": 1.5}, {"steps": True}, {"rate": "x"}, {"on": "yes"}, {"list": 3}):
        with pytest.raises(ConfigError, match=f"a.{next(iter(wrong))}="):
            cli.check_types(default, {"a": {**default["a"], **wrong}})


def test_message_is_one_line_without_passwords():
    assert cli.one_line(ValueError("no\n  rtsp://bob:secret@cam/1")) == "no rtsp://***@cam/1"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--help"], "fastnst infer "),
        ([], "fastnst COMMAND --help"),
        (["--version"], "fastnst 0."),
        (["infer", "--help"], "crf=18"),
    ],
)
def test_the_console_command_answers(arguments, words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fastnst", *arguments])
    console.main()
    out, err = capsys.readouterr()
    assert words in out
    assert err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["infre"], "there is no command 'infre'; did you mean infer?"),
        (["x" * 999], "there are infer, live, train, evaluate"),
        (["infer"], "video is missing; write video=in.mp4"),
        (["infer", "vidoe=x"], "there is no setting 'vidoe'; did you mean video?"),
    ],
)
def test_mistakes_with_the_console_command_are_one_line_and_status_2(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fastnst", *arguments])
    with pytest.raises(SystemExit) as leaving:
        console.main()
    out, err = capsys.readouterr()
    assert (leaving.value.code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: ")
    assert message in err


@pytest.mark.parametrize("command", [["train.py"], ["infer.py"], ["-m", "fastnst", "infer"]])
def test_unknown_setting_is_one_line_and_status_2(command):
    done = subprocess.run([sys.executable, *command, "vidoe=x"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "vidoe" in done.stderr
    assert done.stderr.count("\n") == 1


def test_long_list_of_nets_is_no_file_name():
    names = [f"runs/{number}/net.ckpt" for number in range(60)]
    assert cli.listed(",".join(names)) == names
    assert cli.listed(f"[{', '.join(names)}]") == names
    assert cli.listed(names) == names
