"""Mask proposal matching (MPM): proposals that fit the sounding region become objects."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from moca_core.config import SegmentConfig
from moca_core.errors import ConfigError
from moca_core.pipeline.analysis import (
    FrameAnalysis,
    best_cover,
    expected_iou,
    mean_inside,
    resized,
)
from moca_core.pipeline.hearing import Hearing, HearingSettings
from moca_core.pipeline.regions import RegionSettings, sounding_region, sounding_value
from moca_core.types import REASON_NO_OBJECT, FloatMap, Mask, Scores, SoundingObject

_SPECK = 0.01
"""Share of a mask's pixels below which a hole in it is filled and an island beside it dropped."""
_SMALL_PART = 0.05
"""Share of a group's pixels below which a separate part belongs to the largest one."""
_SAMPLED = 4
"""Of the region's values each fourth row and column is told."""


@dataclass(frozen=True)
class MatchSettings:
    """The thresholds that can be moved without running an encoder again.

    Attributes
    ----------
    hearing, region : the settings of the two steps before.
    region_threshold : of the region, 0 to 1, at which a location is as likely wanted as not. A
        region that reaches it nowhere is none.
    softness : distance from the threshold at which that is certain.
    least_fit : expected IoU of the chosen proposals with the region, below which they don't match
        and the refined region stands in.
    least_share : of the most sounding proposal, below which a proposal isn't taken beside it.
    gain : least rise of IoU for which another proposal is taken.
    """

    hearing: HearingSettings = field(default_factory=HearingSettings)
    region: RegionSettings = field(default_factory=RegionSettings)
    region_threshold: float = 0.5
    softness: float = 0.2
    least_fit: float = 0.25
    least_share: float = 0.5
    gain: float = 0.001

    def __post_init__(self) -> None:
        for prefix, part in (("", self), ("hearing.", self.hearing), ("region.", self.region)):
            for name, value in vars(part).items():
                if isinstance(value, float) and not math.isfinite(value):
                    raise ConfigError(f"{prefix}{name} = {value}", "Use a finite number.")


