"""A `StylizationNet` as an ONNX graph of plain operators, which every runtime takes, at any size of picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from fastnst.net import (
    EPSILON,
    SMALLEST,
    STRIDE,
    Blur,
    ColoursConv,
    ConvNorm,
    EnlargingConv,
    ResidualBlock,
    StylizationNet,
    padding_to_fit,
)
from fastnst.shots import HASTE

Values = Mapping[str, tuple[int, list[Any]]]  # by name, each its type and shape
OPSET, IR = 17, 8  # of 2022: all runtimes of the last years read them
OPERATORS = frozenset(
    {
        "Add",
        "Concat",
        "Conv",
        "ConvTranspose",
        "DepthToSpace",
        "InstanceNormalization",
        "Mul",
        "Pad",
        "Relu",
        "Sigmoid",
        "Slice",
    }
)  # of an exported file; TensorRT, Core ML, ncnn and browsers take them
OPERATORS_OF_ANY_SIZE = frozenset({"Max", "Mod", "Shape", "Sub"})  # where the size is not fixed
OPERATORS_OF_UINT8 = frozenset({"Cast", "Round", "Transpose"})


class Graph:
    """An ONNX graph under construction: most methods add what they are named for and return the name of its result.

    Args:
        norm: where the norm layers take their statistics from. "own": the picture. "given": inputs of the graph,
            `scale` and `offset` of every channel. "followed": the inputs `mean` and `variance`, which first move
            towards the picture's by the input `rate`, as `shots.followed` moves them; results of the graph, too.
    """

    def __init__(self, norm: str = "own") -> None:
        self.norm = norm
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.channels: list[int] = []  # of each norm layer so far
        self.moved: list[tuple[str, str]] = []  # mean and variance that each of them used

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Adds an operator; `output` names its result."""
        output = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def constant(self, value: Any) -> str:
        """Adds weights, or numbers: float32, or int64 for whole ones."""
        array = value.detach().float().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
        array = array.astype(np.float32) if array.dtype == np.float64 else array
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def net(self, net: StylizationNet, features: str, output: str = "") -> str:
        """Adds the net, behind what `StylizationNet.seen` returns."""
        for stage in (net.encoder, net.residuals, net.decoder):
            features = self.through(stage, features)
        return self.add("Sigmoid", features, output=output)

    def through(self, layers: Iterable[nn.Module], features: str) -> str:
        """Adds layers, one after the other."""
        for layer in layers:
            features = self.layer(layer, features)
        return features

    def layer(self, layer: nn.Module, features: str) -> str:
        """Adds a layer."""
        if isinstance(layer, ConvNorm):
            return self.conv_norm(layer, features)
        if isinstance(layer, ResidualBlock):
            return self.add("Add", features, self.through(layer.body, features))
        if isinstance(layer, EnlargingConv):
            around = self.add("Pad", features, self.constant([0, 0, 1, 1, 0, 0, 1, 1]), mode="edge")
            weights = [self.constant(each) for each in (layer.summed(), layer.bias) if each is not None]
            return self.add("ConvTranspose", around, *weights, kernel_shape=[4, 4], strides=[2, 2], pads=[3, 3, 3, 3])
        if isinstance(layer, ColoursConv):
            assert layer.bias is not None
            around = self.add("Pad", features, self.constant([0, 0, 4, 4, 0, 0, 4, 4]), mode="reflect")
            weights = [self.constant(each) for each in (layer.spread(), layer.bias.repeat_interleave(16))]
            spread = self.add("Conv", around, *weights, kernel_shape=[12, 12], strides=[4, 4])
            return self.add("DepthToSpace", spread, blocksize=4, mode="CRD")
        if isinstance(layer, nn.Conv2d):
            weights = [self.constant(each) for each in (layer.weight, layer.bias) if each is not None]
            return self.conv(features, layer.kernel_size[0], *weights, stride=layer.stride[0], group=layer.groups)
        if isinstance(layer, nn.Identity):
            return features
        if isinstance(layer, nn.PixelShuffle):
            return self.add("DepthToSpace", features, blocksize=layer.upscale_factor, mode="CRD")
        assert isinstance(layer, nn.ReLU), type(layer)
        return self.add("Relu", features)

    def conv(self, features: str, size: int, *weights: str, stride: int = 1, group: int = 1) -> str:
        """Adds a convolution that pads by reflection."""
        if by := size // 2:
            features = self.add("Pad", features, self.constant([0, 0, by, by, 0, 0, by, by]), mode="reflect")
        return self.add("Conv", features, *weights, kernel_shape=[size, size], strides=[stride, stride], group=group)

    def conv_norm(self, layer: ConvNorm, features: str) -> str:
        """Adds convolutions, with the blur before them if there is one, and their norm layer if it is not folded."""
        *others, norm = layer
        if isinstance(others[0], Blur):
            channels = next(each.in_channels for each in others if isinstance(each, nn.Conv2d))
            triangle = torch.tensor([0.25, 0.5, 0.25])
            weights = torch.outer(triangle, triangle).expand(channels, 1, 3, 3)
            features = self.conv(features, 3, self.constant(weights), group=channels)
            others = others[1:]
        features = self.through(others, features)
        if not isinstance(norm, nn.InstanceNorm2d):
            return features
        if self.norm == "own":
            weights = self.constant(norm.weight), self.constant(norm.bias)
            return self.add("InstanceNormalization", features, *weights, epsilon=norm.eps)
        number = len(self.channels)
        self.channels.append(norm.num_features)
        scale, offset = (f"scale_{number}", f"offset_{number}")
        if self.norm == "followed":
            scale, offset = self.follow(norm, features, f"mean_{number}", f"variance_{number}")
        return self.add("Add", self.add("Mul", features, scale), offset)

    def follow(self, norm: nn.InstanceNorm2d, features: str, mean: str, variance: str) -> tuple[str, str]:
        """Adds `shots.followed`; returns the scale and the offset that the statistics come to."""
        one, epsilon = self.constant(1.0), self.constant(EPSILON)
        away = self.add("Sub", features, mean)
        shift = self.add("GlobalAveragePool", away)  # from the kept mean to the picture's
        squares = self.add("GlobalAveragePool", self.add("Mul", away, away))
        own = self.add("Sub", squares, self.add("Mul", shift, shift))
        deviation, own_deviation = (self.add("Sqrt", self.add("Add", each, epsilon)) for each in (variance, own))
        apart = (
            self.add("Div", shift, deviation),
            self.add("Sub", self.add("Div", own_deviation, deviation), one),
        )
        distance = self.add("Add", *(self.add("Mul", each, each) for each in apart))
        distance = self.add("ReduceMean", distance, axes=[1], keepdims=1)
        hasty = self.add("Mul", distance, self.constant(HASTE))
        weight = self.add("Min", self.add("Add", "rate", hasty), one)
        mean = self.add("Add", mean, self.add("Mul", weight, shift))
        variance = self.add("Add", variance, self.add("Mul", weight, self.add("Sub", own, variance)))
        self.moved.append((mean, variance))
        root = self.add("Sqrt", self.add("Add", variance, self.constant(norm.eps)))
        scale = self.add("Div", self.constant(norm.weight.view(1, -1, 1, 1)), root)
        offset = self.add("Sub", self.constant(norm.bias.view(1, -1, 1, 1)), self.add("Mul", mean, scale))
        return scale, offset

    def model(self, inputs: Values, outputs: Values) -> onnx.ModelProto:
        """Returns the whole as a model with these inputs and outputs."""
        values = [
            [helper.make_tensor_value_info(name, *each) for name, each in end.items()] for end in (inputs, outputs)
        ]
        graph = helper.make_graph(self.nodes, "fastnst", values[0], values[1], self.constants)
        opset = helper.make_opsetid("", OPSET)
        return helper.make_model(graph, opset_imports=[opset], ir_version=IR, producer_name="fastnst")


