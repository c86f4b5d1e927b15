from pathlib import Path

import numpy as np
import pytest
import torch
from media import ffmpeg, silent
from PIL import Image

from fastnst.errors import ConfigError
from fastnst.flow import warp
from fastnst.settings import TemporalSettings
from fastnst.training.clips import Clips, FramePair, find_frame_pairs, read_two, split_frame_pairs
from fastnst.training.content import collate, in_tensors
from fastnst.training.pairs import MixedPair, NoisePair, PreviousPair, VideoPair, make_pair, next_frames


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
    ffmpeg(*moving, "-c:v", "libx264", "-crf", "4", "-pix_fmt", "yuv420p", folder / "pan.mp4")
    (folder / "notes.mp4").write_text("no clip")
    return folder


def test_all_pairs_of_consecutive_frames_are_found_and_bad_files_are_named(panned):
    pairs, bad = find_frame_pairs(panned)
    assert len(pairs) == 11
    assert {pair.path.name for pair in pairs} == {"pan.mp4"}
    assert list(bad) == ["notes.mp4"]
    assert len({pair.pts for pair in pairs}) == 11


def test_frames_read_at_random_are_those_read_in_order(panned):
    pairs, _ = find_frame_pairs(panned)
    in_order = [np.asarray(read_two(pair)[0]) for pair in pairs] + [np.asarray(read_two(pairs[-1])[1])]
    for number in (7, 2, 10):
        first, second = read_two(pairs[number])
        assert np.array_equal(np.asarray(first), in_order[number])
        assert np.array_equal(np.asarray(second), in_order[number + 1])


def test_flow_finds_the_known_motion_and_lines_the_frames_up(panned):
    pairs, _ = find_frame_pairs(panned)
    item = Clips(pairs, 128, augment=False)[(5, (0,))]
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
        clips = Clips([FramePair(still, find_frame_pairs(panned)[0][-1].pts)], 48)
        item, again = clips[(0, (1, 2))], clips[(0, (1, 2))]
        assert torch.equal(item["content"], item["filmed"].content_next)
        assert torch.equal(item["content"], again["content"])
        assert item["filmed"].flow.abs().max().item() < 0.1
    finally:
        still.unlink()


def test_pair_that_cannot_be_read_is_replaced_and_named(panned):
    pairs, _ = find_frame_pairs(panned)
    item = Clips([FramePair(panned / "notes.mp4", 0), pairs[0]], 32)[(0, (0,))]
    assert item["unreadable"] == ["notes.mp4"]
    assert item["content"].shape == (3, 32, 32)


def test_folder_without_clips_fails(tmp_path):
    with pytest.raises(ConfigError, match="no clips"):
        find_frame_pairs(tmp_path)
    with pytest.raises(ConfigError, match="no folder"):
        find_frame_pairs(tmp_path / "none")


def test_pairs_use_the_frame_that_followed(panned):
    pairs, _ = find_frame_pairs(panned)
    clips = Clips(pairs, 32)
    batch = in_tensors(collate([clips[(number, (0, number))] for number in range(3)]))
    video = next_frames(VideoPair(), batch["content"], batch["seed"], batch["filmed"])
    assert torch.equal(video.content_next, torch.stack([after.content_next for after in batch["filmed"]]))
    assert video.flow is not None
    assert torch.equal(video.flow, torch.stack([after.flow for after in batch["filmed"]]))
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
    pair = make_pair(TemporalSettings(pair=kind))
    assert pair is not None
    with pytest.raises(ConfigError, match="data=clips"):
        next_frames(pair, torch.rand(1, 3, 16, 16), [0])


def clip_of(path, frames):
    return [FramePair(path, pts) for pts in range(frames)]


def test_whole_clips_are_set_aside_where_there_are_several():
    clips = [clip_of(Path(name), 20) for name in "abcdefghij"]
    training, aside = split_frame_pairs([pair for clip in clips for pair in clip], 4)
    assert len(aside) == 4
    assert {pair.path for pair in aside} == {Path("a"), Path("f")}
    assert {pair.path for pair in training} == {Path(name) for name in "bcdeghij"}
    assert len(training) == 160


def scenes(path, colours):
    """A clip with scenes of five frames: stripes of different width in different colours."""
    inputs = []
    for number, colour in enumerate(colours):
        pattern = f"color={colour}:s=64x48:r=10:d=0.5,drawgrid=w={8 + 9 * number}:h=0:t=4:c=black"
        inputs += ["-f", "lavfi", "-i", pattern]
    return ffmpeg(*inputs, "-filter_complex", f"concat=n={len(colours)}", "-c:v", "ffv1", path)


def test_scenes_of_the_only_clip_are_set_aside(tmp_path):
    pairs, _ = find_frame_pairs(scenes(tmp_path / "a.mkv", ["red", "lime", "blue"]).parent)
    training, aside = split_frame_pairs(pairs, 2)
    assert len(pairs) == 14
    assert [pairs.index(pair) for pair in aside] == [0, 2]
    assert [pairs.index(pair) for pair in training] == [5, 6, 7, 8, 10, 11, 12, 13]  # 4 and 9 span the cuts


def test_end_of_the_only_scene_is_set_aside_with_a_gap(panned):
    pairs, _ = find_frame_pairs(panned)
    longer = pairs + [pairs[-1]._replace(pts=pairs[-1].pts + step) for step in range(1, 30)]
    training, aside = split_frame_pairs(longer, 2)
    assert [longer.index(pair) for pair in aside] == [32, 36]
    assert longer.index(training[-1]) == 29


def test_more_to_validate_with_than_half_of_the_pairs_fails(panned):
    with pytest.raises(ConfigError, match=r"data\.validation=6 is over half of the 11 pairs"):
        split_frame_pairs(find_frame_pairs(panned)[0], 6)


def test_every_ending_that_is_read_counts_and_a_clip_without_two_frames_is_named(panned, tmp_path):
    ffmpeg("-i", panned / "pan.mp4", "-c:v", "mpeg2video", tmp_path / "a.ts")
    ffmpeg("-i", panned / "pan.mp4", "-frames:v", "1", "-c:v", "mjpeg", tmp_path / "one.avi")
    (tmp_path / ".hidden.mp4").write_text("no clip")
    pairs, bad = find_frame_pairs(tmp_path)
    assert len(pairs) == 11
    assert bad == {"one.avi": "fewer than two frames with a time"}