@dataclass(frozen=True, eq=False)
class Match:
    """The masks of one frame with what led to them.

    Attributes
    ----------
    objects : numbered from 1, the strongest first; empty with a `reason`.
    region : (h, w) float32, 0 to 1 on the working grid: the soft sounding region.
    coarse : no proposal fitted and the refined region stands in.
    hearing : which groups were taken to sound.
    analysis : the frame as it was related to the sound.
    choice : the proposals that cover the region best, before thresholds; None if it didn't come
        to that.
    """

    objects: tuple[SoundingObject, ...]
    reason: str
    region: FloatMap
    coarse: bool
    hearing: Hearing
    analysis: FrameAnalysis
    choice: Choice | None = None

    @property
    def evidence(self) -> FloatMap:
        """(h, w) float32, at most 1: how much each location looks like what is heard."""
        seen = np.tensordot(self.hearing.strength, self.analysis.groups, 1)
        return np.minimum(seen, 1.0).astype(np.float32)

    @property
    def scores(self) -> Scores:
        """The values that the thresholds cut."""
        choice = self.choice
        least = np.zeros(0, np.float32)
        return Scores(
            agreement=self.hearing.agreement,
            weights=np.array([weight for _, weight in self.hearing.heard], np.float32),
            region=self.region[_SAMPLED // 2 :: _SAMPLED, _SAMPLED // 2 :: _SAMPLED].ravel(),
            fit=least if choice is None else np.array([choice.fit], np.float32),
            shares=least if choice is None else choice.shares,
        )


@dataclass(frozen=True, eq=False)
class Choice:
    """The proposals whose union fits the region best.

    Attributes
    ----------
    indices : of the proposals, in the order in which they were taken.
    fit : expected IoU of their union with the region.
    shares : (c,) float32, how surely each sounds, as a share of the one that does most.
    """

    indices: list[int]
    fit: float
    shares: NDArray[np.float32]

    def taken(self, settings: MatchSettings) -> list[int]:
        """Those that pass the thresholds; none where even the best union doesn't fit."""
        if self.fit < settings.least_fit:
            return []
        pairs = zip(self.indices, self.shares, strict=True)
        return [index for index, share in pairs if share >= settings.least_share]


def match(
    analysis: FrameAnalysis,
    hearing: Hearing,
    names: Sequence[str],
    config: SegmentConfig,
    settings: MatchSettings,
    guide: NDArray[np.uint8] | None = None,
) -> Match:
    """Decide which objects of a frame make the sound.

    Parameters
    ----------
    analysis, hearing : the frame and what sounds, as `Bundle.relate` gives them.
    names : (G,) display names of the groups.
    guide : (H, W, 3) uint8, the frame; refines the region where no proposal fits.
    """
    region = sounding_region(analysis, hearing, config.regions, settings.region)
    if nothing_sounds(region, hearing, settings):
        return Match((), REASON_NO_OBJECT, region, False, hearing, analysis)
    choice = _choice(analysis, region, hearing, settings)
    chosen = [] if choice is None else choice.taken(settings)
    if chosen:
        parts = [
            _Part(
                full_mask(analysis, index), analysis.proposals.masks[index], analysis.looks[index]
            )
            for index in chosen
        ]
    else:
        wanted = region > settings.region_threshold
        looks = mean_inside(wanted[None], analysis.groups)[0]
        mask = _refined(region, settings.region_threshold, analysis.size, guide)
        parts = [_Part(mask, wanted, looks)]
    objects = _objects(parts, region, hearing, names)
    reason = "" if objects else REASON_NO_OBJECT
    return Match(objects, reason, region, not chosen, hearing, analysis, choice)


def nothing_sounds(region: FloatMap, hearing: Hearing, settings: MatchSettings) -> str:
    """Why nothing in the frame is taken to sound, in words; empty where something may be."""
    if hearing.agreement < settings.hearing.empty_below:
        least = settings.hearing.empty_below
        return f"nothing heard fits: agreement {below(hearing.agreement, least)}"
    strongest = float(region.max())
    if strongest <= 0 or strongest < settings.region_threshold:
        most = below(strongest, settings.region_threshold)
        return f"no place sounds: the most of the region is {most}"
    return ""


def below(value: float, limit: float) -> str:
    """A value and the limit that it doesn't reach.

    >>> below(0.4999, 0.5), below(-0.001, 0.0)
    ('0.49, below 0.5', '-0.01, below 0')
    """
    return f"{np.floor(100 * value) / 100:.2f}, below {limit:g}"


@dataclass(frozen=True, eq=False)
class _Part:
    """A mask that is part of the answer: (H, W) and (h, w) bool, and its looks (G,)."""

    full: Mask
    work: Mask
    looks: NDArray[np.float32]


def _choice(
    analysis: FrameAnalysis, region: FloatMap, hearing: Hearing, settings: MatchSettings
) -> Choice | None:
    """The proposals whose union fits the region best; None where none overlaps with it."""
    wanted = wanted_in(region, settings)
    masks = analysis.proposals.masks
    chosen = best_cover(wanted, masks, settings.gain)
    if not chosen:
        return None
    union = np.logical_or.reduce(masks[chosen])
    fit = float(expected_iou(wanted, union[None])[0])
    value = sounding_value(analysis.looks[chosen], hearing, settings.region)
    most = float(value.max())
    # Nothing sounds more surely than the rest where nothing does at all.
    shares = value / np.float32(most) if most > 0 else np.ones_like(value)
    return Choice(chosen, fit, shares.astype(np.float32))


def wanted_in(region: FloatMap, settings: MatchSettings) -> FloatMap:
    """(h, w) float32, 0 to 1: how probably each place of the region is wanted in a mask."""
    low = max(0.0, settings.region_threshold - settings.softness)
    span = max(settings.region_threshold + settings.softness - low, 1e-6)
    return np.clip((region - low) / span, 0.0, 1.0).astype(np.float32)


def full_mask(analysis: FrameAnalysis, index: int) -> Mask:
    """(H, W) bool mask of proposal `index` at the frame's own size."""
    return resized(analysis.proposals.logits[index].astype(np.float32), analysis.size) > 0


def _refined(
    region: FloatMap, threshold: float, size: tuple[int, int], guide: NDArray[np.uint8] | None
) -> Mask:
    """The region at full size, its border drawn to the picture's edges by a guided filter."""
    soft = resized(region, size)
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
    parts: Sequence[_Part], region: FloatMap, hearing: Hearing, names: Sequence[str]
) -> tuple[SoundingObject, ...]:
    """Name the chosen masks, join those of one name, then split each into separate parts."""
    by_group: dict[int, list[_Part]] = {}
    for part in parts:
        by_group.setdefault(int((part.looks * hearing.strength).argmax()), []).append(part)
    found: list[SoundingObject] = []
    taken: Mask | None = None
    for group in sorted(by_group, key=lambda group: -hearing.strength[group]):
        full = np.logical_or.reduce([part.full for part in by_group[group]])
        # A pixel belongs to one object: the stronger source was there first.
        full = full if taken is None else full & ~taken
        taken = full if taken is None else taken | full
        work = np.logical_or.reduce([part.work for part in by_group[group]])
        sure = float(region[work].mean()) if work.any() else 0.0
        score = float(np.clip(sure * hearing.strength[group] ** 0.5, 0.0, 1.0))
        found += [SoundingObject(0, names[group], score, part) for part in _separate(_tidy(full))]
    found.sort(key=lambda item: (-item.score, -int(item.mask.sum())))
    return tuple(
        SoundingObject(number, item.name, item.score, item.mask)
        for number, item in enumerate(found, start=1)
    )


def _tidy(mask: Mask) -> Mask:
    """The mask without holes and islands that are small beside it."""
    tidy = mask.copy()
    limit = _SPECK * float(mask.sum())
    for value in (False, True):
        count, labels, stats, _ = cv2.connectedComponentsWithStats((tidy == value).view(np.uint8))
        small = np.flatnonzero(stats[1:, cv2.CC_STAT_AREA] < limit) + 1
        if 0 < len(small) < count:
            tidy[np.isin(labels, small)] = not value
    return tidy


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
