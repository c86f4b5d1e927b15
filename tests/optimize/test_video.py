import numpy as np
import pytest
import torch
from media import clip, duration, read, silent, times, tracks
from PIL import Image

from fastnst.optimize import video as module
from fastnst.optimize.objective import FrameObjective, PictureObjective, Reference, Weights
from fastnst.optimize.video import FrameStore, first_picture, order, references_of
from fastnst.settings import OptimizeSettings

FAST = ["rounds=1", "evaluations=3"]


@pytest.fixture
def frames(tmp_path):
    """Five frames of a texture that moves two pixels to the right each time, and what was made of the first four."""
    held = FrameStore(tmp_path, torch.device("cpu"))
    texture = np.random.default_rng(0).integers(0, 256, (12, 24, 3), dtype=np.uint8)
    wide = Image.fromarray(texture).resize((96, 48), Image.Resampling.BICUBIC)
    for number in range(5):
        moved = wide.crop((16 - 2 * number, 0, 80 - 2 * number, 48))
        picture = torch.from_numpy(np.asarray(moved).copy()).permute(2, 0, 1)[None] / 255
        held.write("content", number, picture)
        if number < 4:
            held.write("pass1", number, 1 - picture)
    return held


def settings(**values) -> OptimizeSettings:
    return OptimizeSettings(content="clip.mp4", **values)


@pytest.mark.parametrize("stabilize", ["none", "final", "iteration", "ruder"])
def test_frames_times_size_and_sound_are_kept(run, tmp_path, stabilize):
    source = clip(tmp_path / "clip.mp4", seconds=0.4, size="64x48", rate=10)
    status, out, err = run(f"content={source}", f"stabilize={stabilize}", *FAST)
    made = tmp_path / "clip_picasso.mp4"
    assert status == 0, err
    assert str(made) in out
    assert times(made) == times(source)
    assert read(made).shape == (4, 48, 64, 3)
    assert [each.packets for each in tracks(made, "audio")] == [each.packets for each in tracks(source, "audio")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "clip_picasso.mp4"]


def test_a_constant_frame_rate_has_fewer_frames_and_the_same_length(run, tmp_path):
    source = silent(tmp_path / "clip.mp4", seconds=0.8, size="64x48", rate=10)
    assert run(f"content={source}", "fps=5", *FAST)[0] == 0
    assert len(times(tmp_path / "clip_picasso.mp4")) == 4
    assert duration(tmp_path / "clip_picasso.mp4") == pytest.approx(0.8)


def test_rows_and_end_limit_what_is_made(run, tmp_path):
    source = silent(tmp_path / "clip.mp4", seconds=0.8, size="96x64", rate=10)
    assert run(f"content={source}", "rows=32", "end=0.25", *FAST)[0] == 0
    assert read(tmp_path / "clip_picasso.mp4").shape == (3, 32, 48, 3)


@pytest.mark.parametrize("stabilize", ["iteration", "ruder"])
def test_a_run_that_was_stopped_makes_the_same_video(run, tmp_path, monkeypatch, stabilize):
    source = silent(tmp_path / "clip.mp4", seconds=0.4, size="64x48", rate=10)
    arguments = [f"content={source}", f"stabilize={stabilize}", "rounds=2", "evaluations=3"]
    assert run(*arguments, f"out={tmp_path / 'whole.mp4'}")[0] == 0
    optimize_frame, made = module.optimize_frame, []

    def stopping(*given):
        if len(made) == 2:
            made.append("stopped")
            raise KeyboardInterrupt
        optimize_frame(*given)
        made.append(given[3])

    monkeypatch.setattr(module, "optimize_frame", stopping)
    halves = f"out={tmp_path / 'halves.mp4'}"
    assert run(*arguments, halves)[0] == 130
    assert (tmp_path / "halves.frames").is_dir()
    assert not (tmp_path / "halves.mp4").exists()
    assert run(*arguments, halves, "resume=true", "style_weight=2")[0] == 4
    assert run(*arguments, halves, "resume=true")[0] == 0
    assert made == [0, 1, "stopped", 2, 3]
    assert np.array_equal(read(tmp_path / "whole.mp4"), read(tmp_path / "halves.mp4"))
    assert not (tmp_path / "halves.frames").exists()


def test_a_folder_that_is_not_ours_is_left_alone(run, tmp_path):
    source = silent(tmp_path / "clip.mp4", seconds=0.2, size="64x48", rate=10)
    (tmp_path / "clip_picasso.frames").mkdir()
    (tmp_path / "clip_picasso.frames" / "mine.txt").touch()
    status, _, err = run(f"content={source}", *FAST)
    assert (status, "in the way" in err) == (4, True)
    assert (tmp_path / "clip_picasso.frames" / "mine.txt").exists()


