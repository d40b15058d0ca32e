"""Masks by hand: strokes of a round brush, and cuts.

Places are x, y in pixels of the frame as floats: the middle of the first pixel is at 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from moca_core.annotations.model import Box, pack_mask
from moca_core.types import Mask

Place = tuple[float, float]

_CUT_PX = 1.5
"""Width of a cut that pixels don't touch across, not by their corners either."""

_SPECK_PX, _SPECK_SHARE = 16, 0.002
"""Pieces below either are specks: pixels, and share of the mask."""


@dataclass(frozen=True, eq=False)
class Dab:
    """Pixels under a brush: `inside` (h, w) bool is the part `box` of the frame."""

    box: Box
    inside: Mask

    @property
    def part(self) -> tuple[slice, slice]:
        """Rows and columns of the box, to take it out of a frame."""
        x0, y0, x1, y1 = self.box
        return slice(y0, y1), slice(x0, x1)


def snapped(place: Place, size: int) -> Place:
    """The place nearest to `place` where a brush `size` pixels wide covers whole pixels alike.

    >>> snapped((3.2, 7.9), 1), snapped((3.2, 7.9), 2)
    ((3.5, 7.5), (3, 8))
    """
    x, y = place
    if size % 2:
        return floor(x) + 0.5, floor(y) + 0.5
    return floor(x + 0.5), floor(y + 0.5)


def stroke(start: Place, end: Place, width: float, size: tuple[int, int]) -> Dab | None:
    """The pixels of a frame of `size` (height, width) that a brush covers on a straight way.

    A pixel is covered if its middle is no farther than half the brush's `width` from the way.
    None where all of it lies outside of the frame.
    """
    reach = width / 2
    (ax, ay), (bx, by) = start, end
    x0, y0 = max(floor(min(ax, bx) - reach), 0), max(floor(min(ay, by) - reach), 0)
    x1, y1 = ceil(max(ax, bx) + reach), ceil(max(ay, by) + reach)
    x1, y1 = min(x1, size[1]), min(y1, size[0])
    if x0 >= x1 or y0 >= y1:
        return None
    x = np.arange(x0, x1, dtype=np.float32)[None] + np.float32(0.5 - ax)  # (1, w), from the start
    y = np.arange(y0, y1, dtype=np.float32)[:, None] + np.float32(0.5 - ay)  # (h, 1)
    dx, dy = np.float32(bx - ax), np.float32(by - ay)
    length = max(float(dx * dx + dy * dy), 1e-12)
    along = np.clip((x * dx + y * dy) / np.float32(length), 0, 1)  # (h, w), share of the way
    distance = np.square(x - along * dx) + np.square(y - along * dy)
    return Dab((x0, y0, x1, y1), distance <= reach * reach + 1e-4)


def edge(mask: Mask) -> Mask:
    """Pixels of a mask (h, w) with a neighbour beside, above or below that isn't in it.

    What lies outside of the array counts as in the mask.
    """
    inner = mask.copy()
    inner[1:] &= mask[:-1]
    inner[:-1] &= mask[1:]
    inner[:, 1:] &= mask[:, :-1]
    inner[:, :-1] &= mask[:, 1:]
    return mask & ~inner


def tidied(mask: Mask, on: Sequence[Place] = (), off: Sequence[Place] = ()) -> Mask:
    """A mask (H, W) without specks: islands and holes that are a small part of it.

    Islands with a place `on` the object stay, and so do holes with a place `off` it. What the
    mask encloses with the border of the frame is no hole.
    """
    (x0, y0, x1, y1), _ = pack_mask(mask)
    least = max(_SPECK_PX, int(_SPECK_SHARE * np.count_nonzero(mask)))
    tidy = mask.copy()
    inner = tidy[y0:y1, x0:x1]  # a view, as nothing else changes
    inner ^= _specks(inner, least, [(x - x0, y - y0) for x, y in on])
    # One pixel more on each side joins all that lies outside; it is kept by its corner.
    around = np.pad(~inner, 1, constant_values=True)
    outside = [(0.0, 0.0), *((x - x0 + 1, y - y0 + 1) for x, y in off)]
    inner ^= _specks(around, least, outside)[1:-1, 1:-1]
    return tidy


def _specks(mask: Mask, least: int, kept: Sequence[Place]) -> Mask:
    """The pieces of a mask (H, W) of fewer than `least` pixels, but for those with a place."""
    import cv2  # slow to import

    found = np.zeros_like(mask)
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=4)
    small = stats[:, cv2.CC_STAT_AREA] < least
    small[0] = False  # what isn't in the mask
    for x, y in kept:
        row, column = floor(y), floor(x)
        if 0 <= row < mask.shape[0] and 0 <= column < mask.shape[1]:
            small[pieces[row, column]] = False
    for number in np.flatnonzero(small):
        x, y, width, height, _ = stats[number]
        part = slice(y, y + height), slice(x, x + width)
        found[part] |= pieces[part] == number
    return found


def cut(mask: Mask, start: Place, end: Place) -> tuple[Mask, Mask] | None:
    """Cut a mask (H, W) along a line; returns what lies on its sides, the larger part first.

    A connected piece is cut only if the line goes all the way through it. Pieces that aren't cut
    stay with the larger part. None if no piece is cut.
    """
    import cv2  # slow to import

    line = np.zeros_like(mask)
    dab = stroke(start, end, _CUT_PX, (mask.shape[0], mask.shape[1]))
    if dab is None:
        return None
    line[dab.part] = dab.inside
    left = _left_of(mask.shape, start, end)
    sides = np.zeros_like(mask), np.zeros_like(mask)
    rest = mask.copy()
    _, pieces = cv2.connectedComponents(mask.view(np.uint8))
    for number in np.unique(pieces[line & mask]):
        piece = pieces == number
        count, parts = cv2.connectedComponents((piece & ~line).view(np.uint8))
        # Each part lies on the side on which most of it is: the line may end beside it.
        found = [parts == part for part in range(1, count)]
        lefts = [part for part in found if 2 * int((part & left).sum()) > int(part.sum())]
        if 0 < len(lefts) < len(found):
            side = np.logical_or.reduce(lefts) | (piece & line & left)
            sides[0][side], sides[1][piece & ~side] = True, True
            rest &= ~piece
    small, large = sorted(sides, key=np.count_nonzero)
    return (large | rest, small) if small.any() else None


def _left_of(shape: tuple[int, ...], start: Place, end: Place) -> NDArray[np.bool_]:
    """(H, W) whether a pixel's middle lies on the one side of a line that never ends."""
    x = np.arange(shape[1])[None] + 0.5 - start[0]
    y = np.arange(shape[0])[:, None] + 0.5 - start[1]
    return np.asarray((end[0] - start[0]) * y - (end[1] - start[1]) * x > 0)
