import math

import pytest
import torch

from fastnst.checkpoint import load_checkpoint
from fastnst.net import StylizationNet
from fastnst.training.validation import SIGMA, ParetoFront, pan_error, panned


def test_front_keeps_what_no_other_net_beats_and_its_best_is_the_steadiest_of_one_style(tmp_path):
    net = StylizationNet((4, 6, 8), residual_blocks=1)
    front = ParetoFront(tmp_path / "front", "dots")
    assert front.best() is None
    front.keep_so_far(tmp_path / "so_far.ckpt", net, 50)
    assert load_checkpoint(tmp_path / "so_far.ckpt").recipe == {"step": 50}
    offers = {100: (0.40, 2.0), 200: (0.30, 6.0), 300: (0.31, 5.0), 400: (0.32, 5.5), 500: (0.29, 7.0)}

    def offer(step, style_loss, warping_error):
        front.offer(net, step, {"val/style_loss": style_loss, "val/warping_error": warping_error, "val/tv_loss": 0.1})

    for step, (style_loss, warping_error) in offers.items():
        offer(step, style_loss, warping_error)
    assert [each.step for each in front.candidates] == [100, 200, 300, 500]  # 400 is beaten by 300
    assert sorted(path.stem for path in front.folder.iterdir()) == ["000100", "000200", "000300", "000500"]
    best = front.best()
    assert best
    assert best.step == 200  # 100 is steadier but has less style; 300 is 7 % behind 500
    offer(600, 0.285, 5.0)  # beats 200, 300 and 500
    best = front.best()
    assert best
    assert load_checkpoint(front.path(best)).recipe["final"]["val/tv_loss"] == 0.1
    assert [each.step for each in ParetoFront(tmp_path / "front", "dots").candidates] == [100, 600]
    next(net.parameters()).data[0] = math.nan
    offer(700, 0.1, 0.1)
    front.keep_so_far(tmp_path / "so_far.ckpt", net, 700)
    assert load_checkpoint(tmp_path / "so_far.ckpt").recipe["step"] == 600


def test_error_along_the_known_pan_is_that_of_the_noise_alone():
    photo = torch.nn.functional.interpolate(torch.rand(1, 3, 8, 8), (64, 64), mode="bicubic")[0].clamp(0, 1)
    still = panned(photo * 0 + 0.5)
    assert pan_error(still) == pytest.approx(255 * SIGMA * 1.13, rel=0.2)  # of a difference of two Gaussians
    assert pan_error(panned(photo)) == pytest.approx(pan_error(still), rel=0.25)  # the motion is known
    assert pan_error(panned(photo)[::2]) > 1.5 * pan_error(still)  # twice as fast, and nobody told
