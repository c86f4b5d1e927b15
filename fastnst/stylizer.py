"""The trained net at work: on an array, on a stream of frames, on a file."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor, nn

from fastnst.checkpoint import load_checkpoint
from fastnst.dials import dialled
from fastnst.engines.engine import on_engine
from fastnst.errors import ConfigError, EnvironmentFault
from fastnst.files import check_picture_target
from fastnst.images import load_image, save_image, to_float, to_uint8
from fastnst.mask import VideoMask, masked, picture_mask, pixels_of
from fastnst.mixing import Moving, Stop, check_related, fingerprint, mixed, stops_of
from fastnst.settings import LookSettings, VideoSettings, is_device
from fastnst.shots import Shot
from fastnst.tiles import Tiled
from fastnst.video.animation import ANIMATIONS, AnimationWriter
from fastnst.video.reader import Frames, VideoReader, scaled_size
from fastnst.video.writer import VideoWriter

log = logging.getLogger(__name__)

AnyNet = TypeVar("AnyNet", bound=nn.Module)

BATCH = {"cuda": 4}  # frames per pass; 1 on other devices, where more frames take more memory but no less time
PIXELS = 2**21  # per pass, if a GPU's memory does not set the limit: 1920x1080 goes through whole
BYTES = 2000  # of a GPU per pixel of a pass, for the larger net in half precision, with room to spare
HELD = 100  # bytes per pixel of a frame that is stylized in tiles, for the larger net in full precision
SMALLER = 4  # by which the tiles shrink where memory runs out


@dataclass(frozen=True)
class Summary:
    """What was done to a file.

    Attributes:
        path: where the result is.
        frames: of the result; 1 for a picture.
        width, height: of the result, pixels.
        seconds: wall time from opening the input to the checked result.
        fps: frames stylized per second, end to end.
        net_fps: frames stylized per second of the net alone.
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


class StyledStream(nn.Module):
    """A net that stylizes the frames of one stream in their order; `stream_of` makes one.

    All that is remembered of earlier frames is in here, and leaves and comes back by `memory` and `recall`.

    Args:
        net: the net, in tiles where frames are large.
        look: how it stylizes.
        net_moves: see `Shot`.

    Attributes:
        look: the dials in it, strength, color and scale, may be changed between two frames.
        remembers: whether a frame depends on earlier ones.
    """

    def __init__(self, net: Tiled, look: LookSettings, net_moves: bool = False) -> None:
        super().__init__()
        self.look = look
        self.shot = Shot(net, look.norm, look.texture, look.canvas_motion, look.smooth, net_moves)
        self.remembers = self.shot.remembers

    def forward(self, content: Float[Tensor, "time 3 height width"]) -> Float[Tensor, "time 3 height width"]:
        """Returns the frames stylized; they follow those of the call before."""
        return dialled(self.shot, self.look.strength, self.look.color, self.look.scale)(content)

    def reset(self) -> None:
        """Forgets all earlier frames."""
        self.shot.reset()

    def memory(self) -> dict[str, Tensor]:
        """Returns what is remembered, by name, for `recall`; nothing before the first frame."""
        return self.shot.memory()

    def recall(self, memory: Mapping[str, Tensor]) -> None:
        """Continues from what `memory` returned; what was remembered until now is forgotten."""
        self.shot.recall(memory)


def stream_of(net: nn.Module, look: LookSettings, max_pixels: int = PIXELS) -> StyledStream:
    """Returns what stylizes a stream of frames: the net, in tiles, the norm of the shot, the average, the dials.

    Args:
        net: maps (B, 3, H, W) in [0, 1] to the same shape and range; in tiles already, or not.
        look: how it stylizes.
        max_pixels: frames with more pixels are stylized in tiles, to the same result (`Tiled`).
    """
    return StyledStream(net if isinstance(net, Tiled) else Tiled(net, max_pixels), look)


