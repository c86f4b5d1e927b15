"""The wheel holds all that the command needs: installed beside nothing of the checkout, it stylizes."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from fastnst import __version__

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", out], cwd=ROOT, check=True)
    (path,) = out.glob("*.whl")
    return path


def test_wheel_carries_settings_nets_and_pictures_and_no_tests(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder, ending in (("conf", "yaml"), ("checkpoints", "ckpt"), ("paintings", "png")):
        ours = {str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob(f"*.{ending}")}
        assert {f"fastnst/{name}" for name in ours} <= names
    assert {name.partition("/")[0] for name in names} == {"fastnst", f"fastnst-{__version__}.dist-info"}
    assert not [name for name in names if "test" in name or name.endswith("draw.py")]


def test_installed_wheel_stylizes_outside_the_checkout(wheel, tmp_path):
    """Into an empty environment, with what is installed here beside it, but for this checkout."""
    venv.create(tmp_path / "venv", symlinks=True)
    python = tmp_path / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--disable-pip-version-check", wheel], check=True)
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (site / "beside.pth").write_text(sysconfig.get_path("purelib"))  # whose own .pth files are not read
    Image.new("RGB", (40, 24), "red").save(tmp_path / "in.png")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [python.with_name("fastnst"), "infer", "video=in.png", "ckpt=wave", "out=out.png", "device=cpu"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "out.png") as stylized:
        assert stylized.size == (40, 24)
        assert stylized.entropy() > 1  # not the even red that went in
