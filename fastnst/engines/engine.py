"""What runs a trained net: eager PyTorch, its compiler, ONNX Runtime, OpenVINO or TensorRT, behind one `forward`.

Every engine is a `StylizationNet` with the layers of the net that it runs, and gives what that gives to 1e-3 of the
range; openvino-bf16, which only who asks for it gets, to a few grey levels. Frames whose `choose` is None, `Given` or
`Followed` run on the engine, all others on eager PyTorch.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import cache, lru_cache, partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from fastnst.errors import ConfigError, EnvironmentFault
from fastnst.net import Choose, ConvNorm, Statistics, StylizationNet, through
from fastnst.shots import Followed, Given

ENGINES = ("auto", "torch", "compile", "onnxruntime", "openvino", "openvino-bf16", "tensorrt")
PACKAGES = {
    "onnxruntime": ("onnx", "onnxruntime"),
    "openvino": ("onnx", "openvino"),
    "openvino-bf16": ("onnx", "openvino"),
    "tensorrt": ("onnx", "onnxruntime"),
}
TENSORRT = "TensorrtExecutionProvider"  # of ONNX Runtime
FASTEST = ("openvino", "torch")  # on a processor, first the faster one: benchmarks/RESULTS.md, "speed 640x360"
SIZES = 4  # frame sizes that a compiled net is kept for
Run = Callable[[dict[str, np.ndarray]], Sequence[np.ndarray]]  # inputs by name -> outputs
Load = Callable[[bytes, Sequence[int] | None], Run]  # a graph in ONNX, and the shape of the pictures


def on_engine(net: nn.Module, engine: str, device: torch.device) -> nn.Module:
    """Returns what is called like `net` and runs on an engine.

    Args:
        net: the trained net, on the device.
        engine: one of `ENGINES`; "auto" is the fastest that is installed and takes the net.
        device: where frames come from; ONNX Runtime and OpenVINO work on the processor, TensorRT on an NVIDIA GPU.

    Raises:
        ConfigError: there is no such engine, or it does not take this net or this device.
        EnvironmentFault: the engine is not installed.
    """
    engine = chosen(engine, net, device)
    if engine in ("torch", "compile"):
        return OnTorch(net, engine == "compile") if isinstance(net, StylizationNet) else net
    assert isinstance(net, StylizationNet)
    loads = {
        "onnxruntime": (on_onnxruntime,),
        "openvino": (on_openvino,),
        # statistics are measured in float32: they change by little
        "openvino-bf16": (on_openvino, partial(on_openvino, precision="bf16")),
        "tensorrt": (partial(on_tensorrt, device.index or 0),),
    }
    return OnRuntime(net, *loads[engine])


def chosen(engine: str, net: nn.Module, device: torch.device) -> str:
    """Returns the engine that `engine` stands for; raises as `on_engine` does."""
    if engine not in ENGINES:
        raise ConfigError(f"engine={engine} should be one of {', '.join(ENGINES)}")
    own = isinstance(net, StylizationNet)
    if engine == "auto":
        able = FASTEST if own and device.type == "cpu" else ("torch",)
        return next(name for name in able if not lacking(PACKAGES.get(name, ())))
    if engine != "torch" and not own:
        raise ConfigError(f"engine={engine} takes nets of fastnst only, not {type(net).__name__}; use engine=torch")
    if engine == "tensorrt":
        if device.type != "cuda":
            raise ConfigError(f"engine=tensorrt works on an NVIDIA GPU, not on {device}; use engine=auto")
        if not has_tensorrt():
            remedy = "pip install onnx onnxruntime-gpu tensorrt, in place of onnxruntime; or use engine=compile"
            raise EnvironmentFault(f"engine=tensorrt needs ONNX Runtime with {TENSORRT}: {remedy}")
    elif engine in PACKAGES and device.type != "cpu":
        raise ConfigError(f"engine={engine} works on the processor, not on {device}; use engine=torch or device=cpu")
    if names := lacking(PACKAGES.get(engine, ())):
        extra = engine.removesuffix("-bf16")
        raise EnvironmentFault(f"engine={engine} needs {', '.join(names)}: pip install 'fastnst[{extra}]'")
    if engine == "openvino-bf16" and "BF16" not in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise EnvironmentFault(f"engine={engine}: this processor does not compute in bfloat16; use engine=openvino")
    if engine == "compile" and device.type == "cpu" and not any(map(shutil.which, ("c++", "g++", "clang++", "cl"))):
        raise EnvironmentFault("engine=compile needs a C++ compiler such as g++; use engine=torch")
    return engine


def has_tensorrt() -> bool:
    """Returns whether ONNX Runtime is installed, and can hand nets to TensorRT."""
    if lacking(PACKAGES["tensorrt"]):
        return False
    import onnxruntime

    return TENSORRT in onnxruntime.get_available_providers()


def lacking(packages: Sequence[str]) -> list[str]:
    """Returns those of the packages that are not installed."""
    return [name for name in packages if importlib.util.find_spec(name) is None]


class Engine(StylizationNet):
    """A net with the layers of another one, which a subclass runs in its own way."""

    def __init__(self, net: StylizationNet) -> None:
        nn.Module.__init__(self)
        self.settings, self.has_canvas = net.settings, net.has_canvas
        self.encoder, self.residuals, self.decoder = net.encoder, net.residuals, net.decoder


class OnTorch(Engine):
    """A net on PyTorch; given statistics are folded into its convolutions, which then run channels last.

    Args:
        net: the net.
        compiled: whether `torch.compile` goes over it, once for each frame size.
    """

    def __init__(self, net: StylizationNet, compiled: bool = False) -> None:
        super().__init__(net)
        copy = folded(net).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self._folded = [copy]  # in a list, so that its weights are not counted as this module's
        self._given: Sequence[Statistics] | None = None
        self.register_load_state_dict_post_hook(lambda *_: setattr(self, "_given", None))  # other weights: fold again
        self._run: Callable[..., Tensor] = torch.compile(layers, dynamic=False) if compiled else layers

    def forward(
        self,
        content: Float[Tensor, "batch 3 height width"],
        choose: Choose | None = None,
        canvas: Float[Tensor, "canvases 1 height width"] | None = None,
    ) -> Float[Tensor, "batch 3 height width"]:
        """As `StylizationNet.forward`."""
        if choose is not None and not isinstance(choose, Given):
            return super().forward(content, choose, canvas)
        net, seen = self, self.seen(content, canvas)
        if isinstance(choose, Given):
            net, seen = self._folded[0], seen.contiguous(memory_format=torch.channels_last)
            if choose.statistics is not self._given:
                fold(self, choose.statistics, net)
                self._given = choose.statistics
        return self._run(net, seen)[..., : content.shape[-2], : content.shape[-1]]


def layers(net: StylizationNet, seen: Tensor) -> Float[Tensor, "batch 3 height width"]:
    """Returns what the layers of the net make of what it sees."""
    for stage in (net.encoder, net.residuals, net.decoder):
        seen = through(stage, seen, None)
    return torch.sigmoid(seen)


def folded(net: StylizationNet) -> StylizationNet:
    """Returns a copy of the net without norm layers, for `fold`."""
    copy = deepcopy(net)
    for layer in conv_norms(copy):
        layer[-1] = nn.Identity()
    return copy


@torch.no_grad()
def fold(net: StylizationNet, statistics: Sequence[Statistics], into: StylizationNet) -> None:
    """Sets the convolutions of a `folded` net to do what those of `net` and its norm layers do with the statistics."""
    for name, weights in into.named_parameters():
        weights.copy_(net.get_parameter(name))
    for layer, own, copy in zip(conv_norms(net), statistics, conv_norms(into), strict=True):
        norm, conv = layer[-1], copy[-2]
        assert isinstance(norm, nn.InstanceNorm2d)
        assert isinstance(conv, nn.Conv2d)
        assert conv.bias is not None
        scale = norm.weight * (own.variance[0] + norm.eps).rsqrt()
        conv.weight.mul_(scale[:, None, None, None])
        conv.bias.copy_((conv.bias - own.mean[0]) * scale + norm.bias)


def conv_norms(net: StylizationNet) -> list[ConvNorm]:
    """Returns the convolutions that a norm layer follows, in the order in which features meet them."""
    return [layer for layer in net.modules() if isinstance(layer, ConvNorm)]


class OnRuntime(Engine):
    """A net on another runtime, which gets its graphs as ONNX; each is compiled when it is first needed.

    Args:
        net: the net; on a GPU it may be in half precision, the graphs are in float32.
        load: compiles a graph (`model_of`) for pictures of a shape.
        load_given: does that for frames whose statistics are given, which are most of a video; None: `load` does.
    """

    def __init__(self, net: StylizationNet, load: Load, load_given: Load | None = None) -> None:
        super().__init__(net)
        self._load, self._load_given, self._graph = load, load_given or load, lru_cache(self.graph)
        self._compiled = lru_cache(2 * SIZES)(self.compiled)
        norms = [norm for norm in net.modules() if isinstance(norm, nn.InstanceNorm2d)]
        self._channels = [norm.num_features for norm in norms]
        self._weight = torch.cat([norm.weight for norm in norms]).float().cpu()
        self._bias = torch.cat([norm.bias for norm in norms]).float().cpu()
        self._epsilon = norms[0].eps

    def graph(self, norm: str) -> bytes:
        """Returns the graph of the net, see `Graph`."""
        from fastnst.engines.graph import model_of  # onnx is no dependency

        return model_of(self, norm)

    def compiled(self, norm: str, shape: Sequence[int] | None) -> Run:
        """Returns the net compiled for pictures of a shape, or of any."""
        load = self._load_given if norm == "given" else self._load
        return load(self._graph(norm), shape)

    def forward(
        self,
        content: Float[Tensor, "batch 3 height width"],
        choose: Choose | None = None,
        canvas: Float[Tensor, "canvases 1 height width"] | None = None,
    ) -> Float[Tensor, "batch 3 height width"]:
        """As `StylizationNet.forward`."""
        if choose is not None and not isinstance(choose, (Given, Followed)):
            return super().forward(content, choose, canvas)
        seen = self.seen(content, canvas).float().cpu().contiguous()
        inputs: dict[str, Any] = {"seen": seen.numpy()}
        if choose is None:  # pictures: each may be of another size
            (stylized,) = self._compiled("own", None)(inputs)
        elif isinstance(choose, Given):
            mean, variance = self._joined(choose.statistics)
            scale = self._weight * (variance + self._epsilon).rsqrt()
            inputs |= {"scale": as_channels(scale), "offset": as_channels(self._bias - mean * scale)}
            (stylized,) = self._compiled("given", tuple(seen.shape))(inputs)
        else:
            mean, variance = torch.zeros(1), torch.ones(1)
            if choose.kept is not None:
                mean, variance = self._joined(choose.kept)
            inputs |= {"mean": as_channels(mean.expand(len(self._weight)))}
            inputs |= {"variance": as_channels(variance.expand(len(self._weight)))}
            inputs |= {"rate": np.array(1.0 if choose.kept is None else choose.rate, np.float32)}
            stylized, *moved = self._compiled("followed", tuple(seen.shape))(inputs)
            joined = [torch.from_numpy(each).to(content.device).flatten(1) for each in moved]
            split = [each.split(self._channels, 1) for each in joined]
            choose.statistics = [Statistics(*each) for each in zip(*split, strict=True)]
        return torch.from_numpy(stylized).to(content)[..., : content.shape[-2], : content.shape[-1]]

    def _joined(
        self, statistics: Sequence[Statistics]
    ) -> tuple[Float[Tensor, " channels"], Float[Tensor, " channels"]]:
        """Returns mean and variance of all norm layers, one after the other."""
        mean, variance = (torch.cat(each, 1)[0].cpu() for each in zip(*statistics, strict=True))
        return mean, variance


def as_channels(values: Float[Tensor, " channels"]) -> np.ndarray:
    """Returns values of channels as the graph takes them, (1, channels, 1, 1)."""
    return values.reshape(1, -1, 1, 1).numpy()


def on_onnxruntime(model: bytes, shape: Sequence[int] | None) -> Run:
    """Returns the model on ONNX Runtime, for pictures of any shape."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, inputs)  # pyright: ignore[reportReturnType] (no sparse ones)


