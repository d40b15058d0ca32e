"""Running the method on the open clip: which frames, in which thread, what comes back."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast

from PySide6.QtCore import QObject, QTimer, Signal

from moca_core.config import SegmentConfig
from moca_core.errors import MocaError
from moca_core.types import FrameEvent, NoteEvent, SegmentEvent, StageEvent
from moca_gui.eta import Pace
from moca_gui.jobs import Job, JobPool, JobState
from moca_gui.kept import KeptResults, open_results
from moca_gui.results import PackedResult, pack
from moca_gui.session import Clip, Session
from moca_gui.settings import Settings

_log = logging.getLogger(__name__)
LEAVE_AFTER_MS = 700


class SegmenterLike(Protocol):
    """What is needed of `moca_core.pipeline.segmenter.Segmenter`."""

    @property
    def clip(self) -> Callable[..., Iterator[SegmentEvent]]:
        """The method that yields the events of a run."""
        ...


@dataclass(frozen=True)
class DeviceKnown:
    """The device was chosen; `text` names it with its dtype and reason."""

    text: str


@dataclass(frozen=True, eq=False)
class Finished:
    """A frame is done, packed for keeping."""

    result: PackedResult
    done: int
    total: int
    stored: bool


@dataclass(frozen=True)
class RunRequest:
    """What to run on: `frames` as for `Segmenter.clip`, or a range in seconds.

    A clip or range gets masks at every frame, so that they move with the object while playing.
    """

    title: str
    frames: str | Sequence[int] = "all"
    start_s: float | None = None
    end_s: float | None = None
    keep_maps: bool = False


def load_segmenter(config: SegmentConfig) -> SegmenterLike:
    """The real segmenter. Imports torch: call it in the worker only."""
    from moca_core.pipeline.segmenter import Segmenter

    return Segmenter(config, device="auto")


class Warm:
    """The encoders that stay in memory between two runs, with their configuration."""

    def __init__(self) -> None:
        self.segmenter: SegmenterLike | None = None
        self.config: SegmentConfig | None = None

    def take(self, segmenter: SegmenterLike, config: SegmentConfig) -> None:
        """Keep these."""
        self.segmenter, self.config = segmenter, config

    def let_go(self) -> None:
        """Keep none; their memory goes back to the system."""
        had, self.segmenter, self.config = self.segmenter is not None, None, None
        if had and "torch" in sys.modules:
            from moca_core.heap import give_back
            from moca_core.models.compute import empty_cache

            empty_cache()
            give_back()

    def leaving(self) -> Iterator[StageEvent]:
        """`let_go` as a job."""
        yield StageEvent("freeing encoders")
        self.let_go()


class Runner(QObject):
    """Starts and stops runs; at most one at a time."""

    changed = Signal()
    progressed = Signal(str, int, int, object)  # text, done, total, seconds left or None
    device_known = Signal(str)
    failed = Signal(object, str)
    ended = Signal(str)
    completed = Signal()  # a run came to its end, neither stopped nor failed

    def __init__(
        self,
        session: Session,
        pool: JobPool,
        settings: Settings,
        make_segmenter: Callable[[SegmentConfig], SegmenterLike] = load_segmenter,
        open_store: Callable[[Path, SegmentConfig], KeptResults] = open_results,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.session = session
        self.job: Job | None = None
        self.config = SegmentConfig()  # of the next run
        self.ready: Callable[[], bool] = lambda: True  # asked before a run begins
        self._pool = pool
        self._settings = settings
        self._make_segmenter = make_segmenter
        self._open_store = open_store
        self._warm = Warm()  # touched by the worker only while there is one
        self._left: Job | None = None  # cancelled, but in the middle of a step
        self._request: RunRequest | None = None
        self._pace = Pace()
        self._count = self._stored = 0
        self._number = 0  # of the run
        self._look_again = False  # for kept results, once the run has ended

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

    def use(self, config: SegmentConfig) -> None:
        """Make the runs to come with `config`; encoders of another one leave the memory."""
        self.config = config
        self._let_go_of_others()

    def _let_go_of_others(self) -> None:
        """Free encoders that the next run doesn't use, beside the window: that takes a moment."""
        if self.job is not None or self._left is not None:
            return  # the worker has them; the next run begins with this
        if self._warm.segmenter is not None and self._warm.config != self.config:
            warm, self._warm = self._warm, Warm()
            self._pool.start("freeing encoders", warm.leaving)

    def load_kept(self) -> None:
        """Show the results that were kept of the open clip, as they are read."""
        clip, config = self.session.clip, self.config
        if clip is None:
            return

        def wanted() -> bool:
            return clip is self.session.clip and config == self.config

        def show(result: PackedResult) -> None:
            # What is in memory already may have maps.
            if wanted() and self.session.results.get(result.frame) is None:
                self.session.add_result(result)

        def kept() -> Iterator[PackedResult]:
            for result in self._open_store(clip.path, config).results():
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
        self._request = request
        if not self.ready():
            return
        self._pace = Pace()
        self._count = self._stored = 0
        self._number += 1
        self.job = self._pool.start(
            request.title,
            partial(self._events, clip, request, self.config, self._left),
            on_event=partial(self._on_event, clip, self.config, self._number, request),
            on_finished=self._on_finished,
        )
        self.progressed.emit(f"{request.title}: starting", 0, 0, None)
        self.changed.emit()

    def _events(
        self, clip: Clip, request: RunRequest, config: SegmentConfig, left: Job | None
    ) -> Iterator[Any]:
        """The generator of the worker thread; `left` is a stopped run that may be at work still."""
        while left is not None and not left.wait(0.05):
            yield StageEvent("waiting for the stopped run")
        if self._warm.config != config:
            yield StageEvent("loading the models")
            self._warm.let_go()
            self._warm.take(self._make_segmenter(config), config)
        segmenter = self._warm.segmenter
        assert segmenter is not None
        kept = self._open_store(clip.path, config)
        options: dict[str, Any] = {"keep_maps": request.keep_maps, "store": kept}
        if request.start_s is not None:
            options |= {"start_s": request.start_s, "end_s": request.end_s}
        every = self._settings.get("key_frame_every_s")
        events = segmenter.clip(clip.path, frames=request.frames, every_s=every, **options)
        device = ""
        # Closed with this generator: a cancel lets go of the clip here and now.
        with closing(cast("Generator[SegmentEvent, None, None]", events)):
            for event in events:
                if note := kept.take_note():
                    yield NoteEvent(note)
                choice = str(getattr(segmenter, "device", "") or "")
                if choice != device:
                    device = choice
                    yield DeviceKnown(choice)
                if isinstance(event, FrameEvent):
                    yield Finished(pack(event.result), event.done, event.total, event.stored)
                else:
                    yield event
        if note := kept.take_note():
            yield NoteEvent(note)

    def _on_event(
        self, clip: Clip, config: SegmentConfig, number: int, request: RunRequest, event: Any
    ) -> None:
        shown = clip is self.session.clip and config == self.config
        if isinstance(event, Finished) and shown:
            # Also after a cancel: what is finished is kept.
            result = event.result
            if request.frames != "all":
                result = self.session.results.known_numbers(result)
            self.session.add_result(result)
        if self.job is None or number != self._number:
            return  # of a run that was left to end
        if isinstance(event, DeviceKnown):
            self.device_known.emit(event.text)
        elif isinstance(event, NoteEvent):
            self.session.note(event.message)
        elif isinstance(event, Finished):
            self._count += 1
            self._stored += event.stored
            self._pace.note(event.done, event.total, key=event.result.key, stored=event.stored)
            self._show_progress("", event.done, event.total)
        elif isinstance(event, StageEvent):
            # Once frames come, the count says more than the stage.
            self._show_progress("" if self._count else event.stage, event.done, event.total)

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
        title = job.title
        if state is JobState.FAILED and job.error is not None:
            if not isinstance(job.error, MocaError):
                _log.error("%s failed: %r", title, job.error)
            self.failed.emit(job.error, title)
        elif state is JobState.CANCELLED:
            self.ended.emit(f"{title}: cancelled, {_frames(self._count)} kept.")
        else:
            disk = f", {self._stored} of them from disk" if self._stored else ""
            self.ended.emit(f"{title}: {_frames(self._count)} done{disk}.")
            self.completed.emit()
        if self._look_again:
            self.load_kept()
        self.changed.emit()


def _frames(count: int) -> str:
    return f"{count} frame" if count == 1 else f"{count} frames"
