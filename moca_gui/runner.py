"""Running the method on the open clip: which frames, in which thread, what comes back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from PySide6.QtCore import QObject, QTimer, Signal

from moca_core.annotations.model import PackedResult, pack
from moca_core.config import SegmentConfig
from moca_core.errors import MocaError
from moca_core.types import NoteEvent, ScoresEvent, StageEvent
from moca_gui.eta import Pace
from moca_gui.jobs import Job, JobPool, JobState
from moca_gui.run_worker import (
    DefaultsKnown,
    DeviceKnown,
    Finished,
    RunRequest,
    RunWorker,
    SegmenterLike,
    Warm,
)
from moca_gui.session import Clip, Session
from moca_gui.settings import Settings
from moca_gui.thresholds.deciding import Moved, Wish, Wishes

_log = logging.getLogger(__name__)
LEAVE_AFTER_MS = 700


class Runner(QObject):
    """Starts and stops runs; at most one at a time."""

    changed = Signal()
    progressed = Signal(str, int, int, object)  # text, done, total, seconds left or None
    device_known = Signal(str)
    failed = Signal(object, str)
    ended = Signal(str)
    completed = Signal()  # a run came to its end, neither stopped nor failed
    defaults_known = Signal(object)  # the thresholds that suit the bundle
    found = Signal()  # a result of the open clip
    scored = Signal(int, object)  # what the thresholds cut in a key frame

    def __init__(
        self,
        session: Session,
        pool: JobPool,
        settings: Settings,
        worker: RunWorker,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.session = session
        self.job: Job | None = None
        self.config = SegmentConfig()  # of the next run
        self.ready: Callable[[], bool] = lambda: True  # asked before a run begins
        self._pool = pool
        self._settings = settings
        self._worker = worker  # touched by the job only while there is one
        self._left: Job | None = None  # cancelled, but in the middle of a step
        self._request: RunRequest | None = None
        self._pace = Pace()
        self._count = self._stored = 0
        self._number = 0  # of the run
        self._look_again = False  # for kept results, once the run has ended
        self._moved: dict[SegmentConfig, Moved] = {}
        self._wishes: Wishes | None = None  # of the job that decides again
        self._undecided: set[int] = set()  # frames that it has yet to decide
        session.clip_changed.connect(self._forget_held)
        session.clip_grew.connect(self.load_kept)

    @property
    def moved(self) -> Moved:
        """The thresholds of the runs to come that differ from the bundle's."""
        return self._moved.get(self.config, ())

    @property
    def deciding(self) -> bool:
        """Whether the job under way only decides again, so that thresholds may be moved."""
        return self._wishes is not None

    @property
    def decidable(self) -> set[int]:
        """The frames of the open clip that follow the thresholds without an encoder."""
        held = self._worker.held
        mine = held is not None and held.clip is self.session.clip and held.config == self.config
        return held.analyses.frames() if held is not None and mine else set()

    @property
    def lent(self) -> SegmenterLike | None:
        """The encoders in memory, if their SAM is that of the runs to come."""
        warm = self._worker.warm
        return warm.segmenter if warm.config and warm.config.sam == self.config.sam else None

    def _forget_held(self) -> None:
        self._worker.held = None

    def run_frame(self) -> None:
        """Run on the frame on screen, and keep its maps."""
        frame = self.session.frame
        self._start(RunRequest(f"Run on frame {frame}", [frame], keep_maps=True))

    def run_range(self) -> None:
        """Run on the in/out range."""
        clip, chosen = self.session.clip, self.session.range
        if clip is None or chosen is None:
            return
        span = self.session.range_seconds()
        assert span is not None
        # To the middle of the last frame: its end is the beginning of the next one.
        stop_s = (clip.time_of(chosen[1]) + span[1]) / 2
        keep = self._settings.get("keep_maps")
        self._start(RunRequest("Run on the range", "all", span[0], stop_s, keep))

    def run_clip(self) -> None:
        """Run on the whole clip."""
        self._start(RunRequest("Run on the clip", keep_maps=self._settings.get("keep_maps")))

    def run_anew(self) -> None:
        """Run on the whole clip, also where the disk has results."""
        keep = self._settings.get("keep_maps")
        self._start(RunRequest("Run on the clip", keep_maps=keep, anew=True))

    def move_thresholds(self, moved: Moved) -> None:
        """Decide by other thresholds: the frame on screen at once, the clip after it.

        Results that can't follow are forgotten: they would be those of other thresholds.
        """
        if self.job is not None and not self.deciding:
            return
        self._moved[self.config] = moved
        decidable = self.decidable
        self.session.keep_results(decidable)
        self._undecided = decidable
        wish = Wish(moved, self.session.frame)
        if self._wishes is not None:
            self._wishes.put(wish)
        elif decidable:
            self._decide(wish)
        else:
            self.load_kept()
        self.session.mark_dirty()
        self.changed.emit()

    def _decide(self, wish: Wish) -> None:
        clip, held = self.session.clip, self._worker.held
        assert clip is not None and held is not None  # else no frame is decidable
        self._begin()
        self._wishes = Wishes(wish)
        self.job = self._pool.start(
            "Thresholds",
            partial(
                self._worker.decide_again,
                *(clip, self.config, held.analyses, self._wishes, self._left),
            ),
            on_event=partial(self._on_event, clip, self.config, self._number, None, None),
            on_finished=self._on_finished,
        )

    def _begin(self) -> None:
        self._pace = Pace()
        self._count = self._stored = 0
        self._number += 1

    def cancel(self) -> None:
        """Stop the run at its next yield; finished frames stay.

        A run in the middle of a long step is left to end by itself after a moment: the window is
        free again, and the next run waits for the step to end.
        """
        job = self.job
        if job is not None and not job.cancelling:
            job.cancel()
            QTimer.singleShot(LEAVE_AFTER_MS, self, lambda: self._leave(job))
            self.changed.emit()

    def _leave(self, job: Job) -> None:
        """The window doesn't wait any longer for a job that was cancelled."""
        if job is self.job:
            self._left = job
            self._end(job, JobState.CANCELLED)

    def use(self, config: SegmentConfig, moved: Moved | None = None) -> None:
        """Make the runs to come with `config`; encoders of another one leave the memory.

        Parameters
        ----------
        moved : its thresholds that differ from the bundle's; None leaves them as they are.
        """
        if moved is not None:
            self._moved[config] = moved
        if self._worker.held is not None and self._worker.held.config != config:
            self._worker.held = None
        self.config = config
        self._let_go_of_others()

    def _let_go_of_others(self) -> None:
        """Free encoders that the next run doesn't use, beside the window: that takes a moment."""
        if self.job is not None or self._left is not None:
            return  # the worker has them; the next run begins with this
        warm = self._worker.warm
        if warm.segmenter is not None and warm.config != self.config:
            self._worker.warm = Warm()
            self._pool.start("freeing encoders", warm.leaving)

    def load_kept(self) -> None:
        """Show the results that were kept of the open clip, as they are read."""
        clip, config, moved = self.session.clip, self.config, self.moved
        if clip is None or not clip.indexed:
            return

        def wanted() -> bool:
            return (clip, config, moved) == (self.session.clip, self.config, self.moved)

        def show(result: PackedResult) -> None:
            # What is in memory already may have maps.
            if wanted() and self.session.results.get(result.frame) is None:
                self.session.add_result(result)

        def kept() -> Iterator[PackedResult]:
            if not self._worker.has_results(clip.path):
                return  # opening them would import torch for nothing
            for result in self._worker.open_store(clip.path, config, moved).results():
                if not wanted():
                    return  # another clip, or other encoders, since
                yield pack(result)

        def ended(job: Job) -> None:
            # As beside a run whose worker was importing torch: once more after the next run.
            if job.state is JobState.FAILED:
                _log.warning("%s: %r", job.title, job.error)
                self._look_again = wanted()

        self._look_again = False
        self._pool.start("kept results", kept, on_event=show, on_finished=ended)

    def retry(self) -> None:
        """Start the run that was asked for last, once what it lacked is there."""
        if self._request is not None:
            self._start(self._request)

    def _start(self, request: RunRequest) -> None:
        clip = self.session.clip
        if clip is None:
            return
        if self.job is not None:
            self.session.note("A run is under way. Cancel it first (Esc).")
            return
        every_s = self._settings.get("key_frame_every_s")
        self._request = request = replace(request, every_s=every_s)
        if not self.ready():
            return
        self._begin()
        known: dict[int, int] | None = None if request.whole else {}
        self.job = self._pool.start(
            request.title,
            partial(self._worker.run, clip, request, self.config, self.moved, self._left),
            on_event=partial(self._on_event, clip, self.config, self._number, self.moved, known),
            on_finished=self._on_finished,
        )
        self.progressed.emit(f"{request.title}: starting", 0, 0, None)
        self.changed.emit()

    def _on_event(
        self,
        clip: Clip,
        config: SegmentConfig,
        number: int,
        moved: Moved | None,
        known: dict[int, int] | None,
        event: Any,
    ) -> None:
        """Take an event of a run.

        Parameters
        ----------
        moved : the run's thresholds; None where they may move.
        known : of a run on a part of the clip, what its numbers of objects mean there.
        """
        mine = self.job is not None and number == self._number
        shown = clip is self.session.clip and config == self.config
        shown = shown and (mine if moved is None else moved == self.moved)
        if isinstance(event, Finished) and shown:
            # Also after a cancel: what is finished is kept.
            result = event.result
            if event.total == 1 or known is not None:
                result = self.session.results.known_numbers(
                    result, known, lambda: self.session.free_number
                )
            self.session.add_result(result)
            self.found.emit()
        if isinstance(event, ScoresEvent) and shown:
            self.scored.emit(event.frame, event.scores)
        if not mine:
            return  # of a run that was left to end
        if isinstance(event, DeviceKnown):
            self.device_known.emit(event.text)
        elif isinstance(event, DefaultsKnown):
            self.defaults_known.emit(event.settings)
        elif isinstance(event, NoteEvent):
            self.session.note(event.message)
        elif isinstance(event, Finished):
            self._note_finished(event)
        elif isinstance(event, StageEvent) and not self.deciding:
            # Once frames come, the count says more than the stage.
            self._show_progress("" if self._count else event.stage, event.done, event.total)

    def _note_finished(self, event: Finished) -> None:
        if self.deciding and event.total == 1:
            return  # the frame on screen, which comes again with the clip
        self._count += 1
        self._stored += event.stored
        self._undecided.discard(event.result.frame)
        self._pace.note(event.done, event.total, key=event.result.key, stored=event.stored)
        self._show_progress("", event.done, event.total)

    def _show_progress(self, stage: str, done: int, total: int) -> None:
        if self.job is None or self.job.cancelling:
            return
        text = f"{self.job.title}: {stage}" if stage else self.job.title
        self.progressed.emit(text, done, total, self._pace.left_s())

    def _on_finished(self, job: Job) -> None:
        if job is self._left:
            self._left = None
            self._let_go_of_others()
        elif job is self.job:
            self._end(job, job.state)

    def _end(self, job: Job, state: JobState) -> None:
        """The run is over for the user."""
        self.job = None
        wishes, self._wishes = self._wishes, None
        title = job.title
        if wishes is not None and state is not JobState.DONE:
            # What wasn't decided yet is of the thresholds before.
            self.session.keep_results(self.session.results.frames - self._undecided)
        if state is JobState.FAILED and job.error is not None:
            if not isinstance(job.error, MocaError):
                _log.error("%s failed: %r", title, job.error)
            self.failed.emit(job.error, title)
        elif state is JobState.CANCELLED:
            self.ended.emit(f"{title}: cancelled, {_frames(self._count)} kept.")
        elif wishes is None:
            disk = f", {self._stored} of them from disk" if self._stored else ""
            self.ended.emit(f"{title}: {_frames(self._count)} done{disk}.")
            self.completed.emit()
        if self._look_again:
            self.load_kept()
        if wishes is not None and wishes.waiting and state is not JobState.FAILED:
            self.move_thresholds(self.moved)  # once more: this wish came too late
        self.changed.emit()


def _frames(count: int) -> str:
    return f"{count} frame" if count == 1 else f"{count} frames"
