"""Facts about the metrics: what a still, a moving, a constant and a noisy picture must get."""

from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fastnst.errors import InputError
from fastnst.flow import affine_flow, farneback_flow, inside
from fastnst.metrics import (
    FIXED_CAMERA,
    MOTIONS,
    camera_motion,
    contrast,
    mean_absolute_warping_error,
    motion_error,
    noise_gain,
    stability_error,
    static_change_share,
    static_flicker,
    static_mask,
    warping_error,
)

ALONG_FLOW = [warping_error, mean_absolute_warping_error, stability_error]
EVERYWHERE = torch.ones(1, 1, 24, 32)
STILL = torch.zeros(1, 2, 24, 32)


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def seeded():
    return torch.Generator().manual_seed(0)


def constant(images):
    return torch.full_like(images, 0.3)


@pytest.mark.parametrize("metric", ALONG_FLOW)
def test_still_frame_under_no_flow_is_zero(metric):
    frame = noise(1, 3, 24, 32)
    assert metric(frame, frame, STILL, EVERYWHERE).item() == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("metric", ALONG_FLOW)
def test_known_translation_is_zero_inside_and_not_without_its_flow(metric):
    scene = noise(1, 3, 30, 40)
    frame, next_frame = scene[..., 2:26, 5:37], scene[..., 0:24, 2:34]  # the picture moves by (3, 2)
    flow = torch.tensor([3.0, 2.0]).view(1, 2, 1, 1).expand(1, 2, 24, 32)
    moved = metric(frame, next_frame, flow, inside(flow)).item()
    assert moved == pytest.approx(0, abs=1e-3)
    assert metric(frame, next_frame, STILL, EVERYWHERE).item() > 0.1
    assert metric(frame, next_frame, flow, EVERYWHERE).item() > 20 * moved  # the border is no error of the picture


@pytest.mark.parametrize("metric", ALONG_FLOW)
def test_constant_output_is_zero_under_any_flow(metric):
    grey = torch.full((1, 3, 24, 32), 0.3)
    flow = 9 * noise(1, 2, 24, 32) - 4
    assert metric(grey, grey, flow, inside(flow)).item() == pytest.approx(0, abs=1e-4)


def test_even_change_gives_the_value_known_by_hand():
    frame, next_frame = torch.full((1, 3, 24, 32), 0.5), torch.full((1, 3, 24, 32), 0.6)
    quarter = EVERYWHERE.clone()
    quarter[..., 8:] = 0
    assert warping_error(frame, next_frame, STILL, quarter).item() == pytest.approx(0.01, rel=1e-4)
    assert mean_absolute_warping_error(frame, next_frame, STILL, quarter).item() == pytest.approx(25.5, rel=1e-4)
    assert static_flicker(frame, next_frame, quarter).item() == pytest.approx(25.5, rel=1e-4)
    assert static_change_share(frame, next_frame, quarter).item() == 1
    assert stability_error(frame, next_frame, STILL, EVERYWHERE).item() == pytest.approx(0.1, rel=1e-4)
    assert stability_error(frame, next_frame, STILL, quarter).item() == pytest.approx(0.05, rel=1e-4)


def test_nothing_to_compare_is_nan_but_zero_where_all_pixels_normalise():
    frame, next_frame, nothing = noise(1, 3, 24, 32), noise(1, 3, 24, 32, seed=1), torch.zeros(1, 1, 24, 32)
    assert warping_error(frame, next_frame, STILL, nothing).isnan().all()
    assert mean_absolute_warping_error(frame, next_frame, STILL, nothing).isnan().all()
    assert static_flicker(frame, next_frame, nothing).isnan().all()
    assert static_change_share(frame, next_frame, nothing).isnan().all()
    assert stability_error(frame, next_frame, STILL, nothing).item() == 0


def test_masked_pixels_do_not_count():
    frame, next_frame = noise(1, 3, 24, 32), noise(1, 3, 24, 32, seed=1)
    mask = noise(1, 1, 24, 32, seed=2).round()
    spoilt = torch.where(mask.bool(), frame, 1 - frame)
    for metric in ALONG_FLOW:
        assert torch.equal(metric(spoilt, next_frame, STILL, mask), metric(frame, next_frame, STILL, mask))
    assert torch.equal(static_flicker(spoilt, next_frame, mask), static_flicker(frame, next_frame, mask))


