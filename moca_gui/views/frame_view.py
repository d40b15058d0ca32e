"""The frame with what is drawn over it; zoom and pan."""

from __future__ import annotations

from math import floor
from typing import Protocol

from PySide6.QtCore import QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QCursor, QImage, QMouseEvent, QPainter, QPaintEvent, QWheelEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from moca_core.annotations.model import PackedResult
from moca_gui.theme import Theme
from moca_gui.views.overlay import (
    MAP_OPACITY,
    DrawnMap,
    DrawnObject,
    draw_object,
    legend_box,
    paint_badge,
    paint_banner,
    paint_colour_bar,
    paint_legend,
    paint_object,
)

ZOOM_STEP = 1.25
MAX_ZOOM = 32.0
# From this magnification on, pixels are shown as squares, to be judged one by one.
SQUARES_FROM = 8.0


class FrameTool(Protocol):
    """What the buttons but the middle one do over the frame, and what is painted meanwhile."""

    @property
    def cursor(self) -> QCursor:
        """The mouse's look over the frame."""
        ...

    @property
    def covered(self) -> int | None:
        """Number of the object that the tool paints itself."""
        ...

    def press(self, event: QMouseEvent) -> None:
        """A button went down."""
        ...

    def move(self, event: QMouseEvent) -> None:
        """The mouse moved, with or without a button."""
        ...

    def release(self, event: QMouseEvent) -> None:
        """A button went up."""
        ...

    def double_click(self, event: QMouseEvent) -> None:
        """A button went down for the second time; its first press was told by `press`."""
        ...

    def wheel(self, event: QWheelEvent) -> bool:
        """The wheel was turned without Ctrl; whether that meant anything."""
        ...

    def leave(self) -> None:
        """The mouse left the frame."""
        ...

    def paint(self, painter: QPainter, rect: QRectF) -> None:
        """Paint over the frame, which lies at `rect` in widget pixels."""
        ...


class FrameView(QWidget):
    """Shows one frame, its result and a map. Give it all of a frame at once by `show_frame`."""

    hovered = Signal(object)  # (x, y) in pixels of the frame, or None
    zoom_changed = Signal(float)

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("Frame with masks")
        self.setMinimumSize(240, 135)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.overlays_shown = True
        self._theme = theme
        self._image: QImage | None = None
        self._result: PackedResult | None = None
        self._objects: list[DrawnObject] = []
        self._map: DrawnMap | None = None
        self._banner = ""
        self._zoom = 0.0  # 0: fit
        self._centre = QPointF()
        self._grabbed: QPointF | None = None
        self._cursor: tuple[int, int] | None = None
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
            self._paint_overlays(painter, whole, whole, smooth=True)
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

    def to_frame(self, point: QPointF) -> tuple[int, int] | None:
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
        self.zoom_changed.emit(self.scale)

    def zoom_by(self, steps: float, at: QPointF | None = None) -> None:
        """Zoom in (`steps` > 0) or out, keeping the point `at` (default: the middle) in place."""
        if self._image is None:
            return
        at = at or QPointF(self.width() / 2, self.height() / 2)
        old, rect = self.scale, self.frame_rect()
        point = QPointF((at.x() - rect.left()) / old, (at.y() - rect.top()) / old)
        self._zoom = min(max(old * ZOOM_STEP**steps, 0.05), MAX_ZOOM)
        self._move_to(
            QPointF(
                point.x() - (at.x() - self.width() / 2) / self._zoom,
                point.y() - (at.y() - self.height() / 2) / self._zoom,
            )
        )
        self.zoom_changed.emit(self.scale)

    def _move_to(self, centre: QPointF) -> None:
        if self._image is not None:
            self._centre = QPointF(
                min(max(centre.x(), 0.0), self._image.width()),
                min(max(centre.y(), 0.0), self._image.height()),
            )
        self.update()

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

    def _hover(self, pixel: tuple[int, int] | None) -> None:
        if pixel != self._cursor:
            self._cursor = pixel
            self.hovered.emit(pixel)
            if self._map is not None:
                self.update()

    def map_value(self) -> float | None:
        """Value of the shown map under the cursor."""
        if self._map is None or self._cursor is None or self._image is None:
            return None
        rows, columns = self._map.values.shape
        x, y = self._cursor
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
            visible = rect.intersected(QRectF(self.rect()))
            self._paint_overlays(painter, rect, visible, smooth)
        if self._tool is not None:
            self._tool.paint(painter, rect)

    def _paint_overlays(
        self, painter: QPainter, rect: QRectF, visible: QRectF, smooth: bool
    ) -> None:
        """Paint over a frame that lies at `rect`, of which `visible` can be seen."""
        assert self._image is not None
        scale = rect.width() / self._image.width()
        if self._map is not None:
            painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, not self._map.discrete)
            painter.setOpacity(MAP_OPACITY)
            painter.drawImage(rect, self._map.image)
            painter.setOpacity(1.0)
        painter.save()
        painter.translate(rect.topLeft())
        painter.scale(scale, scale)
        covered = self._tool.covered if self._tool is not None else None
        for item in self._objects:
            if item.number != covered:
                paint_object(painter, item, smooth, strong=item.number == self._selected)
        painter.restore()
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
