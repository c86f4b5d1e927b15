"""Fast neural style transfer for video: `from fastnst import Stylizer`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastnst.settings import LookSettings, VideoSettings
    from fastnst.stylizer import Stylizer

__all__ = ["LookSettings", "Stylizer", "VideoSettings", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Imports what is asked for, so that `import fastnst` does not wait for torch."""
    if name in __all__:
        return getattr(import_module("fastnst.stylizer" if name == "Stylizer" else "fastnst.settings"), name)
    raise AttributeError(f"module 'fastnst' has no attribute {name!r}")
