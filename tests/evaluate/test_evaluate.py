import pytest

from fastnst import cli
from fastnst.errors import ConfigError
from fastnst.evaluate import __main__ as evaluate
from fastnst.settings import EvaluateSettings


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("videos=null", "videos is missing"),
        ("videos=[]", "videos=.. is an empty list"),
        ("videos=''", "videos is missing"),
        ("ckpt=[]", "nothing to judge"),
        ("ckpt=null", "nothing to judge"),
        ("norm=layer", "norm=layer must be"),
        ("flow=raft", "flow=raft must be farneback or dis"),
        ("frames=1", "frames=1 must be"),
        ("frames=1.5", "frames=1.5 must be"),
        ("frames=nan", "frames=nan must be"),
        ("max_side=0", "max_side=0 must be"),
        ("max_side=99999999999999999999", "max_side=99999999999999999999 must be"),
        ("style_size=-1", "style_size=-1 must be"),
        ("smooth=nan", "smooth=nan must be"),
        ("smooth=2", "smooth=2 must be"),
        ("threads=0", "threads=0 must be"),
        ("overwrite=maybe", "overwrite=maybe must be"),
        ("device=toaster", "device=toaster is no device"),
        ("device=cpu:99", "device=cpu:99 is no device"),
        ("frame=3", "did you mean frames"),
        ("=5", "is no setting"),
    ],
)
def test_wrong_setting_is_refused_before_anything_is_opened(wrong, says):
    with pytest.raises(ConfigError, match=says):
        cli.load(EvaluateSettings, ["videos=nowhere", "ckpt=picasso", wrong])


def test_help_shows_usage_and_all_settings(in_process):
    status, out, err = in_process(evaluate.evaluate, EvaluateSettings, evaluate.USAGE, "--help")
    assert (status, err) == (0, "")
    assert "fastnst evaluate ckpt=" in out
    for name in ("videos", "frames=24", "flow=farneback", "smooth=0.0", "device=auto"):
        assert name in out
