"""How fast the nets are, beside the plain loop that the field copies: PYTHONPATH=. python benchmarks/speed.py 640x360.

The plain loop: johnson in eager PyTorch, NCHW, float32, a frame at a time. All arms take turns in one process, so
that a busy machine slows all of them alike. `file CLIP` measures from file to file instead; there the plain
loop reads and writes with OpenCV. `growth` measures how cost grows with pixels and with frames, `around CLIP` what the
flow, the canvas and `smooth` add to a net, `encoder CLIP` what libx264 takes for a painted clip. The table replaces the
one between the markers in RESULTS.md.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
import torch
from torch import nn

from fastnst.engines.engine import chosen
from fastnst.errors import EnvironmentFault
from fastnst.net import PRESETS, ColoursConv, ConvNorm, EnlargingConv, StylizationNet, reflected_conv
from fastnst.settings import LookSettings, VideoSettings
from fastnst.stylizer import Stylizer
from fastnst.video.colour import from_rgb24
from fastnst.video.encoders import add_video_stream
from fastnst.video.reader import VideoReader

RESULTS = Path(os.environ.get("RESULTS") or Path(__file__).parent / "RESULTS.md")
ROUNDS, FRAMES = 3, 8  # turns of each arm, and frames in each turn: the statistics are measured in one of eight
GROWING_SIZES = ((320, 180), (640, 360), (1280, 720), (1920, 1080))
GROWING_COUNTS = (24, 96, 384, 768)  # frames
CODED = 75  # frames
REFERENCE = "plain loop, johnson"
TINY = "a net of 4 channels"
Arm = Callable[[], None]


class Times(NamedTuple):
    """Milliseconds a frame.

    Attributes:
        processor: median.
        low, high: the least and the most of the processor's time.
        wall: median.
    """

    processor: float
    low: float
    high: float
    wall: float


def net_of(preset: str) -> StylizationNet:
    """Returns an untrained net, which takes as long as a trained one."""
    torch.manual_seed(0)
    return StylizationNet.preset(preset, antialias=preset != "johnson", canvas=preset != "johnson").eval()


def engines() -> list[str]:
    """Returns the engines that work here."""
    found, net = [], net_of("lite")
    for name in ("openvino-bf16", "openvino", "onnxruntime", "torch"):
        with suppress(EnvironmentFault):
            found.append(chosen(name, net, torch.device("cpu")))
    return found


def in_plain_layers(net: StylizationNet) -> StylizationNet:
    """Returns the net, with the layers of tutorials in place of those that compute the same faster."""
    for layer in net.modules():
        if isinstance(layer, ConvNorm) and isinstance(ours := layer[0], EnlargingConv):
            conv = reflected_conv(ours.in_channels, ours.out_channels, 3)
            conv.load_state_dict(ours.state_dict())
            layer[0] = nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), conv)
    if isinstance(ours := net.decoder[-1], ColoursConv):
        net.decoder[-1] = reflected_conv(ours.in_channels, 3, 9)
        net.decoder[-1].load_state_dict(ours.state_dict())
    return net


def plain_net() -> StylizationNet:
    """Returns the net of the plain loop."""
    return in_plain_layers(net_of("johnson"))


@torch.inference_mode()
def plain_loop(net: StylizationNet, frames: torch.Tensor) -> None:
    """Stylizes the frames (T, 3, H, W), uint8, as tutorials do."""
    for frame in frames.split(1):
        (net(frame.float() / 255) * 255).clamp(0, 255).byte().cpu()


def picture_in_motion(height: int, width: int, count: int = FRAMES) -> torch.Tensor:
    """Returns frames (T, 3, H, W), uint8, of one shot."""
    coarse = torch.rand(1, 3, 9, 16)
    picture = (torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1) * 255).byte()
    return torch.cat([picture.roll(place, 3) for place in range(count)])  # unrelated ones would be cuts


def stream_arm(net: StylizationNet, engine: str, frames: torch.Tensor, device: str = "cpu") -> tuple[Arm, int]:
    """Returns what stylizes the frames as `live` does, and their number."""
    stylizer = Stylizer(net, device, engine=engine)
    stream = stylizer.stream(LookSettings(canvas_motion="fixed", smooth=0.0))
    return lambda: void(stylizer.frames(frames, stream)), len(frames)


def net_arms(height: int, width: int) -> dict[str, tuple[Arm, int]]:
    """Returns what is measured of the net alone, with the frames in each turn."""
    frames, reference = picture_in_motion(height, width), plain_net()
    arms: dict[str, tuple[Arm, int]] = {REFERENCE: (lambda: plain_loop(reference, frames[:1]), 1)}
    for preset in PRESETS:
        for engine in engines():
            arms[f"{preset}, {engine}"] = stream_arm(net_of(preset), engine, frames)
    return arms


def file_arms(clip: Path, folder: Path) -> dict[str, tuple[Arm, int]]:
    """Returns what is measured from file to file."""
    count = int(cv2.VideoCapture(str(clip)).get(cv2.CAP_PROP_FRAME_COUNT))
    reference = plain_net()
    arms: dict[str, tuple[Arm, int]] = {REFERENCE: (lambda: plain_file(reference, clip, folder / "plain.mp4"), count)}
    fast = [("lite", "openvino-bf16")] if "openvino-bf16" in engines() else []
    for preset, engine in [*((preset, "auto") for preset in PRESETS), *fast]:
        stylizer, name = Stylizer(net_of(preset), "cpu", engine=engine), f"{preset}, {engine}"
        out = folder / f"{name}.mp4"
        arms[name] = (lambda s=stylizer, out=out: void(s.video(clip, out, VideoSettings(overwrite=True))), count)
    return arms


def plain_file(net: StylizationNet, clip: Path, out: Path) -> None:
    """Stylizes a clip as tutorials do: OpenCV reads and writes, a frame at a time."""
    capture, writer = cv2.VideoCapture(str(clip)), None
    while (frame := capture.read()[1]) is not None:
        with torch.inference_mode():
            content = torch.from_numpy(frame[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 255
            stylized = (net(content)[0] * 255).clamp(0, 255).byte().permute(1, 2, 0).numpy()[..., ::-1]
        codec = cv2.VideoWriter.fourcc(*"mp4v")
        writer = writer or cv2.VideoWriter(str(out), codec, 25, (frame.shape[1], frame.shape[0]))
        writer.write(np.ascontiguousarray(stylized))
    if writer is not None:
        writer.release()


def around_arms(clip: Path) -> dict[str, tuple[Arm, int]]:
    """Returns what is measured around a net that is next to nothing, on the first frames of a clip, there and back."""
    with VideoReader(clip, batch=FRAMES, max_side=640) as reader:
        pixels = next(iter(reader)).pixels
    frames = torch.cat([pixels, pixels.flip(0)])
    net, smooth = StylizationNet((0, 4, 4), residual_blocks=1, canvas=True), LookSettings().smooth
    arms = {}
    for name, motion, amount in (
        (TINY, "fixed", 0.0), ("the canvas along the motion", "flow", 0.0),
        ("smooth", "fixed", smooth), ("both", "flow", smooth),
    ):  # fmt: skip
        stylizer = Stylizer(net, "cpu")
        stream = stylizer.stream(LookSettings(canvas_motion=motion, smooth=amount))  # pyright: ignore
        arms[name] = (lambda s=stylizer, stream=stream: void(s.frames(frames, stream)), len(frames))
    return arms


def encoder_rows(clip: Path) -> list[str]:
    """Returns the rows of a table: what libx264 takes, and gives, for the first frames of a clip, painted."""
    stylizer = Stylizer.load("picasso-lite")
    with VideoReader(clip, max_side=640) as reader:
        stream, frames = stylizer.stream(LookSettings()), []
        for each in islice(reader, CODED):
            pixels = stylizer.frames(each.pixels, stream)[0].permute(1, 2, 0).contiguous().numpy()
            frames.append(from_rgb24(pixels, "yuv420p"))
    coded: dict[tuple[str, int], bytes] = {}
    arms = {
        f"{preset} | {crf}": (lambda key=(preset, crf): coded.update({key: encoded(reader, frames, *key)}), len(frames))
        for preset, crf in (("medium", 18), ("faster", 18), ("veryfast", 18), ("veryfast", 17), ("superfast", 18))
    }
    rows = []
    for (name, times), film in zip(measured_ms(arms).items(), coded.values(), strict=True):
        rate = 8 * len(film) / len(frames) * float(reader.frame_rate) / 1e6
        with av.open(io.BytesIO(film), "r") as container:
            decoded = list(container.decode(video=0))
        made, wanted = (np.concatenate([luma_of(frame) for frame in each]) for each in (decoded, frames))
        ratio = cv2.PSNR(made, wanted)
        rows.append(f"| {name} | {times.processor:.1f} | {times.low:.1f}-{times.high:.1f} | {rate:.2f} | {ratio:.1f} |")
    return rows


def encoded(reader: VideoReader, frames: list[av.VideoFrame], preset: str, crf: int) -> bytes:
    """Returns the frames as H.264 in Matroska, with the settings of a render."""
    film = io.BytesIO()
    with av.open(film, "w", format="matroska") as container:
        stream = add_video_stream(container, reader, "libx264", crf, preset)
        for number, frame in enumerate(frames):
            frame.pts, frame.time_base = number, 1 / reader.frame_rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return film.getvalue()


def luma_of(frame: av.VideoFrame) -> np.ndarray:
    """Returns the luma of a 4:2:0 frame, (height, width) uint8."""
    return frame.to_ndarray()[: frame.height]


def growth_by_pixels() -> list[str]:
    """Returns the rows of a table: what a frame takes, by its size, of the net alone."""
    arms, pixels = {}, {}
    for preset in ("half", "lite"):
        for width, height in GROWING_SIZES:
            name = f"{preset} | {width}x{height}"
            arms[name], pixels[name] = (
                stream_arm(net_of(preset), "auto", picture_in_motion(height, width)),
                width * height,
            )
    return [
        f"| {name} | {each.processor:.0f} | {each.low:.0f}-{each.high:.0f} | "
        f"{1e6 * each.processor / pixels[name]:.0f} |"
        for name, each in measured_ms(arms).items()
    ]


def growth_by_frames() -> list[str]:
    """Returns the rows of a table: what a clip takes from file to file, by its length; each in a process of its own."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for count in GROWING_COUNTS:
            clip = Path(folder) / f"{count}.mp4"
            clip_of(picture_in_motion(360, 640), count, clip)
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                seconds, held = pool.apply(one_file, (clip, torch.get_num_threads()))
            rows.append(f"| {count} | {seconds:.1f} | {1000 * seconds / count:.0f} | {held:.2f} |")
    return rows