class Stylizer:
    """Stylizes pictures and videos with a trained net.

    Args:
        net: maps (B, 3, H, W) in [0, 1] to the same shape and range; it is moved and, on a GPU, cast.
        device: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:1".
        style: the name that default outputs carry.
        max_pixels_per_pass: frames with more pixels are stylized in tiles, to the same result (`Tiled`); None chooses
            by the device and its memory.
        engine: what runs the net, see `on_engine`; tiles always run on eager PyTorch.

    Raises:
        ConfigError: `device` names no device, or `engine` no engine that takes the net.
        EnvironmentFault: this machine has no such device, or the engine is not installed.
    """

    def __init__(
        self,
        net: nn.Module,
        device: str = "auto",
        style: str = "stylized",
        max_pixels_per_pass: int | None = None,
        engine: str = "auto",
    ) -> None:
        self.device, self.style = find_device(device), style
        net = net.eval().requires_grad_(False).to(self.device)
        self._dtype, self._layout = torch.float32, torch.contiguous_format
        if self.device.type == "cuda":
            net = in_half_precision(net)
            self._dtype, self._layout = torch.float16, torch.channels_last
        net = on_engine(net, engine, self.device)
        self.net = Tiled(net, max_pixels_per_pass or pixels_per_pass(self.device))
        self.moving: Moving | None = None

    @classmethod
    def load(
        cls, name: str | Path, device: str = "auto", max_pixels_per_pass: int | None = None, engine: str = "auto"
    ) -> Stylizer:
        """Returns the stylizer of a checkpoint: a file, or the name of one that ships, `Stylizer.load("picasso")`.

        Args:
            name: the checkpoint, or a mixture of some, which may move: see `fastnst.mixing`.
            device: see the class, as `max_pixels_per_pass`.
            max_pixels_per_pass: from how large a frame it is stylized in tiles.
            engine: see the class.

        Raises:
            InputError: there is no such checkpoint, or it is damaged.
            ConfigError: the checkpoints cannot be mixed.
        """
        stops = stops_of(str(name))
        if len(stops) > 1:
            return cls.moving_over(stops, device, max_pixels_per_pass, engine)
        return cls.mixed(stops[0].shares, device, max_pixels_per_pass, engine)

    @classmethod
    def moving_over(
        cls,
        stops: Sequence[Stop],
        device: str = "auto",
        max_pixels_per_pass: int | None = None,
        engine: str = "auto",
    ) -> Stylizer:
        """Returns the stylizer of a style that moves from mixture to mixture; `move` says how far it is.

        Raises:
            InputError: a checkpoint does not exist or is damaged.
            ConfigError: the nets do not descend from one net, or have different shapes; the engine cannot do it.
        """
        if engine not in ("auto", "torch"):  # the others have the weights compiled in
            raise ConfigError(f"engine={engine} takes no style that moves; use engine=torch")
        check_related({name: load_checkpoint(name) for stop in stops for name in stop.shares})
        stylizers = [cls.mixed(stop.shares, device, max_pixels_per_pass, "torch") for stop in stops]
        states = [copy.deepcopy(each.net.state_dict()) for each in stylizers]
        stylizers[0].moving = Moving([stop.seconds for stop in stops], states)
        stylizers[0].style = "-to-".join(each.style for each in stylizers)[:100]
        return stylizers[0]

    @classmethod
    def mixed(
        cls,
        shares: Mapping[str, float],
        device: str = "auto",
        max_pixels_per_pass: int | None = None,
        engine: str = "auto",
    ) -> Stylizer:
        """Returns the stylizer of a mixture of checkpoints, by their shares: `{"picasso": 0.6, "wave": 0.4}`.

        Raises:
            InputError: a checkpoint does not exist or is damaged.
            ConfigError: the nets do not descend from one net, or have different shapes.
        """
        checkpoint = mixed(shares)
        return cls(checkpoint.net, device, checkpoint.style, max_pixels_per_pass, engine)

    def move(self, seconds: float) -> None:
        """Mixes the styles as they are at a time of the clip, if the style moves."""
        if self.moving is not None:
            self.net.load_state_dict(self.moving.at(seconds))

    def stream(self, look: LookSettings) -> StyledStream:
        """Returns what stylizes one stream of frames, for `frames`; it has seen none yet."""
        return StyledStream(self.net, look, self.moving is not None)

    @torch.inference_mode()
    def frames(
        self, pixels: UInt8[Tensor, "time 3 height width"], stream: StyledStream | None = None
    ) -> UInt8[Tensor, "time 3 height width"]:
        """Returns the frames stylized, 0-255 RGB, on the device of `pixels`.

        Where memory runs out, the frames are tried one by one, and a single one once more in smaller tiles; then tiles
        stay small.

        Args:
            pixels: the frames.
            stream: the stream that they continue, from `self.stream`. None: each frame is a picture of its own.

        Raises:
            EnvironmentFault: a single frame of this size does not fit the memory, in small tiles either.
        """
        stream = stream or self.stream(LookSettings().alone())
        stylized = self._stylized(pixels, stream)
        if stylized is None and len(pixels) > 1:
            return torch.cat([self.frames(frame, stream) for frame in pixels.split(1)])
        if stylized is None:
            height, width = pixels.shape[-2:]
            self.net.max_pixels = min(self.net.max_pixels, height * width) // SMALLER
            log.warning("out of memory on %s; continuing in tiles of %d pixels", self.device, self.net.max_pixels)
            stylized = self._stylized(pixels, stream)
            if stylized is None:
                raise EnvironmentFault(self._lacking(width, height))
        return stylized

    def _stylized(self, pixels: UInt8[Tensor, "time 3 height width"], stream: StyledStream) -> Tensor | None:
        """Returns the frames stylized; None where the memory does not hold them: the stream has then not seen them."""
        before = stream.memory()
        try:
            content = to_float(pixels.to(self.device, non_blocking=True)).to(self._dtype, memory_format=self._layout)
            return moved_to(pixels.device, to_uint8(stream(content)))
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if "memory" not in str(error):
                raise
        stream.recall(before)
        return None

    def _lacking(self, width: int, height: int) -> str:
        """Returns a message: how much memory a frame takes in tiles as small as they are now, and what would help."""
        tile = self.net.max_pixels
        needed = (HELD * width * height + BYTES * tile) / 1e9
        frame = f"a {width}x{height} frame needs about {needed:.2g} GB in tiles of {tile} pixels"
        remedy = f"max_pixels_per_pass={tile // SMALLER} or max_side={max(width, height) // 2}"
        return f"not enough memory on {self.device}: {frame}; try {remedy}"

    def image(
        self, array: UInt8[np.ndarray, "height width 3"], look: LookSettings | None = None
    ) -> UInt8[np.ndarray, "height width 3"]:
        """Returns an RGB picture, 0-255, stylized; of the `look`, strength, color, scale and texture matter."""
        pixels = torch.from_numpy(np.require(array, requirements=["C", "W"])).permute(2, 0, 1)[None]  # (1, 3, H, W)
        stream = self.stream((look or LookSettings()).alone())
        return self.frames(pixels, stream)[0].permute(1, 2, 0).contiguous().numpy()

    def video(
        self,
        source: str | Path | VideoReader,
        out: str | Path,
        settings: VideoSettings | None = None,
        progress: Callable[[int, int | None], None] = lambda done, total: None,
    ) -> Summary:
        """Stylizes a video file; timing, sound and what surrounds the pictures are kept.

        A frame that a constant frame rate shows again is not stylized again. With `resume`, the result is that of a run
        that was not interrupted: frames of the earlier part are kept up to a keyframe, and so is what the stream
        remembered of them.

        Args:
            source: the input: a file, or a reader that `settings.open` returned; it is closed at the end.
            out: the output, see `VideoWriter`.
            settings: what may be chosen; None: the defaults.
            progress: is told after each batch how many frames are done, and how many there are, or None.

        Raises:
            InputError, OutputError, EnvironmentFault, ConfigError: see `VideoReader` and `VideoWriter`.
        """
        settings, started = settings or VideoSettings(), perf_counter()
        stream = self.stream(settings)
        opened = source if isinstance(source, VideoReader) else settings.open(source)
        with ExitStack() as files:
            reader = files.enter_context(opened)
            mask = files.enter_context(VideoMask(reader, settings)) if settings.mask else None
            writer = files.enter_context(self._writer(out, reader, settings))
            reader.batch = 1 if self.moving else settings.batch or BATCH.get(self.device.type, 1)
            reader.pinned = self.device.type == "cuda"
            stream.recall({name: torch.from_numpy(each).to(self.device) for name, each in writer.memory.items()})
            done_before = writer.seen if stream.remembers else writer.kept
            work = Work(self, stream, done_before, reader.time_base, mask)
            for frames in reader:
                writer.write(work.stylized(frames), stream.memory())
                del frames  # one of 8K is 0.1 GB
                progress(work.done, reader.frame_count)
        return work.summary(out, writer.width, writer.height, perf_counter() - started, reader.damage)

    def _writer(self, out: str | Path, reader: VideoReader, settings: VideoSettings) -> VideoWriter | AnimationWriter:
        """Returns the writer of a stylized video; two runs with the same `made_of` stylize every frame alike."""
        if Path(out).suffix.lower() in ANIMATIONS:
            if settings.codec != "auto" or settings.resume:
                log.warning("'%s' is a picture that moves: codec= and resume= do not apply to it", out)
            return AnimationWriter(out, reader, settings.overwrite)
        nets = self.moving.states if self.moving else [self.net.state_dict()]
        made_of = {**identity(reader.path), "net": fingerprint(*nets), **settings.by_name(compared=True)}
        made_of |= {"moving": self.moving.stops} if self.moving else {}
        made_of |= {"mask_file": identity(Path(settings.mask))} if settings.mask else {}
        return VideoWriter(
            out,
            reader,
            overwrite=settings.overwrite,
            codec=settings.codec,
            gpu=self.device.type == "cuda",
            crf=settings.crf,
            preset=settings.preset,
            audio=settings.audio,
            made_of=made_of,
            resume=settings.resume,
        )

    def picture(self, source: str | Path, out: str | Path, settings: VideoSettings | None = None) -> Summary:
        """Stylizes a picture to the file `out`; `overwrite`, `max_side`, `background` and the dials matter.

        Raises:
            InputError: the picture cannot be read.
            OutputError: the output exists already, or cannot be written.
        """
        settings, started = settings or VideoSettings(), perf_counter()
        check_picture_target(Path(out), Path(source), settings.overwrite)
        picture = load_image(source, settings.background, log.warning)
        size = scaled_size(*picture.size, settings.max_side)
        if picture.size != size:
            picture = picture.resize(size, Image.Resampling.LANCZOS)
        begun = perf_counter()
        content = np.array(picture)
        stylized = self.image(content, settings)
        if settings.mask:
            mask = picture_mask(source, settings, *content.shape[:2])
            stylized = masked(pixels_of(content), pixels_of(stylized), mask)[0].permute(1, 2, 0).numpy()
        net_seconds = perf_counter() - begun
        save_image(stylized, out)
        return summary(out, 1, *size, perf_counter() - started, net_seconds)


