import numpy as np
import pytest
import torch
from PIL import Image

from fastnst.optimize import picture as module


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB"))


def stop_in_round(number, monkeypatch):
    """Stops a run in that round, as Ctrl-C does; returns a list that grows by one with every round that begins."""
    minimized, calls = module.minimized, []

    def stopping(*arguments):
        calls.append(1)
        if len(calls) == number:
            raise KeyboardInterrupt
        return minimized(*arguments)

    monkeypatch.setattr(module, "minimized", stopping)
    return calls


def test_a_picture_comes_out_beside_its_content_in_the_size_of_the_content(run, photo):
    status, out, _ = run(f"content={photo}", "style=wave")
    made = photo.with_name("photo_wave.png")
    assert status == 0
    assert str(made) in out
    assert pixels(made).shape == (36, 48, 3)
    assert np.abs(pixels(made).astype(int) - pixels(photo)).mean() > 2
    assert sorted(path.name for path in photo.parent.iterdir()) == ["photo.png", "photo_wave.png"]


def test_higher_pictures_are_made_smaller_in_proportion(run, photo_folder, tmp_path):
    out = tmp_path / "small.png"
    assert run(f"content={photo_folder / '01.png'}", f"out={out}", "rows=42", "rounds=1")[0] == 0
    assert pixels(out).shape == (42, 56, 3)


def test_a_run_that_was_stopped_gives_the_same_picture(run, photo, tmp_path, monkeypatch, caplog):
    whole, halves = tmp_path / "whole.png", tmp_path / "halves.png"
    assert run(f"content={photo}", f"out={whole}")[0] == 0
    calls = stop_in_round(3, monkeypatch)
    assert run(f"content={photo}", f"out={halves}")[0] == 130
    assert "halves.part.png" in caplog.text
    assert pixels(tmp_path / "halves.part.png").shape == (36, 48, 3)
    assert not halves.exists()
    assert run(f"content={photo}", f"out={halves}", "resume=true")[0] == 0
    assert len(calls) == 4  # two rounds, one that was stopped, one more
    assert np.array_equal(pixels(whole), pixels(halves))
    assert not list(tmp_path.glob("*.part*"))


def test_a_run_with_other_settings_does_not_go_on(run, photo, monkeypatch):
    stop_in_round(2, monkeypatch)
    assert run(f"content={photo}")[0] == 130
    status, _, err = run(f"content={photo}", "resume=true", "content_weight=3")
    assert status == 4
    assert "content_weight" in err


def test_an_output_that_exists_is_not_replaced(run, photo):
    made = photo.with_name("photo_picasso.png")
    made.write_bytes(b"mine")
    status, _, err = run(f"content={photo}")
    assert (status, made.read_bytes()) == (4, b"mine")
    assert "overwrite=true" in err
    assert run(f"content={photo}", "overwrite=true", "rounds=1")[0] == 0
    assert pixels(made).shape == (36, 48, 3)


def test_a_sweep_makes_a_picture_for_each_weight_and_a_sheet_of_all(run, photo):
    status, out, _ = run(f"content={photo}", "sweep=[1,1e-2,8.5e-5]", "rounds=2")
    names = sorted(path.name for path in photo.parent.iterdir())
    assert status == 0
    weights = ["photo_picasso_tv0.01.png", "photo_picasso_tv1.png", "photo_picasso_tv8.5e-05.png"]
    assert names == ["photo.png", "photo_picasso_sweep.png", *weights]
    assert "photo_picasso_sweep.png" in out
    assert pixels(photo.with_name("photo_picasso_sweep.png")).shape[1] == 4 * module.COLUMN
    rough, smooth = (pixels(photo.with_name(f"photo_picasso_tv{each}.png")).astype(int) for each in ("8.5e-05", "1"))
    assert np.abs(np.diff(smooth, axis=1)).mean() < np.abs(np.diff(rough, axis=1)).mean()


def test_noise_forgets_the_content_and_follows_the_seed():
    content = torch.zeros(1, 3, 8, 8)
    first, again, other = (module.start_picture("noise", content, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert module.start_picture("content", content, 0) is content


def test_a_picture_to_start_from_is_stretched_to_the_content(photo):
    assert module.start_picture(str(photo), torch.zeros(1, 3, 20, 30), 0).shape == (1, 3, 20, 30)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["content=missing.png"], 3, "missing.png"),
        (["start=nowhere.png"], 2, "nowhere.png"),
        (["content_layer=relu3_4"], 2, "VGG-16 has no layer 'relu3_4'"),
        (["style_layers=[]"], 2, "style_layers"),
        (["preset=best"], 2, "preset"),
        (["style.image=missing.jpg"], 3, "missing.jpg"),
        (["out=result.xyz"], 4, "result.xyz"),
    ],
)
def test_what_is_wrong_is_one_line_and_leaves_nothing(run, photo, arguments, status, message):
    given = [] if arguments[0].startswith("content=") else [f"content={photo}"]
    found, out, err = run(*given, *arguments)
    assert (found, out, err.count("\n")) == (status, "", 1)
    assert message in err
    assert [path.name for path in photo.parent.iterdir()] == ["photo.png"]
