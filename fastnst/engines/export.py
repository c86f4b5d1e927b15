"""A trained net as a file for other programs: fastnst export ckpt=picasso format=onnx."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fastnst import cli
from fastnst.canvas import fixed_canvas
from fastnst.checkpoint import Checkpoint, load_checkpoint
from fastnst.engines.engine import PACKAGES, fold, folded, lacking, layers, openvino_core, silent_openvino
from fastnst.errors import EnvironmentFault
from fastnst.files import check_target, replaced
from fastnst.images import to_float
from fastnst.net import Statistics, StylizationNet, padded
from fastnst.settings import ExportSettings
from fastnst.shots import RATE, Followed

USAGE = """
fastnst export ckpt=picasso                                  -> picasso.onnx, for frames of any size
fastnst export ckpt=picasso size=1280x720 pixels=uint8       for one size; the canvas is in the file
fastnst export ckpt=picasso format=openvino norm_from=clip.mp4

Writes a trained net for other programs, checks at once that the file gives what the net gives, and prints both sizes.
Exit status: 0 done, 2 wrong settings, 3 unreadable input, 4 the file exists or cannot be written, 5 a package lacks.
"""
LICENCE = "MIT"
TOLERANCE = 1e-3  # of the range, between the file and the net
FRAMES = 24  # of the clip, whose statistics are taken
ENDINGS = {"onnx": ".onnx", "openvino": ".xml", "pt2": ".pt2"}


def export(settings: ExportSettings) -> None:
    """Writes the file, checks it, reports."""
    needed = {"onnx": ("onnx", "onnxruntime"), "openvino": PACKAGES["openvino"], "pt2": ()}[settings.format]
    if names := lacking(needed):
        extra = "openvino" if settings.format == "openvino" else "onnxruntime"
        raise EnvironmentFault(f"format={settings.format} needs {', '.join(names)}: pip install 'fastnst[{extra}]'")
    checkpoint = load_checkpoint(settings.ckpt)
    name = Path(settings.ckpt).stem
    out = Path(settings.out or f"{name}{ENDINGS[settings.format]}").with_suffix(ENDINGS[settings.format])
    check_target(out, Path(settings.ckpt), settings.overwrite)
    bordered = settings.format != "pt2" or settings.shape is not None
    whole = Whole(with_statistics(checkpoint.net, settings.norm_from), settings.shape, settings.pixels, bordered)
    about = about_of(checkpoint, name)
    {"onnx": write_onnx, "openvino": write_openvino, "pt2": write_pt2}[settings.format](whole, out, about)
    apart = difference(whole, {"onnx": run_onnx, "openvino": run_openvino, "pt2": run_pt2}[settings.format](out))
    if apart > TOLERANCE:
        raise EnvironmentFault(f"'{out}' is not what the net is: {apart:.2g} of the range apart; please report this")
    files = [out, out.with_suffix(".bin")] if settings.format == "openvino" else [out]
    size = sum(file.stat().st_size for file in files)
    weights = sum(value.numel() for value in checkpoint.net.parameters())
    print(f"{out}: {size:,} bytes, {weights:,} parameters; at most {apart:.1g} of the range from the net")
    print(f"inputs: {', '.join(whole.inputs)}; {whole.words}")


def about_of(checkpoint: Checkpoint, name: str) -> dict[str, str]:
    """Returns what the file says about itself."""
    recipe = json.dumps(checkpoint.recipe)
    return {"name": name, "style": checkpoint.style, "licence": LICENCE, "recipe": recipe, "producer": "fastnst"}


@torch.no_grad()
def with_statistics(net: StylizationNet, clip: str | None) -> StylizationNet:
    """Returns the net with the statistics of a clip's first frames folded in, without norm layers; None: the net."""
    if clip is None:
        return net
    from fastnst.video.reader import VideoReader

    statistics: Sequence[Statistics] | None = None
    with VideoReader(clip) as reader:
        for _, frames in zip(range(FRAMES), reader, strict=False):
            follow = Followed(statistics, RATE)
            net(to_float(frames.pixels[:1]), follow)
            statistics = follow.statistics
    assert statistics is not None  # a reader raises if there is no frame
    copy = folded(net)
    fold(net, statistics, copy)
    return copy.eval()


