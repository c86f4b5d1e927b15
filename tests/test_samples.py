import pytest

from fastnst.errors import EnvironmentFault
from fastnst.samples import packaged


def test_clip_is_found_in_an_installed_package_without_importing_it():
    found = packaged("imageio-ffmpeg", "_utils.py")
    assert found.is_file()
    assert found.parent.name == "imageio_ffmpeg"


def test_missing_clip_says_what_to_install():
    for package, name in (("no-such-package", "x.mp4"), ("pytest", "x.mp4")):
        with pytest.raises(EnvironmentFault, match=f"pip install {package}"):
            packaged(package, name)