class Work:
    """The frames of one video on their way through the net: which of them, how many, how long it takes.

    Args:
        stylizer: what stylizes them.
        stream: the stream that they are.
        done_before: how many first frames of the result need not be stylized: an earlier run did that.
        time_base: the unit of the frames' times, seconds.
        mask: where they are stylized; None: everywhere.

    Attributes:
        done: how many frames of the result are there.
    """

    def __init__(
        self,
        stylizer: Stylizer,
        stream: StyledStream,
        done_before: int,
        time_base: Fraction,
        mask: VideoMask | None = None,
    ) -> None:
        self._stylizer, self._stream, self._done_before = stylizer, stream, done_before
        self._time_base, self._start, self._mask = time_base, None, mask
        self.done, self._stylized, self._seconds = 0, 0, 0.0

    def stylized(self, frames: Frames) -> Frames:
        """Returns the next frames stylized, but for those that need not be."""
        self._start = frames.pts[0] if self._start is None else self._start
        ends = list(accumulate(frames.repeats, initial=self.done))[1:]
        self.done = ends[-1]
        skipped = sum(end <= self._done_before for end in ends)
        mask = self._mask and self._mask.next(*(frames.pixels.shape[axis] for axis in (0, 2, 3)))
        if skipped == len(ends):
            return frames
        begun = perf_counter()
        if frames.new_size and not skipped:
            self._stream.reset()
        self._stylizer.move(float((frames.pts[0] - self._start) * self._time_base))
        stylized = self._stylizer.frames(frames.pixels[skipped:], self._stream)
        self._seconds += perf_counter() - begun
        self._stylized += len(stylized)
        if mask is not None:
            stylized = masked(frames.pixels[skipped:], stylized, mask[skipped:])
        if skipped:
            stylized = torch.cat([frames.pixels[:skipped], stylized])
        return replace(frames, pixels=stylized)

    def summary(self, out: str | Path, width: int, height: int, seconds: float, damage: list[str]) -> Summary:
        """Returns what was done, after `seconds` in all."""
        made = summary(out, self._stylized, width, height, seconds, self._seconds)
        return replace(made, frames=self.done, damage=damage)


