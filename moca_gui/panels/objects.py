"""The objects of the frame on screen: number, name, score, shown or hidden."""

from __future__ import annotations

from PySide6.QtCore import QSignalBlocker, QSize, Qt
from PySide6.QtGui import QColor, QIcon, QPainter, QPixmap
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QLabel,
    QStackedLayout,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from moca_core.annotations.model import PackedObject
from moca_gui.colormaps import object_colour
from moca_gui.session import Session
from moca_gui.views.overlay import readable_on

_NO_BREAK = "\N{NO-BREAK SPACE}"
_BADGE_PX = 18
_NUMBER = Qt.ItemDataRole.UserRole


class ObjectsPanel(QWidget):
    """A table of the frame's sounding objects; the check box hides one in the whole clip."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.setObjectName("surface")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.session = session
        self.table = QTableWidget(0, 3)
        self.table.setAccessibleName("Objects of this frame")
        self.table.setHorizontalHeaderLabels(["Object", "Score", "Source"])
        self.table.verticalHeader().hide()
        self.table.verticalHeader().setDefaultSectionSize(28)
        self.table.setShowGrid(False)
        self.table.setIconSize(QSize(_BADGE_PX, _BADGE_PX))
        self.table.setWordWrap(False)  # a long name is cut at its end, not at a word
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(2, QHeaderView.ResizeMode.ResizeToContents)
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        header.setHighlightSections(False)
        self.table.itemChanged.connect(self._toggle)
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
        body = QWidget()
        self._stack = QStackedLayout(body)
        self._stack.addWidget(self.message)
        self._stack.addWidget(self.table)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(body, 1)
        layout.addWidget(self.heard)
        session.frame_changed.connect(self.refresh)
        session.objects_changed.connect(self.refresh)
        session.clip_changed.connect(self.refresh)
        session.result_changed.connect(self._on_result)
        self._shown: object = ()
        self.refresh()

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
        source = "" if result is None else "frame" if result.key else "motion"
        shown = [(o.number, o.name, f"{o.score:.2f}", o.number in hidden, source) for o in objects]
        if shown == self._shown:
            return
        self._shown = shown
        with QSignalBlocker(self.table):
            self.table.setRowCount(len(objects))
            for row, item in enumerate(objects):
                self._fill_row(row, item, item.number in hidden, source)

    def _empty_text(self) -> str:
        if self.session.clip is None:
            return "The objects of the frame on screen are listed here."
        result = self.session.result
        if result is None:
            return "This frame was not run. Choose Run, or press Ctrl+R for the whole clip."
        return f"No mask: {result.reason}."

    def _fill_row(self, row: int, item: PackedObject, hidden: bool, source: str) -> None:
        name = QTableWidgetItem(item.name)
        name.setIcon(_badge(item.number))
        name.setData(Qt.ItemDataRole.AccessibleTextRole, f"{item.number} {item.name}")
        name.setData(_NUMBER, item.number)
        name.setFlags(
            Qt.ItemFlag.ItemIsEnabled
            | Qt.ItemFlag.ItemIsUserCheckable
            | Qt.ItemFlag.ItemIsSelectable
        )
        name.setCheckState(Qt.CheckState.Unchecked if hidden else Qt.CheckState.Checked)
        name.setToolTip(f"{item.name}: uncheck to hide this object's masks")
        self.table.setItem(row, 0, name)
        self.table.setItem(row, 1, QTableWidgetItem(f"{item.score:.2f}"))
        where = QTableWidgetItem(source)
        where.setToolTip("frame: the encoders ran here; motion: followed by optical flow")
        self.table.setItem(row, 2, where)

    def _toggle(self, item: QTableWidgetItem) -> None:
        number = item.data(_NUMBER)
        if number is not None:
            self.session.set_object_shown(number, item.checkState() == Qt.CheckState.Checked)


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
