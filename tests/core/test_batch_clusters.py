"""Groups of tokens: one by one and many pictures at once, and where a prompt means a cluster."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from picture_fakes import DOG, LEFT, analysis_of

from moca_core.pipeline.clusters import (
    batch_clusters,
    cluster_centres,
    labels_of,
    normalised,
    token_clusters,
)


def blobs(seed: int, kinds: int = 4, each: int = 16) -> tuple[NDArray[np.float32], NDArray]:
    """(N, 12) tokens around `kinds` directions, and which of them each belongs to."""
    random = np.random.default_rng(seed)
    truth = random.permutation(np.repeat(np.arange(kinds), each))
    directions = np.eye(12)[random.permutation(12)[:kinds]]
    tokens = directions[truth] + random.normal(0, 0.05, (len(truth), 12))
    return tokens.astype(np.float32), truth


def same_groups(labels: NDArray, truth: NDArray) -> bool:
    """Whether both split alike, whatever the numbers."""
    return len(set(zip(labels.tolist(), truth.tolist(), strict=True))) == len(set(truth.tolist()))


def spread(tokens: NDArray[np.float32], labels: NDArray) -> float:
    """Sum of squared distances of unit tokens to the mean of their cluster."""
    unit = normalised(tokens)
    parts = [unit[labels == label] for label in np.unique(labels)]
    return float(sum(((part - part.mean(axis=0)) ** 2).sum() for part in parts))


@pytest.mark.parametrize("seed", range(4))
def test_pictures_at_once_are_split_as_one_by_one(seed: int) -> None:
    pictures, truths = zip(*(blobs(10 * seed + k) for k in range(3)), strict=True)
    labels = batch_clusters(torch.from_numpy(np.stack(pictures)), 4, seed)
    assert labels.dtype == np.int64
    for tokens, truth, found in zip(pictures, truths, labels, strict=True):
        assert same_groups(found, truth)
        assert same_groups(token_clusters(tokens, 4, seed), truth)


def test_where_nothing_stands_apart_the_fit_is_as_good() -> None:
    random = np.random.default_rng(3)
    for seed in range(5):
        tokens = random.standard_normal((200, 16)).astype(np.float32)
        ours = spread(tokens, batch_clusters(torch.from_numpy(tokens[None]), 5, seed)[0])
        theirs = spread(tokens, token_clusters(tokens, 5, seed))
        assert ours < 1.02 * theirs


def test_the_clusters_of_a_picture_depend_on_neither_its_batch_nor_the_day() -> None:
    random = np.random.default_rng(4)
    tokens = torch.from_numpy(random.standard_normal((4, 64, 8)).astype(np.float32))
    together = batch_clusters(tokens, 5, seed=7)
    for number in range(4):
        alone = batch_clusters(tokens[number : number + 1], 5, seed=7)[0]
        np.testing.assert_array_equal(alone, together[number])
    others = [batch_clusters(tokens, 5, seed=seed) for seed in range(8, 12)]
    assert any((other != together).any() for other in others)


def test_more_clusters_than_tokens_and_tokens_that_are_all_alike() -> None:
    few = torch.from_numpy(np.eye(3, dtype=np.float32)[None])
    assert sorted(batch_clusters(few, 5)[0].tolist()) == [0, 1, 2]
    alike = batch_clusters(torch.ones(2, 9, 4), 3)
    assert alike.shape == (2, 9)
    assert (alike >= 0).all()
    assert (alike < 3).all()
    assert (batch_clusters(torch.zeros(1, 9, 4), 3) >= 0).all()


def test_clusters_that_the_bundle_found_are_not_looked_for_again() -> None:
    analysis = analysis_of({DOG: LEFT})
    np.testing.assert_array_equal(labels_of(analysis, 2, 0), token_clusters(analysis.tokens, 2, 0))
    found = np.arange(len(analysis.tokens)) % 3
    other = replace(analysis, labels=found)
    np.testing.assert_array_equal(labels_of(other, 3, 0), found)
    # Unless another number of them is asked for.
    np.testing.assert_array_equal(labels_of(other, 2, 0), labels_of(analysis, 2, 0))


def test_a_cluster_is_meant_at_its_innermost_place() -> None:
    picture = np.zeros((8, 12), dtype=np.int64)
    picture[1:6, 6:11] = 1
    places = cluster_centres(picture.ravel(), (8, 12))
    # The larger part first: what is around; then the square, at its middle.
    assert len(places) == 2
    x, y = places[1]
    assert (x * 12, y * 8) == (8.5, 3.5)
    column, row = int(places[0][0] * 12), int(places[0][1] * 8)
    assert picture[row, column] == 0


def test_a_cluster_in_two_parts_is_meant_twice_and_crumbs_never() -> None:
    picture = np.zeros((10, 16), dtype=np.int64)
    picture[1:4, 1:4] = 1
    picture[5:9, 10:15] = 1
    picture[0, 15] = 1  # a crumb of one token
    picture[9, 0:3] = 2  # a cluster of crumbs alone
    places = cluster_centres(picture.ravel(), (10, 16))
    kinds = [int(picture[int(y * 10), int(x * 16)]) for x, y in places]
    assert sorted(kinds) == [0, 1, 1]
    assert places.dtype == np.float32
    assert ((places > 0) & (places < 1)).all()


def test_a_picture_of_crumbs_has_no_centre() -> None:
    crumbs = np.arange(6).reshape(2, 3)
    assert cluster_centres(crumbs.ravel(), (2, 3)).shape == (0, 2)
