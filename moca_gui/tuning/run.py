"""The one training run of the window: started, watched, ended. No widgets."""

from __future__ import annotations

import enum
import logging
import threading
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from PySide6.QtCore import QObject, Signal

from moca_core.errors import MocaError
from moca_core.training.config import TrainConfig
from moca_core.training.events import SavedEvent, StepEvent
from moca_gui.eta import Pace
from moca_gui.jobs import Job, JobPool, JobState
from moca_gui.tuning.draft import has_files
from moca_gui.tuning.source import ADAPTER_FILE, BEST_FILE, CHECKPOINT_FILE, TuningSource

_log = logging.getLogger(__name__)


class Phase(enum.Enum):
    """Where a run stands."""

    IDLE = "idle"
    PREPARING = "preparing"
    TRAINING = "training"
    STOPPING = "stopping"  # after the iteration that is under way, and keeps what is there
    DISCARDING = "discarding"  # at the next event, and removes what it made


class End(enum.Enum):
    """How a run ended."""

    FINISHED = "finished"
    KEPT = "kept"  # before its last iteration; it can be gone on with
    DISCARDED = "discarded"
    FAILED = "failed"


@dataclass(frozen=True)
class Ended:
    """How a run ended, after which iteration, and what it left."""

    end: End
    step: int
    folder: Path
    adapters: tuple[Path, ...] = ()
    error: BaseException | None = None


class TuningRun(QObject):
    """At most one run at a time.

    Signals: `told(event)` for each event of the trainer, `ended(Ended)` once, `changed` whenever
    the phase does.
    """

    changed = Signal()
    told = Signal(object)
    ended = Signal(object)

    def __init__(self, pool: JobPool, source: TuningSource, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.config = TrainConfig()
        self.folder = Path()
        self.phase = Phase.IDLE
        self.step = 0
        self._pool = pool
        self._source = source
        self._job: Job | None = None
        self._stop, self._discard = threading.Event(), threading.Event()
        self._pace = Pace()

    @property
    def active(self) -> bool:
        """Whether a run is under way."""
        return self._job is not None

    def left_s(self) -> float | None:
        """Seconds that are left, None before that can be told."""
        return self._pace.left_s()

    def start(self, config: TrainConfig, folder: Path) -> None:
        """Begin, or go on with what the folder holds of the same configuration."""
        if self._job is not None:
            return
        self.config, self.folder, self.step = config, folder, 0
        self._stop, self._discard = threading.Event(), threading.Event()
        self._pace = Pace()
        self._job = self._pool.start(
            "training",
            partial(self._events, config, folder, self._stop, self._discard),
            on_event=self._on_event,
            on_finished=self._on_finished,
        )
        self._enter(Phase.PREPARING)

    def stop(self) -> None:
        """End after this iteration and keep what is there.

        Before the first iteration nothing but the prepared data is there, which stays for the next
        run in any case.
        """
        if self._job is None or self._discard.is_set():
            return
        self._stop.set()
        if self.phase is Phase.PREPARING:
            self._job.cancel()
        self._enter(Phase.STOPPING)

    def discard(self) -> None:
        """End at the next event and remove what this run made."""
        if self._job is None:
            return
        self._discard.set()
        self._job.cancel()
        self._enter(Phase.DISCARDING)

    def _events(
        self,
        config: TrainConfig,
        folder: Path,
        stop: threading.Event,
        discard: threading.Event,
    ) -> Iterator[Any]:
        """The generator of the worker.

        A run that was in the folder before is never removed; one that ended before its first
        checkpoint always is, so that the folder can be used with other settings.
        """
        checkpoint = folder / CHECKPOINT_FILE
        found = has_files(folder)
        events = cast("Generator[Any, None, None]", self._source.fit(config, folder, stop.is_set))
        try:
            with closing(events):
                yield from events
        finally:
            if not found and (discard.is_set() or not checkpoint.exists()):
                self._remove(folder)

    def _remove(self, folder: Path) -> None:
        try:
            self._source.remove(folder)
        except MocaError as error:
            _log.warning("%s", error)

    def _on_event(self, event: Any) -> None:
        if self.phase is Phase.DISCARDING:
            return
        if isinstance(event, StepEvent | SavedEvent):
            self.step = event.step
        if isinstance(event, StepEvent):
            self._pace.note(event.step, event.total, key=True, stored=False)
            if self.phase is Phase.PREPARING:
                self._enter(Phase.TRAINING)
        self.told.emit(event)

    def _on_finished(self, job: Job) -> None:
        self._job = None
        if job.state is JobState.FAILED:
            end = End.FAILED
            if not isinstance(job.error, MocaError):
                _log.error("training failed: %r", job.error)
        elif self._discard.is_set():
            end = End.DISCARDED
        elif job.state is JobState.DONE and self.step >= self.config.iterations:
            end = End.FINISHED
        else:
            end = End.KEPT
        found = tuple(
            path
            for path in (self.folder / ADAPTER_FILE, self.folder / BEST_FILE)
            if end in (End.FINISHED, End.KEPT) and path.exists()
        )
        self.phase = Phase.IDLE
        self.ended.emit(Ended(end, self.step, self.folder, found, job.error))
        self.changed.emit()

    def _enter(self, phase: Phase) -> None:
        if phase is not self.phase:
            self.phase = phase
            self.changed.emit()
