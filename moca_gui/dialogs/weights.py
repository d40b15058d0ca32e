"""The weights: which files a run needs, which are here, and fetching the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QCloseEvent, QFont
from PySide6.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QProgressBar,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from moca_core.errors import MocaError
from moca_gui.jobs import Job, JobPool, JobState
from moca_gui.weights import FetchProgress, WeightRow, WeightsSource

COLUMNS = ("For", "File", "Size", "Licence", "State")


class WeightsDialog(QDialog):
    """A table of files with Fetch and Cancel; `completed` when the last missing one came."""

    completed = Signal()

    def __init__(self, pool: JobPool, source: WeightsSource, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Weights")
        self._pool = pool
        self._source = source
        self._job: Job | None = None
        heading = QLabel("Weights")
        heading.setObjectName("title")
        self.summary = QLabel()
        self.summary.setObjectName("dim")
        self.summary.setWordWrap(True)
        self.table = self._make_table()
        self._bold = QFont(self.font())
        self._bold.setBold(True)
        self.progress = QProgressBar()
        self.progress.setAccessibleName("Fetch progress")
        self.progress.setRange(0, 1000)
        self.message = QLabel()
        self.message.setWordWrap(True)
        self.message.setAccessibleName("Fetch message")
        self.file_button = QPushButton("Use a file I have")
        self.file_button.setToolTip("Copy a weights file that you got elsewhere to its place")
        self.file_button.clicked.connect(self.ask_file)
        self.fetch_button = QPushButton("Fetch")
        self.fetch_button.setObjectName("primary")
        self.fetch_button.clicked.connect(self.fetch)
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.clicked.connect(self.cancel)
        self.close_button = QPushButton("Close")
        self.close_button.clicked.connect(self.reject)
        buttons = QHBoxLayout()
        buttons.addWidget(self.file_button)
        buttons.addStretch(1)
        for button in (self.fetch_button, self.cancel_button, self.close_button):
            buttons.addWidget(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(22, 18, 22, 16)
        layout.setSpacing(10)
        for part in (heading, self.summary, self.table, self.progress, self.message):
            layout.addWidget(part)
        layout.addLayout(buttons)
        self.setMinimumWidth(780)
        self.progress.hide()
        self.refresh()

    def _make_table(self) -> QTableWidget:
        table = QTableWidget(0, len(COLUMNS))
        table.setAccessibleName("Weights files")
        table.setHorizontalHeaderLabels(list(COLUMNS))
        table.verticalHeader().hide()
        table.setShowGrid(False)
        table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        header = table.horizontalHeader()
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        header.setMinimumSectionSize(64)
        table.setWordWrap(False)
        return table

    def refresh(self) -> None:
        """Look again which files are here."""
        rows = self._source.rows()
        self.table.setRowCount(len(rows))
        for index, row in enumerate(rows):
            for column, text in enumerate(_cells(row)):
                item = QTableWidgetItem(text)
                if not row.present and column == len(COLUMNS) - 1:
                    item.setFont(self._bold)
                self.table.setItem(index, column, item)
        height = self.table.horizontalHeader().height() + 8
        self.table.setMinimumHeight(
            height + self.table.verticalHeader().defaultSectionSize() * len(rows)
        )
        missing = [row for row in rows if not row.present]
        if missing:
            size = sum(row.size_bytes for row in missing) / 1e6
            files = "file" if len(missing) == 1 else "files"
            self.summary.setText(
                f"{len(missing)} {files} to fetch once, {size:.1f} MB in all. "
                "After that the program works without a network."
            )
        else:
            self.summary.setText("All files are here. The program works without a network.")
        running = self._job is not None
        self.file_button.setEnabled(not running)
        self.fetch_button.setVisible(not running and bool(missing))
        self.fetch_button.setDefault(bool(missing))
        self.cancel_button.setVisible(running)

    def fetch(self) -> None:
        """Fetch what is missing; what came before a break is used again."""
        self._start(self._source.fetch, "Looking for a source")

    def ask_file(self) -> None:
        """Ask for a weights file and put it where it belongs."""
        name, _ = QFileDialog.getOpenFileName(self, "Use a weights file", str(Path.home()))
        if name:
            self.use_file(Path(name))

    def use_file(self, path: Path) -> None:
        """Put a copy of `path` where it belongs, if it is one of the files."""
        self._start(partial(self._source.take, path), f"Reading {path.name}")

    def _say(self, text: str) -> None:
        self.message.setText(text)
        # A long message is shown whole: the layout alone would cut it.
        margins = self.contentsMargins().left() + self.contentsMargins().right() + 44
        self.message.setMinimumHeight(self.message.heightForWidth(self.width() - margins))

    def _start(self, make: Callable[[], Iterable[FetchProgress]], message: str) -> None:
        if self._job is not None:
            return
        self._say(message)
        self.progress.setRange(0, 0)
        self.progress.show()
        self._job = self._pool.start("weights", make)
        # Connected here, and not by the pool, so that Qt cuts them when this window goes first.
        self._job.yielded.connect(self._show)
        self._job.finished.connect(self._on_finished)
        self.refresh()

    def cancel(self) -> None:
        """Stop fetching; the next fetch goes on from here."""
        if self._job is not None:
            self._job.cancel()
            self._say("Cancelling")
            self.cancel_button.setEnabled(False)

    def _show(self, event: FetchProgress) -> None:
        if event.total:
            self.progress.setRange(0, 1000)
            self.progress.setValue(1000 * event.done // event.total)
            sizes = f"{event.done / 1e6:.1f} of {event.total / 1e6:.1f} MB"
            source = f" from {event.source}" if event.source else ""
            self._say(f"{event.name}: {sizes}{source}")
        if event.text:
            self._say(f"{event.name}: {event.text}" if event.name else event.text)

    def _on_finished(self) -> None:
        job, self._job = self._job, None
        if job is None:
            return
        self.progress.hide()
        self.cancel_button.setEnabled(True)
        self.refresh()
        if job.state is JobState.FAILED:
            self._say(_words(job.error))
        elif job.state is JobState.CANCELLED:
            self._say("Cancelled. What has come is kept.")
        elif all(row.present for row in self._source.rows()):
            self._say("")
            self.accept()
            self.completed.emit()

    def reject(self) -> None:
        """Close, and stop fetching."""
        self.cancel()
        super().reject()

    def closeEvent(self, event: QCloseEvent) -> None:
        self.cancel()
        super().closeEvent(event)


def _words(error: BaseException | None) -> str:
    return f"{error.message}\n{error.hint}" if isinstance(error, MocaError) else repr(error)


def _cells(row: WeightRow) -> tuple[str, ...]:
    state = "here" if row.present else row.state or "missing"
    size = f"{row.size_bytes / 1e6:.1f} MB"
    return row.role.capitalize(), row.name, size, row.licence, state
