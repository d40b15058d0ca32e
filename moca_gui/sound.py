"""The picture of the clip's sound: envelope and spectrogram, read in jobs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QObject, QTimer, Signal

from moca_core.media.audio import AudioReader
from moca_core.media.waveform import WaveformPyramid, spectrogram
from moca_gui.jobs import Job, JobPool, JobState
from moca_gui.session import Clip

Samples = NDArray[np.float32]

RATE_HZ = 16000
BANDS = 64
OVERVIEW_COLUMNS = 2048
DETAIL_COLUMNS = 1600
RANGE_DB = 75.0  # from the loudest place down to black
_REDRAW_EVERY_S = 0.25
MOST_DOUBLINGS = 5  # of the waveform of a quiet clip: 30 dB
_SETTLE_MS = 120  # a zoom comes in many steps; only its end is worth a spectrogram


class Envelope(Protocol):
    """What is needed of `moca_core.media.waveform.WaveformPyramid`."""

    def envelope(self, start_s: float, stop_s: float, columns: int) -> tuple[Samples, Samples]:
        """(columns,) lowest and highest samples."""
        ...


class Spectra(Protocol):
    """Computes a spectrogram of a stretch of sound."""

    def between(self, start_s: float, stop_s: float, columns: int) -> Spectrum:
        """May take a while: call it in a job."""
        ...

    def close(self) -> None:
        """Give the sound back."""
        ...


@dataclass(frozen=True, eq=False)
class Spectrum:
    """(bands, columns) uint8 loudness from `start_s` to `stop_s`, low bands first."""

    levels: NDArray[np.uint8]
    start_s: float
    stop_s: float


@dataclass(frozen=True, eq=False)
class SoundPart:
    """News of the sound; what is None stays as it was."""

    pyramid: Envelope | None = None
    overview: Spectrum | None = None
    spectra: Spectra | None = None
    note: str = ""


class SharedSound:
    """The decoded sound behind a lock: the reader's file has one position for all threads."""

    def __init__(self, reader: AudioReader) -> None:
        self.rate_hz = reader.rate_hz
        self.top_db = -60.0
        self._reader: AudioReader | None = reader
        self._lock = threading.Lock()

    def samples(self, start: int, stop: int) -> Samples:
        """(stop - start,) float32; zeros outside the sound and after `close`."""
        with self._lock:
            if self._reader is None:
                return np.zeros(max(stop - start, 0), np.float32)
            return self._reader.samples(start, stop)

    def decode(self) -> Iterator[Samples]:
        """Yield the blocks as they are decoded."""
        assert self._reader is not None
        blocks = self._reader.decode()
        try:
            while True:
                with self._lock:
                    block = next(blocks, None)
                if block is None:
                    return
                yield block
        finally:
            blocks.close()  # type: ignore[attr-defined]

    def between(self, start_s: float, stop_s: float, columns: int) -> Spectrum:
        """The spectrogram of a stretch, in the scale of the whole clip."""
        level = spectrogram(self, start_s, stop_s, columns, BANDS)  # (BANDS, columns) dB
        self.top_db = max(self.top_db, float(level.max()))
        scaled = (level - (self.top_db - RANGE_DB)) / RANGE_DB
        return Spectrum(
            np.clip(np.nan_to_num(scaled) * 255, 0, 255).astype(np.uint8), start_s, stop_s
        )

    def close(self) -> None:
        """Give the file back."""
        with self._lock:
            if self._reader is not None:
                self._reader.close()
            self._reader = None


