"""A frame with a map of costs over its locations; one of them can be chosen by mouse or keys."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QFont,
    QImage,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
)
from PySide6.QtWidgets import QSizePolicy, QWidget

from moca_core.types import FloatMap
from moca_gui.colormaps import apply, object_colour
from moca_gui.theme import Theme
from moca_gui.views.overlay import number_text, readable_on

Place = tuple[int, int]
"""(row, column) of a location."""

DIGITS = 4
_BADGE_PX = 10.0
_STEPS = {
    Qt.Key.Key_Left: (0, -1),
    Qt.Key.Key_Right: (0, 1),
    Qt.Key.Key_Up: (-1, 0),
    Qt.Key.Key_Down: (1, 0),
}


@dataclass(frozen=True, eq=False)
class CostMap:
    """Costs over a frame.

    Attributes
    ----------
    title : what they are.
    values : (h, w) float32; infinite where nothing was searched.
    low, high : costs of the first and the last colour.
    """

    title: str
    values: FloatMap
    low: float
    high: float

    @property
    def image(self) -> QImage:
        """(h, w) in viridis, transparent where nothing was searched."""
        known = np.isfinite(self.values)
        finite = np.where(known, self.values, self.low)
        rgb = apply(finite, "viridis", self.low, self.high)
        rgba = np.dstack([rgb, np.where(known, 255, 0).astype(np.uint8)])  # (h, w, 4)
        height, width = self.values.shape
        image = QImage(rgba.data, width, height, 4 * width, QImage.Format.Format_RGBA8888)
        return image.convertToFormat(QImage.Format.Format_ARGB32_Premultiplied)

    def at(self, place: Place | None) -> float | None:
        """The cost of a location; None where there is none."""
        if place is None:
            return None
        value = float(self.values[place])
        return value if np.isfinite(value) else None


@dataclass(frozen=True)
class Marks:
    """What is marked in a frame.

    Attributes
    ----------
    chosen : the location whose costs are shown.
    best : where the location that is chosen in the other frame matches best.
    window : side of the window of locations around both, which is compared.
    numbered : ends of numbered matches, the best one first.
    """

    chosen: Place | None = None
    best: Place | None = None
    window: int = 1
    numbered: tuple[Place, ...] = ()


class MatchView(QWidget):
    """Shows a frame, a map over it, and marks.

    Signals: `chosen((row, column) or None)` by a click or a key; `hovered` likewise.
    """

    chosen = Signal(object)
    hovered = Signal(object)

    def __init__(self, name: str, theme: Theme) -> None:
        super().__init__()
        self._name = name
        self._theme = theme
        self._image: QImage | None = None
        self._grey: QImage | None = None
        self._empty = ""
        self._map: CostMap | None = None
        self._coloured: QImage | None = None
        self._marks = Marks()
        self._opacity = 0.6
        self._cursor: Place | None = None
        self.setAccessibleName(name)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setMinimumSize(220, 150)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)

    def sizeHint(self) -> QSize:
        return QSize(440, 330)

    def set_theme(self, theme: Theme) -> None:
        """Take the theme's colours."""
        self._theme = theme
        self.update()

    # -- content ------------------------------------------------------------------------------

    @property
    def map(self) -> CostMap | None:
        """The map over the frame."""
        return self._map

    @property
    def marks(self) -> Marks:
        """What is marked."""
        return self._marks

    @property
    def image(self) -> QImage | None:
        """The frame."""
        return self._image

    @property
    def empty_text(self) -> str:
        """What is said in place of a frame."""
        return self._empty if self._image is None else ""

    def show_picture(self, image: QImage | None, empty: str = "") -> None:
        """Show a frame without a map, or `empty` in its place."""
        self._image, self._empty = image, empty
        self._grey = None
        self.show_map(None, Marks())

    def show_map(self, costs: CostMap | None, marks: Marks) -> None:
        """Show costs and marks over the frame."""
        self._map, self._marks = costs, marks
        self._coloured = costs.image if costs is not None else None
        if costs is None:
            self._cursor = None
        elif self._grey is None and self._image is not None:
            # Colours of the frame would be taken for costs.
            grey = self._image.convertToFormat(QImage.Format.Format_Grayscale8)
            self._grey = grey.convertToFormat(QImage.Format.Format_RGB32)
        self._describe()
        self.update()

    def set_opacity(self, opacity: float) -> None:
        """How much of the map is seen, 0 to 1; without any the frame keeps its colours."""
        self._opacity = opacity
        self.update()

    @property
    def value(self) -> float | None:
        """The cost under the cursor."""
        return self._map.at(self._cursor) if self._map is not None else None

    @property
    def cursor_place(self) -> Place | None:
        """The location under the cursor."""
        return self._cursor

    def _describe(self) -> None:
        """Say in words what is seen."""
        words = [self._empty] if self._image is None else []
        if self._map is not None:
            words.append(f"{self._map.title}. Arrow keys choose a place.")
        for what, place in (("Chosen", self._marks.chosen), ("Best match", self._marks.best)):
            if place is not None:
                words.append(f"{what}: {place_text(place)}.")
        self.setAccessibleDescription(" ".join(words))

    # -- geometry -----------------------------------------------------------------------------

    def frame_rect(self) -> QRectF:
        """Where the frame lies, in widget pixels."""
        if self._image is None:
            return QRectF()
        scale = min(self.width() / self._image.width(), self.height() / self._image.height())
        width, height = self._image.width() * scale, self._image.height() * scale
        return QRectF((self.width() - width) / 2, (self.height() - height) / 2, width, height)

    def cell_rect(self, place: Place, side: int = 1) -> QRectF:
        """Where a window of `side` locations around one lies, cut at the frame's borders."""
        assert self._map is not None
        rect = self.frame_rect()
        rows, columns = self._map.values.shape
        high, wide = rect.height() / rows, rect.width() / columns
        reach = side // 2
        top, left = (float(at - reach) for at in place)
        cell = QRectF(left * wide, top * high, side * wide, side * high)
        return cell.translated(rect.topLeft()).intersected(rect)

    def place_at(self, point: QPointF) -> Place | None:
        """The location under a widget point, None outside the frame."""
        rect = self.frame_rect()
        if self._map is None or not rect.contains(point):
            return None
        rows, columns = self._map.values.shape
        row = int((point.y() - rect.top()) / rect.height() * rows)
        column = int((point.x() - rect.left()) / rect.width() * columns)
        return min(row, rows - 1), min(column, columns - 1)

    # -- events -------------------------------------------------------------------------------

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton and self._map is not None:
            self.chosen.emit(self.place_at(event.position()))

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        self._hover(self.place_at(event.position()))

    def leaveEvent(self, event: object) -> None:
        self._hover(None)

    def _hover(self, place: Place | None) -> None:
        if place != self._cursor:
            self._cursor = place
            self.hovered.emit(place)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        step = _STEPS.get(Qt.Key(event.key()))
        if step is not None and self._map is not None:
            self.chosen.emit(self._stepped(step))
        elif event.key() == Qt.Key.Key_Escape and self._marks.chosen is not None:
            self.chosen.emit(None)
        else:
            super().keyPressEvent(event)

    def _stepped(self, step: tuple[int, int]) -> Place:
        """The next location in a direction; the middle one at first."""
        assert self._map is not None
        size = self._map.values.shape
        if self._marks.chosen is None:
            return size[0] // 2, size[1] // 2
        row, column = (
            min(max(at + by, 0), count - 1)
            for at, by, count in zip(self._marks.chosen, step, size, strict=True)
        )
        return row, column

    # -- painting -----------------------------------------------------------------------------

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor(self._theme.stage))
        if self._image is None:
            painter.setPen(QColor(self._theme.dim))
            inner = self.rect().adjusted(20, 10, -20, -10)
            painter.drawText(
                inner, Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap, self._empty
            )
        else:
            self._paint_frame(painter)
        if self.hasFocus():
            painter.setPen(QPen(QColor(self._theme.accent), 2))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(self.rect().adjusted(1, 1, -1, -1))

    def _paint_frame(self, painter: QPainter) -> None:
        assert self._image is not None
        rect = self.frame_rect()
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, True)
        painter.drawImage(rect, self._image)
        if self._coloured is None:
            return
        if self._grey is not None:
            painter.setOpacity(min(1.0, 2 * self._opacity))
            painter.drawImage(rect, self._grey)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, False)
        painter.setOpacity(self._opacity)
        painter.drawImage(rect, self._coloured)
        painter.setOpacity(1.0)
        marks = self._marks
        if marks.chosen is not None:
            self._paint_mark(painter, marks.chosen, "p", QColor("#ffffff"))
        if marks.best is not None:
            self._paint_mark(painter, marks.best, "q*", QColor("#ffb000"))
        for number, place in reversed(list(enumerate(marks.numbered, start=1))):
            self._paint_badge(painter, number, self.cell_rect(place).center())

    def _paint_mark(self, painter: QPainter, place: Place, name: str, colour: QColor) -> None:
        """A location with its name, and thinner the window around it."""
        painter.setBrush(Qt.BrushStyle.NoBrush)
        cell, window = self.cell_rect(place), self.cell_rect(place, self._marks.window)
        for box, wide, style in (
            (window, 1.0, Qt.PenStyle.DashLine),
            (cell, 2.0, Qt.PenStyle.SolidLine),
        ):
            # A dark line below keeps the light one visible on any colour of the map.
            painter.setPen(QPen(QColor(0, 0, 0, 200), wide + 2))
            painter.drawRect(box)
            painter.setPen(QPen(colour, wide, style))
            painter.drawRect(box)
        self._paint_name(painter, name, window, colour)

    def _paint_name(self, painter: QPainter, name: str, box: QRectF, colour: QColor) -> None:
        """A name beside a box, on the side where there is room."""
        metrics = painter.fontMetrics()
        label = QRectF(0, 0, metrics.horizontalAdvance(name) + 10, metrics.height() + 2)
        rect = self.frame_rect()
        right = box.right() + 4 + label.width() <= rect.right()
        label.moveTop(min(max(box.top(), rect.top()), rect.bottom() - label.height()))
        label.moveLeft(box.right() + 4 if right else box.left() - 4 - label.width())
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(14, 17, 20, 205))
        painter.drawRoundedRect(label, 4, 4)
        painter.setPen(colour)
        painter.drawText(label, Qt.AlignmentFlag.AlignCenter, name)

    def _paint_badge(self, painter: QPainter, number: int, centre: QPointF) -> None:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
        colour = QColor(object_colour(number))
        painter.setPen(QPen(QColor(0, 0, 0, 190), 1.5))
        painter.setBrush(colour)
        painter.drawEllipse(centre, _BADGE_PX, _BADGE_PX)
        font = QFont(self.font())
        font.setBold(True)
        font.setPointSizeF(max(font.pointSizeF() - 1.0, 6.5))
        painter.setFont(font)
        painter.setPen(readable_on(colour))
        box = QRectF(0, 0, 2 * _BADGE_PX, 2 * _BADGE_PX)
        box.moveCenter(centre)
        painter.drawText(box, Qt.AlignmentFlag.AlignCenter, str(number))
        painter.setFont(self.font())
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)


def place_text(place: Place) -> str:
    """A location in words."""
    return f"row {place[0]}, column {place[1]}"


def cost_text(value: float | None) -> str:
    """A cost in words.

    >>> cost_text(0.12345), cost_text(None)
    ('0.1235', '-')
    """
    return "-" if value is None else number_text(value, DIGITS)


def finite_range(values: NDArray[np.float32]) -> tuple[float, float]:
    """The least and the greatest finite cost of a surface; of equal ones a little around them."""
    finite = values[np.isfinite(values)]
    low, high = float(finite.min()), float(finite.max())
    return (low, high) if high - low > 1e-4 else (low - 5e-4, high + 5e-4)
