"""A window that is as large as its words need."""

from __future__ import annotations

from PySide6.QtCore import QEvent
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QDialog, QWidget

from moca_gui.theme import px


class Fitted(QDialog):
    """Wraps its words at its width, which is `width_px` at least, and is as high as they need."""

    def __init__(self, width_px: int, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._width_px = px(width_px)

    def fit(self) -> None:
        """Look again how large it has to be."""
        layout = self.layout()
        if layout is None:
            return
        layout.activate()
        needed = layout.totalMinimumSize()
        least = max(self._width_px, needed.width())
        # -1 where no words are wrapped
        high = layout.totalHeightForWidth(max(least, self.width()))
        self.setMinimumSize(least, max(needed.height(), high))

    def resizeEvent(self, event: QResizeEvent) -> None:
        self.fit()

    def event(self, event: QEvent) -> bool:
        """Also look when the words got another size, or were hidden or shown."""
        handled = super().event(event)
        if event.type() == QEvent.Type.LayoutRequest:
            self.fit()
        return handled
