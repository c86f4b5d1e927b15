"""What surrounds the pictures in a video file: sound, subtitles, chapters, titles, and how they get into the output."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from typing import TYPE_CHECKING, cast

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer, OutputContainer
from av.stream import Stream

from fastnst.errors import ConfigError
from fastnst.video.reader import EARLY, Cut
from fastnst.video.times import At, Rising

if TYPE_CHECKING:
    from av.container.core import Chapter

log = logging.getLogger(__name__)

SOUND = {"webm": "libopus"}  # the encoder for sound that a format refuses; "aac" for the others
LEAD = 10  # seconds before a part from which its tracks are read: subtitles may be on screen already
AUDIO = ("copy", "aac", "none")  # what can become of sound
STALE = (  # tags that would no longer be true
    *("encoder", "duration", "rotate", "bps", "number_of_", "_statistics"),
    *("major_brand", "minor_version", "compatible_brands", "alpha_mode"),
)
COMMON = {"title", "artist", "album", "date", "comment", "genre", "copyright", "creation_time", "location", "timecode"}
OWN_TAGS = {  # tags that these formats have a place of their own for; others are stored as keys, and then all are
    "mov": COMMON | {"make", "model"},
    "mp4": COMMON | {
        *("album_artist", "composer", "grouping", "lyrics", "description", "synopsis", "show", "episode_id", "network"),
        *("keywords", "track", "disc", "compilation", "media_type", "hd_video", "season_number", "episode_sort"),
    },
}  # fmt: skip


class CarriedTracks:
    """The other tracks of a video on their way into the output: sound and subtitles, packet by packet as they are.

    Sound that the output's format refuses is encoded again; whatever else it refuses is left out. A warning says so.

    Args:
        source: the input, read through a handle of its own.
        video_index: the stream that is not carried, because its pictures are.
        output: where the tracks go; its header is not yet written.
        audio: "copy"; "aac" encodes all sound again; "none" leaves it out.
        cut: the part of the video that is read; the tracks are cut to the packet; None: all of it.
    """

    def __init__(
        self,
        source: InputContainer,
        video_index: int,
        output: OutputContainer,
        audio: str = "copy",
        cut: Cut | None = None,
    ) -> None:
        self._source, self._output, self._cut = source, output, cut
        self._targets: dict[int, Stream] = {}
        self._encoded: set[int] = set()
        self._unwrap: dict[int, BitStreamFilterContext] = {}
        self._shapes: dict[int, tuple[int, int]] = {}  # rate and channels of those, as their headers say
        self._rising: dict[int, Rising] = {}
        self._sound_ends: dict[int, int] = {}  # of encoded tracks, in samples
        self._resamplers: dict[int, tuple[tuple[str, str, int], AudioResampler]] = {}  # and what each takes
        encoder, left_out = SOUND.get(output.format.name, "aac"), []
        for stream in source.streams:
            if stream.index == video_index:
                continue
            if stream.type == "audio" and audio == "none":
                continue
            codec = stream.codec_context.name if stream.codec_context else "unknown"
            encode = stream.type == "audio" and audio == "aac"
            if stream.type in ("audio", "subtitle") and not encode and accepts(output.format.name, stream):
                target = output.add_stream_from_template(cast(AudioStream, stream))
                if codec == "aac" and not stream.codec_context.extradata:  # from MPEG-TS: a header before each packet
                    self._unwrap[stream.index] = BitStreamFilterContext("aac_adtstoasc", stream)
            elif stream.type == "audio" and stream.codec_context and (target := sound_encoder(output, stream, encoder)):
                if not encode:
                    log.warning("%s cannot hold %s sound: encoded again with %s", output.format.name, codec, encoder)
                self._encoded.add(stream.index)
            elif stream.type == "data" and (source.chapters() or "timecode" in stream.metadata):
                continue  # QuickTime keeps titles of chapters and timecodes in tracks; they are copied as tags
            else:
                left_out.append(f"{stream.index} ({stream.type}, {codec})")
                continue
            copy_stream_tags(stream, target)
            self._targets[stream.index] = target
            self._rising[stream.index] = Rising(dense=stream.type == "audio")
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
        """Writes the packets that belong before the time `until`, seconds; infinity writes what is left."""
        while (packet := self._held or next(self._packets, None)) is not None:
            if packet.dts is not None and packet.dts * packet.time_base > until:
                self._held = packet
                return
            self._held = None
            if packet.dts is None:
                self._write(packet)
            else:
                self._write_risen(self._rising[packet.stream_index].add(packet, packet.dts, packet.duration or 0))

    def finish(self, until: float) -> None:
        """Writes the packets before the time `until`, as `copy` does, and those that encoders or queues hold back."""
        self.copy(until)
        for rising in self._rising.values():
            self._write_risen(rising.rest())
        for index in self._encoded:
            if index in self._resamplers:
                self._encode(index, self._resamplers[index][1].resample(None))
            self._encode(index, [None])

    def _wanted(self) -> Iterator[av.Packet]:
        if not self._targets:
            return
        if self._cut is not None:
            with suppress(av.FFmpegError):  # what cannot be moved in is read from the beginning
                self._source.seek(int(max(0, self._cut.start - LEAD) * av.time_base))
        with suppress(av.FFmpegError):  # damage: the reader of the pictures meets it too, and reports it
            for packet in self._source.demux([self._source.streams[index] for index in self._targets]):
                if packet.size and (self._cut is None or in_part(packet, self._cut)):
                    yield packet

    def _write_risen(self, ready: list[At]) -> None:
        for packet, dts, *_ in ready:
            packet.pts = None if packet.pts is None else packet.pts + dts - packet.dts
            packet.dts = dts
            self._write(packet)

    def _write(self, packet: av.Packet) -> None:
        target, time_base = self._targets[packet.stream_index], packet.time_base
        self._filled.add(packet.stream_index)
        if packet.stream_index not in self._encoded:
            unwrap = self._unwrap.get(packet.stream_index)
            if unwrap:
                self._warn_of_change(packet)
            for each in unwrap.filter(packet) if unwrap else [packet]:
                if each.dts is not None:
                    each.stream, each.time_base = target, time_base
                    self._output.mux(each)
            return
        frames: list[AudioFrame] = []
        with suppress(av.FFmpegError):  # damaged sound: what follows may be whole
            frames = cast("list[AudioFrame]", packet.decode())
        for frame in frames:
            self._encode(packet.stream_index, self._resampled(packet.stream_index, frame))

    def _warn_of_change(self, packet: av.Packet) -> None:
        """Says so if AAC changes its rate or channels: packets without their headers do not tell any more."""
        header = bytes(packet)[:4]
        if len(header) == 4:
            shape = header[2] & 0x3D, header[3] & 0xC0
            if self._shapes.setdefault(packet.stream_index, shape) != shape:
                self._shapes[packet.stream_index] = shape
                log.warning("the AAC sound changes its rate or channels on the way; audio=aac makes it the same")

    def _resampled(self, index: int, frame: AudioFrame) -> list[AudioFrame]:
        """Returns decoded sound as the encoder of its track takes it; its layout or rate may change on the way."""
        shape = frame.format.name, frame.layout.name, frame.sample_rate
        before, resampler = self._resamplers.get(index, (None, None))
        ready: list[AudioFrame] = []
        if resampler is None or shape != before:
            if resampler:
                log.warning("the sound changes to %s, %d Hz; converted to what it was at first", shape[1], shape[2])
                ready += resampler.resample(None)
            encoder = cast(AudioStream, self._targets[index]).codec_context
            resampler = AudioResampler(encoder.format, encoder.layout, encoder.sample_rate)
            self._resamplers[index] = shape, resampler
        return [*ready, *resampler.resample(frame)]

    def _encode(self, index: int, frames: Sequence[AudioFrame | None]) -> None:
        """Encodes sound and writes it; None is its end. What lies over earlier sound by half or more is left out."""
        target = cast(AudioStream, self._targets[index])
        for frame in frames:
            if frame is not None:
                rate = target.codec_context.sample_rate
                earliest = self._sound_ends.get(index)
                unit = frame.time_base or Fraction(1, rate)
                start = earliest or 0 if frame.pts is None else round(frame.pts * unit * rate)
                if earliest is not None and 2 * (earliest - start) >= frame.samples:
                    continue
                start = start if earliest is None else max(start, earliest)
                frame.pts, frame.time_base = start, Fraction(1, rate)
                self._sound_ends[index] = start + frame.samples
            self._output.mux(target.encode(frame))


def in_part(packet: av.Packet, cut: Cut) -> bool:
    """Returns whether a packet belongs to the part of the video that is read, and moves its times to the part's.

    A subtitle that is on screen when the part begins is shown from there on.
    """
    unit = packet.time_base
    time = packet.pts if packet.pts is not None else packet.dts
    if time is None or time * unit >= cut.end:
        return False
    late = round(cut.start / unit) - time
    if late * unit > EARLY:
        left = (packet.duration or 0) - late
        if packet.stream.type != "subtitle" or left <= 0:
            return False
        packet.pts, packet.duration = time + late, left
        packet.dts = None if packet.dts is None else packet.dts + late
    shift = round(cut.shift / unit)
    packet.pts = None if packet.pts is None else packet.pts - shift
    packet.dts = None if packet.dts is None else packet.dts - shift
    return True


def check_audio(audio: str, form: str = "") -> None:
    """Raises ConfigError if `audio` is no way to carry sound, or none into files of the format `form`."""
    if audio not in AUDIO:
        raise ConfigError(f"audio={audio} should be {', '.join(AUDIO[:-1])} or {AUDIO[-1]}")
    if audio == "aac" and form in SOUND:
        raise ConfigError(f"audio=aac: {form} cannot hold AAC sound; use audio=copy, or .mp4, .mov or .mkv")


def accepts(form: str, stream: Stream) -> bool:
    """Returns whether files of the format `form` can hold the stream as it is, by writing a header in memory."""
    unnamed = isinstance(stream, AudioStream) and stream.layout.name == f"{stream.channels} channels"
    if form == "mp4" and unnamed and stream.codec_context.name.startswith("pcm_"):
        return False  # no layout of channels is named: MP4 wants one, and says so only when it is closed
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


def copy_tags(source: InputContainer, output: OutputContainer, cut: Cut | None = None) -> None:
    """Copies title, dates and the like, and the chapters, of a part of a video those that lie in it."""
    output.metadata.update(true_tags(source.metadata))
    chapters = source.chapters()
    if cut is not None:
        chapters = [each for chapter in chapters if (each := in_chapters(chapter, cut)) is not None]
    if chapters:
        output.set_chapters(chapters)


def in_chapters(chapter: Chapter, cut: Cut) -> Chapter | None:
    """Returns what of a chapter lies in the part of the video that is read, at its times there; None if nothing."""
    unit = chapter["time_base"] or Fraction(1, 1000)
    start, end = (min(max(chapter[edge] * unit, cut.start), cut.end) - cut.shift for edge in ("start", "end"))
    if start >= end:
        return None
    return {**chapter, "start": round(start / unit), "end": round(end / unit)}


def true_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Returns the tags that are still true of a stylized video."""
    return {name: text for name, text in tags.items() if not name.lower().startswith(STALE)}


def need_keys(form: str, tags: Mapping[str, str]) -> bool:
    """Returns whether a format has to store these tags under their own names: those of phones and cameras, mostly."""
    return form in OWN_TAGS and not {name.lower() for name in true_tags(tags)} <= OWN_TAGS[form]


def lost_tags(tags: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Returns the names of those tags that were not found; copies in a language ("title-eng") do not count.

    >>> lost_tags({"title": "Film", "title-eng": "Film", "make": "X", "encoder": "Lavf"}, {"TITLE": "Film"})
    ['make']
    """
    there = {name.lower() for name in found}
    return [name for name in true_tags(tags) if not {name.lower(), name.lower().partition("-")[0]} & there]


def copy_stream_tags(source: Stream, target: Stream) -> None:
    """Copies a track's language, title and role."""
    target.metadata.update(true_tags(source.metadata))
    target.disposition = source.disposition
