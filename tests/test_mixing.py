"""Mixtures are averages of weights, and strangers are refused."""

import numpy as np
import pytest
import torch
from media import read, silent

from fastnst.checkpoint import load_checkpoint, save_checkpoint
from fastnst.errors import ConfigError, InputError
from fastnst.mixing import Moving, ancestor_of, likeness, mixed, shares_of, stops_of, styles_of
from fastnst.net import StylizationNet
from fastnst.settings import VideoSettings
from fastnst.stylizer import Stylizer


def net(seed, channels=(2, 2, 2)):
    torch.manual_seed(seed)
    return StylizationNet(channels, residual_blocks=1)


def moved(parent, seed, by=0.1):
    """A net that was trained a little from its parent."""
    child = net(seed, tuple(parent.settings["channels"]))
    weights = {key: torch.lerp(value, child.state_dict()[key], by) for key, value in parent.state_dict().items()}
    child.load_state_dict(weights)
    return child


@pytest.fixture
def nets(tmp_path, monkeypatch):
    """The checkpoints a and b of one family, c of another, wide of another shape, d with b's ancestor by name."""
    monkeypatch.chdir(tmp_path)
    parent = net(0)
    save_checkpoint("a.ckpt", moved(parent, 1), "a", {})
    save_checkpoint("b.ckpt", moved(parent, 2), "b", {"ancestor": "x"})
    save_checkpoint("c.ckpt", net(3), "c", {})
    save_checkpoint("d.ckpt", net(4), "d", {"ancestor": "x"})
    save_checkpoint("wide.ckpt", net(0, (2, 4, 4)), "wide", {})
    return tmp_path


def test_mixture_is_the_average_of_the_weights(nets):
    mixture = mixed({"a.ckpt": 3, "b.ckpt": 1})
    a, b = (load_checkpoint(f"{name}.ckpt").net.state_dict() for name in "ab")
    for key, value in mixture.net.state_dict().items():
        torch.testing.assert_close(value, 0.75 * a[key] + 0.25 * b[key])
    assert mixture.style == "a75-b25"
    assert mixture.recipe == {"mixed": {"a.ckpt": 0.75, "b.ckpt": 0.25}}


def test_mixture_of_one_is_that_net(nets):
    mixture = mixed({"a.ckpt": 0.2})
    assert mixture.style == "a"
    for key, value in load_checkpoint("a.ckpt").net.state_dict().items():
        assert torch.equal(mixture.net.state_dict()[key], value)


@pytest.mark.parametrize(
    ("shares", "error", "words"),
    [
        ({"a.ckpt": 1, "c.ckpt": 1}, ConfigError, r"do not descend from one net.*net\.init=a\.ckpt"),
        ({"a.ckpt": 1, "wide.ckpt": 1}, ConfigError, r"differ in channels: mix nets of one preset"),
        ({"a.ckpt": 1, "none.ckpt": 1}, InputError, "none.ckpt"),
        ({"a.ckpt": 1, "b.ckpt": -1}, ConfigError, "should be positive"),
        ({}, ConfigError, "should be positive"),
    ],
)
def test_mixture_of_strangers_fails_with_the_remedy(nets, shares, error, words):
    with pytest.raises(error, match=words):
        mixed(shares)


def test_nets_of_one_named_ancestor_mix_however_far_they_went(nets):
    assert likeness(load_checkpoint("b.ckpt").net, load_checkpoint("d.ckpt").net) < 0.5
    assert mixed({"b.ckpt": 1, "d.ckpt": 1}).style == "b50-d50"


def test_net_without_ancestor_is_its_own_and_its_childrens(nets):
    parent = load_checkpoint("c.ckpt")
    save_checkpoint("child.ckpt", net(9), "child", {"ancestor": ancestor_of(parent)})
    assert mixed({"c.ckpt": 1, "child.ckpt": 1}).style == "c50-child50"


