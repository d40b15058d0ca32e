"""What both windows of this package say, and how."""

from __future__ import annotations

from PySide6.QtWidgets import QLabel

from moca_core.errors import MocaError
from moca_gui.dialogs.errors import UNEXPECTED_HINT
from moca_gui.dialogs.fitted import Fitted


class FittedDialog(Fitted):
    """A window with lines that are said when there is something to say."""

    def say(self, label: QLabel, text: str, danger: bool = False) -> None:
        """Show words, in the colour of danger or not; none hide the label."""
        label.setText(text)
        label.setVisible(bool(text))
        label.setObjectName("danger" if danger else "")
        label.style().polish(label)

    def say_error(self, label: QLabel, error: BaseException) -> None:
        """Say what happened and what to try."""
        if isinstance(error, MocaError):
            self.say(label, f"{error.message}\n{error.hint}".strip(), danger=True)
        else:
            self.say(label, f"{type(error).__name__}: {error}\n{UNEXPECTED_HINT}", danger=True)
