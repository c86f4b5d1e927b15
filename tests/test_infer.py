"""The real command, `python infer.py`, in its own process or, where only its words matter, in this one."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from media import clip, decoded, ffmpeg, silent, times, tone, tracks
from PIL import Image

from fastnst import inference
from fastnst.checkpoint import save_checkpoint
from fastnst.net import StylizationNet
from fastnst.settings import InferSettings
from fastnst.tiles import Tiled
from fastnst.video.reader import VideoReader
from fastnst.video.writer import VideoWriter

INFER = Path(__file__).parent.parent / "infer.py"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.ckpt"
    save_checkpoint(path, StylizationNet(channels=(2, 2, 2), residual_blocks=0), "tiny", {})
    return path


def start(folder: Path, *arguments: object, **options) -> subprocess.Popen:
    command = [sys.executable, str(INFER), *map(str, arguments)]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def run(folder: Path, *arguments: object, **options) -> subprocess.CompletedProcess:
    process = start(folder, *arguments, **options)
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def without_progress(errors: str) -> list[str]:
    """The lines on stderr but for those about the progress, which come on a slow machine only."""
    return [line for line in errors.splitlines() if not re.match(r"frame \d+", line)]


def fails(done: subprocess.CompletedProcess, status: int, words: str) -> None:
    """Asserts the exit status, nothing on stdout, and on stderr one line that holds `words`."""
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    lines = without_progress(done.stderr)
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    assert words in lines[0]


@pytest.fixture
def command(in_process):
    """Runs the command in this process; returns exit status, stdout and stderr."""
    return partial(in_process, inference.infer, InferSettings, inference.USAGE)


def test_a_video_is_stylized_beside_itself_and_nothing_else_appears(tmp_path: Path, checkpoint: Path):
    source = clip(tmp_path / "in.mp4")
    done = run(tmp_path, "video=in.mp4", f"ckpt={checkpoint}")
    assert done.returncode == 0, done.stderr
    assert names(tmp_path) == ["in.mp4", "in_tiny.mp4"]  # no outputs/, no .hydra/, no log
    assert times(tmp_path / "in_tiny.mp4") == times(source)
    assert [track.packets for track in tracks(tmp_path / "in_tiny.mp4", "audio")] == [
        track.packets for track in tracks(source, "audio")
    ]
    first, second, third = done.stdout.splitlines()
    assert first.startswith("25 frames, 128x96, in ")
    assert "fps end to end" in second
    assert "fps net only" in second
    assert third == "in_tiny.mp4"
    assert without_progress(done.stderr) == []


def test_json_report_is_one_line_with_the_real_numbers(tmp_path: Path, monkeypatch, checkpoint: Path, command):
    clip(tmp_path / "in.mp4")
    monkeypatch.chdir(tmp_path)
    threads, chosen = torch.get_num_threads(), []
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    arguments = ("report=json", "out=x.mkv", "batch=4", f"threads={threads + 1}")
    status, out, err = command("video=in.mp4", f"ckpt={checkpoint}", *arguments)
    assert (status, chosen) == (0, [threads + 1]), err
    assert len(out.splitlines()) == 1
    report = json.loads(out)
    assert (report["frames"], report["width"], report["height"], report["path"]) == (25, 128, 96, "x.mkv")
    assert report["net_fps"] > report["fps"] > 0
    assert report["damage"] == []
    assert len(times(tmp_path / "x.mkv")) == 25


def test_a_file_without_video_is_refused_and_one_frame_is_a_video(tmp_path: Path, monkeypatch, checkpoint, command):
    monkeypatch.chdir(tmp_path)
    ffmpeg(*tone(), "sound.m4a")
    silent(Path("cover.png"), "-c:v", "png", "-frames:v", 1)
    picture = ("-map", 0, "-map", 1, "-c:v", "copy", "-disposition:v:0", "attached_pic")
    ffmpeg(*tone(), "-i", "cover.png", *picture, "cover.m4a")
    silent(Path("none.mp4"), "-frames:v", 0)
    before = names(tmp_path)
    for name in ("sound.m4a", "cover.m4a", "none.mp4"):
        status, out, err = command(f"video={name}", f"ckpt={checkpoint}")
        assert (status, out, err) == (3, "", f"error: cannot read video '{name}': it has no video stream\n")
    assert names(tmp_path) == before
    source = silent(Path("one.mp4"), "-frames:v", 1)
    status, out, err = command("video=one.mp4", f"ckpt={checkpoint}", "smooth=0.8")
    assert (status, err) == (0, "")
    assert out.startswith("1 frame, 128x96, in ")
    assert times(Path("one_tiny.mp4")) == times(source)


def test_an_input_is_opened_once(tmp_path: Path, monkeypatch, checkpoint, command):
    silent(tmp_path / "in.mp4", "-frames:v", 2)
    monkeypatch.chdir(tmp_path)
    opened, plain = [], VideoReader.__init__

    def init(self, path, *arguments, **options) -> None:
        opened.append(str(path))
        plain(self, path, *arguments, **options)

    monkeypatch.setattr(VideoReader, "__init__", init)
    assert command("video=in.mp4", f"ckpt={checkpoint}", "out=out.mp4")[0] == 0
    assert opened == ["in.mp4"]


def test_help_answers_fast_and_without_torch(tmp_path: Path):
    before = os.times().children_user
    done = run(tmp_path, "--help")
    assert os.times().children_user - before < 3  # seconds of the processor
    assert done.returncode == 0
    assert "crf=18" in done.stdout
    assert names(tmp_path) == []


def test_bad_input_is_refused_in_two_seconds_without_torch(tmp_path: Path, checkpoint: Path):
    (tmp_path / "z.mp4").touch()
    before = os.times().children_user
    fails(run(tmp_path, "video=z.mp4", f"ckpt={checkpoint}"), 3, "cannot read video 'z.mp4': the file is empty")
    assert os.times().children_user - before < 2  # of the processor: others use this machine too
    assert names(tmp_path) == ["z.mp4"]


def test_what_infer_imports_holds_no_lightning_and_no_wandb(tmp_path: Path, checkpoint: Path):
    silent(tmp_path / "in.mp4", "-frames:v", 2)
    code = f"""
