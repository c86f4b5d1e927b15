import subprocess
from pathlib import Path

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "gpu.sh"


def gpu(*arguments: object) -> tuple[int, str]:
    """Runs the script; returns exit status and stderr."""
    done = subprocess.run([SCRIPT, *map(str, arguments)], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def test_gpu_script_refuses_what_it_cannot_do_and_writes_nothing(tmp_path: Path):
    (tmp_path / "old").mkdir()
    for arguments, message in (
        (("pack", tmp_path / "new", tmp_path / "none"), "is no folder of photos"),
        (("pack", tmp_path / "old", tmp_path / "old"), "exists; give a new folder"),
        (("train", tmp_path / "old", tmp_path / "out"), "has no photos"),
        (("fly",), "benchmarks/gpu.sh pack FOLDER PHOTOS"),
    ):
        status, stderr = gpu(*arguments)
        assert status == 2
        assert message in stderr
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
