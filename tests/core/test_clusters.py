"""Grouping of tokens: k-means and the affinity over which evidence spreads."""

from __future__ import annotations

import math

import numpy as np
import pytest

from moca_core.pipeline.clusters import normalised, token_affinity, token_clusters


def bundles_of_tokens(counts: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(N, 16) tokens around one direction for each count, and whose they are (N,)."""
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(len(counts)), counts)
    tokens = np.eye(16)[owner] + rng.normal(0, 0.05, (len(owner), 16))
    return (tokens * rng.uniform(0.2, 9.0, (len(owner), 1))).astype(np.float32), owner


def test_tokens_are_scaled_to_unit_length_and_zero_stays_zero() -> None:
    unit = normalised(np.array([[3.0, 4.0], [0.0, 0.0], [0.0, -2.0]], dtype=np.float32))
    np.testing.assert_allclose(unit, [[0.6, 0.8], [0.0, 0.0], [0.0, -1.0]], atol=1e-6)


@pytest.mark.parametrize("counts", [(30, 12), (5, 40, 9), (10, 10, 10, 10)])
def test_directions_are_told_apart_whatever_the_lengths(counts: tuple[int, ...]) -> None:
    tokens, owner = bundles_of_tokens(counts)
    labels = token_clusters(tokens, len(counts), seed=1)
    assert labels.shape == owner.shape
    assert labels.dtype == np.int64
    # One label for each owner, and none for two.
    pairs = set(zip(owner.tolist(), labels.tolist(), strict=True))
    assert len(pairs) == len(counts)
    assert {label for _, label in pairs} == set(range(len(counts)))


def test_the_seed_fixes_the_clusters() -> None:
    """Where there is no natural answer, so that the draw decides."""
    tokens = np.random.default_rng(2).normal(size=(80, 6)).astype(np.float32)
    first = token_clusters(tokens, 5, seed=3, restarts=1)
    np.testing.assert_array_equal(first, token_clusters(tokens, 5, seed=3, restarts=1))
    others = [token_clusters(tokens, 5, seed=seed, restarts=1) for seed in range(4, 8)]
    assert any((first != other).any() for other in others)


def test_more_clusters_than_tokens() -> None:
    tokens = np.eye(3, dtype=np.float32)
    assert sorted(token_clusters(tokens, 7)) == [0, 1, 2]


def test_affinity_by_hand() -> None:
    tokens = np.array([[2.0, 0.0], [0.0, 5.0], [1.0, 1.0]], dtype=np.float32)
    near, far = math.exp(1 / 0.5), math.exp(0.0)
    between = math.exp(math.sqrt(0.5) / 0.5)
    rows = np.array(
        [[near, far, between], [far, near, between], [between, between, near]], dtype=np.float64
    )
    np.testing.assert_allclose(
        token_affinity(tokens, 0.5), rows / rows.sum(axis=1, keepdims=True), rtol=1e-5
    )


def test_a_low_temperature_keeps_evidence_among_the_like() -> None:
    tokens, owner = bundles_of_tokens((20, 30))
    same = owner[:, None] == owner[None, :]
    strays = [float((token_affinity(tokens, t) * ~same).sum(axis=1).max()) for t in (0.02, 0.2, 5)]
    assert strays[0] < 1e-6 < strays[1] < 0.05 < 0.3 < strays[2]
    assert np.isfinite(token_affinity(tokens, 1e-3)).all()
