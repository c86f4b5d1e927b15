"""Fixtures of the tests of the method of 2016."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from fastnst.optimize.__main__ import USAGE, optimize
from fastnst.settings import OptimizeSettings
from fastnst.vgg import DEEP, FIRST_LAYER_NORM


@pytest.fixture(scope="session")
def deep_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole VGG-16 with a sixteenth of the channels and random weights, as a file that `vgg=` takes."""
    weights, before, position = {}, 3, 0
    generator = torch.Generator().manual_seed(0)
    for step in DEEP["vgg16"]:
        if not isinstance(step, str):
            channels = step[1] // 16
            weight = torch.randn(channels, before, 3, 3, generator=generator) / (4.5 * before) ** 0.5
            weights[f"features.{position}.weight"] = weight
            weights[f"features.{position}.bias"] = torch.zeros(channels)
            before = channels
        position += 1 if step == "pool" else 2
    weights["features.0.weight"] *= FIRST_LAYER_NORM / weights["features.0.weight"].norm()
    path = tmp_path_factory.mktemp("weights") / "vgg.safetensors"
    save_file(weights, path)
    return path


@pytest.fixture
def photo(photo_folder: Path, tmp_path: Path) -> Path:
    """A picture of 48x36 pixels."""
    path = tmp_path / "photo.png"
    Image.open(photo_folder / "00.png").resize((48, 36)).save(path)
    return path


@pytest.fixture
def run(in_process, deep_weights: Path):
    """Runs `fastnst optimize` with the tiny network; returns exit status, stdout and stderr."""
    fixed = ["network=vgg16", f"vgg={deep_weights}", "style.size=64", "evaluations=4", "rounds=3", "device=cpu"]
    return lambda *arguments: in_process(optimize, OptimizeSettings, USAGE, *fixed, *arguments)
