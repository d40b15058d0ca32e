"""What is drawn over a frame: masks, outlines, numbers, the legend, maps and their colour bar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QPointF, QRectF, QSizeF, Qt
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QImage, QPainter, QPainterPath, QPen

from moca_core.annotations.model import PackedObject
from moca_gui.colormaps import OBJECT_COLOURS, apply, object_colour, table
from moca_gui.theme import contrast

ROUNDING_PX = 3.0  # pixels of the frame; hides the stairs of small frames shown large
_POINTER_PX = (5.0, 14.0)  # where the arms of the mirrored cursor begin and end
_BAR_WIDTH_PX = 200.0
# Labels lie on pictures of any brightness, so they bring their own ground in both themes.
_GROUND = QColor(14, 17, 20, 205)
_TEXT = QColor("#f2f4f6")
_DIM = QColor("#b4bcc6")


@dataclass(frozen=True, eq=False)
class DrawnObject:
    """One mask ready to paint: its picture in its colour, where it goes, its outline."""

    number: int
    name: str
    score: float
    colour: QColor
    fill: QImage
    origin: QPointF
    outline: QPainterPath
    anchor: QPointF


@dataclass(frozen=True, eq=False)
class DrawnMap:
    """One map ready to paint over the whole frame."""

    title: str
    values: NDArray
    image: QImage
    low: float
    high: float
    labels: str = ""  # what a map of labels counts; empty for a map of values
    unit: str = ""

    @property
    def discrete(self) -> bool:
        """Whether the values are labels."""
        return bool(self.labels)

    @property
    def digits(self) -> int:
        """Digits behind the point that tell the lowest value from the highest."""
        spread = self.high - self.low
        return max(2, 1 - floor(log10(spread))) if spread > 0 else 2

    def share_of(self, value: float | None) -> float | None:
        """Where `value` lies between the lowest and the highest one, 0 to 1; None if nowhere."""
        if value is None or not np.isfinite(value) or self.high <= self.low:
            return None
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)


def draw_object(item: PackedObject) -> DrawnObject:
    """Unpack a mask and colour it."""
    colour = QColor(object_colour(item.number))
    crop = item.crop()
    # ARGB32 premultiplied, one uint32 a pixel.
    pixels = np.where(crop, np.uint32(colour.rgb()), np.uint32(0))  # (h, w)
    height, width = pixels.shape
    fill = QImage(
        pixels.data, width, height, 4 * width, QImage.Format.Format_ARGB32_Premultiplied
    ).copy()
    x0, y0, _, _ = item.box
    rows, columns = np.nonzero(crop)
    anchor = QPointF(x0, y0)
    if len(rows):
        top = int(rows.min())
        anchor = QPointF(x0 + float(np.median(columns[rows == top])), y0 + top)
    outline = rounded(item.outlines)
    return DrawnObject(
        item.number, item.name, item.score, colour, fill, QPointF(x0, y0), outline, anchor
    )


def rounded(polygons: Sequence[NDArray[np.float32]]) -> QPainterPath:
    """Closed polygons (n, 2) as one path with rounded corners."""
    path = QPainterPath()
    for polygon in polygons:
        add_rounded(path, polygon)
    return path


def add_rounded(path: QPainterPath, polygon: NDArray[np.float32]) -> None:
    """Add a closed polygon (n, 2) to `path`, its corners rounded by at most `ROUNDING_PX`."""
    forward = np.roll(polygon, -1, axis=0) - polygon  # (n, 2), from each corner to the next
    length = np.maximum(np.hypot(forward[:, 0], forward[:, 1]), 1e-6)[:, None]  # (n, 1)
    cut = forward / length * np.minimum(length / 2, ROUNDING_PX)
    leave = polygon + cut
    enter = polygon - np.roll(cut, 1, axis=0)
    path.moveTo(*leave[-1].tolist())
    for (ex, ey), (px, py), (lx, ly) in zip(
        enter.tolist(), polygon.tolist(), leave.tolist(), strict=True
    ):
        path.lineTo(ex, ey)
        path.quadTo(px, py, lx, ly)
    path.closeSubpath()


def draw_map(
    title: str, values: NDArray, labels: str = "", bare_zero: bool = False, unit: str = ""
) -> DrawnMap:
    """Colour a map (h, w): viridis, or one colour a label where `labels` says what they count.

    With `bare_zero` the label 0 stays transparent; `unit` says how a value is to be read.
    """
    values = np.asarray(values)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if labels:
        colours = np.array([tuple(bytes.fromhex(c[1:])) for c in OBJECT_COLOURS], np.uint8)
        rgb = colours[values.astype(int) % len(colours)]
    else:
        rgb = apply(values, "viridis", low, high)
    height, width = rgb.shape[:2]
    rgba = np.dstack([rgb, np.full((height, width), 255, np.uint8)])  # (h, w, 4)
    if bare_zero:
        rgba[values == 0] = 0
    image = QImage(rgba.data, width, height, 4 * width, QImage.Format.Format_RGBA8888)
    image = image.convertToFormat(QImage.Format.Format_ARGB32_Premultiplied)
    return DrawnMap(title, values, image, low, high, labels, unit)


def count_labels(item: DrawnMap) -> int:
    """How many labels a map of labels shows."""
    found = np.unique(item.values)
    return int(np.count_nonzero(found)) if item.labels == "proposals" else len(found)


def paint_object(
    painter: QPainter, item: DrawnObject, smooth: bool, opacity: float, strong: bool = False
) -> None:
    """Paint the tint and the outline, a wider one if `strong`; the painter is in frame pixels."""
    painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, smooth)
    painter.setOpacity(opacity)
    painter.drawImage(item.origin, item.fill)
    painter.setOpacity(1.0)
    paint_outline(painter, item.outline, item.colour, 4.0 if strong else 2.0)


def paint_outline(
    painter: QPainter, outline: QPainterPath, colour: QColor, width: float = 2.0
) -> None:
    """Paint a line of `colour` that shows on any picture; the painter is in frame pixels."""
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
    for line, wide in ((QColor(0, 0, 0, 150), width + 2.0), (colour, width)):
        pen = QPen(line, wide)
        pen.setCosmetic(True)
        pen.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
        painter.setPen(pen)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawPath(outline)


def paint_pointer(painter: QPainter, at: QPointF) -> None:
    """Paint where the cursor is in the picture beside this one: a cross that leaves `at` free."""
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
    near, far = _POINTER_PX
    for colour, width in ((QColor(0, 0, 0, 190), 4.0), (_TEXT, 1.6)):
        painter.setPen(QPen(colour, width, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap))
        for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            arm = QPointF(x, y)
            painter.drawLine(at + arm * near, at + arm * far)


def readable_on(colour: QColor) -> QColor:
    """Dark or white, whichever can be read on `colour`."""
    return QColor(max(("#10151a", "#ffffff"), key=lambda ink: contrast(ink, colour.name())))


def paint_badge(
    painter: QPainter, item: DrawnObject, at: QPointF, bounds: QRectF, legend: QRectF
) -> None:
    """Paint the object's number in a disc at `at`, inside `bounds` and off the `legend`."""
    radius = 11.0
    inner = bounds.adjusted(radius + 2, radius + 2, -radius - 2, -radius - 2)
    centre = QPointF(
        min(max(at.x(), inner.left()), inner.right()), min(max(at.y(), inner.top()), inner.bottom())
    )
    kept_free = legend.adjusted(-radius - 2, -radius - 2, radius + 2, radius + 2)
    if kept_free.contains(centre):
        centre.setY(min(kept_free.bottom(), inner.bottom()))
    painter.setPen(QPen(QColor(0, 0, 0, 170), 1.5))
    painter.setBrush(item.colour)
    painter.drawEllipse(centre, radius, radius)
    font = QFont(painter.font())
    font.setBold(True)
    painter.setFont(font)
    painter.setPen(readable_on(item.colour))
    box = QRectF(centre.x() - radius, centre.y() - radius, 2 * radius, 2 * radius)
    painter.drawText(box, Qt.AlignmentFlag.AlignCenter, str(item.number))
    font.setBold(False)
    painter.setFont(font)


