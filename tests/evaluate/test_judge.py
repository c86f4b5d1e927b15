import math
import weakref
from itertools import pairwise
from statistics import fmean

import pytest
import torch
from scenes import Blur, Constant, noise, scene
from torch import nn
from torch.nn import functional as F

from fastnst import metrics
from fastnst.evaluate import judge
from fastnst.evaluate.contenders import net_rendition
from fastnst.flow import occlusion_mask
from fastnst.images import to_float, to_uint8
from fastnst.losses import content_loss, style_loss
from fastnst.settings import LookSettings

CHANGES = [f"{name}_{interval}" for name in judge.ALONG_FLOW for interval in judge.INTERVALS]


def numbers_of(net, clip, vgg, grams=None, flow="farneback"):
    return judge.evaluate_clip(
        clip, {"net": net_rendition(net, LookSettings(norm="frame", smooth=0.0))}, vgg, {"net": grams}, flow=flow
    )["net"]


def test_identity_has_the_values_of_the_input(tiny_vgg, grams):
    renditions = {"net": net_rendition(nn.Identity(), LookSettings(smooth=0.0))}
    found = judge.evaluate_clip(scene().split(1), renditions, tiny_vgg, {"net": grams})
    for metric in judge.METRICS:
        if not metric.startswith("style"):
            assert found["net"][metric] == found["input"][metric], metric
    assert found["net"]["style_loss"] == found["net"]["style_loss_input"] > 0
    assert found["net"]["content_loss"] == 0
    assert found["net"]["static_flicker_ratio"] == 1
    assert 0.3 < found["net"]["static_share"] < 0.9
    assert found["net"]["camera_motion"] < metrics.FIXED_CAMERA
    assert found["net"]["static_flicker"] == pytest.approx(2, abs=0.1)  # two uniform numbers: a third of 6 grey levels
    for sigma in judge.SIGMAS:
        assert found["net"][f"noise_gain_{sigma}"] == pytest.approx(1)
    for motion in metrics.MOTIONS:
        assert found["net"][f"motion_error_{motion}"] == pytest.approx(0, abs=1e-4)
        assert found["net"][f"motion_floor_{motion}"] > 0


def test_constant_output_is_perfectly_still_and_has_no_style(tiny_vgg, grams):
    numbers = numbers_of(Constant(), scene().split(1), tiny_vgg, grams)
    still = ["static_flicker", "static_flicker_ratio", *CHANGES, "contrast"]
    still += [f"noise_gain_{sigma}" for sigma in judge.SIGMAS]
    still += [f"motion_{what}_{motion}" for what in ("error", "floor") for motion in metrics.MOTIONS]
    for metric in still:
        assert numbers[metric] == pytest.approx(0, abs=1e-4), metric
    assert numbers["style_loss"] > 0.5
    assert numbers["content_loss"] > 0.1


