"""View > Compare two frames: the window, and what the main window sees of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QObject
from PySide6.QtWidgets import QWidget

from moca_core.config import SegmentConfig
from moca_core.errors import MocaError, WeightsError
from moca_gui.adapters import Adapters
from moca_gui.dialogs.opening import Dialogs
from moca_gui.encoders import Encoders
from moca_gui.jobs import JobPool
from moca_gui.session import Session
from moca_gui.settings import Settings
from moca_gui.theme import DARK, Theme

if TYPE_CHECKING:
    from collections.abc import Callable

    from moca_gui.matching.source import MatchSource
    from moca_gui.matching.window import MatchDialog


class Matching(QObject):
    """Keeps the comparing window, which is made when it is first shown.

    Parameters
    ----------
    window : the main window.
    source : encoders and neighbours.
    ask_open : asks for a clip.
    """

    def __init__(
        self,
        window: QWidget,
        source: MatchSource,
        pool: JobPool,
        session: Session,
        settings: Settings,
        dialogs: Dialogs,
        encoders: Encoders,
        adapters: Adapters,
        ask_open: Callable[[], None],
    ) -> None:
        super().__init__(window)
        self.dialog: MatchDialog | None = None
        self._window, self._source, self._pool = window, source, pool
        self._session, self._settings, self._dialogs = session, settings, dialogs
        self._encoders, self._adapters = encoders, adapters
        self._ask_open = ask_open
        self._theme = DARK
        self._asking = False  # for the terms of the encoders
        encoders.changed.connect(self._on_encoders)

    def show(self) -> None:
        """Show the window."""
        if self.dialog is None:
            from moca_gui.matching.window import MatchDialog
            from moca_gui.matching.work import MatchWork

            self.dialog = MatchDialog(
                self._session,
                MatchWork(self._pool, self._source, self),
                self,
                self._theme,
                self._window,
            )
            self.dialog.open_pressed.connect(self._ask_open)
            self.dialog.weights_pressed.connect(self._get_weights)
        self.dialog.show()
        self.dialog.raise_()
        self.dialog.activateWindow()

    def set_theme(self, theme: Theme) -> None:
        """Take the theme's colours."""
        self._theme = theme
        if self.dialog is not None:
            self.dialog.set_theme(theme)

    def release(self) -> None:
        """Hide the window, which ends its jobs: the program is about to end."""
        if self.dialog is not None:
            self.dialog.hide()

    def _on_encoders(self) -> None:
        if self.dialog is not None:
            self.dialog.refresh()

    # -- what the window asks -----------------------------------------------------------------

    @property
    def config(self) -> SegmentConfig:
        """The encoders of the runs to come."""
        return self._encoders.config

    @property
    def features(self) -> str:
        """What these are called, with their adapter."""
        adapter = self._adapters.title
        return (
            f"{self._encoders.row.title} + adapter {adapter}"
            if adapter
            else (self._encoders.row.title)
        )

    @property
    def every_s(self) -> float:
        """Seconds between key frames."""
        return float(self._settings.get("key_frame_every_s"))

    def when_ready(self, then: Callable[[], object], refuse: Callable[[MocaError], object]) -> None:
        """Go on if the encoders' files are here and their terms are accepted; else say why not."""
        from moca_gui.dialogs.terms import with_terms

        row = self._encoders.row
        lacking = [
            file.name
            for file in self._dialogs.weights.needed(SegmentConfig(bundle=row.name))
            if not file.present
        ]
        if lacking:
            names = ", ".join(lacking)
            refuse(WeightsError(f"{names}: not here yet", "Fetch what is missing: Weights."))
            return
        if self._asking:
            return  # what is asked for then comes when the terms are accepted

        def accepted() -> None:
            self._asking = False
            then()

        def declined() -> None:
            self._asking = False
            refuse(
                MocaError(
                    f"Not compared: the terms of {row.title} aren't accepted",
                    "Accept them, or choose other encoders by Run > Encoders.",
                )
            )

        assert self.dialog is not None
        self._asking = True
        with_terms(row.name, self.dialog, accepted, declined)

    def _get_weights(self) -> None:
        assert self.dialog is not None
        wanted = SegmentConfig(bundle=self.config.bundle)
        self._dialogs.show_weights(wanted).completed.connect(self.dialog.refresh)
