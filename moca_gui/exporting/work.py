"""The job that exports, at most one at a time."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Signal

from moca_core.types import NoteEvent, StageEvent
from moca_gui.eta import Pace
from moca_gui.jobs import Job, JobPool, JobState

if TYPE_CHECKING:
    from moca_core.export.clips import ExportClip
    from moca_core.export.exporter import ExportEvent, ExportSettings
    from moca_core.export.formats import Format

MakeClip = Callable[[], "ExportClip"]
"""The clip that is exported, made in the job; raises `StorageError` if nothing of it is left."""


@dataclass(frozen=True)
class Ended:
    """An export that is over.

    Attributes
    ----------
    out : where it is, or would have been.
    error : what went wrong; None where it is done, or was cancelled.
    notes : what was left out, for the user.
    """

    state: JobState
    out: Path
    error: BaseException | None = None
    notes: tuple[str, ...] = ()


class ExportWork(QObject):
    """Starts the job, follows it, stops it.

    Signals: `progressed(text, done, total, seconds left or None)`, `ended(Ended)`, and `changed`
    when a job begins, is cancelled, or ends.
    """

    changed = Signal()
    progressed = Signal(str, int, int, object)
    ended = Signal(object)

    def __init__(self, pool: JobPool, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.job: Job | None = None
        self._pool = pool
        self._pace = Pace()
        self._stage = ""
        self._notes: list[str] = []

    @property
    def active(self) -> bool:
        """Whether an export is under way."""
        return self.job is not None

    def start(self, row: Format, clip: MakeClip, out: Path, settings: ExportSettings) -> None:
        """Begin an export, unless one is under way."""
        if self.active:
            return
        self._notes, self._stage = [], ""
        self.job = self._pool.start(
            f"export to {out.name}",
            partial(_events, row, clip, out, settings),
            on_event=self._on_event,
            on_finished=partial(self._on_finished, out),
        )
        self.changed.emit()
        self.progressed.emit("Starting", 0, 0, None)

    def cancel(self) -> None:
        """Stop the job, which leaves nothing behind."""
        if self.job is not None and not self.job.cancelling:
            self.job.cancel()
            self.changed.emit()

    def _on_event(self, event: Any) -> None:
        if isinstance(event, NoteEvent):
            self._notes.append(event.message)
        elif isinstance(event, StageEvent) and self.job is not None and not self.job.cancelling:
            if event.stage != self._stage:
                self._stage, self._pace = event.stage, Pace()
            self._pace.note(event.done, event.total, key=True, stored=False)
            left = self._pace.left_s() if event.total else None
            self.progressed.emit(event.stage, event.done, event.total, left)

    def _on_finished(self, out: Path, job: Job) -> None:
        self.job = None
        self.changed.emit()
        self.ended.emit(Ended(job.state, out, job.error, tuple(self._notes)))


def _events(
    row: Format, clip: MakeClip, out: Path, settings: ExportSettings
) -> Generator[ExportEvent, None, None]:
    from moca_core.export.formats import export

    yield from export(row, [clip()], out, settings)
