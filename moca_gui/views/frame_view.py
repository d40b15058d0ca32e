"""The frame with what is drawn over it; zoom and pan."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QImage,
    QMouseEvent,
    QPainter,
    QPainterPath,
    QPaintEvent,
    QWheelEvent,
)
from PySide6.QtWidgets import QSizePolicy, QWidget

from moca_core.annotations.model import PackedResult
from moca_gui.theme import Theme
from moca_gui.views.frame_tool import FrameTool
from moca_gui.views.overlay import (
    DrawnMap,
    DrawnObject,
    draw_object,
    legend_box,
    paint_badge,
    paint_banner,
    paint_colour_bar,
    paint_legend,
    paint_object,
    paint_outline,
    paint_pointer,
    rounded,
)

ZOOM_STEP = 1.25
LEAST_ZOOM, MAX_ZOOM = 0.05, 32.0
# From this magnification on, pixels are shown as squares, to be judged one by one.
SQUARES_FROM = 8.0

Pixel = tuple[int, int]
"""x and y of a pixel of the frame."""


class FrameView(QWidget):
    """Shows one frame, its result and a map. Give it all of a frame at once by `show_frame`.

    Signals: `hovered(pixel)` and `pressed(pixel)` with (x, y) in pixels of the frame, or None
    outside of it; `viewport_changed` when another part of the frame is shown.
    """

    hovered = Signal(object)
    pressed = Signal(object)
    viewport_changed = Signal()

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("Frame with masks")
        self.setMinimumSize(240, 135)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.overlays_shown = True
        self.mask_opacity, self.map_opacity = 0.38, 0.62
        self._theme = theme
        self._image: QImage | None = None
        self._result: PackedResult | None = None
        self._objects: list[DrawnObject] = []
        self._map: DrawnMap | None = None
        self._banner = ""
        self._zoom = 0.0  # 0: fit
        self._centre = QPointF()
        self._grabbed: QPointF | None = None
        self._cursor: Pixel | None = None
        self._pointer: Pixel | None = None
        self._marked = QPainterPath()
        self._tool: FrameTool | None = None
        self._selected: int | None = None

    def sizeHint(self) -> QSize:
        return QSize(854, 480)

    def set_theme(self, theme: Theme) -> None:
        """Take the theme's colours."""
        self._theme = theme
        self.update()

    # -- content ------------------------------------------------------------------------------

    def show_frame(
        self,
        image: QImage | None,
        result: PackedResult | None,
        hidden: set[int] | frozenset[int] = frozenset(),
        banner: str = "",
        drawn_map: DrawnMap | None = None,
        masks: bool = True,
    ) -> None:
        """Show `image` with the masks of `result`, which must be of the same frame."""
        if image is not None and (self._image is None or image.size() != self._image.size()):
            self._centre = QPointF(image.width() / 2, image.height() / 2)
        self._image = image
        self._result = result
        shown = result.objects if result is not None and masks else ()
        self._objects = [draw_object(item) for item in shown if item.number not in hidden]
        self._banner = banner
        self._map = drawn_map
        self.update()

    def set_overlays_shown(self, shown: bool) -> None:
        """Show or hide everything over the frame."""
        self.overlays_shown = shown
        self.update()

    def set_tool(self, tool: FrameTool) -> None:
        """Let `tool` answer the mouse, and paint over the frame."""
        self._tool = tool
        self.setCursor(tool.cursor)
        self.update()

    def set_selected(self, number: int | None) -> None:
        """Draw the outline of an object stronger."""
        self._selected = number
        self.update()

    def set_opacity(self, masks: float, maps: float) -> None:
        """Paint masks and maps so strongly, 0 to 1."""
        self.mask_opacity, self.map_opacity = masks, maps
        self.update()

    def mark(self, outlines: Sequence[NDArray[np.float32]]) -> None:
        """Draw a line along closed polygons (n, 2) in pixels of the frame, over everything."""
        self._marked = rounded(outlines)
        self.update()

    @property
    def marked(self) -> QRectF:
        """What `mark` draws lies in here, in pixels of the frame; empty if there is nothing."""
        return self._marked.boundingRect()

    @property
    def drawn_numbers(self) -> list[int]:
        """Numbers of the objects that are painted now."""
        return [item.number for item in self._objects] if self.overlays_shown else []

    @property
    def map_title(self) -> str:
        """The title of the map that is painted now, or an empty string."""
        return self._map.title if self._map is not None and self.overlays_shown else ""

    @property
    def banner(self) -> str:
        """The message over the frame, or an empty string."""
        return self._banner if self.overlays_shown else ""

    def picture(self) -> QImage:
        """The frame with what is drawn over it, at the frame's own size; empty without one."""
        if self._image is None:
            return QImage()
        picture = self._image.copy()
        painter = QPainter(picture)
        if self.overlays_shown:
            whole = QRectF(picture.rect())
            self._paint_masks(painter, whole, smooth=True)
            self._paint_labels(painter, whole, whole)
        painter.end()
        return picture

    # -- geometry -----------------------------------------------------------------------------

    @property
    def scale(self) -> float:
        """Widget pixels a frame pixel."""
        if self._image is None:
            return 1.0
        if self._zoom:
            return self._zoom
        fit = min(self.width() / self._image.width(), self.height() / self._image.height())
        return max(fit, 1e-3)

    def frame_rect(self) -> QRectF:
        """Where the whole frame lies, in widget pixels."""
        if self._image is None:
            return QRectF(self.rect())
        scale = self.scale
        width, height = self._image.width() * scale, self._image.height() * scale
        if not self._zoom:
            return QRectF((self.width() - width) / 2, (self.height() - height) / 2, width, height)
        left = self.width() / 2 - self._centre.x() * scale
        top = self.height() / 2 - self._centre.y() * scale
        return QRectF(left, top, width, height)

    def to_frame(self, point: QPointF) -> Pixel | None:
        """Frame pixel under a widget point, None outside the frame."""
        if self._image is None:
            return None
        place = self.place_of(point)
        x, y = floor(place.x()), floor(place.y())
        inside = 0 <= x < self._image.width() and 0 <= y < self._image.height()
        return (x, y) if inside else None

    def place_of(self, point: QPointF) -> QPointF:
        """The place under a widget point in pixels of the frame, which may lie outside of it."""
        return (point - self.frame_rect().topLeft()) / self.scale

    def fit(self) -> None:
        """Show the whole frame."""
        self._zoom = 0.0
        if self._image is not None:
            self._centre = QPointF(self._image.width() / 2, self._image.height() / 2)
        self.update()
        self.viewport_changed.emit()

    @property
    def place(self) -> tuple[float, tuple[float, float] | None]:
        """The magnification and the pixel in the middle; (0, None) where the whole frame fits."""
        return (self._zoom, (self._centre.x(), self._centre.y())) if self._zoom else (0.0, None)

    def set_place(self, zoom: float, centre: tuple[float, float] | None) -> None:
        """Show the part of the frame that `place` told."""
        if not zoom or centre is None:
            self.fit()
            return
        self._zoom = min(max(zoom, LEAST_ZOOM), MAX_ZOOM)
        self._move_to(QPointF(*centre))

    def zoom_by(self, steps: float, at: QPointF | None = None) -> None:
        """Zoom in (`steps` > 0) or out, keeping the point `at` (default: the middle) in place."""
        if self._image is None:
            return
        at = at or QPointF(self.width() / 2, self.height() / 2)
        old, rect = self.scale, self.frame_rect()
        point = QPointF((at.x() - rect.left()) / old, (at.y() - rect.top()) / old)
        self._zoom = min(max(old * ZOOM_STEP**steps, LEAST_ZOOM), MAX_ZOOM)
        self._move_to(
            QPointF(
                point.x() - (at.x() - self.width() / 2) / self._zoom,
                point.y() - (at.y() - self.height() / 2) / self._zoom,
            )
        )

    def follow(self, other: FrameView) -> None:
        """Show the same part of the frame as another view of the same size."""
        self._zoom, self._centre = other._zoom, QPointF(other._centre)
        self.update()

    def _move_to(self, centre: QPointF) -> None:
        if self._image is not None:
            self._centre = QPointF(
                min(max(centre.x(), 0.0), self._image.width()),
                min(max(centre.y(), 0.0), self._image.height()),
            )
        self.update()
        self.viewport_changed.emit()

    # -- events -------------------------------------------------------------------------------

    def wheelEvent(self, event: QWheelEvent) -> None:
        if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            self.zoom_by(event.angleDelta().y() / 120, event.position())
            event.accept()
        else:
            event.setAccepted(self._tool is not None and self._tool.wheel(event))

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.MiddleButton:
            if not self._zoom:
                self._zoom = self.scale
            self._grabbed = event.position()
            self.setCursor(Qt.CursorShape.ClosedHandCursor)
        elif self._tool is not None and self._image is not None:
            self._tool.press(event)
        if event.button() == Qt.MouseButton.LeftButton:
            self.pressed.emit(self.to_frame(event.position()))

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.MiddleButton:
            self.mousePressEvent(event)
        elif self._tool is not None and self._image is not None:
            self._tool.double_click(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if self._grabbed is not None:
            moved = (event.position() - self._grabbed) / self.scale
            self._grabbed = event.position()
            self._move_to(self._centre - moved)
        elif self._tool is not None and self._image is not None:
            self._tool.move(event)
        self._hover(self.to_frame(event.position()))

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.MiddleButton:
            self._grabbed = None
            self.unsetCursor()
            if self._tool is not None:
                self.setCursor(self._tool.cursor)
        elif self._tool is not None and self._image is not None:
            self._tool.release(event)

    def leaveEvent(self, event: object) -> None:
        if self._tool is not None:
            self._tool.leave()
        self._hover(None)

    def _hover(self, pixel: Pixel | None) -> None:
        if pixel != self._cursor:
            self._cursor = pixel
            self.hovered.emit(pixel)
            if self._map is not None:
                self.update()

    def set_pointer(self, pixel: Pixel | None) -> None:
        """Show where the cursor is in another view of the same frame."""
        if pixel != self._pointer:
            self._pointer = pixel
            self.update()

    def map_value(self) -> float | None:
        """Value of the shown map under the cursor, or where it is in the view beside this."""
        at = self._cursor or self._pointer
        return None if at is None else self.value_at(at)

    def value_at(self, pixel: Pixel) -> float | None:
        """Value of the shown map at a pixel of the frame."""
        if self._map is None or self._image is None:
            return None
        rows, columns = self._map.values.shape
        x, y = pixel
        row = y * rows // self._image.height()
        return float(self._map.values[row, x * columns // self._image.width()])

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor(self._theme.stage))
        if self._image is None:
            return
        rect = self.frame_rect()
        smooth = self.scale * self.devicePixelRatioF() < SQUARES_FROM
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, smooth)
        painter.drawImage(rect, self._image)
        if self.overlays_shown:
            self._paint_masks(painter, rect, smooth)
        if self._tool is not None:
            self._tool.paint_masks(painter, rect)
        if self.overlays_shown:
            self._paint_labels(painter, rect, rect.intersected(QRectF(self.rect())))
        if self._tool is not None:
            self._tool.paint(painter, rect)
        if self._pointer is not None:
            x, y = self._pointer
            paint_pointer(painter, rect.topLeft() + QPointF(x + 0.5, y + 0.5) * self.scale)

    def _paint_masks(self, painter: QPainter, rect: QRectF, smooth: bool) -> None:
        """Paint masks and map over a frame that lies at `rect`."""
        assert self._image is not None
        scale = rect.width() / self._image.width()
        if self._map is not None:
            painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, not self._map.discrete)
            painter.setOpacity(self.map_opacity)
            painter.drawImage(rect, self._map.image)
            painter.setOpacity(1.0)
        painter.save()
        painter.translate(rect.topLeft())
        painter.scale(scale, scale)
        covered = self._tool.covered if self._tool is not None else None
        for item in self._objects:
            if item.number != covered:
                strong = item.number == self._selected
                paint_object(painter, item, smooth, self.mask_opacity, strong)
        if not self._marked.isEmpty():
            paint_outline(painter, self._marked, QColor("white"))
        painter.restore()

    def _paint_labels(self, painter: QPainter, rect: QRectF, visible: QRectF) -> None:
        """Paint what tells the masks, over a frame at `rect` of which `visible` can be seen."""
        assert self._image is not None
        scale = rect.width() / self._image.width()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
        legend = legend_box(painter, self._objects, visible.topLeft() + QPointF(12, 12))
        for item in self._objects:
            at = rect.topLeft() + item.anchor * scale + QPointF(0, 4)
            paint_badge(painter, item, at, visible, legend)
        if self._objects:
            paint_legend(painter, self._objects, legend)
        if self._map is not None:
            paint_colour_bar(painter, self._map, visible, self.map_value())
        if self._banner:
            paint_banner(painter, self._banner, visible)
