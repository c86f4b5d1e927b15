from fractions import Fraction

import av
import numpy as np
from media import decoded

from fastnst.video.colour import BT709, LIMITED
from fastnst.video.silent import silent_clip


def test_silent_clip_has_even_sides_and_says_what_its_colours_mean(tmp_path):
    orange = np.full((35, 51, 3), (200, 50, 30), np.uint8)
    with silent_clip(tmp_path / "a.mp4", Fraction(12)) as write:
        for _ in range(3):
            write(orange)
    with av.open(str(tmp_path / "a.mp4")) as container:
        (stream,) = container.streams.video
        context = stream.codec_context
        assert (context.width, context.height, stream.average_rate, stream.frames) == (50, 34, 12, 3)
        tags = context.colorspace, context.color_primaries, context.color_trc, context.color_range
        assert tags == (BT709, BT709, BT709, LIMITED)
    assert np.abs(decoded(tmp_path / "a.mp4").astype(int) - (200, 50, 30)).max() <= 2
