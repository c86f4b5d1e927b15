"""Sound, subtitles, chapters and tags around the pictures."""

from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
import pytest
from media import clip, copy, ffmpeg, pictures, times, tone, tracks

from fastnst.video.reader import VideoReader
from fastnst.video.writer import VideoWriter


def test_every_sound_track_is_copied_bit_for_bit_with_its_language_and_times(tmp_path: Path):
    source = ffmpeg(
        *pictures(2), *tone(2), *tone(2, 880), "-map", 0, "-map", 1, "-map", 2, "-c:v", "libx264", "-c:a:0", "aac",
        "-c:a:1", "ac3", "-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=fra", tmp_path / "in.mp4",
    )  # fmt: skip
    copy(source, tmp_path / "out.mp4")
    found, wanted = tracks(tmp_path / "out.mp4", "audio"), tracks(source, "audio")
    assert [track.language for track in found] == ["eng", "fra"]
    for a, b in zip(found, wanted, strict=True):
        assert [content for _, content in a.packets] == [content for _, content in b.packets]
        assert [time for time, _ in a.packets] == pytest.approx([time for time, _ in b.packets], abs=1e-3)


def test_sound_that_starts_late_starts_as_late(tmp_path: Path):
    source = ffmpeg(*pictures(), "-itsoffset", "0.5", *tone(), "-c:v", "libx264", "-c:a", "aac", tmp_path / "in.mp4")
    copy(source, tmp_path / "out.mp4")
    found, wanted = tracks(tmp_path / "out.mp4", "audio")[0], tracks(source, "audio")[0]
    assert found.packets[0][0] == pytest.approx(wanted.packets[0][0], abs=1e-3)
    assert wanted.packets[0][0] > 0.4


@pytest.mark.parametrize(("name", "codec"), [("in.mov", "pcm_s16le"), ("in.mkv", "libopus"), ("in.mkv", "flac")])
def test_other_sound_codecs_are_copied_too(tmp_path: Path, name: str, codec: str):
    source = clip(tmp_path / name, "-c:a", codec)
    copy(source, tmp_path / f"out{source.suffix}")
    found, wanted = tracks(tmp_path / f"out{source.suffix}", "audio")[0], tracks(source, "audio")[0]
    assert b"".join(part for _, part in found.packets) == b"".join(part for _, part in wanted.packets)


def test_sound_of_a_transport_stream_loses_its_wrapping_only(tmp_path: Path):
    source = clip(tmp_path / "in.ts", "-c:a", "aac")
    copy(source, tmp_path / "out.mp4")
    found, wanted = tracks(tmp_path / "out.mp4", "audio")[0], tracks(source, "audio")[0]
    assert [part for _, part in found.packets] == [part[7:] for _, part in wanted.packets]  # 7 bytes of ADTS header


def test_sound_that_the_format_refuses_is_encoded_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    source = clip(tmp_path / "in.mp4", seconds=2)
    copy(source, tmp_path / "out.webm")
    assert [track.codec for track in tracks(tmp_path / "out.webm", "audio")] == ["opus"]
    assert "webm cannot hold aac sound: encoded again with libopus" in caplog.text
    with av.open(str(tmp_path / "out.webm")) as container:
        sound = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    assert len(sound) / 48000 == pytest.approx(2, abs=0.06)
    assert abs(np.fft.rfft(sound)).argmax() * 48000 / len(sound) == pytest.approx(440, abs=2)


