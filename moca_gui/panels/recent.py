"""The menu of recent clips."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from PySide6.QtWidgets import QMenu, QWidget

from moca_gui.settings import WindowState


class RecentMenu(QMenu):
    """Filled anew each time it is shown."""

    def __init__(
        self, state: WindowState, open_path: Callable[[Path], None], parent: QWidget
    ) -> None:
        super().__init__("Open &recent", parent)
        self._state = state
        self._open_path = open_path
        self.aboutToShow.connect(self.fill)
        self.fill()

    def fill(self) -> None:
        """List the recent clips, the latest first."""
        self.clear()
        recent = self._state.recent()
        for path in recent:
            action = self.addAction(f"{path.name}    {path.parent}")
            action.triggered.connect(partial(self._open, path))
        self.addSeparator()
        clear = self.addAction("Clear")
        clear.setEnabled(bool(recent))
        clear.triggered.connect(self._state.clear_recent)

    def _open(self, path: Path, _checked: bool = False) -> None:
        self._open_path(path)
