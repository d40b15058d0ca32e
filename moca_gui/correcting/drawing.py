"""What the tools draw over a frame: a pending mask with its points, boxes, lines, the brush."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QLineF, QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPen

from moca_core.annotations.model import Box
from moca_core.annotations.painting import Place
from moca_gui.views.overlay import DrawnObject

if TYPE_CHECKING:
    from moca_gui.correcting.prompts import Prompts

CROSS_PX = 6.0
"""Length of the arms that show a brush of a pixel or two."""

_FILL = 0.4
_DISC_PX = 8.0
_DASHES = (4.0, 3.0)  # widths of the line
# They lie on pictures of any brightness, in both themes.
_DARK, _LIGHT = QColor(0, 0, 0, 190), QColor("#ffffff")
_ON, _OFF = QColor("#1f9d55"), QColor("#d1242f")


def paint_pending(painter: QPainter, mask: DrawnObject) -> None:
    """Paint a mask that isn't applied yet; the painter is in frame pixels."""
    painter.setOpacity(_FILL)
    painter.drawImage(mask.origin, mask.fill)
    painter.setOpacity(1.0)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    for pen in _dashed(mask.colour):
        painter.setPen(pen)
        painter.drawPath(mask.outline)


def paint_prompt(painter: QPainter, prompts: Prompts, scale: float) -> None:
    """Paint points and box; the painter is in frame pixels, `scale` times as large on screen."""
    if prompts.box is not None:
        paint_box(painter, prompts.box)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
    for point in prompts.points:
        _paint_point(painter, QPointF(point.x, point.y), point.on, scale)


def paint_box(painter: QPainter, box: Box) -> None:
    """Paint a box; the painter is in frame pixels."""
    x0, y0, x1, y1 = box
    painter.setBrush(Qt.BrushStyle.NoBrush)
    for pen in _dashed(_LIGHT):
        painter.setPen(pen)
        painter.drawRect(QRectF(x0, y0, x1 - x0, y1 - y0))


def paint_line(painter: QPainter, start: Place, end: Place) -> None:
    """Paint a line to cut along; the painter is in frame pixels."""
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
    for pen in _dashed(_LIGHT):
        painter.setPen(pen)
        painter.drawLine(QLineF(*start, *end))


def paint_brush(painter: QPainter, circle: QRectF) -> None:
    """Paint the brush's outline, with a cross if it is small; in widget pixels."""
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    centre, radius = circle.center(), circle.width() / 2
    for colour, width in ((_DARK, 3.0), (_LIGHT, 1.2)):
        painter.setPen(QPen(colour, width))
        painter.drawEllipse(circle)
        if radius < CROSS_PX:
            for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1)):
                arm = QPointF(x, y)
                painter.drawLine(centre + arm * (radius + 2), centre + arm * (radius + CROSS_PX))


def _dashed(colour: QColor) -> tuple[QPen, QPen]:
    """A dark line below a dashed one, which shows on any picture."""
    below = QPen(_DARK, 3.5)
    above = QPen(colour, 2.0)
    above.setDashPattern(_DASHES)
    for pen in (below, above):
        pen.setCosmetic(True)
        pen.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
    return below, above


def _paint_point(painter: QPainter, at: QPointF, on: bool, scale: float) -> None:
    """A disc with a plus or a minus, of one size at any zoom."""
    radius, arm = _DISC_PX / scale, 0.55 * _DISC_PX / scale
    painter.setPen(QPen(_LIGHT, 1.5 / scale))
    painter.setBrush(_ON if on else _OFF)
    painter.drawEllipse(at, radius, radius)
    painter.setPen(QPen(_LIGHT, 2.0 / scale))
    painter.drawLine(QLineF(at - QPointF(arm, 0), at + QPointF(arm, 0)))
    if on:
        painter.drawLine(QLineF(at - QPointF(0, arm), at + QPointF(0, arm)))
