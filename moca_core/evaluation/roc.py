"""The ROC curve of a score that tells whether anything visible sounds."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moca_core.evaluation.bootstrap import auc, beaten
from moca_core.evaluation.metrics import standard_error


@dataclass(frozen=True)
class Roc:
    """How well a score tells positive cases from negative ones.

    Attributes
    ----------
    false, true : shares of the negative and positive cases that score at least `thresholds`, which
        fall; the first is (0, 0) at infinity, which isn't in `thresholds`.
    area, area_se : area under the curve, and its standard error; None below two groups.
    point : (false, true) of the decision as it was taken.
    negatives, positives : how many cases.
    """

    false: tuple[float, ...]
    true: tuple[float, ...]
    thresholds: tuple[float, ...]
    area: float
    area_se: float | None
    point: tuple[float, float]
    negatives: int
    positives: int


def roc(
    scores: ArrayLike, positive: ArrayLike, claimed: ArrayLike, groups: Sequence[Hashable]
) -> Roc | None:
    """The curve of n cases; None unless some are positive and some aren't.

    Parameters
    ----------
    scores : (n,), the higher the surer positive.
    positive : (n,) bool, the truth.
    claimed : (n,) bool, the decision as it was taken.
    groups : n names; cases of one group aren't independent.
    """
    scores, positive = np.asarray(scores, np.float64), np.asarray(positive, bool)
    claimed = np.asarray(claimed, bool)
    area = auc(scores, positive)
    if area is None:
        return None
    steps = np.unique(scores)[::-1]
    return Roc(
        false=(0.0, *_at_least(scores[~positive], steps)),
        true=(0.0, *_at_least(scores[positive], steps)),
        thresholds=tuple(steps.tolist()),
        area=area,
        area_se=_area_error(scores, positive, groups),
        point=(float(claimed[~positive].mean()), float(claimed[positive].mean())),
        negatives=int(np.count_nonzero(~positive)),
        positives=int(np.count_nonzero(positive)),
    )


def _area_error(
    scores: NDArray[np.float64], positive: NDArray[np.bool_], groups: Sequence[Hashable]
) -> float | None:
    """Standard error of the area by DeLong et al. 1988, cases of a group counted together.

    As Obuchowski 1997 does for clustered data, with one factor C / (C - 1) for C groups.
    """
    upper, lower = scores[positive], scores[~positive]
    shares = np.empty(len(scores))
    shares[positive] = beaten(upper, lower) / len(upper)
    shares[~positive] = (1 - beaten(lower, upper)) / len(lower)
    # Each half sums to the area: what is left of it is a case's influence on the area.
    shares[positive] -= shares[positive].mean()
    shares[~positive] -= shares[~positive].mean()
    return standard_error((len(scores) * shares).tolist(), groups)


def _at_least(values: NDArray[np.float64], thresholds: NDArray[np.float64]) -> tuple[float, ...]:
    """The share of `values` that reaches each threshold."""
    below = np.searchsorted(np.sort(values), thresholds, "left")
    return tuple((1 - below / len(values)).tolist())
