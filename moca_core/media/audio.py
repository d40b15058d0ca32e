"""The sound of a clip on the clip's clock: samples for the method, and blocks for playback."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import soxr
from av.audio.frame import AudioFrame
from numpy.typing import NDArray

from moca_core.errors import MediaError, StorageError
from moca_core.media.probe import (
    AudioInfo,
    audio_info,
    audio_stream,
    clock_zero,
    opened,
    safe_demux,
)

Samples = NDArray[np.float32]

# A packet's time stamp may be this far from where the samples before it end: containers round
# stamps to milliseconds. A lost packet (20 ms or more in most codecs) must be seen.
_JITTER_S = 0.005
# Decoders need what comes before: Opus asks for 80 ms, AAC and MP3 for two packets.
_PREROLL_S = 0.25
_SILENCE_BLOCK_S = 0.1
_SAMPLE_BYTES = 4
# Full scale is 1. What lies this far outside is no sound, and its square would soon overflow.
_LOUDEST = np.float32(1e6)


def frame_window(time_s: float, window_s: float, duration_s: float) -> tuple[float, float]:
    """Audio window (start, stop) in seconds of the frame at `time_s`.

    Centred on the frame and shifted to lie inside the clip; of a clip shorter than the window it
    is (0, window_s), the end of which is zeros (METHOD.md section 2).
    """
    start = min(time_s - window_s / 2, duration_s - window_s)
    start = max(start, 0.0)
    return start, start + window_s


def is_silent(samples: Samples, floor_dbfs: float = -60.0) -> bool:
    """True if the RMS of (n,) samples in [-1, 1] is below `floor_dbfs` (METHOD.md section 2)."""
    if not len(samples):
        return True
    rms = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
    return rms < 10 ** (floor_dbfs / 20)


def open_audio(
    path: str | Path, rate_hz: int = 16000, should_stop: Callable[[], bool] | None = None
) -> AudioReader:
    """Decode the whole sound of a clip and return its reader.

    `should_stop` is asked after each block; when it says True, the reader holds the sound up to
    there. Use `AudioReader` and its `decode` where progress is to be shown.

    Raises
    ------
    NoAudioError : the clip has no sound track.
    MediaError : the file can't be opened.
    StorageError : the temporary folder is full.
    """
    reader = AudioReader(path, rate_hz)
    try:
        for _ in reader.decode():
            if should_stop is not None and should_stop():
                break
    except BaseException:
        reader.close()
        raise
    return reader


class AudioReader:
    """The sound as mono samples at one rate, kept in a temporary file: memory stays bounded.

    Sample 0 is at time 0 of the clip's clock; sound that starts late is preceded by zeros, and
    gaps are zeros. Channels are averaged before anything else (METHOD.md section 2). One thread may
    decode while others read.

    Parameters
    ----------
    path : the clip.
    rate_hz : sample rate wanted.

    Raises
    ------
    NoAudioError : the clip has no sound track.
    MediaError : the file can't be opened.
    """

    def __init__(self, path: str | Path, rate_hz: int = 16000) -> None:
        self.path = Path(path)
        self.rate_hz = rate_hz
        self._source = _Source(self.path)
        self._file = tempfile.TemporaryFile(prefix="moca-sound-")  # noqa: SIM115
        self._count = 0
        self._lock = threading.Lock()  # the file has one position for reading and writing

    @property
    def info(self) -> AudioInfo:
        """Codec, rate and channels of the sound track."""
        return self._source.info

    @property
    def duration_s(self) -> float:
        """End of the sound decoded so far, in seconds on the clip's clock."""
        return self._count / self.rate_hz

    @property
    def notes(self) -> tuple[str, ...]:
        """What was wrong with the sound track, in words for the user."""
        damaged, invalid = self._source.damaged, self._source.invalid
        found = []
        if damaged:
            found.append(f"{damaged} damaged sound packets were skipped")
        if invalid:
            found.append(f"{invalid} samples of the sound aren't numbers; they count as silence")
        return tuple(found)

    def decode(self) -> Iterator[Samples]:
        """Decode from the start, and yield each new (n,) block; call it once.

        Blocks can be read by `samples` and `window` as soon as they were yielded; close the
        generator to stop early.
        """
        resampler = soxr.ResampleStream(self.info.rate_hz, self.rate_hz, 1, dtype="float32")
        nothing = np.empty(0, np.float32)
        for block in self._source.blocks(0.0, self._source.mono):
            yield from self._store(resampler.resample_chunk(block[:, 0]))
        yield from self._store(resampler.resample_chunk(nothing, last=True))

    def _store(self, samples: Samples) -> Iterator[Samples]:
        if not len(samples):
            return
        try:
            with self._lock:
                self._file.seek(self._count * _SAMPLE_BYTES)
                self._file.write(samples.astype("<f4").tobytes())
                self._file.flush()
        except OSError as error:
            raise StorageError(
                f"{tempfile.gettempdir()}: no room for the sound of {self.path.name}"
                f" ({error.strerror or error})",
                "Free some space, or point TMPDIR to another folder.",
            ) from error
        self._count += len(samples)
        yield samples

    def samples(self, start: int, stop: int) -> Samples:
        """(stop - start,) float32 samples by number; zeros before the start and after the end."""
        out = np.zeros(max(stop - start, 0), np.float32)
        first, last = max(start, 0), min(stop, self._count)
        if first < last:
            with self._lock:
                self._file.seek(first * _SAMPLE_BYTES)
                data = self._file.read((last - first) * _SAMPLE_BYTES)
            out[first - start : last - start] = np.frombuffer(data, dtype="<f4")
        return out

    def window(self, start_s: float, stop_s: float) -> Samples:
        """(n,) float32 samples from `start_s` to `stop_s`, n = the nearest to their distance."""
        start = round(start_s * self.rate_hz)
        return self.samples(start, start + round((stop_s - start_s) * self.rate_hz))

    def close(self) -> None:
        """Delete the temporary file. May be called twice."""
        self._file.close()

    def __enter__(self) -> AudioReader:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


