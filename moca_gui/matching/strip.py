"""The neighbours of the left frame as a row of small pictures."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QPoint, QRect, QSize, Qt, Signal
from PySide6.QtGui import QIcon, QImage, QPainter, QPixmap
from PySide6.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QListView,
    QListWidget,
    QListWidgetItem,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from moca_core.types import StageEvent
from moca_gui.dialogs.choosing import ask_folder
from moca_gui.matching.pictures import Pick
from moca_gui.matching.sides import plain_button
from moca_gui.matching.source import THUMB_PX, Found
from moca_gui.timecode import format_time

_THUMB_WIDE_PX, _THUMB_HIGH_PX = 150, 84
_HINT = "The frames that look most like the left one, among this clip's key frames"


class NeighbourStrip(QWidget):
    """Looks for neighbours, and chooses one of them.

    Signals: `search_pressed`, `cancel_pressed`, and `picked(Pick)` for the right side.
    """

    search_pressed = Signal()
    cancel_pressed = Signal()
    picked = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.folder: Path | None = None
        self.search = QPushButton("Find neighbours")
        self.search.setToolTip(f"{_HINT} and in a folder of your choice")
        self.search.clicked.connect(self.search_pressed)
        self.cancel = QPushButton("Cancel")
        self.cancel.setAccessibleName("Cancel the search")
        self.cancel.clicked.connect(self.cancel_pressed)
        self.choose = plain_button("Folder\N{HORIZONTAL ELLIPSIS}", "Look in a folder, too")
        self.choose.clicked.connect(self._ask)
        self.none = plain_button("No folder", "Look in this clip only")
        self.none.clicked.connect(lambda: self.set_folder(None))
        self.progress = QProgressBar()
        self.progress.setAccessibleName("Progress of the search")
        self.progress.setFixedWidth(160)
        self.note = QLabel()
        self.note.setAccessibleName("Neighbours")
        self.note.setObjectName("dim")
        self.list = QListWidget()
        self.list.setAccessibleName("Neighbours of the left frame")
        self.list.setViewMode(QListView.ViewMode.IconMode)
        self.list.setFlow(QListView.Flow.LeftToRight)
        self.list.setWrapping(False)
        self.list.setMovement(QListView.Movement.Static)
        self.list.setIconSize(QSize(_THUMB_WIDE_PX, _THUMB_HIGH_PX))
        self.list.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        bar = self.list.horizontalScrollBar().sizeHint().height()
        self.list.setFixedHeight(_THUMB_HIGH_PX + 2 * self.fontMetrics().height() + bar + 26)
        # One click, or Enter: both compare.
        self.list.itemClicked.connect(self._pick)
        self.list.itemActivated.connect(self._pick)
        row = QHBoxLayout()
        row.setSpacing(6)
        for part in (self.search, self.cancel, self.choose, self.none, self.progress):
            row.addWidget(part)
        row.addWidget(self.note, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addLayout(row)
        layout.addWidget(self.list)
        self.set_folder(None)
        self.clear()

    # -- the folder ---------------------------------------------------------------------------

    def _ask(self) -> None:
        start = self.folder or Path.home()
        ask_folder(self, "Folder of pictures or clips", start, self.set_folder)

    def set_folder(self, folder: Path | None) -> None:
        """Look in a folder, too, or in none."""
        self.folder = folder
        self.none.setVisible(folder is not None)
        name = "Folder\N{HORIZONTAL ELLIPSIS}" if folder is None else f"Folder: {folder.name}"
        self.choose.setText(name)
        tip = str(folder) if folder is not None else "Look in a folder, too"
        self.choose.setToolTip(tip)
        self.choose.setAccessibleName(tip)

    # -- the search ---------------------------------------------------------------------------

    def clear(self, text: str = f"{_HINT}.") -> None:
        """Show no neighbours."""
        self.list.clear()
        self.list.hide()
        self.note.setText(text)
        self.note.setToolTip("")
        self.set_searching(False)

    def set_searching(self, searching: bool) -> None:
        """A search has begun, or ended."""
        self.search.setVisible(not searching)
        self.cancel.setVisible(searching)
        self.progress.setVisible(searching)
        if searching:
            self.progress.setRange(0, 0)

    def show_stage(self, event: StageEvent) -> None:
        """How far the search is."""
        self.progress.setRange(0, event.total)
        self.progress.setValue(event.done)
        self.note.setText(event.stage)

    def show_found(self, found: Found) -> None:
        """Show the neighbours so far."""
        chosen = self.list.currentRow()
        self.list.clear()
        self.list.setVisible(bool(found.neighbours))
        for one, image in zip(found.neighbours, found.thumbs, strict=True):
            moment = "" if one.time_s is None else f"{format_time(one.time_s)}   "
            name = self.fontMetrics().elidedText(
                one.path.name, Qt.TextElideMode.ElideMiddle, _THUMB_WIDE_PX
            )
            item = QListWidgetItem(QIcon(_on_ground(image)), f"{name}\n{moment}{one.likeness:.3f}")
            item.setToolTip(f"{one.path}\ncosine {one.likeness:.4f}")
            item.setData(Qt.ItemDataRole.UserRole, Pick(one.path, one.time_s))
            item.setData(
                Qt.ItemDataRole.AccessibleTextRole,
                f"{one.path.name} {moment.strip()}, cosine {one.likeness:.3f}",
            )
            self.list.addItem(item)
        self.list.setCurrentRow(min(chosen, self.list.count() - 1))
        self.note.setText(_summary(found))
        self.note.setToolTip("\n".join(found.left_out))

    def _pick(self, item: QListWidgetItem) -> None:
        self.picked.emit(item.data(Qt.ItemDataRole.UserRole))


def _summary(found: Found) -> str:
    words = f"The most like frame {found.frame} of {found.total:,} pictures, with their cosines"
    if not found.neighbours:
        words = "There is no other picture to look at: choose a folder"
    if found.left_out:
        count = len(found.left_out)
        words += f"; {count} that can't be read {'is' if count == 1 else 'are'} left out"
    return f"{words}."


def _on_ground(image: QImage) -> QPixmap:
    """A small picture in the middle of the room that all have, sharp on dense screens, too."""
    ground = QPixmap(THUMB_PX, THUMB_PX * _THUMB_HIGH_PX // _THUMB_WIDE_PX)
    ground.fill(Qt.GlobalColor.transparent)
    size = image.size().scaled(ground.size(), Qt.AspectRatioMode.KeepAspectRatio)
    place = QRect(QPoint(0, 0), size)
    place.moveCenter(ground.rect().center())
    painter = QPainter(ground)
    painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
    painter.drawImage(place, image)
    painter.end()
    ground.setDevicePixelRatio(THUMB_PX / _THUMB_WIDE_PX)
    return ground
