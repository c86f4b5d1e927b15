import shutil

import numpy as np
import pytest
import torch
from media import ffmpeg
from scenes import noise, recipe, scene, small_net

from fastnst.checkpoint import Checkpoint
from fastnst.errors import ConfigError, InputError
from fastnst.evaluate.contenders import (
    ClipFile,
    file_rendition,
    find_clips,
    known_style_picture,
    net_rendition,
    still_shares,
)
from fastnst.images import load_style, save_image, to_uint8
from fastnst.settings import LookSettings
from fastnst.stylizer import Stylizer


def test_probe_counts_as_the_next_frame_and_is_forgotten():
    clip, net, look = scene(count=3), small_net(), LookSettings(smooth=0.5)
    probed, plain = net_rendition(net, look), net_rendition(net, look)
    for frame in clip.split(1):
        expected = plain.next_frame(frame)
        assert probed.probe is not None
        first = probed.probe(frame)
        assert torch.equal(probed.probe(torch.cat([1 - frame, frame]))[1:], first)
        assert torch.equal(probed.next_frame(frame), expected)
        assert torch.equal(first, expected)


def test_net_stylizes_as_the_stylizer_does(videos):
    net, look = small_net(), LookSettings(smooth=0.8, strength=0.7, color="content")
    rendition, stylizer = net_rendition(net.eval(), look), Stylizer(small_net(), "cpu", engine="torch")
    stream = stylizer.stream(look)
    for frame in ClipFile(videos / "still.mkv", frames=4):
        expected = stylizer.frames(to_uint8(frame), stream)
        stylized = to_uint8(rendition.next_frame(frame))
        assert (stylized.int() - expected.int()).abs().max() <= 1  # sums in another order: it is one by chance, rarely


def test_mixture_is_one_net_and_one_that_moves_fails():
    assert still_shares("a:3,b:1") == {"a": 0.75, "b": 0.25}
    with pytest.raises(ConfigError, match="moves over a clip"):
        still_shares("a@0s -> b@1s")


def test_stylized_clip_of_another_size_is_made_to_the_inputs(videos, tmp_path):
    made = ffmpeg("-i", videos / "still.mkv", "-vf", "scale=192:128:flags=neighbor", "-c:v", "ffv1", tmp_path / "x.mkv")
    rendition = file_rendition(ClipFile(made))
    frames = scene(count=12)
    assert (rendition.next_frame(frames[:1]) - frames[:1]).abs().mean() < 0.02
    for _ in range(11):
        rendition.next_frame(frames[:1])
    with pytest.raises(InputError, match="fewer frames"):
        rendition.next_frame(frames[:1])


def test_clip_file_is_read_from_its_start_each_time(videos):
    clip = ClipFile(videos / "still.mkv", frames=3)
    assert [frame.tolist() for frame in clip] == [frame.tolist() for frame in clip]
    assert len(list(clip)) == 3
    assert clip.frame_rate == 12


def test_folder_gives_every_file_that_is_called_like_a_video(videos, tmp_path):
    names = ["a.avi", "b.ts", "c.mpg", "d.m4v", "e.MP4", "f.webm"]
    for name in [*names, ".hidden.mp4"]:
        shutil.copy(videos / "still.mkv", tmp_path / name)
    (tmp_path / "notes.txt").write_text("no clip")
    assert list(find_clips([str(tmp_path)])) == ["a", "b", "c", "d", "e", "f"]
    assert list(find_clips([str(videos / "still.mkv"), str(tmp_path / "notes.txt")])) == ["still", "notes"]


def test_style_picture_is_the_one_that_is_named_or_else_the_drawn_one_with_the_hash_of_the_recipe(tmp_path):
    def checkpoint(style="liechtenstein", **changes):
        return Checkpoint(small_net(), style, {**recipe(), **changes})

    def same(found, picture):
        return found is not None and np.array_equal(found, picture)

    drawn = load_style("liechtenstein", 64)
    assert same(known_style_picture(checkpoint(), None, None), drawn)
    enlarged = known_style_picture(checkpoint(), None, 96)
    assert enlarged is not None
    assert enlarged.shape[0] == 96
    assert known_style_picture(checkpoint(style_sha256="0"), None, None) is None  # somebody's own picture of that name
    assert known_style_picture(checkpoint(style="mine"), None, None) is None
    assert known_style_picture(checkpoint(style_size=10**9), None, None) is None  # a stranger's header
    assert known_style_picture(None, None, None) is None
    own = (noise(80, 100, 3) * 255).byte().numpy()
    save_image(own, tmp_path / "own.png")
    assert same(known_style_picture(checkpoint(), str(tmp_path / "own.png"), 80), own)
    assert same(known_style_picture(None, "liechtenstein", 64), drawn)
