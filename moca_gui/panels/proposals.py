"""The proposals of the frame on screen: how good they are, and why they were taken or not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import (
    QAbstractTableModel,
    QItemSelectionModel,
    QModelIndex,
    QPersistentModelIndex,
    Qt,
    Signal,
)
from PySide6.QtGui import QFont
from PySide6.QtWidgets import (
    QAbstractItemView,
    QFrame,
    QLabel,
    QStackedLayout,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from moca_core.annotations.model import PackedProposal
from moca_gui.session import Session

_Index = QModelIndex | QPersistentModelIndex
_NOWHERE = QModelIndex()
_BY_OVERLAP = 1
_TITLE_ROOM_PX = 27  # for the arrow of the order
_NO_RUN = (
    "Run on this frame (R): its proposals are listed here, with why each was taken or not. "
    "Run > Keep maps keeps those of all key frames."
)


@dataclass(frozen=True)
class Column:
    """One column: its title, what it says of a proposal, and what the number means."""

    title: str
    value: Callable[[PackedProposal], Any]
    tip: str


COLUMNS = (
    Column("No.", lambda item: item.number, "Number of the proposal, as under the cursor"),
    Column(
        "Overlap",
        lambda item: item.overlap,
        "Expected IoU of it alone with the sounding region, 0 to 1",
    ),
    Column(
        "Sounds",
        lambda item: item.sounds,
        "How surely it sounds by its looks: 0 not at all, about 0.9 entirely",
    ),
    Column(
        "IoU",
        lambda item: item.quality,
        "Predicted IoU: how well SAM thinks that it cut its object out, about 0 to 1",
    ),
    Column(
        "Stable",
        lambda item: item.stability,
        "Stability score: how little it changes with the threshold of its mask, 0 to 1",
    ),
    Column("Why", lambda item: item.why, "Why it was taken or not"),
)


class ProposalModel(QAbstractTableModel):
    """The rows of the table, in the order that was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[PackedProposal] = []
        self._order = (_BY_OVERLAP, Qt.SortOrder.DescendingOrder)

    def show_rows(self, rows: Sequence[PackedProposal]) -> None:
        """Show other proposals."""
        self.beginResetModel()
        self.rows = list(rows)
        self._arrange()
        self.endResetModel()

    def find(self, number: int) -> PackedProposal | None:
        """The proposal with that number, if it is here."""
        return next((item for item in self.rows if item.number == number), None)

    def _arrange(self) -> None:
        column, order = self._order
        value = COLUMNS[column].value
        self.rows.sort(key=lambda item: item.number)
        self.rows.sort(key=value, reverse=order == Qt.SortOrder.DescendingOrder)

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        self._order = (column, order)
        self.layoutAboutToBeChanged.emit()
        old = {item.number: row for row, item in enumerate(self.rows)}
        self._arrange()
        kept = self.persistentIndexList()
        moved = {old[item.number]: row for row, item in enumerate(self.rows)}
        self.changePersistentIndexList(
            kept, [self.index(moved[index.row()], index.column()) for index in kept]
        )
        self.layoutChanged.emit()

    def rowCount(self, parent: _Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: _Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(COLUMNS)

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        item = self.rows[index.row()]
        value = COLUMNS[index.column()].value(item)
        if role == Qt.ItemDataRole.DisplayRole:
            return f"{value:.2f}" if isinstance(value, float) else str(value)
        if role == Qt.ItemDataRole.ToolTipRole and isinstance(value, str):
            return value
        if role == Qt.ItemDataRole.FontRole and item.taken:
            font = QFont()
            font.setBold(True)
            return font
        if role == Qt.ItemDataRole.TextAlignmentRole and not isinstance(value, str):
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        return None

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        if orientation == Qt.Orientation.Horizontal:
            if role == Qt.ItemDataRole.DisplayRole:
                return COLUMNS[section].title
            if role == Qt.ItemDataRole.ToolTipRole:
                return COLUMNS[section].tip
        return None


class ProposalsPanel(QWidget):
    """A table of the frame's proposals. Signals: `chosen` when another one is, or none."""

    chosen = Signal()

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.setObjectName("surface")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self._session = session
        self.model = ProposalModel()
        self._make_table()
        self.message = QLabel()
        self.message.setWordWrap(True)
        self.message.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.message.setObjectName("dim")
        self.message.setMargin(12)
        self.why = QLabel()
        self.why.setAccessibleName("Why the chosen proposal was taken or not")
        self.why.setWordWrap(True)
        self.why.setMargin(10)
        body = QWidget()
        self._stack = QStackedLayout(body)
        self._stack.addWidget(self.message)
        self._stack.addWidget(self.table)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(body, 1)
        layout.addWidget(self.why)
        session.frame_changed.connect(self._on_frame)
        session.clip_changed.connect(self._on_frame)
        session.result_changed.connect(self._on_result)
        self._show_rows(())

    def _make_table(self) -> None:
        self.table = table = QTableView()
        table.setModel(self.model)
        table.setAccessibleName("Proposals of this frame")
        table.verticalHeader().hide()
        table.verticalHeader().setDefaultSectionSize(table.fontMetrics().height() + 10)
        table.setShowGrid(False)
        table.setFrameShape(QFrame.Shape.NoFrame)
        table.setWordWrap(False)
        table.setTabKeyNavigation(False)
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        header = table.horizontalHeader()
        header.setHighlightSections(False)
        header.setStretchLastSection(True)
        header.setSortIndicator(_BY_OVERLAP, Qt.SortOrder.DescendingOrder)
        table.setSortingEnabled(True)
        table.selectionModel().selectionChanged.connect(lambda *_: self._tell())

    # -- what is shown ------------------------------------------------------------------------

    def _on_frame(self) -> None:
        self.table.clearSelection()  # in another frame a number means another proposal
        self._follow()

    def _on_result(self, frame: int) -> None:
        if frame in (-1, self._session.frame):
            self._follow()

    def _follow(self) -> None:
        rows = self._session.results.proposals(self._session.frame)
        if rows != tuple(sorted(self.model.rows, key=lambda item: item.number)):
            self._show_rows(rows)

    def _show_rows(self, rows: Sequence[PackedProposal]) -> None:
        """Show other proposals; the one that was chosen is chosen again by its number."""
        number = None if self.proposal is None else self.proposal.number
        self.model.show_rows(rows)
        self._fit_columns()
        self._stack.setCurrentWidget(self.table if rows else self.message)
        self.message.setText(_NO_RUN)
        self.choose(number or 0)
        self._tell()

    def _fit_columns(self) -> None:
        """As narrow as their texts allow, so that most of them fit in a dock."""
        table, header = self.table, self.table.horizontalHeader()
        metrics = header.fontMetrics()
        for at, column in enumerate(COLUMNS):
            title = metrics.horizontalAdvance(column.title) + _TITLE_ROOM_PX
            table.setColumnWidth(at, max(title, table.sizeHintForColumn(at)))

    def _tell(self) -> None:
        found = self.proposal
        if found is not None:
            text = f"Proposal {found.number}: {found.why}"
        elif self.model.rows:
            taken = sum(item.taken for item in self.model.rows)
            text = f"{taken} of {len(self.model.rows)} taken. Choose one to see it, and why."
        else:
            text = ""
        self.why.setText(text)
        self.why.setVisible(bool(text))
        self.chosen.emit()

    # -- choosing -----------------------------------------------------------------------------

    @property
    def proposal(self) -> PackedProposal | None:
        """The proposal that is chosen."""
        found = self.table.selectionModel().selectedRows()
        return self.model.rows[found[0].row()] if found else None

    def choose(self, number: int) -> None:
        """Choose a proposal by its number; none if the frame has no such one."""
        found = self.model.find(number)
        if found is None:
            self.table.clearSelection()
            return
        select = QItemSelectionModel.SelectionFlag.ClearAndSelect
        index = self.model.index(self.model.rows.index(found), 0)
        rows = select | QItemSelectionModel.SelectionFlag.Rows
        self.table.selectionModel().setCurrentIndex(index, rows)
        self.table.scrollTo(index)

    def bring_up(self) -> None:
        """Show the dock that it is in, in front of its neighbours."""
        dock = self.parentWidget()
        assert dock is not None
        dock.show()
        dock.raise_()
