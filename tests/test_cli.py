import subprocess
import sys

import pytest

from fastnst import cli
from fastnst.errors import ConfigError

ODD_NAMES = [
    "my clip (1).mp4", "vidéo.mp4", "a=b,c.mp4", "-dash.mp4", "it's.mp4", "sp ace ünï 視頻 'q' [1].mp4", "tail\\",
    "C:\\Users\\me\\in.mp4", "${b}.mp4", "{x}.mp4", "null.mp4", "true", "1e3", "rtsp://u:p@host:1/x?y=z&w", "\\'",
    "a\\\\'b", "  padded ", "%s.mp4", "~/x.mp4", "@x", "a:b", "#1.mp4", '"',
]  # fmt: skip


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_file_name_survives_hydra(name):
    overrides = [cli.quoted(f"{key}={name}", {"video", "out"}) for key in ("video", "out")]
    settings = cli.settings("infer", overrides)
    assert (settings["video"], settings["out"]) == (name, name)


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


@pytest.mark.parametrize("command", ["train.py", "infer.py"])
def test_help_shows_usage_and_settings(command):
    done = subprocess.run([sys.executable, command, "--help"], capture_output=True, text=True, timeout=60, check=True)
    assert command in done.stdout
    assert "overwrite: false" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("command", ["train.py", "infer.py"])
def test_unknown_setting_is_one_line_and_status_2(command, tmp_path):
    done = subprocess.run([sys.executable, command, "vidoe=x"], capture_output=True, text=True, timeout=60)
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
