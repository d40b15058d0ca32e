"""What is open: the clip, the frame on screen, the chosen range, the results. No widgets."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QImage

from moca_core.annotations.edits import blank
from moca_core.annotations.history import Edit, Labels
from moca_core.annotations.model import PackedResult
from moca_core.media.audio import frame_window
from moca_core.models.registry import bundle_row
from moca_gui.correcting.numbers import NumbersApart
from moca_gui.results import CORRECTED, ResultStore

if TYPE_CHECKING:
    from moca_core.media.index import FrameIndex
    from moca_core.media.video import VideoReader

_SHELF = 2
"""Sets of results that are kept beside those on screen."""


@dataclass(frozen=True, eq=False)
class Clip:
    """An open clip. Frames are `int` from 0, times are seconds on the clip's clock."""

    path: Path
    reader: VideoReader

    @property
    def frame_count(self) -> int:
        """Frames that can be decoded."""
        return int(self.reader.info.frame_count)

    @property
    def known_frames(self) -> str:
        """The number of frames for the user, with a plus while there are more."""
        return f"{self.frame_count}" if self.indexed else f"{self.frame_count}+"

    @property
    def fps(self) -> float:
        """Frames a second on average."""
        return float(self.reader.info.fps)

    @property
    def duration_s(self) -> float:
        """End of the later of picture and sound."""
        return float(self.reader.info.duration_s)

    @property
    def indexed(self) -> bool:
        """False while only the first frames of a long clip are known: it is going to grow."""
        return bool(self.reader.indexed)

    @property
    def has_audio(self) -> bool:
        """Whether there is a sound track."""
        return bool(self.reader.info.has_audio)

    def time_of(self, frame: int) -> float:
        """Presentation time of `frame`."""
        return float(self.reader.time_of(frame))

    def index_at(self, time_s: float) -> int:
        """The frame on screen at `time_s`, the first or last one outside the clip."""
        return int(self.reader.index_at(time_s))


