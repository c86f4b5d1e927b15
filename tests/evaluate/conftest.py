import pytest
import torch
from media import ffmpeg, silent
from scenes import noise, recipe, scene, small_net

from fastnst.checkpoint import save_checkpoint
from fastnst.evaluate import judge
from fastnst.images import to_uint8


@pytest.fixture
def grams(tiny_vgg):
    return judge.style_grams(tiny_vgg, noise(3, 64, 64, seed=9))


@pytest.fixture(scope="session")
def videos(tmp_path_factory):
    """Two lossless clips, one of a still camera, and something that is no clip."""
    folder = tmp_path_factory.mktemp("videos")
    frames = to_uint8(scene(count=12)).permute(0, 2, 3, 1).contiguous().numpy()
    (folder / "frames.rgb").write_bytes(frames.tobytes())
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "96x64", "-r", "12", "-i", folder / "frames.rgb"]
    ffmpeg(*raw, "-c:v", "ffv1", "-pix_fmt", "bgr0", folder / "still.mkv")
    silent(folder / "moving.mp4", "-vf", "rotate=0.05*n", seconds=0.5, size="96x64", rate=12)
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.ckpt"
    torch.manual_seed(0)
    save_checkpoint(path, small_net(), "liechtenstein", recipe())
    return path