def test_later_passes_go_back_and_there_again():
    assert [number for turn, number, _ in order(3, 3) if turn == 2] == [2, 1, 0]
    assert list(order(3, 3))[-1] == (3, 2, 1)


def test_the_reports_forms_hold_a_frame_to_the_one_before_as_if_nothing_moved(frames):
    for stabilize in ("final", "iteration"):
        (held,) = references_of(settings(stabilize=stabilize), frames, 1, 4, 1)
        assert torch.equal(held.picture, frames.read("pass1", 3))
        assert held.mask.min() == 1
    assert references_of(settings(stabilize="none"), frames, 1, 4, 1) == []
    assert references_of(settings(stabilize="final"), frames, 1, 0, 1) == []


def test_ruders_form_holds_each_pixel_to_what_was_made_of_it_once(frames):
    held = references_of(settings(stabilize="ruder"), frames, 1, 4, 1)
    assert len(held) == 3  # one, two and four frames before
    assert torch.cat([each.mask for each in held]).sum(0).max() <= 1
    perfect = 1 - frames.read("content", 4)
    inner = held[0].mask[..., 8:-8, 12:-12]
    assert inner.mean() > 0.8
    error = ((held[0].picture - perfect).abs() * held[0].mask)[..., 8:-8, 12:-12]
    assert error.mean() * 255 < 4
    standing = (frames.read("pass1", 3) - perfect).abs()[..., 8:-8, 12:-12]
    assert standing.mean() > 2 * error.mean()


def test_ruders_form_begins_with_the_frame_before_where_that_sees_the_pixel(frames):
    chosen = settings(stabilize="ruder")
    content = frames.read("content", 4)
    held = references_of(chosen, frames, 1, 4, 1)
    begin = first_picture(chosen, frames, 1, 4, content, held)
    seen = held[0].mask.expand_as(content) == 1
    torch.testing.assert_close(begin[seen], held[0].picture[seen])
    assert torch.equal(begin[~seen], content[~seen])
    assert torch.equal(first_picture(settings(stabilize="final"), frames, 1, 4, content, held), content)


def test_a_scene_cut_begins_anew(frames):
    generator = torch.Generator().manual_seed(5)
    other = torch.nn.functional.interpolate(torch.rand(1, 3, 4, 4, generator=generator), (48, 64)) * torch.tensor(
        [1.0, 0.1, 0.1]
    ).view(1, 3, 1, 1)
    frames.write("content", 4, other)
    for stabilize in ("final", "iteration", "ruder"):
        assert references_of(settings(stabilize=stabilize), frames, 1, 4, 1) == []


def test_the_stabilization_loss_counts_grey_levels_inside_the_mask(tiny_vgg):
    picture = torch.rand(1, 3, 32, 32)
    weights = Weights("relu4_2", ("relu1_1",), 0.0, 0.0, 0.0)
    still = PictureObjective(tiny_vgg, picture, picture, weights)
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., :4, :5] = 1
    objective = FrameObjective(still, [Reference(picture - 2 / 255, mask)], 10.0)
    assert objective(picture).item() == pytest.approx(10 * 20 * 3 * 4, rel=1e-3)


def test_a_larger_weight_holds_stiller(run, tmp_path):
    """On a clip with grain that does not move."""
    from media import ffmpeg

    grain = ["-f", "lavfi", "-i", "testsrc2=s=64x48:r=10:d=0.1,loop=3:1:0,noise=alls=12:allf=t"]
    source = ffmpeg(*grain, "-c:v", "ffv1", tmp_path / "grain.mkv")
    changes = []
    for weight in ("0", "1e5"):
        out = tmp_path / f"{weight}.mp4"
        assert (
            run(f"content={source}", f"out={out}", "stabilize=final", f"temporal_weight={weight}", "rounds=4")[0] == 0
        )
        made = read(out).astype(int)
        changes.append(np.abs(np.diff(made, axis=0)).mean())
    assert changes[1] < changes[0] / 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["passes=2", "stabilize=final"], "passes=2 needs stabilize=ruder"),
        (["sweep=[1,2]"], "sweep is for pictures"),
        (["stabilize=always"], "stabilize=always"),
        (["fps=fast"], "fast"),
    ],
)
def test_wrong_settings_are_one_line(run, tmp_path, arguments, message):
    source = silent(tmp_path / "clip.mp4", seconds=0.2, size="64x48", rate=10)
    status, out, err = run(f"content={source}", *arguments)
    assert (status, out) == (2, "")
    assert message in err
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]
