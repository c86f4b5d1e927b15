"""Facts about judging nets and clips: `fastnst.evaluate.judge`, `fastnst.evaluate.report`, and the command."""

import csv
import hashlib
import json
import math
import shutil
import subprocess
import sys
import weakref
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import torch
from media import ffmpeg, silent
from PIL import Image
from torch import nn
from torch.nn import functional as F

from fastnst import metrics
from fastnst.checkpoint import save_checkpoint
from fastnst.errors import InputError
from fastnst.evaluate import __main__ as evaluate
from fastnst.evaluate import judge, report
from fastnst.flow import dis_flow, occlusion_mask
from fastnst.images import load_style, luma, to_float, to_uint8
from fastnst.net import StylizationNet
from fastnst.settings import VideoSettings
from fastnst.stylizer import Stylizer
from fastnst.video.reader import VideoReader

CHANGES = [f"{name}_{interval}" for name in judge.ALONG_FLOW for interval in judge.INTERVALS]


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def scene(count=21):
    """A textured wall with grain, in front of which a square goes by: (T, 3, 64, 96), 8 bits."""
    wall = F.interpolate(noise(1, 3, 16, 24), scale_factor=4, mode="bilinear")[0]
    frames = []
    for time in range(count):
        frame = wall + (noise(3, 64, 96, seed=time) - 0.5) * 6 / 255
        frame[:, 40:56, 5 + 3 * time : 21 + 3 * time] = wall[:, :16, :16].flip(0)
        frames.append(frame.clamp(0, 1))
    return to_float(to_uint8(torch.stack(frames)))


class Blur(nn.Module):
    """A net without statistics, so that both norms are one."""

    def forward(self, content):
        return F.avg_pool2d(content, 5, stride=1, padding=2) * 0.8 + 0.1


class Constant(nn.Module):
    def forward(self, content):
        return torch.full_like(content, 0.3)


def small_net(seed=0):
    torch.manual_seed(seed)
    return StylizationNet(channels=(4, 4, 4), residual_blocks=1).eval().requires_grad_(False)


@pytest.fixture
def grams(tiny_vgg):
    return judge.style_grams(tiny_vgg, noise(3, 64, 64, seed=9))


# fastnst.evaluate.judge


def test_identity_has_the_values_of_the_input(tiny_vgg, grams):
    painters = {"net": judge.net_painter(nn.Identity(), "shot")}
    found = judge.evaluate_clip(scene().split(1), painters, tiny_vgg, {"net": grams})
    for metric in judge.METRICS:
        if not metric.startswith("style"):
            assert found["net"][metric] == found["input"][metric], metric
    assert found["net"]["style_loss"] == found["net"]["style_loss_input"] > 0
    assert found["net"]["content_loss"] == 0
    assert found["net"]["static_flicker_ratio"] == 1
    assert 0.3 < found["net"]["static_share"] < 0.9
    assert found["net"]["static_flicker"] == pytest.approx(2, abs=0.1)  # two uniform numbers: a third of 6 grey levels
    for sigma in judge.SIGMAS:
        assert found["net"][f"noise_gain_{sigma}"] == pytest.approx(1)
    for motion in metrics.MOTIONS:
        assert found["net"][f"motion_error_{motion}"] == pytest.approx(0, abs=1e-4)
        assert found["net"][f"motion_floor_{motion}"] > 0


def test_constant_output_is_perfectly_still_and_has_no_style(tiny_vgg, grams):
    numbers = judge.evaluate_net(Constant(), [scene().split(1)], tiny_vgg, grams)
    still = ["static_flicker", "static_flicker_ratio", *CHANGES, "contrast"]
    still += [f"noise_gain_{sigma}" for sigma in judge.SIGMAS]
    still += [f"motion_{what}_{motion}" for what in ("error", "floor") for motion in metrics.MOTIONS]
    for metric in still:
        assert numbers[metric] == pytest.approx(0, abs=1e-4), metric
    assert numbers["style_loss"] > 0.5
    assert numbers["content_loss"] > 0.1


