"""Colours that come in and go out."""

from pathlib import Path

import av
import numpy as np
import pytest
from media import copy, decoded, ffmpeg, read, silent

from fastnst.video.colour import srgb_signal

COLOUR = np.array([200, 50, 30])


def colour_clip(path: Path, size: str, matrix: str, *options: object, limited: bool = True) -> Path:
    """A clip of one colour in the matrix "709" or "170m", without any tag unless `options` add one."""
    convert = f"format=gbrp,zscale=matrix={matrix}:range={'limited' if limited else 'full'},format=yuv420p"
    untagged = "setparams=colorspace=unknown:color_primaries=unknown:color_trc=unknown"
    source = ["-f", "lavfi", "-i", f"color=0xC8321E:s={size}:r=25:d=0.04", "-vf", f"{convert},{untagged}"]
    return ffmpeg(*source, "-c:v", "libx264", "-crf", 1, *options, path)


@pytest.mark.parametrize(
    ("size", "matrix", "options"),
    [
        ("1280x720", "709", []),  # untagged HD is BT.709
        ("128x96", "170m", []),  # untagged SD is BT.601
        ("128x96", "709", ["-bsf:v", "h264_metadata=matrix_coefficients=1"]),  # a tag decides
        ("1280x720", "170m", ["-bsf:v", "h264_metadata=matrix_coefficients=6"]),
    ],
)
def test_colours_are_read_by_tag_or_by_size(tmp_path: Path, size: str, matrix: str, options: list[str]):
    source = colour_clip(tmp_path / "in.mp4", size, matrix, *options)
    assert np.abs(read(source).astype(int) - COLOUR).max() <= 2


def test_full_range_is_read_as_full_range(tmp_path: Path):
    source = colour_clip(
        tmp_path / "in.mp4", "128x96", "170m", "-bsf:v", "h264_metadata=video_full_range_flag=1", limited=False
    )
    assert np.abs(read(source).astype(int) - COLOUR).max() <= 2


@pytest.mark.parametrize(
    ("size", "matrix", "options"),
    [
        ("128x96", "170m", []),
        ("1280x720", "709", []),
        ("128x96", "170m", ["-bsf:v", "h264_metadata=video_full_range_flag=1"]),
    ],
)
def test_output_is_tagged_bt709_and_another_program_sees_the_same_colours(tmp_path: Path, size, matrix, options):
    source = colour_clip(tmp_path / "in.mp4", size, matrix, *options, limited=not options)
    copy(source, tmp_path / "out.mp4", crf=1)
    with av.open(str(tmp_path / "out.mp4")) as container:
        frame, context = next(container.decode(video=0)), container.streams.video[0].codec_context
        assert (frame.colorspace, context.color_primaries, context.color_trc, frame.color_range) == (1, 1, 1, 1)
    assert (
        np.abs(decoded(tmp_path / "out.mp4", "zscale=matrix=gbr:range=full", "format=gbrp").astype(int) - COLOUR).max()
        <= 2
    )


def test_identity_changes_a_moving_picture_by_less_than_two_levels(tmp_path: Path):
    source = silent(tmp_path / "in.mp4", "-crf", 1, "-vf", "gblur=4", size="320x240", seconds=0.2)
    copy(source, tmp_path / "out.mp4", crf=1)
    difference = read(tmp_path / "out.mp4").astype(int) - read(source)
    assert np.abs(difference).mean() < 2
    assert abs(difference.mean()) < 0.2


def test_ten_bit_and_grey_videos_are_read(tmp_path: Path):
    plain = read(silent(tmp_path / "plain.mkv", "-c:v", "ffv1", "-pix_fmt", "yuv444p", "-vf", "hue=s=0"))
    ten = silent(tmp_path / "ten.mkv", "-c:v", "ffv1", "-pix_fmt", "yuv444p10le", "-vf", "hue=s=0")
    grey = silent(
        tmp_path / "grey.mkv", "-c:v", "ffv1", "-pix_fmt", "gray", "-vf", "hue=s=0,format=yuv444p,format=gray"
    )
    assert np.abs(read(ten).astype(int) - plain).mean() < 1
    assert np.abs(read(grey).astype(int) - plain).mean() < 1


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("in.mov", ["prores_ks", "-profile:v", 4444, "-pix_fmt", "yuva444p10le"]),
        ("in.webm", ["libvpx-vp9", "-pix_fmt", "yuva420p"]),
    ],
)
def test_transparent_video_is_laid_on_white_with_a_warning(tmp_path: Path, caplog, name: str, options: list):
    half = "format=rgba,geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)':a='255*gt(X,63)'"
    source = silent(tmp_path / name, "-vf", half, "-c:v", *options, seconds=0.2)
    frames = read(source)
    assert frames[:, :, :60].min() >= 253
    assert frames[:, :, 68:].std() > 40
    assert "laid on white" in caplog.text
    red = read(source, background="#C8321E")[:, :, :60].astype(int)
    assert np.abs(red - COLOUR).max() <= 2


