"""The trained net at work: on an array, on a stream of frames, on a file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor, nn

from fastnst.checkpoint import load_checkpoint
from fastnst.dials import Smooth, dialled
from fastnst.errors import ConfigError, EnvironmentFault
from fastnst.files import check_target
from fastnst.images import load_image, save_image, to_float, to_uint8
from fastnst.shots import ShotNorm
from fastnst.tiles import Tiled
from fastnst.video.reader import VideoReader, scaled_size
from fastnst.video.writer import VideoWriter

log = logging.getLogger(__name__)

BATCH = {"cuda": 4}  # frames per pass; 1 on other devices, where more frames take more memory but no less time
PIXELS = 2**21  # per pass, if a GPU's memory does not set the limit: 1920x1080 goes through whole
BYTES = 2000  # of a GPU per pixel of a pass, for the larger net in half precision, with room to spare
HELD = 100  # bytes per pixel of a frame that is stylized in tiles, for the larger net in full precision
SMALLER = 4  # by which the tiles shrink where memory runs out
NORMS = ("shot", "frame")  # where the statistics of instance norm come from, for video
Progress = Callable[[int, "int | None"], None]  # frames done, frames in all if known


@dataclass(frozen=True)
class Summary:
    """What was done to a file.

    Attributes:
        path: where the result is.
        frames: how many were stylized; 1 for a picture.
        width, height: of the result, pixels.
        seconds: wall time from opening the input to the checked result.
        fps: frames per second, end to end.
        net_fps: frames per second of the net alone.
        damage: what could not be read, a sentence each; empty for sound input.
    """

    path: str
    frames: int
    width: int
    height: int
    seconds: float
    fps: float
    net_fps: float
    damage: list[str] = field(default_factory=list)


class Stylizer:
    """Paints pictures and videos with a trained net.

    Args:
        net: maps (B, 3, H, W) in [0, 1] to the same shape and range; it is moved and, on a GPU, cast.
        device: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:1".
        style: the name that default outputs carry.
        strength: see `dialled`, as `color` and `scale`.
        color: whose colours.
        scale: of the frame that the net sees.
        max_pixels_per_pass: frames with more pixels are stylized in tiles, to the same result (`Tiled`); None chooses
            by the device and its memory.

    Raises:
        ConfigError: `device` names no device, or a dial is out of range.
        EnvironmentFault: this machine has no such device.
    """

    def __init__(
        self,
        net: nn.Module,
        device: str = "auto",
        style: str = "stylized",
        *,
        strength: float = 1.0,
        color: str = "style",
        scale: float = 1.0,
        max_pixels_per_pass: int | None = None,
    ) -> None:
        self.device, self.style = find_device(device), style
        net = net.eval().requires_grad_(False).to(self.device)
        self._dtype, self._layout = torch.float32, torch.contiguous_format
        if self.device.type == "cuda":
            net = in_half_precision(net)
            self._dtype, self._layout = torch.float16, torch.channels_last
        self.net = Tiled(net, max_pixels_per_pass or pixels_per_pass(self.device))
        self._dials: dict[str, Any] = {"strength": strength, "color": color, "scale": scale}
        dialled(self.net, **self._dials)  # out of range: now, not at the first frame

    @classmethod
    def load(cls, name: str | Path, device: str = "auto", **dials: Any) -> Stylizer:
        """Returns the stylizer of a checkpoint: a file, or the name of one that ships, `Stylizer.load("picasso")`.

        Args:
            name: the checkpoint.
            device: see the class, as `dials`.
            dials: strength, color, scale, max_pixels_per_pass.

        Raises:
            InputError: there is no such checkpoint, or it is damaged.
        """
        checkpoint = load_checkpoint(name)
        return cls(checkpoint.net, device, checkpoint.style, **dials)

    @torch.inference_mode()
    def frames(
        self, pixels: UInt8[Tensor, "time 3 height width"], net: nn.Module | None = None
    ) -> UInt8[Tensor, "time 3 height width"]:
        """Returns the frames stylized, 0-255 RGB, on the device of `pixels`.

        Where memory runs out, the frames are tried one by one, and a single one once more in smaller tiles; then tiles
        stay small.

        Args:
            pixels: the frames.
            net: what stylizes them instead of the plain net: a `ShotNorm` around it, which remembers the shot.

        Raises:
            EnvironmentFault: a single frame of this size does not fit the memory, in small tiles either.
        """
        net = self.net if net is None else net
        parts = parts_that_remember(net)
        remembered = [dict(part.__dict__) for part in parts]
        try:
            return self._stylized(pixels, net)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if "memory" not in str(error):
                raise
        for part, before in zip(parts, remembered, strict=True):  # what they have seen of these frames comes again
            part.__dict__.update(before)
        if len(pixels) > 1:
            return torch.cat([self.frames(frame, net) for frame in pixels.split(1)])
        height, width = pixels.shape[-2:]
        self.net.max_pixels = min(self.net.max_pixels, height * width) // SMALLER
        log.warning("out of memory on %s; going on in tiles of %d pixels", self.device, self.net.max_pixels)
        try:
            return self._stylized(pixels, net)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if "memory" not in str(error):
                raise
        raise EnvironmentFault(self._lacking(width, height))

    def _lacking(self, width: int, height: int) -> str:
        """Returns how much memory a frame takes in tiles as small as they are now, and what would help."""
        tile = self.net.max_pixels
        needed = (HELD * width * height + BYTES * tile) / 1e9
        frame = f"a {width}x{height} frame needs about {needed:.2g} GB in tiles of {tile} pixels"
        remedy = f"max_pixels_per_pass={tile // SMALLER} or max_side={max(width, height) // 2}"
        return f"not enough memory on {self.device}: {frame}; try {remedy}"

    def _stylized(self, pixels: UInt8[Tensor, "time 3 height width"], net: nn.Module) -> Tensor:
        content = to_float(pixels.to(self.device)).to(self._dtype, memory_format=self._layout)
        return to_uint8(dialled(net, **self._dials)(content)).to(pixels.device)

    def image(self, array: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
        """Returns an RGB picture, 0-255, stylized."""
        pixels = torch.from_numpy(np.require(array, requirements=["C", "W"])).permute(2, 0, 1)[None]  # (1, 3, H, W)
        return self.frames(pixels)[0].permute(1, 2, 0).contiguous().numpy()

    def video(
        self,
        path: str | Path,
        out: str | Path,
        *,
        overwrite: bool = False,
        strict: bool = False,
        batch: int | None = None,
        max_side: int | None = None,
        norm: str = "shot",
        smooth: float = 0.0,
        codec: str = "auto",
        crf: int = 18,
        preset: str | int | None = None,
        audio: str = "copy",
        background: str = "white",
        fps: str | float | None = None,
        resume: bool = False,
        progress: Progress = lambda done, total: None,
    ) -> Summary:
        """Stylizes a video file; timing, sound and what surrounds the pictures are kept.

        Args:
            path: the input.
            out: the output, see `VideoWriter`.
            overwrite: replace an existing output.
            strict: refuse damaged input instead of stylizing what can be read.
            batch: frames per pass of the net; None chooses by device.
            max_side: make larger frames smaller first, pixels of the longer side; None keeps the size.
            norm: where instance norm takes its statistics from: the "shot" so far (`ShotNorm`), or each "frame".
            smooth: weight of earlier frames where the input holds still, see `Smooth`; 0 is off.
            codec: see `VideoWriter`, as `crf` and `preset`; "auto" may be the GPU's where the net runs on one.
            crf: quality, lower is better.
            preset: the encoder's trade of speed for size.
            audio: what becomes of sound: "copy", "aac" or "none", see `VideoWriter`.
            background: what transparent video is laid on, see `VideoReader`.
            fps: a constant frame rate, see `VideoReader`; a frame that is shown again is not stylized again, and one
                that is not shown is not stylized. None keeps each frame's own time.
            resume: go on from the part that an earlier run with the same input and settings left, if there is one, to
                the result of a run that was not interrupted. Its frames are kept up to a keyframe, and so is what
                `norm="shot"` and `smooth` remembered of them.
            progress: called after each batch.

        Raises:
            InputError, OutputError, EnvironmentFault, ConfigError: see `VideoReader` and `VideoWriter`.
        """
        if norm not in NORMS:
            raise ConfigError(f"norm={norm} should be one of {', '.join(NORMS)}")
        started, net_seconds, done, painted = perf_counter(), 0.0, 0, 0
        net = ShotNorm(self.net) if norm == "shot" else self.net
        net = Smooth(net, smooth) if smooth else net
        batch = batch or BATCH.get(self.device.type, 1)
        remembering = parts_that_remember(net)
        settings = {"max_side": max_side, "norm": norm, "smooth": smooth, "background": background}
        settings |= {"crf": crf, "preset": preset, "fps": None if fps is None else str(fps)}
        made_of: dict[str, Any] = {**identity(Path(path)), "net": fingerprint(self.net), **self._dials, **settings}
        with (
            VideoReader(path, batch, max_side, strict, background, fps) as reader,
            VideoWriter(
                out,
                reader,
                overwrite=overwrite,
                codec=codec,
                gpu=self.device.type == "cuda",
                crf=crf,
                preset=preset,
                audio=audio,
                made_of=made_of,
                resume=resume,
            ) as writer,
        ):
            known = writer.seen if remembering else writer.kept  # frames that need not be painted again
            for part in remembering:
                part.recall(memory_for(part, writer.memory, self.device))
            for frames in reader:
                ends = list(accumulate(frames.repeats, initial=done))[1:]
                done = ends[-1]
                skipped = sum(end <= known for end in ends)
                if skipped < len(ends):
                    begun = perf_counter()
                    for part in remembering if frames.new_size and not skipped else ():
                        part.reset()
                    stylized = self.frames(frames.pixels[skipped:], net)
                    net_seconds += perf_counter() - begun
                    painted += len(stylized)
                    before = [frames.pixels[:skipped]] if skipped else []
                    frames = replace(frames, pixels=torch.cat([*before, stylized]) if before else stylized)
                    del before, stylized  # one of 8K is 0.1 GB
                writer.write(frames, memory_of(remembering))
                del frames
                progress(done, reader.frame_count)
        seconds = perf_counter() - started
        return summary(out, done, writer.width, writer.height, seconds, net_seconds, reader.damage, painted)

    def picture(
        self, path: str | Path, out: str | Path, *, overwrite: bool = False, max_side: int | None = None
    ) -> Summary:
        """Stylizes a picture to the file `out`.

        Raises:
            InputError: the picture cannot be read.
            OutputError: the output exists already, or cannot be written.
        """
        started = perf_counter()
        check_target(Path(out), Path(path), overwrite)
        picture = load_image(path)
        width, height = scaled_size(*picture.size, max_side)
        if picture.size != (width, height):
            picture = picture.resize((width, height), Image.Resampling.LANCZOS)
        begun = perf_counter()
        stylized = self.image(np.array(picture))
        net_seconds = perf_counter() - begun
        save_image(stylized, out)
        return summary(out, 1, width, height, perf_counter() - started, net_seconds, [])


def parts_that_remember(net: nn.Module) -> list[ShotNorm | Smooth]:
    """Returns the parts of a net that remember earlier frames."""
    return [part for part in net.modules() if isinstance(part, (ShotNorm, Smooth))]


def memory_of(parts: list[ShotNorm | Smooth]) -> dict[str, Tensor]:
    """Returns what the parts remember, under names that say whose it is."""
    return {f"{type(part).__name__}.{name}": each for part in parts for name, each in part.memory().items()}


def memory_for(part: ShotNorm | Smooth, memory: Mapping[str, np.ndarray], device: torch.device) -> dict[str, Tensor]:
    """Returns what in `memory` belongs to the part, on the device."""
    own = f"{type(part).__name__}."
    return {
        name.removeprefix(own): torch.from_numpy(each).to(device)
        for name, each in memory.items()
        if name.startswith(own)
    }


def in_half_precision(net: nn.Module) -> nn.Module:
    """Returns `net` cast to half precision, except instance norm, which takes means over whole frames."""
    net = net.half().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    for module in net.modules():
        if isinstance(module, nn.InstanceNorm2d):
            module.float()
            module.register_forward_pre_hook(lambda _, features: features[0].float())
            module.register_forward_hook(lambda *call: call[-1].half())
    return net


def pixels_per_pass(device: torch.device) -> int:
    """Returns how many pixels go through the net at once if nobody says."""
    return torch.cuda.get_device_properties(device).total_memory // BYTES if device.type == "cuda" else PIXELS


def identity(path: Path) -> dict[str, Any]:
    """Returns what tells a file from others without reading it; nothing if there is none."""
    return {"input": [path.name, path.stat().st_size, path.stat().st_mtime_ns]} if path.is_file() else {}


def fingerprint(net: nn.Module) -> str:
    """Returns what tells a net from others: a hash of its weights."""
    digest = sha256()
    for weights in net.state_dict().values():
        digest.update(weights.cpu().numpy().tobytes())
    return digest.hexdigest()


def find_device(name: str) -> torch.device:
    """Returns the device that `name` stands for; "auto" is a GPU if there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise ConfigError(f"device={name} is no device; use auto, cpu or cuda") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise EnvironmentFault(f"device={name}: PyTorch finds {count} CUDA devices here; use device=auto")
    return device


def summary(
    out: str | Path,
    frames: int,
    width: int,
    height: int,
    seconds: float,
    net_seconds: float,
    damage: list[str],
    painted: int | None = None,
) -> Summary:
    """Returns the summary with its rates, which are those of the frames that the net painted in this run."""
    painted = frames if painted is None else painted
    fps, net_fps = painted / max(seconds, 1e-9), painted / max(net_seconds, 1e-9)
    return Summary(str(out), frames, width, height, round(seconds, 2), round(fps, 2), round(net_fps, 2), damage)
