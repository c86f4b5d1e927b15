import importlib.util
import subprocess
import sys

import pytest
import torch
from torch import nn

from fastnst.engines.engine import FASTEST, PACKAGES, OnRuntime, chosen, on_engine, on_onnxruntime, openvino_core
from fastnst.errors import ConfigError, EnvironmentFault
from fastnst.net import StylizationNet
from fastnst.shots import Followed, Given
from fastnst.stylizer import in_half_precision

CPU = torch.device("cpu")
ORDER = FASTEST  # the tests have another one


def tiny_net(canvas: bool = True, antialias: bool = True, full: int = 3) -> StylizationNet:
    torch.manual_seed(0)
    net = StylizationNet((full, 4, 5), 1, antialias=antialias, canvas=canvas).eval().requires_grad_(False)
    for norm in net.modules():
        if isinstance(norm, nn.InstanceNorm2d):
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.uniform_(-0.5, 0.5)
    return net


@pytest.fixture
def needs(request):
    for package in PACKAGES.get(request.param, ()):
        pytest.importorskip(package)
    return request.param


@pytest.mark.parametrize("needs", ["torch", "onnxruntime", "openvino"], indirect=True)
@pytest.mark.parametrize("full", [3, 0])
@torch.inference_mode()
def test_every_engine_gives_what_eager_torch_gives(needs, full):
    net = tiny_net(full=full)
    engine = on_engine(tiny_net(full=full), needs, CPU)
    frames = torch.rand(3, 3, 18, 27)
    torch.testing.assert_close(engine(frames), net(frames), rtol=0, atol=1e-3)
    field = torch.rand(1, 1, 18, 27)
    torch.testing.assert_close(engine(frames, canvas=field), net(frames, canvas=field), rtol=0, atol=1e-3)
    statistics = None
    for frame in frames.split(1):
        expected, choose = Followed(statistics, 0.1), Followed(statistics, 0.1)
        torch.testing.assert_close(engine(frame, choose), net(frame, expected), rtol=0, atol=1e-3)
        for own, other in zip(choose.statistics, expected.statistics, strict=True):
            torch.testing.assert_close(own, other, rtol=1e-3, atol=1e-4)
        statistics = choose.statistics
    assert statistics is not None
    torch.testing.assert_close(engine(frames, Given(statistics)), net(frames, Given(statistics)), rtol=0, atol=1e-3)


@pytest.mark.parametrize("needs", ["openvino-bf16"], indirect=True)
@torch.inference_mode()
def test_bfloat16_is_for_given_statistics_alone(needs, monkeypatch):
    frame = torch.rand(1, 3, 18, 27)
    if "BF16" in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        net, engine = tiny_net(), on_engine(tiny_net(), needs, CPU)
        measured, expected = Followed(None, 0.1), Followed(None, 0.1)
        torch.testing.assert_close(engine(frame, measured), net(frame, expected), rtol=0, atol=1e-3)
        given = Given(expected.statistics)
        apart = (engine(frame, Given(expected.statistics)) - net(frame, given)).abs().max()
        assert 1e-3 < apart < 0.05
    monkeypatch.setattr(openvino_core(), "get_property", lambda *_: ["FP32"], raising=False)
    with pytest.raises(EnvironmentFault, match="does not compute in bfloat16; use engine=openvino"):
        chosen(needs, tiny_net(), CPU)


@pytest.mark.parametrize("needs", ["torch", "onnxruntime", "openvino"], indirect=True)
@torch.inference_mode()
def test_a_net_without_canvas_and_blur_runs_too(needs):
    net, frame = tiny_net(canvas=False, antialias=False), torch.rand(1, 3, 16, 24)
    engine = on_engine(tiny_net(canvas=False, antialias=False), needs, CPU)
    torch.testing.assert_close(engine(frame), net(frame), rtol=0, atol=1e-3)


