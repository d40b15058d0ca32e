"""Grouping of patch tokens: k-means clusters (METHOD.md section 7) and their affinity."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def normalised(tokens: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, D) tokens scaled to unit length; zero tokens stay zero."""
    return tokens / np.maximum(np.linalg.norm(tokens, axis=1, keepdims=True), 1e-8)


def token_clusters(
    tokens: NDArray[np.float32], clusters: int, seed: int = 0, restarts: int = 3
) -> NDArray[np.int64]:
    """k-means++ on unit-length tokens, the best of several restarts.

    Parameters
    ----------
    tokens : (N, D) float32.
    clusters : k; fewer are used when there are fewer tokens.
    seed : fixes the restarts.

    Returns
    -------
    (N,) int64, the cluster of each token, 0 to k - 1.
    """
    # sklearn takes half a second to import: only those who cluster wait for it.
    from sklearn.cluster import KMeans

    model = KMeans(min(clusters, len(tokens)), n_init=restarts, random_state=seed)
    return model.fit_predict(normalised(tokens)).astype(np.int64)


def token_affinity(tokens: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """(N, D) -> (N, N) rows of softmax(cosine / temperature): where evidence spreads to."""
    unit = normalised(tokens)
    logits = unit @ unit.T / temperature
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
