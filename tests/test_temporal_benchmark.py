"""The search for the style weight at which a net has the style loss of another, and the laws that arms differ by."""

import runpy
from pathlib import Path

import pytest

from fastnst import canvas, net
from fastnst.errors import ConfigError

BENCHMARK = runpy.run_path(str(Path(__file__).parent.parent / "benchmarks" / "temporal.py"))
NEXT_WEIGHT, LAW = BENCHMARK["next_weight"], BENCHMARK["law"]


@pytest.mark.parametrize("power", [-0.2, -0.4, -0.7])
def test_third_style_weight_reaches_the_style_loss_that_is_asked_for(power):
    """For losses that fall as a power of the weight, as those of nets nearly do."""
    tried = [(14.0, 0.30)]
    for _ in range(2):
        weight = NEXT_WEIGHT(tried, 0.25)
        tried.append((weight, 0.30 * (weight / 14.0) ** power))
    assert tried[-1][1] == pytest.approx(0.25, rel=0.05)


def test_style_weight_never_leaps():
    """Two trials whose style loss is nearly one say next to nothing of the slope."""
    assert NEXT_WEIGHT([(10.0, 0.300), (12.0, 0.301)], 0.2) == 48.0
    assert NEXT_WEIGHT([(10.0, 0.1)], 10.0) == 2.5


def test_law_holds_inside_and_not_behind():
    usual = canvas.field()
    with LAW("canvas.GRAINS=[16],net.EPSILON=0.01"):
        assert (canvas.GRAINS, net.EPSILON) == ([16], 0.01)
        assert abs(canvas.field()[:, 1:] - canvas.field()[:, :-1]).mean() < abs(usual[:, 1:] - usual[:, :-1]).mean() / 2
    assert (canvas.GRAINS, net.EPSILON) == ((2, 4, 8), 1e-5)
    assert (canvas.field() == usual).all()


@pytest.mark.parametrize("text", ["GRAINS=[16]", "mixd", ""])
def test_what_is_no_law_is_refused(text):
    with pytest.raises(ConfigError, match="should be like"), LAW(text):
        pass
