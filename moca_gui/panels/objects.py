"""The objects of the frame on screen: which they are, where they come from, which are chosen."""

from __future__ import annotations

from PySide6.QtCore import QItemSelectionModel, QSignalBlocker, QSize, Qt, Signal
from PySide6.QtGui import QAction, QColor, QIcon, QPainter, QPixmap, QResizeEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QStackedLayout,
    QTableWidget,
    QTableWidgetItem,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from moca_core.annotations.model import ACCEPTED, DRAWN, FOLLOWED, FOUND, PackedObject
from moca_gui.colormaps import object_colour
from moca_gui.correcting.naming import NameDelegate
from moca_gui.correcting.scope import ScopeBar
from moca_gui.icons import icon
from moca_gui.session import Session
from moca_gui.settings import Settings
from moca_gui.theme import Theme
from moca_gui.views.overlay import readable_on

_NO_BREAK = "\N{NO-BREAK SPACE}"
_BADGE_PX = 18
_NUMBER = Qt.ItemDataRole.UserRole
_WORDS_FROM_PX = 280  # narrower, the origin is told by its icon alone
_SELECT = QItemSelectionModel.SelectionFlag.Select | QItemSelectionModel.SelectionFlag.Rows
ORIGIN_TIPS = {
    FOUND: "Found by the program",
    ACCEPTED: "Found by the program, and accepted by a person",
    DRAWN: "Drawn or changed by a person",
    FOLLOWED: "Followed by motion from a frame that a person corrected",
}
BUTTONS = ("accept_frame", "reject", "rename", "merge", "split", "revert")
MENU = ("accept", "reject", "rename", "merge", "split", "revert")