import runpy, sys
sys.argv = ["infer.py", "video=in.mp4", "ckpt={checkpoint}"]
sys.path.insert(0, {str(INFER.parent)!r})
sys.modules["torch"] = None  # importing it now would fail
import infer
del sys.modules["torch"]
runpy.run_path({str(INFER)!r}, run_name="__main__")
print(sorted({{"pytorch_lightning", "lightning", "wandb", "torchvision"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


NAMES = [
    *("my clip (1).mp4", "vidéo.mp4", "a=b,c.mp4", "-dash.mp4", "it's.mp4", "視頻 'q' [1].mp4", "{a}.mp4", "[x] y.mp4"),
    *(
        "$HOME ${x}.mp4",
        "back\\slash.mp4",
        "null.mp4",
        "50%.mp4",
        "#1; rm.mp4",
        'dou"ble.mp4',
        "a:b.mp4",
        " space .mp4",
    ),
]


@pytest.mark.parametrize("name", NAMES)
def test_any_file_name_works_in_and_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: Path, command, name: str
):
    silent(tmp_path / "plain.mp4", "-frames:v", 2).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    status, out, err = command(f"video={name}", f"ckpt={checkpoint}")
    assert status == 0, err
    result = f"{Path(name).stem}_tiny.mp4"
    assert out.splitlines()[-1] == result
    assert names(tmp_path) == sorted([name, result])
    status, _, err = command(f"video={result}", f"out=again {name}", f"ckpt={checkpoint}")
    assert status == 0, err
    assert (tmp_path / f"again {name}").is_file()


def test_dashed_name_works_from_a_real_command_line(tmp_path: Path, checkpoint: Path):
    silent(tmp_path / "plain.mp4", "-frames:v", 2).rename(tmp_path / "-視頻 'q' [1] (2)=a,b.mp4")
    done = run(tmp_path, "video=-視頻 'q' [1] (2)=a,b.mp4", f"ckpt={checkpoint}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "-視頻 'q' [1] (2)=a,b_tiny.mp4"


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ([], 2, "video is missing"),
        (["video=in.mp4"], 2, "ckpt is missing"),
        (["video=in.mp4", "ckpt=CKPT", "audio=aac", "out=x.webm"], 2, "audio=aac: webm cannot hold AAC sound"),
        (["video=in.mp4", "ckpt=CKPT", "out=x.foo"], 2, "no format '.foo'; use .mp4"),
        (["video=rtsp://me:secret@cam/1"], 2, "python -m fastnst.live video=rtsp://***@cam/1 ckpt=picasso"),
        (["video=missing.mp4", "ckpt=CKPT"], 3, "'missing.mp4': there is no such file"),
        (["video=in.mp4", "ckpt=missing.ckpt"], 3, "checkpoint 'missing.ckpt' does not exist"),
        (["video=in.mp4", "ckpt=in.mp4"], 3, "'in.mp4' is not a fastnst checkpoint"),
        (["video=missing.png", "ckpt=CKPT"], 3, "cannot read picture 'missing.png'"),
        (["video=in.mp4", "ckpt=CKPT", "out=nowhere/x.mp4"], 4, "the folder 'nowhere' does not exist"),
        (["video=in.mp4", "ckpt=CKPT", "out=old.mp4"], 4, "'old.mp4' exists; use overwrite=true"),
        (["video=in.mp4", "ckpt=CKPT", "out=in.mp4", "overwrite=true"], 4, "is the input itself"),
        (["video=in.mp4", "ckpt=CKPT", "codec=nonsense"], 5, "no encoder 'nonsense'"),
        pytest.param(
            ["video=in.mp4", "ckpt=CKPT", "codec=h264_nvenc"], 5, "codec=h264_nvenc does not start on this machine",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="here it may start"),
        ),
        (["video=in.mp4", "ckpt=CKPT", "preset=8"], 2, "preset=8 is none of libx264's: ultrafast, superfast"),
        (["video=in.mp4", "ckpt=CKPT", "codec=libsvtav1", "preset=x"], 5, "codec=libsvtav1 does not start"),
    ],
)  # fmt: skip
def test_mistakes_get_one_line_and_their_status(tmp_path, monkeypatch, checkpoint, command, arguments, status, words):
    silent(tmp_path / "in.mp4", "-frames:v", 2)
    (tmp_path / "old.mp4").write_bytes(b"old")
    monkeypatch.chdir(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    found, out, err = command(*[argument.replace("CKPT", str(checkpoint)) for argument in arguments])
    assert (found, out, len(err.splitlines())) == (status, "", 1), err
    assert words in err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_existing_default_output_is_kept_unless_overwritten(tmp_path, monkeypatch, checkpoint, command):
    silent(tmp_path / "in.mp4", "-frames:v", 2)
    (tmp_path / "in_tiny.mp4").write_bytes(b"old")
    monkeypatch.chdir(tmp_path)
    status, _, err = command("video=in.mp4", f"ckpt={checkpoint}")
    assert status == 4
    assert "in_tiny.mp4' exists" in err
    assert (tmp_path / "in_tiny.mp4").read_bytes() == b"old"
    assert command("video=in.mp4", f"ckpt={checkpoint}", "overwrite=true")[0] == 0
    assert len(times(tmp_path / "in_tiny.mp4")) == 2


def test_damaged_input_is_finished_reported_and_exits_with_6(tmp_path, monkeypatch, checkpoint, command):
    whole = clip(tmp_path / "whole.mp4", "-movflags", "+faststart", seconds=2).read_bytes()
    (tmp_path / "in.mp4").write_bytes(whole[: len(whole) * 6 // 10])
    monkeypatch.chdir(tmp_path)
    status, out, err = command("video=in.mp4", f"ckpt={checkpoint}", "report=json")
    assert status == 6
    assert "of 2.0 s" in err
    assert "of 2.0 s" in json.loads(out)["damage"][0]
    assert times(tmp_path / "in_tiny.mp4") == times(tmp_path / "in.mp4")
    status, out, err = command("video=in.mp4", f"ckpt={checkpoint}", "strict=true", "out=strict.mp4")
    assert (status, out) == (3, "")
    assert not (tmp_path / "strict.mp4").exists()


def test_pictures_and_folders_are_stylized_under_their_style(tmp_path, monkeypatch, checkpoint, command):
    (tmp_path / "holiday").mkdir()
    for path in (tmp_path / "in.png", tmp_path / "holiday" / "1.jpg", tmp_path / "holiday" / "2.webp"):
        Image.new("RGB", (30, 20), "green").save(path)
    monkeypatch.chdir(tmp_path)
    status, out, err = command("video=in.png", f"ckpt={checkpoint}")
    assert (status, out.splitlines()[-1]) == (0, "in_tiny.png"), err
    assert out.startswith("1 frame, 30x20")
    status, out, err = command("video=holiday/", f"ckpt={checkpoint}")
    assert status == 0, err
    rows = [[cell.strip() for cell in line.split("|")[1:4]] for line in out.splitlines()[2:]]
    assert rows == [["done", "1", "30x20"]] * 2
    assert names(tmp_path) == ["holiday", "holiday_tiny", "in.png", "in_tiny.png"]
    assert names(tmp_path / "holiday_tiny") == ["1_tiny.jpg", "2_tiny.webp"]
    (tmp_path / "broken.jpg").write_text("<html>")
    status, _, err = command("video=broken.jpg", f"ckpt={checkpoint}")
    assert status == 3
    assert "cannot read picture 'broken.jpg'" in err


def test_dials_of_the_command_reach_the_net(tmp_path, monkeypatch, checkpoint, command):
    picture = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / "in.png")
    monkeypatch.chdir(tmp_path)
    painted = {}
    for dial in ("strength=1", "strength=0", "color=content", "scale=0.5"):
        assert command("video=in.png", f"ckpt={checkpoint}", f"out={dial[:8]}{dial[-1]}.png", dial)[0] == 0
        painted[dial] = np.asarray(Image.open(tmp_path / f"{dial[:8]}{dial[-1]}.png"))
    np.testing.assert_array_equal(painted["strength=0"], picture)
    for dial in ("strength=0", "color=content", "scale=0.5"):
        assert (painted[dial] != painted["strength=1"]).mean() > 0.5


# many inputs


def states(out: str) -> list[str]:
    """The table's first column, without its head."""
    head, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines())
    assert head == ["state", "frames", "size", "seconds", "fps", "result"]
    return [row[0] for row in rows]


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with two clips, and between them by name a file that is none."""
    for name in ("a.mp4", "c.mov"):
        silent(tmp_path / name, "-frames:v", 2)
    (tmp_path / "b.mp4").write_text("no video")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_many_inputs_go_on_after_a_bad_one_and_skip_what_is_finished(
    inputs: Path, checkpoint: Path, command, caplog: pytest.LogCaptureFixture
):
    arguments = ("video=[a.mp4, b.mp4, missing.mp4, c.mov]", f"ckpt={checkpoint}")
    status, out, err = command(*arguments)
    assert status == 3
    assert states(out) == ["done", "failed", "failed", "done"]
    assert "'missing.mp4': there is no such file" in out
    assert err.splitlines()[-1].startswith(
        "error: 2 of 4 inputs failed or are damaged; the first: cannot read video 'b.mp4'"
    )
    assert names(inputs) == ["a.mp4", "a_tiny.mp4", "b.mp4", "c.mov", "c_tiny.mp4"]
    before = (inputs / "a_tiny.mp4").stat().st_mtime_ns
    silent(inputs / "b.mp4", "-frames:v", 3)
    status, out, err = command(arguments[0].replace("missing.mp4, ", ""), arguments[1])
    assert status == 0, err
    assert states(out) == ["skipped", "done", "skipped"]
    assert "'a_tiny.mp4' exists, whatever made it: skipped; overwrite=true makes it again" in caplog.messages
    assert (inputs / "a_tiny.mp4").stat().st_mtime_ns == before
    assert states(command(*arguments, "overwrite=true")[1]) == ["done", "done", "failed", "done"]
    assert (inputs / "a_tiny.mp4").stat().st_mtime_ns > before


def test_glob_leaves_out_its_own_results_and_can_put_them_into_a_folder(inputs: Path, checkpoint: Path, command):
    (inputs / "b.mp4").unlink()
    silent(inputs / "d.mp4", "-frames:v", 2)
    for expected in (["done", "done"], ["skipped", "skipped"]):
        status, out, err = command("video=*.mp4", f"ckpt={checkpoint}")
        assert (status, states(out)) == (0, expected), err
    assert names(inputs) == ["a.mp4", "a_tiny.mp4", "c.mov", "d.mp4", "d_tiny.mp4"]
    status, out, err = command("video=?.m*", f"ckpt={checkpoint}", "out=results")
    assert (status, states(out)) == (0, ["done"] * 3), err
    assert names(inputs / "results") == ["a_tiny.mp4", "c_tiny.mp4", "d_tiny.mp4"]


def test_folder_with_videos_and_pictures_goes_to_a_folder_beside_it(inputs: Path, checkpoint: Path, command):
    folder = inputs / "clips"
    folder.mkdir()
    (inputs / "a.mp4").rename(folder / "[a,b].mp4")
    Image.new("RGB", (30, 20), "green").save(folder / "p.png")
    (folder / "notes.txt").write_text("neither")
    status, out, err = command("video=clips", f"ckpt={checkpoint}")
    assert (status, states(out)) == (0, ["done", "done"]), err
    assert names(inputs / "clips_tiny") == ["[a,b]_tiny.mp4", "p_tiny.png"]
    assert len(names(folder)) == 3


def test_two_inputs_with_one_result_are_not_written_over_each_other(inputs: Path, checkpoint: Path, command):
    shutil.copy(inputs / "c.mov", inputs / "a.mov")
    status, out, _ = command("video=[a.mp4,a.mov]", f"ckpt={checkpoint}")
    assert (status, states(out)) == (2, ["done", "failed"])
    assert "'a_tiny.mp4' is the result of another input; rename one" in out


def test_damage_among_many_gives_6_and_a_failure_its_own_status(inputs: Path, checkpoint: Path, command):
    whole = silent(inputs / "whole.mp4", "-movflags", "+faststart").read_bytes()
    (inputs / "cut.mp4").write_bytes(whole[: len(whole) * 6 // 10])
    status, out, _ = command("video=[cut.mp4,a.mp4]", f"ckpt={checkpoint}", "report=json")
    assert status == 6
    damaged, done = map(json.loads, out.splitlines())
    assert [each["state"] for each in (damaged, done)] == ["damaged", "done"]
    assert [each["status"] for each in (damaged, done)] == [6, 0]
    assert "cut.mp4" in damaged["error"]
    assert (done["source"], done["path"], done["frames"]) == ("a.mp4", "a_tiny.mp4", 2)
    assert command("video=[cut.mp4,a.mp4,b.mp4]", f"ckpt={checkpoint}", "overwrite=true")[0] == 3


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["video=[a.mp4,c.mov]", "out=x.mp4"], 2, "out=x.mp4 is a file, but there are 2 inputs; name a folder"),
        (["video=[a.mp4,c.mov]", "out=b.mp4"], 2, "out=b.mp4 is a file"),
        (["video=[a.mp4,c.mov]", "out=no/where"], 4, "the folder 'no' does not exist"),
        (["video=[]"], 2, "video=[] is an empty list"),
        (["video=*.avi"], 3, "'*.avi': there is no such file"),
        (["video=empty"], 2, "no videos or pictures in 'empty'"),
    ],
)
def test_mistakes_with_many_get_one_line(inputs: Path, checkpoint: Path, command, arguments, status: int, words: str):
    (inputs / "empty").mkdir()
    found, out, err = command(*arguments, f"ckpt={checkpoint}")
    assert (found, out, len(err.splitlines())) == (status, "", 1), err
    assert words in err


# endings of a run


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some ten seconds of work."""
    return clip(tmp_path_factory.mktemp("long") / "in.mp4", "-preset", "ultrafast", seconds=24, size="320x240")


def wait_for(path: Path, size: int, process: subprocess.Popen) -> None:
    """Waits until the file has grown to `size` bytes."""
    deadline = time.monotonic() + 60
    while not (path.exists() and path.stat().st_size >= size):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopping_keeps_a_playable_part_and_says_where(
    tmp_path: Path, checkpoint: Path, long_clip: Path, number: int, status: int
):
    source = Path(shutil.copy(long_clip, tmp_path))
    process = start(tmp_path, "video=in.mp4", f"ckpt={checkpoint}")
    wait_for(tmp_path / "in_tiny.part.mp4", 10_000, process)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    assert names(tmp_path) == ["in.mp4", "in_tiny.part.mp4", "in_tiny.part.state"]
    assert "in_tiny.part.mp4" in err
    assert "Traceback" not in err
    assert out == ""
    kept = times(tmp_path / "in_tiny.part.mp4")
    assert 0 < len(kept) < 600
    assert kept == times(source)[: len(kept)]
    assert f"stopped after {len(kept)} frames" in err


def test_kill_leaves_a_part_that_plays_and_the_next_run_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: Path, long_clip: Path, command, caplog
):
    source = Path(shutil.copy(long_clip, tmp_path))
    process = start(tmp_path, "video=in.mp4", f"ckpt={checkpoint}")
    wait_for(tmp_path / "in_tiny.part.mp4", 100_000, process)
    process.kill()
    process.communicate()
    assert names(tmp_path) == ["in.mp4", "in_tiny.part.claim", "in_tiny.part.mp4", "in_tiny.part.state"]
    kept = times(tmp_path / "in_tiny.part.mp4")
    assert len(kept) > 10
    assert kept == times(source)[: len(kept)]
    silent(tmp_path / "short.mp4", "-frames:v", 2).replace(tmp_path / "in.mp4")
    monkeypatch.chdir(tmp_path)
    assert command("video=in.mp4", f"ckpt={checkpoint}")[0] == 0
    assert "replacing 'in_tiny.part.mp4', left by a run that did not finish" in caplog.text
    assert names(tmp_path) == ["in.mp4", "in_tiny.mp4"]


def test_killed_twice_and_resumed_equals_an_uninterrupted_run(tmp_path: Path, checkpoint: Path):
    """With `norm=shot` too: what the net remembered of the shot lies beside the part."""
    source = clip(tmp_path / "in.mp4", "-preset", "ultrafast", seconds=8)
    settings = ("video=in.mp4", f"ckpt={checkpoint}", "codec=ffv1", "resume=true")
    whole = run(tmp_path, *settings, "out=whole.mkv")  # nothing to resume: it just runs
    assert whole.returncode == 0, whole.stderr
    assert "note" not in whole.stderr
    size = (tmp_path / "whole.mkv").stat().st_size
    for share in (0.45, 0.75):
        process = start(tmp_path, *settings, "out=out.mkv")
        wait_for(tmp_path / "out.part.mkv", int(size * share), process)
        process.kill()
        process.communicate()
        assert not (tmp_path / "out.mkv").exists()
    done = run(tmp_path, *settings, "out=out.mkv")
    assert done.returncode == 0, done.stderr
    going_on = re.search(r"note: resuming after (\d+) frames that 'out.part.mkv' holds\n", done.stderr)
    assert going_on
    assert 50 <= int(going_on[1]) <= 150
    assert names(tmp_path) == ["in.mp4", "out.mkv", "whole.mkv"]
    assert times(tmp_path / "out.mkv") == times(tmp_path / "whole.mkv")
    np.testing.assert_array_equal(decoded(tmp_path / "out.mkv"), decoded(tmp_path / "whole.mkv"))
    found, wanted = (tracks(path, "audio")[0].packets for path in (tmp_path / "out.mkv", source))
    assert [content for _, content in found] == [content for _, content in wanted]


def test_part_of_other_settings_or_of_another_input_is_not_gone_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: Path, command
):
    silent(tmp_path / "in.mp4", "-frames:v", 4)
    silent(tmp_path / "other.mp4", "-frames:v", 4, size="64x48")
    monkeypatch.chdir(tmp_path)
    settings = (f"ckpt={checkpoint}", "out=out.mp4", "resume=true")

    def stopped(self, *frames):
        write(self, *frames)
        self._drain(0)
        raise KeyboardInterrupt

    write = VideoWriter.write
    with monkeypatch.context() as patch:
        patch.setattr(VideoWriter, "write", stopped)
        assert command("video=in.mp4", *settings, "batch=2")[0] == 130
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert sorted(before) == ["in.mp4", "other.mp4", "out.part.mp4", "out.part.state"]
    for changed, what in (
        (["video=other.mp4"], "input"),
        (["video=in.mp4", "crf=20"], "crf"),
        (["video=in.mp4", "strength=0.5", "norm=frame"], "strength, norm"),
    ):
        status, out, err = command(*changed, *settings)
        assert (status, out, len(err.splitlines())) == (4, "", 1), err
        assert f"cannot resume from 'out.part.mp4': it was made with another {what}; resume=false starts over" in err
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    for content in (before["out.part.state"][:-9], b"x" * 99, b""):
        (tmp_path / "out.part.state").write_bytes(content)
        assert "nothing says what it is made of" in command("video=in.mp4", *settings)[2]
    (tmp_path / "out.part.state").unlink()
    assert "nothing says what it is made of" in command("video=in.mp4", *settings)[2]
    assert (tmp_path / "out.part.mp4").read_bytes() == before["out.part.mp4"]


