"""The settings of every command: their types, defaults, limits, and what they are for.

To add an option: write a field `name: type = option(default, "What it does, and when one wants it", low=.., high=..)`;
`Option` in `fastnst.schema` lists what else it can say. `--help`, the check and "did you mean" follow from that.
To add a command: write a class `NameSettings(Settings)`, a module whose `main(argv)` runs `cli.main(command,
NameSettings, USAGE, argv)`, and a row in `fastnst/__main__.py`; the command gets the checked object. A group of options
`x.y` is a class with `PREFIX = "x."`, named in the command's class as `x: XSettings = group(XSettings)`; if there is a
folder `conf/x/`, its files are the choices of `x=...`, and hold only what differs.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from fastnst.cli import listed
from fastnst.errors import ConfigError
from fastnst.files import local_name
from fastnst.schema import Settings, as_typed, group, option

if TYPE_CHECKING:
    from fastnst.video.reader import VideoReader


DEVICES = (  # kinds that PyTorch knows by name
    "cuda|mps|xpu|vulkan|meta|hpu|mtia|xla|ipu|maia|opencl|opengl|metal|hip|ve|fpga|lazy|privateuseone"
)


MOST_FRAMES = 24  # frames of a preview


def is_device(name: str) -> None:
    """Raises ConfigError if `device` is no device that the nets run on."""
    if not re.fullmatch(rf"auto|cpu|({DEVICES})(:\d{{1,3}})?", name):
        raise ConfigError(f"device={name} is no device; use auto, cpu, cuda, cuda:1, mps or xpu")


def is_colour(name: str) -> None:
    """Raises ConfigError if `background` is no colour."""
    from fastnst.video.colour import colour_named

    colour_named(name)


def is_rate(fps: str) -> None:
    """Raises ConfigError if `fps` is no frame rate."""
    from fastnst.video.reader import rate_named

    rate_named(fps)


def is_time(text: str) -> None:
    """Raises ConfigError if `start` or `end` is no time."""
    from fastnst.video.reader import time_named

    time_named(text)


def is_preview(text: str) -> None:
    """Raises ConfigError if `preview` is neither a number of frames nor times."""
    if re.fullmatch(r"\d+", text):
        if len(text) > 9 or not 1 <= int(text) <= MOST_FRAMES:
            raise ConfigError(f"preview={text} should be from 1 to {MOST_FRAMES} frames; for a time write {text}s")
        return
    from fastnst.video.reader import time_named

    times = text.split(",")
    if len(times) > MOST_FRAMES:
        raise ConfigError(f"preview has {len(times)} times; {MOST_FRAMES} at most")
    for time in times:
        time_named(time.strip())


def is_mixture(ckpt: str) -> None:
    """Raises ConfigError if `ckpt` names no net and no mixture of some."""
    from fastnst.mixing import stops_of

    stops_of(ckpt)


def are_styles(ckpt: str | tuple[str, ...]) -> None:
    """Raises ConfigError if `ckpt` lists no nets, or something that is neither a net nor a mixture that stays."""
    from fastnst.mixing import stops_of, styles_of

    is_list(ckpt, "ckpt")
    styles = styles_of(ckpt)
    for name in styles:
        first, *more = stops_of(name)
        if len(styles) > 1 and len(first.shares) == 1 and name not in first.shares:
            raise ConfigError(f"ckpt: '{name}' is one part of a mixture; each part has a share: picasso:0.6,wave:0.4")
        if more:
            raise ConfigError(f"ckpt={name} moves over a clip; name the styles, [picasso,wave], and press s to slide")


def must_be_file(video: str | tuple[str, ...]) -> None:
    """Raises ConfigError if `video` is a pipe, a camera's number or an address, and no file of that name."""
    if isinstance(video, str) and re.fullmatch(r"-|\d+|\w+://.*", video) and not os.path.lexists(video):
        remedy = f"for a pipe, a camera or an address: python -m fastnst.live video={video} ckpt=picasso"
        raise ConfigError(f"video={video} is no file; {remedy}")


def is_size(size: str) -> None:
    """Raises ConfigError if `size` is not a width and a height."""
    if not re.fullmatch(r"[1-9]\d{0,4}x[1-9]\d{0,4}", size):
        raise ConfigError(f"size={size} must be like 640x360")


