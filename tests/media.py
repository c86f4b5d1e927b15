"""Test clips, made with the ffmpeg of imageio-ffmpeg, and what to ask of a video file."""

import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
import torch

from fastnst.video.reader import VideoReader
from fastnst.video.writer import VideoWriter


def ffmpeg(*arguments: object) -> Path:
    """Runs ffmpeg; returns the last argument, the file that it made."""
    import imageio_ffmpeg  # not on the machines of `benchmarks/gpu.sh`

    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *map(str, arguments)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return Path(str(arguments[-1]))


def pictures(seconds: float = 1, size: str = "128x96", rate: object = 25) -> list[str]:
    """Arguments for a moving test pattern as input."""
    return ["-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}:d={seconds}"]


def tone(seconds: float = 1, pitch: int = 440) -> list[str]:
    """Arguments for a sine tone as input."""
    return ["-f", "lavfi", "-i", f"sine={pitch}:d={seconds}"]


def clip(path: Path, *options: object, seconds: float = 1, size: str = "128x96", rate: object = 25) -> Path:
    """A clip with sound; H.264 4:2:0 and AAC unless `options` say otherwise."""
    coding = [] if "-c:v" in options else ["-c:v", "libx264", "-pix_fmt", "yuv420p"]
    return ffmpeg(*pictures(seconds, size, rate), *tone(seconds), *coding, *options, path)


def silent(path: Path, *options: object, seconds: float = 1, size: str = "128x96", rate: object = 25) -> Path:
    """A clip without sound."""
    coding = [] if "-c:v" in options else ["-c:v", "libx264", "-pix_fmt", "yuv420p"]
    return ffmpeg(*pictures(seconds, size, rate), *coding, *options, path)


@dataclass
class Track:
    """A track of a file: packets as (seconds, bytes)."""

    kind: str
    codec: str
    language: str | None
    packets: list[tuple[float, bytes]]


def tracks(path: Path, kind: str) -> list[Track]:
    with av.open(str(path)) as container:
        found = {}
        for stream in container.streams:
            if stream.type == kind:
                found[stream.index] = Track(kind, stream.codec_context.name, stream.metadata.get("language"), [])
        for packet in container.demux():
            if packet.stream_index in found and packet.size:
                assert packet.pts is not None
                assert packet.time_base
                found[packet.stream_index].packets.append((float(packet.pts * packet.time_base), bytes(packet)))
    return list(found.values())


def times(path: Path) -> list[Fraction]:
    """When each frame is shown, seconds."""
    with av.open(str(path)) as container:
        return [cast(int, frame.pts) * cast(Fraction, frame.time_base) for frame in container.decode(video=0)]


def duration(path: Path) -> float:
    """How long the video track lasts by the file's header, seconds."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.duration is not None
        assert stream.time_base is not None
        return float(stream.duration * stream.time_base)


def decoded(path: Path, *filters: str) -> np.ndarray:
    """All frames as (T, H, W, 3) uint8 by ffmpeg, which rotates, and converts by `filters` or the file's own tags."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        height, width = (frame.width, frame.height) if frame.rotation % 180 else (frame.height, frame.width)
    import imageio_ffmpeg  # not on the machines of `benchmarks/gpu.sh`

    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-fps_mode", "passthrough"]
    command += ["-vf", ",".join([*filters, "format=rgb24"]), "-f", "rawvideo", "-"]
    raw = subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)


def copy(
    source: Path,
    target: Path,
    batch: int = 3,
    max_side: int | None = None,
    strict: bool = False,
    fps=None,
    start: float = 0.0,
    end: float = float("inf"),
    **coding,
) -> VideoReader:
    """Sends a video through reader and writer with the identity as the net."""
    with (
        VideoReader(source, batch, max_side, strict, fps=fps, start=start, end=end) as reader,
        VideoWriter(target, reader, **coding) as writer,
    ):
        for frames in reader:
            writer.write(frames)
    return reader


def read(path: Path, **options) -> np.ndarray:
    """All frames as (T, H, W, 3) uint8."""
    with VideoReader(path, **options) as reader:
        return torch.cat([frames.pixels for frames in reader]).permute(0, 2, 3, 1).numpy()


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
