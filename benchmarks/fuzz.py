"""Random trials of `infer`: damaged bytes, odd times, mixed tracks, pictures; each must end well, or in one clear line.

    OMP_NUM_THREADS=1 PYTHONPATH=. python benchmarks/fuzz.py --cases 400 --seed 0

A trial is wrong if it ends in a traceback, hangs, or gives a result with a wrong number of frames or a wrong duration.
Trial n of a seed is always the same: `--only n` runs it alone and keeps its files. Exits with 1 if any trial is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import io
import logging
import random
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from time import process_time
from typing import Any, NamedTuple

import av
import numpy as np
import torch
from PIL import Image

from fastnst import inference
from fastnst.checkpoint import save_checkpoint
from fastnst.errors import DamagedInput, FastnstError
from fastnst.files import kind_of
from fastnst.net import StylizationNet
from fastnst.settings import InferSettings

RATE, WIDTH, HEIGHT = 25, 48, 32
PATIENCE = 120  # seconds that a trial may take on a busy machine
BASES = {  # container, video codec, pixel format, sound
    "mp4": ("libx264", "yuv420p", "aac"),
    "mov": ("png", "rgba", "pcm_s16le"),
    "mkv": ("libx264", "yuv444p", "flac"),
    "webm": ("libvpx", "yuv420p", "libopus"),
    "avi": ("mpeg4", "yuv420p", "libmp3lame"),
    "ts": ("mpeg2video", "yuv420p", "mp2"),
    "nut": ("ffv1", "yuv420p10le", "pcm_s16le"),
    "flv": ("libx264", "yuv420p", "aac"),
}
PICTURES = {"gif": "GIF", "png": "PNG", "webp": "WEBP", "jpg": "JPEG", "tif": "TIFF", "avif": "AVIF"}
OUTS = (".mp4", ".mkv", ".mov", ".webm", ".gif", ".webp", ".apng")


class Trial(NamedTuple):
    """What is handed in.

    Attributes:
        kind: how it was made: "bytes", "times", "tracks" or "picture".
        source: the file.
        frames: how many frames the result must have; None if nobody knows.
        seconds: how long it must last; None if nobody knows.
    """

    kind: str
    source: Path
    frames: int | None = None
    seconds: float | None = None


def frame_of(number: int) -> np.ndarray:
    """Returns a picture, (height, width, 3), in which something moves."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([(x * 5 + number * 9) % 256, (y * 7) % 256, (x * y + number * 40) % 256], -1).astype(np.uint8)