@dataclass(frozen=True, kw_only=True)
class DeviceSettings(Settings):
    """Where it runs."""

    device: str = option(
        "auto",
        "auto: an NVIDIA or AMD GPU if there is one; or cpu, cuda, cuda:1, mps, xpu",
        may_change=True,
        check=is_device,
    )
    threads: int | None = option(
        None, "CPU threads; fewer leave the machine to others; null: all cores",
        low=1, high=1024, may_change=True,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class MachineSettings(DeviceSettings):
    """Where the net runs, and on what."""

    engine: Literal["auto", "torch", "compile", "onnxruntime", "openvino", "openvino-bf16", "tensorrt"] = option(
        "auto", "what runs the net; auto: the fastest that is installed, on a CPU OpenVINO; openvino-bf16: half as "
        "fast again, on a CPU with bfloat16, and off by a grey level here and there; tensorrt: on an NVIDIA GPU, "
        "through ONNX Runtime", may_change=True,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class LookSettings(Settings):
    """How a trained net stylizes a stream of frames: what can be turned without training again."""

    strength: float = option(1.0, "0 is the input, 1 the style in full; less where faces must stay", low=0, high=1)
    color: Literal["style", "content"] = option(
        "style", "whose colours: the style picture's, or the input's: then only light and dark are stylized"
    )
    scale: float = option(
        1.0, "of the frame that the net sees: 0.5 makes strokes twice as broad, and is four times as fast",
        low=0.1, high=4,
    )  # fmt: skip
    norm: Literal["shot", "frame"] = option(
        "shot", "statistics of instance norm: of the shot so far, which holds still; or of each frame alone"
    )
    texture: float = option(
        0.75, "strokes on flat areas: 0 leaves walls and skies calm, 1.5 is full; for nets with a canvas",
        low=0, high=1.5,
    )  # fmt: skip
    canvas_motion: Literal["flow", "fixed"] = option(
        "flow", "strokes on flat areas move along with the picture; fixed is faster, for a camera that never moves"
    )
    smooth: float = option(
        0.9, "average over time, along the motion of the input; less follows soft changes of light faster; 0 is off, "
        "each frame as the net stylizes it", low=0, high=1,
    )  # fmt: skip

    def alone(self) -> Self:
        """Returns the look of a picture on its own: nothing is remembered, and nothing moves."""
        return replace(self, norm="frame", canvas_motion="fixed", smooth=0.0)


@dataclass(frozen=True, kw_only=True)
class VideoSettings(LookSettings):
    """How a video file becomes a stylized one."""

    overwrite: bool = option(False, "replace an output that exists", may_change=True)
    resume: bool = option(
        False, "continue from the part that an interrupted run with the same settings left", may_change=True
    )
    strict: bool = option(False, "refuse damaged input instead of stylizing what can be read", may_change=True)
    batch: int | None = option(
        None, "frames per pass of the net; null: 4 on a GPU, 1 on a CPU", low=1, high=256, may_change=True
    )
    max_side: int | None = option(
        None, "make larger frames smaller first: pixels of the longer side; null keeps the size", low=16, high=16384
    )
    background: str = option(
        "white", "what transparent video and pictures are laid on: the name of a colour, or #rrggbb", check=is_colour
    )
    fps: str | None = option(
        None, "constant frame rate: 25, 29.97, 30000/1001; frames are repeated or dropped; null keeps their times",
        check=is_rate,
    )  # fmt: skip
    start: str | None = option(
        None, "begin there: seconds, or a timestamp as 1:02.5; sound and subtitles are cut with the frames; "
        "null: at the beginning", check=is_time,
    )  # fmt: skip
    end: str | None = option(None, "end there, before the frame of that time; null: at the end", check=is_time)
    mask: str | None = option(
        None, "stylize only where it is white: a picture, or a video of the same length and frame rate; or alpha: "
        "where the input is opaque"
    )  # fmt: skip
    mask_invert: bool = option(False, "stylize only where the mask is black")
    codec: str = option(
        "auto",
        "H.264, by the GPU if it can, or VP9 in .webm; or any encoder of FFmpeg: libx265, h264_nvenc, libsvtav1, ffv1",
    )
    crf: int = option(18, "quality: 0 is best, 51 worst (63 for VP9 and AV1)", low=0, high=63)
    preset: str | None = option(
        None, "the encoder's trade of speed for size: ultrafast ... veryslow for libx264, where null is veryfast; "
        "0 ... 13 for libsvtav1"
    )  # fmt: skip
    audio: Literal["copy", "aac", "none"] = option(
        "copy", "sound: copy, bit for bit where the container can hold it; aac, encoded again; none", may_change=True
    )

    def open(self, path: str | Path) -> VideoReader:
        """Returns a reader of the video file that reads it as these settings say."""
        from fastnst.video.reader import VideoReader

        look = self.max_side, self.strict, self.background, self.fps
        return VideoReader(path, self.batch or 1, *look, *self.part)

    @property
    def part(self) -> tuple[float, float]:
        """When the part that is stylized begins and ends, seconds."""
        from fastnst.video.reader import time_named

        start = 0.0 if self.start is None else time_named(self.start)
        return start, float("inf") if self.end is None else time_named(self.end)

    def check(self) -> None:
        """Raises ConfigError if the part ends before it begins."""
        if self.part[0] >= self.part[1]:
            raise ConfigError(f"end={self.end} must be after start={self.start or 0}")


@dataclass(frozen=True, kw_only=True)
class InferSettings(VideoSettings, MachineSettings):
    """Settings of `infer`: which files are stylized, by which net, and how."""

    video: str | tuple[str, ...] = option(
        None, "what to stylize: a video or a picture; many: [a.mp4,b.mp4], a folder, or a glob like 'clips/*.mp4'",
        may_change=True, example="in.mp4", check=must_be_file,
    )  # fmt: skip
    ckpt: str = option(
        None, "the trained net: a file, or the name of one that ships (picasso); or a mixture of styles, "
        "picasso:0.6,wave:0.4, which may move over the clip: 'picasso@0s -> wave@10s'",
        may_change=True, example="checkpoints/picasso.ckpt", check=is_mixture,
    )  # fmt: skip
    out: str | None = option(
        None, "where to: .mp4, .mov, .mkv or .webm, or a folder; null: <name>_<style>.mp4 beside the input",
        may_change=True,
    )  # fmt: skip
    max_pixels_per_pass: int | None = option(
        None, "larger frames are stylized in tiles, to the same result; null: 2 million, or by the memory of the GPU",
        low=10_000, high=10**9, may_change=True,
    )  # fmt: skip
    preview: str | None = option(
        None, "before a long run: stylize only the frame at a time, 00:12.5, or 3 frames spread over the video, to a "
        "PNG beside the output, and say what the whole would take",
        may_change=True, check=is_preview,
    )  # fmt: skip
    report: Literal["text", "json"] = option(
        "text", "what is printed at the end; json, for programs: one line on standard output", may_change=True
    )


Layer = Literal[
    "relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1", "relu3_2", "relu3_3", "relu4_1", "relu4_2", "relu4_3"
]  # of VGG-16
WEIGHT = 1e9  # the largest weight of a loss
LARGEST_SEED = 2**32 - 1  # the largest that NumPy takes
PLAIN_NAME = re.compile(r"[\w-][\w.-]{0,59}")  # what a folder and a file can be called, and that leads nowhere else


def is_plain_name(name: str) -> None:
    """Raises ConfigError if `style.name` cannot be the name of a folder."""
    if not PLAIN_NAME.fullmatch(name):
        raise ConfigError(f"style.name={as_typed(name)} must be letters, digits, '.', '_' and '-', at most 60")


@dataclass(frozen=True, kw_only=True)
class ExportSettings(Settings):
    """Settings of `export`: a trained net as a file for other programs."""

    ckpt: str = option(None, "the trained net: a file, or the name of one that ships", example="picasso")
    format: Literal["onnx", "openvino", "pt2"] = option(
        "onnx", "onnx: for most runtimes, phones and browsers; openvino: for Intel's; pt2: for PyTorch"
    )
    out: str | None = option(None, "where to; null: the name of the net, here")
    overwrite: bool = option(False, "replace a file that exists")
    size: str | None = option(
        None, "1280x720: for this size alone, with the canvas in the file; null: any size, the canvas is an input",
        check=is_size,
    )  # fmt: skip
    pixels: Literal["float", "uint8"] = option(
        "float",
        "float: (batch, 3, height, width), RGB from 0 to 1; uint8: (batch, height, width, 3), RGB from 0 to 255",
    )
    norm_from: str | None = option(
        None, "a video like those to come: its statistics are kept in the file, which is faster and holds still"
    )

    @property
    def shape(self) -> tuple[int, int] | None:
        """Height and width, pixels; None for any."""
        if self.size is None:
            return None
        width, height = map(int, self.size.split("x"))
        return height, width


@dataclass(frozen=True, kw_only=True)
class StyleSettings(Settings):
    """The style picture."""

    PREFIX = "style."
    name: str = option("picasso", "the drawn picture that ships under this name", check=is_plain_name, may_change=True)
    image: str | None = option(None, "a picture of yours instead; its file name then names the style", may_change=True)
    images: tuple[str, ...] | None = option(
        None, "several pictures, drawn ones or yours, for one net that knows them all; ckpt=NET:NAME takes one style",
        may_change=True,
    )  # fmt: skip
    size: int = option(384, "pixels of its shorter side: larger makes broader strokes", low=64, high=4096)


@dataclass(frozen=True, kw_only=True)
class NetSettings(Settings):
    """The net."""

    PREFIX = "net."
    preset: Literal["johnson", "half", "lite"] = option(
        "half", "johnson: as in the paper, 1.7 million parameters; half: a quarter of the work; lite: for live video"
    )
    antialias: bool = option(True, "blur before each stride: as steady at 5 % less style loss, for a little more work")
    canvas: bool = option(
        True, "a noise field as fourth input, so that strokes on flat walls have something to hold on to"
    )
    init: str | None = option(
        "base", "a trained net to begin from; base, of many styles, shortens the training; null: from scratch",
        may_change=True,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class MotionSettings(Settings):
    """The made-up motion between a photo and its next frame: each the largest value that is drawn."""

    PREFIX = "temporal.motion."
    shift: float = option(12.0, "pixels along each axis", low=0, high=1000)
    degrees: float = option(3.0, "rotation about the centre", low=0, high=180)
    zoom: float = option(0.06, "relative change of size", low=0, high=0.9)
    wave: float = option(1.5, "pixels, deviation of a smooth random field that bends the photo", low=0, high=100)
    gain: float = option(0.1, "relative change of contrast", low=0, high=1)
    brightness: float = option(0.03, "change of brightness, of the range from 0 to 1", low=0, high=1)


@dataclass(frozen=True, kw_only=True)
class TemporalSettings(Settings):
    """What makes the net hold still."""

    PREFIX = "temporal."
    pair: Literal["none", "noise", "motion", "mixed", "video", "previous"] = option(
        "mixed",
        "the next frame of a photo is: the photo with noise; moved by a known flow; one of these (of clips, also what "
        "followed); what followed in the clip; the same as if nothing moved; or there is none",
    )
    weight: float = option(
        600.0, "of the temporal loss, 60 times loss.style_weight: where a style stays pale raise both, where it boils "
        "raise this one",
        low=0, high=WEIGHT,
    )  # fmt: skip
    ramp: tuple[float, float] = option(
        (0.0, 0.25), "parts of the run between which the weight rises from 0: the style comes first",
        low=0, high=1, ordered=True,
    )  # fmt: skip
    sigma: tuple[float, float] = option(
        (0.01, 0.05), "lowest and highest noise level, of the range from 0 to 1: raise it for noisy cameras",
        low=0, high=1, ordered=True,
    )  # fmt: skip
    patterns: tuple[Literal["sparse", "gaussian", "correlated", "jpeg"], ...] = option(
        ("sparse", "gaussian", "correlated", "jpeg"), "kinds of noise to draw from"
    )
    motion: MotionSettings = group(MotionSettings)


@dataclass(frozen=True, kw_only=True)
class DataSettings(Settings):
    """What is trained on."""

    PREFIX = "data."
    source: Literal["folder", "sample", "clips"] = option(
        "folder", "a folder of photos; the photos that pip packages carry; or a folder of video clips", may_change=True
    )
    root: str | None = option("data/train2017", "the folder, with its subfolders", may_change=True)
    clips: str | None = option(
        None, "a folder of video clips beside the photos: half of the crops are then of their frames, with real motion",
        may_change=True,
    )  # fmt: skip
    download: bool = option(False, "fetch COCO train2017, 18 GB, into the root first", may_change=True)
    url: str = option("http://images.cocodataset.org/zips/train2017.zip", "the zip to fetch", may_change=True)
    flat: float = option(
        0.2, "share of the crops that are made like flat footage, of low contrast, too bright or dark, out of focus: "
        "steadier on walls, skies and soft footage",
        low=0, high=1,
    )  # fmt: skip
    max_bad: float = option(
        0.01, "share of unusable files up to which the rest is trained on", low=0, high=1, may_change=True
    )
    workers: int = option(
        -1, "processes that read; 0: none; -1: one per CPU core but one, 8 at most", low=-1, high=256, may_change=True
    )
    validation: int = option(4, "photos that are set aside to validate with", low=1, high=1000)

    def check(self) -> None:
        """Raises ConfigError if there is no folder to read."""
        if self.source != "sample" and not self.root:
            raise ConfigError(
                "data.root is missing; write data.root=FOLDER, or data=sample for photos from pip packages"
            )


@dataclass(frozen=True, kw_only=True)
class TrainerSettings(Settings):
    """How it is trained."""

    PREFIX = "trainer."
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = option(
        "auto", "what computes; auto: a GPU if there is one", may_change=True
    )
    devices: int = option(1, "how many of them", low=1, high=1024, may_change=True)
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = option(
        "bf16-mixed", "of the numbers; the losses are in float32 all the same"
    )
    image_size: int = option(256, "side of the training crops, pixels", low=64, high=2048)
    batch_size: int = option(8, "crops per step, over all devices together", low=1, high=4096)
    max_steps: int = option(40000, "length of the run", low=1, high=10**8)
    learning_rate: float = option(1e-3, "of Adam, until the tail; lower it where training diverges", above=0, high=1)
    tail: float = option(0.4, "part of the run, at its end, in which the learning rate falls", low=0, high=1)
    clip_norm: float = option(10.0, "the gradient is made no longer than this", above=0, high=WEIGHT)
    ema: float = option(
        0.99, "the finished net is an average over steps: weight of the past in it; 0: the last step alone",
        low=0, high=0.9999,
    )  # fmt: skip
    validate_every: int = option(1000, "steps", low=1, high=10**8)
    save_every: int = option(1000, "steps", low=1, high=10**8, may_change=True)

    def check(self) -> None:
        """Raises ConfigError if the devices cannot share a batch."""
        if self.batch_size % self.devices:
            raise ConfigError(f"trainer.batch_size={self.batch_size} must be a multiple of {self.devices} devices")


STRUCTURE_LAYER: Layer = "relu4_3"  # of VGG-16; sees things of 100 pixels, and blocks of 8


@dataclass(frozen=True, kw_only=True)
class LossSettings(Settings):
    """What the net learns, beside holding still."""

    PREFIX = "loss."
    content_layer: Layer = option("relu2_2", "of VGG-16; relu3_3 keeps less detail and leaves the style more room")
    style_layers: tuple[Layer, ...] = option(
        ("relu1_2", "relu2_2", "relu3_3", "relu4_3"), "of VGG-16; later ones see larger shapes"
    )
    content_weight: float = option(0.5, "raise it to keep more of the photo's edges and grain", low=0, high=WEIGHT)
    structure_weight: float = option(
        40.0, "raise it for things that can be told apart: what is alike in the photo is painted alike",
        low=0, high=WEIGHT,
    )  # fmt: skip
    style_weight: float = option(
        10.0, "raise it for more style, and temporal.weight by the same factor", low=0, high=WEIGHT
    )
    tone_weight: float = option(
        2.0, "raise it for light and dark as in the photo, so that figures can be told from what is behind them",
        low=0, high=WEIGHT,
    )  # fmt: skip
    palette_weight: float = option(
        20.0, "raise it for the colours of the style, each as much as there; 0: as the style loss likes",
        low=0, high=WEIGHT,
    )  # fmt: skip
    tv_weight: float = option(1.0, "raise it for smoother areas", low=0, high=WEIGHT)

    @property
    def weights(self) -> dict[str, float]:
        """The weights of the losses, by the losses' names."""
        return {
            "content_loss": self.content_weight,
            "structure_loss": self.structure_weight,
            "style_loss": self.style_weight,
            "tone_loss": self.tone_weight,
            "palette_loss": self.palette_weight,
            "tv_loss": self.tv_weight,
        }

    @property
    def content_layers(self) -> frozenset[Layer]:
        """Layers that contents are compared at."""
        return frozenset({self.content_layer, STRUCTURE_LAYER})

    @property
    def layers(self) -> frozenset[Layer]:
        """Layers that stylized pictures are compared at."""
        return self.content_layers.union(self.style_layers)


@dataclass(frozen=True, kw_only=True)
class TrainSettings(Settings):
    """Settings of `train`: one net for one style."""

    seed: int = option(0, "another one gives another net of the same kind", low=0, high=LARGEST_SEED)
    run: str | None = option(
        None, "folder of the run: checkpoints, metrics, pictures, the finished net; null: runs/STYLE",
        may_change=True,
    )  # fmt: skip
    resume: str | None = option(
        None, "auto continues the run in that folder, if there is one; or the path of a last.ckpt",
        may_change=True,
    )  # fmt: skip
    overwrite: bool = option(False, "start over in a folder that holds a run", may_change=True)
    teacher: str | None = option(
        None, "a trained net of this style that a smaller one learns from for the first half: net=lite teacher=picasso",
    )  # fmt: skip
    vgg: str = option("auto", "weights of the loss network: auto, or the path of a file", may_change=True)
    wandb: bool = option(
        True, "log to W&B too, offline without an account; metrics.jsonl is always there", may_change=True
    )
    style: StyleSettings = group(StyleSettings)
    net: NetSettings = group(NetSettings)
    temporal: TemporalSettings = group(TemporalSettings)
    data: DataSettings = group(DataSettings)
    trainer: TrainerSettings = group(TrainerSettings)
    loss: LossSettings = group(LossSettings)

    def check(self) -> None:
        """Raises ConfigError for a temporal loss that needs clips where there are none, and for a missing net."""
        if self.style.images and (self.style.image or self.teacher):
            other = "style.image" if self.style.image else "teacher"
            raise ConfigError(f"style.images makes one net of many styles, and goes without {other}")
        if self.temporal.pair in ("video", "previous") and self.data.source != "clips":
            raise ConfigError(f"temporal.pair={self.temporal.pair} needs real frames: data=clips data.root=FOLDER")
        if self.data.clips and self.data.source == "clips":
            raise ConfigError("data.clips is for clips beside photos; with data=clips, data.root names the clips")
        if self.data.clips and self.temporal.pair == "none":
            raise ConfigError("data.clips needs a temporal loss: clips are for the motion in them; temporal=mixed")


def is_list(names: str | tuple[str, ...], option: str) -> None:
    """Raises ConfigError if a list of names is empty."""
    if not listed(names):
        raise ConfigError(f"{option}=[] is an empty list; name at least one")


@dataclass(frozen=True, kw_only=True)
class LiveSettings(LookSettings, MachineSettings):
    """Settings of `live`: what comes, by which nets it is stylized, and where it goes."""

    video: str = option(
        None, "a camera's number (0); an address (rtsp, rtsps, http, https); a file; or - for a pipe on standard input",
        example="0",
    )  # fmt: skip
    ckpt: str | tuple[str, ...] = option(
        None, "the trained net: a file, or the name of one that ships; or a mixture, picasso:0.6,wave:0.4; several to "
        "choose from by key: [picasso,wave]",
        example="picasso", check=are_styles,
    )  # fmt: skip
    out: Literal["window", "camera", "-"] = option(
        "window", "camera: a virtual one, for meetings (needs the extra [live]); -: y4m on standard output"
    )
    size: str | None = option(
        None, "of a raw pipe's frames, rgb24: 640x360; null: the pipe is y4m and says itself", check=is_size
    )
    fps: float = option(30.0, "frame rate of a raw pipe", low=0.1, high=1000)
    max_side: int | None = option(
        None, "make larger frames smaller first, for a slow net: pixels of the longer side; null keeps the size",
        low=16, high=16384,
    )  # fmt: skip
    give_up_s: float = option(
        30.0, "seconds without a frame from a camera or an address after which the run ends; 0: never", low=0
    )


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings(LookSettings, MachineSettings):
    """Settings of `evaluate`: what is judged, on which clips, and how."""

    ckpt: str | tuple[str, ...] | None = option(
        None,
        "nets to judge: files, or names of those that ship, with commas between them: a.ckpt,wave; or a mixture, "
        "picasso:0.6,wave:0.4",
    )
    stylized: str | tuple[str, ...] | None = option(
        None, "folders of clips that any program has stylized, each clip called like its input"
    )
    videos: str | tuple[str, ...] = option(None, "what to judge on: a folder of clips, or clips", example="FOLDER")
    smooth: float = option(
        0.0, "off, so that the net alone is judged; 0.5 judges what infer makes of a clip", low=0, high=1,
    )  # fmt: skip
    out: str | None = option(
        None, "folder for results.csv, results.json, front.png and side-by-side clips; null: only the tables"
    )
    overwrite: bool = option(False, "replace the results in that folder")
    max_side: int | None = option(
        384, "make larger frames smaller first: pixels of the longer side; null keeps the size", low=64, high=16384
    )
    frames: int | None = option(24, "of each clip, from its start; null: all", low=2)
    flow: Literal["farneback", "dis"] = option(
        "farneback", "optical flow along which frames are compared; dis is nearer to the truth, but the canvas and "
        "smooth follow it themselves, and look better by it than they are",
    )  # fmt: skip
    style_image: str | None = option(
        None, "the style picture, for the style loss: a file, or a drawn one's name; null: what the checkpoint names",
    )  # fmt: skip
    style_size: int | None = option(
        None, "pixels of its shorter side; null: as the checkpoint says, or 384", low=64, high=4096
    )
    vgg: str = option("auto", "weights of the loss network: auto, or the path of a file")

    def check(self) -> None:
        """Raises ConfigError for an empty list, and if there is nothing to judge."""
        is_list(self.videos, "videos")
        if not listed(self.ckpt) and not listed(self.stylized):
            raise ConfigError("there is nothing to judge; write ckpt=picasso or stylized=FOLDER")


@dataclass(frozen=True, kw_only=True)
class ObjectiveSettings(DeviceSettings):
    """Settings of `evaluate objective`: how many evaluations of its own loss a trained net saves."""

    ckpt: str = option(None, "the trained net: a file, or the name of one that ships", example="picasso")
    photos: str | None = option(
        None, "a folder of photos that the net was not trained on; null: the photos that pip packages carry"
    )
    count: int = option(4, "how many photos, the first ones by name", low=1, high=10_000)
    sizes: tuple[int, ...] = option((256, 512), "sides of the squares from their middles, pixels", low=32, high=4096)
    evaluations: int = option(100, "after which a photo is given up", low=2, high=100_000)
    style_image: str | None = option(
        None, "the style picture: a file, or a drawn one's name; null: what the checkpoint names"
    )
    vgg: str = option("auto", "weights of the loss network: auto, or the path of a file")


@dataclass(frozen=True, kw_only=True)
class VerifySettings(DeviceSettings):
    """Settings of `verify`: whether the figures on the card of a trained net hold."""

    ckpt: str = option(
        None, "the trained net: a file, or the name of one that ships; base:wave is one style of a net of many",
        example="picasso",
    )  # fmt: skip
    write: bool = option(False, "measure, and write the card into the file, in place of an older one")
    style_image: str | None = option(
        None, "the style picture: a file, or a drawn one's name; null: what the checkpoint names"
    )
    vgg: str = option("auto", "weights of the loss network: auto, or the path of a file")


DeepLayer = Literal[
    "relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1", "relu3_2", "relu3_3", "relu3_4",
    "relu4_1", "relu4_2", "relu4_3", "relu4_4", "relu5_1", "relu5_2", "relu5_3", "relu5_4",
]  # fmt: skip
PICTURE_PRESETS: dict[str, dict[str, Any]] = {  # what an option of `optimize` is that nobody sets
    "report": {  # the report of 2019: block5_conv2, and block1_conv1 to block5_conv1
        "content_layer": "relu5_2",
        "style_layers": ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"),
        "content_weight": 0.025,
        "style_weight": 1.0,
        "tv_weight": 8.5e-5,
    },
}


def is_picture_source(start: str) -> None:
    """Raises ConfigError if `start` is neither a word nor a file that exists."""
    if start not in ("content", "noise") and not os.path.isfile(local_name(start)):  # noqa: PTH113 (a NUL in it)
        raise ConfigError(f"start={as_typed(start)} must be content, noise, or a picture that exists")


@dataclass(frozen=True, kw_only=True)
class OptimizeSettings(DeviceSettings):
    """Settings of `optimize`: the method of 2016, by which a picture is optimised itself, without a trained net."""

    content: str = option(None, "what is stylized: a picture or a video", example="photo.jpg", may_change=True)
    out: str | None = option(
        None, "where to; null: <name>_<style> beside the content, of a video .mp4; to a sweep's, _tv<weight> and "
        "_sweep are added",
        may_change=True,
    )  # fmt: skip
    overwrite: bool = option(False, "replace an output that exists", may_change=True)
    resume: bool = option(False, "go on from what an interrupted run with the same settings left", may_change=True)
    preset: Literal["report"] = option(
        "report", "layers and weights that nobody sets; report: those of the report of 2019, after Keras' example"
    )
    rows: int | None = option(
        400, "make higher pictures smaller first, to so many rows of pixels; null keeps the size", low=32, high=16384
    )
    evaluations: int = option(20, "of the loss in each round; L-BFGS begins a round anew", low=2, high=100_000)
    rounds: int = option(10, "after each the best picture so far is on disk", low=1, high=100_000)
    start: str = option(
        "content", "where it begins: content, noise, or a picture of yours, which is stretched to the content's size",
        check=is_picture_source,
    )  # fmt: skip
    seed: int = option(0, "of the noise that it begins with", low=0, high=LARGEST_SEED)
    network: Literal["vgg19", "vgg16"] = option("vgg19", "the loss network")
    vgg: str = option("auto", "its weights: auto, or the path of a file", may_change=True)
    content_layer: DeepLayer | None = option(
        None, "where the content is compared; relu4_2 keeps more of it; null: by the preset"
    )
    style_layers: tuple[DeepLayer, ...] | None = option(
        None, "where the style is; without the late ones there are no large shapes; null: by the preset"
    )
    content_weight: float | None = option(None, "raise it to keep more; null: by the preset", low=0, high=WEIGHT)
    style_weight: float | None = option(None, "raise it for more style; null: by the preset", low=0, high=WEIGHT)
    tv_weight: float | None = option(
        None, "of the total variation: raise it for smoother areas; null: by the preset", low=0, high=WEIGHT
    )
    sweep: tuple[float, ...] | None = option(
        None, "weights of the total variation to compare: a picture of each, and a contact sheet; the report's were "
        "[1,1e-2,8.5e-5]",
        low=0, high=WEIGHT, may_change=True,
    )  # fmt: skip
    stabilize: Literal["ruder", "final", "iteration", "none"] = option(
        "ruder", "video: each frame is held to the one before. ruder: along the motion, outside occlusions; final: to "
        "its result, as if nothing moved; iteration: to its picture of the same round (both the report's); none",
    )  # fmt: skip
    temporal_weight: float = option(
        1000.0, "video: of that loss; raise it where frames still flicker", low=0, high=WEIGHT
    )
    passes: int = option(
        1, "video, stabilize=ruder: times through the clip, there and back in turn; more even out what comes into view",
        low=1, high=100,
    )  # fmt: skip
    fps: str | None = option(
        None, "video: constant frame rate, 15 in the report; frames are repeated or dropped; null keeps their times",
        check=is_rate,
    )  # fmt: skip
    end: str | None = option(None, "video: end there, before the frame of that time; null: at the end", check=is_time)
    audio: Literal["copy", "aac", "none"] = option(
        "copy", "video: sound: copy, bit for bit where it can be held; aac, encoded again; none", may_change=True
    )
    style: StyleSettings = group(StyleSettings)

    @property
    def style_name(self) -> str:
        """The style's name, which outputs carry."""
        return Path(self.style.image).stem if self.style.image else self.style.name

    def check(self) -> None:
        """Raises ConfigError for passes that would all be alike."""
        if self.passes > 1 and self.stabilize != "ruder":
            raise ConfigError(f"passes={self.passes} needs stabilize=ruder, not stabilize={self.stabilize}")

    def chosen(self, name: str) -> Any:
        """Returns the value of an option that the preset may decide."""
        value = getattr(self, name)
        return PICTURE_PRESETS[self.preset][name] if value is None else value
