"""Work beside the window: one kind of job, which consumes a generator in a thread.

Each event that the generator yields is progress and a place to stop. Events cross to the GUI
thread through a bounded queue, so that a fast job can't flood the window.
"""

from __future__ import annotations

import enum
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

from PySide6.QtCore import QObject, Qt, QTimer, Signal

_log = logging.getLogger(__name__)

QUEUE_LENGTH = 64
DRAIN_BUDGET_S = 0.008  # of GUI time per turn of the event loop, half a frame at 60 Hz


class JobState(enum.Enum):
    """Where a job stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


class Job(QObject):
    """A generator consumed in a thread of its own.

    Parameters
    ----------
    title : what the user reads.
    make : called in the thread; returns the iterable of events.
    wake : called on `cancel`, to end a wait inside the generator.

    Signals, all on the GUI thread: `yielded(object)` per event in order, then `finished()` once
    after the last event, with `state` and `error` set.
    """

    yielded = Signal(object)
    finished = Signal()
    _ready = Signal()

    def __init__(
        self,
        title: str,
        make: Callable[[], Iterable[Any]],
        wake: Callable[[], None] | None = None,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.title = title
        self.state = JobState.WAITING
        self.error: BaseException | None = None
        self._make = make
        self._wake = wake
        self._stop = threading.Event()
        self._slots = threading.Semaphore(QUEUE_LENGTH)
        self._events: deque[Any] = deque()
        self._outcome: JobState | None = None
        self._thread = threading.Thread(target=self._consume, name=f"job: {title}", daemon=True)
        self._ready.connect(self._drain, Qt.ConnectionType.QueuedConnection)

    def start(self) -> None:
        """Start the thread."""
        self.state = JobState.RUNNING
        self._thread.start()

    @property
    def active(self) -> bool:
        """Whether the job runs, or still has events to deliver."""
        return self.state is JobState.RUNNING

    @property
    def cancelling(self) -> bool:
        """Whether a stop was asked for."""
        return self._stop.is_set()

    def cancel(self) -> None:
        """Ask the job to stop at its next yield."""
        self._stop.set()
        if self._wake is not None:
            self._wake()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the thread to end; False if it didn't in `timeout_s`."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _consume(self) -> None:
        outcome = JobState.DONE
        events: Iterator[Any] | None = None
        try:
            events = iter(self._make())
            for event in events:
                if self._stop.is_set() or not self._put(event):
                    outcome = JobState.CANCELLED
                    break
            else:
                if self._stop.is_set():
                    outcome = JobState.CANCELLED
        except Exception as error:
            # The job's border: whatever went wrong is shown by the window, not lost in a thread.
            self.error = error
            outcome = JobState.FAILED
            _log.debug("%s failed", self.title, exc_info=True)
        finally:
            if isinstance(events, Generator):
                events.close()
            self._outcome = outcome
            self._announce()

    def _put(self, event: Any) -> bool:
        while not self._slots.acquire(timeout=0.1):
            if self._stop.is_set():
                return False
        self._events.append(event)
        self._announce()
        return True

    def _announce(self) -> None:
        try:
            self._ready.emit()
        except RuntimeError:
            # The window is gone and took this object with it: nobody is left to tell.
            _log.debug("%s: nobody listens", self.title)

    def _drain(self) -> None:
        if self.state is not JobState.RUNNING:
            return
        deadline = time.perf_counter() + DRAIN_BUDGET_S
        while self._events:
            event = self._events.popleft()
            self._slots.release()
            # Also after a cancel: what is finished is kept.
            self.yielded.emit(event)
            if time.perf_counter() > deadline and self._events:
                QTimer.singleShot(0, self, self._drain)
                return
        if self._outcome is not None and not self._events:
            # Its last signal may be on the way, and whoever hears of the end deletes this object.
            self._thread.join()
            self.state = self._outcome
            self.finished.emit()


class JobPool(QObject):
    """All jobs of the window: starts them, keeps them alive, ends them."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._jobs: list[Job] = []
        self._closed = False

    def start(
        self,
        title: str,
        make: Callable[[], Iterable[Any]],
        *,
        on_event: Callable[[Any], None] | None = None,
        on_finished: Callable[[Job], None] | None = None,
        wake: Callable[[], None] | None = None,
    ) -> Job:
        """Start a job; `on_event` and `on_finished` are called on the GUI thread."""
        job = Job(title, make, wake, self)
        if on_event is not None:
            job.yielded.connect(on_event)
        job.finished.connect(lambda: self._forget(job, on_finished))
        self._jobs.append(job)
        if self._closed:
            job.cancel()
        job.start()
        return job

    def _forget(self, job: Job, on_finished: Callable[[Job], None] | None) -> None:
        if job in self._jobs:
            self._jobs.remove(job)
        if on_finished is not None and not self._closed:
            on_finished(job)
        job.deleteLater()

    @property
    def titles(self) -> list[str]:
        """Titles of the jobs that are under way."""
        return [job.title for job in self._jobs]

    def shut_down(self, timeout_s: float = 15.0) -> bool:
        """Cancel every job and wait; False if one of them didn't end in time."""
        self._closed = True
        for job in self._jobs:
            job.cancel()
        deadline = time.monotonic() + timeout_s
        ended = [job.wait(max(0.0, deadline - time.monotonic())) for job in self._jobs]
        for job in self._jobs:
            job.blockSignals(True)  # the window that listens is going away
        if not all(ended):
            _log.warning("jobs still running at close: %s", ", ".join(self.titles))
        return all(ended)
