"""How published nets compare, measured as ours: python benchmarks/peers.py WEIGHTS CLIPS [--style NET=PICTURE ...].

Reads the weights of gnsmrky's half- and quarter-width Johnson nets (PyTorch state dicts, `gnsmrky_*.pth`) and of
lengstrom's nets (arrays, `lengstrom_*.npz`) that lie in a folder, builds nets of its own around them, and prints what
`fastnst evaluate` prints. The style loss needs each net's style picture.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from fastnst.evaluate.contenders import STYLE_SIZE, ClipFile, find_clips, known_style_picture, net_rendition
from fastnst.evaluate.judge import FLOWS, evaluate_clip, style_grams
from fastnst.evaluate.report import means, tables
from fastnst.images import to_tensor
from fastnst.settings import LookSettings
from fastnst.vgg import load_vgg

RESIDUALS = 5


class Step(nn.Module):
    """Padding, convolution, instance norm, ReLU.

    Args:
        weight: of the convolution, (out, in, kernel, kernel); transposed ones (in, out, kernel, kernel).
        bias: of the convolution, or None.
        norm: scale and shift of the instance norm, or None for a layer without.
        stride: of the convolution.
        up: 2 to double the size first by repeating pixels.
        same: pad with zeros and as TensorFlow does ("SAME"); else by reflection.
        transposed: a transposed convolution, which undoes the stride of "SAME".
        relu: whether there is one.
        eps: of the instance norm.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, norm: tuple[Tensor, Tensor] | None, *, stride: int = 1, up: int = 1,
        same: bool = False, transposed: bool = False, relu: bool = True, eps: float = 1e-5,
    ) -> None:  # fmt: skip
        super().__init__()
        self.weight, self.bias = weight, bias
        self.stride, self.up, self.same, self.transposed, self.relu = stride, up, same, transposed, relu
        self.norm = None
        if norm:
            self.norm = nn.InstanceNorm2d(len(norm[0]), eps=eps, affine=True)
            self.norm.weight, self.norm.bias = (nn.Parameter(each, requires_grad=False) for each in norm)

    def forward(
        self, features: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch out_channels out_height out_width"]:
        """Returns the features of the next layer."""
        if self.up > 1:
            features = F.interpolate(features, scale_factor=self.up, mode="nearest")
        kernel = self.weight.shape[-1]
        if self.transposed:
            height, width = (side * self.stride for side in features.shape[2:])
            features = F.conv_transpose2d(features, self.weight, stride=self.stride)[..., :height, :width]
        elif self.same:
            x, y = (
                max((-(-side // self.stride) - 1) * self.stride + kernel - side, 0) for side in features.shape[:1:-1]
            )
            features = F.pad(features, (x // 2, x - x // 2, y // 2, y - y // 2))
            features = F.conv2d(features, self.weight, stride=self.stride)
        else:
            features = F.pad(features, (kernel // 2,) * 4, mode="reflect")
            features = F.conv2d(features, self.weight, self.bias, stride=self.stride)
        if self.norm is not None:
            features = self.norm(features)
        return F.relu(features) if self.relu else features


class Peer(nn.Module):
    """A Johnson net: three steps down, `RESIDUALS` blocks, three steps up; 0-255 inside, [0, 1] outside."""

    def __init__(self, steps: list[Step], tanh: bool) -> None:
        super().__init__()
        self.steps, self.tanh = nn.ModuleList(steps), tanh

    def forward(self, content: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3 height width"]:
        """Returns the stylized pictures."""
        height, width = content.shape[2:]
        features = F.pad(content * 255, (0, -width % 4, 0, -height % 4), mode="replicate")
        for step in self.steps[:3]:
            features = step(features)
        for block in range(RESIDUALS):
            first, second = self.steps[3 + 2 * block : 5 + 2 * block]
            features = features + second(first(features))
        for step in self.steps[-3:]:
            features = step(features)
        if self.tanh:
            features = torch.tanh(features) * 150 + 127.5
        return (features[..., :height, :width] / 255).clamp(0, 1)


def gnsmrky(path: Path) -> Peer:
    """Returns a net of gnsmrky/pytorch-fast-neural-style-for-web, which is that of pytorch/examples, narrower."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    names = [(f"conv{number}", f"in{number}") for number in (1, 2, 3)]
    names += [
        (f"res{block}.conv{each}", f"res{block}.in{each}") for block in range(1, RESIDUALS + 1) for each in (1, 2)
    ]
    names += [("deconv1", "in4"), ("deconv2", "in5"), ("deconv3", "")]
    steps = []
    for conv, norm in names:
        weight, bias = (state[f"{conv}.conv2d.{kind}"] for kind in ("weight", "bias"))
        scale_shift = (state[f"{norm}.weight"], state[f"{norm}.bias"]) if norm else None
        relu = bool(norm) and not (conv.startswith("res") and conv.endswith("conv2"))
        stride, up = 2 if conv in ("conv2", "conv3") else 1, 2 if conv in ("deconv1", "deconv2") else 1
        steps.append(Step(weight, bias, scale_shift, stride=stride, up=up, relu=relu))
    return Peer(steps, tanh=False)


def lengstrom(path: Path) -> Peer:
    """Returns a net of lengstrom/fast-style-transfer: weight, shift, scale for each of 16 convolutions, no biases."""
    arrays = np.load(path)
    tensors = [torch.from_numpy(arrays[f"v{number}"]).float() for number in range(len(arrays.files))]
    steps = []
    for number in range(len(tensors) // 3):
        weight, shift, scale = tensors[3 * number : 3 * number + 3]
        up, down, last = number in (13, 14), number in (1, 2), number == 15
        second = 3 <= number < 13 and number % 2 == 0
        steps.append(
            Step(weight, None, (scale, shift), stride=2 if up or down else 1, same=True, transposed=up,
                 relu=not (second or last), eps=1e-3)
        )  # fmt: skip
    return Peer(steps, tanh=True)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="folder with gnsmrky_*.pth and lengstrom_*.npz")
    parser.add_argument("clips", nargs="+", help="clips, or folders of clips")
    parser.add_argument("--only", nargs="*", help="names of the nets, without the ending")
    parser.add_argument("--style", nargs="*", default=[], help="lengstrom_wave=wave.jpg: a net's style picture")
    parser.add_argument("--norm", default="frame", choices=("frame", "shot"))
    parser.add_argument("--flow", default="farneback", choices=FLOWS, help="along which frames are compared")
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--max-side", type=int, default=512)
    chosen = parser.parse_args()

    nets: dict[str, nn.Module] = {path.stem: gnsmrky(path) for path in sorted(chosen.weights.glob("gnsmrky_*.pth"))}
    nets |= {path.stem: lengstrom(path) for path in sorted(chosen.weights.glob("lengstrom_*.npz"))}
    nets = {name: net.eval() for name, net in nets.items() if not chosen.only or name in chosen.only}
    if not nets:
        sys.exit(f"no weights called gnsmrky_*.pth or lengstrom_*.npz in '{chosen.weights}'")
    vgg = load_vgg()
    grams = {}
    for given in chosen.style:
        name, _, picture = given.partition("=")
        pixels = known_style_picture(None, picture, STYLE_SIZE)
        assert pixels is not None
        grams[name] = style_grams(vgg, to_tensor(pixels))
    rows = []
    for clip, path in find_clips(chosen.clips).items():
        print(clip, file=sys.stderr)
        renditions = {
            name: net_rendition(net, LookSettings(norm=chosen.norm, smooth=0.0)) for name, net in nets.items()
        }
        found = evaluate_clip(ClipFile(path, chosen.max_side, chosen.frames), renditions, vgg, grams, flow=chosen.flow)
        rows += [{"net": name, "clip": clip, **numbers} for name, numbers in found.items()]
    print(tables([*means(rows), *rows], chosen.flow))


if __name__ == "__main__":
    main()
