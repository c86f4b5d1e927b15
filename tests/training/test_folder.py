import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from fastnst.errors import OutputError
from fastnst.settings import TrainSettings
from fastnst.training.folder import claimed, prepare, run_folder


def test_second_process_is_refused_with_the_first_ones_id(tmp_path):
    folder = tmp_path / "run"
    with claimed(folder):
        with pytest.raises(OutputError, match=f"process {os.getpid()} is training in '{folder}'"), claimed(folder):
            pass
        assert (folder / ".lock").exists()
        (folder / "last.ckpt").touch()
    assert [path.name for path in folder.iterdir()] == ["last.ckpt"]
    with claimed(folder):  # it is free again
        pass


def test_claim_of_a_process_that_was_killed_does_not_block(tmp_path):
    program = "import sys, fcntl, os; f = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT); fcntl.flock(f, fcntl.LOCK_EX); "
    program += "print('mine', flush=True); sys.stdin.read()"
    lock = tmp_path / ".lock"
    process = subprocess.Popen(
        [sys.executable, "-c", program, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "mine\n"
    with pytest.raises(OutputError, match="is training in"), claimed(tmp_path):
        pass
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert lock.exists()
    with claimed(tmp_path):
        assert lock.read_text() == str(os.getpid())


def test_folder_that_stays_empty_is_removed(tmp_path):
    with pytest.raises(ValueError, match="x"), claimed(tmp_path / "a" / "run"):
        raise ValueError("x")
    assert not (tmp_path / "a" / "run").exists()


def test_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write to run="), claimed(tmp_path / "file" / "run"):
        pass


def test_starting_over_removes_what_a_run_wrote_and_nothing_else(tmp_path):
    for name in ("last.ckpt", "metrics.jsonl", "clip_000040.mp4", ".fastnst-x.png", "picasso.ckpt", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "front").mkdir()
    prepare(tmp_path, over=False)
    assert not (tmp_path / ".fastnst-x.png").exists()
    assert (tmp_path / "front").exists()
    prepare(tmp_path, over=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "picasso.ckpt"]


def test_folder_that_holds_a_run_is_continued_or_started_over_only_if_asked_to(tmp_path):
    (tmp_path / "last.ckpt").touch()
    here = TrainSettings(run=str(tmp_path))
    with pytest.raises(OutputError, match="resume=auto continues it, overwrite=true starts over"):
        run_folder(here, "dots", first=True)
    assert run_folder(replace(here, resume="auto"), "dots", first=True) == (tmp_path, tmp_path / "last.ckpt")
    assert run_folder(replace(here, overwrite=True), "dots", first=True) == (tmp_path, None)
    assert run_folder(TrainSettings(), "dots", first=False)[0].as_posix() == "runs/dots"
