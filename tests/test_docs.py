"""The site builds without a warning, and says every setting; what a page shows or links to is there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from fastnst.schema import entries
from fastnst.settings import (
    EvaluateSettings,
    InferSettings,
    LiveSettings,
    OptimizeSettings,
    TrainSettings,
    VerifySettings,
)

ROOT = Path(__file__).parent.parent


def test_site_builds_without_a_warning_and_names_every_setting(tmp_path):
    pytest.importorskip("mkdocstrings")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "settings" / "index.html").read_text(encoding="utf-8")
    for command in (InferSettings, LiveSettings, TrainSettings, EvaluateSettings, VerifySettings, OptimizeSettings):
        assert {each.name for each in entries(command)} <= set(re.findall(r"<code>([\w.]+)</code>", page))
    assert "<!-- settings" not in page
    assert "static_flicker" in (tmp_path / "metrics" / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["README.md", "checkpoints/README.md", "docs/index.md"])
def test_every_picture_and_page_that_a_page_names_is_there(page):
    names = re.findall(r"\]\(([^)#]+)(?:#[\w-]+)?\)", (ROOT / page).read_text(encoding="utf-8"))
    files = [name for name in names if "://" not in name and not (page == "docs/index.md" and name.endswith(".md"))]
    assert files
    assert [name for name in files if not (ROOT / page).parent.joinpath(name).is_file()] == []


def test_clip_of_the_readme_moves_for_ever_and_is_small():
    path = ROOT / "docs" / "loop.webp"
    with Image.open(path, formats=("WEBP",)) as image:
        assert getattr(image, "n_frames", 1) > 20
        assert image.info["loop"] == 0
    assert path.stat().st_size < 2_000_000
