import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from scenes import recipe, small_net

from fastnst.checkpoint import read_cards, save_checkpoint, write_card
from fastnst.errors import EnvironmentFault, OutputError
from fastnst.evaluate import card as module
from fastnst.evaluate.verify import USAGE, verify
from fastnst.net import StylizationNet
from fastnst.settings import VerifySettings

CLIPS, PHOTOS = {"still.mkv": "clips"}, {"00.png": "photos"}
FIGURES = dict.fromkeys(module.FIGURES, 2.0)


@pytest.fixture
def packages(tmp_path, monkeypatch, videos, photo_folder):
    """A folder with the files of the packages `clips` and `photos`."""
    shutil.copy(videos / "still.mkv", tmp_path)
    shutil.copy(photo_folder / "00.png", tmp_path)

    def packaged(package, name):
        if (CLIPS | PHOTOS).get(name) != package or not (tmp_path / name).is_file():
            raise EnvironmentFault("not there")
        return tmp_path / name

    monkeypatch.setattr(module, "EXTENT", module.Extent(frames=3, max_side=96, photo_side=64, evaluations=3))
    monkeypatch.setattr(module, "CLIPS", CLIPS)
    monkeypatch.setattr(module, "PHOTOS", PHOTOS)
    monkeypatch.setattr(module, "packaged", packaged)
    monkeypatch.setattr(module, "version", lambda package: "1.2.3")
    return tmp_path


@pytest.fixture
def run(in_process, monkeypatch, tiny_vgg, packages):
    monkeypatch.setattr("fastnst.vgg.load_vgg", lambda source: tiny_vgg)
    return lambda *given: in_process(verify, VerifySettings, USAGE, "device=cpu", *given)


@pytest.fixture
def net(tmp_path):
    """A net without a card."""
    save_checkpoint(tmp_path / "tiny.ckpt", small_net(), "liechtenstein", recipe())
    return tmp_path / "tiny.ckpt"


@pytest.fixture
def carded(net, packages):
    """The net with a card that nobody measured."""
    clips, photos = (tuple(module.PackagedFile.of(*each) for each in part) for part in (CLIPS.items(), PHOTOS.items()))
    card = module.Card(module.EXTENT, clips, photos, None, recipe()["style_sha256"], {}, FIGURES)
    write_card(net, "liechtenstein", card.plain())
    return net


def header(path):
    whole = path.read_bytes()
    return json.loads(json.loads(whole[8 : 8 + int.from_bytes(whole[:8], "little")])["__metadata__"]["fastnst"])


def changed(path, **values):
    """Puts other values on the card."""
    (style,) = read_cards(path)
    write_card(path, style, read_cards(path)[style] | values)


def test_figures_hold_on_a_fresh_card_until_it_is_changed(run, net):
    assert run(f"ckpt={net}", "write=true")[0] == 0
    status, out, err = run(f"ckpt={net}")
    assert (status, err) == (0, "")
    assert out.count("| holds") == len(FIGURES)
    card = read_cards(net)["liechtenstein"]
    assert (card["clips"][0]["package"], card["clips"][0]["version"]) == ("clips", "1.2.3")
    assert len(card["photos"][0]["sha256"]) == 64
    assert card["made_by"]["torch"] == torch.__version__
    assert all(value is not None for value in card["figures"].values())
    changed(net, figures=card["figures"] | {"content_loss": 1.1 * card["figures"]["content_loss"]})
    assert run(f"ckpt={net}")[0] == 8


@pytest.mark.parametrize("name", FIGURES)
def test_status_8_where_a_figure_is_further_off_than_its_tolerance(name, run, carded, monkeypatch):
    tolerance = module.FIGURES[name].around(2.0)
    for off, status in ((0.9, 0), (-0.9, 0), (1.1, 8), (-1.1, 8)):
        monkeypatch.setattr(module, "measured", lambda *_, off=off: FIGURES | {name: 2.0 + off * tolerance})
        assert run(f"ckpt={carded}")[0] == status


