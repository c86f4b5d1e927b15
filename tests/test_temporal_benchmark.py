"""The search for the style weight at which a net has the style loss of another."""

import runpy
from pathlib import Path

import pytest

NEXT_WEIGHT = runpy.run_path(str(Path(__file__).parent.parent / "benchmarks" / "temporal.py"))["next_weight"]


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