class Whole(nn.Module):
    """A net with all that is around it: numbers from 0 to 255 if asked for, the canvas, the border.

    Args:
        net: the net, with or without norm layers.
        shape: height and width; None: any.
        pixels: "float": (batch, 3, height, width) in [0, 1]; "uint8": (batch, height, width, 3), 0 to 255, RGB.
        bordered: whether it takes sizes that are no multiples of `STRIDE`; `torch.export` cannot express that.

    Attributes:
        inputs: their names. Where the size is fixed, the canvas is none of them: it is in the file.
    """

    def __init__(self, net: StylizationNet, shape: tuple[int, int] | None, pixels: str, bordered: bool = True) -> None:
        super().__init__()
        self.net, self.shape, self.pixels, self.bordered = net, shape, pixels, bordered
        self.inputs = ["content", "canvas"] if net.has_canvas and shape is None else ["content"]
        self.register_buffer("field", fixed_canvas(*shape).clone() if net.has_canvas and shape else torch.zeros(0))

    @property
    def words(self) -> str:
        """What goes in and out, for people."""
        height, width = self.shape or ("height", "width") if self.bordered else ("4 * height", "4 * width")
        if self.pixels == "uint8":
            return f"content and stylized: uint8 RGB, (batch, {height}, {width}, 3)"
        return f"content and stylized: float32 RGB in [0, 1], (batch, 3, {height}, {width})"

    def forward(self, content: Tensor, canvas: Tensor | None = None) -> Tensor:
        """Returns the frames stylized, of the type and the shape of the content."""
        if self.pixels == "uint8":
            content = content.permute(0, 3, 1, 2).float() / 255
        height, width = content.shape[-2:]
        if self.net.has_canvas:
            canvas = (self.get_buffer("field") if canvas is None else canvas).expand(content.shape[0], -1, -1, -1)
            content = torch.cat([content, canvas + 0.5], 1)
        if self.bordered:
            content = padded(content)
        stylized = layers(self.net, content)
        if self.bordered:
            stylized = stylized[..., :height, :width]
        return (stylized * 255).round().to(torch.uint8).permute(0, 2, 3, 1) if self.pixels == "uint8" else stylized


def examples(whole: Whole) -> list[dict[str, Tensor]]:
    """Returns inputs to check a file with: of two sizes and batches where any is possible."""
    made, generator = [], torch.Generator().manual_seed(0)
    sizes = [(1, *whole.shape)] if whole.shape else [(1, 64, 96), (2, 51, 70) if whole.bordered else (2, 52, 68)]
    for batch, height, width in sizes:
        coarse = torch.rand(batch, 3, 8, 8, generator=generator)
        content = nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
        if whole.pixels == "uint8":
            content = (content * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
        made.append({"content": content})
        if "canvas" in whole.inputs:
            made[-1]["canvas"] = fixed_canvas(height, width).clone()
    return made


@torch.no_grad()
def difference(whole: Whole, run: Callable[[dict[str, Tensor]], np.ndarray]) -> float:
    """Returns the largest difference between what a file gives and what the net gives, as a share of the range.

    Of uint8 it is the mean: where a number lies between two whole ones, the last bit decides.
    """
    apart = []
    for example in examples(whole):
        found, expected = run(example).astype(np.float64), whole(**example).numpy().astype(np.float64)
        assert found.shape == expected.shape, (found.shape, expected.shape)
        off = np.abs(found - expected)
        apart.append(off.mean() / 255 if whole.pixels == "uint8" else off.max())
    return float(max(apart))


def write_onnx(whole: Whole, out: Path, about: dict[str, str]) -> None:
    """Writes an ONNX file."""
    from fastnst.engines.graph import exported

    model = exported(whole.net, whole.shape, whole.pixels, whole.get_buffer("field"))
    for key, value in about.items():
        model.metadata_props.add(key=key, value=value)
    with replaced(out) as part:
        part.write_bytes(model.SerializeToString())


def run_onnx(out: Path) -> Callable[[dict[str, Tensor]], np.ndarray]:
    """Returns what runs an ONNX file."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, {name: value.numpy() for name, value in inputs.items()})[0]  # pyright: ignore


def write_openvino(whole: Whole, out: Path, about: dict[str, str]) -> None:
    """Writes OpenVINO's two files, .xml and .bin."""
    from fastnst.engines.graph import exported

    openvino = silent_openvino()
    model = exported(whole.net, whole.shape, whole.pixels, whole.get_buffer("field"))
    read = openvino_core().read_model(model.SerializeToString())
    for key, value in about.items():
        read.set_rt_info(value, ["fastnst", key])
    with replaced(out.with_suffix(".bin")) as weights, replaced(out) as part:
        openvino.serialize(read, part, weights)


def run_openvino(out: Path) -> Callable[[dict[str, Tensor]], np.ndarray]:
    """Returns what runs OpenVINO's files."""
    compiled = openvino_core().compile_model(out, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda inputs: compiled({name: value.numpy() for name, value in inputs.items()})[0]


def write_pt2(whole: Whole, out: Path, about: dict[str, str]) -> None:
    """Writes an exported program of PyTorch."""
    example = examples(whole)[-1]
    dynamic = None
    if whole.shape is None:
        rows, columns = (1, 2) if whole.pixels == "uint8" else (2, 3)
        batch, height, width = (
            torch.export.Dim(name, min=least) for name, least in (("batch", 1), ("height", 3), ("width", 3))
        )
        dynamic = {"content": {0: batch, rows: 4 * height, columns: 4 * width}}
        dynamic |= {"canvas": {2: 4 * height, 3: 4 * width}} if "canvas" in whole.inputs else {}
    program = torch.export.export(whole.eval(), (), example, dynamic_shapes=dynamic)
    with replaced(out) as part:
        torch.export.save(program, part, extra_files={"fastnst.json": json.dumps(about)})


def run_pt2(out: Path) -> Callable[[dict[str, Tensor]], np.ndarray]:
    """Returns what runs an exported program."""
    run = torch.export.load(out).module()
    return lambda inputs: run(**inputs).detach().numpy()


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command with the arguments `argv`; None: those of the command line."""
    cli.main(export, ExportSettings, USAGE, argv=argv)
