"""Going from frame to frame while checking: to what is yet to be looked at, or was corrected."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QObject

from moca_gui.player import Player
from moca_gui.results import CORRECTED, MASKS
from moca_gui.session import Session


class Checking(QObject):
    """Moves the playhead to frames by what people have made of them."""

    def __init__(self, session: Session, player: Player, parent: QObject) -> None:
        super().__init__(parent)
        self._session, self._player = session, player

    def go_unchecked(self, step: int) -> None:
        """To the next (1) or previous (-1) frame with masks that nobody has corrected."""
        self._go(MASKS, step, "No further frame to check: the others were corrected, or are empty.")

    def go_corrected(self, step: int) -> None:
        """To the next (1) or previous (-1) frame that a person corrected."""
        self._go(CORRECTED, step, "No further corrected frame.")

    def _go(self, state: int, step: int, none_left: str) -> None:
        frames = np.flatnonzero(self._session.states == state)
        here = self._player.target
        side = frames[frames > here] if step > 0 else frames[frames < here]
        if not len(side):
            self._session.note(none_left)
            return
        self._player.pause()
        self._player.seek(int(side[0 if step > 0 else -1]))
