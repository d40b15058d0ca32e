"""Outlines of masks as polygons, for formats without run lengths.

Neither COCO's nor YOLO's polygons know holes. A hole is joined to the outline around it by a slit:
the outline goes to the hole, around it, and back the same way, which the usual even-odd rule fills
as it should be. Outlines aren't simplified: they go around every pixel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from moca_core.types import Mask

Ring = NDArray[np.float64]
"""(n, 2) float64, x and y of the corners of a polygon; the last is joined to the first."""

Points = NDArray[np.int64]
"""(n, 2) int64, x and y of places on a border."""

LEAST_IOU = 0.98
"""IoU with its mask that the polygon of an object in several parts has, or the parts stay apart."""


def edge_polygons(mask: Mask) -> list[Ring]:
    """Polygons along the edges of pixels, one for each part of a (H, W) mask, in pixels.

    Pixel (x, y) fills the square from (x, y) to (x + 1, y + 1), as COCO's tools take it.
    """
    # On a picture twice as large the outline knows on which side of a pixel it is.
    doubled = np.repeat(np.repeat(np.asarray(mask, dtype=bool), 2, axis=0), 2, axis=1)
    return [
        _corners(_joined([(ring + 1) // 2 for ring in rings])).astype(np.float64)
        for rings in _outlines(doubled)
    ]


def centre_polygons(mask: Mask) -> list[Ring]:
    """Polygons through the middles of the border pixels of a (H, W) mask, in pixels.

    One for all parts, joined by slits, as an object of YOLO has one polygon. Who draws it draws a
    slit one pixel wide; where that costs more than `LEAST_IOU` allows, each part has its own.
    """
    parts = [_joined(rings) for rings in _outlines(np.asarray(mask, dtype=bool))]
    if len(parts) > 1:
        whole = _joined(parts)
        drawn = filled(whole, mask.shape)
        if np.count_nonzero(drawn & mask) >= LEAST_IOU * np.count_nonzero(drawn | mask):
            parts = [whole]
    return [_corners(part).astype(np.float64) + 0.5 for part in parts]


def filled(polygon: NDArray, shape: tuple[int, ...]) -> Mask:
    """(H, W) bool, the pixels that a polygon through middles of pixels covers, its border too."""
    pixels = np.zeros(shape, np.uint8)
    cv2.fillPoly(pixels, [np.floor(polygon).astype(np.int32)], 1)
    return pixels.view(np.bool_)


def covered(polygon: Ring, size: tuple[int, int]) -> Mask:
    """(H, W) bool, the pixels whose middles lie inside a polygon along edges, by the even-odd rule.

    `edge_polygons` the other way around; a polygon needn't lie on edges, nor inside the picture.
    """
    start, end = polygon, np.roll(polygon, -1, axis=0)
    low = np.minimum(start[:, 1], end[:, 1])
    high = np.maximum(start[:, 1], end[:, 1])
    # The first row whose middle the line reaches, and the first that it doesn't any more.
    first = np.clip(np.ceil(low - 0.5), 0, size[0]).astype(np.int64)
    last = np.clip(np.ceil(high - 0.5), 0, size[0]).astype(np.int64)
    counts = last - first
    turns = np.zeros((size[0], size[1] + 1), bool)  # where inside and outside change
    for begin, stop in _bounded(counts):
        some = counts[begin:stop]
        lines = np.repeat(np.arange(begin, stop), some)  # a line for each row that it crosses
        rows = first[lines] + np.arange(len(lines)) - np.repeat(np.cumsum(some) - some, some)
        share = (rows + 0.5 - start[lines, 1]) / (end[lines, 1] - start[lines, 1])
        across = start[lines, 0] + share * (end[lines, 0] - start[lines, 0])
        columns = np.clip(np.ceil(across - 0.5), 0, size[1]).astype(np.int64)
        np.logical_xor.at(turns, (rows, columns), True)
    return np.logical_xor.accumulate(turns[:, :-1], axis=1)


def _bounded(counts: Points) -> Iterator[tuple[int, int]]:
    """Parts (begin, stop) of a list whose counts don't add up to much more than a million."""
    begin, total = 0, 0
    for place, count in enumerate(counts.tolist(), start=1):
        total += count
        if total > 2**20 or place == len(counts):
            yield begin, place
            begin, total = place, 0


def _outlines(mask: Mask) -> list[list[Points]]:
    """The outline of each part, then those of its holes, pixel by pixel; the longest part first."""
    contours, hierarchy = cv2.findContours(
        np.ascontiguousarray(mask).view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
    )
    if hierarchy is None:
        return []
    points = [np.asarray(contour, np.int64).reshape(-1, 2) for contour in contours]
    parts: dict[int, list[Points]] = {}
    parents = np.asarray(hierarchy).reshape(-1, 4)[:, 3].tolist()
    for place, parent in enumerate(parents):
        if parent < 0:
            parts.setdefault(place, []).insert(0, points[place])
        else:
            parts.setdefault(parent, []).append(points[place])
    return sorted(parts.values(), key=lambda rings: -len(rings[0]))


@dataclass(frozen=True, eq=False)
class _Link:
    """The shortest way to `ring`: from the point `start` to its point number `there`."""

    start: Points
    ring: Points
    there: int
    apart: float

    @classmethod
    def between(cls, one: Points, other: Points) -> _Link:
        found = cls(one[0], other, 0, np.inf)
        for place in range(0, len(one), 1024):  # bounded memory for the longest outlines
            part = one[place : place + 1024].astype(np.float32)
            across = part[:, :1] - other[:, 0].astype(np.float32)
            along = part[:, 1:] - other[:, 1].astype(np.float32)
            apart = across * across + along * along  # (points of one, points of other)
            low = int(apart.argmin())
            if apart.flat[low] < found.apart:
                row, there = divmod(low, len(other))
                found = cls(one[place + row], other, there, float(apart.flat[low]))
        return found


def _joined(rings: Sequence[Points]) -> Points:
    """One ring of several, each next one joined by a slit from the nearest point.

    As it is the nearest, a slit from an outline to its holes doesn't leave the part.
    """
    ring = rings[0]
    links = [_Link.between(ring, other) for other in rings[1:]]
    while links:
        link = links.pop(min(range(len(links)), key=lambda index: links[index].apart))
        here = int(np.flatnonzero((ring == link.start).all(axis=1))[0])
        around = np.roll(link.ring, -link.there, axis=0)
        ring = np.concatenate([ring[: here + 1], around, around[:1], ring[here:]])
        nearer = (_Link.between(link.ring, other.ring) for other in links)
        links = [min(pair, key=lambda one: one.apart) for pair in zip(links, nearer, strict=True)]
    return ring


def _corners(ring: Points) -> Points:
    """The ring without repeated points and those in the middle of a straight line."""
    ring = ring[(ring != np.roll(ring, 1, axis=0)).any(axis=1)] if len(ring) > 1 else ring
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    turn = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    # Where a slit turns back the cross product is 0 as well.
    back = (before * after).sum(axis=1) < 0
    kept = ring[(turn != 0) | back]
    # A line or a single pixel encloses nothing, and is still needed by who draws its border.
    while len(kept) < 3:
        kept = np.concatenate([kept, kept[-1:] if len(kept) else ring[:1]])
    return kept
