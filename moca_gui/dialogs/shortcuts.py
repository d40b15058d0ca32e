"""The window that lists all shortcuts, made from the table of actions."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDialog, QGridLayout, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from moca_gui.actions import ACTIONS, MENUS, key_text


class ShortcutsDialog(QDialog):
    """Shortcuts by menu, in two columns."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keyboard shortcuts")
        columns = QHBoxLayout(self)
        columns.setContentsMargins(24, 20, 24, 22)
        columns.setSpacing(44)
        for menus in (("File", "Edit", "View", "Help"), ("Playback", "Run")):
            column = QVBoxLayout()
            column.setSpacing(6)
            for menu in menus:
                assert menu in MENUS
                heading = QLabel(menu)
                heading.setObjectName("heading")
                column.addWidget(heading)
                column.addLayout(self._grid(menu))
                column.addSpacing(10)
            column.addStretch(1)
            columns.addLayout(column)

    def _grid(self, menu: str) -> QGridLayout:
        grid = QGridLayout()
        grid.setHorizontalSpacing(26)
        grid.setVerticalSpacing(5)
        grid.setColumnStretch(0, 1)
        rows = [row for row in ACTIONS if row.menu == menu and row.keys]
        for index, row in enumerate(rows):
            text = QLabel(row.title)
            keys = QLabel("  or  ".join(key_text(key) for key in row.keys))
            keys.setObjectName("dim")
            keys.setAlignment(Qt.AlignmentFlag.AlignRight)
            grid.addWidget(text, index, 0)
            grid.addWidget(keys, index, 1)
        return grid
