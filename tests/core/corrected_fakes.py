"""What a project keeps of the clip `farm`: what the program found, and corrected frames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from core.export_fakes import COUNT, FPS, SIZE, islands, result

from moca_core.annotations import edits
from moca_core.annotations.history import Labels
from moca_core.annotations.model import PackedObject, PackedResult, pack, pack_mask
from moca_core.annotations.snapshot import ClipRef, Snapshot, View
from moca_core.config import SegmentConfig
from moca_core.media.probe import clip_hash
from moca_core.types import Mask

CORRECTED = (5, 15, 25, 35, 45, 55)
"""Bell drawn over the dog; dog renamed; dog taken out; dog drawn where it was silent; all taken
out; agreed to."""
RANGE = (12, 37)


def square() -> Mask:
    """(128, 160) over a part of the ring and the background, up to the picture's border."""
    mask = np.zeros(SIZE, bool)
    mask[40:, 20:70] = True
    return mask


def found(number: int) -> PackedResult:
    """What the program found in a frame: that of the key frame before."""
    key = result(number // 10 * 10)
    return pack(replace(key, frame=number, time_s=number / FPS, key=number % 10 == 0, maps={}))


def drawn(number: int, name: str, mask: Mask) -> PackedObject:
    """An object that a person drew."""
    return PackedObject(number, name, 1.0, *pack_mask(mask), origin="drawn")


def labels() -> Labels:
    """The corrected frames, made by edits."""
    made = Labels()
    frame = {number: found(number) for number in CORRECTED}
    bell = drawn(2, "Bell or gong", square())
    dog = drawn(1, "Dog", islands())
    for edit in (
        edits.put_object(frame[5], bell, "bell"),
        edits.rename([frame[15]], 1, "Wolf, grey"),
        edits.reject([frame[25]], [1]),
        edits.put_object(frame[35], dog, "dog"),
        edits.reject([frame[45]], [1, 2]),
        edits.accept([frame[55]]),
    ):
        assert made.apply(edit)
    return made


def snapshot(clip: Path) -> Snapshot:
    """Results of all frames, and the corrected ones, of a clip that is there or was."""
    there = clip.is_file()
    return Snapshot(
        ClipRef(clip, clip_hash(clip) if there else "0" * 64, COUNT, FPS, COUNT / FPS, SIZE),
        SegmentConfig(seed=3),
        (("gain", "0.11"),),
        {number: found(number) for number in range(COUNT)},
        dict(labels().frames),
        View(range=RANGE),
    )


def shown(number: int) -> PackedResult:
    """A frame as it is shown."""
    return labels().get(number) or found(number)
