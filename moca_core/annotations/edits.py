"""What a person can do to frames, as edits: nothing is changed in place.

Every function takes frames as they are shown, corrected or not, and gives an `Edit` with the
frames that it changes. A pixel belongs to one object: where a mask is put over another one, the
other one loses the pixel, and an object without a pixel is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from moca_core.annotations.history import Edit
from moca_core.annotations.model import (
    ACCEPTED,
    DRAWN,
    FOUND,
    Box,
    PackedObject,
    PackedResult,
    pack_mask,
)
from moca_core.types import REASON_NO_OBJECT, Mask

Shown = Iterable[PackedResult]
"""Frames as they are shown."""


def accept(frames: Shown, numbers: Iterable[int] | None = None) -> Edit:
    """Agree to the objects `numbers` (None: to all, or to there being none) of the frames."""
    chosen = None if numbers is None else set(numbers)

    def agreed(item: PackedObject) -> PackedObject:
        if item.origin != FOUND or (chosen is not None and item.number not in chosen):
            return item
        return replace(item, origin=ACCEPTED)

    after = {}
    for frame in frames:
        objects = tuple(map(agreed, frame.objects))
        same = all(new is old for new, old in zip(objects, frame.objects, strict=True))
        if not same or (chosen is None and not frame.corrected):
            after[frame.frame] = _with(frame, objects)
    return Edit(f"accept {_named(chosen)}", after)


def reject(frames: Shown, numbers: Iterable[int]) -> Edit:
    """Take the objects `numbers` out of the frames: they don't sound."""
    chosen = set(numbers)
    return _each(f"reject {_named(chosen)}", frames, lambda item: item.number not in chosen)


def rename(frames: Shown, number: int, name: str) -> Edit:
    """Call object `number` `name` in the frames."""
    after = {}
    for frame in frames:
        item = frame.object(number)
        if item is not None and item.name != name:
            after[frame.frame] = _replaced(frame, replace(item, name=name))
    return Edit(f"rename {number} to {name}", after)


def merge(frames: Shown, numbers: Sequence[int], name: str = "") -> Edit:
    """Make one object of `numbers` in each frame: the first of them that the frame has.

    The objects keep the number and the name of the first of `numbers`, also where that one isn't
    in the frame itself, so that the joined object is one along the clip. `name` is that name, by
    default the first that it has in the frames.
    """
    frames = list(frames)
    name = name or name_of(frames, numbers[0])
    after = {}
    for frame in frames:
        parts = [item for number in numbers if (item := frame.object(number)) is not None]
        if not parts or (len(parts) == 1 and parts[0].number == numbers[0]):
            continue
        first = parts[0]
        if len(parts) > 1:
            box, bits = _joined(parts)
            score = max(item.score for item in parts)
            first = replace(first, box=box, bits=bits, score=score, origin=DRAWN)
        first = replace(first, number=numbers[0], name=name or first.name)
        place = frame.objects.index(parts[0])
        objects = [item for item in frame.objects if item not in parts]
        objects.insert(min(place, len(objects)), first)
        after[frame.frame] = _with(frame, objects)
    return Edit(f"merge {', '.join(map(str, numbers))}", after)


def _joined(parts: Sequence[PackedObject]) -> tuple[Box, bytes]:
    """The masks as one, unpacked no larger than they are."""
    edges = np.array([item.box for item in parts])
    left, top = edges[:, :2].min(axis=0)
    right, bottom = edges[:, 2:].max(axis=0)
    mask = np.zeros((bottom - top, right - left), dtype=bool)
    for item in parts:
        x0, y0, x1, y1 = item.box
        mask[y0 - top : y1 - top, x0 - left : x1 - left] |= item.crop()
    return (int(left), int(top), int(right), int(bottom)), pack_mask(mask)[1]


def name_of(frames: Shown, number: int) -> str:
    """What object `number` is called in the first of the frames that has it; empty if none has."""
    found = (item for frame in frames if (item := frame.object(number)) is not None)
    return next((item.name for item in found), "")


