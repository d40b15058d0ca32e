"""Results for the frames between key frames, for videos.

A folder of results has the objects of key frames, and of others at most one mask for all. Here
the objects move with the picture from the nearer key frame, as in `moca segment --frames all`;
where the folder has a frame's mask, they are cut to it. The sound isn't judged again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from moca_core.errors import ConfigError, MediaError
from moca_core.media.audio import frame_window
from moca_core.media.video import VideoReader
from moca_core.pipeline.propagate import FlowTracker, Motion, small_grey
from moca_core.pipeline.schedule import Span, schedule
from moca_core.types import FrameResult, SoundingObject

if TYPE_CHECKING:
    from moca_core.export.reading import ClipResults

_UNKNOWN, _UNKNOWN_NUMBER = "sounding", 0
"""Name and number of what sounds and no key frame's object has come to."""


def every_frame(clip: ClipResults, video: VideoReader) -> Iterator[FrameResult]:
    """A result for every frame of the part that was segmented, ascending.

    Results of listed frames give those frames only. Frames that can't be decoded are left out.

    Raises
    ------
    StorageError : a mask is damaged.
    """
    spans = _spans(clip, video)
    if spans is None:
        yield from map(clip.result, clip.known)
        return
    first, last = ends(clip, video)
    for span in spans:
        yield from (part for part in _span(clip, video, span) if first <= part.frame <= last)


def masked_frames(clip: ClipResults, video: VideoReader) -> Iterator[FrameResult]:
    """Results for the frames with a mask on disk, ascending; raises `StorageError`."""
    if not clip.between:
        return map(clip.result, clip.known)
    return (result for result in every_frame(clip, video) if clip.has_mask(result.frame))


def explained(result: FrameResult) -> bool:
    """False if something sounds that isn't an object of a key frame."""
    return all(item.number != _UNKNOWN_NUMBER for item in result.objects)


def ends(clip: ClipResults, video: VideoReader) -> tuple[int, int]:
    """The first and the last frame that `every_frame` gives, if they can be decoded."""
    spans = _spans(clip, video)
    if not spans:
        return clip.known[0], clip.known[-1]
    first, last = spans[0].key, spans[-1].last
    return (
        (first, last) if clip.span is None else (max(first, clip.span[0]), min(last, clip.span[1]))
    )


def _spans(clip: ClipResults, video: VideoReader) -> list[Span] | None:
    """The run's plan again; None where single frames were asked for, or it isn't known."""
    request = clip.request
    if request.get("frames") not in ("keys", "all"):
        return None
    try:
        every_s = float(request["every_s"])
        spans = schedule(video.info, "all", every_s, request["start_s"], request["end_s"])
    except (ConfigError, LookupError, TypeError, ValueError):
        return None
    if not clip.complete:
        # A run that was stopped has no results after its last key frame.
        last = max(clip.rows)
        spans = [span for span in spans if span.key <= last]
        spans = [*spans[:-1], replace(spans[-1], last=last, middle=last)] if spans else []
    if not clip.rows.keys() <= {span.key for span in spans}:
        return None
    first, last = clip.span or (0, spans[-1].last)
    return [span for span in spans if span.key <= last and span.last >= first]


def _span(clip: ClipResults, video: VideoReader, span: Span) -> Iterator[FrameResult]:
    """The frames from a key frame up to the next one."""
    if span.key in clip.rows:
        yield clip.result(span.key)
    forward = range(span.key + 1, min(span.middle, span.last) + 1)
    for number, motion in _moved(clip, video, span.key, forward):
        yield _result(clip, video, number, span.key, motion)
    if span.after is None:
        return
    # Backwards from the next key frame; `schedule` bounds how many.
    back = range(span.last, span.middle, -1)
    motions = dict(_moved(clip, video, span.after, back))
    for number in sorted(motions):
        yield _result(clip, video, number, span.after, motions[number])


def _moved(
    clip: ClipResults, video: VideoReader, key: int, numbers: range
) -> Iterator[tuple[int, Motion | None]]:
    """Frames away from a key frame with how the picture moved since; None if nothing could."""
    if not (key in clip.rows and clip.rows[key]["objects"]):
        yield from ((number, None) for number in numbers)
        return
    if numbers.step < 0:
        # One pass through the file: reading backwards would decode pictures many times.
        greys = dict(_greys(video, numbers[::-1]))
        tracker = FlowTracker(small_grey(video.frame(key)))
        yield from ((number, tracker.step(greys[number])) for number in numbers if number in greys)
        return
    tracker = FlowTracker(small_grey(video.frame(key)))
    yield from ((number, tracker.step(grey)) for number, grey in _greys(video, numbers))


def _greys(video: VideoReader, numbers: range) -> Iterator[tuple[int, np.ndarray]]:
    for number in numbers:
        try:
            yield number, small_grey(video.frame(number))
        except MediaError:
            continue


def _result(
    clip: ClipResults, video: VideoReader, number: int, key: int, motion: Motion | None
) -> FrameResult:
    """The result of a frame that follows a key frame."""
    near = clip.result(key) if key in clip.rows else None
    objects = motion.move(near.objects) if near is not None and motion is not None else ()
    if clip.has_mask(number):
        objects = _cut(objects, clip.union(number))
    time_s = video.time_of(number)
    window_s = near.window_s if near is not None else (0.0, 0.0)
    length_s = window_s[1] - window_s[0]
    return FrameResult(
        frame=number,
        time_s=time_s,
        size=clip.size,
        objects=objects,
        window_s=frame_window(time_s, length_s, video.info.duration_s),
        key=False,
        heard=near.heard if near is not None else (),
        reason="" if objects or near is None else near.reason,
    )


def _cut(objects: tuple[SoundingObject, ...], union: np.ndarray) -> tuple[SoundingObject, ...]:
    """Objects within a mask; what of it no object covers is one without a name."""
    inside = [replace(item, mask=item.mask & union) for item in objects]
    found = [item for item in inside if item.mask.any()]
    rest = union.copy()
    for item in found:
        rest &= ~item.mask
    if rest.any():
        found.append(SoundingObject(_UNKNOWN_NUMBER, _UNKNOWN, 0.0, rest))
    return tuple(found)