def test_full_disk_is_one_line_and_harms_nothing(tmp_path: Path, monkeypatch, checkpoint: Path, long_clip, command):
    shutil.copy(long_clip, tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in_tiny.mp4").write_bytes(b"old")
    arguments = ("video=in.mp4", f"ckpt={checkpoint}", "overwrite=true", "max_side=64")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        fails(subprocess.CompletedProcess("infer", *command(*arguments)), 4, "file too large")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path) == ["in.mp4", "in_tiny.mp4"]
    assert (tmp_path / "in_tiny.mp4").read_bytes() == b"old"


@pytest.mark.skipif(os.geteuid() != 0 or not sys.platform.startswith("linux"), reason="mounting needs root")
def test_full_file_system_is_one_line_and_leaves_it_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: Path, long_clip: Path, command, caplog
):
    shutil.copy(long_clip, tmp_path)
    monkeypatch.chdir(tmp_path)
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True, check=False
    ).returncode:
        pytest.skip("no permission to mount")
    try:
        done = command("video=in.mp4", f"ckpt={checkpoint}", "out=disk/x.mp4")
        fails(subprocess.CompletedProcess("infer", *done), 4, "no space left on device")
        (note,) = caplog.messages
        assert note.startswith("0.1 MB are free for 'disk/x.mp4'; the input has ")
        assert names(disk) == []
    finally:
        subprocess.run(["umount", disk], check=True)


