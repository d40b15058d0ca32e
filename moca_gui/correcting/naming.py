"""Names of objects: typed into the table of objects, with those that are known offered."""

from __future__ import annotations

from functools import cache

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, Qt, Signal
from PySide6.QtWidgets import (
    QCompleter,
    QLineEdit,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QWidget,
)

from moca_core.models.sound_groups import SoundGroups
from moca_gui.session import Session

Index = QModelIndex | QPersistentModelIndex


@cache
def _groups() -> SoundGroups:
    return SoundGroups.load()


def is_seen(name: str) -> bool:
    """Whether what is called so can be in the picture, unlike music laid under a film."""
    groups = _groups()
    return name not in groups.display or bool(groups.visible[groups.display.index(name)])


def known_names(session: Session) -> list[str]:
    """The names of the sound groups, and those that objects of the clip have."""
    frames = (*session.labels.frames.values(), *session.results.values())
    used = {item.name for frame in frames for item in frame.objects}
    return sorted({*_groups().display, *used} - {""}, key=str.casefold)


class NameDelegate(QStyledItemDelegate):
    """A text box in the table for the name; what is typed is told, not put into the table."""

    named = Signal(int, str)  # row, name

    def __init__(self, session: Session, parent: QWidget) -> None:
        super().__init__(parent)
        self._session = session

    def createEditor(self, parent: QWidget, option: QStyleOptionViewItem, index: Index) -> QWidget:
        editor = QLineEdit(parent)
        editor.setAccessibleName("Name of the object")
        completer = QCompleter(known_names(self._session), editor)
        completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        completer.setFilterMode(Qt.MatchFlag.MatchContains)
        editor.setCompleter(completer)
        return editor

    def updateEditorGeometry(
        self, editor: QWidget, option: QStyleOptionViewItem, index: Index
    ) -> None:
        super().updateEditorGeometry(editor, option, index)
        viewport = editor.parentWidget()
        if viewport is not None:  # to its edge: names are longer than what the column leaves them
            editor.resize(viewport.width() - editor.x() - 2, editor.height())

    def setEditorData(self, editor: QWidget, index: Index) -> None:
        assert isinstance(editor, QLineEdit)
        editor.setText(index.data())
        editor.selectAll()

    def setModelData(self, editor: QWidget, model: object, index: Index) -> None:
        assert isinstance(editor, QLineEdit)
        name = editor.text().strip()
        if name and name != index.data():
            self.named.emit(index.row(), name)
