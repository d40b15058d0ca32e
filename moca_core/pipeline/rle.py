"""Masks as COCO's run lengths: column-major, the first run is background."""

from __future__ import annotations

from itertools import pairwise
from typing import TypedDict

import numpy as np

from moca_core.errors import StorageError
from moca_core.types import Mask


class Rle(TypedDict):
    """COCO's compressed run lengths: `size` (height, width) and `counts` as a string."""

    size: list[int]
    counts: str


def encode(mask: Mask) -> Rle:
    """(H, W) bool -> compressed run lengths, as pycocotools writes them."""
    flat = np.asarray(mask, dtype=bool).ravel(order="F")
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = [0, *edges.tolist(), len(flat)]
    counts = [b - a for a, b in pairwise(starts)]
    if len(flat) and flat[0]:
        counts.insert(0, 0)
    return {"size": [int(mask.shape[0]), int(mask.shape[1])], "counts": _pack(counts)}


def decode(rle: Rle) -> Mask:
    """Compressed run lengths -> (H, W) bool; raises `StorageError` if the runs don't fit."""
    height, width = rle["size"]
    counts = _unpack(rle["counts"])
    if sum(counts) != height * width or any(count < 0 for count in counts):
        raise StorageError("a stored mask is damaged", "Run the frame again.")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape((height, width), order="F")


def _pack(counts: list[int]) -> str:
    """COCO's string: from the third run on the difference to the run two before, five bits a
    character, the sixth bit says that more follow, 48 is added."""
    characters = []
    for index, count in enumerate(counts):
        value = count - counts[index - 2] if index > 2 else count
        more = True
        while more:
            bits = value & 0x1F
            value >>= 5
            more = value != -1 if bits & 0x10 else value != 0
            characters.append(chr((bits | 0x20 if more else bits) + 48))
    return "".join(characters)


def _unpack(text: str) -> list[int]:
    counts: list[int] = []
    position = 0
    while position < len(text):
        value, shift, more = 0, 0, True
        while more:
            if position >= len(text):
                raise StorageError("a stored mask is cut short", "Run the frame again.")
            bits = ord(text[position]) - 48
            value |= (bits & 0x1F) << shift
            more = bool(bits & 0x20)
            position += 1
            shift += 5
            if not more and bits & 0x10:
                value |= -1 << shift
        if len(counts) > 2:
            value += counts[-2]
        counts.append(value)
    return counts