def test_numbers_of_a_clip_are_those_of_the_metrics_joined_by_hand(tiny_vgg, grams):
    clip, net = scene(count=21), Blur()
    numbers = judge.evaluate_net(net, [clip.split(1)], tiny_vgg, grams)
    painted = [to_float(to_uint8(net(frame))) for frame in clip.split(1)]
    pairs = {1: list(pairwise(range(21))), 10: [(0, 10), (10, 20)]}
    for interval, ends in pairs.items():
        values = {name: [] for name in judge.ALONG_FLOW}
        for start, end in ends:
            frame, following = clip[start, None], clip[end, None]
            flow = dis_flow(frame, following)
            mask = occlusion_mask(flow, dis_flow(following, frame))
            for name, metric in judge.ALONG_FLOW.items():
                values[name].append(metric(painted[start], painted[end], flow, mask).item())
        for name in ("warping_error", "absolute_warping_error"):
            assert numbers[f"{name}_{interval}"] == pytest.approx(fmean(values[name]))
        squares = fmean(value**2 for value in values["stability_error"])
        assert numbers[f"stability_error_{interval}"] == pytest.approx(math.sqrt(squares))
    still = metrics.static_mask(clip.split(1))
    flicker = [metrics.static_flicker(painted[start], painted[end], still).item() for start, end in pairs[1]]
    assert numbers["static_flicker"] == pytest.approx(fmean(flicker))
    losses = [
        metrics.style_and_content_loss(tiny_vgg, clip[time, None], painted[time], grams, judge.CONTENT_LAYER)
        for time in (0, 16)
    ]
    assert numbers["style_loss"] == pytest.approx(fmean(style.item() for style, _ in losses))
    assert numbers["content_loss"] == pytest.approx(fmean(content.item() for _, content in losses))
    assert numbers["contrast"] == pytest.approx(fmean(metrics.contrast(torch.cat(painted)).tolist()), rel=1e-5)
    gains = [metrics.noise_gain(net, clip[time, None], 2 / 255, torch.Generator().manual_seed(0)) for time in (0, 16)]
    assert numbers["noise_gain_2"] == pytest.approx(fmean(gain.item() for gain in gains))


def test_pairs_across_a_cut_are_left_out(tiny_vgg):
    one, other = (F.interpolate(noise(1, 3, 8, 12, seed=seed), scale_factor=8) for seed in (0, 1))
    one[:, 1:] *= 0.2  # red
    other[:, ::2] *= 0.2  # green
    numbers = judge.evaluate_net(nn.Identity(), [[*[one] * 6, *[other] * 8]], tiny_vgg, None)
    assert numbers["absolute_warping_error_1"] == pytest.approx(0, abs=1e-3)
    assert math.isnan(numbers["absolute_warping_error_10"])  # its only pair, 0 and 10, are of two scenes
    assert math.isnan(numbers["style_loss"])


def test_moving_camera_has_no_still_pixels(tiny_vgg):
    wall = F.interpolate(noise(1, 3, 32, 64), scale_factor=4, mode="bilinear")
    pan = [wall[..., :64, 4 * time : 4 * time + 96] for time in range(12)]
    numbers = judge.evaluate_net(Blur(), [pan], tiny_vgg, None)
    assert numbers["static_share"] == 0
    assert math.isnan(numbers["static_flicker"])
    assert math.isnan(numbers["static_flicker_ratio"])
    assert numbers["absolute_warping_error_1"] > 0


def test_noise_is_put_through_the_statistics_of_the_shot(tiny_vgg):
    clip, net = scene(count=2), small_net()
    painter = judge.net_painter(net, "shot")
    painter.paint(clip[:1])
    assert painter.stylize is not None
    torch.testing.assert_close(painter.stylize(clip[:1]), net(clip[:1]), atol=1e-5, rtol=0)  # its own statistics
    half = clip[:1] / 2  # instance norm makes up for less contrast, the shot's statistics do not
    assert (net(half) - net(clip[:1])).abs().mean() < 0.5 * (painter.stylize(half) - net(clip[:1])).abs().mean()


