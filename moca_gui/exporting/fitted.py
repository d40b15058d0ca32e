"""A window that is as large as its words need, and what both windows of this package say."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QEvent
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QDialog, QLabel, QPushButton, QWidget

from moca_core.errors import MocaError
from moca_gui.dialogs.errors import UNEXPECTED_HINT


class FittedDialog(QDialog):
    """Wraps its words at its width, which is `width_px` at least, and is as high as they need."""

    def __init__(self, width_px: int, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._width_px = width_px

    def fit(self) -> None:
        """Look again how large it has to be."""
        layout = self.layout()
        if layout is None:
            return
        layout.activate()
        least = max(self._width_px, layout.totalMinimumSize().width())
        self.setMinimumSize(least, layout.totalHeightForWidth(max(least, self.width())))

    def resizeEvent(self, event: QResizeEvent) -> None:
        self.fit()

    def event(self, event: QEvent) -> bool:
        """Also look when the words got another size, or were hidden or shown."""
        handled = super().event(event)
        if event.type() == QEvent.Type.LayoutRequest:
            self.fit()
        return handled

    def say(self, label: QLabel, text: str, danger: bool = False) -> None:
        """Show words, in the colour of danger or not; none hide the label."""
        label.setText(text)
        label.setVisible(bool(text))
        label.setObjectName("danger" if danger else "")
        label.style().polish(label)

    def say_error(self, label: QLabel, error: BaseException) -> None:
        """Say what happened and what to try."""
        if isinstance(error, MocaError):
            self.say(label, f"{error.message}\n{error.hint}".strip(), danger=True)
        else:
            self.say(label, f"{type(error).__name__}: {error}\n{UNEXPECTED_HINT}", danger=True)


def button(text: str, slot: Callable[[], object]) -> QPushButton:
    """A button that Return doesn't press by itself."""
    made = QPushButton(text)
    made.setAutoDefault(False)
    made.clicked.connect(lambda: slot())
    return made
