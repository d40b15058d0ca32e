"""How many scores lie where along a slider, with the line of the threshold that cuts them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from moca_gui.theme import DARK, Theme

HEIGHT_PX = 34
INSET_PX = 6
"""Half of the slider's handle: the line stands above its middle."""


class Histogram(QWidget):
    """Bars over the length of a slider; those that the threshold takes out are dim."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.setAccessibleName(name)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.counts: NDArray[np.intp] = np.zeros(1, np.intp)
        self.line, self.default = 0.0, 0.0
        self._theme = DARK

    def sizeHint(self) -> QSize:
        return QSize(120, HEIGHT_PX)

    def set_theme(self, theme: Theme) -> None:
        """Take the theme's colours."""
        self._theme = theme
        self.update()

    def show_counts(self, counts: NDArray[np.intp]) -> None:
        """Show other scores."""
        self.counts = counts
        total = int(counts.sum())
        above = int(counts[np.arange(len(counts)) >= self.line * len(counts)].sum())
        said = f"{above} of {total} above the threshold" if total else "nothing to show yet"
        self.setAccessibleDescription(said)
        self.update()

    def show_line(self, line: float, default: float) -> None:
        """Show the threshold, and the bundle's own one, 0 to 1 along the slider."""
        self.line, self.default = line, default
        self.show_counts(self.counts)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        theme = self._theme
        area = QRectF(self.rect()).adjusted(INSET_PX, 1, -INSET_PX, -1)
        painter.fillRect(area, QColor(theme.base))
        most = int(self.counts.max(initial=0))
        width = area.width() / len(self.counts)
        for at, count in enumerate(self.counts):
            if not count:
                continue
            # The root lets the few be seen beside the many.
            height = max(2.0, area.height() * float(np.sqrt(count / most)))
            taken = (at + 0.5) / len(self.counts) >= self.line
            bar = QRectF(area.left() + at * width, area.bottom() - height, width, height)
            painter.fillRect(bar, QColor(theme.wave if taken else theme.empty))
        if self.default != self.line:
            self._draw_line(painter, area, self.default, theme.dim, Qt.PenStyle.DotLine)
        self._draw_line(painter, area, self.line, theme.playhead, Qt.PenStyle.SolidLine)

    def _draw_line(
        self, painter: QPainter, area: QRectF, place: float, colour: str, style: Qt.PenStyle
    ) -> None:
        x = area.left() + place * area.width()
        painter.setPen(QPen(QColor(colour), 1.5, style))
        painter.drawLine(QPointF(x, area.top()), QPointF(x, area.bottom()))