def test_what_does_not_hold_is_told_line_by_line_and_in_the_error(run, carded, monkeypatch):
    monkeypatch.setattr(module, "measured", lambda *_: FIGURES | {"style_loss": 3.0, "evaluations": None})
    status, out, err = run(f"ckpt={carded}")
    assert (status, out.count("| does not hold |"), out.count("| holds")) == (8, 2, len(FIGURES) - 2)
    assert err.startswith(f"error: '{carded}' is not what its card says: style loss, evaluations;")
    assert err.count("\n") == 1


def test_figure_that_became_unknown_does_not_hold():
    assert module.holds("style_loss", None, None)
    assert not module.holds("style_loss", 0.2, None)
    assert not module.holds("style_loss", None, 0.2)


def test_a_card_leaves_weights_and_the_rest_of_the_header_as_they_are(run, net):
    weights, before, size = load_file(net), header(net), net.stat().st_size
    tail = net.read_bytes()[-1000:]
    assert run(f"ckpt={net}", "write=true")[0] == 0
    after = header(net)
    assert after.pop("cards").keys() == {"liechtenstein"}
    assert after == before
    assert net.read_bytes()[-1000:] == tail
    assert net.stat().st_size > size
    found = load_file(net)
    assert found.keys() == weights.keys()
    assert all(torch.equal(value, found[name]) for name, value in weights.items())


def test_net_without_a_card_is_one_line(run, net):
    status, out, err = run(f"ckpt={net}")
    assert (status, out) == (2, "")
    assert err == f"error: '{net}' has no card; write=true measures the figures and writes one\n"


def test_missing_or_other_file_says_what_to_install(run, carded, packages):
    with open(packages / "00.png", "ab") as file:
        file.write(b"x")
    status, _, err = run(f"ckpt={carded}")
    assert (status, "is not the file that the card names: pip install photos==1.2.3" in err) == (5, True)
    (packages / "still.mkv").unlink()
    status, _, err = run(f"ckpt={carded}")
    assert (status, "still.mkv, which the card names, is not installed: pip install clips==1.2.3" in err) == (5, True)


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({"clips": [{"name": "x", "package": "evil", "version": "1", "sha256": ""}]}, 3),
        ({"clips": [{"name": "still.mkv", "package": "clips", "version": "1; rm", "sha256": ""}]}, 3),
        ({"clips": []}, 3),
        ({"figures": {}}, 3),
        ({"figures": None}, 3),
        ({"style_image": "/etc/passwd"}, 3),
        ({"extent": {"photo_side": 10**6}}, 2),
        ({"extent": 3}, 3),
    ],
)
def test_card_of_a_stranger_is_refused_in_one_line(values, status, run, carded):
    changed(carded, **values)
    found, out, err = run(f"ckpt={carded}")
    assert (found, out) == (status, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_each_style_of_a_net_of_many_has_its_own_card(run, tmp_path):
    path = tmp_path / "many.ckpt"
    save_checkpoint(path, StylizationNet((4, 4, 4), 1, styles=("picasso", "wave")), "many", {"style_size": 64})
    assert "style_image= names it" in run(f"ckpt={path}:wave", "write=true")[2]
    assert run(f"ckpt={path}:wave", "write=true", "style_image=wave")[0] == 0
    assert run(f"ckpt={path}:wave")[0] == 0
    assert run(f"ckpt={path}:picasso")[0] == 2
    status, _, err = run(f"ckpt={path}:wave", "style_image=clouds")
    assert (status, "is not the one of the card" in err) == (2, True)


def test_card_that_cannot_be_written_leaves_the_file(net, monkeypatch):
    before = net.read_bytes()
    monkeypatch.setattr("fastnst.files.sync", lambda path: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(OutputError, match="no space left"):
        write_card(net, "liechtenstein", {})
    assert net.read_bytes() == before
    assert list(net.parent.glob(".fastnst-*")) == []
