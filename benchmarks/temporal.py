"""What makes a net hold still, and at what price: trains the arms, judges them, prints the table.

    PYTHONPATH=. python benchmarks/temporal.py data.root=PHOTOS net=lite trainer.max_steps=500 --clips FOLDER

`ARMS` differ in one thing each: same steps, seed, photos and settings. A flat picture is a steady one, so they are
compared at one style loss: an arm's style weight is moved until its style loss on the clips is that of `none` within
`MATCH`. What is typed behind the name are settings of train.py for all of them. Clips of a fixed camera tell how still
a net holds, those of a moving one how well it follows. The judge's flow is Farneback's; DIS carries the canvas.

A law sets constants of fastnst.canvas or net, in training and for the judge: --laws canvas.GRAINS=[4,8,16] adds an arm
that is `mixed-canvas` but for these. --arms and --styles choose which arms and styles there are.

Each training is a run of train.py in a folder of its own. Stop it whenever you like: the same command goes on where it
was, and does nothing over. Results: results.json and table.md in the folder.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import fastnst.net
from fastnst import canvas, cli
from fastnst.checkpoint import load_checkpoint
from fastnst.errors import ConfigError, FastnstError
from fastnst.evaluate.card import made_by
from fastnst.evaluate.contenders import ClipFile, find_clips, known_grams, known_style_picture, net_rendition
from fastnst.evaluate.judge import evaluate_clip, join
from fastnst.evaluate.report import decimal, rounded
from fastnst.files import replaced
from fastnst.settings import LookSettings
from fastnst.vgg import load_vgg

ROOT = Path(__file__).parent.parent
ARMS = {  # what each sets for train.py
    "none": ["temporal=none", "net.canvas=false"],
    "mixed": ["temporal=mixed", "net.canvas=false"],
    "mixed-canvas": ["temporal=mixed", "net.canvas=true"],
    "noise": ["temporal=noise", "net.canvas=false"],
}
TRAIN = "import sys; from benchmarks.temporal import law; from fastnst.training.__main__ import main\n"
TRAIN += "with law(sys.argv.pop(1)): main()"
SHARED = ["net.init=null", "wandb=false", "data.workers=1", "trainer.save_every=50", "resume=auto"]
CANVAS = "mixed-canvas"
MODULES = {"canvas": canvas, "net": fastnst.net}  # whose constants a law may set
PLAIN_WEIGHT, FIRST_WEIGHT = 5.0, 14.0  # style weights: of `none`, and of the first trial of another arm
MATCH, TRIALS = 0.05, 3
WARP, FLICKER = "absolute_warping_error_1", "static_flicker"
KEPT = ("style_loss", "content_loss", "contrast", FLICKER, WARP)
COLUMNS = {  # of the table, and their decimals
    "style loss": 3, "content loss": 2, "contrast": 1, "static": 3, "/ input": 2, "warp, fixed": 2, "warp, moving": 2,
}  # fmt: skip
LESS = ("static", "warp, fixed", "warp, moving")
ABOUT = """\
{settings}; {clips}; {frames} frames, longer side {max_side} px. Made by {made_by}.

