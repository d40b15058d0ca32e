"""Shows that a widget which paints itself has the focus, when a key brought it there."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtGui import QFocusEvent
from PySide6.QtWidgets import QFrame, QWidget

_BY_KEY = (Qt.FocusReason.TabFocusReason, Qt.FocusReason.BacktabFocusReason)


class FocusRing(QFrame):
    """Lies over a widget, around its edge; a click into a picture frames nothing."""

    def __init__(self, widget: QWidget) -> None:
        super().__init__(widget)
        self.setObjectName("ring")
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.hide()
        widget.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if isinstance(event, QFocusEvent):
            self.setVisible(event.gotFocus() and event.reason() in _BY_KEY)
        if event.type() in (QEvent.Type.Resize, QEvent.Type.FocusIn):
            parent = self.parentWidget()
            assert parent is not None
            self.setGeometry(parent.rect())
            self.raise_()
        return False
