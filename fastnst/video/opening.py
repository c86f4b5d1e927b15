"""Video files that are read: which they are, how they are opened, which stream is shown, and by which decoder."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import av
import av.logging
from av.codec.context import Flags
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from fastnst.errors import InputError
from fastnst.files import check_input, kind_of, picture_format
from fastnst.video.animation import ANIMATIONS, WebPStream
from fastnst.video.colour import Crop

READABLE = frozenset(  # the endings that count as a video in a folder; a file that is named may end in anything
    [
        *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".vob", ".flv"),
        *(".wmv", ".ogv", ".3gp", ".mxf", ".gif", ".apng", ".y4m"),
    ]
)
DEMUXERS = (  # no playlists or image sequences, which open further files, and no devices
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,gif,apng,nut,mxf,wtv,dv,"
    "h264,hevc,av1,obu,ivf,m4v,yuv4mpegpipe"
)
UHD = 3840 * 2160  # pixels; larger frames are decoded and encoded with fewer of them in memory
MAX_FRAME_PIXELS = 150_000_000  # larger frames are refused before memory is taken for them
DECODER = {"max_pixels": str(MAX_FRAME_PIXELS)}  # also those that come later in the stream
OPTIONS = {"format_whitelist": DEMUXERS, "protocol_whitelist": "file", **DECODER}


def find_videos(folder: Path, deep: bool = False) -> list[Path]:
    """Returns the video files in a folder, by their endings, sorted; with `deep` those of its subfolders too."""
    return videos_among(folder.rglob("*") if deep else folder.iterdir())


def videos_among(paths: Iterable[Path]) -> list[Path]:
    """Returns the files that end like a video, or like a picture and move, sorted; hidden ones are left out."""
    return sorted(
        path
        for path in paths
        if path.suffix.lower() in READABLE | ANIMATIONS.keys()
        and not path.name.startswith(".")
        and path.is_file()
        and kind_of(path) != "picture"
    )


def open_input(path: Path) -> InputContainer:
    """Returns the opened video file.

    Raises:
        InputError: it is missing, empty, or in no format that we read.
    """
    check_input(path, "video")
    if kind_of(path) == "picture":
        raise InputError(f"cannot read video '{path}': it is a picture")
    try:
        if picture_format(path)[0] == "WEBP":
            return av.open(WebPStream(path, MAX_FRAME_PIXELS), "r", format="mov", options=OPTIONS)
        # "file:" keeps names like "concat:a" and "-a.mp4" from meaning something
        return av.open(f"file:{path}", "r", options=OPTIONS)
    except (av.FFmpegError, ValueError, UnicodeError) as error:
        raise InputError(f"cannot read video '{path}': it is no video, or its end with the index is missing") from error


def main_video_stream(container: InputContainer, path: Path) -> VideoStream:
    """Returns the stream that a player would show: the default one, of these the largest; never a cover picture.

    Raises:
        InputError: there is none, or its frames have over `MAX_FRAME_PIXELS` pixels.
    """
    streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    sized = [stream for stream in streams if stream.codec_context is not None and stream.width]
    if not sized:
        reason = f"its frames have no size, or over {MAX_FRAME_PIXELS // 1_000_000} million pixels"
        raise InputError(f"cannot read video '{path}': {reason if streams else 'it has no video stream'}")
    best = max(sized, key=lambda each: (bool(each.disposition & Disposition.default), each.width * each.height))
    if best.width * best.height > MAX_FRAME_PIXELS:
        size = f"{best.width}x{best.height}"
        raise InputError(f"cannot read video '{path}': {size} is over {MAX_FRAME_PIXELS // 1_000_000} million pixels")
    best.codec_context.options = DECODER
    best.codec_context.flags |= Flags.unaligned  # crops in the stream, too, by the pixel
    return best


def crop_of(container: InputContainer, stream: VideoStream) -> Crop:
    """Returns what of the stream's frames the container says not to show: Matroska's crop, MP4's clean aperture."""
    before = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)  # or else nothing is described
    try:
        described = cast(Any, container).dumps_format()  # PyAV's stubs do not know it
    finally:
        av.logging.set_level(before)
    own = re.search(rf"Stream #0:{stream.index}\b(?:(?!Stream #).)*?Frame Cropping: ([\d/]+)", described, re.DOTALL)
    left, right, top, bottom = map(int, own[1].split("/")) if own else (0, 0, 0, 0)
    fits = left + right < stream.width and top + bottom < stream.height
    return Crop(left, right, top, bottom) if fits else Crop()


def end_of(packet: av.Packet) -> float:
    """Returns when the packet's content ends, seconds."""
    time = packet.pts if packet.pts is not None else packet.dts
    return float(((time or 0) + (packet.duration or 0)) * packet.time_base)


def decoder_for(stream: VideoStream) -> av.VideoCodecContext:
    """Returns the decoder of a stream; for VP8 and VP9 with transparency the one that decodes that too."""
    library = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(stream.codec_context.name)
    if library and stream.metadata.get("alpha_mode", stream.metadata.get("ALPHA_MODE")) == "1":
        decoder = cast(av.VideoCodecContext, av.CodecContext.create(library, "r"))
        decoder.options = DECODER
        decoder.extradata = stream.codec_context.extradata
        return decoder
    if stream.width * stream.height > 1920 * 1088:  # several frames at once: faster, but in damaged files some are lost
        stream.thread_type = "AUTO"
    if stream.width * stream.height > UHD:
        stream.codec_context.thread_count = 2  # each holds a frame
    return stream.codec_context
