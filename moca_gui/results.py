"""Results in memory: masks packed small, found by frame, bounded by bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from moca_core.annotations.model import Box, PackedProposal, PackedResult

# States of a frame, in the order of what wins in one pixel.
NOT_RUN, EMPTY, MASKS, CORRECTED = 0, 1, 2, 3

MASK_BYTES = 512 * 2**20
MAP_BYTES = 256 * 2**20
SAME_FROM_IOU = 0.3


def box_iou(first: Box, second: Box) -> float:
    """Intersection over union of two boxes (x0, y0, x1, y1), 0 for empty ones."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return width * height / (sum(areas) - width * height)


@dataclass(frozen=True, eq=False)
class _Looked:
    """What can be looked at in a key frame beside its masks."""

    maps: Mapping[str, NDArray] = field(default_factory=dict)
    proposals: tuple[PackedProposal, ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes that they take in memory."""
        maps = sum(item.nbytes for item in self.maps.values())
        return maps + sum(item.nbytes for item in self.proposals)


_NOTHING = _Looked()


class ResultStore:
    """Results of one clip by frame.

    When the masks outgrow `mask_bytes`, propagated frames are dropped first, the oldest first
    (they are on disk and return with the next run); maps and proposals go by last use.
    """

    def __init__(
        self, frame_count: int, mask_bytes: int = MASK_BYTES, map_bytes: int = MAP_BYTES
    ) -> None:
        self.states: NDArray[np.uint8] = np.zeros(frame_count, np.uint8)
        self.keys: NDArray[np.bool_] = np.zeros(frame_count, bool)
        self._results: dict[int, PackedResult] = {}
        self._looked: OrderedDict[int, _Looked] = OrderedDict()
        self._mask_bytes = mask_bytes
        self._map_bytes = map_bytes
        self.bytes_used = 0
        self._map_bytes_used = 0

    def __len__(self) -> int:
        return len(self._results)

    def grow(self, frame_count: int) -> None:
        """Make room for the frames of a clip that has more of them than was known."""
        more = frame_count - len(self.states)
        self.states = np.pad(self.states, (0, more))
        self.keys = np.pad(self.keys, (0, more))

    @property
    def frames(self) -> set[int]:
        """The frames that have a result."""
        return set(self._results)

    def by_frame(self) -> dict[int, PackedResult]:
        """All results by their frames, as a copy that stays as it is."""
        return dict(self._results)

    def get(self, frame: int) -> PackedResult | None:
        """The result of exactly this frame, or None."""
        return self._results.get(frame)

    def maps(self, frame: int) -> Mapping[str, NDArray]:
        """The maps kept for `frame`, empty if none are."""
        return self._look(frame).maps

    def proposals(self, frame: int) -> tuple[PackedProposal, ...]:
        """What became of the proposals of `frame`; empty where its maps aren't kept."""
        return self._look(frame).proposals

    def _look(self, frame: int) -> _Looked:
        if frame in self._looked:
            self._looked.move_to_end(frame)
        return self._looked.get(frame, _NOTHING)

    def add(self, result: PackedResult) -> None:
        """Put a result in place of an older one of the same frame."""
        if not 0 <= result.frame < len(self.states):
            raise ValueError(f"frame {result.frame} of a clip of {len(self.states)}")
        self._drop(result.frame)
        if result.maps:
            self._add_looked(result.frame, _Looked(result.maps, result.proposals))
            # They live in a budget of their own; the result itself lets go of them.
            result = replace(result, maps=MappingProxyType({}), proposals=())
        self._results[result.frame] = result
        self.bytes_used += result.nbytes
        self.states[result.frame] = MASKS if result.objects else EMPTY
        self.keys[result.frame] = result.key
        self._trim()

    def _add_looked(self, frame: int, looked: _Looked) -> None:
        self._looked[frame] = looked
        self._map_bytes_used += looked.nbytes
        while self._map_bytes_used > self._map_bytes and len(self._looked) > 1:
            _, old = self._looked.popitem(last=False)
            self._map_bytes_used -= old.nbytes

    def _drop(self, frame: int) -> None:
        old = self._results.pop(frame, None)
        if old is not None:
            self.bytes_used -= old.nbytes
            self.states[frame] = NOT_RUN
            self.keys[frame] = False
        looked = self._looked.pop(frame, None)
        if looked is not None:
            self._map_bytes_used -= looked.nbytes

    def _trim(self) -> None:
        if self.bytes_used <= self._mask_bytes:
            return
        newest = next(reversed(self._results))
        propagated = [f for f, r in self._results.items() if not r.key and f != newest]
        keys = [f for f, r in self._results.items() if r.key and f != newest]
        for frame in propagated + keys:
            # Down to nine tenths, so that the next frames don't trim again one by one.
            if self.bytes_used <= 0.9 * self._mask_bytes:
                return
            self._drop(frame)

    def values(self) -> Iterable[PackedResult]:
        """All results, in no order."""
        return self._results.values()

    def known_numbers(
        self,
        result: PackedResult,
        known: dict[int, int] | None = None,
        free: Callable[[], int] = lambda: 1,
    ) -> PackedResult:
        """`result` with the numbers that its objects have in this clip already.

        A run on a part of the clip counts from 1; the same object, by its name and place in the
        nearest frame with a result, keeps its number and so its colour. Others get numbers of
        their own, from `free` on.

        Parameters
        ----------
        known : numbers of the same run with those in the clip; what is found here is added.
        """
        known = {} if known is None else known
        if any(item.number not in known for item in result.objects):
            self._meet(result, known, free)
        objects = (replace(item, number=known[item.number]) for item in result.objects)
        return replace(result, objects=tuple(objects))

    def _meet(self, result: PackedResult, known: dict[int, int], free: Callable[[], int]) -> None:
        """Find numbers for the objects of a run that it hasn't shown before."""
        frames = np.flatnonzero(self.states == MASKS)
        if not len(frames):
            known.update((item.number, item.number) for item in result.objects)
            return
        near = self._results[int(frames[np.argmin(np.abs(frames - result.frame))])]
        others = [item for item in near.objects if item.number not in known.values()]
        used = (item.number for other in self._results.values() for item in other.objects)
        next_number = max(free(), 1 + max(used), 1 + max(known.values(), default=0))
        for item in result.objects:
            if item.number in known:
                continue
            overlaps = [
                (box_iou(other.box, item.box), place)
                for place, other in enumerate(others)
                if other.name == item.name
            ]
            overlap, place = max(overlaps, default=(0.0, -1))
            if overlap >= SAME_FROM_IOU:
                known[item.number] = others.pop(place).number
            else:
                known[item.number] = next_number
                next_number += 1

    def keep(self, frames: set[int]) -> bool:
        """Forget all results but those of `frames`; whether there were others."""
        others = self.frames - frames
        for frame in others:
            self._drop(frame)
        return bool(others)

    def clear(self) -> None:
        """Forget everything."""
        for frame in list(self._results):
            self._drop(frame)
