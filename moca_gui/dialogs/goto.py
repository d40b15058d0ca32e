"""Go to a frame or a time."""

from __future__ import annotations

from PySide6.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from moca_gui.dialogs.fitted import Fitted
from moca_gui.timecode import parse_position


class GoToDialog(Fitted):
    """Asks for a frame number or a time; `position` is the answer.

    Parameters
    ----------
    frame_count : of the clip; None where it isn't known yet.
    """

    def __init__(self, frame_count: int | None, parent: QWidget | None = None) -> None:
        super().__init__(330, parent)
        self.setWindowTitle("Go to")
        self.position: int | float | None = None
        self._count = frame_count
        self.edit = QLineEdit()
        self.edit.setAccessibleName("Frame or time")
        self.edit.setPlaceholderText("123   4.56   00:04.560")
        self.edit.textChanged.connect(self._check)
        last = "" if frame_count is None else f" to {frame_count - 1}"
        self.note = QLabel(f"A frame from 0{last}, or a time in seconds.")
        self.note.setObjectName("dim")
        self.button = QPushButton("Go")
        self.button.setObjectName("primary")
        self.button.setDefault(True)
        self.button.setEnabled(False)
        self.button.clicked.connect(self.accept)
        row = QHBoxLayout()
        row.addWidget(self.edit, 1)
        row.addWidget(self.button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(18, 16, 18, 16)
        layout.setSpacing(10)
        layout.addWidget(self.note)
        layout.addLayout(row)

    def _check(self, text: str) -> None:
        position = parse_position(text)
        if isinstance(position, int) and self._count is not None and position >= self._count:
            position = None
        self.position = position
        self.button.setEnabled(position is not None)
