"""How the window is laid out: kept when it closes, put back to what it was at first."""

from __future__ import annotations

import logging
from collections.abc import Callable

from PySide6.QtCore import QObject, QRect, QSize, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QMainWindow

from moca_gui.settings import WindowState
from moca_gui.theme import text_scale

_log = logging.getLogger(__name__)
SIZE_PX = QSize(1280, 860)
_SEEN_PX = 80
"""So much of a window has to be on a screen to take hold of it."""


class WindowLayout(QObject):
    """Size, place, docks. Made when all docks are where they are at first.

    Parameters
    ----------
    window : the main window.
    state : where the layout is kept.
    reset_parts : put parts back to what they are at first, such as the docks' sizes, or a zoom.
    """

    def __init__(
        self, window: QMainWindow, state: WindowState, *reset_parts: Callable[[], object]
    ) -> None:
        super().__init__(window)
        self._window, self._state, self._reset_parts = window, state, reset_parts
        window.resize(_fitting(window))
        self._docks = window.saveState()

    def restore(self) -> None:
        """Take up the layout that was kept; one that can't be read leaves the first one."""
        geometry, docks = self._state.load()
        if geometry is not None and not self._window.restoreGeometry(geometry):
            _log.warning("The size that the window had can't be read; it has its first one.")
        if docks is not None and not self._window.restoreState(docks):
            _log.warning("The layout of the docks can't be read; they are where they were first.")
        bring_on_screen(self._window)

    def keep(self) -> None:
        """Keep the layout for the next time."""
        self._state.save(self._window.saveGeometry(), self._window.saveState())

    def reset(self) -> None:
        """Put everything back to where it was at first."""
        window = self._window
        window.setWindowState(Qt.WindowState.WindowNoState)
        window.restoreState(self._docks)
        # The room that the docks needed before is free once their new places are taken up.
        layout = window.layout()
        assert layout is not None  # every main window has one
        layout.activate()
        window.resize(_fitting(window))
        for reset in self._reset_parts:
            reset()
        bring_on_screen(window)


def _fitting(window: QMainWindow) -> QSize:
    """The first size of the window, or what the screen has room for."""
    return (SIZE_PX * text_scale()).boundedTo(window.screen().availableSize())


def bring_on_screen(window: QMainWindow) -> None:
    """Move the window to where it can be seen: its screen may be gone, or be smaller now."""
    place = window.frameGeometry()
    for screen in QGuiApplication.screens():
        seen = screen.availableGeometry().intersected(place)
        if seen.width() >= _SEEN_PX and seen.height() >= _SEEN_PX and seen.top() <= place.top():
            return
    room = QGuiApplication.primaryScreen().availableGeometry()
    window.resize(window.size().boundedTo(room.size()))
    place = QRect(room.topLeft(), window.frameGeometry().size())
    place.moveCenter(room.center())
    window.move(place.topLeft())
