"""From evidence to soft sounding regions: the strategies of METHOD.md section 7, one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from moca_core.pipeline.analysis import FrameAnalysis, resized
from moca_core.pipeline.clusters import token_affinity, token_clusters
from moca_core.pipeline.hearing import Hearing
from moca_core.types import FloatMap

_TINY = 1e-6


@dataclass(frozen=True)
class RegionSettings:
    """How evidence becomes a region.

    Attributes
    ----------
    sharpness : exponent on the looks of a proposal before they are pooled.
    rivalry : weight of the silent, visible groups in the competition for a pixel.
    loudness : exponent on a source's strength, which dims the weaker of two sources.
    decisive : weight floor of proposals that don't tell heard from silent groups apart.
    clusters : k of k-means.
    temperature : of the token affinity of `diffuse`.
    seed : of k-means.
    """

    sharpness: float = 0.75
    rivalry: float = 1.0
    loudness: float = 0.5
    decisive: float = 0.1
    clusters: int = 5
    temperature: float = 0.2
    seed: int = 0


Evidence = Callable[[tuple[int, ...]], FloatMap]
"""Maps group indices to the evidence (h, w) for the best of them at each location."""


def sounding_region(
    analysis: FrameAnalysis, hearing: Hearing, strategy: str, settings: RegionSettings
) -> tuple[FloatMap, NDArray[np.int64]]:
    """Paint the region of the sounding groups.

    Parameters
    ----------
    strategy : a name in `STRATEGIES`.

    Returns
    -------
    region : (h, w) float32, 0 to 1, at most 1 where the strongest source surely is.
    owner : (h, w) int64, index into `hearing.sounding` of the source that owns each location.

    Notes
    -----
    A location's evidence for a sounding group counts by its share against the best silent group
    that is visible (`rivals`), so that the sound suppresses what doesn't sound.
    """
    evidence = STRATEGIES[strategy](analysis, hearing, settings)
    rival = evidence(hearing.rivals) if hearing.rivals else np.zeros_like(analysis.saliency)
    layers = []
    for group, strength in zip(hearing.sounding, hearing.strength, strict=True):
        heard = evidence((group,))
        share = heard / (heard + settings.rivalry * rival + _TINY)
        layer = heard * share * analysis.saliency
        layers.append(layer / max(float(layer.max()), _TINY) * strength**settings.loudness)
    stack = np.stack(layers)  # (S, h, w)
    return stack.max(axis=0).astype(np.float32), stack.argmax(axis=0)


def _paint(analysis: FrameAnalysis, hearing: Hearing, settings: RegionSettings) -> Evidence:
    """Evidence pooled over proposals: each location takes the mean looks of those that cover it.

    Proposals that tell the sounding groups from their rivals weigh more: a mask over two objects
    says little about either.
    """
    looks = analysis.looks**settings.sharpness  # (P, G)
    heard = looks[:, list(hearing.sounding)].max(axis=1, initial=0.0)
    silent = looks[:, list(hearing.rivals)].max(axis=1, initial=0.0)
    weight = np.abs(heard - silent) / (heard + silent + _TINY) + settings.decisive  # (P,)
    flat = analysis.proposals.masks.reshape(len(looks), -1).astype(np.float32)
    total = weight @ flat  # (h*w,)

    def evidence(groups: tuple[int, ...]) -> FloatMap:
        value = looks[:, list(groups)].max(axis=1, initial=0.0)
        raw = analysis.groups[list(groups)].max(axis=0)
        # Where no proposal lies, the raw evidence stands in at half the weight.
        spare = 0.5 * value.max(initial=0.0) * (raw / max(float(raw.max()), _TINY))
        painted = (value * weight) @ flat / np.maximum(total, _TINY)
        return np.where((total > 0).reshape(raw.shape), painted.reshape(raw.shape), spare)

    return evidence


def _kmeans(analysis: FrameAnalysis, hearing: Hearing, settings: RegionSettings) -> Evidence:
    """The paper's regions: clusters of the tokens, each with the mean evidence of its tokens."""
    rows, columns = analysis.token_grid
    labels = token_clusters(analysis.tokens, settings.clusters, settings.seed)  # (N,)
    members = np.eye(settings.clusters, dtype=np.float32)[labels]  # (N, k)
    count = np.maximum(members.sum(axis=0), 1.0)

    def evidence(groups: tuple[int, ...]) -> FloatMap:
        raw = analysis.groups[list(groups)].max(axis=0)
        token = resized(raw * analysis.saliency, (rows, columns), shrink=True).ravel()
        cluster = members.T @ token / count
        return resized((members @ cluster).reshape(rows, columns), raw.shape)

    return evidence


def _diffuse(analysis: FrameAnalysis, hearing: Hearing, settings: RegionSettings) -> Evidence:
    """Evidence spread over the affinity of the tokens."""
    affinity = token_affinity(analysis.tokens, settings.temperature)  # (N, N)

    def evidence(groups: tuple[int, ...]) -> FloatMap:
        raw = analysis.groups[list(groups)].max(axis=0)
        token = resized(raw, analysis.token_grid, shrink=True).ravel()
        return resized((affinity @ token).reshape(analysis.token_grid), raw.shape)

    return evidence


STRATEGIES: Mapping[str, Callable[[FrameAnalysis, Hearing, RegionSettings], Evidence]] = (
    MappingProxyType({"paint": _paint, "kmeans": _kmeans, "diffuse": _diffuse})
)
