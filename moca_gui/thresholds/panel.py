"""The panel of the thresholds: sliders over histograms of what they cut."""

from __future__ import annotations

import math
from dataclasses import dataclass

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import (
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from moca_core.types import Scores
from moca_gui.runner import Runner
from moca_gui.session import Session
from moca_gui.sliders import SliderField
from moca_gui.theme import Theme
from moca_gui.thresholds.deciding import Moved
from moca_gui.thresholds.histogram import Histogram
from moca_gui.thresholds.rows import ROWS, ThresholdRow, counts, values_of

_DRAW_MS = 60
_DIGITS = 6


class ThresholdField(SliderField):
    """A slider below the histogram of what its threshold cuts."""

    def __init__(self, row: ThresholdRow) -> None:
        super().__init__(row.slider)
        self.threshold = row
        self.default = 0.0
        self.label.setWordWrap(True)  # with its default it may be wider than the dock
        self.histogram = Histogram(f"{row.slider.label}: {row.drawn}")
        self.histogram.setToolTip(f"{row.slider.tip}. Shown: {row.drawn}.")
        self.histogram.setVisible(bool(row.scores))
        grid = self.layout()
        assert isinstance(grid, QGridLayout)
        grid.addWidget(self.histogram, 1, 0)
        grid.addWidget(self.slider, 2, 0)
        grid.addWidget(self.edit, 2, 1)

    def show_threshold(self, value: float, default: float) -> None:
        """Show a value, and how it differs from the bundle's own."""
        self.default = default
        self.show_value(value)
        place = self.threshold.place
        self.histogram.show_line(float(place(value)), float(place(default)))
        moved = value != default
        row = self.row
        self.label.setText(
            f"{row.label} ({row.unit})" + (f", default {default:g}" if moved else "")
        )
        font = self.label.font()
        font.setBold(moved)
        self.label.setFont(font)


@dataclass(frozen=True)
class _State:
    """What can be done: what is said of it, and what is enabled."""

    text: str
    movable: bool = False
    offer: bool = False


class ThresholdsPanel(QWidget):
    """Shows and moves the thresholds of the runs; masks follow where what was found is kept."""

    refused = Signal(str)

    def __init__(self, session: Session, runner: Runner) -> None:
        super().__init__()
        self.setObjectName("surface")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self._session, self._runner = session, runner
        self._defaults: dict[str, dict[str, float]] = {}  # by bundle
        self._scores: dict[int, Scores] = {}
        self.message = QLabel()
        self.message.setWordWrap(True)
        self.message.setObjectName("dim")
        self.run = QPushButton("Run again")
        self.run.setToolTip("Run on the whole clip, also where results are on disk")
        self.run.clicked.connect(runner.run_anew)
        self.fields = {row.name: ThresholdField(row) for row in ROWS}
        for field in self.fields.values():
            field.moved.connect(lambda value, field=field: self._move(field, value))
        self.reset = QPushButton("Defaults")
        self.reset.setToolTip("The thresholds that suit these encoders")
        self.reset.clicked.connect(lambda: runner.move_thresholds(()))
        self.copy = QPushButton("Copy")
        self.copy.setToolTip("Copy the options with which moca segment takes the same thresholds")
        self.copy.clicked.connect(self._copy)
        self._lay_out()
        # Scores come one by one in a run: drawn now and then.
        self._late = QTimer(self)
        self._late.setSingleShot(True)
        self._late.setInterval(_DRAW_MS)
        self._late.timeout.connect(self._draw)
        runner.scored.connect(self._on_scores)
        runner.defaults_known.connect(self._on_defaults)
        runner.changed.connect(self.refresh)
        session.clip_changed.connect(self.forget_scores)
        session.result_changed.connect(self._on_result)
        session.frame_changed.connect(self._late.start)
        self.refresh()

    def _lay_out(self) -> None:
        inside = QWidget()
        inside.setObjectName("surface")
        column = QVBoxLayout(inside)
        column.setContentsMargins(10, 6, 10, 8)
        column.setSpacing(10)
        for field in self.fields.values():
            column.addWidget(field)
        column.addStretch(1)
        self.area = QScrollArea()
        self.area.setWidgetResizable(True)
        self.area.setFrameShape(QFrame.Shape.NoFrame)
        self.area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.area.setWidget(inside)
        buttons = QHBoxLayout()
        buttons.setContentsMargins(10, 0, 10, 8)
        for button in (self.reset, self.copy):
            buttons.addWidget(button)
        buttons.addStretch(1)
        head = QVBoxLayout()
        head.setContentsMargins(10, 8, 10, 0)
        head.addWidget(self.message)
        head.addWidget(self.run, 0, Qt.AlignmentFlag.AlignLeft)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(head)
        layout.addWidget(self.area, 1)
        layout.addLayout(buttons)

    def bring_up(self) -> None:
        """Show the dock that it is in, in front of its neighbours."""
        dock = self.parentWidget()
        assert dock is not None
        dock.show()
        dock.raise_()

    def set_theme(self, theme: Theme) -> None:
        """Take the theme's colours."""
        for field in self.fields.values():
            field.histogram.set_theme(theme)

    # -- values -------------------------------------------------------------------------------

    @property
    def defaults(self) -> dict[str, float]:
        """The thresholds that suit the encoders; empty until they were loaded once."""
        return self._defaults.get(self._runner.config.bundle, {})

    @property
    def values(self) -> dict[str, float]:
        """The thresholds of the runs to come."""
        return self.defaults | {name: float(text) for name, text in self._runner.moved}

    def _move(self, field: ThresholdField, value: float) -> None:
        row = field.threshold
        if not (math.isfinite(value) and row.low <= value <= row.high):
            field.show_value(self.values[row.name])
            self.refused.emit(
                f"{row.slider.label}: {value:g} is refused; use {row.low:g} to {row.high:g}."
            )
            return
        values = self.values | {row.name: value}
        self._runner.move_thresholds(self._moved(values))

    def _moved(self, values: dict[str, float]) -> Moved:
        return tuple(
            (name, repr(value)) for name, value in values.items() if value != self.defaults[name]
        )

    def _copy(self) -> None:
        options = " ".join(f"--set {name}={text}" for name, text in self._runner.moved)
        QGuiApplication.clipboard().setText(options)
        self._session.note(f"Copied: {options}")

    # -- showing ------------------------------------------------------------------------------

    def forget_scores(self) -> None:
        """Begin anew: another clip, or other encoders."""
        self._scores.clear()
        self.refresh()

    def _on_scores(self, frame: int, scores: Scores) -> None:
        self._scores[frame] = scores
        self._late.start()

    def _on_defaults(self, settings: object) -> None:
        self._defaults[self._runner.config.bundle] = values_of(settings)
        self.refresh()

    def _on_result(self, frame: int) -> None:
        if frame == -1 or len(self._session.results) == 1:  # the first of those kept on disk
            self.refresh()

    def _state(self) -> _State:
        """What can be done at this moment."""
        session, runner = self._session, self._runner
        if session.clip is None:
            return _State("Open a clip and run on it: its masks will follow these thresholds.")
        if not session.clip.has_audio:
            return _State("This clip has no sound: there is nothing to decide.")
        if runner.job is not None and not runner.deciding:
            return _State("A run is under way.")
        results = session.results.frames
        ready = runner.decidable
        if (not ready and not results) or (ready and not self.defaults):
            return _State("Run on the clip (Ctrl+R): its masks will follow these thresholds.")
        if not ready:
            return _State(
                "These results come from disk. What the encoders found isn't in memory: run "
                "again, and they will follow the thresholds.",
                offer=True,
            )
        left = len(results - ready)
        if left:
            return _State(
                f"{left} of {len(results)} frames can't follow, as what was found there isn't in "
                "memory: they are forgotten when a threshold moves.",
                movable=True,
                offer=True,
            )
        return _State("The masks follow; no encoder runs.", movable=True)

    def refresh(self) -> None:
        """Show the values, and what can be done."""
        state = self._state()
        self.message.setText(state.text)
        self.run.setVisible(state.offer)
        self.reset.setEnabled(bool(self._runner.moved) and not self._busy)
        self.copy.setEnabled(bool(self._runner.moved))
        values, defaults = self.values, self.defaults
        for name, field in self.fields.items():
            field.setEnabled(state.movable)
            if name in defaults:
                field.show_threshold(values[name], defaults[name])
            else:
                field.edit.clear()  # known once the encoders were loaded
        self._draw()

    @property
    def _busy(self) -> bool:
        return self._runner.job is not None and not self._runner.deciding

    def _draw(self) -> None:
        """Draw the histograms for the frame on screen."""
        frame = self._key_frame()
        for field in self.fields.values():
            if field.threshold.scores:
                field.histogram.show_counts(counts(field.threshold, self._scores, frame))

    def _key_frame(self) -> int | None:
        """The key frame with scores that is nearest to the frame on screen."""
        on_screen = self._session.frame
        return min(self._scores, key=lambda frame: abs(frame - on_screen), default=None)
