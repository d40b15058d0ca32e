"""Opens the windows that ask or tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtWidgets import QDialog, QWidget

from moca_core.config import SegmentConfig
from moca_core.errors import WeightsError
from moca_gui.dialogs.about import AboutDialog
from moca_gui.dialogs.errors import ErrorDialog
from moca_gui.dialogs.goto import GoToDialog
from moca_gui.dialogs.settings import SettingsDialog
from moca_gui.dialogs.shortcuts import ShortcutsDialog
from moca_gui.dialogs.weights import WeightsDialog
from moca_gui.jobs import JobPool
from moca_gui.settings import Settings, segment_config
from moca_gui.shortcuts import Shortcuts
from moca_gui.weights import WeightsSource

if TYPE_CHECKING:
    from moca_gui.player import Player
    from moca_gui.session import Session


class Dialogs(QObject):
    """Each is modal to the main window, and is gone when it is closed."""

    log_wanted = Signal()

    def __init__(
        self,
        window: QWidget,
        session: Session,
        player: Player,
        pool: JobPool,
        settings: Settings,
        shortcuts: Shortcuts,
        weights: WeightsSource,
    ) -> None:
        super().__init__(window)
        self.window = window
        self._session = session
        self._player = player
        self._pool = pool
        self._settings = settings
        self._shortcuts = shortcuts
        self.weights = weights

    def show_error(self, title: str, error: BaseException) -> None:
        """Show what happened and what to try."""
        dialog = ErrorDialog(title, error, self.window)
        dialog.log_pressed.connect(self.log_wanted)
        if isinstance(error, WeightsError):
            dialog.offer("Weights…", self.show_weights)
        self._open(dialog)

    def show_weights(self, config: SegmentConfig | None = None) -> WeightsDialog:
        """Show the weights files and their state: those for `config`, or for the next run."""
        wanted = config or segment_config(self._settings)
        dialog = WeightsDialog(self._pool, self.weights, wanted, self.window)
        self._open(dialog)
        return dialog

    def ask_position(self) -> None:
        """Ask for a frame or a time and go there."""
        clip = self._session.clip
        if clip is None:
            return
        dialog = GoToDialog(clip.frame_count if clip.indexed else None, self.window)

        def go() -> None:
            if isinstance(dialog.position, int):
                self._player.seek(dialog.position)
            elif dialog.position is not None:
                self._player.seek_time(dialog.position)

        dialog.accepted.connect(go)
        self._open(dialog)

    def show_settings(self) -> None:
        """Show the settings, which act at once."""
        self._open(SettingsDialog(self._settings, self.window))

    def show_shortcuts(self) -> None:
        """List the keyboard shortcuts, which can be changed."""
        self._open(ShortcutsDialog(self._shortcuts, self.window))

    def show_about(self) -> None:
        """Say what this program is."""
        self._open(AboutDialog(self.window))

    def _open(self, dialog: QDialog) -> None:
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.open()