@pytest.mark.parametrize("flow", judge.FLOWS)
def test_numbers_of_a_clip_are_those_of_the_metrics_joined_by_hand(tiny_vgg, grams, flow):
    clip, net, find_flow = scene(count=21), Blur(), judge.FLOWS[flow]
    numbers = numbers_of(net, clip.split(1), tiny_vgg, grams, flow)
    stylized = [to_float(to_uint8(net(frame))) for frame in clip.split(1)]
    pairs = {1: list(pairwise(range(21))), 10: [(0, 10), (10, 20)]}
    for interval, ends in pairs.items():
        values = {name: [] for name in judge.ALONG_FLOW}
        for start, end in ends:
            frame, following = clip[start, None], clip[end, None]
            forward = find_flow(frame, following)
            mask = occlusion_mask(forward, find_flow(following, frame))
            for name, metric in judge.ALONG_FLOW.items():
                values[name].append(metric(stylized[start], stylized[end], forward, mask).item())
        for name in ("warping_error", "absolute_warping_error"):
            assert numbers[f"{name}_{interval}"] == pytest.approx(fmean(values[name]))
        squares = fmean(value**2 for value in values["stability_error"])
        assert numbers[f"stability_error_{interval}"] == pytest.approx(math.sqrt(squares))
    still = metrics.static_mask(clip.split(1))
    flicker = [metrics.static_flicker(stylized[start], stylized[end], still).item() for start, end in pairs[1]]
    assert numbers["static_flicker"] == pytest.approx(fmean(flicker))
    changed = [metrics.static_change_share(stylized[start], stylized[end], still).item() for start, end in pairs[1]]
    assert numbers["static_changed"] == pytest.approx(fmean(changed))
    probed = [(tiny_vgg(stylized[time], grams), tiny_vgg(clip[time, None], [judge.CONTENT_LAYER])) for time in (0, 16)]
    assert numbers["style_loss"] == pytest.approx(fmean(style_loss(own, grams).item() for own, _ in probed))
    layer = judge.CONTENT_LAYER
    of_content = [content_loss(own[layer], target[layer]).item() for own, target in probed]
    assert numbers["content_loss"] == pytest.approx(fmean(of_content))
    assert numbers["contrast"] == pytest.approx(fmean(metrics.contrast(torch.cat(stylized)).tolist()), rel=1e-5)
    gains = [metrics.noise_gain(net, clip[time, None], 2 / 255, torch.Generator().manual_seed(0)) for time in (0, 16)]
    assert numbers["noise_gain_2"] == pytest.approx(fmean(gain.item() for gain in gains))


def test_pairs_across_a_cut_are_left_out(tiny_vgg):
    one, other = (F.interpolate(noise(1, 3, 8, 12, seed=seed), scale_factor=8) for seed in (0, 1))
    one[:, 1:] *= 0.2  # red
    other[:, ::2] *= 0.2  # green
    numbers = numbers_of(nn.Identity(), [*[one] * 6, *[other] * 8], tiny_vgg)
    assert numbers["absolute_warping_error_1"] == pytest.approx(0, abs=0.02)
    assert math.isnan(numbers["absolute_warping_error_10"])  # its only pair, 0 and 10, are of two scenes
    assert math.isnan(numbers["style_loss"])


def test_clip_of_a_moving_camera_has_no_static_figures_however_flat_it_is(tiny_vgg):
    wall = F.interpolate(noise(1, 3, 32, 64), scale_factor=4, mode="bilinear")
    wall[..., :40, :] = 0.5  # a sky, in which nothing changes
    pan = [wall[..., :64, time : time + 96] for time in range(12)]
    assert metrics.static_mask(pan).mean() > 0.4
    numbers = numbers_of(Blur(), pan, tiny_vgg)
    assert numbers["camera_motion"] > 5 * metrics.FIXED_CAMERA
    assert all(math.isnan(numbers[metric]) for metric in judge.STATIC)
    assert numbers["absolute_warping_error_1"] > 0


def test_mean_of_the_ratio_is_the_ratio_of_the_means_over_clips_that_do_not_change_too():
    def clip(flicker):
        return {**dict.fromkeys(judge.METRICS, math.nan), "static_flicker": flicker}

    inputs, own = [clip(0.0), clip(1.0), clip(math.nan)], [clip(0.5), clip(2.0), clip(math.nan)]
    found = judge.mean(own, inputs)
    assert found["static_flicker"] == 1.25
    assert found["static_flicker_ratio"] == 2.5
    assert math.isnan(judge.mean(own[:1], inputs[:1])["static_flicker_ratio"])
    assert math.isnan(found["contrast"])


def test_frames_do_not_pile_up_in_memory(tiny_vgg):
    alive, most = weakref.WeakSet(), []

    class Clip:
        def __iter__(self):
            for time in range(40):
                frame = torch.full((1, 3, 16, 16), time / 40)
                alive.add(frame)
                most.append(len(alive))
                yield frame

    numbers_of(nn.Identity(), Clip(), tiny_vgg)
    assert max(most) <= 4
