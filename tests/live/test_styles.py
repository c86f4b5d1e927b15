import numpy as np
from torch import nn

from fastnst.live.styles import LiveStyle
from fastnst.settings import LookSettings
from fastnst.stylizer import Stylizer


def test_style_turns_its_dials_and_forgets():
    style = LiveStyle(Stylizer(nn.Identity(), "cpu", "none"), LookSettings(norm="frame", smooth=0.9))
    dark, light = np.full((8, 8, 3), 100, np.uint8), np.full((8, 8, 3), 102, np.uint8)
    style.stylize(dark, 1.0)
    assert style.stylize(light, 1.0).max() == 100  # smooth holds it
    style.reset()
    assert style.stylize(light, 1.0).min() == 102
    inverted = LiveStyle(Stylizer(Negative(), "cpu", "negative"), LookSettings(norm="frame"))
    assert inverted.stylize(dark, 0.0).tolist() == dark.tolist()
    assert inverted.stylize(dark, 1.0).tolist() == (255 - dark).tolist()


class Negative(nn.Module):
    def forward(self, content):
        return 1 - content
