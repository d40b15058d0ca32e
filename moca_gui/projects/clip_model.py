"""The clips of a list as Qt's views want them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt
from PySide6.QtGui import QFont

from moca_core.annotations.project import Peek
from moca_gui.projects.listing import explained, said

HEADINGS = ("Clip", "Corrected")
_Index = QModelIndex | QPersistentModelIndex
_NOWHERE = QModelIndex()


class ClipModel(QAbstractTableModel):
    """A row a clip: its name, how far its project is; the open one is bold."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.clips: tuple[Path, ...] = ()
        self.current: Path | None = None
        self._rows: dict[Path, int] = {}
        self._seen: dict[Path, Peek] = {}

    def set_clips(self, clips: Sequence[Path]) -> None:
        """Show other clips, of which nothing is known yet."""
        self.beginResetModel()
        self.clips = tuple(clips)
        self._rows = {path: row for row, path in enumerate(self.clips)}
        self._seen.clear()
        self.endResetModel()

    def set_seen(self, clip: Path, seen: Peek) -> None:
        """Show how far the project of a clip is."""
        if clip in self._rows and self._seen.get(clip) != seen:
            self._seen[clip] = seen
            self._redraw(clip)

    def set_current(self, clip: Path | None) -> None:
        """Mark the clip that is open."""
        before, self.current = self.current, clip
        for path in (before, clip):
            if path is not None:
                self._redraw(path)

    def row_of(self, clip: Path | None) -> int | None:
        """The row of a clip; None if it isn't in the list."""
        return None if clip is None else self._rows.get(clip)

    def _redraw(self, clip: Path) -> None:
        row = self._rows.get(clip)
        if row is not None:
            self.dataChanged.emit(self.index(row, 0), self.index(row, len(HEADINGS) - 1))

    def rowCount(self, parent: _Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(self.clips)

    def columnCount(self, parent: _Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(HEADINGS)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        if role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal:
            return HEADINGS[section]
        return None

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        clip = self.clips[index.row()]
        seen = self._seen.get(clip)
        if role == Qt.ItemDataRole.DisplayRole:
            return (clip.name, said(seen))[index.column()]
        if role == Qt.ItemDataRole.ToolTipRole:
            return f"{clip}\n{explained(seen)}"
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return f"{clip.name}, {explained(seen)}" + (", open" if clip == self.current else "")
        if role == Qt.ItemDataRole.FontRole and clip == self.current:
            font = QFont()
            font.setBold(True)
            return font
        return None