def test_frames_do_not_pile_up_in_memory(tiny_vgg):
    alive, most = weakref.WeakSet(), []

    class Clip:
        def __iter__(self):
            for time in range(40):
                frame = torch.full((1, 3, 16, 16), time / 40)
                alive.add(frame)
                most.append(len(alive))
                yield frame

    judge.evaluate_net(nn.Identity(), [Clip()], tiny_vgg, None)
    assert max(most) <= 4


# fastnst.evaluate.__main__


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """Two lossless clips, one of a still camera, and something that is no clip."""
    folder = tmp_path_factory.mktemp("videos")
    frames = to_uint8(scene(count=12)).permute(0, 2, 3, 1).contiguous().numpy()
    (folder / "frames.rgb").write_bytes(frames.tobytes())
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "96x64", "-r", "12", "-i", folder / "frames.rgb"]
    ffmpeg(*raw, "-c:v", "ffv1", "-pix_fmt", "bgr0", folder / "still.mkv")
    silent(folder / "moving.mp4", seconds=0.5, size="96x64", rate=12)
    return folder


def recipe(style="liechtenstein", size=64):
    return {"style_size": size, "style_sha256": hashlib.sha256(load_style(style, size).tobytes()).hexdigest()}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.ckpt"
    save_checkpoint(path, small_net(), "liechtenstein", recipe())
    return path


@pytest.fixture
def command(in_process, monkeypatch, tiny_vgg):
    """Runs the command in this process with a tiny loss network; returns exit status, stdout and stderr."""
    monkeypatch.setattr(evaluate, "load_vgg", lambda source: tiny_vgg)
    return partial(in_process, evaluate.evaluate, "evaluate", evaluate.USAGE, evaluate.PATHS)


def results(folder: Path) -> dict[tuple[str, str], dict]:
    rows = json.loads((folder / "results.json").read_text())["rows"]
    return {
        (row["net"], row["clip"]): {name: math.nan if value is None else value for name, value in row.items()}
        for row in rows
    }


@pytest.mark.parametrize("norm", ["shot", "frame"])
def test_clips_that_a_net_stylized_have_the_numbers_of_the_net(command, videos, checkpoint, tmp_path, norm):
    (painted := tmp_path / "painted").mkdir()
    for name in ("still.mkv", "moving.mp4"):
        own = Path(name).stem + ("_tiny" if norm == "shot" else "")  # called as infer.py does, or as the input
        target = painted / f"{own}.mkv"
        Stylizer.load(checkpoint, device="cpu").video(videos / name, target, VideoSettings(codec="ffv1", norm=norm))
    arguments = [f"ckpt={checkpoint}", f"stylized={painted}", f"videos={videos}", f"norm={norm}", "device=cpu"]
    status, _, err = command(*arguments, "style_image=liechtenstein", "style_size=64", f"out={tmp_path / 'out'}")
    assert status == 0, err
    found = results(tmp_path / "out")
    for clip in ("mean", "still", "moving"):
        net, file = found["tiny", clip], found["painted", clip]
        for metric in judge.METRICS:
            if metric.startswith(("noise", "motion")):
                assert net[metric] > 0
                assert math.isnan(file[metric])  # nothing can be put through a finished clip
            else:
                assert file[metric] == pytest.approx(net[metric], rel=1e-4, nan_ok=True), metric
        assert found["input", clip]["absolute_warping_error_1"] > 0


def test_command_and_evaluate_net_agree(command, videos, checkpoint, tiny_vgg, tmp_path):
    assert command(f"ckpt={checkpoint}", f"videos={videos / 'still.mkv'}", f"out={tmp_path}", "device=cpu")[0] == 0
    grams = judge.style_grams(tiny_vgg, to_float(torch.from_numpy(load_style("liechtenstein", 64)).permute(2, 0, 1)))
    net = evaluate.load_checkpoint(checkpoint).net  # its weights were rounded
    numbers = judge.evaluate_net(net, [scene(count=12).split(1)], tiny_vgg, grams, norm="shot")
    found = results(tmp_path)["tiny", "mean"]
    for metric, value in numbers.items():
        assert found[metric] == pytest.approx(value, rel=1e-4, nan_ok=True), metric


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
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines() if line[:1] == "|"]
    for columns in report.TABLES.values():
        assert cells.pop(0) == ["net", "clip", *columns]
        cells.pop(0)
        for row in found.values():
            shown = cells.pop(0)
            assert shown[:2] == [row["net"], row["clip"]]
            for cell, (metric, digits) in zip(shown[2:], columns.values(), strict=True):
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
        assert plot.size == (report.WIDTH, report.HEIGHT)


