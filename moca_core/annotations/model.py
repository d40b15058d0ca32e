"""A frame's objects made small for keeping: what the program found, or what a person made of it.

Everything here is immutable, so that frames may be shared by the window, the history of edits and
a job that saves them.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from moca_core.types import FrameResult, Mask, ProposalNote, SoundingObject

FOUND, ACCEPTED, DRAWN, FOLLOWED = "found", "accepted", "drawn", "followed"
ORIGINS = (FOUND, ACCEPTED, DRAWN, FOLLOWED)
"""How a mask came about: by the program, which a person agreed to, by a person's hand, or by
motion from a frame that a person corrected."""

Box = tuple[int, int, int, int]
"""(x0, y0, x1, y1) in pixels of the frame, x1 and y1 exclusive."""

_OUTLINE_TOLERANCE_PX = 0.8
_OBJECT_BYTES, _FRAME_BYTES = 200, 300  # about what Python needs beside the masks


@dataclass(frozen=True, eq=False)
class PackedObject:
    """An object with its mask as compressed bits of its box.

    Attributes
    ----------
    number, name, score : as in `SoundingObject`.
    box : where the mask lies; all zero for an empty one.
    bits : zlib of the box's packed bits, rows first.
    origin : one of `ORIGINS`.
    """

    number: int
    name: str
    score: float
    box: Box
    bits: bytes
    origin: str = FOUND

    @property
    def nbytes(self) -> int:
        """Bytes that the object takes in memory, without its outlines."""
        return len(self.bits) + _OBJECT_BYTES

    def crop(self) -> Mask:
        """(y1 - y0, x1 - x0) bool, the mask inside its box."""
        x0, y0, x1, y1 = self.box
        shape = (y1 - y0, x1 - x0)
        flat = np.unpackbits(
            np.frombuffer(zlib.decompress(self.bits), np.uint8), count=shape[0] * shape[1]
        )
        return flat.reshape(shape).astype(bool)

    def mask(self, size: tuple[int, int]) -> Mask:
        """(H, W) bool, the mask in a frame of `size` (height, width)."""
        x0, y0, x1, y1 = self.box
        mask = np.zeros(size, dtype=bool)
        mask[y0:y1, x0:x1] = self.crop()
        return mask

    @cached_property
    def outlines(self) -> tuple[NDArray[np.float32], ...]:
        """Closed polygons, (n, 2) float32 of x, y in pixels of the frame."""
        corner = np.array(self.box[:2], np.float32)
        return tuple(polygon + corner for polygon in _outlines(self.crop()))


@dataclass(frozen=True, eq=False)
class PackedProposal:
    """A `ProposalNote` made small for keeping; the same words mean the same.

    Attributes
    ----------
    outlines : of its mask: closed polygons, (n, 2) float32 of x, y in pixels of the frame.
    """

    number: int
    quality: float
    stability: float
    sounds: float
    overlap: float
    taken: bool
    why: str
    outlines: tuple[NDArray[np.float32], ...]

    @property
    def nbytes(self) -> int:
        """Bytes that it takes in memory."""
        return sum(item.nbytes for item in self.outlines) + _OBJECT_BYTES


@dataclass(frozen=True, eq=False)
class PackedResult:
    """A `FrameResult` made small for keeping; the same words mean the same.

    Attributes
    ----------
    proposals : kept with the maps.
    corrected : a person changed it, or agreed to it.
    """

    frame: int
    time_s: float
    size: tuple[int, int]
    objects: tuple[PackedObject, ...] = ()
    reason: str = ""
    window_s: tuple[float, float] = (0.0, 0.0)
    key: bool = False
    coarse: bool = False
    heard: tuple[tuple[str, float], ...] = ()
    maps: Mapping[str, NDArray] = field(default_factory=lambda: MappingProxyType({}))
    proposals: tuple[PackedProposal, ...] = ()
    corrected: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes that it takes in memory, without the maps and the proposals."""
        return sum(item.nbytes for item in self.objects) + _FRAME_BYTES

    def object(self, number: int) -> PackedObject | None:
        """The object with that number, if the frame has it."""
        return next((item for item in self.objects if item.number == number), None)


def pack_mask(mask: Mask) -> tuple[Box, bytes]:
    """(H, W) bool -> the box of its pixels, all zero if there is none, and their bits."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = (0, 0, 0, 0)
    if len(rows):
        box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    x0, y0, x1, y1 = box
    return box, zlib.compress(np.packbits(mask[y0:y1, x0:x1]).tobytes(), 1)


def _outlines(mask: Mask) -> tuple[NDArray[np.float32], ...]:
    """Closed polygons, (n, 2) float32 of x, y through the centres of the pixels at the border."""
    import cv2  # slow to import, and not needed before there is a mask

    if not mask.size:
        return ()
    found, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    polygons = (cv2.approxPolyDP(item, _OUTLINE_TOLERANCE_PX, True) for item in found)
    return tuple(item[:, 0, :].astype(np.float32) + 0.5 for item in polygons if len(item) > 2)


def _packed_proposal(note: ProposalNote, size: tuple[int, int]) -> PackedProposal:
    """A note of a frame of `size` (height, width)."""
    rows, columns = note.mask.shape
    scale = np.array((size[1] / columns, size[0] / rows), np.float32)
    outlines = tuple(polygon * scale for polygon in _outlines(note.mask))
    return PackedProposal(
        *(note.number, note.quality, note.stability, note.sounds, note.overlap),
        *(note.taken, note.why, outlines),
    )


def pack(result: FrameResult) -> PackedResult:
    """Compress a result; meant for a worker thread, as outlines are found on the way."""
    packed = []
    for item in result.objects:
        box, bits = pack_mask(item.mask)
        packed.append(PackedObject(item.number, item.name, item.score, box, bits))
        _ = packed[-1].outlines
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
        proposals=tuple(_packed_proposal(note, result.size) for note in result.proposals),
    )


def unpack(result: PackedResult) -> FrameResult:
    """The result with its masks at full size, for exports."""
    return FrameResult(
        frame=result.frame,
        time_s=result.time_s,
        size=result.size,
        objects=tuple(
            SoundingObject(item.number, item.name, item.score, item.mask(result.size), item.origin)
            for item in result.objects
        ),
        reason=result.reason,
        window_s=result.window_s,
        key=result.key,
        coarse=result.coarse,
        heard=result.heard,
        maps=result.maps,
        corrected=result.corrected,
    )