class Session(QObject):
    """The state that the panels share; panels change it by methods and listen to its signals."""

    clip_changed = Signal()
    clip_grew = Signal()  # more frames of the open clip are known
    frame_changed = Signal()
    range_changed = Signal()
    result_changed = Signal(int)  # frame, or -1 for many
    objects_changed = Signal()
    audio_window_changed = Signal()
    selected_changed = Signal()
    labels_changed = Signal()  # a correction was made, undone, or made again
    dirtied = Signal()  # something changed that a project keeps
    noted = Signal(str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.clip: Clip | None = None
        self.results = ResultStore(0)
        self.labels = Labels()
        self.frame = 0
        self.image: QImage | None = None
        self.range: tuple[int, int] | None = None  # first and last frame, both inside
        self.hidden_objects: set[int] = set()
        self.selected: int | None = None  # number of the object that corrections are for
        self.audio_window_s = bundle_row("compact").window_s
        self._apart = NumbersApart(self.labels.frames)
        self._method = ""  # names what the results on screen were made with
        self._shelf: OrderedDict[str, ResultStore] = OrderedDict()

    def set_clip(
        self, clip: Clip | None, results: ResultStore | None = None, labels: Labels | None = None
    ) -> None:
        """Put `clip` in place of the open one; the caller closes the old reader.

        Parameters
        ----------
        results, labels : what its project has of the method in use; None where there is none.
        """
        self.select(None)
        self.clip = clip
        frames = clip.frame_count if clip else 0
        self.results = ResultStore(frames) if results is None else results
        self.labels = Labels() if labels is None else labels
        self._shelf.clear()
        self._apart = NumbersApart(self.labels.frames)
        self.frame = 0
        self.image = None
        self.range = None
        self.hidden_objects = set()
        self.clip_changed.emit()

    def grow_clip(self, index: FrameIndex) -> None:
        """Take up the frames of the open clip that were found after it was opened."""
        assert self.clip is not None
        end = self.clip.frame_count - 1
        self.clip.reader.grow(index)
        for store in (self.results, *self._shelf.values()):
            store.grow(self.clip.frame_count)
        self.clip_grew.emit()
        if self.range is not None and self.range[1] == end:
            self.set_range(self.range[0], self.clip.frame_count - 1)

    def set_frame(self, frame: int, image: QImage | None) -> None:
        """Tell everybody which frame is on screen now."""
        self.frame = frame
        self.image = image
        self.frame_changed.emit()

    @property
    def result(self) -> PackedResult | None:
        """The result of exactly the frame on screen."""
        return self.shown(self.frame)

    def shown(self, frame: int) -> PackedResult | None:
        """What a person made of a frame, else what the program found there, else None."""
        return self.labels.get(frame) or self.results.get(frame)

    def shown_or_blank(self, frame: int) -> PackedResult:
        """The same, to be drawn on: a frame without objects where it wasn't run."""
        found = self.shown(frame)
        if found is not None:
            return found
        assert self.clip is not None
        info = self.clip.reader.info
        return blank(frame, self.clip.time_of(frame), (info.height, info.width))

    @property
    def states(self) -> NDArray[np.uint8]:
        """(frames,) the state of each frame of the clip, in the words of `results`."""
        states = self.results.states.copy()
        if len(self.labels):
            states[list(self.labels.frames)] = CORRECTED
        return states

    def neighbour(self, step: int, frame: int | None = None) -> int | None:
        """The nearest frame with a result after (`step` > 0) or before one; None if none is."""
        found = np.flatnonzero(self.states)
        start = self.frame if frame is None else frame
        side = found[found > start] if step > 0 else found[found < start]
        return int(side[0 if step > 0 else -1]) if len(side) else None

    @property
    def free_number(self) -> int:
        """A number that no object of the clip has, and none that is hidden."""
        numbers = (item.number for frame in self._frames() for item in frame.objects)
        return 1 + max(chain(numbers, self.hidden_objects), default=0)

    def has_object(self, number: int) -> bool:
        """Whether a frame of the clip has object `number`."""
        return any(frame.object(number) is not None for frame in self._frames())

    def _frames(self) -> Iterator[PackedResult]:
        return chain(self.labels.frames.values(), self.results.values())

    # -- corrections --------------------------------------------------------------------------

    def apply(self, edit: Edit) -> bool:
        """Change frames as `edit` says; whether that changed anything."""
        return self._edited(self.labels.apply(edit))

    def undo(self) -> None:
        """Take the last correction back."""
        self._edited(self.labels.undo())

    def redo(self) -> None:
        """Make the correction again that was taken back last."""
        self._edited(self.labels.redo())

    def _edited(self, frames: set[int]) -> bool:
        if frames:
            self._apart.forget()
            self._let_go()
            self.labels_changed.emit()
            self.result_changed.emit(next(iter(frames)) if len(frames) == 1 else -1)
            self.mark_dirty()
        return bool(frames)

    def _let_go(self) -> None:
        """Select no object that no frame has any more."""
        if self.selected is not None and not self.has_object(self.selected):
            self.select(None)

    def mark_dirty(self) -> None:
        """Every change that a project keeps passes here, and is saved by whoever listens."""
        self.dirtied.emit()

    # -- results ------------------------------------------------------------------------------

    def add_result(self, result: PackedResult) -> None:
        """Keep a result of a run, and show it where its frame is and isn't corrected."""
        self.results.add(self._apart.apart(result, lambda: self.free_number))
        self.result_changed.emit(result.frame)

    def clear_results(self) -> None:
        """Forget the results in memory."""
        self._shelf.clear()
        self.results.clear()
        self._let_go()
        self.result_changed.emit(-1)

    def keep_results(self, frames: set[int]) -> None:
        """Forget all results on screen but those of `frames`."""
        if self.results.keep(frames):
            self.result_changed.emit(-1)

    def use_method(self, method: str, audio_window_s: float) -> None:
        """Show the results that were made with `method`; those of another one are put aside."""
        self.audio_window_s = audio_window_s
        if method != self._method:
            self._shelf[self._method] = self.results
            empty = ResultStore(self.clip.frame_count if self.clip else 0)
            self.results = self._shelf.pop(method, empty)
            while len(self._shelf) > _SHELF:
                self._shelf.popitem(last=False)
            self._method = method
            self._apart = NumbersApart(self.labels.frames)
            self.hidden_objects = set()  # its numbers mean other objects
            self._let_go()
        self.result_changed.emit(-1)

    def set_range(self, first: int, last: int) -> None:
        """Choose the frames `first` to `last`, both inside, in any order."""
        if self.clip is None:
            return
        top = self.clip.frame_count - 1
        first, last = sorted((min(max(first, 0), top), min(max(last, 0), top)))
        self.range = (first, last)
        self.range_changed.emit()

    def clear_range(self) -> None:
        """Choose no range: the whole clip."""
        self.range = None
        self.range_changed.emit()

    def set_in(self) -> None:
        """Begin the range at the frame on screen."""
        if self.clip is None:
            return
        last = self.range[1] if self.range else self.clip.frame_count - 1
        self.set_range(self.frame, max(self.frame, last))

    def set_out(self) -> None:
        """End the range at the frame on screen."""
        first = self.range[0] if self.range else 0
        self.set_range(min(first, self.frame), self.frame)

    def range_seconds(self) -> tuple[float, float] | None:
        """The range as (start, stop) in seconds; the stop is the end of its last frame."""
        if self.clip is None or self.range is None:
            return None
        first, last = self.range
        end = last + 1
        stop = self.clip.time_of(end) if end < self.clip.frame_count else self.clip.duration_s
        return self.clip.time_of(first), stop

    def set_object_shown(self, number: int, shown: bool) -> None:
        """Show or hide the masks of object `number` in the whole clip."""
        if shown:
            self.hidden_objects.discard(number)
        else:
            self.hidden_objects.add(number)
        self.objects_changed.emit()

    def select(self, number: int | None) -> None:
        """Choose the object that corrections are for, in all frames that have it; None: none."""
        if number != self.selected:
            self.selected = number
            self.selected_changed.emit()

    def current_window_s(self) -> tuple[float, float] | None:
        """(start, stop) in seconds of the sound that belongs to the frame on screen.

        METHOD.md section 2: centred on the frame, shifted to lie inside the clip.
        """
        if self.clip is None or not self.clip.has_audio:
            return None
        result = self.result
        if result is not None and result.window_s[1] > result.window_s[0]:
            return result.window_s
        duration = self.clip.duration_s
        start, stop = frame_window(self.clip.time_of(self.frame), self.audio_window_s, duration)
        return start, min(stop, duration)

    def note(self, message: str) -> None:
        """Say something in the status bar and the log."""
        self.noted.emit(message)
