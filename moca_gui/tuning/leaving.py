"""Asks before a training run is thrown away, or left."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from moca_gui.dialogs.question import Question


class DiscardDialog(Question):
    """Accepted if the run is to be thrown away."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(
            "Discard this training run?",
            "It ends now, and its checkpoint and adapters are removed. What was there before it "
            "began stays.",
            parent,
        )
        self.discard_button = self.add("Discard", lambda: None)
        self.go_on_button = self.add("Go on training", default=True)


class LeaveDialog(Question):
    """Asks what becomes of the run when the program is closed.

    Signals: `keep_pressed`, `discard_pressed`; rejected if the window stays.
    """

    keep_pressed = Signal()
    discard_pressed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(
            "An adapter is being trained",
            "Keep what is there: it ends after this iteration, and the run can be gone on with "
            "from there. Or discard it: it ends now, and what it made is removed.",
            parent,
        )
        self.keep_button = self.add("Keep and close", self.keep_pressed.emit)
        self.discard_button = self.add("Discard and close", self.discard_pressed.emit)
        self.stay_button = self.add("Go on training", default=True)