def legend_box(painter: QPainter, items: list[DrawnObject], corner: QPointF) -> QRectF:
    """Where the legend lies with its top left at `corner`; empty without objects."""
    if not items:
        return QRectF()
    metrics = QFontMetricsF(painter.font())
    names = max(metrics.horizontalAdvance(item.name) for item in items)
    width = 12 + 20 + 9 + names + 18 + metrics.horizontalAdvance("0.00") + 12
    return QRectF(corner, QSizeF(width, (metrics.height() + 8) * len(items) + 10))


def paint_legend(painter: QPainter, items: list[DrawnObject], box: QRectF) -> None:
    """Paint number, name and score of each object into the `legend_box`."""
    metrics = QFontMetricsF(painter.font())
    row = metrics.height() + 8
    score_width = metrics.horizontalAdvance("0.00")
    names = box.width() - 12 - 20 - 9 - 18 - score_width - 12
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(_GROUND)
    painter.drawRoundedRect(box, 7, 7)
    for index, item in enumerate(items):
        top = box.top() + 5 + index * row
        paint_badge_small(painter, item, QPointF(box.left() + 22, top + row / 2))
        painter.setPen(_TEXT)
        text = QRectF(box.left() + 41, top, names + 2, row)
        painter.drawText(text, Qt.AlignmentFlag.AlignVCenter, item.name)
        painter.setPen(_DIM)
        score = QRectF(box.right() - 12 - score_width - 2, top, score_width + 2, row)
        painter.drawText(
            score, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight, f"{item.score:.2f}"
        )


