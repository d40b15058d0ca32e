"""ROC curves: points and area by hand, the error against DeLong's formula and against groups."""

from __future__ import annotations

import math

import numpy as np
import pytest

from moca_core.evaluation.roc import roc

SCORES = [0.9, 0.8, 0.5, 0.5, 0.3, 0.1]
POSITIVE = [True, True, True, False, False, False]


def test_by_hand() -> None:
    found = roc(SCORES, POSITIVE, [True, True, False, True, False, False], range(6))
    assert found is not None
    assert found.thresholds == (0.9, 0.8, 0.5, 0.3, 0.1)
    assert found.true == pytest.approx((0, 1 / 3, 2 / 3, 1, 1, 1))
    assert found.false == pytest.approx((0, 0, 0, 1 / 3, 2 / 3, 1))
    # Of nine pairs eight are in order and one is a tie.
    assert found.area == pytest.approx(8.5 / 9)
    assert found.point == pytest.approx((1 / 3, 2 / 3))
    assert (found.negatives, found.positives) == (3, 3)


def test_the_area_is_that_under_the_points() -> None:
    rng = np.random.default_rng(2)
    positive = rng.random(80) < 0.4
    scores = np.round(rng.normal(positive * 0.8, 1.0), 1)  # with ties
    found = roc(scores, positive, positive, range(80))
    assert found is not None
    true, false = np.array(found.true), np.array(found.false)
    under = (np.diff(false) * (true[1:] + true[:-1]) / 2).sum()
    assert found.area == pytest.approx(float(under), abs=1e-12)
    assert (found.true[-1], found.false[-1]) == (1.0, 1.0)


def delong(upper: np.ndarray, lower: np.ndarray) -> float:
    """The standard error as DeLong et al. 1988 state it, each case for itself."""
    wins = (upper[:, None] > lower).astype(float) + 0.5 * (upper[:, None] == lower)
    return math.sqrt(
        wins.mean(axis=1).var(ddof=1) / len(upper) + wins.mean(axis=0).var(ddof=1) / len(lower)
    )


def test_the_error_is_delongs_where_each_case_is_its_own_group() -> None:
    rng = np.random.default_rng(3)
    upper, lower = np.round(rng.normal(1, 1, 70), 1), np.round(rng.normal(0, 1, 50), 1)
    scores = np.concatenate([upper, lower])
    found = roc(scores, np.arange(120) < 70, np.ones(120, bool), range(120))
    assert found is not None
    # The correction is C / (C - 1) over all cases instead of one for each kind.
    assert found.area_se == pytest.approx(delong(upper, lower), rel=0.01)


def test_repeating_every_case_in_its_group_leaves_the_error() -> None:
    once = roc(SCORES, POSITIVE, POSITIVE, range(6))
    twice = roc(SCORES * 2, POSITIVE * 2, POSITIVE * 2, [*range(6), *range(6)])
    blind = roc(SCORES * 2, POSITIVE * 2, POSITIVE * 2, range(12))
    assert once and twice and blind
    assert twice.area_se == pytest.approx(once.area_se)
    assert blind.area_se is not None and once.area_se is not None
    assert blind.area_se < 0.8 * once.area_se


def test_the_error_of_groups_with_both_kinds_is_that_of_leaving_each_out() -> None:
    """In a group both scores rise and fall together, which makes the area surer."""
    rng = np.random.default_rng(4)
    shared, groups = rng.normal(0, 2, 60), np.tile(np.arange(60), 2)
    scores = np.concatenate([shared + rng.normal(1, 0.5, 60), shared + rng.normal(0, 0.5, 60)])
    positive = np.arange(120) < 60

    def area(kept: np.ndarray) -> float:
        found = roc(scores[kept], positive[kept], positive[kept], list(groups[kept]))
        assert found is not None
        return found.area

    left_out = np.array([area(groups != group) for group in range(60)])
    jackknife = math.sqrt(59 / 60 * ((left_out - left_out.mean()) ** 2).sum())
    found = roc(scores, positive, positive, list(groups))
    assert found is not None
    assert found.area_se == pytest.approx(jackknife, rel=0.05)
    alone = roc(scores, positive, positive, range(120))
    assert alone is not None and alone.area_se is not None
    assert found.area_se < 0.7 * alone.area_se


@pytest.mark.parametrize("positive", [[True] * 6, [False] * 6])
def test_there_is_no_curve_of_one_kind(positive: list[bool]) -> None:
    assert roc(SCORES, positive, positive, range(6)) is None


def test_chance_and_no_group() -> None:
    found = roc([1.0] * 6, POSITIVE, [True] * 6, ["one"] * 6)
    assert found is not None
    assert (found.area, found.area_se) == (0.5, None)
    assert (found.true, found.false) == ((0.0, 1.0), (0.0, 1.0))
