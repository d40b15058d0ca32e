"""Results in memory: masks packed small, found by frame, bounded by bytes."""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from moca_core.types import FrameResult, Mask

NOT_RUN, EMPTY, MASKS = 0, 1, 2  # states of a frame, in the order of what wins in one pixel

MASK_BYTES = 512 * 2**20
MAP_BYTES = 256 * 2**20
SAME_FROM_IOU = 0.3
_OUTLINE_TOLERANCE_PX = 0.8


@dataclass(frozen=True, eq=False)
class PackedObject:
    """A sounding object with its mask as compressed bits of its box.

    Attributes
    ----------
    number, name, score : as in `SoundingObject`.
    box : (x0, y0, x1, y1) in pixels of the frame, x1 and y1 exclusive.
    bits : zlib of the box's packed bits, rows first.
    outlines : closed polygons, (n, 2) float32 of x, y in pixels of the frame.
    """

    number: int
    name: str
    score: float
    box: tuple[int, int, int, int]
    bits: bytes
    outlines: tuple[NDArray[np.float32], ...]

    @property
    def nbytes(self) -> int:
        """Bytes that the mask takes in memory."""
        return len(self.bits) + sum(item.nbytes for item in self.outlines) + 200

    def crop(self) -> Mask:
        """(y1 - y0, x1 - x0) bool, the mask inside its box."""
        x0, y0, x1, y1 = self.box
        shape = (y1 - y0, x1 - x0)
        flat = np.unpackbits(
            np.frombuffer(zlib.decompress(self.bits), np.uint8), count=shape[0] * shape[1]
        )
        return flat.reshape(shape).astype(bool)


@dataclass(frozen=True, eq=False)
class PackedResult:
    """A `FrameResult` made small for keeping; the same words mean the same."""

    frame: int
    time_s: float
    size: tuple[int, int]
    objects: tuple[PackedObject, ...]
    reason: str
    window_s: tuple[float, float]
    key: bool
    coarse: bool
    heard: tuple[tuple[str, float], ...]
    maps: Mapping[str, NDArray] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def state(self) -> int:
        """`MASKS` or `EMPTY`."""
        return MASKS if self.objects else EMPTY

    @property
    def nbytes(self) -> int:
        """Bytes that the masks take in memory, without the maps."""
        return sum(item.nbytes for item in self.objects) + 300


