"""What a run does in the worker: encoders, the disk, and what is kept to decide again."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from moca_core.annotations.model import PackedResult, pack
from moca_core.config import SegmentConfig, with_values
from moca_core.types import FrameEvent, NoteEvent, SegmentEvent, StageEvent
from moca_gui.freeing import give_memory_back
from moca_gui.jobs import Job
from moca_gui.kept import KeptResults, has_results, open_results
from moca_gui.session import Clip
from moca_gui.thresholds.deciding import Decider, Moved, Wishes, decide

if TYPE_CHECKING:
    from moca_core.models.sam import Sam
    from moca_core.pipeline.analyses import Analyses
    from moca_core.pipeline.matching import MatchSettings

_LOOK_EVERY_S = 0.05
"""While a run waits for something else to end."""


class SegmenterLike(Decider, Protocol):
    """What is needed of `moca_core.pipeline.segmenter.Segmenter`."""

    @property
    def clip(self) -> Callable[..., Iterator[SegmentEvent]]:
        """The method that yields the events of a run."""
        ...

    @property
    def sam(self) -> Sam | None:
        """The SAM that proposes masks; None while it isn't loaded."""
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
    anew: bool = False  # also where the disk has results
    every_s: float = 1.0  # time between key frames

    @property
    def whole(self) -> bool:
        """Whether it is on the whole clip."""
        return self.frames == "all" and self.start_s is None


@dataclass(frozen=True)
class DefaultsKnown:
    """The bundle's own thresholds."""

    settings: MatchSettings


@dataclass(frozen=True, eq=False)
class Held:
    """What was found in a clip with a configuration: thresholds can be moved without encoders."""

    clip: Clip
    config: SegmentConfig
    analyses: Analyses


def load_segmenter(config: SegmentConfig) -> SegmenterLike:
    """The real segmenter. Imports torch: call it in the worker only."""
    from moca_core.pipeline.segmenter import Segmenter

    return Segmenter(config, device="auto")


class Warm:
    """The encoders that stay in memory between two runs, with their configuration."""

    def __init__(self) -> None:
        self.segmenter: SegmenterLike | None = None
        self.config: SegmentConfig | None = None
        self.defaults: MatchSettings | None = None  # the thresholds that suit the bundle

    def take(self, segmenter: SegmenterLike, config: SegmentConfig) -> None:
        """Keep these."""
        self.segmenter, self.config = segmenter, config
        self.defaults = segmenter.settings

    def let_go(self) -> None:
        """Keep none; their memory goes back to the system."""
        had, self.segmenter, self.config = self.segmenter is not None, None, None
        if had:
            give_memory_back()

    def leaving(self) -> Iterator[StageEvent]:
        """`let_go` as a job."""
        yield StageEvent("freeing encoders")
        self.let_go()


class RunWorker:
    """The encoders and what was found with them; used by one job at a time."""

    def __init__(
        self,
        make_segmenter: Callable[[SegmentConfig], SegmenterLike] = load_segmenter,
        open_store: Callable[[Path, SegmentConfig, Moved], KeptResults] = open_results,
        has_results: Callable[[Path], bool] = has_results,
    ) -> None:
        self.warm = Warm()
        self.held: Held | None = None
        self.open_store = open_store
        self.has_results = has_results
        self._make_segmenter = make_segmenter

    def run(
        self,
        clip: Clip,
        request: RunRequest,
        config: SegmentConfig,
        moved: Moved,
        left: Job | None,
    ) -> Iterator[Any]:
        """The events of a run; `left` is a stopped run that may be at work still."""
        while not clip.indexed:  # results of frames that the window doesn't know yet had no place
            yield StageEvent("finding the clip's frames")
            time.sleep(_LOOK_EVERY_S)
        segmenter = yield from self._ready_segmenter(config, left)
        segmenter.settings = self._settings_of(moved)
        kept = self.open_store(clip.path, config, moved)
        options: dict[str, Any] = {"keep_maps": request.keep_maps, "store": kept}
        if request.start_s is not None:
            options |= {"start_s": request.start_s, "end_s": request.end_s}
        options |= {"analyses": self._analyses_of(clip, config), "anew": request.anew}
        every = request.every_s
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
                yield _packed(event)
        if note := kept.take_note():
            yield NoteEvent(note)

    def _ready_segmenter(
        self, config: SegmentConfig, left: Job | None
    ) -> Generator[Any, None, SegmenterLike]:
        """The segmenter of a configuration, once no other job uses it."""
        while left is not None and not left.wait(_LOOK_EVERY_S):
            yield StageEvent("waiting for the stopped run")
        if self.warm.config != config:
            yield StageEvent("loading the models")
            self.warm.let_go()
            self.warm.take(self._make_segmenter(config), config)
        assert self.warm.segmenter is not None and self.warm.defaults is not None
        yield DefaultsKnown(self.warm.defaults)
        return self.warm.segmenter

    def _settings_of(self, moved: Moved) -> MatchSettings:
        assert self.warm.defaults is not None  # the worker has a segmenter
        return with_values(self.warm.defaults, moved)

    def _analyses_of(self, clip: Clip, config: SegmentConfig) -> Analyses:
        """Where what is found in a clip is kept; that of another one is let go."""
        from moca_core.pipeline.analyses import Analyses

        held = self.held
        if held is None or held.clip is not clip or held.config != config:
            held = self.held = Held(clip, config, Analyses())
        return held.analyses

    def decide_again(
        self,
        clip: Clip,
        config: SegmentConfig,
        analyses: Analyses,
        wishes: Wishes,
        left: Job | None,
    ) -> Iterator[Any]:
        """The events of deciding again."""
        segmenter = yield from self._ready_segmenter(config, left)
        kept: list[KeptResults] = []

        def open_store(moved: Moved) -> KeptResults:
            kept[:] = [self.open_store(clip.path, config, moved)]
            return kept[0]

        events = decide(segmenter, clip.path, analyses, wishes, self._settings_of, open_store)
        with closing(cast("Generator[SegmentEvent, None, None]", events)):
            for event in events:
                if kept and (note := kept[0].take_note()):
                    yield NoteEvent(note)
                yield _packed(event)


def _packed(event: Any) -> Any:
    """An event as it goes to the window."""
    if isinstance(event, FrameEvent):
        return Finished(pack(event.result), event.done, event.total, event.stored)
    return event
