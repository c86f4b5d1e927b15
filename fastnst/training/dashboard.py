"""Where a training's numbers and pictures go: W&B, and always a file of JSON lines. Logging never stops a training."""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from functools import partial
from netrc import NetrcParseError, netrc
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlparse

from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only

PROJECT = "fastnst"  # of W&B
START_TIMEOUT = 20  # seconds that W&B may take to answer before the run continues offline
FINISH_TIMEOUT = 120  # seconds that the last upload may take before the rest is left to `wandb sync`


class Dashboard(Logger):
    """Writes `metrics.jsonl` in the run's folder and, if asked to, a W&B run beside it.

    Without an API key or network W&B runs offline by itself. Command line, host name and code stay out of it.

    Args:
        folder: the run's folder.
        name: the run's name.
        config: the settings; file names are cut to their last part before they leave the machine.
        wandb: use W&B; its project is `PROJECT`, or what WANDB_PROJECT says.
    """

    def __init__(self, folder: Path, name: str, config: Mapping[str, Any], wandb: bool) -> None:
        super().__init__()
        self.folder, self.run_name = folder, name
        self.config = without_paths(config)
        self.failures = 0
        self.run: Any = None
        if wandb:
            self.guarded(self.start)

    @property
    def name(self) -> str:
        """The run's name."""
        return self.run_name

    @property
    def version(self) -> str:
        """Nothing: a run's folder is its version."""
        return ""

    @rank_zero_only
    def start(self) -> None:
        """Begins the W&B run, or continues the one that the folder holds."""
        import wandb
        from wandb.errors import AuthenticationError, CommError

        marker = self.folder / "wandb_id"
        run_id = marker.read_text() if marker.exists() else secrets.token_hex(4)
        quiet = wandb.Settings(
            x_disable_meta=True, x_disable_stats=True, save_code=False, disable_git=True, console="off",
            host="redacted", program="train.py", silent=True, init_timeout=START_TIMEOUT, finish_timeout=FINISH_TIMEOUT,
        )  # fmt: skip

        def init(mode: str, run_id: str) -> Any:
            return wandb.init(
                project=os.environ.get("WANDB_PROJECT") or PROJECT, name=self.run_name, id=run_id, resume="allow",
                dir=self.folder, mode=mode, config=self.config, settings=quiet,  # pyright: ignore[reportArgumentType]
            )  # fmt: skip

        try:
            server = wandb.setup(quiet).settings.base_url
        except ValueError:  # WANDB_BASE_URL is no address: there is no server
            os.environ.pop("WANDB_BASE_URL", None)
            wandb.teardown()
            server = ""
        mode = os.environ.get("WANDB_MODE") or ("online" if server and has_key(server) else "offline")
        try:
            self.run = init(mode, run_id)
        except (CommError, AuthenticationError, TimeoutError):
            mode, run_id = "offline", secrets.token_hex(4)  # the first id stays taken by the attempt that failed
            self.run = init(mode, run_id)
        marker.write_text(run_id)
        if mode == "offline":
            print(f"W&B runs offline; to upload: wandb sync {self.folder}/wandb/offline-run-*", file=sys.stderr)

    def guarded(self, action: Callable[[], Any]) -> None:
        """Runs a logging action; its failure is reported once and counted, never raised."""
        try:
            action()
        except Exception as error:  # whatever W&B, its server or the disk may raise: training matters more
            self.failures += 1
            if self.failures == 1:
                print(f"warning: logging failed, training goes on: {' '.join(str(error).split())}", file=sys.stderr)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Does nothing: the settings are in the run from its start."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Logs scalars."""
        values = {name: float(value) for name, value in metrics.items() if name != "epoch"}
        if values:
            self.guarded(lambda: self.append({"step": step, **values}))
            if self.run:
                self.guarded(lambda: self.run.log({**values, "step": step}))

    def append(self, line: dict[str, Any]) -> None:
        """Adds a line to `metrics.jsonl`."""
        with open(self.folder / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    @rank_zero_only
    def log_media(self, key: str, path: Path, step: int) -> None:
        """Logs a picture or an mp4 that lies in the run's folder."""
        if self.run:
            import wandb

            def show() -> None:
                media = wandb.Video(str(path), format="mp4") if path.suffix == ".mp4" else wandb.Image(str(path))
                self.run.log({key: media, "step": step})

            self.guarded(show)

    @rank_zero_only
    def log_checkpoint(self, path: Path) -> None:
        """Logs the finished net as an artifact."""
        if self.run:
            import wandb

            def upload() -> None:
                artifact = wandb.Artifact(self.run_name, type="model")
                artifact.add_file(str(path))
                self.run.log_artifact(artifact)

            self.guarded(upload)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Leaves the W&B run open: the finished net follows after the trainer is done."""

    @rank_zero_only
    def finish(self, exit_status: int) -> None:
        """Ends the W&B run; if that hangs, the rest is left to `wandb sync`."""
        if self.run:
            end = partial(self.guarded, lambda: self.run.finish(exit_code=exit_status))
            ending = Thread(target=end, daemon=True)
            ending.start()
            ending.join(FINISH_TIMEOUT + 5)  # W&B keeps its own limit first
            if ending.is_alive():
                print(f"warning: W&B hangs; to upload: wandb sync {self.folder}/wandb/*run-*", file=sys.stderr)


def has_key(server: str) -> bool:
    """Returns whether there is an API key for W&B, in the environment or where `wandb login` writes it."""
    host = urlparse(server).hostname or ""
    try:
        return bool(os.environ.get("WANDB_API_KEY") or netrc(os.environ.get("NETRC")).authenticators(host))
    except (OSError, NetrcParseError):
        return False


def without_paths(value: Any) -> Any:
    """Returns the settings with file names and addresses cut to their last part: the rest names people and machines.

    >>> without_paths({"data": {"root": "/home/alice/coco", "url": "https://bob:secret@host/a.zip?key=7"}, "seed": 1})
    {'data': {'root': 'coco', 'url': 'a.zip'}, 'seed': 1}
    """
    if isinstance(value, Mapping):
        return {key: without_paths(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_paths(item) for item in value]
    if isinstance(value, str) and ("/" in value or "\\" in value):
        if address := re.match(r"\w+://(?:[^/?#]*@)?([^?#]*)", value):
            value = address[1]
        return value.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    return value
