import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from media import clip, ffmpeg, pictures, read, silent, times, tracks
from PIL import Image
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import fastnst
from fastnst.checkpoint import save_checkpoint
from fastnst.errors import ConfigError, EnvironmentFault, InputError, OutputError
from fastnst.images import to_float, to_uint8
from fastnst.net import StylizationNet
from fastnst.settings import LookSettings, VideoSettings
from fastnst.shots import Shot, is_cut
from fastnst.stylizer import Stylizer, find_device, in_half_precision
from fastnst.video import encoders
from fastnst.video.reader import VideoReader


def noise(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8)


def small_net() -> StylizationNet:
    return StylizationNet(channels=(4, 8, 8), residual_blocks=1)


class Inverse(nn.Module):
    def forward(self, content: torch.Tensor) -> torch.Tensor:
        return 1 - content


class Greedy(nn.Module):
    """Runs out of memory on more than `limit` frames."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, content: torch.Tensor) -> torch.Tensor:
        if len(content) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return content


def test_importing_the_package_does_not_import_torch_and_offers_stylizer():
    code = (
        "import sys, fastnst; assert 'torch' not in sys.modules; from fastnst import Stylizer; print(Stylizer.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "Stylizer"
    with pytest.raises(AttributeError, match="has no attribute 'Stylist'"):
        fastnst.Stylist  # noqa: B018


@pytest.mark.parametrize("shape", [(48, 64, 3), (37, 53, 3), (1, 1, 3)])
def test_image_has_the_size_of_the_input_and_is_what_the_net_says(shape: tuple[int, int, int]):
    net, array = small_net(), noise(*shape).numpy()
    stylized = Stylizer(net, "cpu").image(array, LookSettings(texture=1.0))
    expected = to_uint8(net(to_float(torch.from_numpy(array).permute(2, 0, 1))[None]))[0].permute(1, 2, 0).numpy()
    assert stylized.dtype == np.uint8
    np.testing.assert_array_equal(stylized, expected)


def test_identity_net_changes_no_pixel_and_not_the_argument():
    pixels = noise(2, 3, 16, 16)
    before = pixels.clone()
    assert torch.equal(Stylizer(nn.Identity(), "cpu").frames(pixels), before)
    assert torch.equal(pixels, before)


def test_four_frames_at_once_equal_four_times_one():
    stylizer, pixels = Stylizer(small_net(), "cpu"), noise(4, 3, 32, 40)
    one_by_one = torch.cat([stylizer.frames(pixels[i : i + 1]) for i in range(4)])
    assert (stylizer.frames(pixels).int() - one_by_one.int()).abs().max() <= 1  # rounding


def test_half_precision_keeps_instance_norm_in_float32_and_the_picture_within_a_level():
    net, pixels = StylizationNet.preset("half").eval(), noise(1, 3, 64, 64)
    with torch.inference_mode():
        exact = to_uint8(net(to_float(pixels)))
        half = in_half_precision(net)
        approximate = to_uint8(half(to_float(pixels).half()))
    kinds = {
        (isinstance(module, nn.InstanceNorm2d), module.weight.dtype)
        for module in half.modules()
        if isinstance(module, (nn.Conv2d, nn.InstanceNorm2d))
    }
    assert kinds == {(False, torch.float16), (True, torch.float32)}
    assert (exact.int() - approximate.int()).abs().float().mean() < 1


def test_out_of_memory_is_tried_again_frame_by_frame_then_explained():
    pixels = noise(4, 3, 16, 24)
    assert torch.equal(Stylizer(Greedy(1), "cpu").frames(pixels), pixels)
    with pytest.raises(EnvironmentFault, match=r"memory on cpu: a 24x16 frame needs about"):
        Stylizer(Greedy(0), "cpu").frames(pixels)


def greedy(net: StylizationNet, limit: int) -> list[int]:
    """Makes a net run out of memory on tiles of more than `limit` pixels; returns the pixels of all others, as met."""
    met = []

    def check(_: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        if (pixels := inputs[0].shape[-2] * inputs[0].shape[-1]) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        met.append(pixels)

    net.encoder[0][0].register_forward_pre_hook(check)  # pyright: ignore[reportIndexIssue]
    return met


def test_out_of_memory_is_tried_once_more_in_smaller_tiles(caplog: pytest.LogCaptureFixture):
    net, pixels = small_net(), noise(1, 3, 160, 32)
    expected = Stylizer(net, "cpu").frames(pixels)
    met, stylizer = greedy(net, 160 * 32 // 2), Stylizer(net, "cpu")
    assert (stylizer.frames(pixels).int() - expected.int()).abs().max() <= 1  # rounding
    assert caplog.messages == ["out of memory on cpu; continuing in tiles of 1280 pixels"]
    assert max(met) <= 160 * 32 // 4
    stylizer.frames(pixels)
    assert len(caplog.messages) == 1  # tiles stay small


def test_frame_that_small_tiles_cannot_save_is_explained_after_one_more_try(caplog: pytest.LogCaptureFixture):
    net = small_net()
    greedy(net, 100)
    # 100 bytes for each pixel of the frame, 2000 for each of a tile
    needed = r"a 32x160 frame needs about 0.0031 GB in tiles of 1280 pixels; try max_pixels_per_pass=320 or max_side=80"
    with pytest.raises(EnvironmentFault, match=needed):
        Stylizer(net, "cpu").frames(noise(1, 3, 160, 32))
    assert len(caplog.messages) == 1


def test_frames_that_come_again_after_out_of_memory_are_remembered_once():
    frames = [noise(1, 3, 160, 32) for _ in range(3)]
    net = small_net()
    shot = Shot(net)
    expected = [to_uint8(shot(to_float(frame))) for frame in frames]
    greedy(net, 160 * 32 // 2)
    stylizer = Stylizer(net, "cpu")
    stream = stylizer.stream(LookSettings(smooth=0.0))
    for frame, whole in zip(frames, expected, strict=True):
        assert (stylizer.frames(frame, stream).int() - whole.int()).abs().max() <= 1


@pytest.mark.parametrize("norm", ["shot", "frame"])
def test_video_in_tiles_is_the_video_untiled(tmp_path: Path, norm):
    source, net = silent(tmp_path / "in.mp4", "-frames:v", 4, size="64x160"), small_net()
    met, painted = greedy(net, 64 * 160), {}
    for limit in (None, 64 * 40):
        met.clear()
        out = tmp_path / f"{limit}.mkv"
        Stylizer(net, "cpu", max_pixels_per_pass=limit).video(source, out, VideoSettings(codec="ffv1", norm=norm))
        assert max(met) == 64 * 160 if limit is None else max(met) <= limit
        with VideoReader(out) as reader:
            painted[limit] = torch.cat([frames.pixels.int() for frames in reader])
    assert (painted[None] - painted[64 * 40]).abs().max() <= 1


def test_picture_in_tiles_is_the_picture_untiled():
    net, array = small_net(), noise(160, 64, 3).numpy()
    expected = Stylizer(net, "cpu").image(array).astype(int)
    met = greedy(net, 64 * 40)
    assert np.abs(Stylizer(net, "cpu", max_pixels_per_pass=64 * 40).image(array) - expected).max() <= 1
    assert met


def test_smooth_steadies_a_grainy_video_and_not_its_first_frame(tmp_path: Path):
    grain = ["-f", "lavfi", "-i", "color=gray:s=64x48:r=25:d=0.4", "-vf", "noise=c0s=4:c0f=t"]
    source, changes = ffmpeg(*grain, "-c:v", "ffv1", "-pix_fmt", "bgr0", tmp_path / "in.mkv"), []
    first = []
    for smooth in (0.0, 0.8):
        out = tmp_path / f"{smooth}.mkv"
        Stylizer(Inverse(), "cpu").video(source, out, VideoSettings(codec="ffv1", smooth=smooth))
        with VideoReader(out) as reader:
            frames = torch.cat([frames.pixels.int() for frames in reader])
        first.append(frames[0])
        changes.append((frames[1:] - frames[:-1]).abs().float().mean().item())
    assert torch.equal(*first)
    assert changes[1] < 0.5 * changes[0]


def test_other_errors_of_the_net_are_not_taken_for_lack_of_memory():
    with pytest.raises(RuntimeError, match="expected input"):
        Stylizer(nn.Conv2d(4, 3, 1), "cpu").frames(noise(1, 3, 8, 8))


@pytest.mark.parametrize("name", ["cuda:99", "mps", "mps:1", "xpu", "xpu:7", "vulkan", "meta", "hpu"])
def test_device_that_is_not_here_is_refused_with_what_is(name):
    with pytest.raises(EnvironmentFault, match=f"device={name}: PyTorch finds .* devices here; use device=auto"):
        find_device(name)


def test_name_that_is_no_device_is_refused():
    for name in ("toaster", "cuda:", "CPU", "mps:-1", "auto:1"):
        with pytest.raises(ConfigError, match="use auto, cpu, cuda, cuda:1, mps or xpu"):
            find_device(name)


def test_mps_is_found_where_pytorch_has_it(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert find_device("mps") == torch.device("mps")
    assert find_device("mps:0") == torch.device("mps", 0)
    with pytest.raises(EnvironmentFault, match="finds 1 MPS devices here"):
        find_device("mps:1")


def test_nothing_on_the_way_has_64_bits_which_mps_does_not_know():
    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            made = func(*args, **(kwargs or {}))
            for each in made if isinstance(made, (list, tuple)) else [made]:
                assert not isinstance(each, torch.Tensor) or each.dtype not in (torch.float64, torch.complex128)
            return made

    stylizer = Stylizer(small_net(), "cpu", max_pixels_per_pass=500)
    stream = stylizer.stream(LookSettings(smooth=0.8, strength=0.5, color="content", scale=0.5))
    with Watch():
        for frames in noise(4, 3, 24, 32).split(2):
            stylizer.frames(frames, stream)


def test_load_takes_a_file_and_names_outputs_by_its_style(tmp_path: Path):
    net = small_net()
    save_checkpoint(tmp_path / "some.ckpt", net, "wave", {})
    stylizer, array = Stylizer.load(tmp_path / "some.ckpt", "cpu"), noise(16, 16, 3).numpy()
    assert stylizer.style == "wave"
    assert np.abs(stylizer.image(array).astype(int) - Stylizer(net, "cpu").image(array)).max() <= 2  # stored in half
    with pytest.raises(InputError, match="does not exist"):
        Stylizer.load(tmp_path / "other.ckpt")


def test_video_applies_the_net_to_every_frame_and_keeps_the_rest(tmp_path: Path):
    source, calls = clip(tmp_path / "in.mp4"), []
    stylizer = Stylizer(Inverse(), "cpu")
    summary = stylizer.video(
        source, tmp_path / "out.mkv", VideoSettings(batch=4, codec="ffv1", smooth=0.0), lambda *call: calls.append(call)
    )
    with VideoReader(source) as content, VideoReader(tmp_path / "out.mkv") as stylized:
        for before, after in zip(content, stylized, strict=True):
            assert torch.equal(after.pixels, 255 - before.pixels)
    assert len(times(tmp_path / "out.mkv")) == summary.frames == 25
    assert len(tracks(tmp_path / "out.mkv", "audio")) == 1
    assert (summary.path, summary.width, summary.height, summary.damage) == (str(tmp_path / "out.mkv"), 128, 96, [])
    assert calls == [(min(25, done), 25) for done in range(4, 29, 4)]
    assert summary.net_fps > summary.fps > 0


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.frames = 0

    def forward(self, content: torch.Tensor) -> torch.Tensor:
        self.frames += len(content)
        return content


@pytest.mark.parametrize(("fps", "frames", "painted"), [(75, 72, 24), (12.5, 12, 12)])
def test_at_a_constant_rate_frames_shown_again_are_stylized_once_and_those_not_shown_never(
    tmp_path: Path, fps: float, frames: int, painted: int
):
    net, calls = Counting(), []
    summary = Stylizer(net, "cpu").video(
        silent(tmp_path / "in.mp4", "-frames:v", 24), tmp_path / "out.mp4",
        VideoSettings.of({"fps": fps, "batch": 5, "smooth": 0.5}), lambda *call: calls.append(call),
    )  # fmt: skip
    assert (summary.frames, net.frames, calls[-1]) == (frames, painted, (frames, frames))
    assert len(times(tmp_path / "out.mp4")) == frames


def test_resumed_at_a_constant_rate_equals_an_uninterrupted_run(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    source = silent(tmp_path / "in.mp4", seconds=5, size="64x48", rate=10.3)
    whole, out, left, stylizer = tmp_path / "w.mkv", tmp_path / "o.mkv", {}, Stylizer(small_net(), "cpu")

    def leave(done: int, _: int | None) -> None:
        """Keeps what lies on the disk, which is what a kill leaves."""
        if done > 265 and not left:
            left.update({path.name.replace("w.", "o."): path.read_bytes() for path in tmp_path.glob("w.part.*")})

    settings = VideoSettings(fps="60", batch=3, codec="ffv1", smooth=0.5)  # the keyframe at 2 s is a frame shown again
    stylizer.video(source, whole, settings, leave)
    for name, content in left.items():
        (tmp_path / name).write_bytes(content)
    stylizer.video(source, out, replace(settings, resume=True))
    assert re.search(r"resuming after (120|240) frames", caplog.text)  # how far a busy machine was when it was "killed"
    assert times(out) == times(whole)
    with VideoReader(out, 300) as found, VideoReader(whole, 300) as wanted:
        assert torch.equal(next(iter(found)).pixels, next(iter(wanted)).pixels)


def test_frames_are_pinned_for_a_gpu_and_encoded_by_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(encoders, "GPU_ENCODER", "libx265")
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda pixels: pinned.append(device) or pixels)
    stylizer, source = Stylizer(nn.Identity(), "cpu"), silent(tmp_path / "in.mp4", "-frames:v", 2)
    monkeypatch.setattr(stylizer, "frames", lambda pixels, stream: pixels)
    for device, codec in (("cpu", "h264"), ("cuda", "hevc")):
        stylizer.device = torch.device(device)
        stylizer.video(source, tmp_path / f"{device}.mp4")
        with av.open(str(tmp_path / f"{device}.mp4")) as container:
            assert container.streams.video[0].codec_context.name == codec
    assert set(pinned) == {"cuda"}


@pytest.mark.parametrize("smooth", [0.0, 0.8])
def test_resumed_in_a_long_shot_equals_an_uninterrupted_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, smooth):
    """Also in what is remembered of the shot since its first frame. What lies on the disk is what a kill leaves."""
    fading = ["-vf", "eq=brightness=0.3*sin(t/3):eval=frame"]  # the average over the shot is never that of a few frames
    source = ffmpeg(*pictures(12, "64x48"), *fading, "-c:v", "ffv1", "-pix_fmt", "bgr0", tmp_path / "in.mkv")
    net, settings, left, seen = small_net(), VideoSettings(codec="ffv1", smooth=smooth), {}, []

    def note(done: int, total: int | None) -> None:
        if done == 280:
            for name in ("out.part.state", "out.part.mkv"):
                left[tmp_path / name] = (tmp_path / name).read_bytes()

    Stylizer(net, "cpu").video(source, tmp_path / "out.mkv", settings, note)
    (tmp_path / "out.mkv").rename(tmp_path / "whole.mkv")
    for path, content in left.items():
        path.write_bytes(content)
    with monkeypatch.context() as patch:
        frames = Stylizer.frames
        patch.setattr(Stylizer, "frames", lambda *call: seen.append(len(call[1])) or frames(*call))
        Stylizer(net, "cpu").video(source, tmp_path / "out.mkv", replace(settings, batch=7, resume=True))
    assert sum(seen) <= 150  # of 300: the first were kept, and not painted to be remembered
    with VideoReader(tmp_path / "out.mkv") as resumed, VideoReader(tmp_path / "whole.mkv") as whole:
        for each, expected in zip(resumed, whole, strict=True):
            assert torch.equal(each.pixels, expected.pixels)


@pytest.mark.parametrize("batch", [1, 4])
def test_what_is_remembered_is_forgotten_where_the_frame_size_changes(tmp_path: Path, batch: int):
    """The same scene, brighter and larger: no cut that could be found otherwise."""
    looks = ("-frames:v", 6, "-crf", 1)
    dark = silent(tmp_path / "1.ts", "-vf", "lutyuv=y=val/2", *looks)
    bright = silent(tmp_path / "2.ts", "-output_ts_offset", 2, *looks, size="256x192")
    (tmp_path / "in.ts").write_bytes(dark.read_bytes() + bright.read_bytes())
    stylizer = Stylizer(small_net(), "cpu")
    stylizer.video(tmp_path / "in.ts", tmp_path / "out.mkv", VideoSettings(codec="ffv1", batch=batch, smooth=0.9))
    with VideoReader(tmp_path / "in.ts", 12) as content, VideoReader(tmp_path / "out.mkv", 12) as painted:
        frames, found = torch.cat([each.pixels for each in content]), next(iter(painted)).pixels
    assert len(frames) == len(found) == 12
    assert not any(is_cut(*map(to_float, pair)) for pair in zip(frames[:-1].split(1), frames[1:].split(1), strict=True))
    alone = stylizer.frames(frames)
    differs = (found.int() - alone.int()).abs().amax((1, 2, 3)) > 1
    assert [number for number in (0, 6) if differs[number]] == []  # as if a video began
    assert differs[5]


def picture(path: Path, size: tuple[int, int] = (20, 12)) -> Path:
    Image.fromarray(noise(size[1], size[0], 3).numpy()).save(path)
    return path


def opened(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).copy()


def test_a_picture_is_stylized_at_its_own_size_or_smaller(tmp_path: Path):
    source = picture(tmp_path / "in.png", (21, 13))
    stylizer = Stylizer(Inverse(), "cpu")
    stylizer.picture(source, tmp_path / "out.png")
    np.testing.assert_array_equal(opened(tmp_path / "out.png"), 255 - opened(source))
    summary = stylizer.picture(
        picture(tmp_path / "big.png", (64, 32)), tmp_path / "small.png", VideoSettings(max_side=16)
    )
    assert (summary.width, summary.height, summary.frames) == (16, 8, 1)
    assert opened(tmp_path / "small.png").shape == (8, 16, 3)


def test_a_picture_that_exists_or_cannot_be_read_is_refused(tmp_path: Path):
    stylizer, source = Stylizer(nn.Identity(), "cpu"), picture(tmp_path / "in.png")
    with pytest.raises(OutputError, match="the input itself"):
        stylizer.picture(source, source, VideoSettings(overwrite=True))
    with pytest.raises(OutputError, match=r"old\.png' exists"):
        stylizer.picture(source, picture(tmp_path / "old.png"))
    (tmp_path / "c.png").write_bytes(b"<html>")
    with pytest.raises(InputError, match=r"c\.png"):
        stylizer.picture(tmp_path / "c.png", tmp_path / "out.png")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_and_cpu_agree_within_a_level():
    net, pixels = StylizationNet.preset("half"), noise(4, 3, 90, 160)
    on_cpu = Stylizer(net, "cpu").frames(pixels)
    on_gpu = Stylizer(net, "cuda").frames(pixels)
    assert (on_cpu.int() - on_gpu.int()).abs().float().mean() < 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_and_cpu_write_the_same_video(tmp_path):
    source, net = silent(tmp_path / "in.mkv", seconds=0.4), StylizationNet.preset("lite", canvas=True)
    made = []
    for device in ("cpu", "cuda"):
        Stylizer(net, device).video(source, tmp_path / f"{device}.mkv", VideoSettings(codec="ffv1"))
        made.append(read(tmp_path / f"{device}.mkv").astype(int))
    assert len(made[0]) == 10
    assert np.abs(made[0] - made[1]).mean() < 1


@pytest.mark.parametrize(
    ("name", "out"), [("a.webp", "b.webp"), ("a.png", "b.png"), ("a.gif", "b.gif"), ("a.webp", "b.mp4")]
)
def test_picture_that_moves_is_stylized_frame_by_frame(name, out, tmp_path):
    frames = [Image.new("RGB", (32, 24), (50 * number, 90, 250)) for number in range(4)]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], duration=[100, 40, 200, 60], lossless=True)
    done = Stylizer(Inverse(), "cpu").video(tmp_path / name, tmp_path / out)
    assert (done.frames, done.width, done.height, done.damage) == (4, 32, 24, [])
    with VideoReader(tmp_path / out, batch=4) as reader:
        found = next(iter(reader))
    assert [float(each * reader.time_base) for each in found.durations] == pytest.approx(
        [0.1, 0.04, 0.2, 0.06], abs=0.001
    )
    assert found.pixels[:, 0, 12, 16].tolist() == pytest.approx([255, 205, 155, 105], abs=6)


def test_picture_is_laid_on_the_background_that_is_asked_for(tmp_path):
    Image.new("RGBA", (32, 24), (255, 255, 255, 0)).save(tmp_path / "a.png")
    Stylizer(Inverse(), "cpu").picture(tmp_path / "a.png", tmp_path / "b.png", VideoSettings(background="black"))
    assert Image.open(tmp_path / "b.png", formats=("PNG",)).getpixel((0, 0)) == (255, 255, 255)
