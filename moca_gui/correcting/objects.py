"""What the Edit menu and the Objects panel do to objects: accept, reject, rename, merge, split."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject

from moca_core.annotations import edits
from moca_core.annotations.history import Edit
from moca_core.annotations.model import PackedResult
from moca_core.types import Mask
from moca_gui.correcting.scope import CLIP, FRAME, RANGE, frames_of
from moca_gui.correcting.work import EditWork, Make
from moca_gui.session import Session
from moca_gui.settings import Settings

if TYPE_CHECKING:
    from PySide6.QtGui import QAction

    from moca_gui.panels.objects import ObjectsPanel


class ObjectEdits(QObject):
    """Corrects the objects that are chosen in the panel, in the frames of the scope.

    Parameters
    ----------
    work : makes changes of many frames.
    actions : of the window; the texts of Undo and Redo follow what they would do.
    """

    def __init__(
        self,
        session: Session,
        panel: ObjectsPanel,
        settings: Settings,
        work: EditWork,
        actions: dict[str, QAction],
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._session, self._panel = session, panel
        self._settings, self._work = settings, work
        self._actions = actions
        panel.renamed.connect(self._rename)
        for signal in (session.labels_changed, session.clip_changed):
            signal.connect(self._name_steps)
        self._name_steps()

    def undo(self) -> None:
        """Take the last correction back."""
        title = self._session.labels.undo_title
        self._session.undo()
        self._session.note(f"Undone: {title}.")

    def redo(self) -> None:
        """Make the correction again that was taken back last."""
        title = self._session.labels.redo_title
        self._session.redo()
        self._session.note(f"Done again: {title}.")

    def _name_steps(self) -> None:
        labels = self._session.labels
        for name, text, title in (
            ("undo", "&Undo", labels.undo_title),
            ("redo", "&Redo", labels.redo_title),
        ):
            self._actions[name].setText(f"{text} {title.replace('&', '&&')}".rstrip())

    # -- objects ------------------------------------------------------------------------------

    def accept_frame(self) -> None:
        """Say that the frames are right: all their objects, or that there are none."""
        frames = self._frames("scope_objects")
        title = "accept frames" if len(frames) > 1 else "accept the frame"
        self._make("scope_objects", title, frames, edits.accept)

    def accept(self) -> None:
        """Agree to the chosen objects."""
        numbers = tuple(self._panel.numbers)
        frames = self._with_any("scope_objects", numbers)
        make = partial(edits.accept, numbers=numbers)
        self._make("scope_objects", f"accept {_listed(numbers)}", frames, make)

    def reject(self) -> None:
        """Take the chosen objects out: they don't sound."""
        numbers = tuple(self._panel.numbers)
        frames = self._with_any("scope_objects", numbers)
        make = partial(edits.reject, numbers=numbers)
        self._make("scope_objects", f"reject {_listed(numbers)}", frames, make)

    def rename(self) -> None:
        """Let the name of the selected object be changed in the panel."""
        number = self._session.selected
        if number is not None and not self._panel.edit_name(number):
            self._session.note(f"Object {number} isn't in this frame. Go to one that has it.")

    def _rename(self, number: int, name: str) -> None:
        frames = self._with_any("scope_names", [number])
        make = partial(edits.rename, number=number, name=name)
        self._make("scope_names", f"rename {number} to {name}", frames, make)

    def merge(self) -> None:
        """Make the chosen objects one; it keeps number and name of the one chosen first."""
        numbers = tuple(self._panel.numbers)
        frames = self._with_any("scope_names", numbers)
        make = partial(edits.merge, numbers=numbers, name=edits.name_of(frames, numbers[0]))
        self._make("scope_names", f"merge {_listed(numbers)}", frames, make)

    def split(self) -> None:
        """Make objects of the parts of the selected one that don't touch, in this frame."""
        number, frame = self._session.selected, self._session.result
        item = None if frame is None or number is None else frame.object(number)
        if frame is None or number is None or item is None:
            self._session.note(f"Object {number} isn't in this frame. Go to one that has it.")
            return
        parts = edits.separate_parts(item.mask(frame.size))
        if len(parts) < 2:
            self._session.note(f"Object {number} is in one piece: there is nothing to split.")
            return
        free = self._session.free_number
        make = partial(_split, number=number, parts=parts, free=free)
        self._work.make(f"split {number}", [frame], make)

    def revert(self) -> None:
        """Let the program's own results stand again."""
        frames = [frame for frame in self._frames("scope_objects") if frame.corrected]
        self._make("scope_objects", "take corrections back", frames, edits.revert)

    def select_next(self, step: int) -> None:
        """Select the next (1) or previous (-1) object of the frame on screen."""
        result = self._session.result
        numbers = [item.number for item in result.objects] if result is not None else []
        if not numbers:
            self._session.note("There is no object in this frame.")
            return
        selected = self._session.selected
        place = numbers.index(selected) + step if selected in numbers else min(step, 0)
        self._session.select(numbers[place % len(numbers)])

    # -- frames -------------------------------------------------------------------------------

    def _frames(self, key: str) -> list[PackedResult]:
        """What is shown in the scope that the setting `key` holds."""
        return frames_of(self._session, self._settings.get(key))

    def _with_any(self, key: str, numbers: Sequence[int]) -> list[PackedResult]:
        """The frames of the scope that have one of the objects."""
        wanted = set(numbers)
        return [
            frame
            for frame in self._frames(key)
            if any(item.number in wanted for item in frame.objects)
        ]

    def _make(self, key: str, title: str, frames: Sequence[PackedResult], make: Make) -> None:
        if frames:
            self._work.make(title, frames, make)
        else:
            self._session.note(f"Can't {title}: {self._why_none(self._settings.get(key))}")

    def _why_none(self, scope: str) -> str:
        """Why the scope has no frame for a correction, and what helps."""
        if scope == FRAME and self._session.result is None:
            return f"frame {self._session.frame} wasn't run. Run on it (R), or draw an object."
        if scope == RANGE and self._session.range is None:
            return "no range is chosen. Set its ends with [ and ], or choose other frames."
        where = {FRAME: "this frame", RANGE: "the in/out range", CLIP: "the clip"}[scope]
        return f"there is nothing of the kind in {where}. Choose other frames in Objects."


def _split(frames: Sequence[PackedResult], number: int, parts: Sequence[Mask], free: int) -> Edit:
    (frame,) = frames
    return edits.split(frame, number, parts, free)


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
