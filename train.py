"""Trains a stylization net on photos, for one style picture.

  python train.py style=picasso                                  COCO train2017 in data/train2017
  python train.py style=picasso data.root=~/photos               any folder of photos
  python train.py style=picasso data=sample                      photos that come with pip packages
  python train.py style.image=my_picture.jpg data.root=~/photos  your own style
  python train.py style=picasso resume=auto                      goes on with an interrupted run

The finished net is runs/picasso/picasso.ckpt: python infer.py video=in.mp4 ckpt=runs/picasso/picasso.ckpt
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import re
import shutil
import sys
import time
import warnings
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from fastnst import cli
from fastnst.errors import ConfigError, Diverged, FastnstError, InputError, OutputError

PATHS = ("style.image", "data.root", "run", "resume", "vgg", "net.init", "data.raft")
AT_LEAST = {"image_size": 64, "batch_size": 1, "max_steps": 1, "validate_every": 1, "save_every": 1, "learning_rate": 0}
RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")  # what a launcher of several processes numbers them with
TIMEOUT = timedelta(minutes=5)  # after which a device that waits for another one gives up


def train(settings: dict[str, Any]) -> None:
    """Trains one style: settings in, plain objects wired, the run, a finished net out."""
    setup = settings["trainer"]
    if low := [name for name, least in AT_LEAST.items() if setup[name] < least]:
        raise ConfigError(f"trainer.{low[0]}={setup[low[0]]} must be {AT_LEAST[low[0]]} or more")
    if isinstance(setup["devices"], int) and setup["batch_size"] % max(1, setup["devices"]):
        raise ConfigError(f"trainer.batch_size={setup['batch_size']} must be a multiple of {setup['devices']} devices")
    if not 0 <= settings["data"]["soft"] <= 1:
        raise ConfigError(f"data.soft={settings['data']['soft']} must be a share, from 0 to 1")
    first = all(os.environ.get(rank, "0") == "0" for rank in RANKS)  # each further device runs this command again
    name, picture = style_picture(settings["style"])
    folder, resume = run_folder(settings, name, first)
    paths = content_paths(settings["data"], first)

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", "`isinstance", FutureWarning)  # pytorch_lightning 2.6 with torch 2.14
    import pytorch_lightning as pl
    import torch
    from pytorch_lightning.strategies import DDPStrategy
    from pytorch_lightning.utilities.exceptions import MisconfigurationException

    from fastnst.checkpoint import is_finite, load_checkpoint, save_checkpoint
    from fastnst.flow import dis_flow, load_raft, raft_flow
    from fastnst.images import to_tensor
    from fastnst.net import StylizationNet
    from fastnst.training.callbacks import (
        AtomicCheckpointIO,
        Front,
        Progress,
        Samples,
        Saving,
        StopOnSignal,
        check_resumable,
        load_training_checkpoint,
    )
    from fastnst.training.clips import Clips
    from fastnst.training.dashboard import Dashboard
    from fastnst.training.module import StyleTransfer
    from fastnst.training.pairs import make_pair
    from fastnst.training.photos import ContentPhotos, Photos, fingerprint
    from fastnst.vgg import load_vgg

    recipe = {
        "style_sha256": hashlib.sha256(picture.tobytes()).hexdigest(),
        "data_sha256": fingerprint(paths),
        "data_items": len(paths),
        **{key: settings["data"][key] for key in ("soft", "validation")},
        "raft": Path(settings["data"].get("raft") or "").name,
        **{key: settings[key] for key in ("seed", "loss", "temporal", "trainer")},
        "net": settings["net"]["preset"],
        **{choice: settings["net"][choice] for choice in ("antialias", "canvas")},
        "net_init": settings["net"]["init"] and Path(settings["net"]["init"]).name,
        "style_size": settings["style"]["size"],
    }
    before = load_training_checkpoint(resume) if resume else {}
    if resume:
        same_run(before["recipe"], recipe, resume)

    pl.seed_everything(settings["seed"], verbose=False)
    init = settings["net"]["init"]
    choices = {choice: settings["net"][choice] for choice in ("antialias", "canvas")}
    net = (
        load_checkpoint(init).net.renewed(**choices)
        if init
        else StylizationNet.preset(settings["net"]["preset"], **choices)
    )
    module = StyleTransfer(
        net,
        load_vgg(settings["vgg"], [settings["loss"]["content_layer"], *settings["loss"]["style_layers"]]),
        to_tensor(picture),
        pair=make_pair(settings["temporal"]),
        **{f"temporal_{key}": settings["temporal"][key] for key in ("weight", "balance", "ramp")},
        **{key: settings["temporal"][key] for key in ("shared_statistics", "feature_weight", "luminance")},
        **settings["loss"],
        **{key: setup[key] for key in ("max_steps", "learning_rate", "tail", "clip_norm")},
    )
    module.to(memory_format=torch.channels_last)  # 1.1 to 1.15 times as fast
    if resume:
        check_resumable(before, module, resume)
    crops = partial(Photos, soft=settings["data"]["soft"])
    if settings["data"]["source"] == "clips":
        raft = settings["data"]["raft"]
        crops = partial(Clips, flow=partial(raft_flow, load_raft(raft)) if raft else dis_flow)
    photos = ContentPhotos(
        paths, setup["image_size"], setup["batch_size"], settings["data"]["workers"], settings["data"]["validation"],
        settings["seed"], crops,
    )  # fmt: skip
    if first:
        prepare(folder, anew=settings["overwrite"] and not settings["resume"])
    front = Front(folder / "front", name)
    dashboard = Dashboard(folder, name, settings, **settings["logger"])
    last, finished, stop = folder / "last.ckpt", folder / f"{name}.ckpt", StopOnSignal()
    try:
        trainer = pl.Trainer(
            accelerator=setup["accelerator"],
            devices=setup["devices"],
            strategy="auto" if setup["devices"] == 1 else DDPStrategy(timeout=TIMEOUT),
            precision=setup["precision"],
            max_epochs=-1,
            max_steps=setup["max_steps"],
            val_check_interval=setup["validate_every"],
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            log_every_n_steps=min(10, setup["max_steps"]),
            logger=dashboard,
            callbacks=[
                Progress(),
                Saving(last, setup["save_every"], recipe),
                stop,
                Samples(folder, dashboard, photos.validation(), front),
            ],
            plugins=[AtomicCheckpointIO()],
            use_distributed_sampler=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
        )
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        dashboard.finish(1)
        raise ConfigError(f"these trainer settings do not work here: {error}") from error

    began = time.monotonic()
    status = 1
    try:
        trainer.fit(module, photos, ckpt_path=resume, weights_only=True)
        if not is_finite(net):
            raise Diverged("the last step broke the weights; lower trainer.learning_rate")
        trainer.save_checkpoint(last)
        measured = dict(trainer.callback_metrics)
        if not stop.received and trainer.global_step % setup["validate_every"]:  # the last net too may be the best
            trainer.validate(module, photos, verbose=False)
            measured |= trainer.callback_metrics
        if not first:
            return
        if stop.received:
            print(
                f"stopped at step {trainer.global_step}; to go on: the same command with resume=auto", file=sys.stderr
            )
            status = 128 + stop.received
            sys.exit(status)
        final = {key: round(float(value), 5) for key, value in measured.items() if key.startswith("val/")}
        step = trainer.global_step
        if best := front.best():
            chosen = load_checkpoint(front.path(best))
            net, step, final = chosen.net, best.step, chosen.recipe.get("final", final)
        recipe |= {"steps": trainer.global_step, "best_step": step, "final": final}
        save_checkpoint(finished, net, name, recipe)
        dashboard.log_checkpoint(finished)
        status = 0
    except Diverged:
        if first:
            raise
        return  # all devices found it, one says it
    except Exception as error:
        if resume and not stop.before and isinstance(error, (AttributeError, KeyError, TypeError, ValueError)):
            raise InputError(f"'{resume}' is damaged: {type(error).__name__} {error}") from error
        if trainer.world_size == 1 or isinstance(error, FastnstError):
            raise
        raise FastnstError(f"device {trainer.global_rank} stopped: {type(error).__name__}: {error}") from error
    finally:
        dashboard.finish(status)
    print(f"{trainer.global_step} steps in {time.monotonic() - began:.0f} s; the finished net: {finished}")
    print(f"python infer.py video=in.mp4 ckpt={finished}")


def style_picture(style: dict[str, Any]) -> tuple[str, Any]:
    """Returns the style's name and its picture, (height, width, 3) uint8: the user's image, or a drawn one."""
    from fastnst.images import load_style

    size = style["size"]
    if not 64 <= size <= 4096:
        raise ConfigError(f"style.size={size} must be between 64 and 4096 pixels")
    if not style["image"]:
        return style["name"], load_style(style["name"], size)
    return plain_name(Path(style["image"]).stem), load_style(style["image"], size)


def plain_name(text: str) -> str:
    """Returns a name that a folder and a file can have and that leads nowhere else.

    >>> plain_name("my picture (1)"), plain_name("..")
    ('my_picture_1_', 'style')
    """
    return re.sub(r"[^\w.-]+", "_", text).strip(".")[:60] or "style"


def run_folder(settings: dict[str, Any], name: str, first: bool) -> tuple[Path, Path | None]:
    """Returns the folder of the run, and the checkpoint to go on from if there is one; the `first` process looks.

    Raises:
        OutputError: the folder holds a run already, and nothing was said about it.
    """
    folder = Path(settings["run"] or f"runs/{name}").expanduser()
    last = folder / "last.ckpt"
    if settings["resume"] == "auto":
        return folder, last if last.exists() else None
    if settings["resume"]:
        return folder, Path(settings["resume"]).expanduser()
    if first and not settings["overwrite"] and ((folder / "metrics.jsonl").exists() or last.exists()):
        raise OutputError(f"'{folder}' holds a run already: resume=auto goes on with it, overwrite=true starts anew")
    return folder, None


def prepare(folder: Path, anew: bool) -> None:
    """Makes the folder of the run, and removes half files that a killed run left.

    Args:
        folder: of the run.
        anew: removes what an earlier run wrote there too, and nothing else; its finished net stays till it is replaced.

    Raises:
        OutputError: the folder cannot be written.
    """
    ours = ("last.ckpt", "metrics.jsonl", "stylized_*.png", "clip_*.mp4", "wandb_id") if anew else ()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for pattern in (".fastnst-*", *ours):
            for path in folder.glob(pattern):
                path.unlink()
        for name in ("wandb", "front") if anew else ():
            if (folder / name).is_dir():
                shutil.rmtree(folder / name)
    except OSError as error:
        raise OutputError(f"cannot write to run='{folder}': {error.strerror or error}") from error


def content_paths(data: dict[str, Any], first: bool) -> list[Any]:
    """Returns the photos, or the shots of clips, to train on; the `first` process names the files of no use.

    Raises:
        ConfigError: there is nothing to train on, or more than a share of `max_bad` of the files is of no use.
    """
    from fastnst.training.clips import find_shots
    from fastnst.training.photos import download, find_photos, sample_photos

    if data["source"] == "sample":
        return sample_photos()
    root = Path(data["root"]).expanduser()
    if data["download"]:
        download(data["url"], root)
    paths, bad = find_shots(root) if data["source"] == "clips" else find_photos(root)
    named = ", ".join(f"{file} ({reason})" for file, reason in list(bad.items())[:10])
    named += " ..." if len(bad) > 10 else ""
    files = len(bad) + len({getattr(path, "path", path) for path in paths})  # several shots are of one clip
    if len(bad) > data["max_bad"] * files:
        share = math.ceil(100 * len(bad) / files) / 100
        raise ConfigError(
            f"{len(bad)} of {files} files in '{root}' are of no use: {named}; remove them, or give data.max_bad={share}"
        )
    if bad and first:
        print(f"skipped {len(bad)} files in '{root}': {named}", file=sys.stderr)
    return paths


def same_run(before: dict[str, Any], now: dict[str, Any], resume: Path) -> None:
    """Raises InputError with the first three differences if the run to go on with was made with other settings."""
    old, new = flat(before), flat(now)
    changed = [f"{key}={old.get(key)!s:.40}, not {new[key]!s:.40}" for key in new if old.get(key) != new[key]]
    if changed:
        raise InputError(f"'{resume}' is of another run: {'; '.join(changed[:3])}; give the same settings to go on")


def flat(recipe: dict[str, Any]) -> dict[str, Any]:
    """Returns the entries of a recipe, those of groups under their full names.

    >>> flat({"seed": 1, "loss": {"tv_weight": 2.0}})
    {'seed': 1, 'loss.tv_weight': 2.0}
    """
    return {
        f"{key}.{name}" if name else key: entry
        for key, value in recipe.items()
        for name, entry in (value.items() if isinstance(value, dict) else [("", value)])
    }


def with_trainer(argv: list[str]) -> list[str]:
    """Returns the command line with `trainer=cpu` put in where no trainer is chosen and there is no GPU."""
    if any(argument.startswith(("trainer=", "-")) for argument in argv):
        return argv
    import torch

    return argv if torch.cuda.is_available() else ["trainer=cpu", *argv]


if __name__ == "__main__":
    sys.argv[1:] = with_trainer(sys.argv[1:])
    cli.main(train, "train", __doc__ or "", PATHS)
