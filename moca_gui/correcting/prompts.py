"""The mask that points and a box ask for: pending until it is applied or discarded."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

from moca_core.annotations import edits
from moca_core.annotations.model import Box, PackedObject
from moca_core.annotations.prompt import Prompt, PromptPoint
from moca_core.types import StageEvent
from moca_gui.correcting.prompt_worker import (
    Answered,
    PromptRequest,
    PromptSource,
    PromptWorker,
    Refused,
)
from moca_gui.correcting.target import Target
from moca_gui.jobs import Job, JobPool, JobState

if TYPE_CHECKING:
    from moca_gui.player import Player
    from moca_gui.runner import Runner
    from moca_gui.session import Session

TINY_PX = 24
"""Masks of fewer pixels are likelier a slip than an object."""


class Prompts(QObject):
    """What a person shows of one object of the frame on screen, and the masks that it may mean.

    Signals: `changed` when any of it does; `failed(error)` when there is no answer.
    """

    changed = Signal()
    failed = Signal(object)

    def __init__(
        self,
        session: Session,
        player: Player,
        runner: Runner,
        pool: JobPool,
        source: PromptSource,
        target: Target,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.points: tuple[PromptPoint, ...] = ()
        self.box: Box | None = None
        self.meant: tuple[PackedObject, ...] = ()  # the masks that it may mean
        self.at = 0  # which of them
        self.waiting = False  # for the masks of the points and the box as they are now
        self._session, self._player, self._runner = session, player, runner
        self._pool, self._source, self._target = pool, source, target
        self._frame = -1  # of points and box
        self._apply: Callable[[], None] | None = None  # once the masks are there
        self._number = 0
        self._worker: PromptWorker | None = None
        self._job: Job | None = None
        session.frame_changed.connect(self._on_frame)
        session.clip_changed.connect(self.stop)

    # -- what is asked ------------------------------------------------------------------------

    @property
    def pending(self) -> bool:
        """Whether there is something to be applied or discarded."""
        return bool(self.points) or self.box is not None

    @property
    def shown(self) -> bool:
        """Whether it belongs to the frame on screen."""
        return self.pending and self._frame == self._session.frame

    @property
    def mask(self) -> PackedObject | None:
        """The mask that would be applied."""
        return self.meant[self.at] if self.meant else None

    def add_point(self, x: float, y: float, on: bool) -> None:
        """Say that a place, in pixels of the frame, is on the object or off it."""
        self._begin()
        self.points += (PromptPoint(x, y, on),)
        self._ask()

    def set_box(self, box: Box) -> None:
        """Say that the object lies in a box, in place of any other."""
        self._begin()
        self.box = box
        self._ask()

    def take_last(self) -> None:
        """Take the last point away; without points the box."""
        if self.points:
            self.points = self.points[:-1]
        else:
            self.box = None
        if self.pending:
            self._ask()
        else:
            self.discard()

    def next_mask(self, step: int = 1) -> None:
        """Choose another of the masks that a single point may mean."""
        if len(self.meant) > 1:
            self.at = (self.at + step) % len(self.meant)
            self.changed.emit()

    def _begin(self) -> None:
        self._player.hold()
        if self._frame != self._session.frame:
            self.discard()
        self._frame = self._session.frame

    def _on_frame(self) -> None:
        # Where the player goes to counts: it may show another frame on the way.
        if self.pending and self._player.target != self._frame:
            self.discard()
            self._session.note("The mask that wasn't applied is gone: the frame has changed.")

    # -- what becomes of it -------------------------------------------------------------------

    def discard(self) -> None:
        """Forget points, box and masks."""
        self._number += 1
        self.points, self.box, self.meant, self.at = (), None, (), 0
        self.waiting, self._apply = False, None
        self.changed.emit()

    def apply(self, new: bool = False) -> None:
        """Give the mask to the selected object, or to a `new` one; waits for it if need be."""
        if self.waiting:
            self._apply = partial(self.apply, new)
            return
        mask = self.mask
        if mask is None:
            self._session.note("There is no mask to apply: click on an object, or drag a box.")
            return
        frame = self._session.shown_or_blank(self._frame)
        item = self._target.item(frame, new)
        title = f"mask of {item.number} {item.name}"
        self.discard()
        if self._session.apply(edits.put_mask(frame, item, mask.mask(frame.size), title)):
            self._session.note(f"Mask applied to {item.number} {item.name}.")
        self._target.drawn(item.number)

    def finish(self) -> None:
        """Apply the mask at a double click, whose second press came as another point."""
        if len(self.points) > 1:
            self.take_last()
        self.apply()

    # -- the job ------------------------------------------------------------------------------

    def _ask(self) -> None:
        prompt = Prompt(self.points, self.box)
        self._number += 1
        self._apply = None
        self.waiting = prompt.answerable and self._session.image is not None
        if not prompt.answerable:
            self.meant, self.at = (), 0
            self._session.note("Click on the object, too: all points are off it.")
        if self.waiting:
            self._send(prompt)
        self.changed.emit()

    def _send(self, prompt: Prompt) -> None:
        assert self._session.image is not None
        if self._worker is None:
            worker = self._worker = PromptWorker(self._source)
            self._job = self._pool.start(
                "masks by prompts",
                worker.events,
                on_event=partial(self._on_event, worker),
                on_finished=self._on_finished,
                wake=worker.stop,
            )
        self._worker.ask(
            PromptRequest(
                self._number,
                self._frame,
                self._session.image,
                prompt,
                self._runner.config,
                self._runner.lent,
            )
        )

    def stop(self) -> None:
        """Forget everything; the model leaves the memory."""
        if self._job is not None:
            self._job.cancel()
        self._job = self._worker = None
        self.discard()

    def _on_event(self, worker: PromptWorker, event: object) -> None:
        if worker is not self._worker:
            return  # it was stopped
        if isinstance(event, StageEvent):
            self._session.note(event.stage)
        elif isinstance(event, Answered) and event.number == self._number:
            self._take(event.meant)
        elif isinstance(event, Refused) and event.number == self._number:
            self._give_up(event.error)

    def _take(self, meant: tuple[PackedObject, ...]) -> None:
        self.waiting = False
        self.meant = tuple(item for item in meant if item.box != (0, 0, 0, 0))
        self.at = 0
        apply, self._apply = self._apply, None
        if not self.meant:
            self._session.note("Nothing was found there. Try another point, or a box.")
        elif (area := int(self.meant[0].crop().sum())) < TINY_PX:
            self._session.note(f"The mask has only {area} pixels. Add a point, or drag a box.")
        elif apply is not None:
            apply()
            return
        self.changed.emit()

    def _give_up(self, error: BaseException) -> None:
        self.discard()
        self.failed.emit(error)

    def _on_finished(self, job: Job) -> None:
        if job is not self._job:
            return
        self._job = self._worker = None
        if job.state is JobState.FAILED and job.error is not None:
            self._give_up(job.error)
