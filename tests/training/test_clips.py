from pathlib import Path

import numpy as np
import pytest
import torch
from media import silent
from PIL import Image

from fastnst.errors import ConfigError
from fastnst.flow import warp
from fastnst.training.clips import Clips, Shot, find_shots, read_two
from fastnst.training.pairs import MixedPair, NoisePair, PreviousPair, VideoPair, make_pair, next_frames
from fastnst.training.photos import ContentPhotos, collate


@pytest.fixture(scope="module")
def panned(tmp_path_factory) -> Path:
    """A folder with one clip in which a textured picture moves right by two pixels a frame."""
    folder = tmp_path_factory.mktemp("clips")
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 256, (40, 60, 3), dtype=np.uint8)).resize(
        (240, 160), Image.Resampling.BICUBIC
    )
    coarse.save(folder / "picture.png")
    moving = ["-loop", "1", "-i", folder / "picture.png", "-vf", "crop=160:128:40-2*n:10", "-frames:v", "12"]
    from media import ffmpeg

    ffmpeg(*moving, "-c:v", "libx264", "-crf", "4", "-pix_fmt", "yuv420p", folder / "pan.mp4")
    (folder / "notes.mp4").write_text("no clip")
    return folder


def test_shots_are_all_pairs_of_consecutive_frames_and_bad_files_are_named(panned):
    shots, bad = find_shots(panned)
    assert len(shots) == 11
    assert {shot.path.name for shot in shots} == {"pan.mp4"}
    assert list(bad) == ["notes.mp4"]
    assert len({shot.pts for shot in shots}) == 11


def test_frames_read_at_random_are_those_read_in_order(panned):
    shots, _ = find_shots(panned)
    in_order = [np.asarray(read_two(shot)[0]) for shot in shots] + [np.asarray(read_two(shots[-1])[1])]
    for number in (7, 2, 10):
        first, second = read_two(shots[number])
        assert np.array_equal(np.asarray(first), in_order[number])
        assert np.array_equal(np.asarray(second), in_order[number + 1])


def test_flow_and_mask_can_be_measured_by_something_else(panned):
    shots, _ = find_shots(panned)
    calls = []

    def two_left(frame, next_frame):
        calls.append((frame, next_frame))
        return torch.tensor([-2.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 64, 64) * (-1) ** len(calls) * -1

    item = Clips(shots, 64, augment=False, flow=two_left)[(0, (0,))]
    assert item["filmed"].flow[:, 0, 0].tolist() == [-2, 0]
    assert item["filmed"].mask[0, 0].tolist() == [0, 0] + [1] * 62  # back and forth cancel, but for what comes in
    assert torch.equal(calls[0][0], calls[1][1])
    assert torch.equal(calls[0][1][0], item["content"])


def test_flow_finds_the_known_motion_and_lines_the_frames_up(panned):
    shots, _ = find_shots(panned)
    item = Clips(shots, 128, augment=False)[(5, (0,))]
    filmed = item["filmed"]
    seen = filmed.mask.bool().expand(2, -1, -1)
    across, down = filmed.flow[0][seen[0]], filmed.flow[1][seen[1]]
    assert seen.float().mean() > 0.7
    assert across.median().item() == pytest.approx(-2, abs=0.2)  # the next frame's pixels were two further left
    assert down.median().item() == pytest.approx(0, abs=0.2)
    unaligned = (item["content"] - filmed.content_next).abs()[:, seen[0]].mean()
    aligned = (warp(item["content"][None], filmed.flow[None])[0] - filmed.content_next).abs()[:, seen[0]].mean()
    assert aligned < 0.25 * unaligned


def test_crop_is_the_same_for_both_frames_and_a_function_of_its_key(panned):
    still = silent(panned / "still.mkv", "-vf", "select=eq(n\\,0),loop=5:1", "-c:v", "ffv1", seconds=0.4, rate=10)
    try:
        clips = Clips([Shot(still, find_shots(panned)[0][-1].pts)], 48)
        item, again = clips[(0, (1, 2))], clips[(0, (1, 2))]
        assert torch.equal(item["content"], item["filmed"].content_next)
        assert torch.equal(item["content"], again["content"])
        assert item["filmed"].flow.abs().max().item() < 0.1
    finally:
        still.unlink()


def test_shot_that_cannot_be_read_is_replaced_and_named(panned):
    shots, _ = find_shots(panned)
    item = Clips([Shot(panned / "notes.mp4", 0), shots[0]], 32)[(0, (0,))]
    assert item["unreadable"] == ["notes.mp4"]
    assert item["content"].shape == (3, 32, 32)


def test_folder_without_clips_fails(tmp_path):
    with pytest.raises(ConfigError, match="no clips"):
        find_shots(tmp_path)
    with pytest.raises(ConfigError, match="no folder"):
        find_shots(tmp_path / "none")


def test_pairs_use_the_frame_that_followed(panned):
    shots, _ = find_shots(panned)
    data = ContentPhotos(shots, 32, batch_size=2, workers=0, validation=1, seed=0, kind=Clips)
    batch = collate([Clips(data.items, 32)[(number, (0, number))] for number in range(3)])
    video = next_frames(VideoPair(), batch["content"], batch["seed"], batch["filmed"])
    assert torch.equal(video.content_next, batch["filmed"].content_next)
    assert video.flow is not None
    assert torch.equal(video.flow, batch["filmed"].flow)
    previous = next_frames(PreviousPair(), batch["content"], batch["seed"], batch["filmed"])
    assert torch.equal(previous.content_next, video.content_next)
    assert previous.flow is None
    assert previous.mask.min().item() == 1
    drawn = [
        next_frames(MixedPair([NoisePair((0.1, 0.1))]), batch["content"], [seed] * 3, batch["filmed"])
        for seed in range(8)
    ]
    real = [torch.equal(frame.content_next, video.content_next) for frame in drawn]
    assert 0 < sum(real) < 8


@pytest.mark.parametrize("kind", ["video", "previous"])
def test_pairs_of_real_frames_need_clips(kind):
    pair = make_pair({"pair": kind})
    assert pair is not None
    with pytest.raises(ConfigError, match="data=clips"):
        next_frames(pair, torch.rand(1, 3, 16, 16), [0])