def paint_badge_small(painter: QPainter, item: DrawnObject, centre: QPointF) -> None:
    """Paint the number in a small disc, for the legend."""
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(item.colour)
    painter.drawEllipse(centre, 9, 9)
    font = QFont(painter.font())
    normal = QFont(font)
    font.setBold(True)
    font.setPointSizeF(max(font.pointSizeF() - 1.5, 6.5))
    painter.setFont(font)
    painter.setPen(readable_on(item.colour))
    box = QRectF(centre.x() - 10, centre.y() - 10, 20, 20)
    painter.drawText(box, Qt.AlignmentFlag.AlignCenter, str(item.number))
    painter.setFont(normal)


def paint_banner(painter: QPainter, text: str, area: QRectF) -> None:
    """Paint a short message in a pill at the bottom of `area`."""
    metrics = QFontMetricsF(painter.font())
    width = min(metrics.horizontalAdvance(text) + 36, area.width() - 8)
    height = metrics.height() + 14
    box = QRectF(area.center().x() - width / 2, area.bottom() - height - 14, width, height)
    painter.setPen(QPen(QColor(255, 255, 255, 50), 1))
    painter.setBrush(_GROUND)
    painter.drawRoundedRect(box, height / 2, height / 2)
    painter.setPen(_TEXT)
    painter.drawText(box, Qt.AlignmentFlag.AlignCenter, text)


def paint_colour_bar(painter: QPainter, item: DrawnMap, area: QRectF, under: float | None) -> None:
    """Paint the scale of a map at the bottom right of `area`, with the value under the cursor."""
    metrics = QFontMetricsF(painter.font())
    line = metrics.height()
    value = ""
    if under is not None:
        value = f"{int(under)}" if item.discrete else number_text(under, item.digits + 1)
    title = f"{item.title} ({item.unit})" if item.unit else item.title
    needed = metrics.horizontalAdvance(f"{title}   {value or '0.000'}") + 24
    width, height = max(_BAR_WIDTH_PX, needed), 2 * line + 20 if item.discrete else 2 * line + 34
    box = QRectF(area.right() - width - 12, area.bottom() - height - 12, width, height)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(_GROUND)
    painter.drawRoundedRect(box, 7, 7)
    inner = box.adjusted(12, 7, -12, -7)
    painter.setPen(_TEXT)
    head = QRectF(inner.left(), inner.top(), inner.width(), line)
    painter.drawText(head, Qt.AlignmentFlag.AlignLeft, title)
    painter.drawText(head, Qt.AlignmentFlag.AlignRight, value)
    if item.discrete:
        painter.setPen(_DIM)
        foot = QRectF(inner.left(), head.bottom() + 6, inner.width(), line)
        count = count_labels(item)
        words = item.labels.removesuffix("s") if count == 1 else item.labels
        painter.drawText(foot, Qt.AlignmentFlag.AlignLeft, f"{count} {words}")
        return
    rgb = np.ascontiguousarray(table("viridis")[None])  # (1, 256, 3)
    gradient = QImage(rgb.data, 256, 1, 768, QImage.Format.Format_RGB888)
    bar = QRectF(inner.left(), head.bottom() + 6, inner.width(), 10)
    painter.drawImage(bar, gradient)
    share = item.share_of(under)
    if share is not None:
        x = bar.left() + bar.width() * share
        painter.fillRect(QRectF(x - 1, bar.top() - 2, 2, bar.height() + 4), _TEXT)
    painter.setPen(_DIM)
    foot = QRectF(inner.left(), bar.bottom() + 4, inner.width(), line)
    low, high = number_text(item.low, item.digits), number_text(item.high, item.digits)
    painter.drawText(foot, Qt.AlignmentFlag.AlignLeft, low)
    painter.drawText(foot, Qt.AlignmentFlag.AlignRight, high)
    zero = item.share_of(0.0) if item.low < 0 < item.high else None
    if zero is not None:
        # Evidence below the picture's mean is negative: where it turns is what one looks for.
        x = bar.left() + bar.width() * zero
        painter.fillRect(QRectF(x - 0.5, bar.top(), 1, bar.height() + 4), _DIM)
        left = bar.left() + metrics.horizontalAdvance(f"{low} 0")
        right = bar.right() - metrics.horizontalAdvance(f"0 {high}")
        if left <= x <= right:
            mark = QRectF(x - 10, foot.top(), 20, line)
            painter.drawText(mark, Qt.AlignmentFlag.AlignHCenter, "0")


def number_text(value: float, digits: int) -> str:
    """A number in a fixed form, never as minus nothing.

    >>> number_text(-0.001, 2), number_text(-0.25, 2)
    ('0.00', '-0.25')
    """
    return f"{round(value, digits) + 0.0:.{digits}f}"
