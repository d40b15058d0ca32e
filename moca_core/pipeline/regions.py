"""From evidence to soft sounding regions: the strategies of METHOD.md section 7, one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from moca_core.errors import ConfigError
from moca_core.pipeline.analysis import FrameAnalysis, resized
from moca_core.pipeline.clusters import labels_of, token_affinity
from moca_core.pipeline.hearing import Hearing
from moca_core.types import FloatMap

_TINY = 1e-6
_CLUSTERS = (2, 32)


@dataclass(frozen=True)
class RegionSettings:
    """How evidence becomes a region.

    Attributes
    ----------
    floor : evidence that every place has: the sound comes from something.
    sharpness : exponent on the evidence for what sounds.
    rivalry : weight of the evidence for what is silent in the competition for a place.
    doubt : evidence that a place needs to win the competition even without a rival.
    suppression : exponent on the share that what sounds wins of a place.
    smallness : exponent on the area by which smaller proposals weigh more.
    spare : weight of a place's own evidence where no proposal lies.
    salience : how much saliency counts; 0: not at all.
    background : saliency that every place has at least.
    relative : the strongest place is 1 however weak it is; otherwise the region is the evidence
        itself, and `MatchSettings.region_threshold` is a threshold on it.
    clusters : k of k-means.
    temperature : of the token affinity of `diffuse`.
    seed : of k-means.
    """

    floor: float = 0.1
    sharpness: float = 0.75
    rivalry: float = 0.25
    doubt: float = 0.1
    suppression: float = 2.0
    smallness: float = 0.5
    spare: float = 0.25
    salience: float = 1.0
    background: float = 0.3
    relative: bool = True
    clusters: int = 5
    temperature: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        low, high = _CLUSTERS
        for name, works, hint in (
            ("clusters", low <= self.clusters <= high, f"Use {low} to {high}."),
            ("temperature", self.temperature > 0, "Use a number above 0."),
            ("seed", 0 <= self.seed < 2**32, f"Use 0 to {2**32 - 1}."),
        ):
            if not works:
                raise ConfigError(f"region.{name} = {getattr(self, name)}", hint)


def sounding_region(
    analysis: FrameAnalysis, hearing: Hearing, strategy: str, settings: RegionSettings
) -> FloatMap:
    """Paint the region of what sounds.

    Parameters
    ----------
    strategy : a name in `STRATEGIES`.

    Returns
    -------
    (h, w) float32, 0 to 1, most where the sound most surely comes from.
    """
    value = STRATEGIES[strategy](analysis, hearing, settings)
    most = settings.salience + settings.background
    weight = (settings.salience * analysis.saliency + settings.background) / max(most, _TINY)
    if not settings.relative:
        return np.clip(value * weight, 0.0, 1.0).astype(np.float32)
    region = value / max(float(value.max()), _TINY) * weight
    return (region / max(float(region.max()), _TINY)).astype(np.float32)


def sounding_value(
    looks: NDArray[np.float32], hearing: Hearing, settings: RegionSettings
) -> NDArray[np.float32]:
    """How surely something sounds by its looks.

    Parameters
    ----------
    looks : (..., G) how much it looks like each group; below 0 counts as 0.

    Returns
    -------
    (...) at least 0. Evidence for the sounding groups counts by its share against the best silent
    group, so that the sound suppresses what doesn't sound.
    """
    heard = np.clip(looks @ hearing.strength, 0.0, 1.0)
    silent = np.maximum((looks * hearing.silence).max(axis=-1), 0.0)
    share = heard / np.maximum(heard + settings.rivalry * silent + settings.doubt, _TINY)
    return (heard + settings.floor) ** settings.sharpness * share**settings.suppression


def _paint(analysis: FrameAnalysis, hearing: Hearing, settings: RegionSettings) -> FloatMap:
    """Values pooled over proposals: each place takes the mean of those that cover it.

    Small proposals weigh more: a mask over two objects says little about either.
    """
    size = analysis.saliency.shape
    places = analysis.groups.reshape(len(analysis.groups), -1).T  # (h*w, G)
    if not len(analysis.proposals):
        return sounding_value(places, hearing, settings).reshape(size)
    value = sounding_value(analysis.looks, hearing, settings)
    flat = analysis.proposals.masks.reshape(len(value), -1).astype(np.float32)  # (P, h*w)
    weight = (flat.mean(axis=1) + 0.02) ** -settings.smallness  # (P,)
    total = weight @ flat  # (h*w,)
    painted = (value * weight) @ flat / np.maximum(total, _TINY)
    bare = total <= 0
    painted[bare] = settings.spare * sounding_value(places[bare], hearing, settings)
    return painted.reshape(size).astype(np.float32)


def _kmeans(analysis: FrameAnalysis, hearing: Hearing, settings: RegionSettings) -> FloatMap:
    """The paper's regions: clusters of the tokens, each with the mean evidence of its tokens."""
    labels = labels_of(analysis, settings.clusters, settings.seed)  # (N,)
    members = np.eye(settings.clusters, dtype=np.float32)[labels]  # (N, k)
    salient = _at_tokens(analysis.saliency[None], analysis.token_grid)  # (N, 1)
    weight = settings.salience * salient + 1 - settings.salience + _TINY
    looks = members.T @ (_at_tokens(analysis.groups, analysis.token_grid) * weight)  # (k, G)
    looks = (looks / (members.T @ weight + _TINY)).astype(np.float32)
    value = sounding_value(looks, hearing, settings)
    return resized((members @ value).reshape(analysis.token_grid), analysis.saliency.shape)


def _diffuse(analysis: FrameAnalysis, hearing: Hearing, settings: RegionSettings) -> FloatMap:
    """Evidence spread over the affinity of the tokens."""
    affinity = token_affinity(analysis.tokens, settings.temperature)  # (N, N)
    looks = affinity @ _at_tokens(analysis.groups, analysis.token_grid)
    value = sounding_value(looks, hearing, settings)
    return resized(value.reshape(analysis.token_grid), analysis.saliency.shape)


def _at_tokens(maps: NDArray[np.float32], grid: tuple[int, int]) -> NDArray[np.float32]:
    """(G, h, w) -> (N, G): the mean of each map over the place of each token."""
    return np.stack([resized(values, grid, shrink=True).ravel() for values in maps], axis=1)


Strategy = Callable[[FrameAnalysis, Hearing, RegionSettings], FloatMap]
STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {"paint": _paint, "kmeans": _kmeans, "diffuse": _diffuse}
)
