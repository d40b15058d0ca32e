"""The sound stands on the clip's clock: clicks are where they were put."""

from __future__ import annotations

import threading
import tracemalloc
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from data.make_clips import ClipSpec, make_clip, make_sound

from moca_core.errors import MediaError, NoAudioError, StorageError
from moca_core.media import audio
from moca_core.media.audio import (
    AudioReader,
    PlaybackDecoder,
    frame_window,
    is_silent,
    open_audio,
)

SHORT = {"options": {"g": "12"}, "frames": 60}


def clicks(samples: np.ndarray, rate_hz: int) -> list[float]:
    """Middles in seconds of the loud clicks of the test sound."""
    loud = np.flatnonzero(np.abs(samples) > 0.5)
    groups = np.split(loud, np.flatnonzero(np.diff(loud) > rate_hz // 20) + 1)
    return [float(group.mean()) / rate_hz for group in groups]


@pytest.mark.parametrize(
    ("time_s", "expected"),
    [
        (5.0, (4.0, 6.0)),  # centred
        (0.3, (0.0, 2.0)),  # shifted inside at the start
        (9.9, (8.0, 10.0)),  # and at the end
        (0.0, (0.0, 2.0)),
    ],
)
def test_frame_window(time_s: float, expected: tuple[float, float]) -> None:
    assert frame_window(time_s, 2.0, 10.0) == pytest.approx(expected)


def test_the_window_of_a_short_clip_begins_at_zero() -> None:
    assert frame_window(0.4, 2.0, 0.5) == (0.0, 2.0)
    assert frame_window(0.0, 2.0, 0.1) == (0.0, 2.0)


def test_silence_is_an_rms_below_minus_sixty_dbfs() -> None:
    # A square wave's RMS is its amplitude; -60 dBFS is 0.001.
    wave = np.tile(np.array([1, -1], np.float32), 8000)
    assert is_silent(wave * 0.00099)
    assert not is_silent(wave * 0.00101)
    assert is_silent(wave * 0.00101, floor_dbfs=-59)
    assert is_silent(np.zeros(16000, np.float32))
    assert is_silent(np.zeros(0, np.float32))


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [
        ("a.mp4", "aac", 48000),
        ("a.mkv", "libopus", 48000),
        ("b.mkv", "libmp3lame", 44100),
        ("c.mkv", "pcm_s16le", 22050),
        ("d.mkv", "flac", 44100),
    ],
)
def test_clicks_are_in_time(tmp_path: Path, name: str, codec: str, rate: int) -> None:
    path = make_clip(tmp_path / name, ClipSpec(audio=codec, audio_rate=rate, **SHORT))
    with open_audio(path) as reader:
        assert reader.rate_hz == 16000
        assert reader.duration_s == pytest.approx(2.4, abs=0.03)
        everything = reader.window(0, 2.4)
        found = clicks(everything, 16000)
        # The first click is cut in half by the start of the sound.
        assert found[1:] == pytest.approx([0.5, 1.0, 1.5, 2.0], abs=0.002)
        assert np.array_equal(reader.window(0.9, 1.1), everything[14400:17600])


@pytest.mark.parametrize(("name", "codec"), [("late.mp4", "aac"), ("late.mkv", "libopus")])
def test_sound_that_starts_late_is_preceded_by_silence(
    tmp_path: Path, name: str, codec: str
) -> None:
    path = make_clip(tmp_path / name, ClipSpec(audio=codec, audio_start_ms=800, **SHORT))
    with open_audio(path) as reader:
        everything = reader.window(0, 2.4)
        assert np.abs(everything[: int(0.78 * 16000)]).max() < 1e-3
        assert clicks(everything, 16000) == pytest.approx([1.0, 1.5, 2.0], abs=0.003)
        assert is_silent(reader.window(0, 0.7))
        assert not is_silent(reader.window(0.9, 1.6))


def test_sound_before_the_picture_begins_the_clock(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", ClipSpec(audio="aac", start_ms=700, **SHORT))
    with open_audio(path) as reader:
        assert clicks(reader.window(0, 2.4), 16000)[1:] == pytest.approx(
            [0.5, 1.0, 1.5, 2.0], abs=0.002
        )


def test_channels_are_averaged(tmp_path: Path) -> None:
    path = tmp_path / "stereo.wav"
    left = np.full(4800, 0.5, np.float32)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_f32le", rate=48000, layout="stereo")
        frame = av.AudioFrame.from_ndarray(
            np.stack([left, -0.25 * left], axis=1).reshape(1, -1), format="flt", layout="stereo"
        )
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with open_audio(path, 48000) as reader:
        np.testing.assert_allclose(reader.samples(100, 4700), 0.1875, atol=1e-6)


@pytest.mark.parametrize("codec", ["pcm_u8", "pcm_s16le", "pcm_s32le", "pcm_f32le", "pcm_f64le"])
def test_sample_formats_have_the_same_scale(tmp_path: Path, codec: str) -> None:
    path = make_clip(tmp_path / "a.mkv", ClipSpec(audio=codec, **SHORT))
    with open_audio(path, 48000) as reader:
        click = reader.window(0.4995, 0.5005)
        np.testing.assert_allclose(click, 0.9, atol=0.01)


def test_lost_packets_leave_a_gap_and_nothing_moves(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "source.mkv", ClipSpec(audio="libopus", **SHORT))
    path = tmp_path / "gap.mkv"
    with av.open(str(source)) as read, av.open(str(path), "w") as written:
        kept = read.streams.audio[0]
        copy = written.add_stream_from_template(kept)
        for packet in read.demux(kept):
            inside = packet.pts is not None and 600 <= packet.pts < 900
            if packet.size and not inside:
                packet.stream = copy
                written.mux(packet)
    with open_audio(path) as reader:
        assert np.abs(reader.window(0.65, 0.85)).max() == 0
        assert clicks(reader.window(0, 2.4), 16000)[1:] == pytest.approx(
            [0.5, 1.0, 1.5, 2.0], abs=0.002
        )


def test_damaged_packets_are_skipped_with_a_note(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", ClipSpec(audio="aac", **SHORT))
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        spots = [(packet.pos, packet.size) for packet in container.demux(stream) if packet.size]
    data = bytearray(path.read_bytes())
    for place, size in spots[30:34]:
        data[place : place + size] = b"\xff" * size
    path.write_bytes(bytes(data))
    with open_audio(path) as reader:
        assert "damaged" in reader.notes[0]
        assert reader.duration_s == pytest.approx(2.4, abs=0.03)
        assert clicks(reader.window(0, 2.4), 16000)[-2:] == pytest.approx([1.5, 2.0], abs=0.002)


def float_sound(path: Path, left: np.ndarray, right: np.ndarray) -> Path:
    """A file with (n,) float samples in each channel, kept as they are, at 16 kHz."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_f32le", rate=16000, layout="stereo")
        packed = np.stack([left, right], axis=1).astype(np.float32).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout="stereo")
        frame.sample_rate, frame.pts = 16000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
def test_samples_that_are_no_numbers_count_as_silence(tmp_path: Path, bad: float) -> None:
    left = np.full(16000, 0.5)
    left[4000:4100] = bad
    path = float_sound(tmp_path / "bad.mkv", left, np.full(16000, 0.25))
    with open_audio(path) as reader:
        found = reader.samples(0, 16000)
        assert reader.notes == ("100 samples of the sound aren't numbers; they count as silence",)
    assert found[[3000, 5000]] == pytest.approx(0.375)
    assert found[4000:4100] == pytest.approx(0.125)  # the other channel's half
    played = np.concatenate(list(PlaybackDecoder(path, 16000).blocks()))
    assert np.abs(played).max() < 0.6


def test_reading_outside_the_sound_gives_zeros(tmp_path: Path) -> None:
    with open_audio(make_sound(tmp_path / "a.mp3", "libmp3lame", 0.1)) as reader:
        window = reader.window(*frame_window(0.05, 2.0, reader.duration_s))
        assert window.shape == (32000,)
        assert window.dtype == np.float32
        assert np.abs(window[:1600]).max() > 0.05
        assert np.abs(window[4000:]).max() == 0
        assert np.array_equal(reader.samples(-50, 0), np.zeros(50))


def test_no_sound_track(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "silent.mp4", ClipSpec(frames=3))
    for attempt in (open_audio, AudioReader, PlaybackDecoder):
        with pytest.raises(NoAudioError, match="no audio track"):
            attempt(path)


def test_no_clip(tmp_path: Path) -> None:
    path = tmp_path / "text.mp4"
    path.write_text("words")
    with pytest.raises(MediaError, match="not a media file"):
        open_audio(path)


def test_decoding_can_be_stopped_and_shows_its_progress(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mkv", ClipSpec(audio="pcm_s16le", **SHORT))
    with AudioReader(path) as reader:
        walk = reader.decode()
        seen = 0
        while seen < 16000:
            seen += len(next(walk))
            assert reader.duration_s == seen / 16000
        walk.close()
        assert 1.0 <= reader.duration_s < 1.5
        assert np.abs(reader.window(0.4, 0.6)).max() > 0.8
    with open_audio(path, should_stop=lambda: True) as reader:
        assert reader.duration_s < 0.5


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_clip(tmp_path / "a.mkv", ClipSpec(audio="pcm_s16le", **SHORT))

    class Full:
        def __getattr__(self, name: str) -> object:
            return lambda *_: None

        def write(self, data: bytes) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(audio.tempfile, "TemporaryFile", lambda **_: Full())
    with pytest.raises(StorageError, match="No space left") as raised:
        open_audio(path)
    assert raised.value.hint


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    peaks = []
    for minutes in (1, 8):
        path = tmp_path / f"{minutes}.wav"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("pcm_s16le", rate=16000, layout="mono")
            frame = av.AudioFrame.from_ndarray(
                np.ones((1, 16000), np.int16), format="s16", layout="mono"
            )
            frame.sample_rate, frame.time_base = 16000, Fraction(1, 16000)
            for second in range(60 * minutes):
                frame.pts = second * 16000
                container.mux(stream.encode(frame))
        tracemalloc.start()
        with open_audio(path, 8000) as reader:
            assert reader.duration_s == pytest.approx(60 * minutes, abs=0.01)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # The samples of the long file alone are 15 MB.
    assert peaks[1] < peaks[0] + 500_000


@pytest.mark.parametrize(
    ("name", "codec", "layout", "rate"),
    [
        ("a.mp4", "aac", "stereo", 48000),
        ("a.mkv", "libopus", "mono", 48000),
        ("b.mp4", "aac", "5.1", 44100),
        ("c.mkv", "pcm_s16le", "mono", 22050),
    ],
)
def test_playback_from_anywhere_is_in_time(
    tmp_path: Path, name: str, codec: str, layout: str, rate: int
) -> None:
    spec = ClipSpec(audio=codec, audio_layout=layout, audio_rate=rate, **SHORT)
    decoder = PlaybackDecoder(make_clip(tmp_path / name, spec), 48000)
    for start in (0.0, 0.137, 0.9, 1.7):
        blocks = list(decoder.blocks(start))
        assert all(block.dtype == np.float32 and block.shape[1] == 2 for block in blocks)
        sound = np.concatenate(blocks)
        assert len(sound) / 48000 == pytest.approx(2.4 - start, abs=0.03)
        expected = [t for t in (0.5, 1.0, 1.5, 2.0) if t > start]
        loud = sound[:, 0] / np.abs(sound[:, 0]).max()
        found = [t + start for t in clicks(loud, 48000)][-len(expected) :]
        assert found == pytest.approx(expected, abs=0.003)


def test_playback_of_late_sound_begins_with_silence(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", ClipSpec(audio="aac", audio_start_ms=800, **SHORT))
    sound = np.concatenate(list(PlaybackDecoder(path).blocks(0.3)))
    assert np.abs(sound[: int(0.45 * 48000)]).max() < 1e-3
    assert clicks(sound[:, 0] * 1.4, 48000)[0] == pytest.approx(0.7, abs=0.003)


def test_playback_past_the_end_is_over_at_once(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", ClipSpec(audio="aac", **SHORT))
    assert sum(len(block) for block in PlaybackDecoder(path).blocks(9.0)) == 0


def test_two_walks_in_two_threads(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mkv", ClipSpec(audio="pcm_s16le", **SHORT))
    decoder = PlaybackDecoder(path)
    expected = np.concatenate(list(decoder.blocks(0.5)))
    results: list[np.ndarray] = []

    def play() -> None:
        results.append(np.concatenate(list(decoder.blocks(0.5))))

    threads = [threading.Thread(target=play) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(result, expected) for result in results)
    assert len(results) == 2


@pytest.mark.data
def test_the_development_clips(dev_data: Path) -> None:
    lengths = {
        "bbb_5.1ch.mp4": 5.312,
        "pancake_h264_opus48k_mono.mkv": 10.37,
        "test_mpeg4_mp3.avi": 6.56,
        "two_speakers_avobjects.mp4": 10.0,
    }
    for name, seconds in lengths.items():
        with open_audio(dev_data / "clips" / name) as reader:
            assert reader.duration_s == pytest.approx(seconds, abs=0.02)
            assert not is_silent(reader.window(1, 3))
            assert not reader.notes
    with open_audio(dev_data / "clips" / "no_duration_vp9_opus.webm") as reader:
        assert is_silent(reader.window(0, 2))
