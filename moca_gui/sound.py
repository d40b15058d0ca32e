"""The picture of the clip's sound: envelope and spectrogram, read in a job."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QObject, Signal

from moca_gui.jobs import Job, JobPool, JobState
from moca_gui.session import Clip

Samples = NDArray[np.float32]


class Envelope(Protocol):
    """What is needed of `moca_core.media.waveform.WaveformPyramid`."""

    def envelope(self, start_s: float, stop_s: float, columns: int) -> tuple[Samples, Samples]:
        """(columns,) lowest and highest samples."""
        ...


@dataclass(frozen=True, eq=False)
class SoundPart:
    """News of the sound; what is None stays as it was.

    Attributes
    ----------
    pyramid : the envelope.
    levels : (bands, columns) uint8 loudness, low bands first.
    covers_s : seconds that the columns cover, from 0.
    top_hz : frequency of the highest band.
    """

    pyramid: Envelope | None = None
    levels: NDArray[np.uint8] | None = None
    covers_s: float = 0.0
    top_hz: float = 0.0


class SoundPicture(QObject):
    """What the timeline paints of the sound. Filled by a job; `changed` tells of news."""

    changed = Signal()

    def __init__(
        self,
        pool: JobPool,
        read: Callable[[Clip], Iterator[SoundPart]],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.message = ""
        self.top_hz = 0.0
        self._pool = pool
        self._read = read
        self._job: Job | None = None
        self._pyramid: Envelope | None = None
        self._levels: NDArray[np.uint8] | None = None
        self._covers_s = 0.0

    def load(self, clip: Clip | None) -> None:
        """Forget the old clip's sound and begin to read that of `clip`."""
        if self._job is not None:
            self._job.cancel()
        self._job = None
        self._pyramid = self._levels = None
        self.top_hz = 0.0
        self.message = ""
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

    def _take(self, job: Job, part: SoundPart) -> None:
        if job is not self._job:
            return  # of the clip before
        self.message = ""
        if part.pyramid is not None:
            self._pyramid = part.pyramid
        if part.levels is not None:
            self._levels, self._covers_s, self.top_hz = part.levels, part.covers_s, part.top_hz
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
        return self._pyramid.envelope(start_s, stop_s, columns)

    def spectrogram(self) -> tuple[NDArray[np.uint8] | None, float]:
        """(bands, columns) uint8 loudness, low bands first, and the seconds it covers."""
        return self._levels, self._covers_s


def read_sound(clip: Clip) -> Iterator[SoundPart]:
    """Read the clip's sound; yields the envelope, then the spectrogram."""
    raise NotImplementedError
    yield SoundPart()