def test_nets_that_ship_mix():
    names = "clouds", "liechtenstein", "picasso", "wave"
    assert mixed(dict.fromkeys(names, 1)).style == "clouds25-liechtenstein25-picasso25-wave25"
    assert mixed({f"{name}-lite": 1 for name in names}).style.startswith("clouds25-")
    with pytest.raises(ConfigError, match="'picasso' and 'picasso-lite' differ in channels"):
        mixed({"picasso": 1, "picasso-lite": 1})


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("picasso", {"picasso": 1.0}),
        ("a.ckpt:0.6, b.ckpt:0.4", {"a.ckpt": 0.6, "b.ckpt": 0.4}),
        ("a:1,a:1,b:2", {"a": 0.5, "b": 0.5}),
        ("picasso:2", {"picasso": 1.0}),
        ("runs/a:b.ckpt", {"runs/a:b.ckpt": 1.0}),
    ],
)
def test_shares_add_up_to_one(text, shares):
    assert shares_of(text) == pytest.approx(shares)


@pytest.mark.parametrize(
    ("ckpt", "styles"),
    [
        ("a,b", ["a", "b"]),
        ("a:0.6,b:0.4", ["a:0.6,b:0.4"]),
        ("[a,a:1, b:1,b]", ["a", "a:1,b:1", "b"]),
        ("['a:1,b:1','b:3,a:1']", ["a:1,b:1", "b:3,a:1"]),
        (("a:1", "b:1"), ["a:1", "b:1"]),
        ("base:wave:1,base:picasso:1", ["base:wave:1,base:picasso:1"]),
        ("base:wave,base:picasso", ["base:wave", "base:picasso"]),
        ("a,", ["a"]),
    ],
)
def test_list_of_styles_keeps_mixtures_whole(ckpt, styles):
    assert styles_of(ckpt) == styles


def test_name_of_a_file_is_no_mixture(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a:1,b:1").touch()
    assert stops_of("a:1,b:1")[0].shares == {"a:1,b:1": 1.0}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a:0.5,b", "'b' has no share"),
        ("a:0.5,b:x", "'b:x' has no share"),
        ("a:0,b:0", "a share above 0"),
        ("a@0s -> b", "'b' has no time"),
        ("a@0 -> b@-1", "'b@-1' has no time"),
        ("a@5 -> b@5", "rising times"),
    ],
)
def test_mixture_that_makes_no_sense_fails_with_an_example(text, words):
    with pytest.raises(ConfigError, match=words):
        stops_of(text)


def test_moving_weights_are_on_the_line_between_two_stops():
    moving = Moving([1, 3], [{"w": torch.tensor(0.0)}, {"w": torch.tensor(8.0)}])
    assert [moving.at(time)["w"].item() for time in (0, 1, 1.5, 2, 3, 9)] == [0, 0, 2, 4, 8, 8]


def test_style_that_moves_begins_with_one_net_and_ends_with_the_other(nets):
    moving = Stylizer.load("a.ckpt@1s -> b.ckpt@3s", "cpu")
    picture = torch.randint(0, 255, (24, 32, 3), dtype=torch.uint8).numpy()
    assert moving.style == "a-to-b"
    assert moving.stream(VideoSettings()).shot.net_moves
    for time, name in ((0, "a.ckpt"), (2, "a.ckpt:1,b.ckpt:1"), (4, "b.ckpt"), (1, "a.ckpt")):
        moving.move(time)
        assert (moving.image(picture) == Stylizer.load(name, "cpu").image(picture)).all()


def test_style_that_moves_to_a_stranger_fails(nets):
    with pytest.raises(ConfigError, match="do not descend from one net"):
        Stylizer.load("a.ckpt@0s -> c.ckpt@3s", "cpu")


def test_video_of_a_style_that_moves_is_each_mixture_at_its_time(nets):
    """Ten frames a second: the style moves from 0.2 to 0.6 s, whatever the batch."""
    silent(nets / "in.mkv", "-c:v", "ffv1", seconds=1, size="32x24", rate=10)
    settings = VideoSettings(codec="ffv1", norm="frame", smooth=0.0, batch=4)
    Stylizer.load("a.ckpt@0.2 -> b.ckpt@0.6", "cpu").video("in.mkv", "out.mkv", settings)
    frames = read(nets / "in.mkv")
    found = read(nets / "out.mkv")
    for t, name in ((0, "a.ckpt"), (2, "a.ckpt"), (4, "a.ckpt:1,b.ckpt:1"), (6, "b.ckpt"), (9, "b.ckpt")):
        one = Stylizer.load(name, "cpu").frames(torch.from_numpy(frames[t : t + 1]).permute(0, 3, 1, 2))
        assert np.abs(one[0].permute(1, 2, 0).numpy().astype(int) - found[t]).mean() < 1.5  # YUV in between
