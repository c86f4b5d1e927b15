"""Fixtures of the tests of training."""

import pytest
from runs import command
from safetensors.torch import save_file

from fastnst.vgg import FIRST_LAYER_NORM, PLAN


@pytest.fixture(scope="session")
def tiny_weights(tiny_vgg, tmp_path_factory):
    """The tiny loss network as a file that `vgg=` takes."""
    weights, position = {}, 0
    for step in PLAN:
        if step != "pool":
            for kind in ("weight", "bias"):
                weights[f"features.{position}.{kind}"] = tiny_vgg.get_buffer(f"conv{step[0]}_{kind}").clone()
        position += 1 if step == "pool" else 2
    weights["features.0.weight"] *= FIRST_LAYER_NORM / weights["features.0.weight"].norm()
    path = tmp_path_factory.mktemp("weights") / "vgg.safetensors"
    save_file(weights, path)
    return path


@pytest.fixture(scope="session")
def tiny(tiny_weights, photo_folder):
    """Settings of a run of 8 steps that takes seconds."""
    return [
        "style=picasso", "style.size=64", f"data.root={photo_folder}", "data.workers=0", "data.validation=1",
        f"vgg={tiny_weights}", "wandb=false", "temporal=noise", "trainer=cpu", "trainer.image_size=64",
        "trainer.batch_size=2", "trainer.max_steps=8", "trainer.validate_every=4", "trainer.save_every=1",
    ]  # fmt: skip


@pytest.fixture(scope="session")
def whole(tiny, tmp_path_factory):
    """The folder of an undisturbed run."""
    folder = tmp_path_factory.mktemp("whole")
    assert command(*tiny, f"run={folder}") == 0
    return folder
