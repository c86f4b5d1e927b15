"""What benchmarks/gpu.sh calls: `gpu.py pack FOLDER PHOTOS MEGABYTES`, and `gpu.py speed FRAMES SIZE...`.

`pack` puts the loss network's weights and small photos into the folder, as many as fit. `speed` measures each preset on
each engine, net alone (with the frames' way to the GPU and back) and from file to file, beside the plain loop, and how
far the frames are from those in float32; the table is in the file that RESULTS names, row by row.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file
from speed import (
    clip_of,
    engines,
    measured_ms,
    net_of,
    picture_in_motion,
    plain_loop,
    plain_net,
    stream_arm,
    write_table,
)

from fastnst.engines.engine import has_tensorrt
from fastnst.errors import FastnstError
from fastnst.files import PICTURES
from fastnst.images import load_image, to_float, to_uint8
from fastnst.net import PRESETS
from fastnst.settings import LookSettings, VideoSettings
from fastnst.stylizer import Stylizer, stream_of
from fastnst.vgg import PLAN, load_vgg

SIDE, QUALITY = 288, 75  # pixels of a photo's shorter side, for crops of 256; of JPEG
AIMS = {("1920x1080", "johnson"): 60, ("1280x720", "johnson"): 150, ("3840x2160", "lite"): 30}  # fps, file to file
LOOK = LookSettings(canvas_motion="fixed", smooth=0.0)
HEAD = ("size", "net", "engine", "net only, fps", "file to file, fps", "aim", "from float32, grey levels: mean", "most")


def pack(folder: Path, photos: Path, megabytes: float) -> None:
    """Fills the folder with weights and photos until it is as large as it may be."""
    vgg, weights, position = load_vgg("auto"), {}, 0
    for step in PLAN:
        for kind in () if step == "pool" else ("weight", "bias"):
            weights[f"features.{position}.{kind}"] = vgg.get_buffer(f"conv{step[0]}_{kind}").half().contiguous()
        position += 1 if step == "pool" else 2
    save_file(weights, folder / "vgg.safetensors")
    (folder / "photos").mkdir(exist_ok=True)
    left = megabytes * 1e6 - sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    found = sorted(path for path in photos.rglob("*") if path.suffix.lower() in PICTURES)
    count = 0
    for number in range(len(found)):
        path = found[number * 7919 % len(found)]  # spread over all; 7919 is prime
        image, target = load_image(path), folder / "photos" / f"{number:05d}.jpg"
        scale = min(1.0, SIDE / min(image.size))
        width, height = (max(1, round(side * scale)) for side in image.size)
        image.resize((width, height), Image.Resampling.LANCZOS).save(target, quality=QUALITY)
        left -= target.stat().st_size
        if left < 0:
            target.unlink()
            break
        count += 1
    print(f"{count} of {len(found)} photos")


@torch.inference_mode()
def off_by(preset: str, engine: str, device: str, frames: torch.Tensor) -> tuple[float, int]:
    """Returns how far the frames are from those of eager float32, grey levels: mean and most."""
    stylizer = Stylizer(net_of(preset), device, engine=engine)
    own = stylizer.frames(frames, stylizer.stream(LOOK))
    stream = stream_of(net_of(preset).to(device), LOOK)
    expected = torch.cat([to_uint8(stream(to_float(frame.to(device)))).cpu() for frame in frames.split(1)])
    off = (own.int() - expected.int()).abs()
    return off.float().mean().item(), int(off.max())


def rows_of(size: str, engine: str, count: int, device: str) -> Iterator[list[str]]:
    """Yields a row for each preset; one that fails says so."""
    width, height = map(int, size.split("x"))
    frames = picture_in_motion(height, width)
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        clip_of(frames, count, clip)
        for preset in PRESETS:
            try:
                times = measured_ms({"": stream_arm(net_of(preset), engine, frames, device)})[""]
                whole = Stylizer(net_of(preset), device, engine=engine)
                settings = VideoSettings(overwrite=True, canvas_motion="fixed", smooth=0.0)
                rates = [whole.video(clip, Path(folder) / "out.mp4", settings).fps for _ in range(3)][1:]
                mean, most = off_by(preset, engine, device, frames[:2])
            except (FastnstError, RuntimeError) as error:
                yield [size, preset, engine, f"{type(error).__name__}: {str(error).splitlines()[0]}", "", "", "", ""]
                continue
            rate, aim = statistics.median(rates), AIMS.get((size, preset))
            told = f"{aim}: {'met' if rate >= aim else 'missed'}" if aim else ""
            yield [size, preset, engine, f"{1000 / times.wall:.1f}", f"{rate:.1f}", told, f"{mean:.2f}", str(most)]


def speed(count: int, sizes: list[str]) -> None:
    """Writes the table, row by row; the engine that compiles comes last, as it takes long."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    machine = torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} threads of a CPU"
    about = f"{machine}, torch {torch.__version__}; clips of {count} frames; frames a second by the clock."
    table = [about, "", *(f"| {' | '.join(row)} |" for row in (HEAD, ["---"] * len(HEAD)))]
    for size in sizes:
        width, height = map(int, size.split("x"))
        net, frames = plain_net().to(device), picture_in_motion(height, width).to(device)
        plain = measured_ms({"": (lambda net=net, frames=frames: plain_loop(net, frames), len(frames))})[""]
        table.append(f"| {size} | johnson | plain loop | {1000 / plain.wall:.1f} | | | | |")
        write_table("speed of nets on this machine", table)
    on_gpu = ["torch", *(["tensorrt"] if has_tensorrt() else []), "compile"]
    for engine in on_gpu if device == "cuda" else engines():
        for size in sizes:
            for row in rows_of(size, engine, count, device):
                table.append(f"| {' | '.join(row)} |")
                write_table("speed of nets on this machine", table)


def main() -> None:
    """Does what is asked for."""
    if sys.argv[1] == "pack":
        return pack(Path(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4]))
    return speed(int(sys.argv[2]), sys.argv[3:])


if __name__ == "__main__":
    main()
