import os
import signal

import pytest
import pytorch_lightning as pl
from runs import at_step, command

from fastnst.training.saving import load_training_checkpoint
from fastnst.training.signals import StopOnSignal, say


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signal_finishes_the_step_saves_and_tells_by_the_status(number, status, tiny, tmp_path, monkeypatch, capsys):
    at_step(monkeypatch, 1, lambda: signal.raise_signal(number))
    before = signal.getsignal(number)
    assert command(*tiny, f"run={tmp_path}/run", "trainer.save_every=100") == status
    assert load_training_checkpoint(tmp_path / "run" / "last.ckpt")["global_step"] == 2
    assert not (tmp_path / "run" / "picasso.ckpt").exists()
    assert "resume=auto" in capsys.readouterr().err
    assert signal.getsignal(number) == before


def test_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what nohup does
    try:
        stop = StopOnSignal()
        stop.on_train_start(pl.Trainer.__new__(pl.Trainer), pl.LightningModule())
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) == stop.note
        stop.on_train_end(pl.Trainer.__new__(pl.Trainer), pl.LightningModule())
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_is_written_to_a_terminal_that_is_gone_goes_nowhere():
    kept = [os.dup(output) for output in (1, 2)]
    theirs, ours = os.openpty()
    try:
        for output in (1, 2):
            os.dup2(ours, output)
        os.close(theirs)  # the terminal hangs up
        with pytest.raises(OSError, match="5"):
            os.write(2, b"x")
        say("stopping")
        assert os.write(2, b"x") == 1
        assert os.write(1, b"x") == 1
    finally:
        os.close(ours)
        for output, handle in zip((1, 2), kept, strict=True):
            os.dup2(handle, output)
            os.close(handle)
