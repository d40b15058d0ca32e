"""Bootstrap intervals: how far a number could be off, had other pictures been drawn.

Whole groups are drawn (all cases of a picture, all frames of a clip), since cases that share a
picture aren't independent (Davison and Hinkley 1997, chapters 2 and 5: the percentile interval).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEVEL = 0.95
RESAMPLES = 2000
SEED = 0
_BLOCK = 2**21
"""Weights that are turned into floats at a time: 16 MB."""


@dataclass(frozen=True)
class Interval:
    """From `low` to `high`, both part of it."""

    low: float
    high: float


class Bootstrap:
    """Draws groups with replacement, as many as there are; the same draws serve every number.

    Parameters
    ----------
    groups : n names; cases that share one are drawn together.
    resamples, seed, level : how often it is drawn, what fixes the draws, and the share of the
        resamples that an interval covers.
    """

    def __init__(
        self,
        groups: Sequence[Hashable],
        resamples: int = RESAMPLES,
        seed: int = SEED,
        level: float = LEVEL,
    ) -> None:
        numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
        self.groups = len(numbers)
        self._of_case = np.array([numbers[group] for group in groups], dtype=np.intp)  # (n,)
        self._tails = (50 * (1 - level), 50 * (1 + level))
        self._rows = max(1, _BLOCK // max(self.groups, 1))
        self._weights = _drawn(self.groups, resamples, seed, self._rows)

    def mean(self, values: ArrayLike, counted: ArrayLike | None = None) -> Interval | None:
        """Interval of the mean of (n,) `values`, of those cases that are `counted` (n,) bool."""
        values = np.asarray(values, np.float64)
        counts = np.ones(len(values)) if counted is None else np.asarray(counted, np.float64)
        return self.ratio(np.where(counts > 0, values, 0.0), counts)

    def ratio(self, above: ArrayLike, below: ArrayLike) -> Interval | None:
        """Interval of sum(above) / sum(below).

        Parameters
        ----------
        above : (n,), or (n, K) for K such ratios of which the largest is the number (the best
            of K thresholds): each resample chooses its own.
        below : (n,), not negative. Resamples in which it sums to 0 are left out.

        Returns
        -------
        None where fewer than two groups have anything below the line.
        """
        above = np.asarray(above, np.float64)
        sums = self._by_group(above if above.ndim == 2 else above[:, None])  # (G, K)
        totals = self._by_group(np.asarray(below, np.float64)[:, None])  # (G, 1)
        if np.count_nonzero(totals) < 2:
            return None
        found = []
        for weights in self._blocks():
            bottom = weights @ totals  # (r, 1)
            kept = bottom[:, 0] > 0
            found.append((weights[kept] @ sums / bottom[kept]).max(axis=1))
        return self._interval(np.concatenate(found))

    def mean_of_means(self, values: ArrayLike, counted: ArrayLike) -> Interval | None:
        """Interval of the mean over K kinds of the mean of each, of (n, K) values.

        Parameters
        ----------
        counted : (n, K) bool, which values there are. A resample that holds none of a kind
            takes the mean of the others.

        Returns
        -------
        None where fewer than two groups have any.
        """
        counts = np.asarray(counted, np.float64)
        sums = self._by_group(np.where(counts > 0, np.asarray(values, np.float64), 0.0))  # (G, K)
        totals = self._by_group(counts)
        if np.count_nonzero(totals.any(axis=1)) < 2:
            return None
        found = []
        for weights in self._blocks():
            below = weights @ totals  # (r, K)
            means = np.where(below > 0, weights @ sums / np.maximum(below, 1), 0.0)
            kinds = np.count_nonzero(below, axis=1)
            found.append(means.sum(axis=1)[kinds > 0] / kinds[kinds > 0])
        return self._interval(np.concatenate(found))

    def auc(self, scores: ArrayLike, positive: ArrayLike) -> Interval | None:
        """Interval of the area under the ROC curve of (n,) `scores` that tell (n,) bool `positive`.

        None where fewer than two groups have a positive case, or a negative one.
        """
        scores, positive = np.asarray(scores, np.float64), np.asarray(positive, bool)
        counts = self._by_group(
            np.stack([positive, ~positive], axis=1).astype(np.float64)
        )  # (G, 2)
        if (np.count_nonzero(counts, axis=0) < 2).any():
            return None
        below = np.flatnonzero(counts[:, 1])  # the H groups with negative cases
        wins = self._wins(scores, positive, below)
        found = []
        for weights in self._blocks():
            pairs = (weights @ counts).prod(axis=1)
            kept = pairs > 0
            won = (weights @ wins * weights[:, below]).sum(axis=1)
            found.append(won[kept] / pairs[kept])
        return self._interval(np.concatenate(found))

    def _wins(
        self, scores: NDArray[np.float64], positive: NDArray[np.bool_], below: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        """(G, H) pairs in which a positive case of a group scores above a negative one of another.

        `below` are the H groups of the latter; ties count half.
        """
        wins = np.zeros((self.groups, len(below)))
        for column, group in enumerate(below):
            lower = scores[(self._of_case == group) & ~positive]
            won = len(lower) * beaten(scores[positive], lower)
            wins[:, column] = self._sums(won[:, None], self._of_case[positive])[:, 0]
        return wins

    def _by_group(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, K) -> (G, K), sums over the cases of each group."""
        return self._sums(values, self._of_case)

    def _sums(self, values: NDArray[np.float64], of_case: NDArray[np.intp]) -> NDArray[np.float64]:
        """(m, K) values of cases of the groups (m,) -> (G, K)."""
        sums = np.zeros((self.groups, values.shape[1]))
        np.add.at(sums, of_case, values)
        return sums

    def _blocks(self) -> Iterator[NDArray[np.float64]]:
        """The weights as floats, (r, G) at a time: all at once they could fill the memory."""
        for start in range(0, len(self._weights), self._rows):
            yield self._weights[start : start + self._rows].astype(np.float64)

    def _interval(self, found: NDArray[np.float64]) -> Interval | None:
        if not len(found):
            return None
        low, high = np.percentile(found, self._tails)
        return Interval(float(low), float(high))


def _drawn(groups: int, resamples: int, seed: int, rows: int) -> NDArray[np.uint16]:
    """(R, G) how often each group is drawn in each resample, made `rows` resamples at a time."""
    weights = np.zeros((resamples, groups), np.uint16)
    rng = np.random.default_rng(seed)
    for start in range(0, resamples if groups else 0, rows):
        part = weights[start : start + rows]
        part[:] = rng.multinomial(groups, np.full(groups, 1 / groups), size=len(part))
    return weights


def auc(scores: ArrayLike, positive: ArrayLike) -> float | None:
    """Area under the ROC curve: how probably a positive case scores above a negative one.

    Ties count half. None without a case of both kinds.
    """
    scores, positive = np.asarray(scores, np.float64), np.asarray(positive, bool)
    upper, lower = scores[positive], scores[~positive]
    return float(beaten(upper, lower).mean()) if len(upper) and len(lower) else None


def beaten(values: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) the share of `others` below each value; equal ones count half."""
    order = np.sort(others)
    below = np.searchsorted(order, values, "left") + np.searchsorted(order, values, "right")
    return np.asarray(below / (2 * len(order)), np.float64)
