"""Masks of other tools, as one edit of the clip that they are for.

Nothing is changed by reading: what would be replaced can be looked at before the edit is applied.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from moca_core.annotations.edits import blank
from moca_core.annotations.history import Edit
from moca_core.annotations.import_coco import read_coco
from moca_core.annotations.import_png import read_png
from moca_core.annotations.imported import FoundFrame, FoundObject, Target, named
from moca_core.annotations.model import PackedObject, PackedResult, pack_mask
from moca_core.errors import StorageError
from moca_core.types import REASON_NO_OBJECT, NoteEvent, StageEvent

NAMELESS = "object"
"""What an object is called of which no name is told or known."""
_MOST_BYTES = 2**30


@dataclass(frozen=True, eq=False)
class Imported:
    """Masks that were read, and what it means to take them.

    Attributes
    ----------
    source : the folder or file that they are from.
    frames : as they are then, by number.
    replaced : how many corrected frames they take the place of.
    notes : what was left out or changed, in words for the user.
    """

    source: Path
    frames: Mapping[int, PackedResult]
    replaced: int
    notes: tuple[str, ...] = ()

    @property
    def edit(self) -> Edit:
        """The change that takes them, which can be undone as one."""
        return Edit(f"import {counted(len(self.frames), 'frame')}", self.frames)

    @property
    def names(self) -> Mapping[str, int]:
        """In how many frames each name occurs, the most frequent first."""
        found = Counter(
            name
            for frame in self.frames.values()
            for name in sorted({item.name for item in frame.objects})
        )
        return dict(found.most_common())

    @property
    def empty(self) -> int:
        """How many frames have no mask."""
        return sum(not frame.objects for frame in self.frames.values())


ImportEvent = StageEvent | Imported


def read_masks(
    source: Path, target: Target, resize: bool = False
) -> Generator[ImportEvent, None, None]:
    """Read masks, as a job; the last event is the result.

    Parameters
    ----------
    source : a folder of PNG, or a COCO file.
    resize : take masks of another size than the clip's, each pixel the nearest one.

    Raises
    ------
    StorageError : there are no masks for the clip, or they can't be read.
    """
    source = Path(source)
    frames: dict[int, PackedResult] = {}
    notes: list[str] = []
    unknown: list[int] = []
    packing = _Packing(target)
    for event in _reading(source, target, resize):
        if isinstance(event, StageEvent):
            yield event
        elif isinstance(event, NoteEvent):
            notes.append(event.message)
        elif event.frame >= len(target.times_s):
            unknown.append(event.frame)
        else:
            frames[event.frame] = packing.frame(event)
    if not frames:
        raise StorageError(
            f"{source}: no mask of a frame of this clip ({counted(len(target.times_s), 'frame')})",
            "Choose the masks of this clip; frames are counted from 0.",
        )
    if unknown:
        what = "frame {} isn't" if len(unknown) == 1 else "frames {} aren't"
        which = what.format(named(unknown))
        notes.append(f"{which} in the clip, which has {len(target.times_s)}: left out")
    if packing.overlapping:
        what = counted(packing.overlapping, "frame")
        notes.append(f"masks overlapped in {what}: each pixel went to the surer object")
    corrected = (target.shown[n].corrected for n in frames if n in target.shown)
    yield Imported(source, MappingProxyType(frames), sum(corrected), tuple(notes))


def _reading(
    source: Path, target: Target, resize: bool
) -> Iterator[StageEvent | NoteEvent | FoundFrame]:
    if source.is_dir():
        return read_png(source, target, resize)
    if source.suffix.lower() == ".json" and source.is_file():
        return read_coco(source, target, resize)
    what = "neither a folder nor a COCO file" if source.exists() else "no such file or folder"
    raise StorageError(f"{source}: {what}", "Give a folder of PNG masks, or a COCO file (.json).")


class _Packing:
    """Makes frames of what was read: numbers along the clip, masks that don't overlap.

    Attributes
    ----------
    overlapping : how many frames had a pixel in two masks.
    """

    def __init__(self, target: Target) -> None:
        self.overlapping = 0
        self._target = target
        self._nbytes = 0
        self._names: dict[int, str] = {}
        self._numbers: dict[tuple[str, int], int] = {}
        for frame in target.shown.values():
            self._names.update((item.number, item.name) for item in frame.objects)
        self._free = 1 + max(self._names, default=0)
        by_name = Counter[str]()
        for number, name in sorted(self._names.items()):
            self._numbers[name, by_name[name]] = number
            by_name[name] += 1

    def frame(self, found: FoundFrame) -> PackedResult:
        """The frame as it is to be; raises `StorageError` if all is too much."""
        number = found.frame
        objects = self._objects(found.objects)
        base = self._target.shown.get(number)
        if base is None:
            base = blank(number, float(self._target.times_s[number]), self._target.size)
        reason = "" if objects else found.reason or base.reason or REASON_NO_OBJECT
        made = replace(base, objects=objects, reason=reason, coarse=False, corrected=True)
        self._nbytes += made.nbytes
        if self._nbytes > _MOST_BYTES:
            raise StorageError(
                f"frame {number}: more than {_MOST_BYTES >> 20} MiB of masks",
                "Import them in parts.",
            )
        return made

    def _objects(self, found: Sequence[FoundObject]) -> tuple[PackedObject, ...]:
        """With numbers, each pixel in the surest object only, without those that have none."""
        taken = np.zeros(self._target.size, bool)
        numbers = self._numbered(found)
        made: dict[int, PackedObject] = {}
        overlap = False
        for place in sorted(range(len(found)), key=lambda place: -found[place].score):
            item, number = found[place], numbers[place]
            overlap |= bool((item.mask & taken).any())
            box, bits = pack_mask(item.mask & ~taken)
            taken |= item.mask
            if box != (0, 0, 0, 0):
                name = item.name or self._names.get(number, NAMELESS)
                made[place] = PackedObject(number, name, item.score, box, bits, item.origin)
        self.overlapping += overlap
        return tuple(made[place] for place in sorted(made))

    def _numbered(self, found: Sequence[FoundObject]) -> list[int]:
        """A number for each: its own, else that of the clip's object of its name, else a new one.

        Of several without a number and with one name the first is the first one in every frame.
        """
        numbers: list[int] = []
        told = {item.number for item in found if item.number}
        by_name = Counter[str]()
        for item in found:
            number = item.number
            if not number or number in numbers:
                name = item.name or NAMELESS
                number = self._number(name, by_name, {*numbers, *told})
            self._free = max(self._free, number + 1)
            numbers.append(number)
        return numbers

    def _number(self, name: str, by_name: Counter[str], others: set[int]) -> int:
        while True:
            key = name, by_name[name]
            by_name[name] += 1
            number = self._numbers.setdefault(key, self._free)
            self._free = max(self._free, number + 1)
            if number not in others:
                return number


def counted(count: int, word: str) -> str:
    """`1 frame`, `2 frames`."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"
