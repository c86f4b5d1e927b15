import numpy as np
import torch
from torch import nn

from fastnst.checkpoint import save_checkpoint
from fastnst.live.styles import LiveStyle, Slide, load_styles
from fastnst.net import StylizationNet
from fastnst.settings import LookSettings
from fastnst.stylizer import Stylizer


def test_style_turns_its_dials_and_forgets():
    style = LiveStyle(Stylizer(nn.Identity(), "cpu", "none"), LookSettings(norm="frame", smooth=0.9))
    dark, light = np.full((8, 8, 3), 100, np.uint8), np.full((8, 8, 3), 102, np.uint8)
    style.stylize(dark, 1.0)
    assert style.stylize(light, 1.0).max() == 100  # smooth holds it
    style.reset()
    assert style.stylize(light, 1.0).min() == 102
    inverted = LiveStyle(Stylizer(Negative(), "cpu", "negative"), LookSettings(norm="frame", smooth=0.0))
    assert inverted.stylize(dark, 0.0).tolist() == dark.tolist()
    assert inverted.stylize(dark, 1.0).tolist() == (255 - dark).tolist()


def test_slide_ends_as_the_next_style_and_strangers_have_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    for name, channels in (("a", (2, 2, 2)), ("b", (2, 2, 2)), ("wide", (2, 4, 4))):
        save_checkpoint(f"{name}.ckpt", StylizationNet(channels, residual_blocks=1), name, {"ancestor": "x"})
    look = LookSettings(norm="frame", canvas_motion="fixed", smooth=0.0)
    styles = load_styles(["a.ckpt", "a.ckpt:1,b.ckpt:1", "wide.ckpt"], "cpu", None, look)
    assert [style.name for style in styles.all] == ["a", "a50-b50", "wide"]
    slide, *strangers = styles.slides
    assert all("differ in channels" in str(each) for each in strangers)
    assert isinstance(slide, Slide)
    frame = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    monkeypatch.setattr("fastnst.live.styles.SLIDE", 2)
    slide.begin(styles.all[0])
    slide.stylize(frame, 1.0)
    assert not slide.done
    last = slide.stylize(frame, 1.0)
    assert slide.done
    assert np.abs(last.astype(int) - styles.all[1].stylize(frame, 1.0)).max() <= 1  # engines differ by a rounding


class Negative(nn.Module):
    def forward(self, content):
        return 1 - content
