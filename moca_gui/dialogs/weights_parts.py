"""Parts of the weights window: the table of files, and what to do with a file of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtGui import QFont
from PySide6.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from moca_gui.weights import WeightRow

COLUMNS = ("For", "File", "Size", "Licence", "State")
_STATE = len(COLUMNS) - 1


class WeightsTable(QTableWidget):
    """One row a file; what lacks is bold. One row may be selected."""

    chosen = Signal()

    def __init__(self) -> None:
        super().__init__(0, len(COLUMNS))
        self.rows: list[WeightRow] = []
        self.setAccessibleName("Weights files")
        self.setHorizontalHeaderLabels(list(COLUMNS))
        self.verticalHeader().hide()
        self.setShowGrid(False)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setTabKeyNavigation(False)
        self.setWordWrap(False)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        header = self.horizontalHeader()
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        header.setMinimumSectionSize(64)
        header.setHighlightSections(False)
        self.itemSelectionChanged.connect(self.chosen)
        self._bold = QFont(self.font())
        self._bold.setBold(True)

    @property
    def selected(self) -> WeightRow | None:
        """The row that the user chose."""
        places = self.selectionModel().selectedRows()
        return self.rows[places[0].row()] if places else None

    def show_rows(self, rows: Sequence[WeightRow], needed: frozenset[str]) -> None:
        """List `rows`; those whose names aren't `needed` are marked as optional."""
        chosen = self.selected.name if self.selected is not None else ""
        with QSignalBlocker(self):
            self.clearSelection()
            self.rows = list(rows)
            self.setRowCount(len(rows))
            for index, row in enumerate(rows):
                self._fill(index, row, row.name in needed)
                if row.name == chosen:
                    self.selectRow(index)
        height = self.horizontalHeader().sizeHint().height() + 8
        self.setMinimumHeight(height + self.verticalHeader().defaultSectionSize() * len(rows))

    def _fill(self, index: int, row: WeightRow, needed: bool) -> None:
        state = row.state_text
        if not needed and not row.present:
            state += ", optional"
        cells = (row.role.capitalize(), row.name, row.size_text, row.licence, state)
        for column, text in enumerate(cells):
            item = QTableWidgetItem(text)
            item.setToolTip(text)
            if column == _STATE and needed and not row.present:
                item.setFont(self._bold)
            self.setItem(index, column, item)


class OwnFile(QWidget):
    """Asks in which file's place a file is to stand that isn't an official one."""

    accepted = Signal(Path, str)

    def __init__(self) -> None:
        super().__init__()
        self._path = Path()
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.names = QComboBox()
        self.names.setAccessibleName("In the place of")
        self.button = QPushButton("Use it")
        self.button.clicked.connect(self._accept)
        self.cancel_button = QPushButton("Leave it")
        self.cancel_button.clicked.connect(self.hide)
        line = QHBoxLayout()
        line.addWidget(QLabel("In the place of"))
        line.addWidget(self.names, 1)
        line.addWidget(self.button)
        line.addWidget(self.cancel_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addWidget(self.text)
        layout.addLayout(line)
        self.hide()

    def ask(self, path: Path, names: Sequence[str], likely: str) -> None:
        """Ask about `path`; `likely` of `names` is proposed."""
        self._path = path
        self.text.setText(
            f"{path.name} isn't an official file. A checkpoint of the same model can be used all "
            "the same: its tensors are checked by name and shape, and it is marked as not official."
        )
        self.names.clear()
        self.names.addItems(list(names))
        self.names.setCurrentIndex(max(self.names.findText(likely), 0))
        self.setVisible(bool(names))
        self.names.setFocus()

    def _accept(self) -> None:
        self.hide()
        self.accepted.emit(self._path, self.names.currentText())
