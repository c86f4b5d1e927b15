"""Targets and encoders."""

import os
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from media import copy, read, silent, times, write

from fastnst.errors import ConfigError, EnvironmentFault, OutputError
from fastnst.video import encoders


def luma(path: Path) -> np.ndarray:
    """The luma of all frames as it is coded, (T, H, W)."""
    with av.open(str(path)) as container:
        return np.stack([frame.reformat(format="yuv420p").to_ndarray()[: frame.height] for frame in container.decode()])


@pytest.mark.parametrize(("size", "even"), [("127x95", "128x96"), ("127x96", "128x96"), ("128x95", "128x96")])
def test_odd_size_is_padded_to_even_by_the_edge_where_the_codec_has_no_odd_one(tmp_path: Path, caplog, size, even):
    crop = ("-vf", f"format=yuv444p,crop={size.replace('x', ':')}:0:0,setsar=4/3")
    source = silent(tmp_path / "in.mp4", *crop, "-c:v", "libx264", "-pix_fmt", "yuv444p", seconds=0.2)
    width, height = map(int, size.split("x"))
    copy(source, tmp_path / "out.mp4", crf=0)  # lossless
    assert caplog.messages == [f"{size} padded to {even}, as libx264 has even sizes only"]
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.video[0]
        assert f"{stream.width}x{stream.height}" == even
        assert (stream.codec_context.pix_fmt, stream.sample_aspect_ratio) == ("yuv420p", Fraction(4, 3))
        frame = next(container.decode(stream))
        assert f"{frame.width}x{frame.height}" == even
    caplog.clear()
    copy(source, tmp_path / "odd.mkv", codec="libx264rgb", crf=0)
    exact, padded = read(tmp_path / "odd.mkv"), luma(tmp_path / "out.mp4")
    assert exact.shape == (5, height, width, 3)
    assert exact.tobytes() == read(source).tobytes()
    wanted = np.pad(exact @ [0.1826, 0.6142, 0.0620] + 16, ((0, 0), (0, height % 2), (0, width % 2)), "edge")
    assert np.abs(padded - wanted).max() <= 1
    np.testing.assert_array_equal(padded[:, :, width:], padded[:, :, width - 1 : width][:, :, : width % 2])
    np.testing.assert_array_equal(padded[:, height:], padded[:, height - 1 : height][:, : height % 2])
    copy(source, tmp_path / "out.webm")  # VP9 has odd sizes
    assert read(tmp_path / "out.webm").shape == (5, height, width, 3)
    assert not caplog.text


def test_lossless_codec_keeps_every_pixel(tmp_path: Path):
    source = silent(tmp_path / "in.mp4")
    copy(source, tmp_path / "out.mkv", codec="ffv1")
    np.testing.assert_array_equal(read(tmp_path / "out.mkv"), read(source))


def test_little_free_space_gets_a_warning_at_the_start(tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch):
    source = silent(tmp_path / "in.mp4")
    copy(source, tmp_path / "out.mp4")
    assert not caplog.text
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=source.stat().st_size - 1))
    copy(source, tmp_path / "out2.mp4")
    assert "MB are free for" in caplog.text


def test_existing_output_is_refused_unless_overwritten(tmp_path: Path):
    source, target = silent(tmp_path / "in.mp4"), write(tmp_path / "out.mp4", b"old")
    with pytest.raises(OutputError, match="overwrite=true"):
        copy(source, target)
    assert target.read_bytes() == b"old"
    copy(source, target, overwrite=True)
    assert len(times(target)) == 25


@pytest.mark.parametrize("link", [None, os.symlink, os.link])
def test_input_is_never_overwritten(tmp_path: Path, link):
    source = silent(tmp_path / "in.mp4")
    before = source.read_bytes()
    target = source
    if link:
        target = tmp_path / "link.mp4"
        link(source, target)
    with pytest.raises(OutputError, match="the input itself"):
        copy(source, target, overwrite=True)
    assert source.read_bytes() == before