`static`: change from frame to frame where the input holds still, grey levels, clips of a fixed camera; `/ input`: how
many times the input's. `warp`: change along the motion above the input's, grey levels. The last three: how many times
less than `none` of that style."""


class Net(NamedTuple):
    """One training.

    Attributes:
        style: the style's name.
        arm: one of `ARMS`, or a law.
        weight: of the style loss.
    """

    style: str
    arm: str
    weight: float

    @property
    def name(self) -> str:
        """Of its folder, and in results.json."""
        return re.sub(r"[^\w.]+", "-", f"{self.style}-{self.arm}-{self.weight:g}")


@contextmanager
def law(text: str) -> Iterator[None]:
    """Sets constants of `MODULES` for a while: "canvas.GRAINS=[4,8,16],net.EPSILON=1e-3"; of `ARMS` none."""
    changes = re.findall(r"(canvas|net)\.(\w+)=([^=]+)(?:,|$)", text)
    if not changes and text not in ARMS:
        raise ConfigError(f"--laws {text} should be like canvas.GRAINS=[4,8,16]")
    try:
        with ExitStack() as stack:
            for module, constant, value in changes:
                stack.enter_context(patch.object(MODULES[module], constant, json.loads(value)))
            forget_canvas()
            yield
    finally:
        forget_canvas()


def forget_canvas() -> None:
    """Draws the noise field anew when it is next needed."""
    canvas.field.cache_clear()
    canvas.fixed_canvas.cache_clear()


def next_weight(tried: Sequence[tuple[float, float]], target: float) -> float:
    """Returns the style weight that should bring the style loss to the target, by the last two trials.

    Args:
        tried: style weights and their style losses, at least one.
        target: the style loss.
    """
    slope = -0.4  # of the logarithms, as a first guess
    if len(tried) > 1:
        (before, loss_before), (after, loss_after) = tried[-2:]
        slope = min(-0.1, math.log(loss_after / loss_before) / math.log(after / before))
    weight, loss = tried[-1]
    return float(f"{weight * min(4.0, max(0.25, (target / loss) ** (1 / slope))):.2g}")


class Evidence:
    """What is trained and judged so far, kept in `results.json`.

    Args:
        options: of the command line.

    Raises:
        ConfigError: the folder holds results of other settings.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.out, self.clips = options, options.out.resolve(), find_clips(options.clips)
        of_judge = {"clips": [*self.clips], "frames": options.frames, "max_side": options.max_side}
        settings = {"train": [text for text in options.settings if not text.startswith("data.root=")], **of_judge}
        self.found: dict[str, Any] = {"settings": settings, "made_by": made_by(), "clips": {}}
        if (path := self.out / "results.json").exists():
            self.found = json.loads(path.read_text(encoding="utf-8"))
            if self.found["settings"] != settings:
                raise ConfigError(f"'{path}' holds results of {self.found['settings']}; choose another --out")
        self.out.mkdir(parents=True, exist_ok=True)

    def trials(self, style: str, arm: str, weight: float) -> list[Net]:
        """Trains and judges an arm, again and again if need be; returns its nets, the one to compare last.

        Args:
            style: the style's name.
            arm: one of `ARMS`, or a law.
            weight: the style weight to begin with.
        """
        target = 0.0 if arm == "none" else self.means(Net(style, "none", PLAIN_WEIGHT))["style loss"]
        nets: list[Net] = []
        while True:
            nets.append(Net(style, arm, weight))
            if nets[-1].name not in self.found["clips"]:
                self.train(nets[-1])
                self.judge(nets[-1])
            tried = [(net.weight, self.means(net)["style loss"]) for net in nets]
            if arm == "none" or len(nets) == TRIALS or abs(tried[-1][1] / target - 1) <= MATCH:
                return sorted(nets, key=lambda net: -abs(self.means(net)["style loss"] - target))
            weight = next_weight(tried, target)

    def train(self, net: Net) -> None:
        """Trains a net, or goes on with it."""
        folder = self.out / net.name
        if (folder / f"{net.style}.ckpt").exists():
            return
        overrides = [
            f"style={net.style}",
            f"loss.style_weight={net.weight:g}",
            f"run={folder}",
            *ARMS.get(net.arm, ARMS[CANVAS]),
        ]
        print(f"{net.name}: trains", file=sys.stderr, flush=True)
        with open(self.out / f"{net.name}.log", "a", encoding="utf-8") as log:
            command = [sys.executable, "-c", TRAIN, net.arm, *SHARED, *self.options.settings, *overrides]
            subprocess.run(command, cwd=ROOT, check=True, stdout=log, stderr=log)

    def judge(self, net: Net) -> None:
        """Judges a trained net, clip by clip."""
        print(f"{net.name}: is judged", file=sys.stderr, flush=True)
        vgg = load_vgg()
        with law(net.arm):  # the net is built with its constants
            checkpoint = load_checkpoint(self.out / net.name / f"{net.style}.ckpt")
        grams = {net.name: known_grams(known_style_picture(checkpoint, None, None), net.style, vgg)}
        found: dict[str, dict[str, Any]] = {net.name: {}, "input": {}}
        for clip, path in self.clips.items():
            rendition = net_rendition(checkpoint.net, LookSettings(smooth=0.0))._replace(probe=None)
            source = ClipFile(path, self.options.max_side, self.options.frames)
            with law(net.arm):
                judged = evaluate_clip(source, {net.name: rendition}, vgg, grams)
            for name, numbers in judged.items():
                found[name][clip] = {metric: rounded(numbers[metric]) for metric in KEPT}
        self.found["clips"] |= found
        with replaced(self.out / "results.json") as part:
            part.write_text(json.dumps(self.found, indent=1), encoding="utf-8")

    def of_clips(self, name: str, metric: str, fixed: Sequence[bool] = (True, False)) -> float:
        """Returns the mean of a metric over the clips of a fixed camera, a moving one (no static flicker), or both."""
        of_input, own = self.found["clips"]["input"], self.found["clips"][name]
        chosen = [clip for clip in self.clips if (of_input[clip][FLICKER] is not None) in fixed]
        return join(metric, [own[clip][metric] for clip in chosen])

    def means(self, net: Net) -> dict[str, float]:
        """Returns the `COLUMNS` of a net."""
        found = {f"{name} loss": self.of_clips(net.name, f"{name}_loss") for name in ("style", "content")}
        for name, fixed in ("warp, fixed", [True]), ("warp, moving", [False]):
            found[name] = self.of_clips(net.name, WARP, fixed) - self.of_clips("input", WARP, fixed)
        static, of_input = (self.of_clips(name, FLICKER, [True]) for name in (net.name, "input"))
        contrast = self.of_clips(net.name, "contrast")
        return found | {"contrast": contrast, "static": static, "/ input": static / of_input}

    def table(self, nets: Sequence[Net]) -> str:
        """Returns the results in Markdown."""
        rows = [["style", "arm", "style weight", *COLUMNS, *LESS]]
        for net in nets:
            own, plain = self.means(net), self.means(Net(net.style, "none", PLAIN_WEIGHT))
            rows.append([net.style, net.arm, f"{net.weight:g}"])
            rows[-1] += [decimal(own[name], digits) for name, digits in COLUMNS.items()]
            rows[-1] += [f"{plain[name] / own[name]:.1f}x" if own[name] > 0 else "-" for name in LESS]
        settings = self.found["settings"]
        words = {"settings": " ".join(settings["train"]), "clips": ", ".join(settings["clips"])}
        versions = ", ".join(f"{name} {version}" for name, version in self.found["made_by"].items())
        return f"{ABOUT.format(**(settings | words), made_by=versions)}\n\n{cli.table(rows)}"