class SoundPicture(QObject):
    """What the timeline paints of the sound. Filled by jobs; `changed` tells of news."""

    changed = Signal()

    def __init__(
        self,
        pool: JobPool,
        read: Callable[[Clip], Iterator[SoundPart]],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.message = ""
        self.notes: list[str] = []
        self._pool = pool
        self._read = read
        self._job: Job | None = None
        self._detail_job: Job | None = None
        self._pyramid: Envelope | None = None
        self._spectra: Spectra | None = None
        self._overview: Spectrum | None = None
        self._detail: Spectrum | None = None
        self._clip: Clip | None = None
        self._wanted: tuple[float, float] | None = None
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(_SETTLE_MS)
        self._settle.timeout.connect(self._compute_detail)

    def load(self, clip: Clip | None) -> None:
        """Forget the old clip's sound and begin to read that of `clip`."""
        self.release()
        self.message = ""
        self._clip = clip
        if clip is not None and not clip.has_audio:
            self.message = "no audio track"
        elif clip is not None:
            self.message = "reading the sound"
            job = self._pool.start(
                "waveform", lambda: self._read(clip), on_finished=self._on_finished
            )
            job.yielded.connect(lambda part: self._take(job, part))
            self._job = job
        self.changed.emit()

    def release(self) -> None:
        """Stop reading and let go of the sound."""
        self._settle.stop()
        for job in (self._job, self._detail_job):
            if job is not None:
                job.cancel()
        if self._spectra is not None:
            self._spectra.close()
        self._job = self._detail_job = None
        self._pyramid = self._spectra = self._overview = self._detail = self._wanted = None
        self.notes = []

    def _take(self, job: Job, part: SoundPart) -> None:
        if job is not self._job:
            if part.spectra is not None:
                part.spectra.close()
            return  # of the clip before
        self.message = ""
        self._pyramid = part.pyramid or self._pyramid
        self._overview = part.overview or self._overview
        self._spectra = part.spectra or self._spectra
        if part.note:
            self.notes.append(part.note)
        self.changed.emit()

    def _on_finished(self, job: Job) -> None:
        if job is self._job:
            self._job = None
            if job.state is JobState.FAILED:
                self.message = f"the sound can't be read: {job.error}"
                self.changed.emit()

    def envelope(self, start_s: float, stop_s: float, columns: int) -> tuple[Samples, Samples]:
        """(columns,) lowest and (columns,) highest sample of each column; empty before reading."""
        if self._pyramid is None:
            nothing = np.empty(0, np.float32)
            return nothing, nothing
        low, high = self._pyramid.envelope(start_s, stop_s, columns)
        # An exception inside painting would end the program: nothing but numbers goes there.
        return np.nan_to_num(low), np.nan_to_num(high)

    @property
    def gain(self) -> float:
        """What the waveform is multiplied by to be seen: 1, 2, 4 and so on."""
        duration_s = 0.0 if self._clip is None else self._clip.duration_s
        low, high = self.envelope(0.0, duration_s, 1)
        if not len(low) or not duration_s:
            return 1.0
        peak = max(float(high[0]), -float(low[0]), 1e-9)
        return 2.0 ** min(max(int(np.floor(np.log2(0.95 / peak))), 0), MOST_DOUBLINGS)

    def spectrum(self, start_s: float, stop_s: float) -> list[Spectrum]:
        """What is known between two times, to be painted in this order.

        Asks for a finer one, to be announced by `changed`, where the overview is too coarse.
        """
        known = [item for item in (self._overview, self._detail) if item is not None]
        overview = self._overview
        if overview is not None and self._spectra is not None:
            share = (stop_s - start_s) / max(overview.stop_s - overview.start_s, 1e-9)
            if share < 0.7 and self._wanted != (start_s, stop_s):
                self._wanted = (start_s, stop_s)
                self._settle.start()
        return known

    def _compute_detail(self) -> None:
        spectra, wanted = self._spectra, self._wanted
        if spectra is None or wanted is None:
            return
        if self._detail_job is not None:
            self._settle.start()  # one at a time
            return

        def compute() -> Iterator[Spectrum]:
            yield spectra.between(*wanted, DETAIL_COLUMNS)

        job = self._pool.start("spectrogram", compute, on_finished=self._forget_detail_job)
        job.yielded.connect(lambda found: self._take_detail(job, found))
        self._detail_job = job

    def _take_detail(self, job: Job, found: Spectrum) -> None:
        if job is self._detail_job:
            self._detail = found
            self.changed.emit()

    def _forget_detail_job(self, job: Job) -> None:
        if job is self._detail_job:
            self._detail_job = None


def read_sound(clip: Clip) -> Iterator[SoundPart]:
    """Read the clip's sound; yields the envelope as it grows, then the spectrogram."""
    reader = AudioReader(clip.path, RATE_HZ)
    shared = SharedSound(reader)
    pyramid = WaveformPyramid(RATE_HZ, shared)
    handed_over = False
    try:
        drawn = 0.0
        for block in shared.decode():
            pyramid.add(block)
            if time.monotonic() - drawn > _REDRAW_EVERY_S:
                drawn = time.monotonic()
                yield SoundPart(pyramid=pyramid)
        yield SoundPart(pyramid=pyramid, spectra=shared)
        handed_over = True  # a job that was cancelled drops the part and doesn't come back here
        note = "; ".join(reader.notes)
        end_s = max(clip.duration_s, reader.duration_s)  # the sound may be known before the picture
        yield SoundPart(overview=shared.between(0.0, end_s, OVERVIEW_COLUMNS), note=note)
    finally:
        if not handed_over:
            shared.close()
