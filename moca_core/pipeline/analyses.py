"""What the encoders found in a clip, kept in memory: decisions are taken again without them.

Everything is bounded by bytes. What is kept is a little coarser than what was found (the evidence
and the motion are float16), so a border may lie a pixel elsewhere than in the run.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from moca_core.media.video import VideoInfo
from moca_core.pipeline.analysis import FrameAnalysis, Proposals
from moca_core.pipeline.hearing import Heard
from moca_core.pipeline.propagate import Motion, pixel_grid
from moca_core.pipeline.schedule import Span
from moca_core.types import RgbImage

KEY_BYTES = 2**30
MOTION_BYTES = 256 * 2**20


@dataclass(frozen=True, eq=False)
class Sight:
    """What was seen in a key frame.

    Attributes
    ----------
    analysis : what the encoders say of it.
    rgb : (H, W, 3) uint8, its picture.
    small : (h, w) uint8, the same from `small_grey`.
    seconds : the times of the stages.
    """

    analysis: FrameAnalysis
    rgb: RgbImage
    small: NDArray[np.uint8]
    seconds: dict[str, float]


@dataclass(frozen=True, eq=False)
class Plan:
    """The frames of one run.

    Attributes
    ----------
    info : the clip that it ran on.
    spans : its key frames, and the frames that follow them.
    keep_maps : it kept the intermediates of its key frames.
    done : the frames that were decided.
    """

    info: VideoInfo
    spans: tuple[Span, ...]
    keep_maps: bool
    done: set[int] = field(default_factory=set)

    @property
    def frames(self) -> set[int]:
        """All frames that it was to decide."""
        return {frame for span in self.spans for frame in span.frames}


@dataclass(frozen=True, eq=False)
class _Packed:
    """A sight made small; the picture is kept in grey, which is all that a decision looks at."""

    analysis: FrameAnalysis
    groups: NDArray[np.float16]
    masks: NDArray[np.uint8]
    grey: NDArray[np.uint8]
    small: NDArray[np.uint8]
    seconds: dict[str, float]


class _Key:
    """A key frame: what was seen there (None: nothing had to be looked at), and heard around it."""

    def __init__(self, packed: _Packed | None) -> None:
        self.packed = packed
        self.heard: dict[float, Heard | None] = {}
        self.nbytes = _nbytes(packed)


class Analyses:
    """What was found in the key frames of one clip with one configuration.

    Parameters
    ----------
    key_bytes : above it the key frames that weren't used for longest are let go.
    motion_bytes : the same for the motion between key frames, which is found again if needed.
    """

    def __init__(self, key_bytes: int = KEY_BYTES, motion_bytes: int = MOTION_BYTES) -> None:
        self.key_bytes, self.motion_bytes = key_bytes, motion_bytes
        self.nbytes = self.motion_nbytes = 0
        self._keys: OrderedDict[int, _Key] = OrderedDict()
        self._motions: OrderedDict[tuple[int, int], NDArray[np.float16]] = OrderedDict()
        self._plans: list[Plan] = []

    def __contains__(self, key: int) -> bool:
        return key in self._keys

    def __len__(self) -> int:
        return len(self._keys)

    # -- what was run -------------------------------------------------------------------------

    def begin(self, info: VideoInfo, spans: Sequence[Span], keep_maps: bool) -> Plan:
        """Note a run that begins; its frames take the place of those of earlier ones."""
        plan = Plan(info, tuple(spans), keep_maps)
        frames = plan.frames
        known = next((old for old in self._plans if old.spans == plan.spans), None)
        if known is not None:
            plan.done.update(known.done)
        self._plans = [old for old in self._plans if not old.frames <= frames]
        self._plans.append(plan)
        return plan

    def plans(self) -> list[tuple[Plan, list[Span]]]:
        """The runs in their order, each with the spans that can be decided again."""
        return [(plan, self._ready(plan)) for plan in self._plans]

    def frames(self) -> set[int]:
        """The frames that can be decided again."""
        return {
            frame
            for plan, spans in self.plans()
            for span in spans
            for frame in span.frames
            if frame in plan.done
        }

    def _ready(self, plan: Plan) -> list[Span]:
        found = []
        for span in plan.spans:
            if span.key not in self:
                continue
            whole = span.after is None or span.after in self
            last = span.last if whole else span.middle
            # A run that was stopped ends within a span.
            while last >= span.key and last not in plan.done:
                last -= 1
            if last >= span.key:
                found.append(replace(span, last=last, middle=min(span.middle, last)))
        return found

    # -- what was found -----------------------------------------------------------------------

    def keep(self, key: int, sight: Sight | None) -> None:
        """Keep a key frame; None where nothing had to be looked at, as all of it is silent."""
        self._drop(key)
        self._keys[key] = _Key(None if sight is None else _packed(sight))
        self.nbytes += self._keys[key].nbytes
        self._trim()

    def sight(self, key: int) -> Sight | None:
        """What was seen in a key frame that is kept; None if nothing was."""
        self._keys.move_to_end(key)
        packed = self._keys[key].packed
        return None if packed is None else _unpacked(packed)

    def looked_at(self, key: int) -> bool:
        """Whether a key frame is kept in which something was seen."""
        return key in self._keys and self._keys[key].packed is not None

    def knows_sound(self, key: int, moment: float) -> bool:
        """Whether it is known what was heard at a time in seconds, with a key frame."""
        return key in self._keys and moment in self._keys[key].heard

    def heard(self, key: int, moment: float) -> Heard | None:
        """What was heard at a time with a key frame; None: silence, or it isn't known."""
        return self._keys[key].heard.get(moment) if key in self._keys else None

    def note_heard(self, key: int, moment: float, heard: Heard | None) -> None:
        """Keep what was heard at a time; None: silence."""
        entry = self._keys.get(key)
        if entry is None:
            return  # let go while its frames were decided
        entry.heard[moment] = heard
        size = _nbytes(heard)
        entry.nbytes += size
        self.nbytes += size
        self._trim()

    def motion(self, key: int, frame: int) -> Motion | None:
        """How a frame came about from a key frame, if that is kept."""
        offsets = self._motions.get((key, frame))
        if offsets is None:
            return None
        self._motions.move_to_end((key, frame))
        rows, columns = offsets.shape[:2]
        return Motion(pixel_grid(rows, columns) + offsets)

    def keep_motion(self, key: int, frame: int, motion: Motion) -> None:
        """Keep how a frame came about from a key frame."""
        rows, columns = motion.origin.shape[:2]
        # The offset alone is small, so that float16 tells a thirtieth of a pixel.
        offsets = (motion.origin - pixel_grid(rows, columns)).astype(np.float16)
        old = self._motions.pop((key, frame), None)
        self.motion_nbytes += offsets.nbytes - (0 if old is None else old.nbytes)
        self._motions[key, frame] = offsets
        while self.motion_nbytes > self.motion_bytes and len(self._motions) > 1:
            _, old = self._motions.popitem(last=False)
            self.motion_nbytes -= old.nbytes

    def _drop(self, key: int) -> None:
        entry = self._keys.pop(key, None)
        if entry is not None:
            self.nbytes -= entry.nbytes

    def _trim(self) -> None:
        while self.nbytes > self.key_bytes and len(self._keys) > 1:
            self._drop(next(iter(self._keys)))