def main() -> None:
    """Trains and judges what is missing, then prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="+", help="of train.py, for all arms: data.root=PHOTOS net=lite seed=1")
    parser.add_argument("--clips", nargs="+", required=True, help="to judge on: files or folders")
    parser.add_argument("--styles", nargs="+", default=["picasso", "wave"])
    parser.add_argument("--arms", nargs="+", default=[*ARMS], choices=ARMS, help="which; none is always there")
    parser.add_argument("--laws", nargs="+", default=[], help="canvas.GRAINS=[4,8,16] net.EPSILON=1e-3: see above")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "temporal")
    parser.add_argument("--frames", type=int, default=12, help="of each clip that is judged; losses: of the first")
    parser.add_argument("--max-side", type=int, default=384, help="of the frames that are judged, pixels")
    options = parser.parse_args()
    try:
        evidence, chosen, weight = Evidence(options), [], FIRST_WEIGHT
        for arm in dict.fromkeys(["none", *options.arms, *options.laws]):
            for style in options.styles:
                nets = evidence.trials(style, arm, PLAIN_WEIGHT if arm == "none" else weight)
                chosen.append(nets[-1])
                weight = weight if arm == "none" else nets[-1].weight  # the next search begins there
                table = evidence.table(sorted(chosen, key=lambda net: options.styles.index(net.style)))
                with replaced(evidence.out / "table.md") as part:
                    part.write_text(table + "\n", encoding="utf-8")
        print((evidence.out / "table.md").read_text(encoding="utf-8"))
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on")
    except (FastnstError, subprocess.CalledProcessError) as error:
        sys.exit(f"error: {cli.one_line(error)}")


if __name__ == "__main__":
    main()
