"""Who may import whom: the root holds the ideas, each folder serves one noun, and inference stays light."""

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "fastnst"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}
FOLDERS = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
KNOW_LIGHTNING, KNOW_HYDRA, KNOW_WANDB = {"training"}, {"fastnst.cli"}, {"fastnst.training.dashboard"}


def for_the_type_checker(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imports(tree: ast.AST) -> set[str]:
    """The modules that a file imports, at its top or inside functions; not those for the type checker alone."""
    names = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = [f"{node.module}.{alias.name}" for alias in node.names]  # from fastnst import cli
            names |= {name if name in MODULES else node.module for name in whole}
        elif not for_the_type_checker(node):
            names |= imports(node)
    return names


IMPORTS = {name: imports(ast.parse(path.read_text(encoding="utf-8"))) for name, path in MODULES.items()}


def folder(module: str) -> str:
    """The folder of the package that a module lies in; nothing for the root."""
    part = module.split(".")[1] if "." in module else ""
    return part if part in FOLDERS else ""


def not_allowed(module: str, imported: str) -> bool:
    own, other = folder(module), folder(imported)
    if own == "video":
        return other != "video" and imported not in {"fastnst.errors", "fastnst.files"}
    if module == "fastnst.stylizer" and other == "engines":
        return False
    return other not in {own, "", "video"}


def test_rooms_import_only_what_they_may():
    """The root imports `video`, the stylizer `engines`; `video` errors and files; other folders the root, `video`."""
    wrong = [
        f"{name} imports {other}"
        for name, others in IMPORTS.items()
        for other in others
        if other.startswith("fastnst") and not_allowed(name, other)
    ]
    assert wrong == []


def test_no_module_imports_itself_in_a_circle():
    graph = {name: {other for other in others if other in MODULES} for name, others in IMPORTS.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as circle:
        pytest.fail(" -> ".join(circle.args[1]))


def test_only_their_own_rooms_know_lightning_hydra_and_wandb():
    for name, others in IMPORTS.items():
        roots = {other.partition(".")[0] for other in others}
        assert "pytorch_lightning" not in roots or folder(name) in KNOW_LIGHTNING, name
        assert not roots & {"hydra", "omegaconf"} or name in KNOW_HYDRA, name
        assert "wandb" not in roots or name in KNOW_WANDB, name


def test_no_room_without_a_name():
    assert not {"utils", "helpers", "common", "base"} & {path.stem for path in PACKAGE.rglob("*")}


def test_every_folder_says_its_noun_and_what_it_may_import():
    for name in FOLDERS:
        assert "ay import" in (ast.get_docstring(ast.parse(MODULES[f"fastnst.{name}"].read_text("utf-8"))) or ""), name


def test_importing_is_cheap_and_inference_loads_neither_lightning_nor_wandb():
    program = (
        "import sys, fastnst; print('torch' in sys.modules, fastnst.Stylizer.__name__); import infer;"
        "print([name for name in sys.modules if name.split('.')[0] in ('pytorch_lightning', 'wandb')])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "Stylizer", "[]"]


def test_readme_tree_is_the_real_one():
    """It names every file at the root of the package and every folder, and nothing that is not there."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    tree = readme.partition("## What lies where")[2].partition("\n## ")[0]
    names = re.findall(r"^ +((?:[\w.]+(?:\.py|/) +)+)", tree, re.MULTILINE)
    told = {name.rstrip("/") for line in names for name in line.split()}
    files = {path.name for path in [*PACKAGE.glob("*.py"), *ROOT.glob("*.py")]} - {"__init__.py"}
    rooms = {"fastnst", "conf", "paintings", "checkpoints", "benchmarks", "tests", "docs"} | FOLDERS
    assert files | rooms == told


def test_no_name_is_defined_in_two_files():
    """A search for a name finds one thing; each command has a `main` and a `USAGE`, each module may have a `log`."""
    places: dict[str, set[str]] = {}
    for module, path in MODULES.items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [getattr(node, "name", None)]
            if isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = [each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)]
            for name in names:
                places.setdefault(str(name), set()).add(module)
    del places["None"]
    twice = {name: modules for name, modules in places.items() if len(modules) > 1}
    assert twice.keys() <= {"main", "USAGE", "log"}, twice