def _packed(sight: Sight) -> _Packed:
    analysis, found = sight.analysis, sight.analysis.proposals
    return _Packed(
        analysis=replace(
            analysis,
            groups=analysis.groups[:, :0, :0].copy(),
            proposals=replace(found, masks=found.masks[:, :0, :0].copy()),
        ),
        groups=analysis.groups.astype(np.float16),
        masks=np.packbits(found.masks, axis=2),
        grey=np.asarray(cv2.cvtColor(sight.rgb, cv2.COLOR_RGB2GRAY), dtype=np.uint8),
        small=sight.small,
        seconds=sight.seconds,
    )


def _unpacked(packed: _Packed) -> Sight:
    columns = packed.analysis.saliency.shape[1]
    masks = np.unpackbits(packed.masks, axis=2, count=columns).astype(bool)
    proposals: Proposals = replace(packed.analysis.proposals, masks=masks)
    groups = packed.groups.astype(np.float32)
    rgb = np.asarray(cv2.cvtColor(packed.grey, cv2.COLOR_GRAY2RGB), dtype=np.uint8)
    analysis = replace(packed.analysis, groups=groups, proposals=proposals)
    return Sight(analysis, rgb, packed.small, packed.seconds)


def _nbytes(value: Any) -> int:
    """Bytes of all arrays in a dataclass."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if is_dataclass(value):
        return sum(_nbytes(getattr(value, item.name)) for item in fields(value))
    return 0
