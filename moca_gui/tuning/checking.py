"""The data check of the fine-tuning window: its job, its answer, and whether that still counts."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, Signal

from moca_core.types import StageEvent
from moca_gui.jobs import Job, JobPool, JobState
from moca_gui.tuning.data import DataChoice, ProblemTable, summary_of
from moca_gui.tuning.draft import Draft
from moca_gui.tuning.source import Checked, TuningSource


class DataCheck(QObject):
    """Checks the draft's data and shows what it found.

    Signals: `changed` when a check begins, ends or no longer counts; `failed(error)`;
    `noted(text)`.
    """

    changed = Signal()
    failed = Signal(object)
    noted = Signal(str)

    def __init__(
        self,
        draft: Draft,
        pool: JobPool,
        source: TuningSource,
        choice: DataChoice,
        problems: ProblemTable,
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self.checked: Checked | None = None
        self._draft, self._pool, self._source = draft, pool, source
        self._choice, self._problems = choice, problems
        self._key: tuple[Any, ...] = ()
        self._job: Job | None = None
        choice.check_pressed.connect(self.start)
        choice.cancel_pressed.connect(self.cancel)
        problems.save_wanted.connect(self.save)
        draft.changed.connect(self._on_draft)

    @property
    def active(self) -> bool:
        """Whether a check is under way."""
        return self._job is not None

    @property
    def usable(self) -> int:
        """Items that can be learnt from in the data as they are chosen now; 0 if unknown."""
        if self.checked is None or self.checked.error is not None:
            return 0
        return self.checked.usable if self._key == self._draft.data_key else 0

    def start(self) -> None:
        """See what of the data can be learnt from."""
        if self._job is not None or not self._draft.config.data:
            return
        self.noted.emit("")
        self.checked = None
        self._key = self._draft.data_key
        self._problems.show_nothing("Checking")
        self._choice.show_checking(StageEvent("Looking at the data"))
        self._job = self._pool.start(
            "data check",
            partial(self._source.check, self._draft.config),
            on_event=self._on_event,
            on_finished=self._on_finished,
        )
        self.changed.emit()

    def cancel(self) -> None:
        """Stop the check."""
        if self._job is not None:
            self._job.cancel()

    def _on_draft(self) -> None:
        if self._key == self._draft.data_key:
            return
        self.cancel()
        if self.checked is not None:
            self.checked = None
            self._problems.show_nothing("The data are others now: check them again.")
            self._choice.say("")
        self.changed.emit()

    def _on_event(self, event: StageEvent | Checked) -> None:
        if isinstance(event, Checked):
            self.checked = event
        elif self._job is not None and not self._job.cancelling:
            self._choice.show_checking(event)

    def _on_finished(self, job: Job) -> None:
        self._job = None
        self._choice.show_idle()
        if job.state is JobState.FAILED:
            self._choice.say("")
            self._problems.show_nothing("The data can't be used.")
            self.failed.emit(job.error)
        elif job.state is JobState.CANCELLED or self.checked is None:
            self.checked = None
            self._choice.say("The check was cancelled.")
            self._problems.show_nothing("The check was cancelled.")
        else:
            self._choice.say(summary_of(self.checked))
            self._problems.show_checked(self.checked)
            if self.checked.error is not None:
                self.failed.emit(self.checked.error)
        self.changed.emit()

    def save(self, path: Path) -> None:
        """Write all problems to a table."""
        checked = self.checked
        if checked is None:
            return

        def write() -> Iterator[StageEvent]:
            yield StageEvent("Writing")
            checked.write_csv(path)

        def end(job: Job) -> None:
            if job.state is JobState.FAILED:
                self.failed.emit(job.error)
            else:
                self.noted.emit(f"Saved {path}")

        self._pool.start("saving the check", write, on_finished=end)
