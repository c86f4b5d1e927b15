import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastnst.training.dashboard import Dashboard, without_paths

CONFIG = {
    "data": {"root": "/home/alice/secret/coco"},
    "style": {"image": "C:\\Users\\alice\\cat.jpg"},
    "url": "https://alice:hush@host/photos.zip?token=hush#hush",
    "camera": "rtsp://alice:hush@host",
    "seed": 1,
    "betas": [0.9, "/x/y"],
}


@pytest.fixture(autouse=True)
def no_account(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith("WANDB_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


def contents(folder: Path, awaited: bytes) -> bytes:
    """What W&B's files hold, once `awaited` is among it: its own process writes them, and may lag behind `finish`."""
    deadline = time.monotonic() + 30
    while True:
        written = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
        if awaited in written or time.monotonic() > deadline:
            return written
        time.sleep(0.1)


def test_paths_are_cut_to_their_last_part():
    assert without_paths(CONFIG) == {
        "data": {"root": "coco"},
        "style": {"image": "cat.jpg"},
        "url": "photos.zip",
        "camera": "host",
        "seed": 1,
        "betas": [0.9, "y"],
    }


def test_without_wandb_only_json_lines_are_written(tmp_path):
    dashboard = Dashboard(tmp_path, "run", CONFIG, wandb=False)
    dashboard.log_metrics({"train/loss": 1.5, "epoch": 0}, step=3)
    dashboard.log_metrics({"train/loss": 1.25}, step=4)
    dashboard.finish(0)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [{"step": 3, "train/loss": 1.5}, {"step": 4, "train/loss": 1.25}]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_without_a_key_wandb_runs_offline_says_how_to_sync_and_leaks_nothing(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("sys.argv", ["train.py", "data.root=/home/alice/secret/coco"])
    folder = tmp_path / "run"
    folder.mkdir()
    dashboard = Dashboard(folder, "picasso", CONFIG, wandb=True)
    dashboard.log_metrics({"train/loss": 1.5}, step=3)
    (folder / "net.ckpt").write_bytes(b"weights")
    dashboard.log_checkpoint(folder / "net.ckpt")
    dashboard.finish(0)
    assert dashboard.failures == 0
    assert f"wandb sync {folder}" in capfd.readouterr().err
    written = contents(folder / "wandb", awaited=b"train/loss")
    assert b"train/loss" in written
    assert b"coco" in written
    assert b"alice" not in written
    assert b"hush" not in written
    assert str(Path.cwd()).encode() not in written
    host = re.escape(os.uname().nodename.encode())  # as a word: a short name may well be part of a random id
    assert not re.search(rb"(?<![0-9A-Za-z])" + host + rb"(?![0-9A-Za-z])", written)


def test_second_start_continues_the_same_wandb_run(tmp_path):
    for _ in range(2):
        Dashboard(tmp_path, "picasso", {}, wandb=True).finish(0)
    run_id = (tmp_path / "wandb_id").read_text()
    runs = list(tmp_path.glob("wandb/offline-run-*"))
    assert len(runs) == 2
    assert all(run_id in path.name for path in runs)


def test_unreachable_server_means_offline_in_one_line(tmp_path):
    """In a process of its own: W&B reads its server's address once per process."""
    program = f"""
from pathlib import Path
from fastnst.training import dashboard
dashboard.START_TIMEOUT = 3
board = dashboard.Dashboard(Path({str(tmp_path)!r}), "picasso", {{}}, wandb=True)
board.log_metrics({{"train/loss": 1.5}}, step=3)
board.finish(0)
assert board.failures == 0
"""
    key = "5ec4e7" * 6 + "5ec4"
    environment = {**os.environ, "WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": key}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stderr == f"W&B runs offline; to upload: wandb sync {tmp_path}/wandb/offline-run-*\n"
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    assert key.encode() not in contents(tmp_path, awaited=b"train/loss")
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") == 1


class Broken:
    """A W&B run whose connection is gone."""

    def __getattr__(self, name):
        raise BrokenPipeError("gone")


def test_failing_dashboard_is_reported_once_and_never_raises(tmp_path, capsys):
    dashboard = Dashboard(tmp_path, "run", {}, wandb=False)
    dashboard.run = Broken()
    for step in range(3):
        dashboard.log_metrics({"train/loss": 1.0}, step=step)
    dashboard.log_media("val/stylized", tmp_path / "x.png", 1)
    dashboard.log_checkpoint(tmp_path / "x.ckpt")
    dashboard.finish(0)
    assert dashboard.failures == 6
    assert capsys.readouterr().err.count("training goes on") == 1
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") == 3


class Hanging:
    """A W&B run whose server neither answers nor refuses."""

    def finish(self, exit_code):
        time.sleep(60)


def test_dashboard_that_hangs_at_the_end_is_left_behind(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("fastnst.training.dashboard.FINISH_TIMEOUT", -4.9)
    dashboard = Dashboard(tmp_path, "run", {}, wandb=False)
    dashboard.run = Hanging()
    began = time.monotonic()
    dashboard.finish(0)
    assert time.monotonic() - began < 30
    assert "wandb sync" in capsys.readouterr().err
