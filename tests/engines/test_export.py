import json
import re
from pathlib import Path

import numpy as np
import pytest
from engines.test_engine import tiny_net
from media import silent
from PIL import Image

from fastnst.checkpoint import save_checkpoint
from fastnst.engines.export import export
from fastnst.errors import EnvironmentFault, OutputError
from fastnst.settings import ExportSettings

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
README = Path(__file__).parent.parent.parent / "README.md"


@pytest.fixture(params=[3, 0], ids=["half", "lite"])
def ckpt(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_checkpoint(tmp_path / "mine.ckpt", tiny_net(full=request.param), "clouds", {"steps": 7})
    return "mine.ckpt"


def operators(path):
    return {node.op_type for node in onnx.load(path).graph.node}


def test_onnx_file_gives_what_the_net_gives_and_says_what_it_is(ckpt, capsys):
    from fastnst.engines.graph import OPERATORS, OPERATORS_OF_ANY_SIZE

    export(ExportSettings(ckpt=ckpt))  # fails where it does not
    assert re.search(r"mine.onnx: [\d,]+ bytes, [\d,]+ parameters; at most \S+ of the range", capsys.readouterr().out)
    about = {each.key: each.value for each in onnx.load("mine.onnx").metadata_props}
    assert (about["style"], about["licence"], json.loads(about["recipe"])) == ("clouds", "MIT", {"steps": 7})
    assert operators("mine.onnx") <= OPERATORS | OPERATORS_OF_ANY_SIZE


def test_onnx_file_of_one_size_has_plain_operators_only(ckpt):
    from fastnst.engines.graph import OPERATORS, OPERATORS_OF_UINT8

    export(ExportSettings(ckpt=ckpt, size="32x24"))
    assert operators("mine.onnx") <= OPERATORS
    export(ExportSettings(ckpt=ckpt, size="30x22", pixels="uint8", overwrite=True))
    assert operators("mine.onnx") <= OPERATORS | OPERATORS_OF_UINT8


def test_statistics_of_a_clip_leave_no_instance_norm(ckpt, tmp_path):
    clip = silent(tmp_path / "clip.mp4", seconds=0.1, size="32x24")
    export(ExportSettings(ckpt=ckpt, norm_from=str(clip)))
    assert "InstanceNormalization" not in operators("mine.onnx")


def test_openvino_files_give_what_the_net_gives(ckpt):
    pytest.importorskip("openvino")
    export(ExportSettings(ckpt=ckpt, format="openvino"))
    assert Path("mine.xml").is_file()
    assert Path("mine.bin").is_file()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_readme_lines_run_the_file_in_onnxruntime_alone(ckpt):
    lines = re.search(r"```python\nimport numpy.*?```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert lines
    export(ExportSettings(ckpt=ckpt, out="picasso.onnx", size="640x360", pixels="uint8"))
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (360, 640, 3), dtype=np.uint8)).save("in.png")
    exec(lines[0].removeprefix("```python\n").removesuffix("```"), {})
    with Image.open("out.png") as stylized:
        assert stylized.size == (640, 360)


def test_export_fails_where_the_file_exists_or_a_package_is_missing(ckpt, monkeypatch):
    Path("mine.onnx").touch()
    with pytest.raises(OutputError, match="overwrite=true"):
        export(ExportSettings(ckpt=ckpt))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EnvironmentFault, match=r"format=onnx needs onnx, onnxruntime: pip install"):
        export(ExportSettings(ckpt=ckpt))
