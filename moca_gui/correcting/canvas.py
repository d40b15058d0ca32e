"""A view of the frame as the tools see it: the mouse in frame pixels, and what they paint."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QPointF, QRect, QRectF, Qt
from PySide6.QtGui import QCursor, QMouseEvent, QPainter, QWheelEvent

from moca_core.annotations.model import Box
from moca_core.annotations.painting import snapped
from moca_gui.correcting import drawing
from moca_gui.correcting.tools import Brush, BrushTool, Pen, Tool
from moca_gui.views.frame_view import SQUARES_FROM
from moca_gui.views.overlay import DrawnObject, draw_object

if TYPE_CHECKING:
    from moca_gui.correcting.prompts import Prompts
    from moca_gui.session import Session
    from moca_gui.views.frame_view import FrameView

_BUTTONS = Qt.MouseButton.LeftButton | Qt.MouseButton.RightButton
_STEP = 120  # of the wheel; touch pads turn it by less at a time
_MARGIN_PX = 3  # around what changes, for lines that are wider than a pixel


class Canvas(QObject):
    """Hands the mouse over one view to the tool in use; a `FrameTool`.

    Parameters
    ----------
    view : the view.
    tool : in use at first.
    brush : whose size the wheel with Alt changes.
    """

    def __init__(
        self, view: FrameView, tool: Tool, session: Session, prompts: Prompts, brush: Brush
    ) -> None:
        super().__init__(view)
        self._view, self._session, self._prompts, self._brush = view, session, prompts, brush
        self._tool = tool
        self._mouse: QPointF | None = None  # in widget pixels, while it is over the view
        self._pending: DrawnObject | None = None
        prompts.changed.connect(self._draw_pending)
        session.selected_changed.connect(self._draw_pending)
        session.selected_changed.connect(lambda: view.set_selected(session.selected))
        self._turned = 0  # of the wheel, in eighths of a degree, since its last step
        brush.changed.connect(view.update)
        session.clip_changed.connect(lambda: view.set_tool(self))

    def use(self, tool: Tool) -> None:
        """Hand the mouse to `tool` from now on."""
        self._tool = tool
        self._view.set_tool(self)

    # -- the mouse ----------------------------------------------------------------------------

    @property
    def cursor(self) -> QCursor:
        """The mouse's look over the frame, or over what takes its place without a clip."""
        arrow = self._session.clip is None
        return QCursor(Qt.CursorShape.ArrowCursor if arrow else self._tool.cursor)

    @property
    def covered(self) -> int | None:
        """The object that is painted on, or would get the pending mask: shown as it will be."""
        stroke = self._tool.stroke
        if stroke is not None and stroke.frame.frame == self._session.frame:
            return stroke.item.number
        pending = self._prompts.shown and self._pending is not None
        return self._session.selected if pending else None

    def press(self, event: QMouseEvent) -> None:
        """A button went down."""
        if event.button() & _BUTTONS:
            self._tool.press(self._pen(event))

    def double_click(self, event: QMouseEvent) -> None:
        """A button went down for the second time."""
        if event.button() & _BUTTONS:
            self._tool.double_click(self._pen(event))

    def move(self, event: QMouseEvent) -> None:
        """The mouse moved."""
        self._move_circle(event.position())
        if event.buttons() & _BUTTONS:
            self._tool.drag(self._pen(event))

    def release(self, event: QMouseEvent) -> None:
        """A button went up."""
        if event.button() & _BUTTONS:
            self._tool.release(self._pen(event))

    def leave(self) -> None:
        """The mouse left the view."""
        self._move_circle(None)

    def wheel(self, event: QWheelEvent) -> bool:
        """With Alt the size of the brush; else which of the masks that a point may mean."""
        resizes = bool(event.modifiers() & Qt.KeyboardModifier.AltModifier)
        if not resizes and not (self._prompts.shown and len(self._prompts.meant) > 1):
            return False
        turned = event.angleDelta()
        self._turned += turned.y() or turned.x()  # with Alt some systems turn it sideways
        steps = int(self._turned / _STEP)
        self._turned -= steps * _STEP
        if resizes:
            self._brush.set_step(self._brush.step + steps)
        else:
            self._prompts.next_mask(-steps)
        return True

    def _pen(self, event: QMouseEvent) -> Pen:
        place = self._view.place_of(event.position())
        right = Qt.MouseButton.RightButton in (event.button() | event.buttons())
        shift = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
        return Pen((place.x(), place.y()), right or shift, right)

    # -- painting -----------------------------------------------------------------------------

    def touch(self, box: Box | None) -> None:
        """Paint a part of the frame anew; None: all of it."""
        if box is None:
            self._view.update()
            return
        x0, y0, x1, y1 = box
        scale, rect = self._view.scale, self._view.frame_rect()
        part = QRectF(x0 * scale, y0 * scale, (x1 - x0) * scale, (y1 - y0) * scale)
        self._update(part.translated(rect.topLeft()))

    def _update(self, part: QRectF) -> None:
        margin = _MARGIN_PX + self._view.scale  # smoothed pixels reach into their neighbours
        whole: QRect = part.adjusted(-margin, -margin, margin, margin).toAlignedRect()
        self._view.update(whole)

    def _circle(self) -> QRectF | None:
        """Where the brush is, in widget pixels; None without a brush."""
        if self._mouse is None or not isinstance(self._tool, BrushTool):
            return None
        scale, size = self._view.scale, self._brush.size
        at = self._view.place_of(self._mouse)
        x, y = snapped((at.x(), at.y()), size)
        side = size * scale
        circle = QRectF((x - size / 2) * scale, (y - size / 2) * scale, side, side)
        return circle.translated(self._view.frame_rect().topLeft())

    def _move_circle(self, mouse: QPointF | None) -> None:
        before = self._circle()
        self._mouse = mouse
        for circle in (before, self._circle()):
            if circle is not None:
                reach = drawing.CROSS_PX
                self._update(circle.adjusted(-reach, -reach, reach, reach))

    def _draw_pending(self) -> None:
        """Colour the pending mask as the object that would get it."""
        mask = self._prompts.mask
        self._pending = None
        if mask is not None:
            number = self._session.selected or self._session.free_number
            self._pending = draw_object(replace(mask, number=number))
        self._view.update()

    def paint_masks(self, painter: QPainter, rect: QRectF) -> None:
        """Paint the mask of a stroke, or a pending one, over the frame at `rect`."""
        stroke = self._tool.stroke
        painter.save()
        self._to_frame(painter, rect)
        if stroke is not None and stroke.frame.frame == self._session.frame:
            smooth = self._view.scale * self._view.devicePixelRatioF() < SQUARES_FROM
            painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, smooth)
            painter.drawImage(QPointF(0, 0), stroke.image)
        if self._prompts.shown and self._pending is not None:
            drawing.paint_pending(painter, self._pending)
        painter.restore()

    def paint(self, painter: QPainter, rect: QRectF) -> None:
        """Paint points, boxes, lines and the brush over all else."""
        painter.save()
        self._to_frame(painter, rect)
        if self._prompts.shown:
            drawing.paint_prompt(painter, self._prompts, self._view.scale)
        if self._tool.rubber is not None:
            drawing.paint_box(painter, self._tool.rubber)
        if self._tool.line is not None:
            drawing.paint_line(painter, *self._tool.line)
        painter.restore()
        circle = self._circle()
        if circle is not None:
            drawing.paint_brush(painter, circle)

    def _to_frame(self, painter: QPainter, rect: QRectF) -> None:
        painter.translate(rect.topLeft())
        painter.scale(self._view.scale, self._view.scale)
