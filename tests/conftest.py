"""Fixtures that several test files share."""

import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from shapes import check_shapes

check_shapes()  # before anything of the package is imported

from fastnst import cli  # noqa: E402
from fastnst.vgg import PLAN, VGGFeatures  # noqa: E402

ROOT = Path(__file__).parent.parent
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) == signal.SIG_IGN:  # as under nohup; what the tests start would inherit it
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def deterministic() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """`engine=auto` is eager PyTorch in the tests, whatever is installed: nothing is compiled."""
    monkeypatch.setattr("fastnst.engines.engine.FASTEST", ("torch",))


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """Runs a command in this process; returns exit status, stdout and stderr."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    def run(command, schema, usage: str, *arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
        status = 0
        try:
            cli.main(command, schema, usage)
        except SystemExit as leaving:
            status = int(leaving.code or 0)
        return status, *capsys.readouterr()

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def tiny_vgg() -> VGGFeatures:
    """A loss network of the right shape with a sixteenth of the channels and random weights."""
    weights, before = {}, 3
    generator = torch.Generator().manual_seed(0)
    for step in PLAN:
        if not isinstance(step, str):
            number, channels = step[0], step[1] // 16
            weights[f"conv{number}.weight"] = (
                torch.randn(channels, before, 3, 3, generator=generator) / (9 * before) ** 0.5
            )
            weights[f"conv{number}.bias"] = torch.zeros(channels)
            before = channels
    return VGGFeatures(weights)


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve small pictures with shapes and texture, drawn here."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for number in range(12):
        coarse = Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize(
            (112, 84), Image.Resampling.BICUBIC
        )
        grain = random.normal(0, 12, (84, 112, 3))
        Image.fromarray((np.asarray(coarse) + grain).clip(0, 255).astype(np.uint8)).save(folder / f"{number:02}.png")
    return folder
