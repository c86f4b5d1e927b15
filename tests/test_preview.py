"""A preview shows the frames that the run would make, and says how many there would be."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from media import read, silent
from PIL import Image

from fastnst.checkpoint import save_checkpoint
from fastnst.inference import main
from fastnst.net import StylizationNet
from fastnst.stylizer import Stylizer


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two seconds of 32x24 at 10 frames a second, and a tiny net."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    save_checkpoint("tiny.ckpt", StylizationNet((2, 2, 2), residual_blocks=1), "tiny", {})
    silent(tmp_path / "in.mp4", seconds=2, size="32x24", rate=10)
    return tmp_path


@pytest.fixture
def infer(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    def run(*arguments: str) -> tuple[int, str, str]:
        try:
            main(["video=in.mp4", "ckpt=tiny.ckpt", "device=cpu", *arguments])
            status = 0
        except SystemExit as ended:
            status = int(ended.code or 0)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def test_preview_of_a_time_is_that_frame_of_the_run(folder: Path, infer):
    status, out, _ = infer("preview=00:01.3", "norm=frame")
    assert status == 0
    assert "the whole: 20 frames, about " in out
    assert "in_tiny_preview.png (at 1.30 s)" in out
    found = np.array(Image.open("in_tiny_preview.png"))
    expected = Stylizer.load("tiny.ckpt", "cpu").image(read(folder / "in.mp4")[13])
    np.testing.assert_array_equal(found, expected)
    assert sorted(path.name for path in folder.iterdir()) == ["in.mp4", "in_tiny_preview.png", "tiny.ckpt"]


def test_preview_shows_the_input_outside_the_mask(folder: Path, infer):
    mask = np.zeros((24, 32), np.uint8)
    mask[:, 16:] = 255
    Image.fromarray(mask).save("mask.png")
    assert infer("preview=1.3s", "mask=mask.png")[0] == 0
    found, frame = np.array(Image.open("in_tiny_preview.png")), read(folder / "in.mp4")[13]
    np.testing.assert_array_equal(found[:, :16], frame[:, :16])
    assert np.abs(found[:, 16:].astype(int) - frame[:, 16:]).mean() > 5


def test_preview_of_a_number_is_a_contact_sheet_of_the_part(folder: Path, infer):
    status, out, _ = infer("preview=2", "start=1", "report=json")
    assert status == 0
    told = json.loads(out)
    assert (told["times"], told["frames"]) == ([1.25, 1.75], 10)
    assert told["seconds"] > 0
    assert told["megabytes"] > 0
    found, frames = np.array(Image.open("in_tiny_preview.png")), read(folder / "in.mp4")
    assert found.shape == (48, 64, 3)
    np.testing.assert_array_equal(found[:24], np.concatenate([frames[13], frames[18]], 1))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["preview=0"], "preview=0 should be from 1 to 24 frames; for a time write 0s"),
        (["preview=soon"], "'soon' is no time"),
        (["preview=9s"], "there is no frame from 9 s"),
        (["preview=1", "video=[in.mp4,in.mp4]"], "preview=1 takes one video"),
    ],
)
def test_preview_of_nothing_is_one_line(infer, arguments: list[str], words: str):
    status, _, err = infer(*arguments)
    assert status == 2
    assert words in err
    assert err.count("\n") == 1


def test_preview_that_exists_is_kept_unless_overwritten(folder: Path, infer):
    (folder / "in_tiny_preview.png").write_bytes(b"mine")
    status, _, _ = infer("preview=1")
    assert (status, (folder / "in_tiny_preview.png").read_bytes()) == (4, b"mine")
    assert infer("preview=1", "overwrite=true")[0] == 0
