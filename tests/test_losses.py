import pytest
import torch

from fastnst.losses import (
    PHOTO_TONES,
    content_loss,
    gram_matrix,
    palette,
    palette_loss,
    structure_loss,
    style_loss,
    temporal_loss,
    tone_loss,
    tone_range,
    tones,
    total_variation_loss,
    unlikeness,
)


def test_losses_of_half_precision_features_do_not_overflow():
    large = torch.full((1, 2, 4, 4), 300.0, dtype=torch.float16)  # its square is over 65504
    with torch.autocast("cpu", torch.float16):
        gram = gram_matrix(large)
        assert gram.dtype == torch.float32
        assert torch.equal(gram, torch.full((1, 2, 2), 90_000.0))
        assert content_loss(large, large / 2).item() == pytest.approx(1)
        assert style_loss({"a": large}, {"a": gram / 2}).item() == pytest.approx(1)
        stylized = large[:, :1].expand(-1, 3, -1, -1)
        assert temporal_loss(stylized, -stylized, torch.ones(1, 1, 4, 4)).item() == pytest.approx(360_000)


def test_gram_matrix_ignores_pixel_order():
    features = torch.randn(2, 5, 4, 6)
    shuffled = features.flatten(2)[..., torch.randperm(24)].view_as(features)
    torch.testing.assert_close(gram_matrix(features), gram_matrix(shuffled))


def test_gradient_of_gram_matrix_is_that_of_both_factors():
    features = torch.randn(2, 5, 4, 6, requires_grad=True)
    upstream = torch.randn(2, 5, 5)  # not symmetric
    flat = features.flatten(2)
    (expected,) = torch.autograd.grad(flat @ flat.transpose(1, 2) / 24, features, upstream)
    (gradient,) = torch.autograd.grad(gram_matrix(features), features, upstream)
    torch.testing.assert_close(gradient, expected)


def test_gram_matrix_is_per_picture():
    features = torch.randn(3, 5, 4, 4)
    alone = torch.cat([gram_matrix(one[None]) for one in features])
    torch.testing.assert_close(gram_matrix(features), alone)


def test_gram_matrix_agrees_with_einsum():
    features = torch.randn(2, 3, 7, 5)
    torch.testing.assert_close(gram_matrix(features), torch.einsum("bchw,bdhw->bcd", features, features) / 35)


def test_gram_matrix_of_large_half_precision_features_is_finite():
    features = torch.full((1, 2, 64, 64), 3000.0, dtype=torch.float16)
    torch.testing.assert_close(gram_matrix(features), torch.full((1, 2, 2), 9e6), rtol=1e-4, atol=0)


def test_gram_matrix_is_float32_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        assert gram_matrix(torch.randn(1, 2, 4, 4)).dtype == torch.float32


def test_content_loss_of_itself_is_0_and_of_nothing_is_1():
    features = torch.rand(2, 4, 5, 5) + 0.1
    assert content_loss(features, features).item() == 0
    assert content_loss(torch.zeros_like(features), features).item() == pytest.approx(1)


def test_content_loss_does_not_depend_on_scale():
    features, target = torch.rand(2, 4, 5, 5), torch.rand(2, 4, 5, 5)
    torch.testing.assert_close(content_loss(features, target), content_loss(features * 100, target * 100))


def test_content_loss_of_a_content_with_next_to_nothing_is_relative_to_the_least():
    target = torch.stack([torch.full((4, 5, 5), 2.0), torch.full((4, 5, 5), 0.1)])
    assert content_loss(target + 1, target, least=1.0).item() == pytest.approx((1 / 4 + 1 / 1) / 2)
    assert content_loss(target + 1, target).item() == pytest.approx((1 / 4 + 1 / 0.01) / 2)