def summary(out: str | Path, frames: int, width: int, height: int, seconds: float, net_seconds: float) -> Summary:
    """Returns the summary of a result whose frames were all stylized, with its rates."""
    fps, net_fps = frames / max(seconds, 1e-9), frames / max(net_seconds, 1e-9)
    return Summary(str(out), frames, width, height, round(seconds, 2), round(fps, 2), round(net_fps, 2))


def moved_to(device: torch.device, pixels: Tensor) -> Tensor:
    """Returns the pixels on a device; a GPU writes them to pinned memory, which it does by itself."""
    if pixels.device.type != "cuda" or device.type != "cpu":
        return pixels.to(device)
    moved = torch.empty_like(pixels, device=device, pin_memory=True).copy_(pixels, non_blocking=True)
    torch.cuda.current_stream(pixels.device).synchronize()
    return moved


def in_half_precision(net: AnyNet) -> AnyNet:
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


def find_device(name: str) -> torch.device:
    """Returns the device that `name` stands for; "auto" is a GPU if there is one.

    Raises:
        ConfigError: it stands for none.
        EnvironmentFault: this machine has no such device.
    """
    is_device(name)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if int(index or 0) >= (count := devices_of(kind)):
        raise EnvironmentFault(f"device={name}: PyTorch finds {count} {kind.upper()} devices here; use device=auto")
    return torch.device(name)


def devices_of(kind: str) -> int:
    """Returns how many devices of a kind PyTorch finds here that the nets run on."""
    counts = {
        "cpu": lambda: 1,
        "cuda": torch.cuda.device_count,
        "mps": lambda: int(torch.backends.mps.is_available()),
        "xpu": torch.xpu.device_count,
    }
    return counts[kind]() if kind in counts else 0