def on_tensorrt(number: int, model: bytes, shape: Sequence[int] | None) -> Run:
    """Returns the model on TensorRT, on the GPU of that number; what TensorRT does not take runs on CUDA."""
    import onnxruntime

    providers = [(TENSORRT, {"device_id": number}), ("CUDAExecutionProvider", {"device_id": number})]
    session = onnxruntime.InferenceSession(model, providers=providers)
    if TENSORRT not in session.get_providers():  # its libraries do not load: ONNX Runtime would go on without a word
        raise EnvironmentFault(
            "engine=tensorrt: TensorRT does not start here (pip install tensorrt); use engine=compile"
        )
    return lambda inputs: session.run(None, inputs)  # pyright: ignore[reportReturnType] (no sparse ones)


def on_openvino(model: bytes, shape: Sequence[int] | None, precision: str = "f32") -> Run:
    """Returns the model on OpenVINO; one shape is faster than any, but takes half a second to compile."""
    settings = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": precision,  # the default is bf16 where the processor has it
        "PERFORMANCE_HINT": "LATENCY",
    }
    core = openvino_core()
    read = core.read_model(model)
    if shape is not None:
        read.reshape({"seen": list(shape)})
    compiled = core.compile_model(read, "CPU", settings)
    return lambda inputs: list(compiled(inputs, share_inputs=True).values())


@cache
def openvino_core() -> Any:
    """Returns the process's one OpenVINO core, which is never let go.

    Its CPU plugin gives the main thread a stack for signals. When a second plugin goes, that stack can be freed while
    the thread still has it: the next SIGTERM then ends in a segmentation fault (seen with OpenVINO 2026.4).
    """
    return silent_openvino().Core()


def silent_openvino() -> Any:
    """Returns the package `openvino`, which tells its makers nothing of its use.

    Without its telemetry package it takes a stub instead. The package forks a process that may hang for good, and that
    keeps our standard output open with it.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # pyright: ignore[reportArgumentType] (None: it is not there)
    import openvino

    return openvino
