"""Numbers of objects: what a later run finds doesn't take those that people gave to others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from moca_core.annotations.model import ACCEPTED, FOUND, PackedObject, PackedResult


class NumbersApart:
    """Keeps the numbers of runs on one clip apart from those of other objects in corrected frames.

    A run counts from 1. Its object is the one that has its number in corrected frames if the
    program found that one, or if they share a name; else it gets a free number, along the clip.

    Parameters
    ----------
    corrected : the corrected frames, as a view that changes with them.
    """

    def __init__(self, corrected: Mapping[int, PackedResult]) -> None:
        self._corrected = corrected
        self._names: dict[int, set[str]] | None = None  # of people's own objects, by number
        self._given: dict[int, int] = {}

    def forget(self) -> None:
        """The corrected frames are others now."""
        self._names = None

    def apart(self, result: PackedResult, free: Callable[[], int]) -> PackedResult:
        """A run's result with numbers that mean no other object; `free` makes one."""
        for item in result.objects:
            if item.number not in self._given:
                self._given[item.number] = self._choose(item, result, free)
        if all(self._given[item.number] == item.number for item in result.objects):
            return result
        objects = (replace(item, number=self._given[item.number]) for item in result.objects)
        return replace(result, objects=tuple(objects))

    def _choose(self, item: PackedObject, result: PackedResult, free: Callable[[], int]) -> int:
        if self._names is None:
            self._names = _own_names(self._corrected.values())
        names = self._names.get(item.number, {item.name})
        if item.name in names and item.number not in self._given.values():
            return item.number
        used = (*self._given.values(), *(other.number for other in result.objects))
        return max(free(), 1 + max(used))


def _own_names(corrected: Iterable[PackedResult]) -> dict[int, set[str]]:
    """What the objects are called of which no corrected frame has the program's own mask."""
    names: dict[int, set[str]] = {}
    found = set()
    for frame in corrected:
        for item in frame.objects:
            names.setdefault(item.number, set()).add(item.name)
            if item.origin in (FOUND, ACCEPTED):
                found.add(item.number)
    return {number: names[number] for number in names.keys() - found}