def test_style_loss_of_the_style_is_0_and_of_nothing_is_1():
    features = {"a": torch.rand(1, 4, 5, 5), "b": torch.rand(1, 2, 3, 3)}
    target = {layer: gram_matrix(value) for layer, value in features.items()}
    assert style_loss(features, target).item() == 0
    assert style_loss({layer: value * 0 for layer, value in features.items()}, target).item() == pytest.approx(1)


def test_style_loss_uses_the_targets_layers_only():
    features = {"a": torch.rand(1, 4, 5, 5), "b": torch.rand(1, 2, 3, 3)}
    assert style_loss(features, {"a": gram_matrix(features["a"])}).item() == 0


def test_style_loss_of_a_batch_is_the_mean_of_its_pictures():
    features, target = torch.rand(3, 4, 5, 5), {"a": gram_matrix(torch.rand(1, 4, 6, 6))}
    alone = torch.stack([style_loss({"a": one[None]}, target) for one in features]).mean()
    torch.testing.assert_close(style_loss({"a": features}, target), alone)


def test_total_variation_of_a_checkerboard_is_2_and_of_a_ramp_is_its_slope_squared():
    checkerboard = (torch.arange(6)[:, None] + torch.arange(6)) % 2
    assert total_variation_loss(checkerboard.float().expand(2, 3, 6, 6)).item() == 2
    ramp = (torch.arange(8) * 0.1).expand(1, 3, 5, 8)
    assert total_variation_loss(ramp).item() == pytest.approx(0.01)


def test_temporal_loss_of_a_uniform_change_is_its_square():
    frame = torch.rand(2, 3, 4, 4)
    assert temporal_loss(frame, frame + 0.1, torch.ones(2, 1, 4, 4)).item() == pytest.approx(0.01, rel=1e-5)


def test_temporal_loss_is_the_mean_over_unmasked_pixels():
    frame, mask = torch.zeros(1, 3, 4, 4), torch.zeros(1, 1, 4, 4)
    after = frame.clone()
    after[..., 0] = 0.5
    after[..., 3] = 9
    mask[..., 0] = 1
    assert temporal_loss(frame, after, mask).item() == pytest.approx(0.25)


def test_temporal_loss_of_a_batch_is_the_mean_of_its_parts():
    frames, after = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    mask = torch.ones(2, 1, 4, 4)
    mask[1, :, 1:] = 0
    parts = [temporal_loss(frames[i : i + 1], after[i : i + 1], mask[i : i + 1]).item() for i in range(2)]
    assert temporal_loss(frames, after, mask).item() == pytest.approx(sum(parts) / 2, rel=1e-5)


def test_temporal_loss_of_nothing_comparable_is_0_and_has_a_gradient():
    frame = torch.rand(1, 3, 4, 4, requires_grad=True)
    loss = temporal_loss(frame, torch.rand(1, 3, 4, 4), torch.zeros(1, 1, 4, 4))
    loss.backward()
    assert loss.item() == 0
    assert frame.grad is not None
    assert frame.grad.abs().max().item() == 0


def test_tones_are_the_brightness_of_squares_of_16_pixels_and_of_what_is_left_at_the_edges():
    picture = torch.zeros(1, 3, 20, 32)
    picture[..., 16:] = 1
    picture[..., 16:, :] = 0.5
    torch.testing.assert_close(tones(picture), torch.tensor([[[[0.0, 1.0], [0.5, 0.5]]]]))


def test_tone_loss_is_0_where_photo_and_painting_are_equally_far_from_their_means():
    style = torch.tensor([0.2, 0.4]).repeat_interleave(16).expand(1, 3, 16, 32)  # mean 0.3, deviation 0.1
    wanted = tone_range(style)
    torch.testing.assert_close(wanted, torch.tensor([[0.3, 0.1]]))
    mean, deviation = PHOTO_TONES
    content = torch.full((2, 3, 16, 16), mean + deviation)
    content[1] = mean - deviation
    stylized = torch.stack([torch.full((3, 16, 16), 0.4), torch.full((3, 16, 16), 0.2)])
    assert tone_loss(stylized, content, wanted).item() == pytest.approx(0, abs=1e-9)
    assert tone_loss(stylized.flip(0), content, wanted).item() == pytest.approx(4, rel=1e-5)  # two deviations off
    each = torch.cat([wanted, torch.tensor([[0.2, 0.1]])])  # the second picture has another style, whose mean is 0.2
    assert tone_loss(stylized, content, each).item() == pytest.approx(0.5, rel=1e-5)


