"""The data part of the fine-tuning window: which data, and what of them can be learnt from."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QMenu,
    QProgressBar,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from moca_core.types import StageEvent
from moca_gui.dialogs.choosing import ask_file, ask_folder, ask_new_file
from moca_gui.tuning.draft import Draft
from moca_gui.tuning.source import Checked

COLUMNS = ("Problem", "Item", "What")
REST_MS = 400  # after the last letter a path is taken as typed


class PathEdit(QWidget):
    """A path that is typed or chosen; `edited` when the user has changed it.

    Whoever types needn't leave the box: a button that waits for the path couldn't be clicked on.
    """

    edited = Signal(str)

    def __init__(self, name: str, placeholder: str) -> None:
        super().__init__()
        self.edit = QLineEdit()
        self.edit.setAccessibleName(name)
        self.edit.setPlaceholderText(placeholder)
        self.edit.editingFinished.connect(self._typed)
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.timeout.connect(self._typed)
        self.edit.textEdited.connect(lambda _text: self._rest.start())
        self.browse = QToolButton()
        self.browse.setObjectName("plain")
        self.browse.setText("Browse")
        self.browse.setAccessibleName(f"Browse for {name.lower()}")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addWidget(self.edit, 1)
        layout.addWidget(self.browse)
        self._last = ""

    @property
    def text(self) -> str:
        """The path as it stands."""
        return self.edit.text().strip()

    def show_path(self, text: str) -> None:
        """Show a path that the program knows already."""
        self._last = text
        if self.text != text:
            self.edit.setText(text)
        self.edit.setToolTip(text)

    def choose(self, path: Path) -> None:
        """Take a path that the user chose."""
        self.edit.setText(str(path))
        self._typed()

    def _typed(self) -> None:
        self._rest.stop()
        if self.text != self._last:
            self._last = self.text
            self.edited.emit(self.text)


class DataChoice(QWidget):
    """The path of the data, and the check of them.

    Signals: `chosen(path)`, `check_pressed`, `cancel_pressed`.
    """

    chosen = Signal(str)
    check_pressed = Signal()
    cancel_pressed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.path = PathEdit("Data", "A folder of clips, or a data set: choose or drop it")
        self.path.edited.connect(self.chosen)
        menu = QMenu(self.path.browse)
        menu.addAction("Folder\N{HORIZONTAL ELLIPSIS}", self._ask_folder)
        menu.addAction("Table\N{HORIZONTAL ELLIPSIS}", self._ask_table)
        self.path.browse.setMenu(menu)
        self.path.browse.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.check_button = QPushButton("Check")
        self.check_button.setToolTip("See what of the data can be learnt from; needed before Start")
        self.check_button.clicked.connect(self.check_pressed)
        self.cancel_button = QPushButton("Cancel check")
        self.cancel_button.clicked.connect(self.cancel_pressed)
        self.progress = QProgressBar()
        self.progress.setAccessibleName("Check progress")
        self.note = QLabel()
        self.note.setAccessibleName("Check result")
        self.note.setWordWrap(True)
        buttons = QHBoxLayout()
        buttons.setSpacing(8)
        for part in (self.check_button, self.cancel_button):
            buttons.addWidget(part)
        buttons.addWidget(self.progress, 1)
        buttons.addStretch()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(7)
        layout.addWidget(self.path)
        layout.addLayout(buttons)
        layout.addWidget(self.note)
        self.show_idle()
        self.say("")

    def _start(self) -> Path:
        return Path(self.path.text) if self.path.text else Path.home()

    def _ask_folder(self) -> None:
        ask_folder(self, "Data to learn from", self._start(), self.path.choose)

    def _ask_table(self) -> None:
        kinds = "Tables (*.csv)"
        ask_file(self, "Table of the data to learn from", kinds, self._start(), self.path.choose)

    def show_idle(self) -> None:
        """No check is under way."""
        self.check_button.show()
        self.cancel_button.hide()
        self.progress.hide()

    def show_checking(self, event: StageEvent) -> None:
        """How far the check is."""
        self.check_button.hide()
        self.cancel_button.show()
        self.progress.show()
        self.progress.setRange(0, event.total)
        self.progress.setValue(event.done)
        self.say(event.stage if event.total else f"{event.stage}: {event.done}")

    def say(self, text: str) -> None:
        """Say what the check found, or why there is none."""
        self.note.setText(text)
        self.note.setVisible(bool(text))


class ProblemTable(QWidget):
    """What can't be learnt from; `save_wanted(path)` when it is to be written."""

    save_wanted = Signal(Path)

    def __init__(self, draft: Draft) -> None:
        super().__init__()
        self._draft = draft
        self.summary = QLabel("Nothing is checked yet.")
        self.summary.setWordWrap(True)
        self.summary.setAccessibleName("Check summary")
        self.save_button = QPushButton("Save as CSV\N{HORIZONTAL ELLIPSIS}")
        self.save_button.setToolTip("Write every problem with its files to a table")
        self.save_button.clicked.connect(self.ask_save)
        self.save_button.setEnabled(False)
        self.table = QTableWidget(0, len(COLUMNS))
        self.table.setAccessibleName("Problems of the data")
        self.table.setHorizontalHeaderLabels(list(COLUMNS))
        self.table.verticalHeader().hide()
        self.table.setShowGrid(False)
        self.table.setWordWrap(False)
        self.table.setTabKeyNavigation(False)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        header = self.table.horizontalHeader()
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        header.setStretchLastSection(True)
        header.setHighlightSections(False)
        head = QHBoxLayout()
        head.addWidget(self.summary, 1)
        head.addWidget(self.save_button, 0, Qt.AlignmentFlag.AlignTop)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(12, 12, 12, 12)
        layout.setSpacing(9)
        layout.addLayout(head)
        layout.addWidget(self.table, 1)

    def show_nothing(self, text: str) -> None:
        """No check says anything of the data."""
        self.summary.setText(text)
        self.table.setRowCount(0)
        self.save_button.setEnabled(False)

    def show_checked(self, checked: Checked) -> None:
        """List the problems."""
        self.summary.setText(summary_of(checked))
        self.table.setRowCount(len(checked.problems))
        for place, row in enumerate(checked.problems):
            for column, text in enumerate((row.problem, row.item, row.what)):
                item = QTableWidgetItem(text)
                item.setToolTip(text)
                self.table.setItem(place, column, item)
        self.table.setColumnWidth(0, 110)
        self.table.setColumnWidth(1, 230)
        self.save_button.setEnabled(checked.left_out > 0)

    def ask_save(self) -> None:
        """Ask where the table of all problems is to be written."""
        name = Path(self._draft.config.data).stem or "data"
        ask_new_file(
            self,
            "Save the problems",
            "Tables (*.csv)",
            Path.home() / f"{name}-check.csv",
            self.save_wanted.emit,
        )


def summary_of(checked: Checked) -> str:
    """The check in a sentence or two."""
    if not checked.left_out:
        words = f"All {checked.total:,} items can be used."
    else:
        words = f"{checked.usable:,} of {checked.total:,} items can be used."
    if checked.error is None:
        words += f" They are of {checked.recordings:,} recordings."
    if checked.left_out > len(checked.problems):
        words += (
            f" The first {len(checked.problems):,} of {checked.left_out:,} problems are listed; "
            "the CSV file has all of them."
        )
    return words