class PlaybackDecoder:
    """Stereo blocks for a sound device, from any position. Each walk opens the file anew, so that
    an old walk may end in its own thread while a new one begins.

    Parameters
    ----------
    path : the clip.
    rate_hz : sample rate of the device.

    Raises
    ------
    NoAudioError : the clip has no sound track.
    MediaError : the file can't be opened.
    """

    def __init__(self, path: str | Path, rate_hz: int = 48000) -> None:
        self.rate_hz = rate_hz
        self._source = _Source(Path(path))

    def blocks(self, start_s: float = 0.0) -> Iterator[Samples]:
        """Yield (n, 2) float32 blocks; the first sample is at `start_s` on the clip's clock."""
        rate = self._source.info.rate_hz
        stereo = av.AudioResampler(format="flt", layout="stereo", rate=rate)

        def mix(frame: AudioFrame) -> Samples:
            parts = [part.to_ndarray().reshape(-1, 2) for part in stereo.resample(frame)]
            return np.concatenate(parts) if parts else np.empty((0, 2), np.float32)

        resampler = soxr.ResampleStream(rate, self.rate_hz, 2, dtype="float32")
        for block in self._source.blocks(max(start_s, 0.0), mix, channels=2):
            out = resampler.resample_chunk(np.ascontiguousarray(block))
            if len(out):
                yield out
        out = resampler.resample_chunk(np.empty((0, 2), np.float32), last=True)
        if len(out):
            yield out


class _Source:
    """The sound track at its own rate, put on the clip's clock."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with opened(path) as container:
            audio_stream(container, path)
            info = audio_info(container)
        if info is None or info.rate_hz <= 0 or info.channels <= 0:
            raise MediaError(
                f"{path.name}: the sound track can't be read",
                "It may be damaged; convert the clip again from its source.",
            )
        self.info = info
        self.damaged = 0
        self.invalid = 0  # samples set to zero by the walk
        self._zero_s = clock_zero(path)

    def blocks(
        self, start_s: float, mix: Callable[[AudioFrame], Samples], channels: int = 1
    ) -> Iterator[Samples]:
        """Yield (n, channels) float32 blocks without a gap, from `start_s` on."""
        rate = self.info.rate_hz
        jitter = round(_JITTER_S * rate)
        place = round(start_s * rate)  # where the next block has to begin
        settled = False
        for frame in self._frames(start_s):
            block = self._valid(mix(frame))
            if frame.sample_rate != rate and len(block):
                block = soxr.resample(block, frame.sample_rate, rate).reshape(-1, channels)
            begins = place if frame.pts is None else self._sample_at(frame)
            if settled and abs(begins - place) <= jitter:
                begins = place
            if begins > place:
                yield from _silence(begins - place, channels, rate)
                place = begins
            block = block[place - begins :]
            if len(block):
                settled = True
                place += len(block)
                yield block

    def mono(self, frame: AudioFrame) -> Samples:
        """(n, 1) float32 mean over the channels of a decoded frame."""
        data = frame.to_ndarray()
        channels = frame.layout.nb_channels
        if not frame.format.is_planar:
            data = data.reshape(-1, channels).T  # (1, n * channels) -> (channels, n)
        # Before the mean: one bad channel must not silence the others.
        return self._valid(_to_float(data)).mean(axis=0, dtype=np.float32)[:, None]

    def _valid(self, data: Samples) -> Samples:
        """Samples of any shape, with zeros for those that a float track can hold but nobody hear:
        NaN, infinity and absurd sizes. One of them would spoil every sum it takes part in."""
        valid = np.abs(data) <= _LOUDEST  # False for NaN
        if valid.all():
            return data
        self.invalid += int(valid.size - np.count_nonzero(valid))
        return np.where(valid, data, np.float32(0))

    def _sample_at(self, frame: AudioFrame) -> int:
        stamp_s = float((frame.pts or 0) * (frame.time_base or 0))
        return round((stamp_s - self._zero_s) * self.info.rate_hz)

    def _frames(self, start_s: float) -> Iterator[AudioFrame]:
        self.damaged = self.invalid = 0
        with opened(self._path) as container:
            stream = audio_stream(container, self._path)
            if start_s > _PREROLL_S and stream.time_base:
                stamp = (start_s + self._zero_s - _PREROLL_S) / float(stream.time_base)
                try:
                    container.seek(int(stamp), stream=stream, backward=True)
                except av.FFmpegError:
                    container.seek(0)
            for packet in safe_demux(container, stream):
                try:
                    frames = stream.decode(packet)
                except av.FFmpegError:
                    self.damaged += 1
                    continue
                yield from frames


def _to_float(data: NDArray) -> Samples:
    """Samples of any format as float32 in [-1, 1]."""
    if data.dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):  # becomes infinite, and then silent
            return data.astype(np.float32, copy=False)
    if data.dtype == np.uint8:
        return (data.astype(np.float32) - np.float32(128)) / np.float32(128)
    scale = np.float32(-int(np.iinfo(data.dtype).min))
    return data.astype(np.float32) / scale


def _silence(count: int, channels: int, rate: int) -> Iterator[Samples]:
    """`count` zero samples in blocks, so that a long gap needs no memory."""
    step = max(1, round(_SILENCE_BLOCK_S * rate))
    for done in range(0, count, step):
        yield np.zeros((min(step, count - done), channels), np.float32)
