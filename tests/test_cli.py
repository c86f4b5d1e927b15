import io
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastnst import __main__ as console
from fastnst import cli
from fastnst.files import local_name
from fastnst.settings import InferSettings

ROOT = Path(__file__).parent.parent

ODD_NAMES = [
    "my clip (1).mp4", "vidéo.mp4", "a=b,c.mp4", "-dash.mp4", "it's.mp4", "sp ace ünï 視頻 'q' [1].mp4", "tail\\",
    "C:\\Users\\me\\in.mp4", "${b}.mp4", "{x}.mp4", "null.mp4", "true", "1e3", "rtsp://u:p@host:1/x?y=z&w", "\\'",
    "a\\\\'b", "  padded ", "%s.mp4", "~nobody-of-this-name/x.mp4", "@x", "a:b", "#1.mp4", '"',
    os.fsdecode(b"caf\xe9.mp4"),
]  # fmt: skip


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_file_name_survives_hydra(name):
    settings = cli.load(InferSettings, ["video=x", f"out={name}", "ckpt=x", f"codec={name}"])
    assert (settings.codec, settings.out) == (name, name)


def test_quoted_leaves_other_settings_and_null_alone():
    assert cli.quoted("crf=20", {"video"}) == "crf=20"
    assert cli.quoted("video=null", {"video"}) == "video=null"
    assert cli.quoted("video='done already'", {"video"}) == "video='done already'"


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


@pytest.mark.parametrize(
    "typed", ["~/a b.mp4", "file:{home}/a%20b.mp4", "file://{home}/a%20b.mp4", "file://localhost{home}/a%20b.mp4"]
)
def test_home_and_file_addresses_name_the_file(typed, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    typed = typed.format(home=tmp_path)
    settings = cli.load(InferSettings, [f"video={typed}", f"out={typed}", f"ckpt={typed}"])
    assert {settings.video, settings.out, settings.ckpt} == {str(tmp_path / "a b.mp4")}


def test_file_that_is_called_like_home_or_an_address_is_that_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("~", "file:a.mp4"):
        (tmp_path / name).touch()
        assert cli.load(InferSettings, [f"video={name}", "ckpt=x"]).video == name


def test_file_address_of_another_machine_is_left_alone():
    assert local_name("file://nas/x.mp4") == "file://nas/x.mp4"
    assert local_name("file:x.mp4") == "file:x.mp4"


SPEAKS = """
import sys
from fastnst import cli
from fastnst.settings import InferSettings

def command(settings):
    with open("work", "w") as file:  # takes no number of a closed stream
        file.write("whole")
        print("from a library", flush=True)
        cli.report("done")
        cli.note("note: said")

cli.main(command, InferSettings, "", ["video=a", "ckpt=x"])
"""


@pytest.mark.parametrize(
    ("redirection", "out", "err"),
    [
        (">&-", "", "note: said\n"),
        ("2>&-", "from a library\ndone\n", ""),
        ("<&- >&- 2>&-", "", ""),
        ("2> /dev/full", "from a library\ndone\n", ""),
        ("> /dev/full 2> /dev/full", "", ""),
    ],
)
def test_closed_or_full_standard_streams_do_not_harm_the_work(redirection, out, err, tmp_path):
    speaks = SPEAKS.replace('print("from a library", flush=True)', "") if "> /dev/full 2" in redirection else SPEAKS
    command = f'exec "$0" -c "$1" {redirection}'
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, speaks], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, out, err)
    assert (tmp_path / "work").read_text() == "whole"


def test_full_standard_output_is_one_line_and_the_work_goes_on(monkeypatch, capsys):
    class Full(io.StringIO):
        def flush(self):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(cli, "drop_output", lambda: monkeypatch.setattr(sys, "stdout", io.StringIO()))
    monkeypatch.setattr(sys, "stdout", Full())
    cli.report("a")
    cli.report("b")
    assert capsys.readouterr().err == "note: standard output takes no more: no space left on device\n"


def test_names_that_no_terminal_shows_are_escaped_in_messages_and_whole_on_standard_output(tmp_path):
    program = (
        "import os; from fastnst import cli; cli.open_streams(); name = os.fsdecode(b'caf\\xe9'); cli.report(name)"
    )
    program += "; cli.leave(3, cli.one_line(name + '\\x1b[2J\\u202e\\n'))"
    for coding, out in (("utf-8", b"caf\xe9\n"), ("ascii", b"caf\\udce9\n")):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": coding}
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True)
        assert (done.returncode, done.stdout) == (3, out)
        assert done.stderr == b"caf\\udce9\\x1b[2J\\u202e\n"


def test_warnings_are_notes_of_one_line():
    record = logging.LogRecord("x", logging.WARNING, "", 0, "no %s", ("a\nb\x07",), None)
    assert cli.Notes().format(record) == "note: no a b\\x07"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_closed_terminal_ends_a_command_as_sigterm_does(in_process, number):
    def command(settings) -> None:
        os.kill(os.getpid(), number)
        time.sleep(1)

    assert in_process(command, InferSettings, "", "video=in.mp4", "ckpt=a")[0] == 128 + number
