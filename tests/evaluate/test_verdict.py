import csv
import json
import math
import shutil
from functools import partial
from pathlib import Path
from statistics import fmean

import pytest
import torch
from media import silent
from PIL import Image
from scenes import scene, small_net
from torch.nn import functional as F

from fastnst.checkpoint import save_checkpoint
from fastnst.errors import EnvironmentFault
from fastnst.evaluate import __main__ as evaluate
from fastnst.evaluate import judge, report, verdict
from fastnst.images import luma, to_float, to_uint8
from fastnst.settings import EvaluateSettings, VideoSettings
from fastnst.stylizer import Stylizer
from fastnst.video.reader import VideoReader


@pytest.fixture
def command(in_process, monkeypatch, tiny_vgg):
    """Runs the command in this process with a tiny loss network; returns exit status, stdout and stderr."""
    monkeypatch.setattr(verdict, "load_vgg", lambda source: tiny_vgg)
    return partial(in_process, evaluate.evaluate, EvaluateSettings, evaluate.USAGE)


def results(folder: Path) -> dict[tuple[str, str], dict]:
    rows = json.loads((folder / "results.json").read_text())["rows"]
    return {
        (row["net"], row["clip"]): {name: math.nan if value is None else value for name, value in row.items()}
        for row in rows
    }


@pytest.mark.parametrize("norm", ["shot", "frame"])
def test_clips_that_a_net_stylized_have_the_numbers_of_the_net(command, videos, checkpoint, tmp_path, norm):
    (stylized := tmp_path / "stylized").mkdir()
    for name in ("still.mkv", "moving.mp4"):
        own = Path(name).stem + ("_tiny" if norm == "shot" else "")  # called as infer.py does, or as the input
        target = stylized / f"{own}.mkv"
        settings = VideoSettings(codec="ffv1", norm=norm, smooth=0.0)
        Stylizer.load(checkpoint, device="cpu").video(videos / name, target, settings)
    arguments = [f"ckpt={checkpoint}", f"stylized={stylized}", f"videos={videos}", f"norm={norm}", "device=cpu"]
    status, _, err = command(*arguments, "style_image=liechtenstein", "style_size=64", f"out={tmp_path / 'out'}")
    assert status == 0, err
    found = results(tmp_path / "out")
    for clip in ("mean", "still", "moving"):
        net, file = found["tiny", clip], found["stylized", clip]
        for metric in judge.METRICS:
            if metric.startswith(("noise", "motion")):
                assert net[metric] >= 0
                assert math.isnan(file[metric])  # nothing can be put through a finished clip
            else:
                assert file[metric] == pytest.approx(net[metric], rel=1e-4, nan_ok=True), metric
        assert found["input", clip]["absolute_warping_error_1"] > 0


def test_printed_table_csv_and_json_agree(command, videos, checkpoint, tmp_path):
    shutil.copy(checkpoint, other := tmp_path / "other, with a comma.ckpt")
    out = tmp_path / "out"
    status, printed, err = command(f"ckpt=[{checkpoint},'{other}']", f"videos={videos}", f"out={out}", "frames=8")
    assert status == 0, err
    found = results(out)
    with open(out / "results.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    names = [("input", "tiny", "other, with a comma"), ("mean", "moving", "still")]
    assert list(found) == [(net, clip) for clip in names[1] for net in names[0]]
    assert [(line["net"], line["clip"]) for line in lines] == list(found)
    for line in lines:
        row = found[line["net"], line["clip"]]
        for metric in judge.METRICS:
            assert float(line[metric] or "nan") == pytest.approx(row[metric], rel=0, abs=0, nan_ok=True)
        if line["clip"] == "mean":
            own = [found[line["net"], clip]["warping_error_1"] for clip in names[1][1:]]
            assert row["warping_error_1"] == pytest.approx(fmean(own), rel=1e-5)
            assert row["static_flicker"] == found[line["net"], "still"]["static_flicker"]  # the other camera moves
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines() if line[:1] == "|"]
    for columns in report.TABLES.values():
        assert cells.pop(0) == ["net", "clip", *columns]
        cells.pop(0)
        for row in found.values():
            printed_row = cells.pop(0)
            assert printed_row[:2] == [row["net"], row["clip"]]
            for cell, (metric, digits) in zip(printed_row[2:], columns.values(), strict=True):
                value = float("nan" if cell == "-" else cell)
                assert value == pytest.approx(row[metric], rel=1e-5, abs=0.51 * 10**-digits, nan_ok=True)
    assert cells == []


