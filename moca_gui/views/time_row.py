"""What all rows of the timeline share: the axis, the playhead, the mouse."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QLineF, QPointF, QRectF, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QFont,
    QHelpEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QPixmap,
    QWheelEvent,
)
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from moca_gui.session import Session
from moca_gui.theme import Theme, px
from moca_gui.views.time_axis import TimeAxis

GUTTER_PX = 92
MARGIN_PX = 10
PLAYHEAD_PX = 1.5
RANGE_PX = 1.5
WINDOW_PX = 1.0
NUDGE_PX = 2.0**-10
"""All is drawn this far to the right. Round times often fall on half a pixel, where errors of the
last digit would send the lines of two rows to different sides."""

_DRAG_FROM_PX = 4

Span = tuple[float, float]
"""Start and stop in seconds."""


class TimeRow(QWidget):
    """A strip on the time axis. Click: playhead; drag: range; Ctrl+wheel: zoom; wheel: pan."""

    time_clicked = Signal(float)
    range_dragged = Signal(float, float)

    title = ""
    legend = ""  # what its marks mean, told where its title is
    bare = False  # True: the plot has no ground of its own
    whole_clip = False  # True: shows the whole clip, whatever the axis shows

    def __init__(
        self, session: Session, axis: TimeAxis, theme: Theme, height: int, parent: QWidget
    ) -> None:
        super().__init__(parent)
        self.setFixedHeight(px(height))
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.setAccessibleName(f"Timeline: {self.title or 'time'}")
        self.setAccessibleDescription(self.legend)
        self.session = session
        self.axis = axis
        self.theme = theme
        self._ground: QPixmap | None = None
        self._pressed: QPointF | None = None
        self._dragging = False
        self._pan_from: QPointF | None = None
        axis.changed.connect(self.redraw)

    # -- geometry -----------------------------------------------------------------------------

    @property
    def plot(self) -> QRectF:
        """The part of the row that carries time."""
        width = max(self.width() - px(GUTTER_PX) - MARGIN_PX, 1)
        return QRectF(px(GUTTER_PX), 0, width, self.height())

    @property
    def view_s(self) -> tuple[float, float]:
        """(start, stop) in seconds of the plot."""
        if self.whole_clip:
            return 0.0, self.axis.duration_s
        return self.axis.start_s, self.axis.stop_s

    def x_of(self, time_s: float) -> float:
        """Widget x of a time."""
        start, stop = self.view_s
        share = (time_s - start) / max(stop - start, 1e-9)
        return self.plot.left() + NUDGE_PX + self.plot.width() * share

    def time_at(self, x: float) -> float:
        """Time at a widget x, clipped to the clip."""
        start, stop = self.view_s
        time_s = start + (x - NUDGE_PX - self.plot.left()) / self.plot.width() * (stop - start)
        return min(max(time_s, 0.0), self.axis.duration_s)

    # -- painting -----------------------------------------------------------------------------

    def redraw(self) -> None:
        """Paint anew from the data."""
        self._ground = None
        self.update()

    def move_marks(self) -> None:
        """Show the playhead, the range and the audio window where they are now."""
        self.update()

    def set_theme(self, theme: Theme) -> None:
        """Take the theme's colours."""
        self.theme = theme
        self.redraw()

    def paint_ground(self, painter: QPainter) -> None:
        """Paint what stays while playing; subclasses fill `plot`."""

    def paint_marks(self, painter: QPainter) -> None:
        """Paint what moves while playing, below the playhead."""

    def paintEvent(self, event: QPaintEvent) -> None:
        ratio = self.devicePixelRatioF()
        size = self.size() * ratio
        if self._ground is None or self._ground.size() != size:
            self._ground = QPixmap(size)
            self._ground.setDevicePixelRatio(ratio)
            painter = QPainter(self._ground)
            painter.setFont(self.font())
            painter.fillRect(self.rect(), QColor(self.theme.panel))
            self.paint_title(painter)
            if not self.bare:
                painter.fillRect(self.plot, QColor(self.theme.base))
            if self.axis.duration_s > 0:
                painter.setClipRect(self.plot)
                self.paint_ground(painter)
            painter.end()
        painter = QPainter(self)
        painter.drawPixmap(0, 0, self._ground)
        if self.axis.duration_s > 0 and self.session.clip is not None:
            painter.setClipRect(self.plot)
            self.paint_marks(painter)
            self._paint_playhead(painter)

    def paint_title(self, painter: QPainter) -> None:
        """Write into the gutter."""
        painter.setPen(QColor(self.theme.dim))
        painter.setFont(small_font(self.font()))
        box = QRectF(MARGIN_PX, 0, px(GUTTER_PX) - MARGIN_PX - 6, self.height())
        painter.drawText(
            box, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, self.title
        )

    def _paint_playhead(self, painter: QPainter) -> None:
        clip = self.session.clip
        assert clip is not None
        self._paint_line(
            painter, clip.time_of(self.session.frame), self.theme.playhead, PLAYHEAD_PX
        )

    def paint_range(self, painter: QPainter) -> None:
        """Shade the in/out range and mark its ends."""
        span = self.session.range_seconds()
        if span is None:
            return
        left, right = self.x_of(span[0]), self.x_of(span[1])
        shade = QRectF(left, 0, right - left, self.height())
        painter.fillRect(shade, QColor(self.theme.range_shade))
        for time_s in span:
            self._paint_line(painter, time_s, self.theme.range_edge, RANGE_PX)

    def _paint_line(self, painter: QPainter, time_s: float, colour: str, width: float) -> None:
        """Draw as `pyqtgraph.InfiniteLine` does, so that lines run on through all rows."""
        painter.setPen(mark_pen(colour, width, self.devicePixelRatioF()))
        x = self.x_of(time_s)
        painter.drawLine(QLineF(x, 0, x, self.height()))

    # -- mouse --------------------------------------------------------------------------------

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if self.session.clip is None:
            return
        if event.button() == Qt.MouseButton.LeftButton:
            self._pressed, self._dragging = event.position(), False
        elif event.button() == Qt.MouseButton.MiddleButton:
            self._pan_from = event.position()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if self._pan_from is not None:
            moved = event.position().x() - self._pan_from.x()
            self._pan_from = event.position()
            self.axis.pan(-moved / self.plot.width() * self.axis.span_s)
        elif self._pressed is not None:
            moved = abs(event.position().x() - self._pressed.x())
            self._dragging = self._dragging or moved >= _DRAG_FROM_PX
            if self._dragging:
                self.dragged(self._pressed.x(), event.position().x())

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton and self._pressed is not None:
            if not self._dragging:
                self.clicked(event.position().x())
            self._pressed = None
        elif event.button() == Qt.MouseButton.MiddleButton:
            self._pan_from = None

    def clicked(self, x: float) -> None:
        """A click at `x`: move the playhead there."""
        self.time_clicked.emit(self.time_at(x))

    def dragged(self, x0: float, x1: float) -> None:
        """A drag from `x0` to `x1`: choose that range."""
        self.range_dragged.emit(self.time_at(x0), self.time_at(x1))

    def wheelEvent(self, event: QWheelEvent) -> None:
        if self.session.clip is None:
            return
        steps = event.angleDelta().y() / 120
        if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            self.axis.zoom(0.8**steps, self.time_at(event.position().x()))
        else:
            self.axis.pan(-steps * 0.1 * self.axis.span_s)
        event.accept()

    def tip_at(self, point: QPointF) -> str:
        """Words for what is under the pointer, or nothing."""
        return ""

    def event(self, event: QEvent) -> bool:
        if isinstance(event, QHelpEvent) and self.session.clip is not None:
            point = QPointF(event.pos())
            text = self.tip_at(point) if self.plot.contains(point) else self.legend
            QToolTip.showText(event.globalPos(), text, self)
            return True
        return super().event(event)


def mark_pen(colour: str, width: float, ratio: float) -> QPen:
    """The pen of a line across the rows, of whole device pixels at every zoom.

    `ratio` is the number of device pixels a widget pixel.
    """
    pen = QPen(QColor(colour), max(round(width * ratio), 1))
    pen.setCosmetic(True)
    return pen


def small_font(font: QFont) -> QFont:
    """The font for titles and ticks."""
    small = QFont(font)
    small.setPointSizeF(max(font.pointSizeF() - 1.0, 7.0))
    return small
