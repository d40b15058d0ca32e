"""The tools of the frame: what each does with the mouse. Places are in pixels of the frame."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, hypot
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Qt, Signal

from moca_core.annotations import edits
from moca_core.annotations.model import Box, PackedResult
from moca_core.annotations.painting import Place, cut, stroke
from moca_gui.correcting.stroke import Stroke
from moca_gui.correcting.target import Target, object_at

if TYPE_CHECKING:
    from moca_gui.correcting.prompts import Prompts
    from moca_gui.player import Player
    from moca_gui.session import Session

SIZES = (
    *(1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 18, 22, 27, 33, 40),
    *(50, 60, 75, 90, 110, 135, 165, 200, 250, 300),
)
"""Widths of the brush in pixels of the frame."""

_LEAST_BOX_PX = 3


class Brush(QObject):
    """The size of brush and eraser. `changed` when it does."""

    changed = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.step = SIZES.index(22)

    @property
    def size(self) -> int:
        """Its width in pixels of the frame."""
        return SIZES[self.step]

    def set_step(self, step: int) -> None:
        """Take one of `SIZES`."""
        step = min(max(step, 0), len(SIZES) - 1)
        if step != self.step:
            self.step = step
            self.changed.emit()


@dataclass(frozen=True)
class Pen:
    """The mouse over the frame.

    Attributes
    ----------
    place : x, y in pixels of the frame; it may lie outside of it.
    other : the right button, or Shift with the left one.
    right : the right button.
    """

    place: Place
    other: bool = False
    right: bool = False


class Tool(QObject):
    """One tool.

    Signals: `touched(box)` when what it paints changes in a part of the frame, None: anywhere.
    """

    touched = Signal(object)
    cursor = Qt.CursorShape.CrossCursor
    prompts = False  # whether a pending mask stays while it is in use
    stroke: Stroke | None = None  # under way
    line: tuple[Place, Place] | None = None  # of a drag that shows as a line
    rubber: Box | None = None  # of a drag that shows as a box

    def press(self, pen: Pen) -> None:
        """A button went down."""

    def drag(self, pen: Pen) -> None:
        """The mouse moved with a button down."""

    def release(self, pen: Pen) -> None:
        """The button went up."""

    def double_click(self, pen: Pen) -> None:
        """A button went down twice."""
        self.press(pen)

    def finish(self) -> None:
        """Another tool is chosen: end what is under way."""
        self.drop()

    def drop(self) -> None:
        """Forget what is under way."""
        self.stroke = self.line = self.rubber = None
        self.touched.emit(None)


class SelectTool(Tool):
    """A click on an object selects it, a click on nothing none."""

    cursor = Qt.CursorShape.ArrowCursor

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session

    def press(self, pen: Pen) -> None:
        """Select what lies there."""
        x, y = floor(pen.place[0]), floor(pen.place[1])
        found = object_at(self._session.result, x, y, self._session.hidden_objects)
        self._session.select(found.number if found is not None else None)


class PointsTool(Tool):
    """Clicks say what is on the object, and what is off it."""

    prompts = True

    def __init__(self, prompts: Prompts) -> None:
        super().__init__()
        self._prompts = prompts

    def press(self, pen: Pen) -> None:
        """Add a point."""
        self._prompts.add_point(*pen.place, on=not pen.other)

    def double_click(self, pen: Pen) -> None:
        """Apply the mask."""
        self._prompts.finish()


class BoxTool(Tool):
    """A drag says in which box the object lies."""

    prompts = True

    def __init__(self, prompts: Prompts, session: Session) -> None:
        super().__init__()
        self._prompts, self._session = prompts, session
        self._start: Place | None = None

    def press(self, pen: Pen) -> None:
        """Begin the box."""
        self._start = pen.place

    def drag(self, pen: Pen) -> None:
        """Draw it out."""
        if self._start is not None:
            self.rubber = self._box(pen.place)
            self.touched.emit(None)

    def release(self, pen: Pen) -> None:
        """Ask for what lies in it."""
        if self._start is None:
            return
        x0, y0, x1, y1 = box = self._box(pen.place)
        self.drop()
        if min(x1 - x0, y1 - y0) >= _LEAST_BOX_PX:
            self._prompts.set_box(box)
        else:
            self._session.note("Drag from one corner of the object's box to the other.")

    def double_click(self, pen: Pen) -> None:
        """Apply the mask."""
        if self._prompts.pending:
            self._prompts.apply()

    def drop(self) -> None:
        """Forget the box."""
        self._start = None
        super().drop()

    def _box(self, place: Place) -> Box:
        assert self._start is not None
        height, width = self._session.shown_or_blank(self._session.frame).size
        (x0, x1), (y0, y1) = (sorted(pair) for pair in zip(self._start, place, strict=True))
        return max(floor(x0), 0), max(floor(y0), 0), min(ceil(x1), width), min(ceil(y1), height)


class BrushTool(Tool):
    """Paints the object's mask, or erases it; the right button does the opposite of painting.

    Parameters
    ----------
    brush : its size, shared with the other one.
    """

    cursor = Qt.CursorShape.BlankCursor

    def __init__(
        self, session: Session, player: Player, target: Target, brush: Brush, erase: bool
    ) -> None:
        super().__init__()
        self.brush = brush
        self._session, self._player, self._target = session, player, target
        self._erase = erase

    def press(self, pen: Pen) -> None:
        """Begin a stroke."""
        if self.stroke is not None:
            return
        self._player.hold()
        frame = self._session.shown_or_blank(self._session.frame)
        erase = self._erase or pen.right
        if erase and not self._select_below(frame, pen.place):
            return
        item = self._target.item(frame)
        self.stroke = Stroke(frame, item, self.brush.size, erase)
        self.stroke.extend(pen.place)
        self.touched.emit(None)

    def _select_below(self, frame: PackedResult, place: Place) -> bool:
        """Without a selected object that the frame has, select what lies under the brush."""
        selected = self._session.selected
        if selected is not None and frame.object(selected) is not None:
            return True
        found = object_at(frame, floor(place[0]), floor(place[1]), self._session.hidden_objects)
        if found is None:
            self._session.note("There is nothing to erase: begin on an object, or select one (V).")
            return False
        self._session.select(found.number)
        return True

    def drag(self, pen: Pen) -> None:
        """Go on."""
        if self.stroke is not None:
            box = self.stroke.extend(pen.place)
            if box is not None:
                self.touched.emit(box)

    def release(self, pen: Pen) -> None:
        """End the stroke."""
        self.finish()

    def finish(self) -> None:
        """Give the object its new mask."""
        done, self.stroke = self.stroke, None
        if done is None:
            return
        item = done.item
        verb = "erase" if done.erase else "paint"
        # What is shown by now: a run may have found something there meanwhile.
        frame = self._session.shown_or_blank(done.frame.frame)
        title = f"{verb} {item.number} {item.name}"
        if done.changed:
            self._session.apply(edits.put_mask(frame, item, done.mask, title))
            self._target.drawn(item.number)
        self.touched.emit(None)


class CutTool(Tool):
    """A drag across an object cuts it in two."""

    def __init__(self, session: Session, player: Player) -> None:
        super().__init__()
        self._session, self._player = session, player

    def press(self, pen: Pen) -> None:
        """Begin the line."""
        self._player.hold()
        self.line = pen.place, pen.place

    def drag(self, pen: Pen) -> None:
        """Draw it out."""
        if self.line is not None:
            self.line = self.line[0], pen.place
            self.touched.emit(None)

    def release(self, pen: Pen) -> None:
        """Cut the selected object, or the one that most of the line lies on."""
        if self.line is None:
            return
        start, end = self.line[0], pen.place
        self.drop()
        frame = self._session.result
        number = self._number(frame, start, end) if frame is not None else None
        if frame is None or number is None:
            self._session.note("There is no object to cut: drag a line across one.")
            return
        item = frame.object(number)
        assert item is not None
        parts = cut(item.mask(frame.size), start, end)
        if parts is None:
            self._session.note(
                f"The line doesn't go through {number} {item.name}: drag from outside to outside."
            )
            return
        self._session.apply(edits.split(frame, number, parts, self._session.free_number))

    def _number(self, frame: PackedResult, start: Place, end: Place) -> int | None:
        """The selected object if the frame has it; else the one under most of the line."""
        selected = self._session.selected
        if selected is not None and frame.object(selected) is not None:
            return selected
        dab = stroke(start, end, 1, frame.size)
        if dab is None or hypot(end[0] - start[0], end[1] - start[1]) < 1:
            return None
        best = max(
            ((int((item.mask(frame.size)[dab.part] & dab.inside).sum()), item.number)
             for item in frame.objects if item.number not in self._session.hidden_objects),
            default=(0, 0),
        )  # fmt: skip
        return best[1] if best[0] else None