def test_side_by_side_clip_shows_input_and_nets_at_the_inputs_rate(command, videos, checkpoint, tmp_path):
    assert command(f"ckpt={checkpoint}", f"videos={videos}", f"out={tmp_path}", "frames=6", "device=cpu")[0] == 0
    with VideoReader(tmp_path / "clips" / "still.mp4") as reader:
        frames = torch.cat([frame.pixels for frame in reader])
        assert reader.frame_rate == 12
    assert frames.shape == (6, 3, 64, 192)
    clip = to_uint8(scene(count=12))[:1]
    both = torch.cat([clip, Stylizer.load(checkpoint, device="cpu").frames(clip)], dim=3)
    coded, plain = (F.avg_pool2d(luma(to_float(each[:1, :, 24:])), 8) for each in (frames, both))  # below the names
    assert (coded - plain).abs().mean() < 1 / 255
    with Image.open(tmp_path / "front.png") as plot:
        assert plot.size == (760, 520)


def test_mistakes_get_one_line_and_their_status(command, videos, checkpoint, tmp_path):
    net, clips, nowhere = f"ckpt={checkpoint}", f"videos={videos}", tmp_path / "nowhere"
    (lacking := tmp_path / "lacking").mkdir()
    shutil.copy(videos / "still.mkv", lacking)
    (full := tmp_path / "full").mkdir()
    (full / "results.json").write_text("{}")
    (empty := tmp_path / "empty").mkdir()
    (short := tmp_path / "short").mkdir()
    silent(short / "still.mkv", seconds=0.25, size="96x64", rate=12)
    (wide := tmp_path / "wide").mkdir()
    silent(wide / "still.mkv", seconds=1, size="96x32", rate=12)
    (long := tmp_path / "long").mkdir()
    silent(long / "still.mkv", seconds=3, size="96x64", rate=12)
    still = f"videos={videos / 'still.mkv'}"
    for status, words, *arguments in [
        (2, "videos is missing", net),
        (2, "nothing to judge", clips),
        (2, "called 'input'", clips, f"stylized={shutil.copytree(videos, tmp_path / 'input')}"),
        (3, "nowhere.ckpt' does not exist", f"{net},{nowhere}.ckpt", clips),
        (3, "no such file", net, f"videos={nowhere}"),
        (3, "no clips in", net, f"videos={empty}"),
        (3, "two clips are called 'still'", net, f"videos={videos},{lacking}"),
        (3, "has no clip called 'moving'", clips, f"stylized={lacking}"),
        (3, "frames=3 judges as many", still, f"stylized={short}"),
        (3, "of another shape", still, f"stylized={wide}"),
        (3, "made of another clip", still, f"stylized={long}"),
        (4, "holds results already", net, clips, f"out={full}"),
        (4, "cannot make the folder", net, clips, f"out={full / 'results.json'}"),
    ]:
        left, out, err = command(*arguments, "style_image=liechtenstein", "device=cpu")
        assert (left, out) == (status, ""), (arguments, err)
        assert err.startswith("error: "), err
        assert words in err
        assert len(err.splitlines()) == 1


def test_style_image_names_the_picture_that_a_checkpoint_does_not(command, videos, tmp_path):
    save_checkpoint(tmp_path / "own.ckpt", small_net(), "mine", {})
    arguments = [f"ckpt={tmp_path / 'own.ckpt'}", f"videos={videos / 'still.mkv'}", "frames=2", "device=cpu"]
    status, _, err = command(*arguments, f"out={tmp_path / 'a'}")
    assert (status, err.count("note: ")) == (0, 1)
    assert "no style loss of 'own'" in err
    assert math.isnan(results(tmp_path / "a")["own", "mean"]["style_loss"])
    status, _, err = command(*arguments, f"out={tmp_path / 'b'}", "style_image=liechtenstein", "style_size=64")
    assert (status, "note: " in err) == (0, False)
    assert results(tmp_path / "b")["own", "mean"]["style_loss"] > 0


def test_results_without_matplotlib_are_refused_with_the_remedy_and_tables_are_not(monkeypatch, tmp_path):
    monkeypatch.setattr(verdict, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentFault, match=r"fastnst\[report\]"):
        verdict.prepare_results(tmp_path / "out", overwrite=False)
    assert not (tmp_path / "out").exists()