def _outlines(crop: Mask, x0: int, y0: int) -> tuple[NDArray[np.float32], ...]:
    import cv2  # slow to import; only the worker needs it

    found, _ = cv2.findContours(crop.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    offset = np.array((x0 + 0.5, y0 + 0.5), np.float32)  # pixel centres
    polygons = (cv2.approxPolyDP(item, _OUTLINE_TOLERANCE_PX, True) for item in found)
    return tuple(item[:, 0, :].astype(np.float32) + offset for item in polygons if len(item) > 2)


def pack(result: FrameResult) -> PackedResult:
    """Compress a result; runs in the worker thread."""
    packed = []
    for item in result.objects:
        x0, y0, x1, y1 = item.box
        crop = item.mask[y0:y1, x0:x1]
        bits = zlib.compress(np.packbits(crop).tobytes(), 1)
        outlines = _outlines(crop, x0, y0) if crop.size else ()
        packed.append(
            PackedObject(item.number, item.name, item.score, (x0, y0, x1, y1), bits, outlines)
        )
    maps = {name: np.asarray(values) for name, values in result.maps.items()}
    return PackedResult(
        frame=result.frame,
        time_s=result.time_s,
        size=result.size,
        objects=tuple(packed),
        reason=result.reason,
        window_s=result.window_s,
        key=result.key,
        coarse=result.coarse,
        heard=result.heard,
        maps=MappingProxyType(maps),
    )


def box_iou(first: tuple[int, int, int, int], second: tuple[int, int, int, int]) -> float:
    """Intersection over union of two boxes (x0, y0, x1, y1), 0 for empty ones."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return width * height / (sum(areas) - width * height)


class ResultStore:
    """Results of one clip by frame.

    When the masks outgrow `mask_bytes`, propagated frames are dropped first, the oldest first
    (they are on disk and return with the next run); maps go by last use.
    """

    def __init__(
        self, frame_count: int, mask_bytes: int = MASK_BYTES, map_bytes: int = MAP_BYTES
    ) -> None:
        self.states: NDArray[np.uint8] = np.zeros(frame_count, np.uint8)
        self.keys: NDArray[np.bool_] = np.zeros(frame_count, bool)
        self._results: dict[int, PackedResult] = {}
        self._maps: OrderedDict[int, Mapping[str, NDArray]] = OrderedDict()
        self._mask_bytes = mask_bytes
        self._map_bytes = map_bytes
        self.bytes_used = 0
        self._map_bytes_used = 0

    def __len__(self) -> int:
        return len(self._results)

    @property
    def frames(self) -> set[int]:
        """The frames that have a result."""
        return set(self._results)

    def get(self, frame: int) -> PackedResult | None:
        """The result of exactly this frame, or None."""
        return self._results.get(frame)

    def maps(self, frame: int) -> Mapping[str, NDArray]:
        """The maps kept for `frame`, empty if none are."""
        found = self._maps.get(frame)
        if found is None:
            return {}
        self._maps.move_to_end(frame)
        return found

    def add(self, result: PackedResult) -> None:
        """Put a result in place of an older one of the same frame."""
        if not 0 <= result.frame < len(self.states):
            raise ValueError(f"frame {result.frame} of a clip of {len(self.states)}")
        self._drop(result.frame)
        if result.maps:
            self._add_maps(result.frame, result.maps)
            # The maps live in their own budget; the result itself lets go of them.
            result = PackedResult(**{**vars(result), "maps": MappingProxyType({})})
        self._results[result.frame] = result
        self.bytes_used += result.nbytes
        self.states[result.frame] = result.state
        self.keys[result.frame] = result.key
        self._trim()

    def _add_maps(self, frame: int, maps: Mapping[str, NDArray]) -> None:
        self._maps[frame] = maps
        self._map_bytes_used += sum(item.nbytes for item in maps.values())
        while self._map_bytes_used > self._map_bytes and len(self._maps) > 1:
            _, old = self._maps.popitem(last=False)
            self._map_bytes_used -= sum(item.nbytes for item in old.values())

    def _drop(self, frame: int) -> None:
        old = self._results.pop(frame, None)
        if old is not None:
            self.bytes_used -= old.nbytes
            self.states[frame] = NOT_RUN
            self.keys[frame] = False
        maps = self._maps.pop(frame, None)
        if maps is not None:
            self._map_bytes_used -= sum(item.nbytes for item in maps.values())

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

    def neighbour(self, frame: int, step: int) -> int | None:
        """The nearest frame with a result after (`step` > 0) or before `frame`, or None."""
        found = np.flatnonzero(self.states)
        later = found[found > frame] if step > 0 else found[found < frame]
        if not len(later):
            return None
        return int(later[0] if step > 0 else later[-1])

    def known_numbers(self, result: PackedResult) -> PackedResult:
        """`result` with the numbers that its objects have in this clip already.

        A run on one frame counts from 1; the same object, by its name and place in the nearest
        frame with a result, keeps its number and so its colour. Others get numbers of their own.
        """
        frames = np.flatnonzero(self.states == MASKS)
        if not len(frames) or not result.objects:
            return result
        near = self._results[int(frames[np.argmin(np.abs(frames - result.frame))])]
        free = list(near.objects)
        next_number = 1 + max(item.number for r in self._results.values() for item in r.objects)
        objects = []
        for item in result.objects:
            overlaps = [
                (box_iou(other.box, item.box), place)
                for place, other in enumerate(free)
                if other.name == item.name
            ]
            overlap, place = max(overlaps, default=(0.0, -1))
            if overlap >= SAME_FROM_IOU:
                objects.append(replace(item, number=free.pop(place).number))
            else:
                objects.append(replace(item, number=next_number))
                next_number += 1
        return replace(result, objects=tuple(objects))

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
