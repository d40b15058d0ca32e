"""Exact nearest neighbours by cosine, and which pictures are far, in bounded memory.

Features are rounded to whole numbers of 1/2048. A product of two then is a sum of whole numbers
that stays below 2^24 however it is added up (Cauchy and Schwarz), which float32 holds without an
error: likeness doesn't depend on the size of a chunk, on threads or on the machine. Rounding moves
a cosine by about 0.0002. Equal likeness is real, then; the lower index comes first.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moca_core.types import StageEvent

SCALE = 2048
_CHUNK_BYTES = 128 * 2**20
_COLUMNS = 16_384
_NONE = -1


@dataclass(frozen=True, eq=False)
class Nearest:
    """The neighbours of n pictures, and where the far half of the others begins.

    Of m pictures of other recordings, the nearer (m + 1) // 2 are near and the rest is far.

    Attributes
    ----------
    neighbours : (n, k) int32, the most alike first; -1 where fewer than k are near.
    likeness : (n, k) float32 cosines, NaN where there is no neighbour.
    edge : (n, 2) int32: likeness in 1 / SCALE^2 and index of the last picture that is near.
    """

    neighbours: NDArray[np.int32]
    likeness: NDArray[np.float32]
    edge: NDArray[np.int32]


Ranking = Generator[StageEvent, None, Nearest]


def rounded(features: NDArray[np.floating]) -> NDArray[np.int16]:
    """(n, D) unit features as whole numbers of 1 / SCALE."""
    return np.rint(np.asarray(features, np.float32) * SCALE).astype(np.int16)


def knn(
    features: NDArray[np.int16], groups: NDArray[np.integer], k: int = 5, chunk: int = 0
) -> Nearest:
    """As `rank`, at once."""
    steps = rank(features, groups, k, chunk)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def rank(
    features: NDArray[np.int16], groups: NDArray[np.integer], k: int = 5, chunk: int = 0
) -> Ranking:
    """Rank all pictures by their likeness to each, a chunk of rows at once; yields before each.

    Parameters
    ----------
    features : (n, D) as from `rounded`.
    groups : (n,) pictures of one group (a recording) are not compared with each other.
    k : how many neighbours.
    chunk : rows held at once, each with n numbers; 0: as many as 128 MiB hold. It changes nothing
        in what is found.
    """
    count = len(features)
    step = chunk or max(1, min(512, _CHUNK_BYTES // (4 * max(count, 1))))
    neighbours = np.full((count, k), _NONE, np.int32)
    likeness = np.full((count, k), np.nan, np.float32)
    edge = np.full((count, 2), _NONE, np.int32)
    order = np.argsort(groups, kind="stable")
    begins = np.searchsorted(groups[order], groups, side="left")
    ends = np.searchsorted(groups[order], groups, side="right")
    products = np.empty((min(step, count), count), np.float32)
    for first in range(0, count, step):
        yield StageEvent("Comparing pictures", first, count)
        rows = features[first : first + step]
        _multiply(rows, features, products)
        for place in range(first, first + len(rows)):
            own = order[begins[place] : ends[place]]
            values = products[place - first]
            values[own] = -np.inf
            found, at_edge = _of_row(values, count - len(own), k)
            neighbours[place, : len(found)] = found
            likeness[place, : len(found)] = values[found] / SCALE**2
            edge[place] = at_edge
    return Nearest(neighbours, likeness, edge)


def _multiply(
    rows: NDArray[np.int16], features: NDArray[np.int16], out: NDArray[np.float32]
) -> None:
    """(c, D) and (n, D) -> the products in the first c rows of `out`, in whole numbers."""
    left = rows.astype(np.float32)
    for begin in range(0, len(features), _COLUMNS):
        # Few columns at once as float32: all of them would take twice the room they have now.
        part = features[begin : begin + _COLUMNS].astype(np.float32)
        out[: len(rows), begin : begin + _COLUMNS] = left @ part.T


def _of_row(
    values: NDArray[np.float32], others: int, k: int
) -> tuple[NDArray[np.int64], tuple[int, int]]:
    """The neighbours of one picture in order, and the edge of what is near.

    Parameters
    ----------
    values : (n,) likeness; -inf for those that aren't compared.
    others : how many are.
    """
    near = (others + 1) // 2
    if not near:
        return np.zeros(0, np.int64), (_NONE, _NONE)
    kept = min(k, near)
    at_edge, at_last = len(values) - near, len(values) - kept
    sorted_there = np.partition(values, (at_edge, at_last))
    border, last = sorted_there[at_edge], sorted_there[at_last]
    best = np.flatnonzero(values >= last)
    best = best[np.argsort(-values[best], kind="stable")][:kept]
    # Of those as alike as the border, the ones with the lowest indices are near.
    inside = near - int(np.count_nonzero(values > border))
    edge = int(np.flatnonzero(values == border)[inside - 1])
    return best, (int(border), edge)