def one_file(clip: Path, threads: int) -> tuple[float, float]:
    """Returns the processor seconds that this process takes for a clip with `lite`, and the most memory it held, GB."""
    torch.set_num_threads(threads)
    stylizer = Stylizer(net_of("lite"), "cpu")
    begun = time.process_time()
    stylizer.video(clip, clip.with_suffix(".out.mp4"), VideoSettings(canvas_motion="fixed", smooth=0.0))
    spent = time.process_time() - begun
    held = re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())  # getrusage would tell the parent's
    return spent, int(held[1]) / 2**20 if held else float("nan")  # Linux counts KiB


def clip_of(frames: torch.Tensor, count: int, path: Path) -> None:
    """Writes so many frames to a video file, those given over and over."""
    height, width = frames.shape[-2:]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (width, height))
    for number in range(count):
        writer.write(frames[number % len(frames)].permute(1, 2, 0).flip(2).contiguous().numpy())
    writer.release()


def void(made: object) -> None:
    """Takes what an arm returns."""


def measured_ms(arms: dict[str, tuple[Arm, int]], rounds: int = ROUNDS) -> dict[str, Times]:
    """Returns what a frame takes in each arm; the arms take turns, so many after one that warms up."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in arms}
    for turn in range(rounds + 1):
        for name, (arm, frames) in arms.items():
            begun = time.process_time(), time.perf_counter()
            arm()
            if turn:  # the first of each warms up
                spent = time.process_time() - begun[0], time.perf_counter() - begun[1]
                times[name].append((1000 * spent[0] / frames, 1000 * spent[1] / frames))
    found = {}
    for name, each in times.items():
        processor, wall = zip(*each, strict=True)
        found[name] = Times(statistics.median(processor), min(processor), max(processor), statistics.median(wall))
    return found


def measured(arms: dict[str, tuple[Arm, int]]) -> list[str]:
    """Returns the rows of a table: processor and wall milliseconds a frame, medians, spread, times the plain loop."""
    times = measured_ms(arms)
    plain = times[REFERENCE].processor
    return [
        f"| {name} | {each.processor:.0f} | {each.low:.0f}-{each.high:.0f} | {each.wall:.0f} | "
        f"{plain / each.processor:.1f} |"
        for name, each in times.items()
    ]


def write_table(name: str, lines: list[str], page: Path = RESULTS) -> None:
    """Puts a table into a page, in place of the one of that name, or at its end; prints it."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    table = "\n".join([begin, "", *lines, "", end])
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    text = pattern.sub(lambda _: table, text) if begin in text else f"{text.rstrip()}\n\n{table}\n".lstrip()
    page.write_text(text, encoding="utf-8")
    print(table)


