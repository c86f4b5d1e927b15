import json
import os
import pickle

import pytest
import torch
from safetensors.torch import save_file

from fastnst.checkpoint import load_checkpoint, save_checkpoint
from fastnst.errors import ConfigError, InputError, OutputError
from fastnst.net import StylizationNet


@pytest.fixture
def net() -> StylizationNet:
    return StylizationNet((4, 6, 8), residual_blocks=1).eval()


def test_round_trip_keeps_net_style_and_recipe(net, tmp_path):
    save_checkpoint(tmp_path / "a.ckpt", net, "picasso", {"steps": 3})
    loaded = load_checkpoint(tmp_path / "a.ckpt")
    assert (loaded.style, loaded.recipe, loaded.net.settings) == ("picasso", {"steps": 3}, net.settings)
    picture = torch.rand(1, 3, 20, 20)
    torch.testing.assert_close(loaded.net(picture), net(picture), rtol=0, atol=2e-3)  # half precision


def test_file_is_half_the_size_of_the_weights(net, tmp_path):
    save_checkpoint(tmp_path / "a.ckpt", net, "s", {})
    weights = sum(parameter.numel() for parameter in net.parameters())
    assert 2 * weights < (tmp_path / "a.ckpt").stat().st_size < 2 * weights + 6000


def test_loaded_net_is_ready_for_use(net, tmp_path):
    save_checkpoint(tmp_path / "a.ckpt", net, "s", {})
    loaded = load_checkpoint(tmp_path / "a.ckpt").net
    assert not loaded.training
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_failed_save_leaves_the_old_file_and_nothing_else(net, tmp_path, monkeypatch):
    save_checkpoint(tmp_path / "a.ckpt", net, "s", {"steps": 1})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="no space left"):
        save_checkpoint(tmp_path / "a.ckpt", net, "s", {"steps": 2})
    assert load_checkpoint(tmp_path / "a.ckpt").recipe == {"steps": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.ckpt"]


def test_missing_folder_fails(net, tmp_path):
    with pytest.raises(OutputError, match="no such file"):
        save_checkpoint(tmp_path / "no" / "a.ckpt", net, "s", {})


@pytest.mark.parametrize("style", ["../x", "a/b", "", "a b", "a\0"])
def test_style_name_with_a_separator_fails(net, style, tmp_path):
    with pytest.raises(ConfigError, match="style name"):
        save_checkpoint(tmp_path / "a.ckpt", net, style, {})


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize(
    "write", [lambda value, path: torch.save(value, path), lambda value, path: path.write_bytes(pickle.dumps(value))]
)
def test_pickle_is_refused_and_never_run(write, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    write(Payload(tmp_path / "pwned"), tmp_path / "a.ckpt")
    with pytest.raises(InputError, match="pickle"):
        load_checkpoint(tmp_path / "a.ckpt")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
        (b"hello", "not a fastnst checkpoint"),
        (b"\xff" * 100, "not a fastnst checkpoint"),
    ],
)
def test_other_file_fails_with_a_guess_at_what_it_is(content, message, tmp_path):
    (tmp_path / "a.ckpt").write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_checkpoint(tmp_path / "a.ckpt")


def test_truncated_checkpoint_fails(net, tmp_path):
    save_checkpoint(tmp_path / "a.ckpt", net, "s", {})
    whole = (tmp_path / "a.ckpt").read_bytes()
    (tmp_path / "a.ckpt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="truncated"):
        load_checkpoint(tmp_path / "a.ckpt")


def about(**changes):
    settings = {"channels": [4, 6, 8], "residual_blocks": 1, "canvas": True}
    return {"fastnst": json.dumps({"format": 1, "style": "s", "net": settings, "recipe": {}, **changes})}


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, "not written by fastnst"),
        (about(format=99), "format 99"),
        (about(style="../x"), "style name"),
        (about(net={"channels": [10**9, 1, 1], "residual_blocks": 1}), "header"),
        (about(net={"channels": [4, 6], "residual_blocks": 1}), "header"),
        (about(net="x"), "header"),
        (about(net={"channels": [4, 6, 9], "residual_blocks": 1}), "first differences: decoder"),
    ],
)
def test_implausible_header_fails(net, metadata, message, tmp_path):
    save_file(net.state_dict(), tmp_path / "a.ckpt", metadata)
    with pytest.raises(InputError, match=message):
        load_checkpoint(tmp_path / "a.ckpt")


def test_keys_too_many_and_missing_fail_with_the_first_three(net, tmp_path):
    weights = {f"module.{key}" if "encoder" in key else key: value for key, value in net.state_dict().items()}
    save_file(weights, tmp_path / "a.ckpt", about())
    with pytest.raises(InputError, match=r"differences: encoder\.\S+, encoder\.\S+, encoder\.[^, ]+$"):
        load_checkpoint(tmp_path / "a.ckpt")
    save_file({**net.state_dict(), "extra": torch.zeros(1)}, tmp_path / "a.ckpt", about())
    with pytest.raises(InputError, match=r"first differences: extra$"):
        load_checkpoint(tmp_path / "a.ckpt")


def test_weights_that_are_not_finite_fail(net, tmp_path):
    with torch.no_grad():
        net.encoder[0][0].bias[0] = float("nan")
    save_checkpoint(tmp_path / "a.ckpt", net, "s", {})
    with pytest.raises(InputError, match=r"not finite numbers: encoder\.0\.0\.bias"):
        load_checkpoint(tmp_path / "a.ckpt")


def test_missing_checkpoint_names_those_that_ship(tmp_path):
    with pytest.raises(InputError, match=r"does not exist.*ship"):
        load_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(InputError, match="is a folder"):
        load_checkpoint(tmp_path)


def test_one_style_of_a_net_of_many_is_a_net_like_any_other(tmp_path):
    net = StylizationNet((4, 6, 8), residual_blocks=1, styles=("a", "b"))
    for values in net.parameters():
        torch.nn.init.normal_(values, 0, 0.3)
    save_checkpoint(tmp_path / "base.ckpt", net, "base", {"steps": 3})
    loaded = load_checkpoint(f"{tmp_path}/base.ckpt:b")
    assert (loaded.style, loaded.net.styles, loaded.recipe) == ("b", (), {"steps": 3})
    picture = torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(loaded.net(picture), net.of_style("b").eval()(picture), atol=5e-3, rtol=0)
    assert load_checkpoint(tmp_path / "base.ckpt", many=True).net.styles == ("a", "b")
    with pytest.raises(ConfigError, match=r"net of many styles, name one of them: .*base\.ckpt:a; it knows a, b"):
        load_checkpoint(tmp_path / "base.ckpt")
    with pytest.raises(ConfigError, match="there is no style 'c' in the net; there are: a, b"):
        load_checkpoint(f"{tmp_path}/base.ckpt:c")
    with pytest.raises(InputError, match="'nothing:a' does not exist"):
        load_checkpoint("nothing:a")


@pytest.mark.parametrize("styles", ["a", ["a", "a"], ["../a"], [1], ["a"] * 1001])
def test_implausible_styles_of_a_net_of_many_fail(styles, net, tmp_path):
    about = {"format": 1, "style": "s", "net": {**net.settings, "styles": styles}, "recipe": {}}
    save_file(net.state_dict(), tmp_path / "a.ckpt", {"fastnst": json.dumps(about)})
    with pytest.raises(InputError, match="header makes no sense"):
        load_checkpoint(tmp_path / "a.ckpt")
