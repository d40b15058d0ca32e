"""The plain data that crosses module and thread borders. Nothing here computes or imports torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
"""(H, W) bool, True on the object."""

RgbImage = NDArray[np.uint8]
"""(H, W, 3) uint8, RGB, top row first."""

FloatMap = NDArray[np.float32]
"""(h, w) float32, a value per location."""

# Why a frame has no mask. The GUI and the exports show these words.
REASON_NO_AUDIO = "no audio track"
REASON_SILENT = "silent"
REASON_NO_OBJECT = "no sounding object"

_NO_MAPS: Mapping[str, NDArray] = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class SoundingObject:
    """One object that makes the sound in one frame.

    Attributes
    ----------
    number : 1-based, stable along a clip for as long as the object is followed.
    name : its sound group (`dog`, `person`), in words for the user.
    score : 0 to 1, how sure the program is that it sounds.
    mask : (H, W) bool at the frame's own size.
    origin : how the mask came about, one of `annotations.model.ORIGINS`.
    """

    number: int
    name: str
    score: float
    mask: Mask
    origin: str = "found"

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(x0, y0, x1, y1) in pixels, x1 and y1 exclusive; all zero for an empty mask."""
        rows = np.flatnonzero(self.mask.any(axis=1))
        if not len(rows):
            return (0, 0, 0, 0)
        columns = np.flatnonzero(self.mask.any(axis=0))
        return (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


@dataclass(frozen=True, eq=False)
class ProposalNote:
    """A mask proposal of a key frame, and why it was taken or not.

    Attributes
    ----------
    number : from 1, as in the map `proposals`; the best predicted IoU first.
    quality : the IoU that SAM predicts of it.
    stability : SAM's stability score, 0 to 1.
    sounds : how surely it sounds by its looks, 0 to about 1; see `regions.sounding_value`.
    overlap : expected IoU of it alone with the sounding region, 0 to 1.
    taken : it is part of the answer.
    why : in words for the user.
    mask : (h, w) bool over the whole frame, on the working grid.
    """

    number: int
    quality: float
    stability: float
    sounds: float
    overlap: float
    taken: bool
    why: str
    mask: Mask


@dataclass(frozen=True, eq=False)
class FrameResult:
    """What the program found in one frame.

    Attributes
    ----------
    frame : frame number, from 0.
    time_s : its presentation time on the clip's clock.
    size : (height, width) of the frame in pixels.
    objects : the sounding objects, the loudest evidence first; empty with a `reason`.
    reason : why there is no object (one of the `REASON_` words), else "".
    window_s : (start, stop) of the audio window in seconds on the clip's clock.
    key : True where the encoders ran, False where masks were propagated by optical flow.
    between : of a propagated frame, the key frames before and after it; -1 if none follows.
    coarse : True where no proposal matched and a refined region stands in.
    heard : the sound groups that were heard with their weights, the loudest first.
    maps : intermediates by name (`evidence`, `saliency`, `clusters`, ...), (h, w) arrays over
        the whole frame, kept only when asked for.
    proposals : what became of each mask proposal, kept with the maps.
    seconds : wall-clock time by stage.
    corrected : a person changed it, or agreed to it.
    """

    frame: int
    time_s: float
    size: tuple[int, int]
    objects: tuple[SoundingObject, ...] = ()
    reason: str = ""
    window_s: tuple[float, float] = (0.0, 0.0)
    key: bool = True
    between: tuple[int, ...] = ()
    coarse: bool = False
    heard: tuple[tuple[str, float], ...] = ()
    maps: Mapping[str, NDArray] = field(default_factory=lambda: _NO_MAPS)
    proposals: tuple[ProposalNote, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    corrected: bool = False

    @property
    def union(self) -> Mask:
        """(H, W) bool, the pixels of all sounding objects."""
        mask = np.zeros(self.size, dtype=bool)
        for item in self.objects:
            mask |= item.mask
        return mask


@dataclass(frozen=True, eq=False)
class Prediction:
    """What is claimed to sound in one picture, for the evaluation.

    Attributes
    ----------
    mask : (H, W) bool, the final decision.
    soft : (H, W) float32 in [0, 1], how strongly each pixel is claimed; all zero if none is.
    reason : why the mask is empty, else "".
    agreement : how well what is heard matches what is seen; None from what doesn't listen.
    objects : what the mask consists of, with names; empty from what names nothing.
    """

    mask: Mask
    soft: FloatMap
    reason: str = ""
    agreement: float | None = None
    objects: tuple[SoundingObject, ...] = ()


Wave = NDArray[np.float32]
"""(n,) float32 mono sound in [-1, 1]."""

Listen = Callable[[Wave], Prediction]
"""A sound -> what sounds in a picture that was looked at before."""


@dataclass(frozen=True)
class ReportEvent:
    """The last event of a job that scores: its result, in the shape of the command's `--json`."""

    report: dict[str, Any]


@dataclass(frozen=True)
class StageEvent:
    """A long job says what it does now. `total` 0 means that the end isn't known."""

    stage: str
    done: int = 0
    total: int = 0


@dataclass(frozen=True, eq=False)
class FrameEvent:
    """A frame is finished. `done` of `total` frames of the job; `stored` if it came from disk."""

    result: FrameResult
    done: int
    total: int
    stored: bool = False


@dataclass(frozen=True)
class NoteEvent:
    """Something the user should know, that doesn't stop the job (shown in the log)."""

    message: str


@dataclass(frozen=True, eq=False)
class Scores:
    """The values of a key frame that the thresholds of `MatchSettings` cut.

    Attributes
    ----------
    agreement : how well what is heard matches what is seen.
    weights : (n,) how loudly the groups are heard that can be named, sum at most 1.
    region : (k,) some of the sounding region's values, 0 to 1, evenly from all over the frame.
    fit : (0 or 1,) expected IoU of the best proposals with the region, if it came to that.
    shares : (c,) how surely each of them sounds, as a share of the one that does most.
    """

    agreement: float
    weights: NDArray[np.float32]
    region: NDArray[np.float32]
    fit: NDArray[np.float32]
    shares: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ScoresEvent:
    """What the thresholds cut in a key frame, told before its `FrameEvent`."""

    frame: int
    scores: Scores


SegmentEvent = StageEvent | FrameEvent | NoteEvent | ScoresEvent
