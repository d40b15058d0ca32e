"""The job that makes a change of many frames, which is applied as one step once it is made."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from PySide6.QtCore import QObject, QTimer, Signal

from moca_core.annotations.history import Edit
from moca_core.annotations.model import PackedResult
from moca_core.errors import MocaError
from moca_gui.eta import Pace
from moca_gui.jobs import Job, JobPool, JobState
from moca_gui.panels.status import JobStrip
from moca_gui.session import Clip, Session
from moca_gui.words import capital

_log = logging.getLogger(__name__)
_PART = 16  # frames between two places to stop
_REST_S = 0.001  # after each part: the window has its turn, also where the parts are all Python
_SHOW_EVERY_MS = 100

Make = Callable[[Sequence[PackedResult]], Edit]
"""An edit of frames as they are shown."""

Remake = Callable[[PackedResult, PackedResult], PackedResult | None]
"""The frame as it is shown now, as it was made of an older one -> as it is to be, None: as now."""


@dataclass(frozen=True, eq=False)
class Part:
    """Some frames of a change.

    Attributes
    ----------
    before, after : the frames as they were shown when this was made, and as they are to be.
    done, total : of the frames of the job.
    note : what the user is told at the end.
    """

    before: Mapping[int, PackedResult]
    after: Mapping[int, PackedResult | None]
    done: int
    total: int
    note: str = ""


@dataclass(eq=False)
class _Made:
    before: dict[int, PackedResult] = field(default_factory=dict)
    after: dict[int, PackedResult | None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class EditWork(QObject):
    """Makes changes of many frames beside the window, one at a time.

    What a person changes meanwhile isn't lost: a frame that is shown otherwise by then is made
    anew from what is shown.
    """

    changed = Signal()
    failed = Signal(object, str)

    def __init__(self, session: Session, pool: JobPool, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self.job: Job | None = None
        self._pool = pool
        self._pace = Pace()
        self._latest: Part | None = None
        self._show_soon = QTimer(self)  # the strip isn't laid out anew for every part
        self._show_soon.setSingleShot(True)
        self._show_soon.setInterval(_SHOW_EVERY_MS)
        self._show_soon.timeout.connect(self._show)
        self.strip = JobStrip()
        self.strip.cancel.setToolTip("Stop the correction (Esc)")
        self.strip.cancel_pressed.connect(self.cancel)
        session.clip_changed.connect(self.cancel)

    def make(self, title: str, frames: Sequence[PackedResult], make: Make) -> None:
        """Apply `make` to the frames: one at once, several in a job; a cancelled one does nothing.

        Parameters
        ----------
        title : what the user reads after "Undo".
        """
        if len(frames) == 1:
            self._apply(Edit(title, make(frames).after))
            return

        def remake(now: PackedResult, _made: PackedResult) -> PackedResult | None:
            return make([now]).after.get(now.frame, now)

        self.start(title, lambda: _in_parts(frames, make), remake, keep=False)

    def start(
        self, title: str, parts: Callable[[], Iterable[Part]], remake: Remake, keep: bool
    ) -> None:
        """Begin a job, unless there is one.

        Parameters
        ----------
        parts : called in the job.
        keep : of a cancelled job, keep what is finished.
        """
        if self.job is not None:
            self.session.note("A correction is under way. Cancel it first (Esc).")
            return
        made, clip = _Made(), self.session.clip
        self._pace = Pace()
        self.job = self._pool.start(
            title,
            parts,
            on_event=partial(self._on_part, made),
            on_finished=partial(self._on_finished, made, clip, remake, keep),
        )
        self.strip.show_job(capital(title), 0, 0, None)
        self.changed.emit()

    def cancel(self) -> None:
        """Stop the job at its next part."""
        if self.job is not None and not self.job.cancelling:
            self.job.cancel()
            self.strip.show_cancelling()
            self.changed.emit()

    def _on_part(self, made: _Made, part: Any) -> None:
        made.before.update(part.before)
        made.after.update(part.after)
        made.notes += [part.note] if part.note else []
        self._pace.note(part.done, part.total, key=True, stored=False)
        self._latest = part
        if not self._show_soon.isActive():
            self._show_soon.start()

    def _show(self) -> None:
        """Show how far the job is."""
        part = self._latest
        if self.job is not None and not self.job.cancelling and part is not None:
            left = self._pace.left_s()
            self.strip.show_job(capital(self.job.title), part.done, part.total, left)

    def _on_finished(
        self, made: _Made, clip: Clip | None, remake: Remake, keep: bool, job: Job
    ) -> None:
        self.job = self._latest = None
        self._show_soon.stop()
        self.strip.hide()
        self.changed.emit()
        if clip is not self.session.clip:
            return
        stopped = ["Cancelled."] if job.state is JobState.CANCELLED else []
        if job.state is JobState.DONE or (keep and made.after):
            self._apply(Edit(job.title, self._fresh(made, remake)), stopped + made.notes)
        elif stopped:
            self.session.note(f"{capital(job.title)}: cancelled, nothing was changed.")
        if job.state is JobState.FAILED and job.error is not None:
            if not isinstance(job.error, MocaError):
                _log.error("%s failed: %r", job.title, job.error)
            self.failed.emit(job.error, capital(job.title))

    def _fresh(self, made: _Made, remake: Remake) -> dict[int, PackedResult | None]:
        """What was made, with the frames made anew that are shown otherwise by now."""
        after = {}
        for frame, item in made.after.items():
            now, then = self.session.shown(frame), made.before.get(frame)
            if now is then or now is None or item is None:
                after[frame] = item
            elif (new := remake(now, item)) is not now:
                after[frame] = new
        return after

    def _apply(self, edit: Edit, notes: Sequence[str] = ()) -> None:
        count = len(edit.after)
        what = "nothing to change"
        if self.session.apply(edit):
            what = f"frame {next(iter(edit.after))}" if count == 1 else f"{count} frames"
        self.session.note(" ".join([f"{capital(edit.title)}: {what}.", *notes]))


def _in_parts(frames: Sequence[PackedResult], make: Make) -> Iterator[Part]:
    for first in range(0, len(frames), _PART):
        some = frames[first : first + _PART]
        before = {item.frame: item for item in some}
        yield Part(before, make(some).after, first + len(some), len(frames))
        time.sleep(_REST_S)
