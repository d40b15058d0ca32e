"""Numbers that stay with the objects of a clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from moca_core.types import Mask, SoundingObject

_SAME_OBJECT = 0.3
"""IoU from which objects of one name, seen one after the other, are the same object."""
_SIDE = 256
_REMEMBERED = 256
"""Objects that are remembered; the one not seen for longest is forgotten."""


@dataclass(frozen=True, eq=False)
class _Seen:
    """Where an object was seen last, on a small picture: a long clip has many objects."""

    name: str
    mask: Mask


class Numbering:
    """Gives objects numbers: that of the last object of their name that they overlap, or a new one.

    The numbers follow from the frames alone, in their order. So they are the same whether a frame
    was computed now or by an earlier run that was interrupted.

    Parameters
    ----------
    first : the first new number.
    """

    def __init__(self, first: int = 1) -> None:
        self.following = first
        """The next new number."""
        self._seen: dict[int, _Seen] = {}
        self._links: dict[int, int] = {}

    def begin_span(self) -> None:
        """The numbers that objects bring have another meaning from now on."""
        self._links = {}

    def follow(self, objects: Sequence[SoundingObject]) -> tuple[SoundingObject, ...]:
        """The objects of the next frame, whose numbers tell which object is which in this span."""
        taken: dict[int, int] = {}  # number in the clip -> index of the object that has it
        for index, item in enumerate(objects):
            number = self._links.get(item.number)
            if number is not None:
                taken.setdefault(number, index)
        unknown = [index for index in range(len(objects)) if index not in taken.values()]
        free = {number: seen for number, seen in self._seen.items() if number not in taken}
        new = self._numbers([objects[index] for index in unknown], free)
        numbers = {index: number for number, index in taken.items()}
        for index, number in zip(unknown, new, strict=True):
            self._links[objects[index].number] = numbers[index] = number
        return self._note(objects, [numbers[index] for index in range(len(objects))])

    def assign(self, objects: Sequence[SoundingObject]) -> tuple[SoundingObject, ...]:
        """The objects of the next frame, of which nothing is known but their names and masks."""
        return self._note(objects, self._numbers(objects, self._seen))

    def _note(
        self, objects: Sequence[SoundingObject], numbers: Sequence[int]
    ) -> tuple[SoundingObject, ...]:
        for item, number in zip(objects, numbers, strict=True):
            self._seen.pop(number, None)  # so that the order is that of the last sight
            self._seen[number] = _Seen(item.name, _small(item.mask))
        for number in list(self._seen)[:-_REMEMBERED]:
            del self._seen[number]
        return tuple(
            SoundingObject(number, item.name, item.score, item.mask)
            for item, number in zip(objects, numbers, strict=True)
        )

    def _numbers(self, objects: Sequence[SoundingObject], free: dict[int, _Seen]) -> list[int]:
        """A number for each object; the pairs that overlap most find each other first."""
        pairs = []
        for index, item in enumerate(objects):
            mask = _small(item.mask)
            for number, seen in free.items():
                if seen.name == item.name and (iou := _iou(mask, seen.mask)) > _SAME_OBJECT:
                    pairs.append((-iou, index, number))
        found: dict[int, int] = {}
        for _, index, number in sorted(pairs):
            if index not in found and number not in found.values():
                found[index] = number
        for index in range(len(objects)):
            if index not in found:
                found[index] = self.following
                self.following += 1
        return [found[index] for index in range(len(objects))]


def _small(mask: Mask) -> Mask:
    """The mask with its longer side at most 256 pixels; the smallest object keeps a pixel."""
    scale = _SIDE / max(mask.shape)
    if scale >= 1:
        return mask
    size = max(1, round(mask.shape[1] * scale)), max(1, round(mask.shape[0] * scale))
    values = np.ascontiguousarray(mask).view(np.uint8) * np.uint8(255)
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_AREA)) > 0


def _iou(one: Mask, other: Mask) -> float:
    """IoU of two masks; 0 for masks of different sizes."""
    if one.shape != other.shape:
        return 0.0
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 0.0
