"""Video files that are written: formats, encoders, and what they are asked for."""

from __future__ import annotations

import io
import logging
import os
import shutil
from bisect import bisect_right
from contextlib import suppress
from pathlib import Path
from typing import cast

import av
from av.container import OutputContainer
from av.video.stream import VideoStream

from fastnst.errors import ConfigError, EnvironmentFault, OutputError
from fastnst.files import check_target, check_unclaimed
from fastnst.video.colour import BT709, FULL, LIMITED
from fastnst.video.opening import UHD
from fastnst.video.parts import claim_path, kept_path, part_path
from fastnst.video.reader import VideoReader

log = logging.getLogger(__name__)

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}  # that we write
ENCODERS = {"webm": "libvpx-vp9"}  # what codec="auto" is in a format; "libx264" in the others
GPU_ENCODER = "h264_nvenc"  # what it is instead of libx264 where the net runs on a GPU, if it opens
IN_RGB = {"ffv1": "bgr0", "libx264rgb": "rgb24"}  # lossless encoders that keep RGB as it is, and their pixel format
FORMS = ("yuv420p", "yuv422p10le", "yuv444p")  # pixel formats of the others, the first that the encoder has
X26_PRESETS = (  # of libx264 and libx265
    *("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo"),
)
os.environ.setdefault("SVT_LOG", "1")  # libsvtav1 tells its whole life on stderr: errors only
X264_PRESET = "veryfast"  # if nobody says: benchmarks/RESULTS.md, "What the encoder takes"
KEYFRAMES = 2  # seconds between two at most: so much is lost of a render that is killed
EARLY_KEYFRAMES = (0.5, 1.0, 2.0, 3.0)  # seconds: at first closer together, or else short clips could not be resumed
DELAY = 10  # frames by which H.264 and H.265 look ahead: more loses more of a render that is killed, and gains nothing
PACKINGS = {"left_right": "3", "top_bottom": "4"}  # of stereo pictures, as H.264 numbers them
LOOKAHEAD = 10 * UHD  # pixels by which an encoder looks ahead in such frames: 2 of 8K, not 40, which take 0.1 GB each


def check_video_target(path: Path, source: Path, overwrite: bool) -> None:
    """Raises ConfigError or OutputError if a video made from `source` cannot be written to `path`."""
    if path.suffix.lower() not in CONTAINERS:
        raise ConfigError(f"cannot write video '{path}': no format '{path.suffix}'; use {', '.join(CONTAINERS)}")
    check_target(path, source, overwrite)
    part = part_path(path)
    for taken in (part, kept_path(part)):
        if taken.exists() and taken.samefile(source):
            raise OutputError(f"'{path}' would be prepared in '{taken}', which is the input; rename one of them")
    check_unclaimed(claim_path(part), writing(path))


def writing(path: Path) -> str:
    """Returns what a process that writes a video does, for another one that would write it too."""
    return f"is writing '{path}'; wait for it, or choose another out="


def warn_of_little_space(path: Path, source: Path) -> None:
    """Says so if there is less space for the result at `path` than `source` takes; pictures painted take about that."""
    free, needed = shutil.disk_usage(path.parent).free, source.stat().st_size
    if free < needed:
        log.warning("%.1f MB are free for '%s'; the input has %.1f MB", free / 1e6, path, needed / 1e6)


def open_output(part: Path, form: str, keys: bool = False) -> OutputContainer:
    """Returns a container that plays up to its last second even if the process is killed.

    Args:
        part: the file.
        form: FFmpeg's name of the format.
        keys: MP4 and QuickTime store tags as keys, which takes any name.
    """
    # the muxer waits no longer than 0.2 s for a packet of every track: subtitles may be minutes away
    options = {"flush_packets": "1", "max_interleave_delta": "200000"}
    if form in ("mp4", "mov"):
        # hybrid: fragments (of 0.2 s) while it grows, an ordinary file once closed. delay_moov: without it, the priming
        # of AAC sound shifts all tracks; before FFmpeg 8.1 (PyAV 18) the two together write broken files.
        # movie_timescale: the default rounds the start of late tracks to 1 ms
        flags = "hybrid_fragmented+delay_moov" + ("+use_metadata_tags" if keys else "")
        options |= {"movflags": flags, "frag_duration": "200000", "movie_timescale": "90000"}
    else:
        options |= {"cluster_time_limit": "200"}  # ms; the default holds up to 5 s back
    return av.open(f"file:{part}", "w", format=form, options=options)


def chosen_encoder(reader: VideoReader, form: str, crf: int, preset: str | int | None, gpu: bool) -> str:
    """Returns what codec="auto" is for these frames and format; if `gpu`, the GPU's encoder, or it says why not.

    Whether an encoder opens depends on the machine, the frame size, and the settings: so it is tried in memory.
    """
    usual = ENCODERS.get(form, "libx264")
    if not gpu or form in ENCODERS:
        return usual
    trial = av.open(io.BytesIO(), "w", format=form)
    try:
        add_video_stream(trial, reader, GPU_ENCODER, crf, preset)
        trial.start_encoding()
        return GPU_ENCODER
    except (EnvironmentFault, ValueError, OSError, av.FFmpegError):
        log.warning("%s does not start here: the video is encoded by %s, on the CPU", GPU_ENCODER, usual)
        return usual
    finally:
        with suppress(ValueError, OSError, av.FFmpegError):
            trial.close()