def test_frame_that_the_memory_does_not_hold_ends_in_5_and_what_is_finished_is_kept(
    tmp_path, monkeypatch, checkpoint, command, caplog
):
    source = silent(tmp_path / "in.mp4", "-frames:v", 9, size="256x192")
    monkeypatch.chdir(tmp_path)
    forward, calls = Tiled.forward, []

    def out_of_memory(self, *arguments):
        calls.append(self.max_pixels)
        if len(calls) > 6:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return forward(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Tiled, "forward", out_of_memory)
        status, out, err = command("video=in.mp4", f"ckpt={checkpoint}", "device=cpu", "batch=1")
    assert (status, out, len(err.splitlines())) == (5, "", 1)
    assert "a 256x192 frame needs about 0.029 GB in tiles of 12288 pixels; try max_pixels_per_pass=3072 or max_" in err
    assert len(calls) == 8  # the retry in tiles is one
    assert names(tmp_path) == ["in.mp4", "in_tiny.part.mp4", "in_tiny.part.state"]
    assert times(tmp_path / "in_tiny.part.mp4") == times(source)[:6]
    again = ("video=in.mp4", f"ckpt={checkpoint}", "resume=true", "max_pixels_per_pass=10000")
    assert command(*again)[0] == 0
    assert times(tmp_path / "in_tiny.mp4") == times(source)


def test_second_ctrl_c_quits_at_once(tmp_path: Path, checkpoint: Path, long_clip: Path):
    shutil.copy(long_clip, tmp_path)
    process = start(tmp_path, "video=in.mp4", f"ckpt={checkpoint}", "preset=veryslow")
    wait_for(tmp_path / "in_tiny.part.mp4", 1, process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    stopped = time.monotonic()
    process.communicate(timeout=60)
    assert time.monotonic() - stopped < 3
    assert process.returncode in (-signal.SIGINT, 130)
    assert "in_tiny.mp4" not in names(tmp_path)
