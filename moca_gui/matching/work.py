"""The jobs of the comparing window: at most one that compares and one that looks for neighbours."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import QObject, Signal

from moca_core.pipeline.pma_config import PmaConfig
from moca_core.types import StageEvent
from moca_gui.jobs import Job, JobPool, JobState
from moca_gui.matching.pictures import Pick
from moca_gui.matching.source import EncoderChoice, Found, MatchSource, NeighbourQuery
from moca_gui.matching.worker import Compared, Matcher, Pictured, Refused, Request


class MatchWork(QObject):
    """Asks for comparisons and neighbours; what is out of date is never told.

    Signals: `staged(text)` what is being done, `pictured`, `compared`, `refused(error)`;
    `searching(bool)`, `search_staged(StageEvent)`, `found(Found)`, `search_failed(error)`.
    """

    staged = Signal(str)
    pictured = Signal(object)
    compared = Signal(object)
    refused = Signal(object)
    searching = Signal(bool)
    search_staged = Signal(object)
    found = Signal(object)
    search_failed = Signal(object)

    def __init__(self, pool: JobPool, source: MatchSource, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._pool, self._source = pool, source
        self._matcher: Matcher | None = None
        self._job: Job | None = None
        self._search: Job | None = None
        self._number = 0
        self._from = 0  # answers to earlier requests are of another clip

    @property
    def active(self) -> bool:
        """Whether the encoder is in memory, or comes into it."""
        return self._job is not None

    @property
    def cached_bytes(self) -> int:
        """Bytes of frames and features that are kept."""
        return self._matcher.cache.used_bytes if self._matcher is not None else 0

    # -- comparing ----------------------------------------------------------------------------

    def ask(
        self, picks: tuple[Pick, Pick], choice: EncoderChoice, config: PmaConfig, sound: str
    ) -> None:
        """Compare two frames; an earlier request that isn't answered yet is forgotten."""
        self._number += 1
        if self._matcher is None:
            matcher = self._matcher = Matcher(self._source)
            self._job = self._pool.start(
                "comparing frames",
                matcher.events,
                on_event=partial(self._on_event, matcher),
                on_finished=self._on_finished,
                wake=matcher.stop,
            )
        self._matcher.ask(Request(self._number, picks, choice, config, sound))

    def forget(self) -> None:
        """What was asked for up to now isn't told any more."""
        self._from = self._number + 1

    def stop(self) -> None:
        """End both jobs; encoder and cache leave the memory."""
        self.forget()
        if self._job is not None:
            self._job.cancel()
        self._job = self._matcher = None
        self.cancel_search()

    def _on_event(self, matcher: Matcher, event: object) -> None:
        if matcher is not self._matcher:
            return  # it was stopped
        if isinstance(event, StageEvent):
            self.staged.emit(event.stage)
        elif isinstance(event, Compared) and event.request.number >= self._from:
            self.compared.emit(event)
        elif isinstance(event, Pictured) and event.number >= self._from:
            self.pictured.emit(event)
        elif isinstance(event, Refused) and event.number == self._number >= self._from:
            self.refused.emit(event.error)

    def _on_finished(self, job: Job) -> None:
        if job is not self._job:
            return
        self._job = self._matcher = None
        if job.state is JobState.FAILED and job.error is not None:
            self.refused.emit(job.error)

    # -- neighbours ---------------------------------------------------------------------------

    def find(self, query: NeighbourQuery) -> None:
        """Look for the neighbours of a frame, instead of those that are looked for now."""
        self.cancel_search()
        self._search = self._pool.start(
            "neighbours", partial(self._source.neighbours, query), on_finished=self._on_searched
        )
        self._search.yielded.connect(partial(self._on_search_event, self._search))
        self.searching.emit(True)

    def cancel_search(self) -> None:
        """Stop looking; what was found stays."""
        if self._search is not None:
            self._search.cancel()
            self._search = None
            self.searching.emit(False)

    def _on_search_event(self, job: Job, event: object) -> None:
        if job is not self._search:
            return
        if isinstance(event, StageEvent):
            self.search_staged.emit(event)
        elif isinstance(event, Found):
            self.found.emit(event)

    def _on_searched(self, job: Job) -> None:
        if job is not self._search:
            return
        self._search = None
        self.searching.emit(False)
        if job.state is JobState.FAILED and job.error is not None:
            self.search_failed.emit(job.error)
