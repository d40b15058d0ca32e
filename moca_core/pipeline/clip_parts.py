"""What a run over a clip works with: the clip, stored results, and the time that stages take."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Protocol

from moca_core.media.video import VideoInfo
from moca_core.pipeline.analysis import FrameAnalysis
from moca_core.types import FrameResult, NoteEvent, RgbImage, SegmentEvent, StageEvent

if TYPE_CHECKING:
    from moca_core.models.bundles import Looking


class Store(Protocol):
    """What a run asks of stored results (`pipeline.store.ClipStore`)."""

    def load(self, frame: int, maps: bool = False) -> FrameResult | None:
        """The stored result of a frame, or None."""
        ...

    def save(self, result: FrameResult) -> None:
        """Keep a result; raises `StorageError`."""
        ...


class Video(Protocol):
    """What a run asks of a clip (`media.video.VideoReader`)."""

    info: VideoInfo

    def time_of(self, index: int) -> float:
        """Presentation time of a frame in seconds."""
        ...

    def frame(self, index: int) -> RgbImage:
        """A frame's picture (H, W, 3); raises `MediaError` if it can't be decoded."""
        ...


def timed(
    steps: Looking,
    seconds: dict[str, float],
    numbers: Sequence[int],
    done: int,
    total: int,
) -> Generator[SegmentEvent, None, list[FrameAnalysis]]:
    """Pass the stages of an analysis on with the job's progress, and note their times a frame."""
    title = f"Frame {numbers[0]}" if len(numbers) == 1 else f"Frames {numbers[0]}-{numbers[-1]}"
    stage, begun = "", time.perf_counter()
    while True:
        try:
            event = next(steps)
        except StopIteration as end:
            _add(seconds, stage, begun, len(numbers))
            return end.value
        if isinstance(event, NoteEvent):
            yield event
            continue
        _add(seconds, stage, begun, len(numbers))
        stage = event.stage
        yield StageEvent(f"{title}: {stage}", done, total)
        begun = time.perf_counter()


def _add(seconds: dict[str, float], stage: str, begun: float, frames: int) -> None:
    if stage:
        spent = (time.perf_counter() - begun) / frames
        seconds[stage] = seconds.get(stage, 0.0) + spent
