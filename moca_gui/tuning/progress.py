"""The training part of the fine-tuning window: how far it is, curves and log."""

from __future__ import annotations

from datetime import datetime

from PySide6.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QProgressBar,
    QVBoxLayout,
    QWidget,
)

from moca_core.training.events import (
    SavedEvent,
    StepEvent,
    TrainEvent,
    ValidationEvent,
)
from moca_core.types import NoteEvent, StageEvent
from moca_gui.panels.log import LINES
from moca_gui.theme import Theme
from moca_gui.timecode import format_short
from moca_gui.tuning.curves import Curves


class ProgressPanel(QWidget):
    """Follows a run by its events."""

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self.state = QLabel("Nothing is trained yet.")
        self.state.setObjectName("heading")
        self.state.setAccessibleName("Training state")
        self.facts = QLabel()
        self.facts.setObjectName("dim")
        self.facts.setAccessibleName("Training facts")
        self.bar = QProgressBar()
        self.bar.setAccessibleName("Training progress")
        self.bar.setTextVisible(False)
        self.bar.setRange(0, 1)
        self.curves = Curves(theme)
        self.log = QPlainTextEdit()
        self.log.setReadOnly(True)
        self.log.setMaximumBlockCount(LINES)
        self.log.setAccessibleName("Training log")
        self.log.setProperty("mono", True)
        self._stage = ""
        self._step = self._total = 0
        line = QHBoxLayout()
        line.addWidget(self.state)
        line.addStretch(1)
        line.addWidget(self.facts)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(12, 12, 12, 12)
        layout.setSpacing(9)
        layout.addLayout(line)
        layout.addWidget(self.bar)
        layout.addWidget(self.curves, 3)
        layout.addWidget(self.log, 2)

    def begin(self, data: str) -> None:
        """A run starts."""
        self.curves.clear()
        self.log.clear()
        self._stage = ""
        self._step = self._total = 0
        self.state.setText("Starting")
        self.facts.setText("")
        self.bar.setRange(0, 0)
        self.write(f"Training on {data}")

    def write(self, message: str) -> None:
        """Append a line to the log."""
        self.log.appendPlainText(f"{datetime.now():%H:%M:%S}  {message}")

    def show_state(self, text: str) -> None:
        """Say what the run does, or how it ended."""
        self.state.setText(text)

    def end(self, text: str) -> None:
        """The run is over."""
        self.state.setText(text)
        self.write(text)
        self.facts.setText("")
        self.bar.setRange(0, max(self._total, 1))
        self.bar.setValue(self._step)

    def follow(self, event: TrainEvent, left_s: float | None) -> None:
        """Show an event; `left_s` seconds are left, if that can be told."""
        if isinstance(event, StageEvent):
            self._follow_stage(event)
        elif isinstance(event, NoteEvent):
            self.write(event.message)
        elif isinstance(event, StepEvent):
            self._follow_step(event, left_s)
        elif isinstance(event, ValidationEvent):
            scores = ", ".join(f"{name} {value:.4f}" for name, value in event.scores.items())
            best = " (best)" if event.best else ""
            self.write(f"Iteration {event.step}, held out: {scores}{best}")
            self.curves.add_validation(event)
        elif isinstance(event, SavedEvent):
            self.write(f"Iteration {event.step}: saved {event.path.name}")

    def _follow_stage(self, event: StageEvent) -> None:
        self.state.setText(event.stage)
        if self._total:
            return  # between iterations, whose bar stays
        self.bar.setRange(0, event.total)
        self.bar.setValue(event.done)
        self.facts.setText(f"{event.done:,} of {event.total:,}" if event.total else "")
        if event.stage != self._stage:
            self._stage = event.stage
            self.write(event.stage)

    def _follow_step(self, event: StepEvent, left_s: float | None) -> None:
        if not self._total:
            self.write(f"Training, {event.total:,} iterations")
        self._step, self._total = event.step, event.total
        self.bar.setRange(0, event.total)
        self.bar.setValue(event.step)
        self.state.setText(f"Iteration {event.step:,} of {event.total:,}")
        facts = [f"loss {event.loss:.4f}" if event.loss == event.loss else "loss isn't finite"]
        if event.skipped:
            facts.append(f"{event.skipped} skipped")
        if left_s is not None:
            facts.append(f"{format_short(left_s)} left")
        self.facts.setText("   ".join(facts))
        if event.loss != event.loss:
            self.write(f"Iteration {event.step}: skipped, loss or gradient isn't finite")
        self.curves.add_step(event)
