"""Puts the settings to use as soon as they change, whoever changed them."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QAction, QGuiApplication

from moca_gui.player import Player
from moca_gui.settings import Settings


class Preferences(QObject):
    """Keeps player and menus at the settings. Signals: `look_changed` for theme and text size."""

    look_changed = Signal()

    def __init__(
        self, settings: Settings, player: Player, actions: dict[str, QAction], parent: QObject
    ) -> None:
        super().__init__(parent)
        self._settings, self._player, self._actions = settings, player, actions
        self._uses: dict[str, Callable[[], object]] = {
            "theme": self._use_theme,
            "text_size": self.look_changed.emit,
            "volume": lambda: player.set_volume(settings.get("volume")),
            "muted": self._use_muted,
            "keep_maps": self._use_keep_maps,
        }
        for use in self._uses.values():
            use()
        settings.changed.connect(self._follow)
        QGuiApplication.styleHints().colorSchemeChanged.connect(self._on_system_scheme)

    def _follow(self, key: str) -> None:
        if key in self._uses:
            self._uses[key]()

    def _on_system_scheme(self) -> None:
        if self._settings.get("theme") == "system":
            self.look_changed.emit()

    def _use_theme(self) -> None:
        self._actions[f"theme_{self._settings.get('theme')}"].setChecked(True)
        self.look_changed.emit()

    def _use_muted(self) -> None:
        muted = self._settings.get("muted")
        self._actions["mute"].setChecked(muted)
        self._player.set_muted(muted)

    def _use_keep_maps(self) -> None:
        self._actions["keep_maps"].setChecked(self._settings.get("keep_maps"))

    # -- slots of actions ---------------------------------------------------------------------

    def choose_theme(self, choice: str) -> None:
        """Dark, light, or as the system."""
        self._settings.set("theme", choice)

    def set_muted(self, muted: bool) -> None:
        """Silence the sound, and keep that."""
        self._settings.set("muted", muted)

    def set_keep_maps(self, keep: bool) -> None:
        """Keep the maps of every key frame in the runs to come."""
        self._settings.set("keep_maps", keep)
