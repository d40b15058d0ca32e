"""A correction carried along the clip: the objects of one frame follow the motion of the picture.

Every frame is traced back to the frame that was corrected (METHOD.md section 7.5), so a mask is
moved once, however far it goes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from moca_core.annotations.edits import blank, with_mask
from moca_core.annotations.model import ACCEPTED, DRAWN, FOLLOWED, PackedObject, PackedResult
from moca_core.errors import MediaError
from moca_core.types import (
    REASON_NO_AUDIO,
    REASON_SILENT,
    Mask,
    RgbImage,
    SoundingObject,
    StageEvent,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moca_core.pipeline.propagate import FlowTracker

LOST, SPOKEN = "lost", "spoken"
"""Why an object isn't followed further: it can't be seen any more, or a person has spoken about
it in the next frame."""

_AHEAD = 128
"""Frames read at once on the way back: a clip is read forwards, and only small grey pictures of
these are kept."""


_UNLIKE, _CORRELATED = 0.5, 0.75
"""Lost where the grey values differ from what was expected by more than this share of their
spread, and correlate less. Measured on ten real clips: this finds 99 % of cuts between them, and
0.2 % of the steps inside them, all in three clips with a shaking camera or cuts of their own."""
_FLAT = 5.0
"""A lower spread is noise."""
_FEW = 10
"""So few small pixels tell nothing."""


class Pictures(Protocol):
    """What is needed of `VideoReader`."""

    def frame(self, index: int) -> RgbImage:
        """Frame `index`, (H, W, 3) uint8."""
        ...

    def time_of(self, index: int) -> float:
        """Its presentation time in seconds."""
        ...


@dataclass(frozen=True, eq=False)
class Followed:
    """A frame that was reached.

    Attributes
    ----------
    frame : its number.
    result : the frame with the objects, None where it was left as it is: it is silent, can't be
        decoded, or has none of them any more.
    silent : it was left because no sound is there.
    done, total : of the frames on the way.
    """

    frame: int
    result: PackedResult | None
    silent: bool
    done: int
    total: int


@dataclass(frozen=True)
class Stopped:
    """An object isn't followed further than to before `frame`; `why` is `LOST` or `SPOKEN`."""

    number: int
    frame: int
    why: str


@dataclass(frozen=True, eq=False)
class Way:
    """What is followed, and where to.

    Attributes
    ----------
    source : the frame that it is followed from.
    numbers : the objects.
    frames : the frames to reach, neighbours in their order away from the source.
    shown : what is shown of them; a frame that isn't there wasn't run.
    spoken : by number, the frames in which a person has spoken about an object.
    in_silence : frames without a sound get masks, too.
    """

    source: PackedResult
    numbers: Sequence[int]
    frames: range
    shown: Mapping[int, PackedResult]
    spoken: Mapping[int, Collection[int]]
    in_silence: bool = False


def follow(video: Pictures, way: Way) -> Iterator[StageEvent | Followed | Stopped]:
    """Yield each frame on the way with the objects where motion has moved them.

    An object is followed until it is lost, or up to before the next frame in which a person has
    spoken about it: their word stands. A frame that can't be decoded is passed over.
    """
    from moca_core.pipeline.propagate import FlowTracker, small_grey  # OpenCV is slow to import

    size = way.source.size
    packed = {item.number: item for item in way.source.objects if item.number in way.numbers}
    objects = {
        number: SoundingObject(number, item.name, item.score, item.mask(size))
        for number, item in packed.items()
    }
    tracker = FlowTracker(small_grey(video.frame(way.source.frame)))
    for item in _greys(video, way.frames):
        if isinstance(item, StageEvent):
            yield item
            continue
        frame, grey = item
        for number in [number for number in objects if frame in way.spoken.get(number, ())]:
            del objects[number]
            yield Stopped(number, frame, SPOKEN)
        moved: list[SoundingObject] = []
        if grey is not None:
            moved = _seen(tracker, grey, tuple(objects.values()))
            for number in objects.keys() - {item.number for item in moved}:
                del objects[number]
                yield Stopped(number, frame, LOST)
        if not objects:
            return
        shown = way.shown.get(frame) or blank(frame, video.time_of(frame), size)
        silent = not way.in_silence and shown.reason in (REASON_SILENT, REASON_NO_AUDIO)
        result = None
        if moved and not silent:
            result = _with_moved(shown, moved, packed)
        done = way.frames.index(frame) + 1
        yield Followed(frame, result, silent, done, len(way.frames))


def _seen(
    tracker: FlowTracker, grey: NDArray[np.uint8], objects: Sequence[SoundingObject]
) -> list[SoundingObject]:
    """The objects where they are in the next frame, those of them that are still to be seen."""
    moved = tracker.step(grey).move(objects)
    expected = tracker.expected()
    return [item for item in moved if _is_alike(expected, grey, item.mask)]


def _is_alike(expected: NDArray[np.uint8], grey: NDArray[np.uint8], mask: Mask) -> bool:
    """Whether a frame (h, w) shows under a mask (H, W) what motion has brought there.

    False after a cut. Light that changes leaves the pattern alike, and a smooth object, which has
    no pattern, its brightness.
    """
    import cv2

    height, width = grey.shape
    small = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    inside = np.asarray(small) > 0.5
    first, second = (picture[inside].astype(np.float32) for picture in (expected, grey))
    if len(first) < _FEW:
        return True
    spread = max(float(first.std()), _FLAT)
    if float(np.abs(first - second).mean()) <= _UNLIKE * spread:
        return True
    both = float(first.std() * second.std())
    shared = float(((first - first.mean()) * (second - second.mean())).mean())
    return shared > _CORRELATED * max(both, _FLAT**2)


def _with_moved(
    shown: PackedResult, moved: Sequence[SoundingObject], packed: Mapping[int, PackedObject]
) -> PackedResult:
    for item in moved:
        shown = with_mask(shown, packed[item.number], item.mask, FOLLOWED)
    return shown


def _greys(
    video: Pictures, frames: range
) -> Iterator[StageEvent | tuple[int, NDArray[np.uint8] | None]]:
    """The small grey pictures of frames, None of one that can't be decoded, in their order."""
    if frames.step > 0:
        for frame in frames:
            yield frame, _grey(video, frame)
        return
    for first in range(0, len(frames), _AHEAD):
        some = frames[first : first + _AHEAD]
        held = {}
        for frame in reversed(some):
            held[frame] = _grey(video, frame)
            yield StageEvent("reading back", first, len(frames))
        for frame in some:
            yield frame, held.pop(frame)


def _grey(video: Pictures, frame: int) -> NDArray[np.uint8] | None:
    from moca_core.pipeline.propagate import small_grey

    try:
        return small_grey(video.frame(frame))
    except MediaError:
        return None


def frames_spoken(
    corrected: Mapping[int, PackedResult], found: Mapping[int, PackedResult], number: int
) -> set[int]:
    """The frames in which a person has spoken about object `number`.

    They drew it or accepted it, took it out, or said that nothing sounds there.

    Parameters
    ----------
    corrected, found : frames of people, and what the program found.
    """
    spoken = set()
    for frame, item in corrected.items():
        own, automatic = item.object(number), found.get(frame)
        if own is not None:
            said = own.origin in (ACCEPTED, DRAWN)
        else:
            said = not item.objects or (
                automatic is not None and automatic.object(number) is not None
            )
        if said:
            spoken.add(frame)
    return spoken
