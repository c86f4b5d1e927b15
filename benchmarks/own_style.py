"""How far a new style comes from the base, beside a training from scratch: PYTHONPATH=. python benchmarks/own_style.py.

For each picture two trainings with `train.py`: from scratch, STEPS long, and from the base, a tenth of that; for the
first picture a third one, from the base, STEPS long. The loss of each is what the finished net has on the photos set
aside. What is typed behind the name: the pictures, files that the base has not seen, and settings of `train.py`, such
as `data.root=photos`. Runs that are there already, below `runs/own_style`, are used. The table replaces the one between
the markers in RESULTS.md.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from speed import write_table

from fastnst.checkpoint import load_checkpoint

STEPS = 300
EVERY = 10  # validations of each run
LONGER = "from the base, longer"
ARMS = {
    "from scratch": ("null", STEPS),
    "from the base": ("base", STEPS // 10),
    LONGER: ("base", STEPS),
}
ROOT = Path(__file__).parent.parent


def trained(picture: Path, arm: str, settings: list[str]) -> dict[str, float]:
    """Returns the losses and minutes of one training; runs it if it has not been run."""
    init, steps = ARMS[arm]
    folder = ROOT / "runs" / "own_style" / f"{picture.stem}-{arm.replace(', ', ' ').replace(' ', '-')}"
    minutes, net = folder / "minutes.json", folder / f"{picture.stem}.ckpt"
    if not minutes.is_file():
        began = time.monotonic()
        subprocess.run([
            sys.executable, ROOT / "train.py", f"style.image={picture}", f"net.init={init}", f"run={folder}",
            f"trainer.max_steps={steps}", f"trainer.validate_every={steps // EVERY}", "overwrite=true", "wandb=false",
            *settings,
        ], check=True)  # fmt: skip
        minutes.write_text(json.dumps((time.monotonic() - began) / 60))
    losses = load_checkpoint(net).recipe["final"]
    names = {"style": "style_loss", "content": "content_loss", "temporal": "temporal_loss"}
    return {name: losses[f"val/{key}"] for name, key in names.items()} | {"minutes": json.loads(minutes.read_text())}


def main() -> None:
    """Trains what is missing, and writes the table."""
    pictures = [Path(argument) for argument in sys.argv[1:] if "=" not in argument]
    settings = [argument for argument in sys.argv[1:] if "=" in argument]
    lines = [
        "| picture | training | steps | minutes | style loss | content loss | temporal loss |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    chosen = [(picture, arm) for arm in ARMS for picture in (pictures[:1] if arm == LONGER else pictures)]
    found = {each: trained(*each, settings) for each in chosen}
    for (picture, arm), of in sorted(found.items(), key=lambda each: pictures.index(each[0][0])):
        lines.append(
            f"| {picture.stem} | {arm} | {ARMS[arm][1]} | {of['minutes']:.1f} | {of['style']:.3f} | "
            f"{of['content']:.2f} | {of['temporal']:.5f} |"
        )
    write_table("own style", lines)


if __name__ == "__main__":
    main()
