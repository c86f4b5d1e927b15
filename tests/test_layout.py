"""Who may import whom: the two dataflows stay apart, and inference stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = ("pytorch_lightning", "wandb", "hydra", "omegaconf")
KNOW_LIGHTNING = {"module.py", "photos.py", "callbacks.py", "dashboard.py"}
KNOW_HYDRA = {"cli.py"}
KNOW_WANDB = {"dashboard.py"}


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize("path", sorted((ROOT / "fastnst").rglob("*.py")), ids=lambda path: path.name)
def test_only_their_own_rooms_know_lightning_hydra_and_wandb(path):
    roots = {name.partition(".")[0] for name in imports(path)}
    assert "pytorch_lightning" not in roots or path.name in KNOW_LIGHTNING
    assert not roots & {"hydra", "omegaconf"} or path.name in KNOW_HYDRA
    assert "wandb" not in roots or path.name in KNOW_WANDB
    if path.name not in {"module.py", "callbacks.py"}:
        assert "fastnst.training.module" not in imports(path)


def test_no_room_without_a_name():
    assert not {"utils.py", "helpers.py", "common.py", "base.py"} & {
        path.name for path in (ROOT / "fastnst").glob("*.py")
    }


def test_inference_loads_neither_lightning_nor_wandb():
    program = (
        "import sys, infer, fastnst.stylizer; print([name for name in sys.modules if name.split('.')[0] in "
        + repr(HEAVY[:2])
        + "])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_the_package_is_cheap():
    program = "import sys, fastnst; light = 'torch' not in sys.modules; print(light, fastnst.Stylizer.__name__)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "Stylizer"]


def test_readme_tree_names_every_file():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    missing = [
        path.name
        for path in [*(ROOT / "fastnst").glob("*.py"), *ROOT.glob("*.py")]
        if path.name not in readme and path.name != "__init__.py"
    ]
    assert missing == []
