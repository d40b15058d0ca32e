"""Grouping of patch tokens: k-means clusters (METHOD.md section 7) and their affinity."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

    from moca_core.pipeline.analysis import FrameAnalysis

_RESTARTS = 3
_MOST_STEPS = 50
_LEAST_CLUSTER = 4
"""Tokens that a connected part of a cluster needs to be worth a prompt."""
_PARTS = 2
"""Connected parts of a cluster that are."""


def normalised(tokens: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, D) tokens scaled to unit length; zero tokens stay zero."""
    return tokens / np.maximum(np.linalg.norm(tokens, axis=1, keepdims=True), 1e-8)


def token_clusters(
    tokens: NDArray[np.float32], clusters: int, seed: int = 0, restarts: int = _RESTARTS
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
    from sklearn.exceptions import ConvergenceWarning

    model = KMeans(min(clusters, len(tokens)), n_init=restarts, random_state=seed)
    with warnings.catch_warnings():
        # A picture of one colour has fewer kinds of tokens than clusters.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit_predict(normalised(tokens)).astype(np.int64)


def labels_of(analysis: FrameAnalysis, clusters: int, seed: int) -> NDArray[np.int64]:
    """(N,) the cluster of each token of a frame: those that it has, if they are as many."""
    labels = analysis.labels
    if labels is not None and int(labels.max()) + 1 == min(clusters, len(labels)):
        return labels
    return token_clusters(analysis.tokens, clusters, seed)


def batch_clusters(
    tokens: Tensor, clusters: int, seed: int = 0, restarts: int = _RESTARTS
) -> NDArray[np.int64]:
    """The same for B pictures at once where their tokens are, for a GPU.

    Other draws than `token_clusters`, as good a fit: all restarts of all pictures run together,
    and the one with the least sum of squared distances is taken for each picture.

    Parameters
    ----------
    tokens : (B, N, D) float32.

    Returns
    -------
    (B, N) int64.
    """
    import torch

    batch, count, width = tokens.shape
    k = min(clusters, count)
    unit = torch.nn.functional.normalize(tokens.float(), dim=-1)
    points = unit.repeat_interleave(restarts, dim=0)  # (R, N, D), R = B * restarts
    centres = _first_centres(points, k, np.random.default_rng(seed), restarts)
    labels = torch.full((len(points), count), -1, device=tokens.device)
    for _ in range(_MOST_STEPS):
        square = torch.cdist(points, centres).square()  # (R, N, k)
        nearest = square.argmin(dim=2)
        if torch.equal(nearest, labels):
            break
        labels = nearest
        members = torch.nn.functional.one_hot(labels, k).float()  # (R, N, k)
        sizes = members.sum(dim=1)[..., None]  # (R, k, 1)
        means = members.transpose(1, 2) @ points / sizes.clamp(min=1)
        centres = torch.where(sizes > 0, means, centres)
    spread = (points - centres.gather(1, labels[..., None].expand(-1, -1, width))).square()
    best = spread.sum(dim=(1, 2)).view(batch, restarts).argmin(dim=1)
    rows = torch.arange(batch, device=tokens.device) * restarts + best
    return labels[rows].cpu().numpy().astype(np.int64)


def _first_centres(
    points: Tensor, clusters: int, random: np.random.Generator, restarts: int
) -> Tensor:
    """k-means++: each next centre drawn by its squared distance to those that there are.

    Every picture gets the same draws, so that its clusters don't depend on its batch.
    """
    import torch

    runs = len(points)
    rows = torch.arange(runs, device=points.device)

    def draws() -> Tensor:
        """(R, 1) in [0, 1)."""
        values = np.tile(random.random(restarts, dtype=np.float32), runs // restarts)
        return torch.from_numpy(values).to(points.device)[:, None]

    count = points.shape[1]
    chosen = (draws()[:, 0] * count).long().clamp(max=count - 1)
    centres = points[rows, chosen][:, None]  # (R, 1, D)
    while centres.shape[1] < clusters:
        square = torch.cdist(points, centres).square().amin(dim=2)  # (R, N)
        bounds = square.cumsum(dim=1)
        chosen = torch.searchsorted(bounds, draws() * bounds[:, -1:], right=True)
        chosen = chosen[:, 0].clamp(max=count - 1)
        centres = torch.cat([centres, points[rows, chosen][:, None]], dim=1)
    return centres


def cluster_centres(labels: NDArray[np.int64], grid: tuple[int, int]) -> NDArray[np.float32]:
    """The innermost places of clusters, where a prompt most surely means them.

    Parameters
    ----------
    labels : (N,) the cluster of each token, row-major over `grid` (rows, columns).

    Returns
    -------
    (K, 2) x, y as shares of the picture's width and height: for the two largest connected parts
    of each cluster the place farthest from their border, the largest part first.
    """
    rows, columns = grid
    picture = labels.reshape(grid)
    found: list[tuple[int, float, float]] = []
    for label in np.unique(labels):
        part = (picture == label).astype(np.uint8)
        _, parts, stats, _ = cv2.connectedComponentsWithStats(part, connectivity=4)
        areas = stats[1:, cv2.CC_STAT_AREA]
        for k in np.argsort(-areas, kind="stable")[:_PARTS]:
            if areas[k] < _LEAST_CLUSTER:
                break
            # Beyond the picture is no other cluster, but no middle of this one either.
            inside = cv2.copyMakeBorder((parts == k + 1).astype(np.uint8), 1, 1, 1, 1, 0)
            depth = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
            y, x = divmod(int(depth.argmax()), columns)
            found.append((int(areas[k]), (x + 0.5) / columns, (y + 0.5) / rows))
    found.sort(key=lambda place: -place[0])
    return np.array([place[1:] for place in found], np.float32).reshape(-1, 2)


def token_affinity(tokens: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """(N, D) -> (N, N) rows of softmax(cosine / temperature): where evidence spreads to."""
    unit = normalised(tokens)
    logits = unit @ unit.T / temperature
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
