from pathlib import Path

import numpy as np
import pytest
from media import decoded, silent

from fastnst import demo
from fastnst.errors import EnvironmentFault


def test_clip_is_found_in_an_installed_package_without_importing_it():
    found = demo.find_clip("imageio-ffmpeg", "_utils.py")
    assert found.is_file()
    assert found.parent.name == "imageio_ffmpeg"


def test_missing_clip_says_what_to_install():
    for package, name in (("no-such-package", "x.mp4"), ("pytest", "x.mp4")):
        with pytest.raises(EnvironmentFault, match=f"pip install {package}"):
            demo.find_clip(package, name)


def test_contact_sheet_shows_frames_above_the_same_frames_stylized(tmp_path: Path):
    content = silent(tmp_path / "content.mkv", "-c:v", "ffv1", "-pix_fmt", "bgr0", seconds=0.4)
    negative = ["-c:v", "ffv1", "-pix_fmt", "bgr0", "-vf", "format=gbrp,negate"]
    stylized = silent(tmp_path / "stylized.mkv", *negative, seconds=0.4)
    sheet = demo.contact_sheet(content, stylized, 10)
    above, below = np.split(sheet, 2)
    assert above.shape == (96, 4 * 128, 3)
    np.testing.assert_array_equal(above, 255 - below)
    frames = decoded(content)
    np.testing.assert_array_equal(above, np.concatenate([frames[index] for index in (1, 4, 6, 9)], axis=1))
