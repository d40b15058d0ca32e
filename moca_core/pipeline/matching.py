"""Mask proposal matching (MPM): proposals that fit the sounding region become objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from moca_core.config import SegmentConfig
from moca_core.pipeline.analysis import FrameAnalysis, best_cover, resized
from moca_core.pipeline.hearing import Hearing, HearingSettings, listen
from moca_core.pipeline.regions import RegionSettings, sounding_region
from moca_core.types import REASON_NO_OBJECT, FloatMap, Mask, SoundingObject

_SMALL_PART = 0.05
"""Share of a group's pixels below which a separate part belongs to the largest one."""


@dataclass(frozen=True)
class MatchSettings:
    """The thresholds that can be moved without running an encoder again.

    Attributes
    ----------
    hearing, region : the settings of the two steps before.
    region_threshold : of the region's maximum, above which a location is wanted.
    gain : least rise of IoU for which another proposal is taken.
    """

    hearing: HearingSettings = field(default_factory=HearingSettings)
    region: RegionSettings = field(default_factory=RegionSettings)
    region_threshold: float = 0.4
    gain: float = 0.001


@dataclass(frozen=True, eq=False)
class Match:
    """The masks of one frame with what led to them.

    Attributes
    ----------
    objects : numbered from 1, the strongest first; empty with a `reason`.
    region : (h, w) float32, 0 to 1 on the working grid: the soft sounding region.
    coarse : no proposal fitted and the refined region stands in.
    hearing : which groups were taken to sound.
    """

    objects: tuple[SoundingObject, ...]
    reason: str
    region: FloatMap
    coarse: bool
    hearing: Hearing


def match(
    analysis: FrameAnalysis,
    weights: NDArray[np.float32],
    names: Sequence[str],
    config: SegmentConfig,
    settings: MatchSettings,
    guide: NDArray[np.uint8] | None = None,
) -> Match:
    """Decide which objects of a frame make the sound.

    Parameters
    ----------
    analysis : the frame.
    weights : (G,) float32, how loudly each sound group is heard, sum 1.
    names : (G,) display names of the groups.
    guide : (H, W, 3) uint8, the frame; refines the region where no proposal fits.
    """
    hearing = listen(weights, analysis.presence, settings.hearing)
    region, owner = sounding_region(analysis, hearing, config.regions, settings.region)
    if hearing.agreement < settings.hearing.empty_below or region.max() <= 0:
        return Match((), REASON_NO_OBJECT, region, False, hearing)
    wanted = region > settings.region_threshold * region.max()
    chosen = best_cover(wanted, analysis.proposals.masks, settings.gain)
    if chosen:
        parts = [(full_mask(analysis, index), analysis.proposals.masks[index]) for index in chosen]
    else:
        parts = [(_refined(region, settings.region_threshold, analysis.size, guide), wanted)]
    objects = _objects(parts, region, owner, hearing, names)
    reason = "" if objects else REASON_NO_OBJECT
    return Match(objects, reason, region, not chosen, hearing)


def full_mask(analysis: FrameAnalysis, index: int) -> Mask:
    """(H, W) bool mask of proposal `index` at the frame's own size."""
    return resized(analysis.proposals.logits[index].astype(np.float32), analysis.size) > 0


def _refined(
    region: FloatMap, threshold: float, size: tuple[int, int], guide: NDArray[np.uint8] | None
) -> Mask:
    """The region at full size, its border drawn to the picture's edges by a guided filter."""
    soft = resized(region / region.max(), size)
    if guide is not None:
        grey = np.divide(cv2.cvtColor(guide, cv2.COLOR_RGB2GRAY), 255, dtype=np.float32)
        soft = _guided_filter(grey, soft, radius=max(2, max(size) // 64), epsilon=1e-3)
    return soft > threshold


def _guided_filter(guide: FloatMap, values: FloatMap, radius: int, epsilon: float) -> FloatMap:
    """The guided filter of He et al. 2010: `values` follow the edges of `guide`."""
    kernel = (2 * radius + 1, 2 * radius + 1)

    def mean(image: NDArray[np.floating]) -> FloatMap:
        return np.asarray(cv2.boxFilter(image, cv2.CV_32F, kernel), dtype=np.float32)

    mean_guide, mean_values = mean(guide), mean(values)
    covariance = mean(guide * values) - mean_guide * mean_values
    variance = mean(guide * guide) - mean_guide * mean_guide
    slope = covariance / (variance + epsilon)
    offset = mean_values - slope * mean_guide
    return mean(slope) * guide + mean(offset)


def _objects(
    parts: Sequence[tuple[Mask, Mask]],
    region: FloatMap,
    owner: NDArray[np.int64],
    hearing: Hearing,
    names: Sequence[str],
) -> tuple[SoundingObject, ...]:
    """Group the chosen masks by source, then split each source into separate parts."""
    found: list[SoundingObject] = []
    by_source: dict[int, list[tuple[Mask, Mask]]] = {}
    for full, coarse in parts:
        votes = np.bincount(owner[coarse], region[coarse], minlength=len(hearing.sounding))
        by_source.setdefault(int(votes.argmax()), []).append((full, coarse))
    taken: Mask | None = None
    for source in sorted(by_source):
        full = np.logical_or.reduce([item[0] for item in by_source[source]])
        # A pixel belongs to one object: the stronger source was there first.
        full = full if taken is None else full & ~taken
        taken = full if taken is None else taken | full
        coarse = np.logical_or.reduce([item[1] for item in by_source[source]])
        sure = float(region[coarse].mean()) if coarse.any() else 0.0
        score = float(np.clip(sure * hearing.strength[source] ** 0.5, 0.0, 1.0))
        name = names[hearing.sounding[source]]
        found += [SoundingObject(0, name, score, part) for part in _separate(full)]
    found.sort(key=lambda item: (-item.score, -int(item.mask.sum())))
    return tuple(
        SoundingObject(number, item.name, item.score, item.mask)
        for number, item in enumerate(found, start=1)
    )


def _separate(mask: Mask) -> list[Mask]:
    """Split a mask into its separate parts; small ones stay with the largest."""
    if not mask.any():
        return []
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    areas = stats[1:, cv2.CC_STAT_AREA]
    large = [k + 1 for k in range(count - 1) if areas[k] >= _SMALL_PART * areas.sum()]
    main = int(areas.argmax()) + 1
    parts = [labels == k for k in large if k != main]
    rest = mask & ~np.logical_or.reduce(parts) if parts else mask
    return [rest, *parts]
