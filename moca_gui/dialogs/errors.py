"""The error window: what happened, what to try, Details and Copy."""

from __future__ import annotations

import traceback
from collections.abc import Callable

from PySide6.QtCore import Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from moca_core.errors import MocaError
from moca_gui.dialogs.fitted import Fitted

BY_WEIGHTS = (
    "Press Weights\N{HORIZONTAL ELLIPSIS}: it shows the files and fetches them, or takes a file "
    "that you have."
)
UNEXPECTED_HINT = "This is a fault of the program. Copy the details into a report."


def hint_in_window(error: MocaError, instead: str = BY_WEIGHTS) -> str:
    """What to try; where the hint names a command for the weights, the window's own way."""
    return instead if "`moca weights" in error.hint else error.hint


class ErrorDialog(Fitted):
    """Shows an error; stays open beside the work until closed."""

    log_pressed = Signal()

    def __init__(self, title: str, error: BaseException, parent: QWidget | None = None) -> None:
        super().__init__(480, parent)
        self.setWindowTitle(title)
        if isinstance(error, MocaError):
            message, hint = error.message, hint_in_window(error)
        else:
            message, hint = f"{type(error).__name__}: {error}", UNEXPECTED_HINT
        self.report = f"{title}\n{message}\n{hint}\n\n" + "".join(traceback.format_exception(error))
        heading = QLabel(title)
        heading.setObjectName("title")
        heading.setWordWrap(True)
        self.message = QLabel(message)
        self.hint = QLabel(hint)
        self.hint.setObjectName("dim")
        for label in (self.message, self.hint):
            label.setWordWrap(True)
        self.details = QPlainTextEdit(self.report)
        self.details.setReadOnly(True)
        self.details.setAccessibleName("Details")
        self.details.setProperty("mono", True)
        self.details.setMinimumHeight(190)
        self.details.hide()
        self.details_button = QPushButton("Details")
        self.details_button.setCheckable(True)
        self.details_button.toggled.connect(self._show_details)
        self.copy_button = QPushButton("Copy")
        self.copy_button.setToolTip("Copy the message and the details")
        self.copy_button.clicked.connect(lambda: QGuiApplication.clipboard().setText(self.report))
        self.log_button = QPushButton("Show log")
        self.log_button.clicked.connect(self.log_pressed)
        close = QPushButton("Close")
        close.setDefault(True)
        close.clicked.connect(self.accept)
        buttons = QHBoxLayout()
        buttons.addWidget(self.details_button)
        buttons.addWidget(self.copy_button)
        buttons.addWidget(self.log_button)
        buttons.addStretch(1)
        buttons.addWidget(close)
        self._buttons = buttons
        layout = QVBoxLayout(self)
        layout.setContentsMargins(22, 18, 22, 16)
        layout.setSpacing(10)
        layout.addWidget(heading)
        layout.addWidget(self.message)
        layout.addWidget(self.hint)
        layout.addWidget(self.details, 1)
        layout.addSpacing(6)
        layout.addLayout(buttons)
        close.setFocus()

    def offer(self, text: str, remedy: Callable[[], object]) -> QPushButton:
        """Add a button that closes this window and calls `remedy`."""
        button = QPushButton(text)
        button.clicked.connect(self.accept)
        button.clicked.connect(lambda: remedy())
        self._buttons.insertWidget(self._buttons.count() - 1, button)
        return button

    def _show_details(self, shown: bool) -> None:
        self.details.setVisible(shown)
        self.adjustSize()
