"""Trains a stylization net on photos, for one style picture.

  python train.py style=picasso                                  COCO train2017 in data/train2017
  python train.py style=picasso data.root=~/photos               any folder of photos
  python train.py style=picasso data=sample                      photos that come with pip packages
  python train.py style.image=my_picture.jpg data.root=~/photos  your own style
  python train.py style=picasso resume=auto                      continues an interrupted run

The finished net is runs/picasso/picasso.ckpt: python infer.py video=in.mp4 ckpt=runs/picasso/picasso.ckpt
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fastnst import cli
from fastnst.errors import FastnstError
from fastnst.settings import TrainSettings


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command with what was typed behind its name, and exits."""
    argv = sys.argv[1:] if argv is None else argv
    cli.main(train, TrainSettings, __doc__ or "", argv=with_trainer(argv))


def train(settings: TrainSettings) -> None:
    """Trains one style. Only now, when the settings are right, torch and Lightning are imported: they take seconds."""
    from fastnst.training.run import run

    run(settings)


def with_trainer(argv: Sequence[str]) -> list[str]:
    """Returns the command line with `trainer=cpu` put in where no trainer is chosen and there is no GPU.

    A processor that multiplies bfloat16 then trains in it, in half the time, unless another precision is typed. A
    command line with something wrong is left as it is: `cli.main` says what, without waiting for torch.
    """
    if any(argument.startswith(("trainer=", "-")) for argument in argv):
        return list(argv)
    try:
        cli.load(TrainSettings, argv)
    except FastnstError:
        return list(argv)
    import torch

    if torch.cuda.is_available():
        return list(argv)
    able = getattr(torch.cpu, "get_capabilities", dict)()  # not there in older versions of torch
    faster = (able.get("avx512_bf16") or able.get("amx_bf16")) and not any("trainer.precision" in each for each in argv)
    return ["trainer=cpu", *(["trainer.precision=bf16-mixed"] if faster else []), *argv]


if __name__ == "__main__":
    main()
