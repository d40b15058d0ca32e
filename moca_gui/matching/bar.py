"""The scale of a map of costs, with the value under the cursor."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QImage, QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from moca_gui.colormaps import table
from moca_gui.matching.frame import CostMap, Place, cost_text, place_text

_BAR_PX = 11
_GAP_PX = 4
UNIT = "cost, no unit: 0 alike, 1 unlike"


class CostBar(QWidget):
    """Title, colours from the least to the greatest cost, and what is under the cursor."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.setAccessibleName(name)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        rgb = np.ascontiguousarray(table("viridis")[None])  # (1, 256, 3)
        self._colours = QImage(rgb.data, 256, 1, 768, QImage.Format.Format_RGB888).copy()
        self._map: CostMap | None = None
        self._place: Place | None = None

    def sizeHint(self) -> QSize:
        line = self.fontMetrics().height()
        return QSize(240, 2 * line + _BAR_PX + 3 * _GAP_PX)

    def show_map(self, costs: CostMap | None, place: Place | None) -> None:
        """Show the scale of a map, and its value at a place."""
        self._map, self._place = costs, place
        self.setAccessibleDescription("; ".join(filter(None, self.words)))
        self.update()

    @property
    def words(self) -> tuple[str, str]:
        """The title, and what is under the cursor."""
        if self._map is None:
            return "", ""
        if self._place is None:
            return self._map.title, UNIT
        value = self._map.at(self._place)
        told = "not searched" if value is None else cost_text(value)
        return self._map.title, f"{told} at {place_text(self._place)}"

    def paintEvent(self, event: QPaintEvent) -> None:
        if self._map is None:
            return
        painter = QPainter(self)
        palette, metrics = self.palette(), self.fontMetrics()
        line, width = metrics.height(), float(self.width())
        title, under = self.words
        painter.setPen(palette.text().color())
        head = QRectF(0, 0, width, line)
        painter.drawText(
            head,
            Qt.AlignmentFlag.AlignLeft,
            metrics.elidedText(title, Qt.TextElideMode.ElideRight, self.width()),
        )
        bar = QRectF(0, line + _GAP_PX, width, _BAR_PX)
        painter.drawImage(bar, self._colours)
        costs, value = self._map, self._map.at(self._place)
        if value is not None:
            share = (value - costs.low) / (costs.high - costs.low)
            x = min(max(share, 0.0), 1.0) * (width - 2)
            painter.fillRect(QRectF(x, bar.top() - 3, 2, bar.height() + 6), palette.text())
        foot = QRectF(0, bar.bottom() + _GAP_PX, width, line)
        painter.setPen(palette.placeholderText().color())
        painter.drawText(foot, Qt.AlignmentFlag.AlignLeft, cost_text(costs.low))
        painter.drawText(foot, Qt.AlignmentFlag.AlignRight, cost_text(costs.high))
        if value is not None or self._place is not None:
            painter.setPen(palette.text().color())
        painter.drawText(foot, Qt.AlignmentFlag.AlignHCenter, under)
