from pathlib import Path

import numpy as np
from media import decoded, silent

from fastnst import demo


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
