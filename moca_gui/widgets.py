"""Buttons that several windows make."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QPushButton, QToolButton


def button(text: str, slot: Callable[[], object]) -> QPushButton:
    """A button that Return doesn't press by itself."""
    made = QPushButton(text)
    made.setAutoDefault(False)
    made.clicked.connect(lambda: slot())
    return made


def action_button(action: QAction, side_px: int) -> QToolButton:
    """A button with the icon of an action, `side_px` wide, that the keys leave to the window."""
    made = QToolButton()
    made.setDefaultAction(action)
    made.setIconSize(QSize(side_px, side_px))
    made.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    made.setAccessibleName(action.text().replace("&", ""))
    return made
