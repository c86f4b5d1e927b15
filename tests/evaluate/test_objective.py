import pytest
import torch

from fastnst.errors import ConfigError
from fastnst.evaluate import __main__ as evaluate
from fastnst.evaluate import objective as module
from fastnst.evaluate.objective import TrainingObjective, loss_of, needed
from fastnst.settings import LossSettings, ObjectiveSettings, TemporalSettings, TrainerSettings
from fastnst.training.module import StyleTransfer

PICTURES = torch.rand(3, 1, 3, 48, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def run(in_process, monkeypatch, tiny_vgg):
    monkeypatch.setattr(module, "load_vgg", lambda source: tiny_vgg)
    fixed = ["sizes=[32,48]", "evaluations=30", "device=cpu"]
    usage = evaluate.OBJECTIVE_USAGE
    return lambda *given: in_process(evaluate.objective, ObjectiveSettings, usage, *fixed, *given)


@pytest.mark.parametrize("contrast", [1.0, 1e-3])
def test_the_objective_is_that_of_training_flat_contents_too(tiny_vgg, contrast):
    from fastnst.net import StylizationNet

    content, style, picture = 0.5 + contrast * (PICTURES[0] - 0.5), PICTURES[1], PICTURES[2]
    loss = LossSettings(style_weight=7.0, tv_weight=3.0)
    net = StylizationNet(channels=(4, 4, 4), residual_blocks=1)
    trained = StyleTransfer(net, tiny_vgg, [style[0]], loss, TemporalSettings(), TrainerSettings())
    losses = trained.losses(content, None, picture)
    by_training = sum(trained.perceptual.weights[name] * value.item() for name, value in losses.items())
    assert TrainingObjective(tiny_vgg, content, style, loss)(picture).item() == pytest.approx(by_training, rel=1e-5)


def test_the_count_is_1_for_a_net_that_does_nothing_and_none_for_what_nobody_reaches(tiny_vgg):
    objective = TrainingObjective(tiny_vgg, PICTURES[0], PICTURES[1], LossSettings())
    start = objective(PICTURES[0]).item()
    assert needed(objective, PICTURES[0], start, 10) == 1
    assert needed(objective, PICTURES[0], -1.0, 5) is None
    counts = [needed(objective, PICTURES[0], factor * start, 60) for factor in (0.9, 0.7, 0.5)]
    assert all(counts)
    assert counts == sorted(count or 0 for count in counts)


def test_the_weights_are_those_of_the_recipe_old_and_new():
    assert loss_of({"loss": {"style_weight": 14, "unknown": 1}}).style_weight == 14
    assert loss_of({"loss.style_weight": 18.0, "loss.content_layer": "relu3_3"}).content_layer == "relu3_3"
    assert loss_of({}) == LossSettings(content_weight=1, structure_weight=0, tone_weight=0, palette_weight=0)  # older
    with pytest.raises(ConfigError):
        loss_of({"loss.style_weight": "much"})


def test_a_row_for_each_photo_and_size_and_the_spread(run, checkpoint, photo_folder):
    status, out, err = run(f"ckpt={checkpoint}", f"photos={photo_folder}", "count=3")
    assert status == 0, err
    assert out.count("00.png") == out.count("02.png") == 2
    assert "03.png" not in out
    assert "|   32 |      3 |" in out
    assert "strong Wolfe" in out
    assert "floor" in out


def test_a_net_of_an_unknown_style_needs_its_picture(run, tmp_path, photo_folder):
    from scenes import small_net

    from fastnst.checkpoint import save_checkpoint

    save_checkpoint(tmp_path / "mine.ckpt", small_net(), "mine", {})
    arguments = [f"ckpt={tmp_path / 'mine.ckpt'}", f"photos={photo_folder}", "count=1"]
    status, _, err = run(*arguments)
    assert (status, "style_image=" in err) == (3, True)
    assert run(*arguments, "style_image=wave")[0] == 0


def test_a_folder_without_photos_fails(run, tmp_path, checkpoint):
    status, out, err = run(f"ckpt={checkpoint}", f"photos={tmp_path}")
    assert (status, out) == (3, "")
    assert "no photos" in err
