"""Which object is drawn on: the selected one, or a new one."""

from __future__ import annotations

from dataclasses import replace

from moca_core.annotations.model import DRAWN, PackedObject, PackedResult
from moca_gui.correcting.naming import is_seen
from moca_gui.session import Session

NAMELESS = "Object"
_BY_HAND = 1.0  # the score of what a person drew: it sounds
_NOWHERE = ((0, 0, 0, 0), b"")


class Target:
    """Says what the tools draw on."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._last: int | None = None  # the object that was drawn on last
        session.clip_changed.connect(self._forget)

    def _forget(self) -> None:
        self._last = None

    def item(self, frame: PackedResult, new: bool = False) -> PackedObject:
        """The object to be drawn on in a frame, as it is there, or without a mask.

        Parameters
        ----------
        new : a new one, whatever is selected.
        """
        selected = self._session.selected
        if selected is not None and not new:
            found = frame.object(selected) or self._find(selected)
            if found is not None and found not in frame.objects:
                box, bits = _NOWHERE
                found = replace(found, box=box, bits=bits, score=_BY_HAND, origin=DRAWN)
            if found is not None:
                return found
        number = self._session.free_number
        return PackedObject(number, self._name(frame), _BY_HAND, *_NOWHERE, DRAWN)

    def drawn(self, number: int) -> None:
        """Object `number` was drawn on: it is selected, shown, and names the next new one."""
        session = self._session
        self._last = number
        if number in session.hidden_objects:
            session.set_object_shown(number, shown=True)
        session.select(number if session.has_object(number) else None)  # or all was erased

    @property
    def text(self) -> str:
        """What is drawn on, for the user, such as `2 Dog`."""
        selected = self._session.selected
        found = None if selected is None else self._find(selected)
        return "a new object" if found is None else f"{found.number} {found.name}"

    def _name(self, frame: PackedResult) -> str:
        """The name used last; else the loudest heard group that can be seen."""
        last = None if self._last is None else self._find(self._last)
        if last is not None:
            return last.name
        return next((name for name, _ in frame.heard if is_seen(name)), NAMELESS)

    def _find(self, number: int) -> PackedObject | None:
        """The object in any frame of the clip, first in the one on screen."""
        session = self._session
        frames = (*session.labels.frames.values(), *session.results.values())
        shown = session.result
        for frame in (shown, *frames) if shown is not None else frames:
            found = frame.object(number)
            if found is not None:
                return found
        return None


def object_at(frame: PackedResult | None, x: int, y: int, hidden: set[int]) -> PackedObject | None:
    """The object on top at a pixel of a frame, but for those that are hidden."""
    for item in reversed(frame.objects if frame is not None else ()):
        x0, y0, x1, y1 = item.box
        inside = x0 <= x < x1 and y0 <= y < y1 and item.number not in hidden
        if inside and item.crop()[y - y0, x - x0]:
            return item
    return None