def chosen_preset(codec: str, preset: str | int | None) -> str | int | None:
    """Returns the preset that an encoder is asked for if `preset` is; None leaves it to the encoder."""
    return X264_PRESET if preset is None and codec.startswith("libx264") else preset


def add_video_stream(
    container: OutputContainer, reader: VideoReader, codec: str, crf: int, preset: str | int | None
) -> VideoStream:
    """Returns a new video stream in `container`, timed like the reader's frames, tagged with what their colours mean.

    It has their size too, made even where the encoder wants that: H.264 and H.265 have no odd sizes in 4:2:0.

    Raises:
        ConfigError: the encoder has no such preset.
        EnvironmentFault: there is no such encoder.
    """
    form, options = pixel_format(codec), encoder_options(reader, codec, crf, preset)
    stream = cast(VideoStream, container.add_stream(codec, rate=reader.frame_rate, options=options))
    context = stream.codec_context
    width, height = reader.width, reader.height
    if form not in IN_RGB.values() and ("264" in codec or "265" in codec or "hevc" in codec):
        width, height = width + width % 2, height + height % 2
    stream.width, stream.height, stream.pix_fmt = width, height, form
    stream.time_base = context.time_base = reader.time_base
    context.gop_size = max(1, round(KEYFRAMES * min(reader.frame_rate, 250)))
    # with B-frames, hybrid MP4 cuts off last frames that come after a gap; without, files are 5-10 % larger
    context.max_b_frames = 0
    context.sample_aspect_ratio = reader.sample_aspect_ratio
    context.color_primaries, context.color_trc = reader.primaries, reader.curve
    context.colorspace, context.color_range = (0, FULL) if codec in IN_RGB else (BT709, LIMITED)
    if codec in ("libx265", "hevc_nvenc") and container.format.name in ("mp4", "mov"):
        context.codec_tag = "hvc1"  # Apple's players want it
    if reader.stereo and container.format.name in ("matroska", "webm"):
        stream.metadata["stereo_mode"] = reader.stereo
    elif reader.stereo and "x264-params" not in options:
        log.warning("%s cannot say here that the pictures are stereo (%s); left out", codec, reader.stereo)
    return stream


def pixel_format(codec: str) -> str:
    """Returns the pixel format in which an encoder gets its frames.

    Raises:
        EnvironmentFault: there is no such encoder, or it is none for video.
    """
    try:
        formats = [form.name for form in av.Codec(codec, "w").video_formats or []]
    except (ValueError, TypeError) as error:
        raise EnvironmentFault(f"no encoder '{codec}' here; codec=libx264 is always there") from error
    form = IN_RGB.get(codec) or next((form for form in FORMS if form in formats), None)
    if form is None:
        raise EnvironmentFault(f"codec={codec} is no encoder for video; codec=libx264 is always there")
    return form


def encoder_options(reader: VideoReader, codec: str, crf: int, preset: str | int | None) -> dict[str, str]:
    """Returns what an encoder is asked for, in its own words; raises ConfigError if it has no such preset."""
    if preset is not None and "libx26" in codec and preset not in X26_PRESETS:  # libx264 would say it in its own line
        raise ConfigError(f"preset={preset} is none of {codec}'s: {', '.join(X26_PRESETS)}")
    pixels = reader.width * reader.height
    ahead = str(LOOKAHEAD // pixels if pixels > UHD else DELAY)
    options = {"crf": str(crf)} | ({} if preset is None else {"preset": str(preset)})
    if codec.endswith("_nvenc"):
        options |= {"rc": "vbr", "cq": str(crf), "forced-idr": "1"}
    elif codec.startswith("libvpx"):
        options |= {"row-mt": "1", "cpu-used": "4"} | ({"lag-in-frames": ahead} if pixels > UHD else {})
    elif codec == "libx265":
        options |= {"x265-params": f"log-level=error:rc-lookahead={ahead}", "forced-idr": "1"}
    elif codec.startswith("libx264"):
        options |= {"rc-lookahead": ahead} | ({"refs": "1"} if pixels > UHD else {})
        if reader.stereo in PACKINGS:
            options["x264-params"] = f"frame-packing={PACKINGS[reader.stereo]}"
    if pixels > UHD:
        options["threads"] = str(min(4, os.cpu_count() or 1))  # each holds a frame
    return options


def group_at(seconds: float) -> int:
    """Returns in which group of pictures a frame is that is shown so many seconds after the first.

    >>> [group_at(seconds) for seconds in (0, 0.49, 0.5, 1, 2.9, 3, 4.9, 5, 7)]
    [0, 0, 1, 2, 3, 4, 4, 5, 6]
    """
    last = EARLY_KEYFRAMES[-1]
    return bisect_right(EARLY_KEYFRAMES, seconds) + max(0, int((seconds - last) // KEYFRAMES))
