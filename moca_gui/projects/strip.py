"""What the status bar says of the project: saved when, or why not."""

from __future__ import annotations

from datetime import datetime

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QToolButton, QWidget

from moca_gui.projects.saver import Saver, State, reason
from moca_gui.words import capital

MOST_LETTERS = 44


class SavedStrip(QWidget):
    """A button with the state of the project; empty while there is none."""

    pressed = Signal()

    def __init__(self, saver: Saver) -> None:
        super().__init__()
        self._saver = saver
        self.button = QToolButton()
        self.button.setObjectName("plain")
        self.button.clicked.connect(self.pressed)
        # Out of the corner of the status bar, into which a window's frame may reach.
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 8, 0)
        layout.addWidget(self.button)
        saver.changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show the state of this moment."""
        saver, state = self._saver, self._saver.state
        text = self._text(state)
        short = text if len(text) <= MOST_LETTERS else text[: MOST_LETTERS - 1] + "…"
        self.button.setText(short)
        self.button.setAccessibleName(f"Project: {text}")
        lines = [capital(text)]
        if saver.project is not None:
            lines.append(str(saver.project.path))
        if saver.error is not None:
            lines += [saver.error.message, saver.error.hint, "Press for what can be done."]
        self.button.setToolTip("\n".join(line for line in lines if line))
        self.setVisible(state is not State.NONE)

    def _text(self, state: State) -> str:
        saver = self._saver
        if saver.trouble is not None:
            return "project not opened"
        words = {State.SAVED: "saved", State.CHANGED: "changed since"}
        if state in words and saver.project is not None:
            return f"{words[state]} {clock(saver.project.saved_at)}"
        if state is State.FAILED and saver.error is not None:
            return f"not saved: {reason(saver.error)}"
        if state is State.CONFLICT:
            return "not saved: changed on disk"
        return state.value


def clock(moment: datetime | None) -> str:
    """The time of the day here, with the date unless it is today's; "" for None."""
    if moment is None:
        return ""
    local = moment.astimezone()
    today = local.date() == datetime.now().astimezone().date()
    return local.strftime("%H:%M" if today else "%Y-%m-%d %H:%M")
