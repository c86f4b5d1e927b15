"""Fast neural style transfer for video: `from fastnst import Stylizer`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastnst.stylizer import Stylizer

__all__ = ["Stylizer"]


def __getattr__(name: str) -> object:
    """Imports `Stylizer` when it is asked for, so that `import fastnst` does not wait for torch."""
    if name == "Stylizer":
        from fastnst.stylizer import Stylizer

        return Stylizer
    raise AttributeError(f"module 'fastnst' has no attribute {name!r}")