def test_plot_puts_each_net_where_its_numbers_are():
    numbers = dict.fromkeys(judge.METRICS, math.nan)

    def row(net, style, warp):
        return {"net": net, "clip": "mean", **numbers, "style_loss": style, "absolute_warping_error_1": warp}

    rows = [row("input", math.nan, 1.0), row("a", 0.2, 8.0), row("b", 0.3, 2.0), row("unknown", math.nan, 4.0)]
    plot = np.asarray(report.front(rows, {"a": "liechtenstein", "b": "clouds", "unknown": "unknown"})).astype(int)
    places = []
    for colour in report.COLOURS[:2]:
        wanted = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
        y, x = np.nonzero((plot == wanted).all(2))
        places.append((np.median(x), np.median(y)))
    (ax, ay), (bx, by) = places
    assert ax < bx - 200
    assert ay < by - 200
    wanted = [int(report.COLOURS[2][at : at + 2], 16) for at in (1, 3, 5)]
    assert not (plot == wanted).all(2).any()  # no style loss, no place
    assert np.asarray(report.front(rows[:1], {})).shape == plot.shape


def test_style_picture_is_known_by_its_hash(command, videos, tmp_path):
    save_checkpoint(tmp_path / "drawn.ckpt", small_net(), "liechtenstein", recipe())
    save_checkpoint(
        tmp_path / "own.ckpt", small_net(), "liechtenstein", {**recipe(), "style_sha256": "0"}
    )  # own picture
    Image.fromarray(load_style("liechtenstein", 64)).save(tmp_path / "own.png")
    nets = f"ckpt={tmp_path / 'drawn.ckpt'},{tmp_path / 'own.ckpt'}"
    arguments = [nets, f"videos={videos / 'still.mkv'}", "frames=2", "device=cpu"]
    status, _, err = command(*arguments, f"out={tmp_path / 'a'}")
    assert (status, err.count("note: ")) == (0, 1)
    assert "no style loss of 'own'" in err
    found = results(tmp_path / "a")
    assert math.isnan(found["own", "mean"]["style_loss"])
    status, _, err = command(
        *arguments, f"out={tmp_path / 'b'}", f"style_image={tmp_path / 'own.png'}", "style_size=64"
    )
    assert (status, "note: " in err) == (0, False)
    for name in ("drawn", "own"):
        assert results(tmp_path / "b")[name, "mean"]["style_loss"] == found["drawn", "mean"]["style_loss"]


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
        (2, "norm=layer should be", net, clips, "norm=layer"),
        (2, "frames=1 should be", net, clips, "frames=1"),
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


def test_stylized_clip_of_another_size_is_made_to_the_inputs(videos, tmp_path):
    made = ffmpeg("-i", videos / "still.mkv", "-vf", "scale=192:128:flags=neighbor", "-c:v", "ffv1", tmp_path / "x.mkv")
    painter = judge.file_painter(judge.ClipFile(made))
    frames = scene(count=12)
    assert (painter.paint(frames[:1]) - frames[:1]).abs().mean() < 0.02
    for _ in range(11):
        painter.paint(frames[:1])
    with pytest.raises(InputError, match="fewer frames"):
        painter.paint(frames[:1])


def test_help_shows_usage_and_settings():
    run = [sys.executable, "-m", "fastnst.evaluate", "--help"]
    done = subprocess.run(run, capture_output=True, text=True, timeout=60, check=True)
    assert "python -m fastnst.evaluate ckpt=" in done.stdout
    assert "frames: 48" in done.stdout
    assert done.stderr == ""