def sound_of(path: Path) -> np.ndarray:
    """The first sound track from time 0 on, at its own rate, its channels added up."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    parts = [np.zeros(round((frames[0].time or 0) * frames[0].sample_rate))]
    for frame in frames:
        samples = frame.to_ndarray()
        channels = samples if frame.format.is_planar else samples.reshape(frame.samples, -1).T
        parts.append(channels.sum(0) / (1 if samples.dtype.kind == "f" else 2**15))
    return np.concatenate(parts)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("in.mp4", ["-c:a", "aac"]),
        ("in.mov", ["-c:a", "pcm_s16le"]),
        ("in.mkv", ["-c:a", "pcm_s16le", "-ar", 8000]),  # Matroska does not say which channel it is
        ("in.mkv", ["-c:a", "libopus"]),
    ],
)
def test_audio_aac_encodes_and_keeps_time_pitch_and_rate(tmp_path: Path, caplog, name: str, options: list):
    source = ffmpeg(*pictures(2), "-itsoffset", 0.5, *tone(), "-c:v", "libx264", *options, tmp_path / name)
    copy(source, tmp_path / "out.mp4", audio="aac")
    assert [track.codec for track in tracks(tmp_path / "out.mp4", "audio")] == ["aac"]
    assert tracks(tmp_path / "out.mp4", "audio")[0].packets != tracks(source, "audio")[0].packets
    with av.open(str(source)) as container, av.open(str(tmp_path / "out.mp4")) as out:
        rate = out.streams.audio[0].rate
        assert rate == container.streams.audio[0].rate
    found, wanted = sound_of(tmp_path / "out.mp4"), sound_of(source)
    starts = [(np.abs(sound) > 0.05).argmax() / rate for sound in (found, wanted)]
    assert starts[0] == pytest.approx(starts[1], abs=3e-3)  # a lossy codec blurs the start a little
    assert starts[1] == pytest.approx(0.5, abs=0.01)
    assert abs(np.fft.rfft(found)).argmax() * rate / len(found) == pytest.approx(440, abs=2)
    assert not caplog.text


def test_audio_aac_takes_every_track_with_its_language_and_joined_recordings(tmp_path: Path):
    two = ffmpeg(
        *pictures(), *tone(), *tone(1, 880), "-map", 0, "-map", 1, "-map", 2, "-c:v", "libx264", "-c:a:0", "aac",
        "-c:a:1", "ac3", "-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=fra", tmp_path / "in.mp4",
    )  # fmt: skip
    copy(two, tmp_path / "out.mp4", audio="aac")
    assert [(track.codec, track.language) for track in tracks(tmp_path / "out.mp4", "audio")] == [
        ("aac", "eng"), ("aac", "fra"),
    ]  # fmt: skip
    once = clip(tmp_path / "once.ts", "-c:a", "aac")
    (tmp_path / "twice.ts").write_bytes(once.read_bytes() * 2)
    copy(tmp_path / "twice.ts", tmp_path / "twice.mp4", audio="aac")
    seconds = [time for time, _ in tracks(tmp_path / "twice.mp4", "audio")[0].packets]
    assert seconds[-1] - seconds[0] == pytest.approx(2.1, abs=0.1)
    assert min(np.diff(seconds)) > 0


def test_audio_none_leaves_out_sound_only_and_says_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "s.srt").write_text("1\n00:00:00,200 --> 00:00:00,800\nHello\n")
    three = ("-i", tmp_path / "s.srt", "-map", 0, "-map", 1, "-map", 2)
    source = ffmpeg(*pictures(), *tone(), *three, "-c:v", "libx264", tmp_path / "in.mkv")
    copy(source, tmp_path / "out.mkv", audio="none")
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert [stream.type for stream in container.streams] == ["video", "subtitle"]
    assert len(times(tmp_path / "out.mkv")) == 25
    assert not caplog.text


@pytest.mark.parametrize(("codec", "layout"), [("ac3", "5.1"), ("pcm_s16le", "5.1"), ("flac", "4.0")])
def test_surround_sound_is_encoded_in_a_layout_that_the_encoder_takes(tmp_path: Path, codec: str, layout: str):
    pan = f"pan={layout}|" + "|".join(f"c{i}=c0" for i in range(av.AudioLayout(layout).nb_channels))
    source = clip(tmp_path / "in.mkv", "-af", pan, "-c:a", codec)
    with av.open(str(source)) as container:
        assert container.streams.audio[0].channels == av.AudioLayout(layout).nb_channels
    copy(source, tmp_path / "out.webm")
    with av.open(str(tmp_path / "out.webm")) as container:
        stream = container.streams.audio[0]
        assert (stream.codec_context.name, stream.layout.name) == ("opus", {"4.0": "stereo"}.get(layout, layout))
    sound = sound_of(tmp_path / "out.webm")
    assert abs(np.fft.rfft(sound)).argmax() * 48000 / len(sound) == pytest.approx(440, abs=2)


def test_subtitles_chapters_and_titles_are_kept_where_the_format_can(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "s.srt").write_text("1\n00:00:00,200 --> 00:00:00,800\nHello\n")
    chapter = "[CHAPTER]\nTIMEBASE=1/1000\nSTART={}\nEND={}\ntitle={}\n"
    chapters = chapter.format(0, 500, "One") + chapter.format(500, 1000, "Two")
    (tmp_path / "tags.txt").write_text(f";FFMETADATA1\ntitle=Film\n{chapters}")
    wanted = ("-i", tmp_path / "s.srt", "-i", tmp_path / "tags.txt", "-map", 0, "-map", 1, "-map_metadata", 2)
    for name, codec in (("in.mkv", "srt"), ("in.mp4", "mov_text")):
        source = ffmpeg(*pictures(), *wanted, "-map_chapters", 2, "-c:v", "libx264", "-c:s", codec, tmp_path / name)
        out = tmp_path / f"out_{name}"
        copy(source, out)
        with av.open(str(out)) as container:
            assert container.metadata["title"] == "Film"
            assert [chapter["metadata"]["title"] for chapter in container.chapters()] == ["One", "Two"]
        assert b"Hello" in b"".join(part for _, part in tracks(out, "subtitle")[0].packets)
    assert not caplog.text
    copy(tmp_path / "in.mp4", tmp_path / "out.webm")
    assert "webm cannot hold these tracks, left out: 1 (subtitle, mov_text)" in caplog.text


def test_a_subtitle_track_without_subtitles_is_no_obstacle(tmp_path: Path):
    (tmp_path / "s.srt").write_text("1\n00:00:05,000 --> 00:00:06,000\nToo late\n")
    both = ("-i", tmp_path / "s.srt", "-map", 0, "-map", 1, "-t", 1, "-c:v", "libx264", "-c:s", "mov_text")
    copy(ffmpeg(*pictures(), *both, tmp_path / "in.mp4"), tmp_path / "out.mp4")
    assert len(times(tmp_path / "out.mp4")) == 25


def cues(path: Path, text: str, form: str) -> list[float]:
    """When the subtitles of a copied clip start, which begin as the SRT `text` says."""
    (path / "s.srt").write_text(text)
    name = "ass" if form == "ass" else "srt"
    source = ffmpeg(
        *pictures(2), "-i", path / "s.srt", "-map", 0, "-map", 1, "-c:v", "libx264", "-c:s", name, path / "in.mkv"
    )
    copy(source, path / "out.mkv")
    return [round(time, 3) for time, _ in tracks(path / "out.mkv", "subtitle")[0].packets]


CUE = "{}\n00:00:0{} --> 00:00:0{}\nNumber {}\n\n"


@pytest.mark.parametrize("form", ["srt", "ass"])
def test_subtitles_that_start_together_stay_together_and_others_stay_where_they_are(tmp_path: Path, form: str):
    text = "".join(CUE.format(n, start, end, n) for n, start, end in ((1, "0,200", "0,900"), (2, "0,200", "1,000")))
    assert cues(tmp_path, text + CUE.format(3, "1,200", "1,800", 3), form) == [0.2, 0.2, 1.2]


@pytest.mark.parametrize("ending", [".mkv", ".mp4", ".mov", ".webm"])
def test_chapters_that_overlap_keep_their_titles_and_starts(tmp_path: Path, ending: str):
    chapter = "[CHAPTER]\nTIMEBASE=1/1000\nSTART={}\nEND={}\ntitle={}\n"
    (tmp_path / "tags.txt").write_text(
        ";FFMETADATA1\n" + chapter.format(0, 400, "A") + chapter.format(0, 900, "B") + chapter.format(300, 800, "C")
    )
    both = ("-i", tmp_path / "tags.txt", "-map", 0, "-map_chapters", 1, "-c:v", "libx264")
    copy(ffmpeg(*pictures(), *both, tmp_path / "in.mkv"), tmp_path / f"out{ending}")
    with av.open(str(tmp_path / f"out{ending}")) as container:
        found = [
            (each["metadata"]["title"], float(each["start"] * cast(Fraction, each["time_base"])))
            for each in container.chapters()
        ]
    assert found == [("A", 0), ("B", 0), ("C", 0.3)]


@pytest.mark.parametrize(("name", "audio"), [("out.mp4", "aac"), ("out.webm", "copy")])
@pytest.mark.parametrize("change", [["-ac", 1], ["-ar", 32000]])
def test_sound_that_changes_on_the_way_is_encoded_to_its_end(tmp_path: Path, caplog, name: str, audio: str, change):
    first = ffmpeg(*pictures(), *tone(), "-c:v", "libx264", "-c:a", "ac3", "-ac", 2, tmp_path / "1.ts")
    second = ffmpeg(
        *pictures(), *tone(), "-c:v", "libx264", "-c:a", "ac3", *change, "-output_ts_offset", 1, tmp_path / "2.ts"
    )
    (tmp_path / "in.ts").write_bytes(first.read_bytes() + second.read_bytes())
    copy(tmp_path / "in.ts", tmp_path / name, audio=audio)
    assert "the sound changes to" in caplog.text
    sound = sound_of(tmp_path / name)
    with av.open(str(tmp_path / name)) as container:
        rate = container.streams.audio[0].rate
    assert np.abs(sound[-rate // 4 : -rate // 8]).max() > 0.05  # until the end
    seconds = [time for time, _ in tracks(tmp_path / name, "audio")[0].packets]
    assert min(np.diff(seconds)) > 0
    assert seconds[-1] - seconds[0] == pytest.approx(2, abs=0.1)


def test_copied_aac_that_changes_on_the_way_gets_a_warning(tmp_path: Path, caplog):
    parts = [
        ffmpeg(
            *pictures(0.4), *tone(0.4), "-c:v", "libx264", "-c:a", "aac", "-ac", channels, "-output_ts_offset", offset,
            tmp_path / f"{channels}.ts",
        )
        for channels, offset in ((1, 0), (2, 0.5))
    ]  # fmt: skip
    (tmp_path / "in.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    copy(tmp_path / "in.ts", tmp_path / "out.mp4")
    assert "the AAC sound changes its rate or channels on the way; audio=aac makes it the same" in caplog.messages
    caplog.clear()
    copy(parts[0], tmp_path / "same.mp4")
    assert not caplog.text


TAGS = {
    "title": "T",
    "com.apple.quicktime.location.ISO6709": "+48.2-16.3+151/",
    "com.apple.quicktime.make": "Apple",
    "com.apple.quicktime.creationdate": "2024-01-01T10:00:00+0200",
    "com.android.version": "14",
}


@pytest.mark.parametrize("name", ["out.mov", "out.mp4", "out.mkv"])
def test_tags_of_phones_are_kept(tmp_path: Path, caplog, name: str):
    tags = [part for each in TAGS.items() for part in ("-metadata", "=".join(each))]
    coding = ("-c:v", "libx264", "-movflags", "use_metadata_tags", *tags)
    copy(ffmpeg(*pictures(0.2), *coding, tmp_path / "in.mov"), tmp_path / name)
    with av.open(str(tmp_path / name)) as container:
        found = {tag.lower(): text for tag, text in container.metadata.items()}
    assert {tag: found.get(tag.lower()) for tag in TAGS} == TAGS
    assert not caplog.text


def test_timecode_is_kept_and_not_told_as_lost(tmp_path: Path, caplog):
    source = ffmpeg(*pictures(0.2), "-c:v", "libx264", "-timecode", "01:00:00:00", tmp_path / "in.mov")
    for name in ("out.mov", "out.mp4", "out.mkv"):
        copy(source, tmp_path / name)
        with av.open(str(tmp_path / name)) as container:
            tags = container.streams.video[0].metadata
            assert tags.get("timecode", tags.get("TIMECODE")) == "01:00:00:00"
    assert not caplog.text


def test_stereo_pictures_are_still_told_as_such(tmp_path: Path, caplog):
    source = ffmpeg(*pictures(0.2), "-c:v", "libx264", "-metadata:s:v", "stereo_mode=left_right", tmp_path / "in.mkv")
    for name, codec in (("out.mkv", "ffv1"), ("out.mp4", "auto"), ("out.webm", "auto")):
        copy(source, tmp_path / name, codec=codec)
        with VideoReader(tmp_path / name) as reader:
            assert reader.stereo == "left_right"
    assert not caplog.text
    copy(source, tmp_path / "hevc.mp4", codec="libx265")
    assert caplog.messages == ["libx265 cannot say here that the pictures are stereo (left_right); left out"]


def test_sound_subtitles_and_chapters_are_cut_with_the_pictures(tmp_path: Path):
    """Sound to the packet; a subtitle that is on screen when the part begins is shown from there on."""
    (tmp_path / "in.srt").write_text(
        "1\n00:00:00,200 --> 00:00:01,500\nfirst\n\n2\n00:00:02,000 --> 00:00:02,400\nsecond\n\n"
        "3\n00:00:03,000 --> 00:00:03,500\nthird\n"
    )
    (tmp_path / "chapters").write_text(
        ";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=1800\ntitle=one\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=1800\nEND=4000\ntitle=two\n"
    )
    source = ffmpeg(
        *pictures(4), *tone(4), "-i", tmp_path / "in.srt", "-i", tmp_path / "chapters", "-map", 0, "-map", 1, "-map", 2,
        "-map_chapters", 3, "-c:v", "libx264", "-g", 10, "-c:a", "libmp3lame", "-c:s", "srt", tmp_path / "in.mkv",
    )  # fmt: skip
    copy(source, tmp_path / "out.mkv", start=1.0, end=2.6)
    found, wanted = tracks(tmp_path / "out.mkv", "audio")[0].packets, tracks(source, "audio")[0].packets
    expected = [(time - 1, content) for time, content in wanted if 0.999 <= time < 2.6]
    assert [content for _, content in found] == [content for _, content in expected]
    assert [time for time, _ in found] == pytest.approx([time for time, _ in expected], abs=2e-3)
    subtitles = tracks(tmp_path / "out.mkv", "subtitle")[0].packets
    assert [content for _, content in subtitles] == [b"first", b"second"]
    assert [time for time, _ in subtitles] == pytest.approx([0, 1], abs=2e-3)
    with av.open(str(tmp_path / "out.mkv")) as container:
        edges = [
            float(chapter[edge] * cast(Fraction, chapter["time_base"]))
            for chapter in container.chapters()
            for edge in ("start", "end")
        ]
        assert edges == pytest.approx([0, 0.8, 0.8, 1.6], abs=2e-3)


def test_pcm_without_a_layout_goes_into_mp4_in_another_coding(tmp_path, caplog):
    with av.open(str(tmp_path / "in.mkv"), "w") as container:
        video, sound = container.add_stream("libx264", rate=25), container.add_stream("pcm_s16le", rate=8000)
        video.width, video.height, video.pix_fmt, sound.layout = 32, 32, "yuv420p", "stereo"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 3200), np.int16), "s16", "stereo")
        frame.sample_rate, frame.pts = 8000, 0
        for packet in sound.encode(frame):
            container.mux(packet)
        for number in range(5):
            picture = av.VideoFrame.from_ndarray(np.full((32, 32, 3), number * 40, np.uint8), "rgb24")
            for packet in video.encode(picture):
                container.mux(packet)
        for packet in video.encode(None):
            container.mux(packet)
    with VideoReader(tmp_path / "in.mkv") as reader, VideoWriter(tmp_path / "out.mp4", reader) as writer:
        for frames in reader:
            writer.write(frames)
    assert "mp4 cannot hold pcm_s16le sound: encoded again with aac" in caplog.text
    assert [track.codec for track in tracks(tmp_path / "out.mp4", "audio")] == ["aac"]


def test_matroska_may_shift_tracks_by_the_silence_before_slow_sound(tmp_path):
    source = clip(tmp_path / "in.mp4", "-ar", "8000", "-c:a", "aac", seconds=0.4, size="32x32")
    with VideoReader(source) as reader, VideoWriter(tmp_path / "out.mkv", reader) as writer:
        for frames in reader:
            writer.write(frames)
    assert len(times(tmp_path / "out.mkv")) == 10
