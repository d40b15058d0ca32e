"""Going from frame to frame while checking: to what is yet to be looked at, or was corrected."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QObject

from moca_core.annotations.model import FOUND
from moca_gui.player import Player
from moca_gui.results import CORRECTED, MASKS
from moca_gui.session import Session


class Checking(QObject):
    """Moves the playhead to frames by what people have made of them."""

    def __init__(self, session: Session, player: Player, parent: QObject) -> None:
        super().__init__(parent)
        self._session, self._player = session, player

    def go_unchecked(self, step: int) -> None:
        """To the next (1) or previous (-1) frame with a mask that nobody has agreed to.

        A frame of which one object was renamed or followed has others that nobody looked at.
        """
        unsaid = self._session.states == MASKS
        for frame, item in self._session.labels.frames.items():
            unsaid[frame] = any(part.origin == FOUND for part in item.objects)
        self._go(unsaid, step, "No further frame to check: the others were checked, or are empty.")

    def go_corrected(self, step: int) -> None:
        """To the next (1) or previous (-1) frame that a person corrected."""
        self._go(self._session.states == CORRECTED, step, "No further corrected frame.")

    def _go(self, wanted: NDArray[np.bool_], step: int, none_left: str) -> None:
        frames = np.flatnonzero(wanted)
        here = self._player.target
        side = frames[frames > here] if step > 0 else frames[frames < here]
        if not len(side):
            self._session.note(none_left)
            return
        self._player.pause()
        self._player.seek(int(side[0 if step > 0 else -1]))
