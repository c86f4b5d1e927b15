from types import SimpleNamespace
from typing import Any

import pytest

from fastnst import progress
from fastnst.training.progress import StepProgress

MODULE: Any = None


@pytest.mark.parametrize("first", [0, 100])
def test_line_tells_step_losses_and_time_left_beyond_a_day(first, capsys, monkeypatch):
    monkeypatch.setattr(progress, "monotonic", iter([0.0, 54.0, 54.0]).__next__)
    metrics = {"train/style_loss": 0.5, "val/x": 1}
    trainer: Any = SimpleNamespace(
        global_step=first, max_steps=first + 2001, is_global_zero=True, callback_metrics=metrics
    )
    step = StepProgress()
    step.on_train_start(trainer, MODULE)
    trainer.global_step += 1
    step.on_train_batch_end(trainer, MODULE)
    step.on_train_end(trainer, MODULE)
    line = f"step {first + 1} of {first + 2001}, 30:00:00 left, 54.0 s/step, style 0.500\n"
    assert capsys.readouterr().err == line
