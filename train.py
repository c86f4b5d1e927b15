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
import re
import shutil
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from fastnst import cli
from fastnst.errors import ConfigError, OutputError

PATHS = ("style.image", "data.root", "run", "resume", "vgg", "net.init")
AT_LEAST = {"image_size": 64, "batch_size": 1, "max_steps": 1, "validate_every": 1, "save_every": 1, "learning_rate": 0}


def train(settings: dict[str, Any]) -> None:
    """Trains one style: settings in, plain objects wired, the run, a finished net out."""
    setup = settings["trainer"]
    if low := [name for name, least in AT_LEAST.items() if setup[name] < least]:
        raise ConfigError(f"trainer.{low[0]}={setup[low[0]]} must be {AT_LEAST[low[0]]} or more")
    name, picture = style_picture(settings["style"])
    folder, resume = run_folder(settings, name)
    paths = content_paths(settings["data"])

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", "`isinstance", FutureWarning)  # pytorch_lightning 2.6 with torch 2.14
    import pytorch_lightning as pl

    from fastnst.callbacks import AtomicCheckpointIO, Progress, Samples, Saving, StopOnSignal, load_training_checkpoint
    from fastnst.checkpoint import load_checkpoint, save_checkpoint
    from fastnst.clips import Clips
    from fastnst.dashboard import Dashboard
    from fastnst.data import ContentPhotos, Photos, fingerprint
    from fastnst.frames import make_pair
    from fastnst.images import to_tensor
    from fastnst.module import StyleTransfer
    from fastnst.net import StylizationNet
    from fastnst.vgg import load_vgg

    recipe = {
        "style_sha256": hashlib.sha256(picture.tobytes()).hexdigest(),
        "data_sha256": fingerprint(paths),
        "data_items": len(paths),
        **{key: settings[key] for key in ("seed", "loss", "temporal", "trainer")},
        "net": settings["net"]["preset"],
        "net_init": settings["net"]["init"] and Path(settings["net"]["init"]).name,
        "style_size": settings["style"]["size"],
    }
    if resume:
        same_run(load_training_checkpoint(resume)["recipe"], recipe, resume)

    pl.seed_everything(settings["seed"], verbose=False)
    init = settings["net"]["init"]
    net = load_checkpoint(init).net.requires_grad_(True) if init else StylizationNet.preset(settings["net"]["preset"])
    module = StyleTransfer(
        net,
        load_vgg(settings["vgg"], [settings["loss"]["content_layer"], *settings["loss"]["style_layers"]]),
        to_tensor(picture),
        pair=make_pair(settings["temporal"]),
        **{f"temporal_{key}": settings["temporal"][key] for key in ("weight", "balance", "ramp")},
        luminance=settings["temporal"]["luminance"],
        **settings["loss"],
        **{key: setup[key] for key in ("max_steps", "learning_rate", "tail", "clip_norm")},
    )
    photos = ContentPhotos(
        paths, setup["image_size"], setup["batch_size"], settings["data"]["workers"], settings["data"]["validation"],
        settings["seed"], Clips if settings["data"]["source"] == "clips" else Photos,
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    dashboard = Dashboard(folder, name, settings, **settings["logger"])
    last, finished, stop = folder / "last.ckpt", folder / f"{name}.ckpt", StopOnSignal()
    trainer = pl.Trainer(
        accelerator=setup["accelerator"],
        devices=setup["devices"],
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
            Samples(folder, dashboard, photos.validation()),
        ],
        plugins=[AtomicCheckpointIO()],
        use_distributed_sampler=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )

    began = time.monotonic()
    status = 1
    try:
        trainer.fit(module, photos, ckpt_path=resume, weights_only=True)
        trainer.save_checkpoint(last)
        if stop.received:
            print(
                f"stopped at step {trainer.global_step}; to go on: the same command with resume=auto", file=sys.stderr
            )
            status = 128 + stop.received
            sys.exit(status)
        losses = {
            key: round(float(value), 5) for key, value in trainer.callback_metrics.items() if key.endswith("_loss")
        }
        recipe |= {"steps": trainer.global_step, "final": losses}
        save_checkpoint(finished, net, name, recipe)
        dashboard.log_checkpoint(finished)
        status = 0
    finally:
        dashboard.finish(status)
    print(f"{trainer.global_step} steps in {time.monotonic() - began:.0f} s; the finished net: {finished}")
    print(f"python infer.py video=in.mp4 ckpt={finished}")


def style_picture(style: dict[str, Any]) -> tuple[str, Any]:
    """Returns the style's name and its picture, (height, width, 3) uint8: the user's image, or a drawn one."""
    import numpy as np

    from fastnst.images import load_image
    from fastnst.paintings import paint

    size = style["size"]
    if not 64 <= size <= 4096:
        raise ConfigError(f"style.size={size} must be between 64 and 4096 pixels")
    if not style["image"]:
        return style["name"], paint(style["name"], size, style["seed"])
    image = load_image(style["image"])
    scale = size / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), reducing_gap=3)
    return re.sub(r"[^\w.-]+", "_", Path(style["image"]).stem), np.asarray(image)


def run_folder(settings: dict[str, Any], name: str) -> tuple[Path, Path | None]:
    """Returns the folder of the run, and the checkpoint to go on from if there is one.

    Raises:
        OutputError: the folder holds a run already, and nothing was said about it.
    """
    folder = Path(settings["run"] or f"runs/{name}").expanduser()
    last = folder / "last.ckpt"
    if settings["resume"] == "auto":
        return folder, last if last.exists() else None
    if settings["resume"]:
        return folder, Path(settings["resume"]).expanduser()
    if (folder / "metrics.jsonl").exists() or last.exists():
        if not settings["overwrite"]:
            raise OutputError(
                f"'{folder}' holds a run already: resume=auto goes on with it, overwrite=true starts anew"
            )
        shutil.rmtree(folder)
    return folder, None


def content_paths(data: dict[str, Any]) -> list[Any]:
    """Returns the photos, or the shots of clips, to train on, and names the files that cannot be used."""
    from fastnst.clips import find_shots
    from fastnst.data import download, find_photos, sample_photos

    if data["source"] == "sample":
        return sample_photos()
    root = Path(data["root"]).expanduser()
    if data["download"]:
        download(data["url"], root)
    paths, bad = find_shots(root) if data["source"] == "clips" else find_photos(root)
    if bad:
        named = ", ".join(f"{file} ({reason})" for file, reason in list(bad.items())[:10])
        print(f"skipped {len(bad)} files in '{root}': {named}{' ...' if len(bad) > 10 else ''}", file=sys.stderr)
    return paths


def same_run(before: dict[str, Any], now: dict[str, Any], resume: Path) -> None:
    """Raises ConfigError if the run to go on with was made with other settings."""
    if changed := [key for key in now if before.get(key) != now[key]]:
        raise ConfigError(f"'{resume}' was trained with another {', '.join(changed)}; give the same settings to go on")


def with_trainer(argv: list[str]) -> list[str]:
    """Returns the command line with `trainer=cpu` put in where no trainer is chosen and there is no GPU."""
    if any(argument.startswith(("trainer=", "-")) for argument in argv):
        return argv
    import torch

    return argv if torch.cuda.is_available() else ["trainer=cpu", *argv]


if __name__ == "__main__":
    sys.argv[1:] = with_trainer(sys.argv[1:])
    cli.main(train, "train", __doc__ or "", PATHS)
