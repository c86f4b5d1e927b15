"""What makes a net hold still, and at what price: trains the arms, judges them, prints the table.

    PYTHONPATH=. python benchmarks/temporal.py PHOTOS VIDEOS --out runs/temporal --steps 600 --size 128

First the `ARMS`, which differ in the temporal loss alone: same net, seed, steps and style. Then, for the best of them:
the `VARIANTS`, a second style beside its own `none`, what was `TRIED` with a strong temporal weight, the style weight
moved until the style loss is that of `none` within `MATCH`, and a `LONG` training beside a `none` as long. Everything
is judged under norm=frame and norm=shot.

An arm is a run of train.py in a folder of its own. Stop it whenever you like: the same command goes on where it was,
and does nothing over. Arms that this version cannot train yet are listed as not built. Results: results.json, table.md,
front.png, and changes.png, what changes from frame to frame where a camera stands still, in the folder.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from fastnst import cli
from fastnst.checkpoint import load_checkpoint
from fastnst.errors import ConfigError, FastnstError
from fastnst.evaluate.contenders import ClipFile, find_clips, known_grams, known_style_picture, net_rendition
from fastnst.evaluate.judge import METRICS, Grams, evaluate_clip, mean
from fastnst.evaluate.report import decimal, plot_front, rounded
from fastnst.files import replaced
from fastnst.images import save_image, to_array
from fastnst.settings import LookSettings, TrainSettings
from fastnst.stylizer import find_device
from fastnst.vgg import VGGFeatures, load_vgg

NORMS = ("shot", "frame")
MOTION = "temporal.motion"
NARROW = [f"{MOTION}.shift=4", f"{MOTION}.degrees=1", f"{MOTION}.zoom=0.02", f"{MOTION}.wave=0.5"]
WIDE = [f"{MOTION}.shift=12", f"{MOTION}.degrees=3", f"{MOTION}.zoom=0.06", f"{MOTION}.wave=1.5"]  # now the default
CLIPS = ["data=clips", "data.root={clips}"]  # the arms that need real frames see no photos
ARMS = {
    "none": ["temporal=none"],
    "none-clips": ["temporal=none", *CLIPS],  # what training on clips alone changes
    "previous": ["temporal=previous", *CLIPS],
    "noise": ["temporal=noise"],
    "motion": ["temporal=motion", *NARROW],
    "video": ["temporal=video", *CLIPS],
    "mixed": ["temporal=mixed", *NARROW],
}
VARIANTS = {  # of the best arm
    "weight150": ["temporal.weight=150"],  # with the arm itself, at 50, and the next one: the curve
    "weight400": ["temporal.weight=400"],
    "antialias": ["net.antialias=true"],
}
PLAIN = ("none", "none-clips")
SHARED = {"loss.style_weight": "5", "temporal.weight": "50"}  # of every arm that says nothing else
STRONG = ["temporal.weight=600"]
FIRST_TRIAL, MATCH, TRIALS = 10.0, 0.05, 3  # style weights that bring the style loss back to that of `none`
TRIED = {  # on top of the strong weight and the first of those; what helped, WIDE, is in every trial
    "": [],
    "-noise": ["temporal.sigma=[0.02,0.1]"],  # twice the noise
    "-antialias": ["net.antialias=true"],
    "-lowrate": ["trainer.tail=0.8"],  # the learning rate falls during four fifths of the run, not two
    "-wide-flat": [*WIDE, "data.flat=0.3"],
}
LONGER = ["trainer.max_steps=1000", "trainer.learning_rate=2e-3"]
LONG = {
    "none-long": ["temporal=none", *LONGER],
    "mixed-long": ["temporal=mixed", *STRONG, "loss.style_weight=12", *WIDE, *LONGER],
}
COLUMNS = {  # head: metric and decimals; behind them how many times less than `none`, of the last three
    "style": ("style_loss", 3), "content": ("content_loss", 3), "contrast": ("contrast", 1),
    "shift": ("motion_error_shift", 2), "/ input": ("static_flicker_ratio", 2),
    "static": ("static_flicker", 3), "warp - input": ("excess", 2), "noise 2": ("noise_gain_2", 2),
}  # fmt: skip
STRENGTHENED = 16  # times, in changes.png
GAINS = ("static_flicker", "excess", "noise_gain_2")


class Arm(NamedTuple):
    """One training.

    Attributes:
        name: of the arm, and of its folder.
        style: the style's name.
        overrides: what it sets for train.py beside what all arms share.
    """

    name: str
    style: str
    overrides: list[str]


class Bench:
    """The evidence as far as it goes, kept in `results.json`.

    Args:
        options: of the command line.

    Raises:
        ConfigError: the folder holds results of other settings.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.out = options, options.out
        self.clips = find_clips([str(options.videos)])
        options.fixed = options.fixed or list(self.clips)
        if unknown := set(options.fixed) - set(self.clips):
            raise ConfigError(f"--fixed: there is no clip '{unknown.pop()}' in '{options.videos}'")
        shared = ("photos", "clips", "videos", "steps", "size", "batch", "seed", "net", "precision", "style", "second")
        settings = {key: str(getattr(options, key)) for key in (*shared, "frames", "max_side")}
        self.found: dict[str, Any] = {"settings": settings, "seconds": {}, "numbers": {}}
        self.broken: dict[str, str] = {}  # arms that cannot be trained, and why: tried again the next time
        if (path := self.out / "results.json").exists():
            self.found = json.loads(path.read_text(encoding="utf-8"))
            if changed := [key for key in settings if self.found["settings"].get(key) != settings[key]]:
                raise ConfigError(f"'{self.out}' holds results of another {', '.join(changed)}; choose another --out")
        (self.out / "arms").mkdir(parents=True, exist_ok=True)

    def save(self) -> None:
        """Writes results.json."""
        with replaced(self.out / "results.json") as part:
            part.write_text(json.dumps(self.found, indent=1), encoding="utf-8")

    def numbers(self, name: str, norm: str = "shot") -> dict[str, float] | None:
        """Returns an arm's `METRICS`, means over the clips, and "excess", its warping error above the input's; or None.

        Where pixels hold still counts on the clips of a fixed camera only: under a moving one it is flat areas that do.
        """
        of_clips = self.found["numbers"].get(f"{name} {norm}", {})
        if not self.clips.keys() <= of_clips.keys():
            return None

        def joined(of: dict[str, Any], clips: Iterable[str]) -> dict[str, float]:
            of_input = self.found["numbers"]["input"]
            known = [
                [{key: math.nan if value is None else value for key, value in each[clip].items()} for clip in clips]
                for each in (of, of_input)
            ]
            return mean(*known)

        own, plain = joined(of_clips, self.clips), joined(self.found["numbers"]["input"], self.clips)
        fixed = joined(of_clips, self.options.fixed)
        still = {key: fixed[key] for key in ("static_flicker", "static_flicker_ratio")}
        return own | still | {"excess": own["absolute_warping_error_1"] - plain["absolute_warping_error_1"]}

    def plan(self) -> list[Arm]:
        """Returns the arms that the results so far call for."""
        style, second = self.options.style, self.options.second
        arms = [Arm(name, style, overrides) for name, overrides in ARMS.items()]
        best = self.best()
        if self.open(arms) or not best or not self.numbers(best) or not self.numbers("none"):
            return arms
        chosen = ARMS[best]
        arms += [Arm(f"{best}-{name}", style, [*chosen, *overrides]) for name, overrides in VARIANTS.items()]
        arms += [Arm(f"{name}-{second}", second, ARMS[name]) for name in ("none", best)]
        strong = [*chosen, *STRONG, f"loss.style_weight={FIRST_TRIAL:g}"]
        arms += [Arm(f"{best}-style{FIRST_TRIAL:g}{name}", style, [*strong, *more]) for name, more in TRIED.items()]
        return [*arms, *self.matching(best), *(Arm(name, style, overrides) for name, overrides in LONG.items())]

    def open(self, arms: list[Arm]) -> list[Arm]:
        """Returns the arms that are neither judged nor known not to work."""
        return [arm for arm in arms if arm.name not in self.broken and not self.numbers(arm.name)]

    def best(self) -> str | None:
        """Returns the arm that is steadiest for the style it has, or the one that was asked for."""
        if self.options.best or not self.numbers("none"):
            return self.options.best
        scores = {name: self.score(name) for name in ARMS if name not in PLAIN and self.numbers(name)}
        return min(scores, key=lambda name: scores[name], default=None)

    def score(self, name: str) -> float:
        """Returns the geometric mean of the three instabilities, times the style loss, each as a share of `none`'s."""
        own, plain = self.numbers(name) or {}, self.numbers("none") or {}
        shares = [max(own[key], 1e-3) / max(plain[key], 1e-3) for key in GAINS if not math.isnan(own[key] + plain[key])]
        return math.prod(shares) ** (1 / max(1, len(shares))) * own["style_loss"] / plain["style_loss"]

    def matching(self, best: str) -> list[Arm]:
        """Returns the trials so far, and the next one, of a style weight at which the style loss is that of `none`.

        The temporal weight is that of `STRONG`: a strong one costs style, and the style weight brings that back.
        """
        target = (self.numbers("none") or {})["style_loss"]
        trials: list[Arm] = []
        tried: list[tuple[float, float]] = []
        weight = FIRST_TRIAL
        while len(trials) < TRIALS:
            overrides = [*ARMS[best], *WIDE, *STRONG, f"loss.style_weight={weight:g}"]
            trials.append(Arm(f"{best}-style{weight:g}-wide", self.options.style, overrides))
            numbers = self.numbers(trials[-1].name)
            if not numbers or abs(numbers["style_loss"] / target - 1) <= MATCH:
                break
            tried.append((weight, numbers["style_loss"]))
            slope = -0.4  # of the logarithms, as a first guess; then what the trials say
            if len(tried) > 1:
                (before, loss_before), (after, loss_after) = tried[-2:]
                slope = min(-0.1, math.log(loss_after / loss_before) / math.log(after / before))
            factor = min(4.0, max(0.25, math.exp(math.log(target / tried[-1][1]) / slope)))
            weight = float(f"{tried[-1][0] * factor:.2g}")
        return trials

    def checkpoint(self, arm: Arm) -> Path:
        """Returns where the arm's finished net is, or will be."""
        return self.out / "arms" / arm.name / f"{arm.style}.ckpt"

    def train(self, arm: Arm) -> None:
        """Trains an arm, or goes on with it; an arm that does not work is noted."""
        options, folder = self.options, self.out / "arms" / arm.name
        overrides = [text.format(clips=options.clips) for text in arm.overrides]
        given = {text.partition("=")[0] for text in overrides}
        overrides += [f"{key}={value}" for key, value in SHARED.items() if key not in given]
        if any("{clips}" in text for text in arm.overrides) and not options.clips:
            self.broken[arm.name] = "needs --clips"
            return
        if not any(text.startswith("data=") for text in overrides):
            overrides.append(f"data.root={options.photos}")
        if "trainer.max_steps" not in given:
            overrides.append(f"trainer.max_steps={options.steps}")
        overrides += [
            f"style={arm.style}", f"net={options.net}", f"seed={options.seed}", f"trainer={options.trainer}",
            f"trainer.precision={options.precision}",
            f"trainer.image_size={options.size}", f"trainer.batch_size={options.batch}",
            f"trainer.validate_every={options.steps}", "trainer.save_every=50", "data.workers=1", "wandb=false",
            f"run={folder}", "resume=auto",
        ]  # fmt: skip
        try:
            cli.load(TrainSettings, overrides)
        except ConfigError as error:
            self.broken[arm.name] = f"not built: {cli.one_line(error)}"
            return
        print(f"{arm.name}: {' '.join(arm.overrides)}", file=sys.stderr, flush=True)
        began, root = time.monotonic(), Path(__file__).parent.parent
        environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
        with open(folder.with_suffix(".log"), "a", encoding="utf-8") as log:
            process = subprocess.Popen(
                [sys.executable, "train.py", *overrides], cwd=root, env=environment, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
            try:
                status = process.wait()
            except BaseException:
                process.send_signal(signal.SIGINT)  # once: it saves and stops after its step
                process.wait()
                raise
            finally:
                seconds = self.found["seconds"].get(arm.name, 0) + time.monotonic() - began
                self.found["seconds"][arm.name] = round(seconds)
                self.save()
        if status:
            last = folder.with_suffix(".log").read_text(encoding="utf-8").strip().splitlines()[-1:]
            self.broken[arm.name] = f"failed with status {status}: {' '.join(last)}"

    def judge(self, arms: list[Arm], vgg: VGGFeatures) -> None:
        """Judges finished arms under both norms, clip by clip, all of them side by side."""
        nets, grams = {}, {}
        of_style: dict[str, Grams | None] = {}
        for arm in arms:
            checkpoint = load_checkpoint(self.checkpoint(arm))
            if arm.style not in of_style:
                picture = known_style_picture(checkpoint, None, None)
                of_style[arm.style] = known_grams(picture, arm.style, vgg)
            for norm in NORMS:
                nets[f"{arm.name} {norm}"] = checkpoint.net.to(vgg.mean.device), norm
                grams[f"{arm.name} {norm}"] = of_style[arm.style]
        for clip, path in self.clips.items():
            todo = [key for key in nets if clip not in self.found["numbers"].get(key, {})]
            if not todo:
                continue
            print(f"judging {len(todo) // len(NORMS)} arms on {clip}", file=sys.stderr, flush=True)
            source = ClipFile(path, self.options.max_side, self.options.frames)
            renditions = {key: net_rendition(nets[key][0], LookSettings(norm=nets[key][1], smooth=0.0)) for key in todo}
            for key, numbers in evaluate_clip(source, renditions, vgg, grams).items():
                plain = {metric: rounded(numbers[metric]) for metric in METRICS}
                self.found["numbers"].setdefault(key, {})[clip] = plain
            self.save()

    def table(self) -> str:
        """Returns the results in Markdown: means over the clips, and the changes where the input holds still."""
        head = ["arm", "norm", *COLUMNS, "static", "warp", "noise"]
        cells, still, notes = [head], [["arm", "norm", *self.clips]], []
        for arm in self.plan():
            if arm.name in self.broken:
                notes.append(f"- {arm.name}: {self.broken[arm.name]}")
            for norm in NORMS:
                numbers = self.numbers(arm.name, norm)
                if not numbers:
                    continue
                none = "none" if arm.style == self.options.style else f"none-{arm.style}"
                none = "none-long" if arm.name in LONG else none
                plain = self.numbers(none, norm) or dict.fromkeys(numbers, math.nan)
                less = [f"{plain[key] / numbers[key]:.2f}x" if numbers[key] > 0 else "-" for key in GAINS]
                own = [decimal(numbers[key], digits) for key, digits in COLUMNS.values()]
                cells.append([arm.name, norm, *own, *(each.replace("nanx", "-") for each in less)])
                of_clips = self.found["numbers"][f"{arm.name} {norm}"]
                flicker = [of_clips[clip]["static_flicker"] for clip in self.clips]
                still.append([arm.name, norm, *("-" if value is None else f"{value:.3f}" for value in flicker)])
        if "input" in self.found["numbers"]:
            flicker = [self.found["numbers"]["input"].get(clip, {}).get("static_flicker") for clip in self.clips]
            still.insert(1, ["input", "", *("-" if value is None else f"{value:.3f}" for value in flicker)])
        settings = ", ".join(f"{key} {value}" for key, value in self.found["settings"].items())
        hours = sum(self.found["seconds"].values()) / 3600
        return "\n\n".join(
            [
                f"{settings}; {hours:.1f} hours of training; best arm: {self.best()}",
                "Means over the clips; the last three: how many times less than `none` of that style and norm.",
                cli.table(cells),
                "Change from frame to frame where the input holds still, grey levels, by clip:",
                cli.table(still),
                *(["\n".join(notes)] if notes else []),
            ]
        )

    def report(self) -> None:
        """Writes table.md, front.png, the first style's arms under norm=shot, and changes.png; prints the table."""
        text, style = self.table(), self.options.style
        with replaced(self.out / "table.md") as part:
            part.write_text(text + "\n", encoding="utf-8")
        judged = {arm.name: self.numbers(arm.name) for arm in self.plan() if arm.style == style}
        rows = [{"net": name, "clip": "mean", **numbers} for name, numbers in judged.items() if numbers]
        if rows:
            level = rows[0]["absolute_warping_error_1"] - rows[0]["excess"]
            rows.append({"net": "input", "clip": "mean", "style_loss": math.nan, "absolute_warping_error_1": level})
            plot_front(rows, {row["net"]: "one" for row in rows if row["net"] != "input"}, self.out / "front.png")
        arms = [Arm(name, style, []) for name in LONG]
        if all(self.checkpoint(arm).exists() for arm in arms):
            self.show_changes(arms)
        print(text)

    @torch.inference_mode()
    def show_changes(self, arms: list[Arm]) -> None:
        """Writes changes.png: of the first fixed clip the last frame, and how it differs from the one before it."""
        clip = ClipFile(self.clips[self.options.fixed[0]], self.options.max_side, self.options.frames)
        renditions = [
            net_rendition(load_checkpoint(self.checkpoint(arm)).net.cpu(), LookSettings(smooth=0.0)) for arm in arms
        ]
        before = now = []
        for frame in clip:
            before, now = now, [frame, *(each.next_frame(frame) for each in renditions)]
        columns = [
            torch.cat([picture, (STRENGTHENED * (picture - earlier).abs()).clamp(0, 1)], dim=2)
            for earlier, picture in zip(before, now, strict=True)
        ]
        save_image(to_array(torch.cat(columns, dim=3)[0]), self.out / "changes.png")


def main() -> None:
    """Trains and judges what is missing, then prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="folder of photos to train on")
    parser.add_argument("videos", type=Path, help="clips to judge on")
    parser.add_argument(
        "--clips", type=Path, help="folder of clips to train on, others than those: for video, previous"
    )
    parser.add_argument("--fixed", nargs="*", help="names of the clips whose camera stands still; default: all")
    parser.add_argument("--out", type=Path, default=Path("runs/temporal"))
    parser.add_argument("--style", default="picasso")
    parser.add_argument("--second", default="wave", help="the second style")
    parser.add_argument("--best", choices=sorted(ARMS), help="the arm to go on with; default: the best score")
    parser.add_argument("--net", default="half")
    parser.add_argument("--trainer", default="gpu" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", default="32-true", help="bf16-mixed is faster where the processor knows it")
    parser.add_argument("--judge-only", action="store_true", help="train nothing: what is finished is judged")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--size", type=int, default=128, help="training crops, pixels")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--frames", type=int, default=32, help="of each clip that is judged")
    parser.add_argument("--max-side", type=int, default=384, help="of the frames that are judged, pixels")
    options = parser.parse_args()
    for name in ("photos", "videos", "clips", "out"):
        if (path := getattr(options, name)) is not None:
            setattr(options, name, path.expanduser().resolve())
    torch.set_num_threads(options.threads)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))

    try:
        bench = Bench(options)
        vgg = load_vgg().to(find_device("auto"))
        while todo := bench.open(bench.plan()):
            for arm in todo:
                if bench.checkpoint(arm).exists():
                    continue
                if options.judge_only:
                    bench.broken[arm.name] = "not trained"
                else:
                    bench.train(arm)
            bench.judge([arm for arm in todo if arm.name not in bench.broken], vgg)
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on")
    except FastnstError as error:
        sys.exit(f"error: {cli.one_line(error)}")
    bench.report()


if __name__ == "__main__":
    main()
