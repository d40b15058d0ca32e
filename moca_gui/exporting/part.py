"""File > Export and File > Import masks: their windows, and what the main window sees of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Qt
from PySide6.QtWidgets import QWidget

from moca_core.annotations.snapshot import Snapshot
from moca_gui.exporting.work import Ended, ExportWork
from moca_gui.jobs import JobPool, JobState
from moca_gui.panels.status import JobStrip
from moca_gui.session import Session

if TYPE_CHECKING:
    from moca_gui.exporting.dialog import ExportDialog
    from moca_gui.exporting.import_dialog import ImportDialog


class Exporting(QObject):
    """Keeps the export window, which is made when it is first shown.

    Parameters
    ----------
    snapshot : what is in memory, with the chosen range.
    """

    def __init__(
        self, window: QWidget, pool: JobPool, session: Session, snapshot: Callable[[], Snapshot]
    ) -> None:
        super().__init__(window)
        self.work = ExportWork(pool, self)
        self.dialog: ExportDialog | None = None
        self.strip = JobStrip()
        self.strip.cancel.setToolTip("Stop the export, which leaves nothing behind")
        self.strip.cancel_pressed.connect(self.work.cancel)
        self._window, self._session, self._snapshot = window, session, snapshot
        self.work.changed.connect(self._on_changed)
        self.work.progressed.connect(self._on_progress)
        self.work.ended.connect(self._on_ended)

    def show(self) -> None:
        """Show the window, with the export that goes on if there is one."""
        if self.dialog is None:
            # The formats load what reads and writes videos, which would make the start slower.
            from moca_gui.exporting.dialog import ExportDialog

            self.dialog = ExportDialog(self._session, self.work, self._snapshot, self._window)
        self.dialog.show()
        self.dialog.raise_()
        self.dialog.activateWindow()

    def release(self) -> None:
        """Hide the window: the program is about to end."""
        if self.dialog is not None:
            self.dialog.hide()

    def _on_changed(self) -> None:
        job = self.work.job
        self.strip.setVisible(job is not None)
        if job is not None and job.cancelling:
            self.strip.show_cancelling()

    def _on_progress(self, text: str, done: int, total: int, left_s: float | None) -> None:
        self.strip.show_job(f"Export: {text}", done, total, left_s)

    def _on_ended(self, ended: Ended) -> None:
        if ended.state is JobState.DONE:
            self._session.note(" ".join([f"Exported to {ended.out}.", *ended.notes]))
        elif ended.error is not None:
            self._session.note(f"Export failed: {ended.error}".replace("\n", " "))
            self.show()  # which says what happened
        else:
            self._session.note("Export cancelled: nothing was written.")


class Importing(QObject):
    """Opens the window, modal to the main one: nothing changes while it is open."""

    def __init__(self, window: QWidget, pool: JobPool, session: Session) -> None:
        super().__init__(window)
        self.dialog: ImportDialog | None = None
        self._window, self._pool, self._session = window, pool, session

    def show(self) -> None:
        """Ask for masks and take them into the open clip."""
        if self._session.clip is None or self.dialog is not None:
            return
        from moca_gui.exporting.import_dialog import ImportDialog

        self.dialog = ImportDialog(self._pool, self._session, self._session.clip, self._window)
        self.dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.dialog.finished.connect(self._forget)
        self.dialog.open()

    def _forget(self) -> None:
        self.dialog = None
