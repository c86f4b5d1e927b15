"""The folder of a run: what it is called, whether it may be used, and that one process at a time does."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fastnst.errors import OutputError
from fastnst.files import only_one
from fastnst.settings import TrainSettings

LOCK = ".lock"
WRITTEN = (  # by a run, beside its net
    "last.ckpt", "so_far.ckpt", "metrics.jsonl", "stylized_*.png", "clip_*.mp4", "wandb_id",
)  # fmt: skip
FOLDERS = ("wandb", "front")  # by a run


def plain_name(text: str) -> str:
    """Returns a name that a folder and a file can have and that leads nowhere else.

    >>> plain_name("my picture (1)"), plain_name("..")
    ('my_picture_1_', 'style')
    """
    return re.sub(r"[^\w.-]+", "_", text).strip(".")[:60] or "style"


def run_folder(settings: TrainSettings, style: str, first: bool) -> tuple[Path, Path | None]:
    """Returns the folder of the run, and the checkpoint to resume from if there is one; the `first` process looks.

    Raises:
        OutputError: the folder holds a run already, and nothing was said about it.
    """
    folder = Path(settings.run or f"runs/{style}").expanduser()
    last = folder / "last.ckpt"
    if settings.resume == "auto":
        return folder, last if last.exists() else None
    if settings.resume:
        return folder, Path(settings.resume).expanduser()
    if first and not settings.overwrite and ((folder / "metrics.jsonl").exists() or last.exists()):
        raise OutputError(f"'{folder}' holds a run already: resume=auto continues it, overwrite=true starts over")
    return folder, None


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Makes the folder of a run, and keeps other processes out of it while the block runs.

    The system frees the claim of a process that is killed. A folder that is empty afterwards is removed.

    Raises:
        OutputError: another process has it, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write to run='{folder}': {error.strerror or error}") from error
    try:
        with only_one(folder / LOCK, f"is training in '{folder}'; wait for it, or give another run=FOLDER"):
            yield
    finally:
        with suppress(OSError):
            folder.rmdir()


def prepare(folder: Path, over: bool) -> None:
    """Removes half files that a killed run left.

    Args:
        folder: of the run.
        over: the run starts over: removes what an earlier run wrote there, and nothing else; its finished net stays
            until it is replaced.

    Raises:
        OutputError: the folder cannot be written.
    """
    try:
        for pattern in (".fastnst-*", *(WRITTEN if over else ())):
            for path in folder.glob(pattern):
                path.unlink()
        for name in FOLDERS if over else ():
            if (folder / name).is_dir():
                shutil.rmtree(folder / name)
    except OSError as error:
        raise OutputError(f"cannot write to run='{folder}': {error.strerror or error}") from error