def main() -> None:
    """Measures each frame size, or the clip, that is named."""
    what = sys.argv[1:] or ["640x360"]
    head = ["| arm | processor, ms a frame | spread | wall, ms | times the plain loop |", "|---|---|---|---|---|"]
    about = f"{torch.get_num_threads()} threads, torch {torch.__version__}, median of {ROUNDS}, norm=shot."
    if what[0] == "file":
        with tempfile.TemporaryDirectory() as folder:
            rows = measured(file_arms(Path(what[1]), Path(folder)))
        return write_table(f"from file to file, {Path(what[1]).stem}", [about, "", *head, *rows])
    if what[0] == "around":
        times = measured_ms(around_arms(Path(what[1])))
        rows = [
            f"| {name} | {each.processor:.1f} | {each.low:.1f}-{each.high:.1f} | "
            f"{each.processor - times[TINY].processor:.1f} |"
            for name, each in times.items()
        ]
        head = ["| arm | processor, ms a frame | spread | above the net |", "|---|---|---|---|"]
        name = f"around the net, {Path(what[1]).stem}"
        return write_table(name, [f"At most 640 pixels wide or high; {about}", "", *head, *rows])
    if what[0] == "encoder":
        head = ["| preset | crf | processor, ms a frame | spread | Mbit/s | PSNR of luma, dB |", "|---" * 6 + "|"]
        name = f"the encoder, {Path(what[1]).stem}"
        return write_table(name, [f"At most 640 pixels wide or high; {about}", "", *head, *encoder_rows(Path(what[1]))])
    if what[0] == "growth":
        head = ["| net | frame | processor, ms a frame | spread | ns a pixel |", "|---|---|---|---|---|"]
        rows = growth_by_pixels()
        clips = ["| frames | processor, s | ms a frame | peak memory, GB |", "|---|---|---|---|", *growth_by_frames()]
        by_length = "From file to file by the length of a clip, lite, 640x360:"
        return write_table("growth", [f"The net alone by pixels, {about}", "", *head, *rows, "", by_length, "", *clips])
    for size in what:
        width, height = map(int, size.split("x"))
        write_table(f"speed {size}", [f"{size}, net alone, {about}", "", *head, *measured(net_arms(height, width))])
    return None


if __name__ == "__main__":
    main()
