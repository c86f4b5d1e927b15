"""Checks shapes and types at run time, in the tests only: jaxtyping's import hook, with beartype as its checker."""

from pathlib import Path

from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

PACKAGE = Path(__file__).parent.parent / "fastnst"

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float, as PEP 484 has it


def modules_with_shapes() -> list[str]:
    """The modules whose signatures say shapes."""
    paths = [path for path in PACKAGE.rglob("*.py") if "from jaxtyping import" in path.read_text(encoding="utf-8")]
    return sorted(".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in paths)


def check_shapes() -> None:
    """Checks every call of a function in a module that says shapes; to be called before the package is imported."""
    install_import_hook(modules_with_shapes(), "shapes.checked")