def test_second_implementation_in_opencv_and_numpy_agrees():
    frame, next_frame = noise(1, 3, 24, 32), noise(1, 3, 24, 32, seed=1)
    flow = (128 * (noise(1, 2, 24, 32, seed=2) - 0.5)).round() / 32  # OpenCV interpolates in steps of 1 / 32
    mask = inside(flow) * noise(1, 1, 24, 32, seed=3).round()
    y, x = np.mgrid[:24, :32].astype(np.float32)
    first, second = (picture[0].permute(1, 2, 0).numpy() for picture in (frame, next_frame))
    aligned = cv2.remap(
        second, x + flow[0, 0].numpy(), y + flow[0, 1].numpy(), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    difference = (aligned - first)[mask[0, 0].numpy() == 1].astype(np.float64)  # (unmasked pixels, 3)
    expected = {
        warping_error: np.mean(difference**2),
        mean_absolute_warping_error: 255 * np.mean(np.abs(difference)),
        stability_error: np.sqrt(np.sum(difference**2) / (24 * 32 * 3)),
    }
    for metric, value in expected.items():
        assert metric(frame, next_frame, flow, mask).item() == pytest.approx(value, rel=1e-4)


def test_pairs_of_a_batch_are_measured_one_by_one():
    frames, next_frames, flow = noise(3, 3, 24, 32), noise(3, 3, 24, 32, seed=1), noise(3, 2, 24, 32, seed=2)
    mask = noise(3, 1, 24, 32, seed=3).round()
    for metric in ALONG_FLOW:
        together = metric(frames, next_frames, flow, mask)
        alone = [metric(*(tensor[i : i + 1] for tensor in (frames, next_frames, flow, mask))) for i in range(3)]
        torch.testing.assert_close(together, torch.cat(alone))


def test_share_of_still_pixels_that_change_counts_those_above_two_grey_levels():
    frame, next_frame = torch.full((1, 3, 24, 32), 0.5), torch.full((1, 3, 24, 32), 0.5)
    next_frame[..., :8] += 2.1 / 255
    next_frame[..., 8:16] -= 1.9 / 255
    next_frame[:, :1, :, 16:24] += 6.3 / 255  # one channel of three
    mask = EVERYWHERE.clone()
    mask[..., 24:] = 0
    assert static_change_share(frame, next_frame, mask).item() == pytest.approx(2 / 3)


@pytest.mark.parametrize("motion", [{"shift": (2.0, 1.0)}, {"zoom": 1.05}, {"degrees": 2.0}])
def test_camera_motion_sees_pan_zoom_and_rotation_though_the_sky_is_flat(motion):
    frame, flow = F.interpolate(noise(1, 3, 12, 16), scale_factor=8, mode="bilinear"), affine_flow(96, 128, **motion)
    frame[..., :48, :] = 0.7
    assert camera_motion(frame, flow).item() > 10 * FIXED_CAMERA


def test_camera_motion_of_a_fixed_camera_is_zero_whoever_walks_by():
    frames = list(still_scene_with_a_walker())
    assert camera_motion(frames[0], farneback_flow(frames[0], frames[10])).item() / 10 < FIXED_CAMERA
    walker = torch.zeros(1, 2, 24, 32)
    walker[..., 10:22] = 5  # over a third of the picture
    assert camera_motion(noise(1, 3, 24, 32), walker).item() == 0
    black = torch.zeros(1, 3, 24, 32)
    assert camera_motion(black, STILL).item() == 0


def still_scene_with_a_walker(count=12):
    """Frames with grain of 2 grey levels: a still texture, and a square of 8 px that goes 3 px a frame to the right."""
    scene = F.interpolate(noise(1, 3, 8, 12), scale_factor=8)
    for time in range(count):
        frame = scene.clone()
        frame[..., 24:32, 10 + 3 * time : 18 + 3 * time] = 1 - frame[..., 24:32, 10 + 3 * time : 18 + 3 * time].round()
        yield (frame + (noise(*frame.shape, seed=time) - 0.5) * 4 / 255).clamp(0, 1)


def test_static_mask_leaves_out_the_path_of_what_moves():
    mask = static_mask(still_scene_with_a_walker())
    assert mask.shape == (1, 1, 64, 96)
    assert mask[..., 24:32, 10:51].sum() == 0
    for background in (mask[..., :18, :], mask[..., 38:, :], mask[..., :, 62:]):
        assert background.all()


def test_static_flicker_of_the_scene_is_its_grain():
    mask = static_mask(still_scene_with_a_walker())
    frames = list(still_scene_with_a_walker())
    flicker = torch.cat([static_flicker(*pair, mask) for pair in pairwise(frames)]).mean().item()
    assert flicker == pytest.approx(4 / 3, rel=0.03)  # mean distance of two uniform numbers: a third of their range


def test_static_mask_of_a_slow_fade_is_everything():
    scene = noise(1, 3, 24, 32) / 2
    assert static_mask(scene + 0.003 * time for time in range(100)).all()  # 0.8 grey levels a frame, 76 in all


def test_static_mask_of_a_pan_is_empty():
    scene = F.interpolate(noise(1, 3, 8, 40), scale_factor=8)
    assert not static_mask(scene[..., 4 * time : 4 * time + 96] for time in range(12)).any()


def test_static_mask_of_no_frames_fails():
    with pytest.raises(InputError, match="no frames"):
        static_mask([])


@pytest.mark.parametrize("sigma", [1 / 255, 8 / 255])
def test_noise_gain_of_a_linear_net_is_its_slope(sigma):
    images = noise(2, 3, 24, 32)
    assert noise_gain(lambda x: x, images, sigma, seeded()).tolist() == pytest.approx([1, 1])
    assert noise_gain(lambda x: 0.25 - x / 2, images, sigma, seeded()).tolist() == pytest.approx([0.5, 0.5], rel=1e-3)
    assert noise_gain(constant, images, sigma, seeded()).tolist() == [0, 0]


def test_noise_gain_of_a_mean_filter_is_a_third():
    smooth = noise_gain(lambda x: F.avg_pool2d(x, 3, 1), noise(1, 3, 256, 256) / 2 + 0.25, 0.01, seeded()).item()
    assert smooth == pytest.approx(1 / 3, rel=0.02)


def test_noise_gain_counts_noise_as_it_is_after_clipping():
    white = torch.ones(1, 3, 24, 32)
    assert noise_gain(lambda x: x, white, 8 / 255, seeded()).item() == pytest.approx(1)


def test_noise_gain_repeats_with_its_seed():
    images = noise(1, 3, 24, 32)
    first, again = (noise_gain(torch.square, images, 0.1, seeded()) for _ in range(2))
    assert torch.equal(first, again)


@pytest.mark.parametrize("net", [lambda x: x, lambda x: 1 - x / 2, constant])
def test_motion_error_of_a_net_that_moves_with_its_input_is_zero(net):
    for error, _ in motion_error(net, noise(2, 3, 24, 32)).values():
        assert error.tolist() == pytest.approx([0, 0], abs=1e-3)


def test_motion_error_of_a_pattern_that_stays_on_the_screen_is_above_the_floor():
    screen = F.interpolate(noise(1, 3, 8, 8), scale_factor=8, mode="bilinear")
    errors = motion_error(lambda x: (x + screen) / 2, screen.flip(3))
    assert errors.keys() == MOTIONS.keys()
    for error, floor in errors.values():
        assert error.item() > 4 * floor.item() > 0


def test_motion_error_has_a_higher_floor_for_finer_pictures():
    rough, smooth = noise(1, 3, 64, 64), F.interpolate(noise(1, 3, 8, 8), scale_factor=8, mode="bilinear")
    rough_floor, smooth_floor = (motion_error(lambda x: x, images)["shift"][1].item() for images in (rough, smooth))
    assert rough_floor > 10 * smooth_floor


def test_contrast_of_one_colour_is_zero():
    assert contrast(torch.tensor([0.9, 0.2, 0.4]).view(1, 3, 1, 1).expand(1, 3, 24, 32)).item() < 1e-3


def test_contrast_of_half_black_half_white_is_half_the_range():
    images = torch.zeros(2, 3, 24, 32)
    images[0, ..., :16] = 1
    assert contrast(images).tolist() == pytest.approx([127.5, 0])