def test_structure_loss_asks_what_is_alike_and_not_how_it_looks():
    """Of features of two places that are one thing and two that are another, in other features."""
    content = torch.zeros(1, 3, 2, 2)
    content[:, 0, 0], content[:, 1, 1] = 1.0, 2.0
    painted = content.roll(1, 1) * 5
    assert structure_loss(painted, content).item() == pytest.approx(0, abs=1e-6)
    mixed = torch.zeros(1, 3, 2, 2)
    mixed[:, 0, :, 0], mixed[:, 1, :, 1] = 1.0, 1.0  # columns are alike, not rows
    assert structure_loss(mixed, content).item() == pytest.approx(1)  # half of all pairs are wrong, by 2 means


def test_structure_loss_compares_large_pictures_at_few_places_and_flat_ones_without_a_fault():
    assert unlikeness(torch.rand(1, 4, 40, 20)).shape == (1, 32 * 20, 32 * 20)
    flat = torch.zeros(1, 4, 5, 5, requires_grad=True)
    structure_loss(flat, torch.rand(1, 4, 5, 5)).backward()
    assert flat.grad is not None
    assert flat.grad.isfinite().all()


def test_palette_loss_is_0_for_the_same_colours_wherever_they_are():
    style = torch.zeros(1, 3, 32, 32)
    style[..., 16:] = torch.tensor([1.0, 0.5, 0.0]).view(3, 1, 1)  # half black, half orange
    pictures = torch.zeros(2, 3, 16, 16)
    pictures[1] = torch.tensor([1.0, 0.5, 0.0]).view(3, 1, 1)  # one is all black, the other all orange
    assert palette_loss(pictures, palette(style)).item() == pytest.approx(0, abs=1e-3)
    assert palette_loss(pictures[:1], palette(style)).item() == pytest.approx(
        2, rel=0.05
    )  # half of it 2 deviations off
    mixed = pictures.mean(0, keepdim=True)
    assert palette_loss(mixed, palette(style)).item() == pytest.approx(1, rel=0.05)  # all of it 1 deviation off


def test_palette_loss_sees_areas_and_not_only_pixels():
    style = torch.zeros(1, 3, 64, 64)
    style[..., 32:] = 1
    checks = torch.zeros(1, 3, 64, 64)
    checks.view(3, 32, 2, 32, 2)[:, ::2, :, ::2] = 1
    checks.view(3, 32, 2, 32, 2)[:, 1::2, :, 1::2] = 1  # as much black and white, in squares of 2 pixels
    assert palette_loss(checks, palette(style)).item() == pytest.approx(0.5, rel=0.05)  # right at 2 pixels, grey at 8


def test_palette_loss_pulls_colours_towards_those_of_the_style_also_of_tiny_pictures():
    style = palette(
        torch.rand(1, 3, 5, 7, generator=torch.Generator().manual_seed(0)) * 0.2
        + torch.tensor([0.8, 0.4, 0.0]).view(3, 1, 1)
    )
    picture = torch.full((1, 3, 3, 3), 0.5, requires_grad=True)
    palette_loss(picture, style).backward()
    assert picture.grad is not None
    assert (picture.grad.sum((0, 2, 3)).sign() == torch.tensor([-1.0, 0.0, 1.0])).tolist()[0]
    assert palette_loss(torch.rand(1, 3, 8, 8), palette(torch.full((1, 3, 8, 8), 0.5))).isfinite()
