"""The parts of an analysis: the working grid, means and overlaps of masks, and the best cover."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from moca_core.pipeline.analysis import (
    WORK_SIDE,
    best_cover,
    mean_inside,
    pairwise_iou,
    resized,
    suppress,
    work_size,
)

NO_MASKS = np.zeros((0, 3, 4), dtype=bool)


def rows(*lines: str) -> NDArray[np.bool_]:
    """Masks of one row each, from words such as `##..`: (P, 1, w)."""
    return np.array([[[sign == "#" for sign in line]] for line in lines])


def expected_iou(wanted: NDArray, masks: Sequence[NDArray[np.bool_]]) -> float:
    """The definition in the notes of `best_cover`, pixel by pixel."""
    total, union = 0.0, 0.0
    for place in np.ndindex(wanted.shape):
        inside = any(mask[place] for mask in masks)
        total += float(wanted[place]) if inside else 0.0
        union += 1.0 if inside else float(wanted[place])
    return total / union if union else 0.0


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((720, 1280), (144, 256)),
        ((1280, 720), (256, 144)),
        ((480, 854), (144, 256)),
        ((64, 64), (256, 256)),
        ((1, 1), (256, 256)),
        ((1, 4000), (1, 256)),
        ((4000, 1), (256, 1)),
    ],
)
def test_the_longer_side_of_the_working_grid_is_fixed(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert work_size(*size) == expected
    assert max(expected) == WORK_SIDE


def test_resizing_keeps_means_where_it_shrinks() -> None:
    values = np.random.default_rng(0).random((60, 80)).astype(np.float32)
    small = resized(values, (6, 8), shrink=True)
    np.testing.assert_allclose(small, values.reshape(6, 10, 8, 10).mean(axis=(1, 3)), atol=1e-5)
    large = resized(small, (60, 80))
    assert large.shape == (60, 80)
    assert large.dtype == np.float32
    # Bilinear: between the outermost centres nothing lies outside of its neighbours' range.
    assert small.min() - 1e-6 <= large.min()
    assert large.max() <= small.max() + 1e-6


def test_means_inside_masks() -> None:
    masks = rows("##..", ".###", "....")
    maps = np.array([[[1.0, 2.0, 3.0, 4.0]], [[0.0, 0.6, 0.0, 0.3]]], dtype=np.float32)
    np.testing.assert_allclose(
        mean_inside(masks, maps), [[1.5, 0.3], [3.0, 0.3], [0.0, 0.0]], atol=1e-6
    )


def test_overlaps_of_masks() -> None:
    iou = pairwise_iou(rows("##..", ".##.", "....", "...."))
    np.testing.assert_allclose(iou[0, :3], [1.0, 1 / 3, 0.0], atol=1e-6)
    assert iou[2, 3] == 0.0
    np.testing.assert_array_equal(iou, iou.T)


def test_of_masks_that_are_the_same_the_best_is_kept() -> None:
    masks = rows("####....", "#####...", "......##", "###.....")
    score = np.array([0.7, 0.9, 0.8, 0.95], dtype=np.float32)
    # The last is 3/5 of the second, which is 4/5 of the first.
    assert suppress(masks, score, 0.7) == [3, 1, 2]
    assert suppress(masks, score, 0.5) == [3, 2]
    assert suppress(masks, score, 0.8) == [3, 1, 2, 0]


def test_no_masks_at_all() -> None:
    """As in the mode without proposals."""
    assert mean_inside(NO_MASKS, np.ones((2, 3, 4), np.float32)).shape == (0, 2)
    assert pairwise_iou(NO_MASKS).shape == (0, 0)
    assert suppress(NO_MASKS, np.zeros(0, np.float32), 0.5) == []
    assert best_cover(np.ones((3, 4), np.float32), NO_MASKS) == []


def test_cover_of_a_soft_wish_by_hand() -> None:
    wanted = np.array([[1.0, 0.5, 0.0, 0.0]], dtype=np.float32)
    # 1/(1 + 0.5), 1.5/2, 1.5/3: the middle one; nothing raises it.
    assert best_cover(wanted, rows("#...", "##..", "###.")) == [1]
    wanted[0, 1] = 0.3
    # 1/1.3 = 0.77 against 1.3/2 = 0.65.
    assert best_cover(wanted, rows("#...", "##..", "###.")) == [0]


@pytest.mark.parametrize("seed", range(12))
def test_every_pick_is_the_best_of_all_and_the_last_one_was_worth_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    masks = rng.random((6, 4, 5)) < rng.uniform(0.1, 0.6, (6, 1, 1))
    wanted = (rng.random((4, 5)) < 0.5).astype(np.float32)
    if seed % 2:
        wanted *= rng.random((4, 5), dtype=np.float32)
    gain = 0.02
    chosen = best_cover(wanted, masks, gain)
    value = {
        subset: expected_iou(wanted, [masks[k] for k in subset])
        for count in range(7)
        for subset in map(frozenset, combinations(range(6), count))
    }
    assert chosen
    taken: frozenset[int] = frozenset()
    for pick in chosen:
        larger = [subset for subset in value if len(subset) == len(taken) + 1 and subset > taken]
        best = max(value[subset] for subset in larger)
        assert value[taken | {pick}] == pytest.approx(best, abs=1e-5)
        assert best >= value[taken] + gain - 1e-5
        taken |= {pick}
    rest = [value[taken | {k}] for k in range(6) if k not in taken]
    assert all(found < value[taken] + gain + 1e-5 for found in rest)


@pytest.mark.parametrize("seed", range(6))
def test_pure_masks_are_all_found(seed: int) -> None:
    """Where no mask is half wanted, the greedy answer is the best of all subsets."""
    rng = np.random.default_rng(seed)
    owner = rng.integers(0, 6, (5, 6))
    masks = np.array([owner == k for k in range(6)])
    inside = [k for k in range(6) if rng.random() < 0.5] or [0]
    wanted = np.isin(owner, inside).astype(np.float32)
    best = max(
        (subset for count in range(1, 7) for subset in combinations(range(6), count)),
        key=lambda subset: expected_iou(wanted, [masks[k] for k in subset]),
    )
    chosen = best_cover(wanted, masks)
    assert tuple(sorted(chosen)) == best
    # The largest raises the IoU most, so it comes first.
    assert masks[chosen[0]].sum() == max(masks[k].sum() for k in inside)


def test_masks_where_nothing_is_wanted_are_not_taken() -> None:
    wanted = np.array([[0.0, 0.0, 1.0, 1.0]], dtype=np.float32)
    assert best_cover(wanted, rows("##..", "#...")) == []
    assert best_cover(np.zeros((1, 4), np.float32), rows("##..", "####")) == []


def test_a_gain_that_is_too_small_ends_it() -> None:
    wanted = np.ones((1, 10), dtype=np.float32)
    masks = rows("#########.", ".........#")
    assert best_cover(wanted, masks, gain=0.05) == [0, 1]
    assert best_cover(wanted, masks, gain=0.2) == [0]
