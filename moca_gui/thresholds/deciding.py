"""Deciding again in the worker: the frame on screen at once, the clip when the slider rests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from moca_core.types import FrameResult, ScoresEvent, SegmentEvent, StageEvent

if TYPE_CHECKING:
    from moca_core.pipeline.analyses import Analyses
    from moca_core.pipeline.matching import MatchSettings

REST_S = 0.25
"""The clip follows, and results are kept on disk, once no threshold has moved for this long."""
_LOOK_S = 0.05
"""How often a job that waits for the slider to rest can be stopped."""

Moved = tuple[tuple[str, str], ...]
"""The thresholds that differ from the bundle's, by name, as text; see `with_values`."""


class Decider(Protocol):
    """What is needed of `moca_core.pipeline.segmenter.Segmenter` here."""

    settings: MatchSettings

    def decide_frame(self, path: Path, analyses: Analyses, frame: int) -> Iterator[SegmentEvent]:
        """Decide one frame again."""
        ...

    def decide_clip(
        self, path: Path, analyses: Analyses, store: Store | None = None
    ) -> Iterator[SegmentEvent]:
        """Decide all frames again that can be."""
        ...


class Store(Protocol):
    """Where results are kept and looked for."""

    def load(self, frame: int, maps: bool = False) -> FrameResult | None:
        """The stored result of a frame, or None."""
        ...

    def save(self, result: FrameResult) -> None:
        """Keep a result."""
        ...


@dataclass(frozen=True)
class Wish:
    """By which thresholds to decide, and the frame on screen, which goes first."""

    moved: Moved
    frame: int


class Wishes:
    """Holds the latest wish: those that it takes the place of are never begun."""

    def __init__(self, first: Wish) -> None:
        self._lock = threading.Lock()
        self._latest: Wish | None = first
        self._there = threading.Event()

    def put(self, wish: Wish) -> None:
        """Wish for something else."""
        with self._lock:
            self._latest = wish
            self._there.set()

    @property
    def waiting(self) -> bool:
        """Whether there is a wish that wasn't taken."""
        return self._latest is not None

    def take(self) -> Wish | None:
        """The latest wish that wasn't taken, if there is one."""
        with self._lock:
            wish, self._latest = self._latest, None
            self._there.clear()
            return wish

    def wait(self, seconds: float) -> None:
        """Wait for a wish, but no longer than this."""
        self._there.wait(seconds)


def decide(
    segmenter: Decider,
    path: Path,
    analyses: Analyses,
    wishes: Wishes,
    settings_of: Callable[[Moved], MatchSettings],
    open_store: Callable[[Moved], Store],
) -> Iterator[SegmentEvent]:
    """Decide again until no wish is left; a new one ends what an older one began.

    Parameters
    ----------
    settings_of : the thresholds of a wish.
    open_store : where the results with these are kept.
    """
    while (wish := wishes.take()) is not None:
        segmenter.settings = settings_of(wish.moved)
        yield from segmenter.decide_frame(path, analyses, wish.frame)
        rested = time.monotonic() + REST_S
        while time.monotonic() < rested and not wishes.waiting:
            wishes.wait(_LOOK_S)
            yield StageEvent("")
        if not wishes.waiting:
            yield from _clip(segmenter, path, analyses, wishes, open_store(wish.moved))


def _clip(
    segmenter: Decider, path: Path, analyses: Analyses, wishes: Wishes, store: Store
) -> Iterator[SegmentEvent]:
    for event in segmenter.decide_clip(path, analyses, store):
        yield event
        if wishes.waiting and not isinstance(event, ScoresEvent):
            return