def model_of(net: StylizationNet, norm: str) -> bytes:
    """Returns the net as an ONNX model for a runtime in this process, see `Graph`.

    Its input `seen` is what `StylizationNet.seen` returns. The statistics of all norm layers, one after the other along
    the channels, are one input.
    """
    graph = Graph(norm)
    graph.net(net, "seen", "stylized")
    channels = 4 if net.has_canvas else 3
    inputs: dict[str, tuple[int, list[Any]]] = {"seen": (TensorProto.FLOAT, ["batch", channels, "height", "width"])}
    outputs: dict[str, tuple[int, list[Any]]] = {"stylized": (TensorProto.FLOAT, ["batch", 3, "height", "width"])}
    every = (TensorProto.FLOAT, [1, sum(graph.channels), 1, 1])
    names = {"own": (), "given": ("scale", "offset"), "followed": ("mean", "variance")}[norm]
    for name in names:
        inputs[name] = every
        counts = graph.constant(graph.channels)
        parts = [f"{name}_{number}" for number in range(len(graph.channels))]
        graph.nodes.insert(0, helper.make_node("Split", [name, counts], parts, axis=1))
    if norm == "followed":
        inputs["rate"] = (TensorProto.FLOAT, [])
        for name, parts in zip(names, zip(*graph.moved, strict=True), strict=True):
            graph.add("Concat", *parts, output=f"moved_{name}", axis=1)
            outputs[f"moved_{name}"] = every
    return graph.model(inputs, outputs).SerializeToString()


