"""A window that asks: what is the matter, and one button for each answer."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from moca_gui.dialogs.fitted import Fitted


class Question(Fitted):
    """Rejected by Esc, which is the answer that changes nothing.

    Parameters
    ----------
    title, text : what is the matter.
    hint : what it means, or where to look; may be empty.
    """

    def __init__(self, title: str, text: str, parent: QWidget | None, hint: str = "") -> None:
        super().__init__(474, parent)
        self.setWindowTitle(title)
        self.heading = QLabel(title)
        self.heading.setObjectName("title")
        self.text = QLabel(text)
        self.hint = QLabel(hint)
        self.hint.setObjectName("dim")
        self.hint.setVisible(bool(hint))
        self.buttons: dict[str, QPushButton] = {}
        self._row = QHBoxLayout()
        self._row.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(22, 18, 22, 16)
        layout.setSpacing(12)
        for label in (self.heading, self.text, self.hint):
            label.setWordWrap(True)
            layout.addWidget(label)
        layout.addLayout(self._row)

    def add(
        self, text: str, answer: Callable[[], object] | None = None, default: bool = False
    ) -> QPushButton:
        """Add a button that closes this window and calls `answer`; without one it rejects."""
        button = QPushButton(text)
        button.setAutoDefault(False)
        button.setDefault(default)
        if answer is None:
            button.clicked.connect(self.reject)
        else:
            button.clicked.connect(self.accept)
            button.clicked.connect(lambda: answer())
        self._row.addWidget(button)
        self.buttons[text] = button
        if default:
            button.setFocus()
        return button
