"""Knowing when a window can be seen, which is later than when it was asked to show."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QEvent, QObject
from PySide6.QtWidgets import QWidget


class _Watcher(QObject):
    def __init__(self, widget: QWidget, call: Callable[[], None]) -> None:
        super().__init__(widget)
        self._call = call
        widget.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Paint:
            watched.removeEventFilter(self)
            self.deleteLater()
            self._call()
        return False


def call_at_first_paint(widget: QWidget, call: Callable[[], None]) -> None:
    """Call `call` once, when `widget` is painted next."""
    _Watcher(widget, call)
