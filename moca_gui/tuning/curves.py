"""The curves of a training run, drawn by pyqtgraph: import this module late."""

from __future__ import annotations

import pyqtgraph as pg
from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from moca_core.training.events import StepEvent, ValidationEvent
from moca_gui.panels.status import ElidedLabel
from moca_gui.theme import Theme
from moca_gui.tuning.trace import Trace

_REDRAW_MS = 120
_SCORES = (
    "near: share of the held-out triplets whose like picture is nearer than the unlike one\n"
    "heard: share for which the own sound brings like pictures nearer than another sound does"
)


class _Plot(QWidget):
    """A plot over iterations with its title; no mouse, whose zoom would hide what comes."""

    def __init__(self, title: str, name: str) -> None:
        super().__init__()
        self.title = ElidedLabel(name)
        self.title.setObjectName("dim")
        self.title.set_full_text(title)
        self.plot = pg.PlotWidget(enableMenu=False)
        self.plot.setAccessibleName(name)
        self.plot.setMouseEnabled(False, False)
        self.plot.hideButtons()
        self.plot.setLimits(xMin=0, minXRange=10)  # iterations are whole numbers
        self.plot.getPlotItem().setLabel("bottom", "iteration")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.title)
        layout.addWidget(self.plot, 1)

    def set_theme(self, theme: Theme) -> None:
        self.plot.setBackground(QColor(theme.base))
        for side in ("left", "bottom"):
            axis = self.plot.getPlotItem().getAxis(side)
            axis.setPen(QColor(theme.border))
            axis.setTextPen(QColor(theme.dim))
            axis.enableAutoSIPrefix(False)


class Curves(QWidget):
    """Loss, and what the held-out recordings say."""

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self.loss, self.held_loss = Trace(), Trace()
        self.near, self.heard = Trace(), Trace()
        self.loss_plot = _Plot("Loss: each iteration, their running mean, held out (dots)", "Loss")
        self.share_plot = _Plot("Held out: near (line), heard (dashes)", "Held-out scores")
        self.share_plot.setToolTip(_SCORES)
        self.share_plot.plot.setYRange(0, 1)
        self._raw, self._mean, self._held = (self.loss_plot.plot.plot() for _ in range(3))
        self._near, self._heard = (self.share_plot.plot.plot() for _ in range(2))
        self._redraw = QTimer(self)
        self._redraw.setSingleShot(True)
        self._redraw.setInterval(_REDRAW_MS)
        self._redraw.timeout.connect(self.redraw)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(12)
        layout.addWidget(self.loss_plot, 3)
        layout.addWidget(self.share_plot, 2)
        self.set_theme(theme)

    def clear(self) -> None:
        """Begin anew."""
        self.loss, self.held_loss, self.near, self.heard = (Trace() for _ in range(4))
        self.redraw()

    def add_step(self, event: StepEvent) -> None:
        """An iteration."""
        self.loss.add(event.step, event.loss)
        self._later()

    def add_validation(self, event: ValidationEvent) -> None:
        """A validation; scores that it lacks are left out."""
        for trace, name in ((self.held_loss, "loss"), (self.near, "near"), (self.heard, "heard")):
            trace.add(event.step, event.scores.get(name, float("nan")))
        self._later()

    def _later(self) -> None:
        if not self._redraw.isActive():
            self._redraw.start()

    def redraw(self) -> None:
        """Draw what is there now."""
        self._raw.setData(self.loss.steps, self.loss.values)
        self._mean.setData(self.loss.steps, self.loss.smoothed())
        self._held.setData(self.held_loss.steps, self.held_loss.values)
        self._near.setData(self.near.steps, self.near.values)
        self._heard.setData(self.heard.steps, self.heard.values)

    def set_theme(self, theme: Theme) -> None:
        """Take the theme's colours."""
        for plot in (self.loss_plot, self.share_plot):
            plot.set_theme(theme)
        faint = QColor(theme.wave)
        faint.setAlpha(150)
        self._raw.setPen(pg.mkPen(faint, width=1))
        self._mean.setPen(pg.mkPen(theme.accent, width=2))
        self._held.setPen(pg.mkPen(theme.danger, width=1.5))
        self._near.setPen(pg.mkPen(theme.accent, width=2))
        dashes = Qt.PenStyle.DashLine
        self._heard.setPen(pg.mkPen(theme.dim, width=2, style=dashes))
        for item, colour in (
            (self._held, theme.danger),
            (self._near, theme.accent),
            (self._heard, theme.dim),
        ):
            item.setSymbol("o")
            item.setSymbolSize(6)
            item.setSymbolBrush(colour)
            item.setSymbolPen(colour)