def test_input_under_the_name_of_the_part_is_refused(tmp_path: Path):
    source = silent(tmp_path / "out.part.mp4")
    with pytest.raises(OutputError, match="is the input"):
        copy(source, tmp_path / "out.mp4")


def test_wrong_outputs_are_refused_before_anything_is_written(tmp_path: Path):
    source = silent(tmp_path / "in.mp4")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ConfigError, match=r"use \.mp4, \.m4v, \.mov, \.mkv, \.webm"):
        copy(source, tmp_path / "out.foo")
    with pytest.raises(OutputError, match="does not exist"):
        copy(source, tmp_path / "nowhere" / "out.mp4")
    with pytest.raises(ConfigError, match="does not support"):
        copy(source, tmp_path / "out.webm", codec="libx264")
    with pytest.raises(EnvironmentFault, match="no encoder 'nonsense'"):
        copy(source, tmp_path / "out.mp4", codec="nonsense")
    with pytest.raises(EnvironmentFault, match="is no encoder for video"):
        copy(source, tmp_path / "out.mp4", codec="aac")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="here the encoder may start")
def test_encoder_without_its_hardware_fails_by_name(tmp_path: Path):
    with pytest.raises(EnvironmentFault, match="h264_nvenc does not start"):
        copy(silent(tmp_path / "in.mp4"), tmp_path / "out.mp4", codec="h264_nvenc")
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_preset_may_be_a_number_and_the_encoder_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture):
    copy(silent(tmp_path / "in.mp4", seconds=0.2), tmp_path / "out.mp4", codec="libsvtav1", preset=12)
    assert (video_codec(tmp_path / "out.mp4"), capfd.readouterr()) == ("libdav1d", ("", ""))
    assert len(times(tmp_path / "out.mp4")) == 5


def test_libx264_is_quick_unless_it_is_told_otherwise(tmp_path: Path):
    source = silent(tmp_path / "in.mp4", seconds=0.2)
    for name, preset in (("null", None), ("veryfast", "veryfast"), ("medium", "medium")):
        copy(source, tmp_path / f"{name}.mkv", preset=preset)
    coded = {name: packets(tmp_path / f"{name}.mkv") for name in ("null", "veryfast", "medium")}
    assert coded["null"] == coded["veryfast"] != coded["medium"]
    assert b"subme=2" in coded["null"][0]  # libx264 writes its settings into the first packet
    assert b"subme=7" in coded["medium"][0]


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def video_codec(path: Path) -> str:
    with av.open(str(path)) as container:
        return container.streams.video[0].codec_context.name


def test_codec_auto_tries_the_encoder_of_the_gpu_and_falls_back_with_one_notice(tmp_path: Path, caplog, monkeypatch):
    source = silent(tmp_path / "in.mp4", seconds=0.2)
    copy(source, tmp_path / "cpu.mp4")
    monkeypatch.setattr(encoders, "GPU_ENCODER", "libx265")  # one that starts, whatever machine this is
    copy(source, tmp_path / "gpu.mp4", gpu=True)
    copy(source, tmp_path / "gpu.webm", gpu=True)
    found = [video_codec(tmp_path / name) for name in ("cpu.mp4", "gpu.mp4", "gpu.webm")]
    assert (found, caplog.messages) == (["h264", "hevc", "vp9"], [])
    for name in ("h264_nvenc", "nonsense"):
        caplog.clear()
        monkeypatch.setattr(encoders, "GPU_ENCODER", name)
        copy(source, tmp_path / f"{name}.mkv", gpu=True)
        assert video_codec(tmp_path / f"{name}.mkv") == "h264"
        if name == "nonsense" or not torch.cuda.is_available():
            assert caplog.messages == [f"{name} does not start here: the video is encoded by libx264, on the CPU"]
    assert len(times(tmp_path / "nonsense.mkv")) == 5
