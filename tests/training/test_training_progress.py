from types import SimpleNamespace

from fastnst.training import progress


def test_line_tells_step_losses_and_time_left_beyond_a_day(capsys, monkeypatch):
    monkeypatch.setattr(progress.time, "monotonic", iter([0.0, 54.0]).__next__)
    trainer = SimpleNamespace(
        global_step=0, max_steps=2001, is_global_zero=True, callback_metrics={"train/style_loss": 0.5, "val/x": 1}
    )
    step = progress.StepProgress()
    step.on_train_start(trainer, SimpleNamespace())
    trainer.global_step = 1
    step.on_train_batch_end(trainer, SimpleNamespace())
    step.on_train_end(trainer, SimpleNamespace())
    assert capsys.readouterr().err == "step 1/2001  style 0.500  54.00 s/step, 30:00:00 left\n"
