"""The site builds without a warning, and says every setting."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

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
