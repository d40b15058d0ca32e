"""The corrected frames of one clip, with undo and redo."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from moca_core.annotations.model import PackedResult

UNDO_BYTES = 256 * 2**20
_ENTRY_BYTES = 600  # a frame in a step: two results without their masks

Frames = Mapping[int, PackedResult | None]
"""Corrected frames by number; None: the frame isn't corrected (any more)."""


@dataclass(frozen=True, eq=False)
class Edit:
    """A change that is done and undone as one.

    Attributes
    ----------
    title : what the user reads after "Undo", such as `rename 2 to Dog`.
    after : the frames that it changes, as they are then.
    """

    title: str
    after: Frames


@dataclass(frozen=True, eq=False)
class _Step:
    title: str
    before: Frames
    after: Frames
    nbytes: int


class Labels:
    """What a person made of the frames of one clip; all other frames are the program's.

    Parameters
    ----------
    frames : those that are corrected already, such as a project's.
    undo_bytes : above it the oldest steps can't be undone any more.
    """

    def __init__(self, frames: Iterable[PackedResult] = (), undo_bytes: int = UNDO_BYTES) -> None:
        self._frames = {item.frame: item for item in frames}
        self._undo_bytes = undo_bytes
        self._done: deque[_Step] = deque()
        self._undone: list[_Step] = []
        self.nbytes = 0  # of the steps that can be undone or done again

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def frames(self) -> Mapping[int, PackedResult]:
        """The corrected frames by number, as a view that changes with them."""
        return MappingProxyType(self._frames)

    def get(self, frame: int) -> PackedResult | None:
        """The corrected frame, or None."""
        return self._frames.get(frame)

    @property
    def undo_title(self) -> str:
        """What `undo` would undo; empty if there is nothing."""
        return self._done[-1].title if self._done else ""

    @property
    def redo_title(self) -> str:
        """What `redo` would do again; empty if there is nothing."""
        return self._undone[-1].title if self._undone else ""

    def apply(self, edit: Edit) -> set[int]:
        """Make a change, which ends what could be done again; returns the frames it changed.

        One that changes nothing isn't remembered.
        """
        after = {
            frame: item for frame, item in edit.after.items() if item is not self._frames.get(frame)
        }
        if not after:
            return set()
        before = {frame: self._frames.get(frame) for frame in after}
        step = _Step(edit.title, before, after, _step_bytes(before, after))
        self.nbytes += step.nbytes - sum(item.nbytes for item in self._undone)
        self._undone.clear()
        self._done.append(step)
        while self.nbytes > self._undo_bytes and len(self._done) > 1:
            self.nbytes -= self._done.popleft().nbytes
        return self._put(after)

    def undo(self) -> set[int]:
        """Take the last change back; returns the frames it changed, none if there was none."""
        if not self._done:
            return set()
        step = self._done.pop()
        self._undone.append(step)
        return self._put(step.before)

    def redo(self) -> set[int]:
        """Make the change again that was taken back last; returns the frames it changed."""
        if not self._undone:
            return set()
        step = self._undone.pop()
        self._done.append(step)
        return self._put(step.after)

    def _put(self, frames: Frames) -> set[int]:
        for frame, item in frames.items():
            if item is None:
                self._frames.pop(frame, None)
            else:
                self._frames[frame] = item
        return set(frames)


def _step_bytes(before: Frames, after: Frames) -> int:
    """What a step keeps in memory: masks that both sides share count once."""
    masks = {
        id(item.bits): len(item.bits)
        for side in (before, after)
        for frame in side.values()
        if frame is not None
        for item in frame.objects
    }
    return sum(masks.values()) + _ENTRY_BYTES * len(after)