class ObjectsPanel(QWidget):
    """A table of the frame's sounding objects; the check box hides one in the whole clip.

    Rows can be chosen together; the first of them is the session's selected object.
    """

    chosen_changed = Signal()
    renamed = Signal(int, str)  # number, name

    def __init__(
        self, session: Session, settings: Settings, actions: dict[str, QAction], theme: Theme
    ) -> None:
        super().__init__()
        self.setObjectName("surface")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.session = session
        self.numbers: list[int] = []  # of the chosen objects, in the order of choosing
        self._theme = theme
        self.table = QTableWidget(0, 3)
        self._make_table(actions)
        self.message = QLabel()
        self.message.setWordWrap(True)
        self.message.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.message.setObjectName("dim")
        self.message.setMargin(12)
        self.heard = QLabel()
        self.heard.setWordWrap(True)
        self.heard.setObjectName("dim")
        self.heard.setMargin(10)
        self.heard.setAccessibleName("Heard sounds")
        self.scopes = ScopeBar(settings)
        body = QWidget()
        self._stack = QStackedLayout(body)
        self._stack.addWidget(self.message)
        self._stack.addWidget(self.table)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(body, 1)
        layout.addWidget(self.heard)
        layout.addWidget(_button_row([actions[name] for name in BUTTONS]))
        layout.addWidget(self.scopes)
        for signal in (session.frame_changed, session.objects_changed, session.clip_changed):
            signal.connect(self.refresh)
        session.result_changed.connect(self._on_result)
        session.selected_changed.connect(self._take_selected)
        session.labels_changed.connect(self._let_go)
        self._shown: object = ()
        self.refresh()

    def _make_table(self, actions: dict[str, QAction]) -> None:
        table = self.table
        table.setAccessibleName("Objects of this frame")
        table.verticalHeader().hide()
        table.verticalHeader().setDefaultSectionSize(28)
        table.setShowGrid(False)
        table.setIconSize(QSize(_BADGE_PX, _BADGE_PX))
        table.setWordWrap(False)  # a long name is cut at its end, not at a word
        table.setEditTriggers(QAbstractItemView.EditTrigger.DoubleClicked)
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        table.setTabKeyNavigation(False)
        header = table.horizontalHeader()
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(2, QHeaderView.ResizeMode.ResizeToContents)
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        header.setHighlightSections(False)
        table.setContextMenuPolicy(Qt.ContextMenuPolicy.ActionsContextMenu)
        table.addActions([actions[name] for name in MENU])
        table.itemChanged.connect(self._toggle)
        table.itemSelectionChanged.connect(self._choose)
        names = NameDelegate(self.session, table)
        names.named.connect(lambda row, name: self.renamed.emit(self._number(row), name))
        table.setItemDelegateForColumn(0, names)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.refresh()

    def set_theme(self, theme: Theme) -> None:
        """Take the theme's colours."""
        self._theme = theme
        self._shown = ()
        self.refresh()

    # -- which are chosen ---------------------------------------------------------------------

    def _number(self, row: int) -> int:
        return int(self.table.model().index(row, 0).data(_NUMBER))

    def _choose(self) -> None:
        """Take over which rows are selected."""
        rows = sorted({index.row() for index in self.table.selectionModel().selectedRows()})
        chosen = [self._number(row) for row in rows]
        kept = [number for number in self.numbers if number in chosen]
        self.numbers = kept + [number for number in chosen if number not in kept]
        self.session.select(self.numbers[0] if self.numbers else None)
        self.chosen_changed.emit()

    def _take_selected(self) -> None:
        """Choose the selected object alone, unless it is among the chosen ones."""
        selected = self.session.selected
        if selected is None:
            self.numbers = []
        elif selected not in self.numbers:
            self.numbers = [selected]
        elif self.numbers[0] != selected:
            self.numbers.sort(key=lambda number: number != selected)
        self._mark_chosen()
        self.chosen_changed.emit()

    def _let_go(self) -> None:
        """Choose no object that no frame has any more."""
        there = [number for number in self.numbers if self.session.has_object(number)]
        if there != self.numbers:
            self.numbers = there
            self.chosen_changed.emit()

    def _mark_chosen(self) -> None:
        model = self.table.selectionModel()
        with QSignalBlocker(self.table):
            self.table.clearSelection()
            for row in range(self.table.rowCount()):
                if self._number(row) in self.numbers:
                    model.select(self.table.model().index(row, 0), _SELECT)

    def bring_up(self) -> None:
        """Show the dock that it is in, in front of its neighbours."""
        dock = self.parentWidget()
        assert dock is not None
        dock.show()
        dock.raise_()

    def edit_name(self, number: int) -> bool:
        """Let the name of an object be changed; False if the frame doesn't have it."""
        for row in range(self.table.rowCount()):
            if self._number(row) == number:
                self.bring_up()
                self.table.setFocus()
                self.table.edit(self.table.model().index(row, 0))
                return True
        return False

    # -- the table ----------------------------------------------------------------------------

    def _on_result(self, frame: int) -> None:
        if frame in (-1, self.session.frame):
            self.refresh()

    def refresh(self) -> None:
        """Show the frame on screen."""
        result = self.session.result
        objects = result.objects if result is not None else ()
        heard = result.heard if result is not None else ()
        text = ", ".join(f"{name}{_NO_BREAK}{weight:.2f}" for name, weight in heard[:4])
        self.heard.setText(f"Heard: {text}" if text else "")
        self.heard.setVisible(bool(text))
        if not objects:
            self.message.setText(self._empty_text())
        self._stack.setCurrentIndex(1 if objects else 0)
        hidden = self.session.hidden_objects
        words = self.width() >= _WORDS_FROM_PX
        looks = [
            (o.number, o.name, f"{o.score:.2f}", o.number in hidden, o.origin) for o in objects
        ]
        if (words, looks) == self._shown:
            return
        self._shown = words, looks
        self.table.setHorizontalHeaderLabels(["Object", "Score", "Origin" if words else ""])
        with QSignalBlocker(self.table):
            self.table.setRowCount(len(objects))
            for row, item in enumerate(objects):
                self._fill_row(row, item, item.number in hidden, words)
        self._mark_chosen()

    def _empty_text(self) -> str:
        if self.session.clip is None:
            return "The objects of the frame on screen are listed here."
        result = self.session.result
        if result is None:
            return "This frame was not run. Choose Run, or press Ctrl+R for the whole clip."
        if result.corrected:
            return f"No mask: {result.reason}. A person said so."
        return f"No mask: {result.reason}."

    def _fill_row(self, row: int, item: PackedObject, hidden: bool, words: bool) -> None:
        name = QTableWidgetItem(item.name)
        name.setIcon(_badge(item.number))
        name.setData(Qt.ItemDataRole.AccessibleTextRole, f"{item.number} {item.name}")
        name.setData(_NUMBER, item.number)
        name.setFlags(name.flags() | Qt.ItemFlag.ItemIsUserCheckable)
        name.setCheckState(Qt.CheckState.Unchecked if hidden else Qt.CheckState.Checked)
        name.setToolTip(f"{item.name}: uncheck to hide this object's masks")
        self.table.setItem(row, 0, name)
        origin = QTableWidgetItem(icon(item.origin, self._theme), item.origin if words else "")
        origin.setData(Qt.ItemDataRole.AccessibleTextRole, item.origin)
        origin.setToolTip(ORIGIN_TIPS[item.origin])
        score = QTableWidgetItem(f"{item.score:.2f}")
        for column, cell in ((1, score), (2, origin)):
            cell.setFlags(cell.flags() & ~Qt.ItemFlag.ItemIsEditable)
            self.table.setItem(row, column, cell)

    def _toggle(self, item: QTableWidgetItem) -> None:
        number = item.data(_NUMBER)
        if number is not None:
            self.session.set_object_shown(number, item.checkState() == Qt.CheckState.Checked)


def _button_row(actions: list[QAction]) -> QWidget:
    """A button with an icon for each action."""
    row = QWidget()
    layout = QHBoxLayout(row)
    layout.setContentsMargins(8, 4, 8, 0)
    layout.setSpacing(2)
    for action in actions:
        button = QToolButton()
        button.setDefaultAction(action)
        button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonIconOnly)
        button.setAccessibleName(action.text().replace("&", ""))
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        layout.addWidget(button)
    layout.addStretch(1)
    return row


def _badge(number: int) -> QIcon:
    """The number in a disc of the object's colour, as over the frame."""
    result = QIcon()
    colour = QColor(object_colour(number))
    for ratio in (1, 2, 3):
        pixmap = QPixmap(_BADGE_PX * ratio, _BADGE_PX * ratio)
        pixmap.setDevicePixelRatio(ratio)
        pixmap.fill(Qt.GlobalColor.transparent)
        painter = QPainter(pixmap)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(colour)
        painter.drawEllipse(0, 0, _BADGE_PX, _BADGE_PX)
        font = painter.font()
        font.setBold(True)
        font.setPixelSize(11 if number < 10 else 9)
        painter.setFont(font)
        painter.setPen(readable_on(colour))
        painter.drawText(0, 0, _BADGE_PX, _BADGE_PX, Qt.AlignmentFlag.AlignCenter, str(number))
        painter.end()
        result.addPixmap(pixmap)
    return result