def exported(net: StylizationNet, shape: tuple[int, int] | None, pixels: str, field: Tensor) -> onnx.ModelProto:
    """Returns the net as an ONNX model for other programs, for pictures of any size and number.

    Args:
        net: the net, with norm layers or folded.
        shape: height and width; None: any. Then the canvas is an input of its own.
        pixels: "float": (batch, 3, height, width) in [0, 1]; "uint8": (batch, height, width, 3).
        field: the canvas, if the size is fixed.
    """
    graph, whole = Graph(), pixels == "uint8"
    height, width = shape or ("height", "width")
    size: list[Any] = ["batch", height, width, 3] if whole else ["batch", 3, height, width]
    kind = TensorProto.UINT8 if whole else TensorProto.FLOAT
    inputs: dict[str, tuple[int, list[Any]]] = {"content": (kind, size)}
    seen = "content"
    if whole:
        seen = graph.add("Transpose", graph.add("Cast", seen, to=TensorProto.FLOAT), perm=[0, 3, 1, 2])
        seen = graph.add("Mul", seen, graph.constant(1 / 255))
    here = "" if shape else graph.add("Shape", seen, start=2, end=4)
    if net.has_canvas:
        canvas = graph.constant(field) if shape else "canvas"
        if not shape:
            inputs["canvas"] = (TensorProto.FLOAT, [1, 1, height, width])
        red = graph.add("Slice", seen, *(graph.constant([place]) for place in (0, 1, 1)))
        nothing = graph.add("Mul", red, graph.constant(0.0))  # one for each picture of the batch
        canvas = graph.add("Add", nothing, graph.add("Add", canvas, graph.constant(0.5)))
        seen = graph.add("Concat", seen, canvas, axis=1)
    if shape:
        lacking = [padding_to_fit(length) for length in shape]
        pads = graph.constant([0] * 6 + lacking) if any(lacking) else ""
    else:
        least = graph.add("Sub", graph.constant([SMALLEST, SMALLEST]), here)
        step = graph.add("Mod", graph.add("Sub", graph.constant([0, 0]), here), graph.constant([STRIDE, STRIDE]))
        pads = graph.add("Concat", graph.constant([0] * 6), graph.add("Max", least, step), axis=0)
    if pads:
        seen = graph.add("Pad", seen, pads, mode="edge")
    stylized = graph.net(net, seen)
    if pads:
        end = graph.constant(list(shape)) if shape else here
        stylized = graph.add("Slice", stylized, graph.constant([0, 0]), end, graph.constant([2, 3]))
    if whole:
        levels = graph.add("Round", graph.add("Mul", stylized, graph.constant(255.0)))
        stylized = graph.add("Transpose", graph.add("Cast", levels, to=TensorProto.UINT8), perm=[0, 2, 3, 1])
    graph.nodes[-1].output[0] = "stylized"
    model = graph.model(inputs, {"stylized": (kind, size)})
    onnx.checker.check_model(model)
    return model
