"""Decide again what sounds in a clip, from what was found there before: no encoder runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from moca_core.media.video import VideoInfo, VideoReader
from moca_core.pipeline.analyses import Analyses, Plan
from moca_core.pipeline.clip_parts import Store
from moca_core.pipeline.cliprun import ClipRun
from moca_core.types import RgbImage, SegmentEvent

if TYPE_CHECKING:
    from moca_core.pipeline.segmenter import Segmenter

_CACHE_BYTES = 64 * 2**20


class LateVideo:
    """A clip that is opened when the first of its pictures is asked for, if one is."""

    def __init__(self, path: Path, info: VideoInfo) -> None:
        self.path, self.info = path, info
        self._reader: VideoReader | None = None

    def time_of(self, index: int) -> float:
        """As `VideoReader.time_of`."""
        return float(self.info.times_s[index])

    def frame(self, index: int) -> RgbImage:
        """As `VideoReader.frame`."""
        if self._reader is None:
            self._reader = VideoReader(self.path, cache_bytes=_CACHE_BYTES)
        return self._reader.frame(index)

    def close(self) -> None:
        """Close it if it was opened."""
        if self._reader is not None:
            self._reader.close()


def decide_frame(
    segmenter: Segmenter, path: Path, analyses: Analyses, frame: int
) -> Iterator[SegmentEvent]:
    """One frame at once; its objects are numbered for themselves. Nothing if it isn't kept."""
    for plan, spans in reversed(analyses.plans()):
        span = next((span for span in spans if frame in span.frames), None)
        if span is not None and frame in plan.done:
            with closing(LateVideo(path, plan.info)) as video:
                yield from _run(segmenter, video, plan, None, analyses).only(plan, span, frame)
            return


def decide_clip(
    segmenter: Segmenter, path: Path, analyses: Analyses, store: Store | None = None
) -> Iterator[SegmentEvent]:
    """All frames that can be decided again, in the order in which they were run.

    Parameters
    ----------
    segmenter : with the thresholds to decide by; its encoders are loaded already.
    analyses : of the clip, from `Segmenter.clip`.
    store : where the results are kept.

    Raises
    ------
    MediaError : the clip can't be read any more, where motion has to be found again.
    """
    for plan, spans in analyses.plans():
        with closing(LateVideo(path, plan.info)) as video:
            yield from _run(segmenter, video, plan, store, analyses).again(plan, spans)


def _run(
    segmenter: Segmenter, video: LateVideo, plan: Plan, store: Store | None, analyses: Analyses
) -> ClipRun:
    return ClipRun(segmenter, video, None, plan.keep_maps, store, analyses)