def made(path: Path, pts: list[int], sounds: list[tuple[str, int, str]], video: tuple[str, str]) -> Path:
    """Writes a film whose frames are shown at `pts`, in 1/1000 s, with sound as (codec, rate, layout) says."""
    with av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as container:
        stream: Any = container.add_stream(video[0], rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, video[1]
        stream.time_base, stream.codec_context.time_base = Fraction(1, 1000), Fraction(1, RATE)
        stream.codec_context.max_b_frames = 0 if pts != sorted(set(pts)) else 2
        tracks: list[Any] = [container.add_stream(codec, rate=rate) for codec, rate, _ in sounds]
        for track, (_, _, layout) in zip(tracks, sounds, strict=True):
            track.layout = layout
        for track, (_, rate, layout) in zip(tracks, sounds, strict=True):
            wave = (8000 * np.sin(np.arange(rate // 2) / 20)).astype(np.int16)
            wave = np.tile(wave[:, None], (1, 2 if layout == "stereo" else 1)).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(wave, "s16", layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
            for packet in [*track.encode(frame), *track.encode(None)]:
                with contextlib.suppress(av.FFmpegError, ValueError):
                    container.mux(packet)
        packets = []
        for number in range(len(pts)):  # the encoder gets even times; the packets get the odd ones
            frame = av.VideoFrame.from_ndarray(frame_of(number), "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            packets += stream.encode(frame)
        for packet in [*packets, *stream.encode(None)]:
            if packet.pts is not None:
                moved = pts[min(len(pts) - 1, round(packet.pts * packet.time_base * RATE))]
                packet.pts, packet.dts, packet.time_base = moved, min(moved, packet.dts or 0), Fraction(1, 1000)
                if stream.codec_context.max_b_frames == 0:
                    packet.dts = moved
                packet.duration = 1000 // RATE
            with contextlib.suppress(av.FFmpegError, ValueError):  # muxers refuse some
                container.mux(packet)
    return path


def told_by(path: Path) -> tuple[int, float] | None:
    """Returns how many frames a whole film has and how long they last, seconds, as a plain decoder has it."""
    try:
        with av.open(str(path)) as container:
            decoded: list[Any] = [*container.decode(video=0)]
            shown = [(frame.pts * frame.time_base, (frame.duration or 0) * frame.time_base) for frame in decoded]
    except (av.FFmpegError, IndexError, TypeError):
        return None
    times = [float(time) for time, _ in shown]
    if not times or any(after <= before for before, after in pairwise(times)):
        return None  # the decoder does not know either
    return len(times), times[-1] + float(shown[-1][1] or Fraction(1, RATE)) - times[0]


def with_odd_times(folder: Path, rng: random.Random) -> Trial:
    """Returns a film whose frames come at odd times."""
    ending = rng.choice(["mkv", "mp4", "ts", "avi", "nut", "mov"])
    step, count = 1000 // RATE, rng.randint(1, 14)
    pts = [number * step for number in range(count)]
    for _ in range(rng.randint(0, 3)):
        at, how = rng.randrange(count), rng.choice(["gap", "same", "back", "jitter", "start", "epoch", "negative"])
        if how == "gap":
            pts[at:] = [each + rng.choice([40, 400, 3000]) for each in pts[at:]]
        elif how == "same" and at:
            pts[at] = pts[at - 1]
        elif how == "back":
            pts[at:] = [each - rng.choice([40, 200, 1000]) for each in pts[at:]]
        elif how == "jitter":
            pts = [each + rng.randint(-15, 15) for each in pts]
        elif how in ("start", "epoch", "negative"):
            pts = [each + {"start": 10_000, "epoch": 10**9, "negative": -400}[how] for each in pts]
    video, form, sound = BASES[ending]
    sounds = [(sound, 48_000, "stereo")] if rng.random() < 0.5 else []
    path = made(folder / f"in.{ending}", pts, sounds, (video, form))
    told = told_by(path) if pts == sorted(set(pts)) and pts[0] >= 0 and len(pts) > 1 else None
    return Trial("times", path, *(told or (None, None)))


def with_mixed_tracks(folder: Path, rng: random.Random) -> Trial:
    """Returns a film with none to four sound tracks of several kinds."""
    ending = rng.choice(["mkv", "mkv", "mp4", "mov", "nut", "ts", "avi"])
    codecs = {
        "mp4": ["aac", "flac"],
        "mov": ["aac", "pcm_s16le"],
        "ts": ["mp2", "aac", "ac3"],
        "avi": ["mp2", "pcm_s16le"],
    }
    rates = {"libopus": [48_000], "ac3": [48_000], "mp2": [48_000, 32_000]}
    sounds = []
    for _ in range(rng.randint(0, 4)):
        codec = rng.choice(codecs.get(ending, ["aac", "flac", "libopus", "pcm_s16le", "ac3", "mp2"]))
        sounds.append((codec, rng.choice(rates.get(codec, [8000, 44_100, 48_000])), rng.choice(["mono", "stereo"])))
    count = rng.randint(2, 14)
    pts = [number * 1000 // RATE for number in range(count)]
    path = made(folder / f"in.{ending}", pts, sounds, BASES[ending][:2])
    return Trial("tracks", path, *(told_by(path) or (None, None)))


def with_damaged_bytes(folder: Path, rng: random.Random) -> Trial:
    """Returns a film, or a picture, in which bytes are changed, lost, doubled or added."""
    ending = rng.choice([*BASES, "gif", "png", "webp"])
    if ending in BASES:
        video, form, sound = BASES[ending]
        pts = [number * 1000 // RATE for number in range(rng.randint(1, 14))]
        path = made(folder / f"in.{ending}", pts, [(sound, 48_000, "stereo")], (video, form))
    else:
        path = drawn(folder / f"in.{ending}", rng, moves=True).source
    content = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 1, 2, 10])):
        at, much = rng.randrange(len(content)), rng.choice([1, 4, 50, 400])
        how = rng.choice(["flip", "noise", "cut", "lose", "double", "zero", "join"])
        if how == "flip":
            content[at] ^= 1 << rng.randrange(8)
        elif how == "cut":
            del content[max(16, at) :]
        elif how == "join":
            content = content * 2
        else:
            part = content[at : at + much]
            new = {"lose": b"", "double": bytes(part) * 2, "zero": bytes(len(part)), "noise": rng.randbytes(len(part))}
            content[at : at + much] = new[how]
    path.write_bytes(content)
    return Trial("bytes", path)


def drawn(path: Path, rng: random.Random, moves: bool) -> Trial:
    """Returns a picture of any mode, or one that moves."""
    form = PICTURES[path.suffix[1:]]
    modes = {
        "JPEG": ["RGB", "L", "CMYK"],
        "GIF": ["P", "L"],
        "TIFF": ["RGB", "L", "F", "I;16", "CMYK", "1", "RGBA", "LAB"],
    }
    modes |= {"PNG": ["RGB", "RGBA", "L", "LA", "P", "I;16", "1"]}
    mode = rng.choice(modes.get(form, ["RGB", "RGBA"]))
    count = rng.randint(2, 8) if moves and form in ("GIF", "PNG", "WEBP") else 1
    frames = [Image.fromarray(frame_of(number)) for number in range(count)]
    if mode == "LAB":
        frames = [Image.merge("LAB", frame.split()) for frame in frames]
    elif mode == "I;16":
        frames = [Image.fromarray(np.asarray(frame.convert("L")).astype(np.uint16) * 257) for frame in frames]
    else:
        frames = [frame.convert("L").convert(mode) if mode in ("F", "LA") else frame.convert(mode) for frame in frames]
    durations = [rng.choice([20, 30, 40, 100, 700]) for _ in frames]
    if count == 1:
        frames[0].save(path, form)
        return Trial("picture", path, 1)
    options = {"save_all": True, "append_images": frames[1:], "duration": durations, "loop": rng.choice([0, 1, 5])}
    frames[0].save(path, form, **options)
    with Image.open(path, formats=(form,)) as written:
        found = getattr(written, "n_frames", 1)  # Pillow joins frames that are alike
    return Trial("picture", path, found, sum(durations) / 1000)


def with_a_picture(folder: Path, rng: random.Random) -> Trial:
    """Returns a picture, which may move, under its own ending or another one."""
    path = folder / f"in.{rng.choice([*PICTURES])}"
    trial = drawn(path, rng, moves=rng.random() < 0.6)
    if rng.random() < 0.3:
        path = path.rename(folder / f"in{rng.choice(['.mp4', '.jpg', '.dat', ''])}")
    return trial._replace(source=path)


MAKERS = (with_damaged_bytes, with_odd_times, with_mixed_tracks, with_a_picture)


def settings_for(trial: Trial, net: Path, rng: random.Random) -> InferSettings:
    """Returns settings that a user may choose."""
    moves = kind_of(trial.source) != "picture"
    ending = rng.choice([*OUTS, None]) if moves else rng.choice([".png", ".jpg", ".webp", ".avif", None])
    chosen: dict[str, Any] = {"video": str(trial.source), "ckpt": str(net), "device": "cpu"}
    chosen["out"] = None if ending is None else str(trial.source.with_name(f"out{ending}"))
    for name, values in {
        "strict": [False, False, True], "batch": [None, 1, 3], "max_side": [None, None, 32], "smooth": [0.0, 0.0, 0.8],
        "norm": ["shot", "frame"], "audio": ["copy", "copy", "aac", "none"], "background": ["white", "#123456"],
        "fps": [None, None, None, "10", "30000/1001"], "report": ["text", "json"],
    }.items():  # fmt: skip
        chosen[name] = rng.choice(values)
    return InferSettings(**chosen)


def fault_of(trial: Trial, settings: InferSettings) -> str:
    """Returns what is wrong with the result of a trial; an empty string if nothing is."""
    outs = [path for path in trial.source.parent.iterdir() if path != trial.source]
    if len(outs) != 1:
        return f"there should be one result, but there are {sorted(path.name for path in outs)}"
    if kind_of(outs[0]) == "picture":
        with Image.open(outs[0], formats=("JPEG", "PNG", "WEBP", "TIFF", "AVIF")) as picture:
            picture.load()
        return "" if trial.frames in (None, 1) or settings.fps else f"one picture instead of {trial.frames} frames"
    frames, seconds = seen_in(outs[0])
    if settings.fps is None and outs[0].suffix != ".gif" and trial.frames not in (None, frames):
        return f"{frames} frames instead of {trial.frames}"
    slack = 0.06 if settings.fps is None else 0.2
    if trial.seconds is not None and abs(seconds - trial.seconds) > slack:
        return f"{seconds:.3f} s instead of {trial.seconds:.3f} s"
    return "" if frames and seconds > 0 else f"{frames} frames in {seconds:.3f} s"


def seen_in(path: Path) -> tuple[int, float]:
    """Returns how many frames a result has and how long they last, seconds, by Pillow or FFmpeg."""
    if path.suffix in (".gif", ".webp", ".apng", ".png"):
        with Image.open(path, formats=("GIF", "WEBP", "PNG")) as picture:
            frames, milliseconds = getattr(picture, "n_frames", 1), 0.0
            for number in range(frames):
                picture.seek(number)
                picture.load()
                milliseconds += picture.info.get("duration", 0)
        return frames, milliseconds / 1000
    with av.open(str(path)) as container:
        packets: list[Any] = [packet for packet in container.demux(video=0) if packet.size]
    start = min(float(packet.pts * packet.time_base) for packet in packets)
    return len(packets), max(float((packet.pts + packet.duration) * packet.time_base) for packet in packets) - start


class Hang(BaseException):
    """A trial took too long."""


def hang(*_: object) -> None:
    """Ends a trial that takes too long."""
    raise Hang


def run(number: int, seed: int, net: Path, folder: Path) -> tuple[str, str, str]:
    """Does a trial; returns its kind, how it ended, and in what words."""
    rng = random.Random(f"{seed}/{number}")
    trial = MAKERS[number % len(MAKERS)](folder, rng)
    settings = settings_for(trial, net, rng)
    signal.alarm(PATIENCE)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            inference.infer(settings)
        end, words = "done", fault_of(trial, settings)
    except DamagedInput as error:
        end, words = "damaged", fault_of(trial._replace(frames=None, seconds=None), settings)
        if trial.kind in ("tracks", "picture") and not words:
            words = f"nothing is damaged: {error}"
    except FastnstError as error:
        end, words = "refused", ""
        if len(str(error).splitlines()) != 1:
            words = f"more than one line: {error}"
        elif trial.kind in ("tracks", "picture") and "container" not in str(error) and "cannot hold" not in str(error):
            words = f"nothing is wrong with it: {error}"
        elif left := [path.name for path in trial.source.parent.iterdir() if path != trial.source]:
            words = f"{left} is left"
    except Hang:
        end, words = "hang", f"took over {PATIENCE} s"
    except Exception:
        end, words = "traceback", traceback.format_exc()
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if words:
        what = {
            name: value for name, value in settings.by_name().items() if value != getattr(InferSettings, name, value)
        }
        words = f"trial {number} ({trial.kind}, {trial.source.name}): {words}\n  {what}"
    return trial.kind, end, words


def main() -> None:
    """Runs the trials and prints how they ended."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--cases", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="the number of one trial, whose files are kept")
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    av.logging.set_level(av.logging.PANIC)
    faulthandler.enable()
    signal.signal(signal.SIGALRM, hang)
    torch.set_num_threads(1)
    ends, wrong, began = Counter(), [], process_time()
    work = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        net = work / "tiny.ckpt"
        save_checkpoint(net, StylizationNet((2, 2, 2), residual_blocks=1), "tiny", {})
        for number in range(chosen.cases) if chosen.only is None else [chosen.only]:
            folder = work / str(number)
            folder.mkdir()
            faulthandler.dump_traceback_later(2 * PATIENCE, exit=True)  # hangs in C, where no signal is heard
            kind, end, words = run(number, chosen.seed, net, folder)
            ends[kind, end] += 1
            if words:
                wrong.append(words)
                print(words, file=sys.stderr, flush=True)
            if chosen.only is None:
                shutil.rmtree(folder)
        faulthandler.cancel_dump_traceback_later()
    finally:
        if chosen.only is None:
            shutil.rmtree(work)
        else:
            print(f"kept in {work}")
    columns = ("done", "damaged", "refused", "traceback", "hang")
    print("| trials | " + " | ".join(columns) + " |\n|---" + "|---" * len(columns) + "|")
    for kind in sorted({kind for kind, _ in ends}):
        print(f"| {kind} | " + " | ".join(str(ends[kind, end]) for end in columns) + " |")
    total = sum(ends.values())
    print(
        f"\n{total} trials of seed {chosen.seed}, {len(wrong)} wrong, {process_time() - began:.0f} s of processor time"
    )
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