@torch.inference_mode()
def test_a_net_in_half_precision_runs_on_a_runtime_in_float32():
    pytest.importorskip("onnxruntime")
    frame = torch.rand(1, 3, 16, 24)
    engine = OnRuntime(in_half_precision(tiny_net()), on_onnxruntime)
    for choose, expected in ((None, None), (Followed(None, 0.1), Followed(None, 0.1))):
        stylized = engine(frame.half(), choose)
        assert stylized.dtype == torch.float16
        torch.testing.assert_close(stylized.float(), tiny_net()(frame, expected), rtol=0, atol=5e-3)


@torch.inference_mode()
def test_weights_that_are_loaded_later_are_folded_too():
    net, other, frame = tiny_net(), StylizationNet((3, 4, 5), 1, antialias=True).eval(), torch.rand(1, 3, 16, 24)
    choose = Followed(None, 0.1)
    expected = other(frame, choose)
    engine = on_engine(net, "torch", CPU)
    before = engine(frame, Given(choose.statistics))
    engine.load_state_dict(other.state_dict())
    stylized = engine(frame, Given(choose.statistics))
    torch.testing.assert_close(stylized, expected, rtol=0, atol=1e-4)
    assert (stylized - before).abs().max() > 0.01


def test_auto_is_the_fastest_that_is_installed(monkeypatch):
    monkeypatch.setattr("fastnst.engines.engine.FASTEST", ORDER)
    net = tiny_net()
    installed = {"onnx", "onnxruntime", "openvino"}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name in installed or None)
    assert chosen("auto", net, CPU) == "openvino"
    assert chosen("auto", net, torch.device("cuda")) == "torch"
    assert chosen("auto", nn.Identity(), CPU) == "torch"
    installed.remove("openvino")
    assert chosen("auto", net, CPU) == "torch"  # faster than ONNX Runtime for all nets but lite


def test_an_engine_that_cannot_be_had_fails_with_the_remedy(monkeypatch):
    with pytest.raises(ConfigError, match="engine=tvm should be one of auto, torch"):
        chosen("tvm", tiny_net(), CPU)
    with pytest.raises(ConfigError, match=r"not Identity; use engine=torch"):
        chosen("openvino", nn.Identity(), CPU)
    with pytest.raises(ConfigError, match="not on cuda; use engine=torch"):
        chosen("onnxruntime", tiny_net(), torch.device("cuda"))
    with pytest.raises(ConfigError, match="tensorrt works on an NVIDIA GPU, not on cpu; use engine=auto"):
        chosen("tensorrt", tiny_net(), CPU)
    monkeypatch.setattr("fastnst.engines.engine.has_tensorrt", lambda: False)
    with pytest.raises(EnvironmentFault, match="pip install onnx onnxruntime-gpu tensorrt"):
        chosen("tensorrt", tiny_net(), torch.device("cuda"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EnvironmentFault, match=r"pip install 'fastnst\[openvino\]'"):
        chosen("openvino", tiny_net(), CPU)


@pytest.mark.gpu  # on a processor it takes minutes to compile
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@torch.inference_mode()
def test_compiled_net_gives_what_eager_torch_gives():
    device = torch.device("cuda")
    net, frame = tiny_net().to(device), torch.rand(1, 3, 18, 27, device=device)
    choose = Followed(None, 0.1)
    net(frame, choose)
    expected = net(frame / 2, Given(choose.statistics))
    stylized = on_engine(tiny_net().to(device), "compile", device)(frame / 2, Given(choose.statistics))
    torch.testing.assert_close(stylized, expected, rtol=0, atol=1e-3)


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="needs the extra [openvino]")
def test_openvino_tells_nobody_of_its_use():
    code = (
        "import sys; from fastnst.engines.engine import openvino_core; openvino_core(); "
        "import openvino.tools.ovc; print([name for name, it in sys.modules.items() if it and 'telemetry' in name])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "openvino_telemetry" not in found
    assert "telemetry_stub" in found