def split(frame: PackedResult, number: int, parts: Sequence[Mask], free: int) -> Edit:
    """Make the masks `parts` (H, W) of object `number` objects of their own.

    The largest keeps the number; the others are counted from `free`.
    """
    item = frame.object(number)
    parts = sorted((part for part in parts if part.any()), key=lambda part: -int(part.sum()))
    if item is None or len(parts) < 2:
        return Edit("", {})
    numbers = [number, *range(free, free + len(parts) - 1)]
    made = [_drawn(item, part, new) for part, new in zip(parts, numbers, strict=True)]
    place = frame.objects.index(item)
    objects = [*frame.objects[:place], *made, *frame.objects[place + 1 :]]
    return Edit(f"split {number}", {frame.frame: _with(frame, objects)})


def separate_parts(mask: Mask) -> list[Mask]:
    """The parts of a mask (H, W) that don't touch each other, the largest first."""
    import cv2  # slow to import

    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8))
    areas = stats[1:count, cv2.CC_STAT_AREA]
    return [np.asarray(labels == part + 1) for part in np.argsort(-areas, kind="stable")]


def put_mask(
    frame: PackedResult, item: PackedObject, mask: Mask, title: str, origin: str = DRAWN
) -> Edit:
    """Give the frame's object of `item`'s number the mask (H, W), or add the object with it.

    An empty mask takes the object out.
    """
    return Edit(title, {frame.frame: with_mask(frame, item, mask, origin)})


def with_mask(
    frame: PackedResult, item: PackedObject, mask: Mask, origin: str = DRAWN
) -> PackedResult:
    """The frame in which the object of `item`'s number has the mask (H, W); see `put_mask`."""
    box, bits = pack_mask(mask)
    new = replace(item, box=box, bits=bits, origin=origin)
    objects = []
    for other in frame.objects:
        if other.number == item.number:
            continue
        objects.append(_without(other, mask, frame.size) if _meet(other.box, box) else other)
    place = next(
        (k for k, other in enumerate(frame.objects) if other.number == item.number), len(objects)
    )
    objects.insert(place, new)
    return _with(frame, objects)


def put_object(frame: PackedResult, item: PackedObject, title: str) -> Edit:
    """Put an object as it is into the frame, over what lies there (from another frame, say)."""
    return put_mask(frame, item, item.mask(frame.size), title, item.origin)


def revert(frames: Shown) -> Edit:
    """Let the program's own results stand in the frames again."""
    return Edit("take corrections back", {frame.frame: None for frame in frames if frame.corrected})


def blank(frame: int, time_s: float, size: tuple[int, int]) -> PackedResult:
    """A frame that wasn't run, for a person to draw on."""
    return PackedResult(frame, time_s, size, reason=REASON_NO_OBJECT)


def _each(title: str, frames: Shown, kept: Callable[[PackedObject], bool]) -> Edit:
    after = {}
    for frame in frames:
        objects = tuple(filter(kept, frame.objects))
        if len(objects) < len(frame.objects):
            after[frame.frame] = _with(frame, objects)
    return Edit(title, after)


def _with(frame: PackedResult, objects: Iterable[PackedObject]) -> PackedResult:
    """The frame with other objects, as a person's; those without a pixel are left out."""
    there = tuple(item for item in objects if item.box != (0, 0, 0, 0))
    reason = "" if there else frame.reason or REASON_NO_OBJECT
    return replace(frame, objects=there, reason=reason, coarse=False, corrected=True)


def _replaced(frame: PackedResult, new: PackedObject) -> PackedResult:
    objects = (new if item.number == new.number else item for item in frame.objects)
    return _with(frame, objects)


def _drawn(item: PackedObject, mask: Mask, number: int) -> PackedObject:
    box, bits = pack_mask(mask)
    return replace(item, number=number, box=box, bits=bits, origin=DRAWN)


def _without(item: PackedObject, mask: Mask, size: tuple[int, int]) -> PackedObject:
    """The object without the pixels of a mask; itself if it has none of them."""
    own = item.mask(size)
    rest = own & ~mask
    if int(rest.sum()) == int(own.sum()):
        return item
    box, bits = pack_mask(rest)
    return replace(item, box=box, bits=bits)


def _meet(first: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    wide = min(first[2], other[2]) > max(first[0], other[0])
    return wide and min(first[3], other[3]) > max(first[1], other[1])


def _named(numbers: set[int] | None) -> str:
    return "the frame" if numbers is None else ", ".join(map(str, sorted(numbers)))
