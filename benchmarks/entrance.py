"""Where the canvas enters, with how many channels and first weights: trains and judges one arm, prints its row.

    PYTHONPATH=. python benchmarks/entrance.py ARM NET FOLDER CLIP... -- style=picasso net=lite data.root=PHOTOS ...

Each of `ARMS` begins from the same trained net, NET, which forgets what it knows of the canvas: its weights there are
drawn anew. What is typed behind `--` are settings of train.py, the same for all arms; the folder must be one for each.
The losses are those on the photos set aside, of the net that the training chose; static flicker and the change along
the motion above the input's are means over the clips, 12 frames of 384 pixels, judged by Farneback's flow.
"""

from __future__ import annotations

import sys
from math import isfinite
from pathlib import Path
from statistics import mean
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastnst import canvas
from fastnst.canvas import fixed_canvas
from fastnst.checkpoint import load_checkpoint, save_checkpoint
from fastnst.evaluate.contenders import ClipFile, find_clips, known_grams, known_style_picture, net_rendition
from fastnst.evaluate.judge import evaluate_clip
from fastnst.net import StylizationNet, reflected_conv, through
from fastnst.settings import LookSettings
from fastnst.training.__main__ import main as train
from fastnst.vgg import load_vgg

APART = 683  # pixels of the field between two channels of it
FRAMES, SIDE = 12, 384
FIRST = "encoder.0.0.weight"
DEEP = 0.3  # deviation of what a canvas that enters at quarter resolution adds there at first


class Arm(NamedTuple):
    """How the canvas enters.

    Attributes:
        weight: deviation of its first weights, in units of that of the weights of the colours.
        channels: of the field, at the first layer.
        deep: whether it also enters at quarter resolution, before the residual blocks.
    """

    weight: float = 0.3
    channels: int = 1
    deep: bool = False


ARMS = {
    "as-it-is": Arm(),
    "weights-0.1": Arm(weight=0.1),
    "weights-1": Arm(weight=1.0),
    "three-channels": Arm(channels=3),
    "deep-too": Arm(deep=True),
}


class Net(StylizationNet):
    """The net with the canvas entering as in `arm`."""

    arm = Arm()

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        first = self.encoder[0][0]  # pyright: ignore[reportIndexIssue]
        shape = 3 + self.arm.channels, first.out_channels, first.kernel_size[0], first.stride[0]
        self.encoder[0][0] = reflected_conv(*shape)  # pyright: ignore[reportIndexIssue]
        self.deeper = nn.Conv2d(16, self.settings["channels"][2], 1, bias=False) if self.arm.deep else None

    def seen(self, content: Tensor, canvas: Tensor | None) -> Tensor:
        """Returns the pictures with all channels of the canvas behind their colours."""
        height, width = content.shape[-2:]
        field = fixed_canvas(height, width) if canvas is None else canvas
        return super().seen(content, field.reshape(-1, self.arm.channels, height, width))

    def forward(self, content: Tensor, choose=None, canvas: Tensor | None = None) -> Tensor:
        """Returns the stylized pictures."""
        if self.deeper is None:
            return super().forward(content, choose, canvas)
        height, width = content.shape[-2:]
        seen = self.seen(content, canvas)
        features = through(self.encoder, seen, choose) + self.deeper(F.pixel_unshuffle(seen[:, 3:4] - 0.5, 4))
        for stage in (self.residuals, self.decoder):
            features = through(stage, features, choose)
        return torch.sigmoid(features)[..., :height, :width]


def begun(state: dict[str, Tensor], arm: Arm) -> dict[str, Tensor]:
    """Returns the weights that an arm begins with."""
    generator, colours = torch.Generator().manual_seed(0), state[FIRST][:, :3]
    noise = torch.randn(len(colours), arm.channels, *colours.shape[2:], generator=generator)
    new = state | {FIRST: torch.cat([colours, arm.weight * colours.std() * noise], 1)}
    if arm.deep:
        outputs = len(state["residuals.0.body.0.0.weight"])
        drawn = torch.randn(outputs, 16, 1, 1, generator=generator)
        new["deeper.weight"] = DEEP / (4 * canvas.DEVIATION) * drawn
    return new


def sampled_by(channels: int):
    """Returns `fastnst.canvas.sampled` for so many channels: (channels, height, width), or (height, width) of one."""
    one = canvas.sampled
    return one if channels == 1 else lambda x, y: np.stack([one(x + n * APART, y) for n in range(channels)])


def main() -> None:
    """Trains an arm, or goes on with it; judges it; prints its row."""
    own, settings = sys.argv[1 : sys.argv.index("--")], sys.argv[sys.argv.index("--") + 1 :]
    name, net, folder, clips = own[0], own[1], Path(own[2]), own[3:]
    arm = ARMS[name]
    start = load_checkpoint(net)
    patches = [patch.object(canvas, "sampled", sampled_by(arm.channels))]
    patches += [patch(f"fastnst.{where}.StylizationNet", Net) for where in ("checkpoint", "net", "training.run")]
    for each in patches:
        each.start()
    Net.arm = arm
    renewed = Net(**start.net.settings)
    renewed.load_state_dict(begun(start.net.state_dict(), arm))
    folder.mkdir(parents=True, exist_ok=True)
    save_checkpoint(folder / "start.ckpt", renewed, start.style, start.recipe)
    sys.argv[1:] = [*settings, f"net.init={folder / 'start.ckpt'}", f"run={folder / 'run'}", "resume=auto"]
    try:
        train()
    except SystemExit as status:
        if status.code:
            raise
    finished = load_checkpoint(folder / "run" / f"{start.style}.ckpt")
    vgg = load_vgg()
    grams = {name: known_grams(known_style_picture(finished, None, None), start.style, vgg)}
    rendition = net_rendition(finished.net, LookSettings(smooth=0.0))._replace(probe=None)
    static, ratio, along = [], [], []
    for path in find_clips(clips).values():
        judged = evaluate_clip(ClipFile(path, SIDE, FRAMES), {name: rendition}, vgg, grams)
        own_numbers, of_input = judged[name], judged["input"]
        along.append(own_numbers["absolute_warping_error_1"] - of_input["absolute_warping_error_1"])
        if isfinite(of_input["static_flicker"]):  # of a fixed camera
            static.append(own_numbers["static_flicker"])
            ratio.append(own_numbers["static_flicker"] / of_input["static_flicker"])
    losses = finished.recipe["final"]
    row = [f"{losses[f'val/{loss}_loss']:.4g}" for loss in ("style", "content", "structure", "temporal")]
    row += [f"{value:.3f}" for value in (mean(static), mean(ratio), mean(along))]
    print(f"| {name} | {start.style} | " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
