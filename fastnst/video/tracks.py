"""What surrounds the pictures in a video file: sound, subtitles, chapters, titles, and how they get into the output."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import suppress
from typing import cast

import av
import av.error
from av.audio.codeccontext import AudioCodecContext
from av.audio.stream import AudioStream
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer, OutputContainer
from av.stream import Stream

from fastnst.errors import ConfigError

log = logging.getLogger(__name__)

SOUND = {"webm": "libopus"}  # the encoder for sound that a format refuses; "aac" for the others
AUDIO = ("copy", "aac", "none")  # what can become of sound
STALE = (  # tags that would no longer be true
    *("encoder", "duration", "rotate", "bps", "number_of_", "_statistics"),
    *("major_brand", "minor_version", "compatible_brands", "alpha_mode"),
)


class CarriedTracks:
    """The other tracks of a video on their way into the output: sound and subtitles, packet by packet as they are.

    Sound that the output's format refuses is encoded anew; whatever else it refuses is left out. Both are said.

    Args:
        source: the input, read through a handle of its own.
        video_index: the stream that is not carried, because its pictures are.
        output: where the tracks go; its header is not yet written.
        audio: "copy"; "aac" encodes all sound anew; "none" leaves it out.
    """

    def __init__(self, source: InputContainer, video_index: int, output: OutputContainer, audio: str = "copy") -> None:
        self._source, self._output = source, output
        self._targets: dict[int, Stream] = {}
        self._encoded: set[int] = set()
        self._unwrap: dict[int, BitStreamFilterContext] = {}
        self._moved: dict[int, int] = {}  # by how much later than in the file, where its times jump back
        self._before: dict[int, tuple[int, int]] = {}  # decoding time of the packet before, and where it ends
        encoder, left_out = SOUND.get(output.format.name, "aac"), []
        for stream in source.streams:
            if stream.index == video_index:
                continue
            if stream.type == "audio" and audio == "none":
                continue
            codec = stream.codec_context.name if stream.codec_context else "unknown"
            anew = stream.type == "audio" and audio == "aac"
            if stream.type in ("audio", "subtitle") and not anew and accepts(output.format.name, stream):
                target = output.add_stream_from_template(cast(AudioStream, stream))
                if codec == "aac" and not stream.codec_context.extradata:  # from MPEG-TS: a header before each packet
                    self._unwrap[stream.index] = BitStreamFilterContext("aac_adtstoasc", stream)
            elif stream.type == "audio" and stream.codec_context and (target := sound_encoder(output, stream, encoder)):
                if not anew:
                    log.warning("%s cannot hold %s sound: encoded anew with %s", output.format.name, codec, encoder)
                self._encoded.add(stream.index)
            elif stream.type == "data" and source.chapters():
                continue  # QuickTime keeps the titles of chapters in a track; they are copied as chapters
            else:
                left_out.append(f"{stream.index} ({stream.type}, {codec})")
                continue
            copy_stream_tags(stream, target)
            self._targets[stream.index] = target
        if left_out:
            log.warning("%s cannot hold these tracks, left out: %s", output.format.name, ", ".join(left_out))
        self._packets = self._wanted()
        self._filled: set[int] = set()
        self._held: av.Packet | None = None  # read, but not yet due

    @property
    def count(self) -> int:
        """How many tracks something was written to."""
        return len(self._filled)

    def copy(self, until: float) -> None:
        """Writes all packets that belong before the time `until`, seconds; infinity writes what is left."""
        while (packet := self._held or next(self._packets, None)) is not None:
            if packet.dts is not None and packet.dts * packet.time_base > until:
                self._held = packet
                return
            self._held = None
            self._write(packet)
        for index in self._encoded:
            self._output.mux(cast(AudioStream, self._targets[index]).encode(None))
        self._encoded.clear()

    def _wanted(self) -> Iterator[av.Packet]:
        if not self._targets:
            return
        with suppress(av.FFmpegError):  # damage: the reader of the pictures meets it too, and reports it
            for packet in self._source.demux([self._source.streams[index] for index in self._targets]):
                if packet.size:
                    yield packet

    def _write(self, packet: av.Packet) -> None:
        target, time_base = self._targets[packet.stream_index], packet.time_base
        self._filled.add(packet.stream_index)
        if packet.dts is not None:
            self._keep_rising(packet)
        if packet.stream_index not in self._encoded:
            unwrap = self._unwrap.get(packet.stream_index)
            for each in unwrap.filter(packet) if unwrap else [packet]:
                if each.dts is not None:
                    each.stream, each.time_base = target, time_base
                    self._output.mux(each)
            return
        with suppress(av.error.InvalidDataError):
            for frame in packet.decode():
                self._output.mux(cast(AudioStream, target).encode(frame))  # pyright: ignore[reportArgumentType]

    def _keep_rising(self, packet: av.Packet) -> None:
        """Moves a packet behind the one before, as the pictures are, if its times jump back: no format allows that."""
        index, dts = packet.stream_index, packet.dts or 0
        last, end = self._before.get(index, (dts - 1, dts))
        moved = self._moved.get(index, 0)
        if dts + moved <= last:
            moved = self._moved[index] = end - dts
        self._before[index] = dts + moved, dts + moved + max(1, packet.duration or 0)
        if moved:
            packet.dts = dts + moved
            packet.pts = None if packet.pts is None else packet.pts + moved


def check_audio(audio: str, form: str = "") -> None:
    """Raises ConfigError if `audio` is no way to carry sound, or none into files of the format `form`."""
    if audio not in AUDIO:
        raise ConfigError(f"audio={audio} should be {', '.join(AUDIO[:-1])} or {AUDIO[-1]}")
    if audio == "aac" and form in SOUND:
        raise ConfigError(f"audio=aac: {form} cannot hold AAC sound; use audio=copy, or .mp4, .mov or .mkv")


def accepts(form: str, stream: Stream) -> bool:
    """Returns whether files of the format `form` can hold the stream as it is, by writing a header in memory."""
    trial = av.open(io.BytesIO(), "w", format=form)
    try:
        trial.add_stream_from_template(cast(AudioStream, stream))
        trial.start_encoding()
        return True
    except (ValueError, av.FFmpegError):
        return False
    finally:
        with suppress(av.FFmpegError, ValueError):  # an empty file may be no valid one
            trial.close()


def sound_encoder(output: OutputContainer, like: Stream, encoder: str) -> AudioStream | None:
    """Returns a new sound track in `output`, with the rate and channels of `like` if the encoder can; None if it can't.

    Where it cannot, 48 kHz, and the usual layout of as many channels, or else stereo.
    """
    like, codec = cast(AudioStream, like), av.Codec(encoder, "w")
    rate = like.rate if not codec.audio_rates or like.rate in codec.audio_rates else 48000
    usual = f"{like.channels}c"
    for layout in (like.layout.name.replace("(side)", ""), usual, "stereo"):  # players know 5.1 better than 5.1(side)
        with suppress(ValueError, av.FFmpegError):
            trial = cast(AudioCodecContext, av.CodecContext.create(encoder, "w"))
            trial.sample_rate, trial.layout, trial.format = rate, layout, (codec.audio_formats or [])[0]
            trial.open()
            break
    else:
        return None
    if like.layout.name == f"{like.channels} channels":  # the file does not say which
        with suppress(ValueError):
            like.codec_context.layout = usual
    target = cast(AudioStream, output.add_stream(encoder, rate=rate))
    target.codec_context.layout = layout
    target.codec_context.bit_rate = 96_000 * target.codec_context.layout.nb_channels
    return target


def copy_tags(source: InputContainer, output: OutputContainer) -> None:
    """Copies title, dates and the like, and the chapters."""
    output.metadata.update({name: text for name, text in source.metadata.items() if not name.lower().startswith(STALE)})
    if chapters := source.chapters():
        output.set_chapters(chapters)


def copy_stream_tags(source: Stream, target: Stream) -> None:
    """Copies a track's language, title and role."""
    target.metadata.update({name: text for name, text in source.metadata.items() if not name.lower().startswith(STALE)})
    target.disposition = source.disposition
