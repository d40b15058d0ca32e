"""Bootstrap intervals against hand-counted resamples, and how often they hold the truth."""

from itertools import product

import numpy as np
import pytest

from moca_core.evaluation.bootstrap import RESAMPLES, Bootstrap, Interval, auc


def every_resample(count):
    """All count**count equally probable draws of `count` groups."""
    return [list(draw) for draw in product(range(count), repeat=count)]


def test_two_groups_by_hand():
    # Means 0, 1/2, 1/2, 1 with a quarter each: the middle 40 % of the resamples are all 1/2.
    few = Bootstrap(["a", "b"], resamples=4000, level=0.4)
    assert few.mean([0.0, 1.0]) == Interval(0.5, 0.5)
    assert Bootstrap(["a", "b"]).mean([0.0, 1.0]) == Interval(0.0, 1.0)


def test_groups_of_unlike_size_against_all_draws():
    """A group brings all its cases along: the mean is that of the cases, not of the groups."""
    groups = ["a", "a", "a", "b", "c", "c"]
    values = np.array([0.1, 0.2, 0.9, 0.5, 0.4, 0.7])
    sums, sizes = np.array([1.2, 0.5, 1.1]), np.array([3, 1, 2])
    means = [sums[draw].sum() / sizes[draw].sum() for draw in every_resample(3)]
    found = Bootstrap(groups, resamples=60_000, level=0.6).mean(values)
    assert (found.low, found.high) == pytest.approx(np.percentile(means, [20, 80]), abs=1e-9)


def test_cases_that_are_not_counted_change_nothing():
    values = [0.1, 0.9, 5.0, 0.4, 7.0]
    counted = np.array([True, True, False, True, False])
    groups = ["a", "b", "c", "c", "d"]
    found = Bootstrap(groups).mean(values, counted)
    assert found == Bootstrap(groups).mean(np.where(counted, values, np.nan), counted)
    assert 0.1 <= found.low < found.high <= 0.9


def test_the_best_of_several_ratios_is_chosen_in_each_resample():
    above = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.5]])
    draws = every_resample(3)
    best = [above[draw].mean(axis=0).max() for draw in draws]
    found = Bootstrap("abc", resamples=60_000, level=0.6).ratio(above, np.ones(3))
    assert (found.low, found.high) == pytest.approx(np.percentile(best, [20, 80]), abs=1e-9)


def test_kinds_weigh_alike_however_many_cases_they_have():
    """Two kinds; the second is only in group c, and is left out of resamples without it."""
    values = np.array([[0.2, 0.0], [0.6, 0.0], [0.7, 0.9]])
    counted = np.array([[True, False], [True, False], [True, True]])
    found = []
    for draw in every_resample(3):
        kinds = [values[draw][counted[draw][:, kind], kind] for kind in (0, 1)]
        found.append(np.mean([kind.mean() for kind in kinds if len(kind)]))
    interval = Bootstrap("abc", resamples=60_000, level=0.6).mean_of_means(values, counted)
    expected = np.percentile(found, [20, 80])
    assert (interval.low, interval.high) == pytest.approx(expected, abs=1e-9)
    assert Bootstrap("abb").mean_of_means(values, counted & False) is None


def test_auc_by_hand_and_against_all_draws():
    scores, positive = np.array([0.9, 0.4, 0.4, 0.1]), np.array([True, True, False, False])
    assert auc(scores, positive) == pytest.approx((1 + 1 + 0.5 + 1) / 4)
    assert auc(scores, np.ones(4, bool)) is None
    groups = np.array([0, 1, 1, 2])
    found = []
    for draw in every_resample(3):
        at = np.concatenate([np.flatnonzero(groups == group) for group in draw])
        value = auc(scores[at], positive[at])
        found += [] if value is None else [value]
    interval = Bootstrap(groups.tolist(), resamples=60_000, level=0.5).auc(scores, positive)
    expected = np.percentile(found, [25, 75])
    assert (interval.low, interval.high) == pytest.approx(expected, abs=1e-9)


def test_equal_seeds_give_equal_intervals():
    values = np.random.default_rng(1).random(30)
    names = list(range(30))
    assert Bootstrap(names).mean(values) == Bootstrap(names).mean(values)
    assert Bootstrap(names).mean(values) != Bootstrap(names, seed=1).mean(values)


def test_blocks_are_the_same_as_all_at_once(monkeypatch):
    values = np.random.default_rng(2).random(40)
    whole = Bootstrap(list(range(40))).mean(values)
    monkeypatch.setattr("moca_core.evaluation.bootstrap._BLOCK", 40 * 7)
    parts = Bootstrap(list(range(40))).mean(values)
    assert (parts.low, parts.high) == pytest.approx((whole.low, whole.high), abs=1e-12)


@pytest.mark.parametrize("groups", [[], ["a"], ["a", "a", "a"]])
def test_fewer_than_two_groups_have_no_interval(groups):
    drawn = Bootstrap(groups)
    values = np.linspace(0, 1, len(groups))
    assert drawn.mean(values) is None
    assert drawn.auc(values, values > 0.5) is None


def test_nothing_below_the_line_has_no_interval():
    assert Bootstrap("abc").ratio([0, 0, 0], [0, 0, 0]) is None
    assert Bootstrap("abc").ratio([1, 0, 0], [2, 0, 0]) is None


def test_it_covers_the_truth_about_as_often_as_it_says():
    """40 groups of 1 to 4 cases that share a part of their error; the true mean is 0.3."""
    rng = np.random.default_rng(7)
    trials, groups = 300, 40
    hits = single = 0
    for trial in range(trials):
        sizes = rng.integers(1, 5, groups)
        names = np.repeat(np.arange(groups), sizes)
        shared = rng.normal(0, 1, groups)[names]
        values = 0.3 + shared + rng.normal(0, 0.3, len(names))
        found = Bootstrap(names.tolist(), resamples=400, seed=trial).mean(values)
        hits += found.low <= 0.3 <= found.high
        # Cases drawn one by one, as if they were independent, promise too much.
        alone = Bootstrap(list(range(len(names))), resamples=400, seed=trial).mean(values)
        single += alone.low <= 0.3 <= alone.high
    assert 0.90 <= hits / trials <= 0.98
    assert single / trials < 0.85


def test_a_large_set_is_drawn_in_bounded_memory():
    import tracemalloc

    tracemalloc.start()
    drawn = Bootstrap(list(range(5000)))
    drawn.mean(np.random.default_rng(0).random(5000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.8 * RESAMPLES * 5000 * 8  # a table of floats of all draws
