"""The log: the last messages, in the window and in a file."""

from __future__ import annotations

import logging
from datetime import datetime

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtWidgets import QPlainTextEdit

LINES = 2000


class _Bridge(QObject):
    record = Signal(str)


class _Handler(logging.Handler):
    """Carries log records of any thread to the GUI thread."""

    def __init__(self, bridge: _Bridge) -> None:
        super().__init__(logging.INFO)
        self._bridge = bridge

    def emit(self, record: logging.LogRecord) -> None:
        self._bridge.record.emit(f"{record.levelname.lower()}: {record.getMessage()}")


class LogPanel(QPlainTextEdit):
    """Messages with their time, bounded by lines."""

    def __init__(self) -> None:
        super().__init__()
        self.setReadOnly(True)
        self.setMaximumBlockCount(LINES)
        self.setAccessibleName("Log")
        self.setProperty("mono", True)
        self._bridge = _Bridge(self)
        self._bridge.record.connect(self.write, Qt.ConnectionType.QueuedConnection)
        self._handler = _Handler(self._bridge)
        for name in ("moca_core", "moca_gui"):
            logging.getLogger(name).addHandler(self._handler)

    def write(self, message: str) -> None:
        """Append a line."""
        self.appendPlainText(f"{datetime.now():%H:%M:%S}  {message}")

    def release(self) -> None:
        """Stop listening to the log."""
        for name in ("moca_core", "moca_gui"):
            logging.getLogger(name).removeHandler(self._handler)
