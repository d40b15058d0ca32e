"""Asks before a training run is thrown away, or left."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QDialog, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget


class _Question(QDialog):
    def __init__(self, title: str, text: str, parent: QWidget | None) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        heading = QLabel(title)
        heading.setObjectName("title")
        self.text = QLabel(text)
        self.text.setWordWrap(True)
        self.text.setMinimumWidth(430)
        self._buttons = QHBoxLayout()
        self._buttons.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(22, 18, 22, 16)
        layout.setSpacing(12)
        layout.addWidget(heading)
        layout.addWidget(self.text)
        layout.addLayout(self._buttons)

    def _add(self, text: str) -> QPushButton:
        button = QPushButton(text)
        button.setAutoDefault(False)
        self._buttons.addWidget(button)
        return button


class DiscardDialog(_Question):
    """Accepted if the run is to be thrown away."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(
            "Discard this training run?",
            "It ends now, and its checkpoint and adapters are removed. What was there before it "
            "began stays.",
            parent,
        )
        self.discard_button = self._add("Discard")
        self.discard_button.clicked.connect(self.accept)
        self.go_on_button = self._add("Go on training")
        self.go_on_button.setDefault(True)
        self.go_on_button.clicked.connect(self.reject)
        self.go_on_button.setFocus()


class LeaveDialog(_Question):
    """Asks what becomes of the run when the program is closed.

    Signals: `keep_pressed`, `discard_pressed`; rejected if the window stays.
    """

    keep_pressed = Signal()
    discard_pressed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(
            "An adapter is being trained",
            "Keep what is there: it ends after this iteration, and the run can be gone on with "
            "from there. Or discard it: it ends now, and what it made is removed.",
            parent,
        )
        self.keep_button = self._add("Keep and close")
        self.keep_button.clicked.connect(self._keep)
        self.discard_button = self._add("Discard and close")
        self.discard_button.clicked.connect(self._discard)
        self.stay_button = self._add("Go on training")
        self.stay_button.setDefault(True)
        self.stay_button.clicked.connect(self.reject)
        self.stay_button.setFocus()

    def _keep(self) -> None:
        self.accept()
        self.keep_pressed.emit()

    def _discard(self) -> None:
        self.accept()
        self.discard_pressed.emit()
