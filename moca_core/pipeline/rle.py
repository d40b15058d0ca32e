"""Masks as COCO's run lengths: column-major, the first run is background."""

from __future__ import annotations

from typing import TypedDict

import cv2
import numpy as np
from numpy.typing import NDArray

from moca_core.errors import StorageError
from moca_core.types import Mask

_ZERO = 48  # the character of the value 0
_BITS = 5  # of a run length in one character; the next bit says that more follow
_MORE, _SIGN = 1 << _BITS, 1 << (_BITS - 1)
_LONGEST = 12
"""Characters of the longest value that fits 64 bits."""


class Rle(TypedDict):
    """COCO's compressed run lengths: `size` (height, width) and `counts` as a string."""

    size: list[int]
    counts: str


def encode(mask: Mask) -> Rle:
    """(H, W) bool -> compressed run lengths, as pycocotools writes them."""
    height, width = mask.shape
    flat = _transposed(np.asarray(mask, dtype=bool)).ravel()  # (W*H,) column after column
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff(edges, prepend=0, append=len(flat))
    if len(flat) and flat[0]:
        counts = np.insert(counts, 0, 0)
    return {"size": [int(height), int(width)], "counts": _pack(counts)}


def decode(rle: Rle) -> Mask:
    """Compressed run lengths -> (H, W) bool; raises `StorageError` if the runs don't fit."""
    height, width = rle["size"]
    counts = _unpack(rle["counts"])
    pixels = height * width
    fits = height >= 0 and width >= 0 and ((counts >= 0) & (counts <= pixels)).all()
    if not fits or int(counts.sum()) != pixels:
        raise StorageError("a stored mask is damaged", "Run the frame again.")
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return _transposed(flat.reshape(width, height))


def _transposed(mask: Mask) -> Mask:
    """(H, W) -> (W, H), in C order; OpenCV does it several times faster than NumPy."""
    if not mask.size:
        return np.zeros(mask.shape[::-1], dtype=bool)
    turned = cv2.transpose(np.ascontiguousarray(mask).view(np.uint8))
    return np.asarray(turned, dtype=np.uint8).view(np.bool_)


def _pack(counts: NDArray[np.int64]) -> str:
    """COCO's string: from the third run on the difference to the run two before, five bits a
    character, the sixth bit says that more follow, 48 is added."""
    values = counts.astype(np.int64)
    values[3:] -= counts[1:-2]
    lengths = np.ones(len(values), dtype=np.int64)  # characters of each value
    for characters in range(1, _LONGEST):
        limit = 1 << (_BITS * characters - 1)
        longer = (values >= limit) | (values < -limit)
        if not longer.any():
            break
        lengths += longer
    place = np.arange(lengths.max(initial=0))
    bits = (values[:, None] >> (_BITS * place)) & (_MORE - 1)  # (runs, characters)
    bits |= np.where(place < lengths[:, None] - 1, _MORE, 0)
    return (bits[place < lengths[:, None]] + _ZERO).astype(np.uint8).tobytes().decode("ascii")


def _unpack(text: str) -> NDArray[np.int64]:
    """The run lengths of COCO's string."""
    codes = np.frombuffer(text.encode("utf-32-le"), dtype="<u4").astype(np.int64) - _ZERO
    if not len(codes):
        return codes
    ends = np.flatnonzero(codes & _MORE == 0)
    if codes.min() < 0 or codes.max() >= 2 * _MORE or codes[-1] & _MORE:
        raise StorageError("a stored mask is cut short or damaged", "Run the frame again.")
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > _LONGEST:
        raise StorageError("a stored mask is damaged", "Run the frame again.")
    place = np.arange(len(codes)) - np.repeat(starts, lengths)
    values = np.add.reduceat((codes & (_MORE - 1)) << (_BITS * place), starts)
    values -= np.where(codes[ends] & _SIGN, 1 << (_BITS * lengths), 0)
    # The differences are to the run two before, the third run is the first of its kind.
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values
