import math

import numpy as np
from PIL import Image

from fastnst.evaluate import judge, report


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def row(net, clip, **numbers):
    return {"net": net, "clip": clip, **dict.fromkeys(judge.METRICS, math.nan), **numbers}


def test_plot_puts_each_net_where_its_numbers_are(tmp_path):
    def mean(net, style, warp):
        return row(net, "mean", style_loss=style, absolute_warping_error_1=warp)

    rows = [mean("input", math.nan, 1.0), mean("a", 0.2, 8.0), mean("b", 0.3, 2.0), mean("unknown", math.nan, 4.0)]
    report.plot_front(rows, {"a": "liechtenstein", "b": "clouds", "unknown": "unknown"}, tmp_path / "front.png")
    plot = pixels(tmp_path / "front.png")
    places = []
    for colour in report.STYLE_COLOURS[:2]:
        wanted = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
        y, x = np.nonzero((plot == wanted).all(2))
        places.append((np.median(x), np.median(y)))
    (ax, ay), (bx, by) = places
    assert ax < bx - 200
    assert ay < by - 200
    wanted = [int(report.STYLE_COLOURS[2][at : at + 2], 16) for at in (1, 3, 5)]
    assert not (plot == wanted).all(2).any()  # no style loss, no place
    report.plot_front(rows[:1], {}, tmp_path / "empty.png")
    assert pixels(tmp_path / "empty.png").shape == (520, 760, 3)


def test_tables_say_which_clips_a_mean_is_over():
    rows = [
        row(net, clip, static_flicker=flicker, static_changed=flicker, absolute_warping_error_1=2.0, contrast=9.0)
        for net, factor in (("input", 1), ("a", 3))
        for clip, flicker in (("room", 0.5 * factor), ("logo", 0.0), ("drive", math.nan))
    ]
    means = report.means(rows)
    assert [(mean["net"], mean["clip"]) for mean in means] == [("input", "mean"), ("a", "mean")]
    assert means[1]["static_flicker"] == 0.75
    assert means[1]["static_flicker_ratio"] == 3
    text = report.tables([*means, *rows], "farneback")
    assert "Means of warp 1, contrast: over room, logo, drive." in text
    assert "All other means: over room, logo." in text
    assert "by farneback flow" in text
    assert report.means_over(rows)["static_flicker_ratio"] == ["room", "logo"]
    assert report.means_over(rows)["style_loss"] == []


def test_number_that_is_not_known_is_a_dash():
    assert (report.decimal(math.nan, 2), report.decimal(0.126, 2)) == ("-", "0.13")