def gamut_clip(path: Path, *options: object, primaries: str, curve: str = "bt709") -> Path:
    """A clip of COLOUR as it is coded in other primaries, tagged so, 10-bit 4:2:0."""
    to_wide = f"zscale=pin=bt709:tin=bt709:min=gbr:rin=full:p={primaries}:t={curve}:m=bt2020nc:r=limited:npl=203"
    source = [
        "-f",
        "lavfi",
        "-i",
        "color=0xC8321E:s=64x48:r=25:d=0.2",
        "-vf",
        f"format=gbrp16,{to_wide},format=yuv420p10",
    ]
    tags = ["-color_primaries", primaries, "-color_trc", curve, "-colorspace", "bt2020nc", "-color_range", "tv"]
    return ffmpeg(*source, *tags, *options, path)


@pytest.mark.parametrize("primaries", ["bt2020", "smpte432"])
@pytest.mark.parametrize(("curve", "kept"), [("bt709", 1), ("iec61966-2-1", 13)])
def test_wide_gamut_that_is_not_hdr_becomes_bt709(tmp_path: Path, caplog, primaries: str, curve: str, kept: int):
    source = gamut_clip(tmp_path / "in.mkv", "-c:v", "ffv1", primaries=primaries, curve=curve)
    wanted = COLOUR if curve == "bt709" else srgb_signal((COLOUR / 255) ** 2.4) * 255
    assert np.abs(read(source) - wanted).max() <= 2
    copy(source, tmp_path / "out.mp4", crf=1)
    with av.open(str(tmp_path / "out.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.color_primaries, context.color_trc) == (1, kept)
    assert not caplog.text


def test_colours_outside_bt709_are_cut_off(tmp_path: Path):
    red = ["-f", "lavfi", "-i", "color=red:s=64x48:r=25:d=0.1,format=gbrp"]
    source = ffmpeg(*red, "-c:v", "ffv1", "-color_primaries", "bt2020", "-color_trc", "bt709", tmp_path / "in.mkv")
    np.testing.assert_array_equal(read(source)[0, 0, 0], [255, 0, 0])


def test_primaries_of_standard_definition_are_kept_and_tagged(tmp_path: Path):
    tags = "h264_metadata=colour_primaries=6:transfer_characteristics=6:matrix_coefficients=6"
    source = colour_clip(tmp_path / "in.mp4", "128x96", "170m", "-bsf:v", tags)
    copy(source, tmp_path / "out.mp4", crf=1)
    with av.open(str(tmp_path / "out.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_primaries, context.color_trc) == (1, 6, 6)
    assert np.abs(read(tmp_path / "out.mp4").astype(int) - COLOUR).max() <= 2


def test_hdr_in_420_keeps_its_hue(tmp_path: Path):
    """Light of up to 0.7 of diffuse white is kept as it is, so the colour is known."""
    source = gamut_clip(tmp_path / "in.mkv", "-c:v", "ffv1", primaries="bt2020", curve="smpte2084")
    light = (COLOUR / 255) ** 2.4
    wanted = np.where(light < 0.018, 4.5 * light, 1.099 * light**0.45 - 0.099)
    assert np.abs(read(source) - wanted * 255).max() <= 3


@pytest.mark.parametrize(
    ("curve", "coding"),
    [
        ("smpte2084", ["in.mkv", "-c:v", "ffv1"]),
        ("arib-std-b67", ["in.mkv", "-c:v", "ffv1"]),
        ("smpte2084", ["in.mp4", "-c:v", "libx265", "-x265-params", "lossless=1:log-level=none"]),  # HDR10, as filmed
    ],
)
def test_hdr_is_tone_mapped_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, curve: str, coding: list[str]
):
    """A grey ramp that ends at 100 cd/m2."""
    to_hdr = f"zscale=pin=bt709:tin=bt709:min=gbr:rin=full:p=bt2020:t={curve}:m=bt2020nc:r=limited:npl=100"
    ramp = f"format=gbrp,geq=r='2*X':g='2*X':b='2*X',{to_hdr},format=yuv444p10le"
    tags = ["-color_primaries", "bt2020", "-color_trc", curve, "-colorspace", "bt2020nc", "-color_range", "tv"]
    black = ["-f", "lavfi", "-i", "color=s=128x96:r=25:d=0.2"]
    grey = ffmpeg(*black, "-vf", ramp, *tags, *coding[1:], tmp_path / coding[0])
    levels = read(grey)[0, 48].astype(int)
    assert caplog.messages == ["HDR video: tone-mapped to SDR BT.709"]
    assert np.abs(levels[:, 0] - levels[:, 1]).max() <= 2  # grey stays grey
    assert np.diff(levels[:, 0]).min() >= 0  # darker stays darker
    assert levels[0, 0] <= 1
    assert 150 < levels[-1, 0] < 200  # 100 of 203 cd/m2: BT.709's curve gives 0.49**0.45 = 0.70 of 255 = 178
