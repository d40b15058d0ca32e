"""Mask proposals: where SAM is asked, and which of its answers are kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from moca_core.pipeline.analysis import Proposals, resized, suppress, work_size
from moca_core.types import FloatMap

_GUIDE_CELLS = 8
# In parts of the frame's longer side: over how much evidence is averaged, and how far apart the
# peaks of a group lie.
_PEAK_WINDOW, _PEAK_REACH = 0.04, 0.18
_PEAKS_OF_GROUP = 2
_LEAST_PEAK = 0.1


@dataclass(frozen=True)
class ProposalSettings:
    """Prompting and filters, as in SAM's automatic masks where they share a name.

    Attributes
    ----------
    prompts : how many points the guided mode asks at most.
    peaks : how many peaks of evidence are offered as points.
    peak_presence : presence from which a group's peaks are offered.
    peak_bonus, hint_bonus : what peaks and hints are worth above their place's interest.
    batch : points asked before coverage is looked at again.
    covered_weight : how much a location that a good mask covers loses of its score.
    largest_cover : masks over a larger share of the frame don't count as covering it.
    grid : points a side of the grid mode.
    least_quality, least_stability : of predicted IoU and of the stability score.
    same_mask : IoU above which two masks are the same.
    smallest, largest : share of the frame that a mask may have.
    """

    prompts: int = 12
    peaks: int = 8
    peak_presence: float = 0.3
    peak_bonus: float = 0.3
    hint_bonus: float = 0.5
    batch: int = 4
    covered_weight: float = 0.6
    largest_cover: float = 0.35
    grid: int = 8
    least_quality: float = 0.7
    least_stability: float = 0.75
    same_mask: float = 0.85
    smallest: float = 0.001
    largest: float = 0.9


@dataclass(frozen=True)
class GridSettings:
    """The settings of SAM's automatic masks, with the official names and values.

    Attributes
    ----------
    points_per_side : of the grid of points that are asked.
    points_per_batch : points asked at once, which bounds the memory.
    pred_iou_thresh : predicted IoU that a mask must exceed; 0 lets all pass.
    stability_score_thresh : stability score that a mask must reach.
    stability_score_offset : of the thresholds whose masks the stability score compares.
    box_nms_thresh : IoU of boxes above which the mask of the smaller predicted IoU is dropped.
    mask_threshold : logit above which a pixel belongs to the mask.
    """

    points_per_side: int = 32
    points_per_batch: int = 64
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    box_nms_thresh: float = 0.7
    mask_threshold: float = 0.0


@dataclass(frozen=True, eq=False)
class Answers:
    """What SAM answers to K points.

    Attributes
    ----------
    logits : (K, 3, lh, lw) float32 low-resolution mask logits over the whole frame.
    quality : (K, 3) float32 predicted IoU.
    stability : (K, 3) float32 stability score.
    """

    logits: NDArray[np.float32]
    quality: NDArray[np.float32]
    stability: NDArray[np.float32]


Ask = Callable[[NDArray[np.float32]], Answers]
"""Decodes masks at points (K, 2), x and y in pixels of the frame."""


def grid_points(size: tuple[int, int], side: int) -> NDArray[np.float32]:
    """(side * side, 2) points at the centres of a grid over a frame of (height, width)."""
    height, width = size
    x, y = np.meshgrid(
        (np.arange(side) + 0.5) / side * width, (np.arange(side) + 0.5) / side * height
    )
    return np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)


def grid_proposals(ask: Ask, size: tuple[int, int], settings: ProposalSettings) -> Proposals:
    """SAM's everything mode: ask at every point of a grid."""
    points = grid_points(size, settings.grid)
    return collect([ask(points)], points, size, settings)


def guided_proposals(
    ask: Ask,
    size: tuple[int, int],
    interest: FloatMap,
    hints: NDArray[np.float32],
    peaks: NDArray[np.float32],
    settings: ProposalSettings,
) -> Proposals:
    """Ask only where something could sound, batch by batch, away from what is covered already.

    Parameters
    ----------
    interest : (h, w) 0 to 1, saliency or the evidence of *any* group: not only of what is heard,
        so that the second, smaller object isn't lost.
    hints : (K, 2) points worth asking first (shoulders, faces), in pixels of the frame.
    peaks : (L, 2) points from `evidence_peaks`.
    """
    grid = grid_points(size, _GUIDE_CELLS)
    points = np.concatenate([grid, hints, peaks]).astype(np.float32)
    bonus = [0.0] * len(grid) + [settings.hint_bonus] * len(hints)
    bonus += [settings.peak_bonus] * len(peaks)
    # Networks with damaged weights give no numbers, among which no point would be the best one.
    score = np.nan_to_num(_cell_scores(interest, points, size)) + np.array(bonus, np.float32)
    spacing = 0.12 * max(size)
    open_points = np.ones(len(points), dtype=bool)
    covered = np.zeros(interest.shape, dtype=bool)
    asked: list[NDArray[np.float32]] = []
    answers: list[Answers] = []
    while sum(map(len, asked)) < settings.prompts and open_points.any():
        room = settings.prompts - sum(map(len, asked))
        value = score - settings.covered_weight * _at(covered, points, size)
        picked = _spread(points, np.where(open_points, value, -np.inf), spacing)
        picked = picked[: min(settings.batch, room)]
        # Points may lie on one another, as hints that were moved into the picture: ask them once.
        open_points &= (points[:, None] != points[picked]).any(axis=2).all(axis=1)
        asked.append(points[picked])
        answers.append(ask(points[picked]))
        covered |= _covered(answers[-1], interest.shape, settings)
    return collect(answers, np.concatenate(asked), size, settings)


def evidence_peaks(
    groups: NDArray[np.float32],
    presence: NDArray[np.float32],
    size: tuple[int, int],
    settings: ProposalSettings,
) -> NDArray[np.float32]:
    """Where visible groups are most surely seen: small objects lie between the grid's points.

    Parameters
    ----------
    groups, presence : (G, h, w) and (G,), see `FrameAnalysis`.
    size : (height, width) of the frame.

    Returns
    -------
    (K, 2) points x, y in pixels of the frame, at most two a group, the surest first.
    """
    rows, columns = groups.shape[1:]
    longest = max(rows, columns)
    window = max(3, int(_PEAK_WINDOW * longest) | 1)
    reach = max(1, int(_PEAK_REACH * longest))
    found: list[tuple[float, float, float]] = []
    for group in np.flatnonzero(presence >= settings.peak_presence):
        smooth = np.asarray(cv2.boxFilter(groups[group], cv2.CV_32F, (window, window)), np.float32)
        top = float(smooth.max())
        for _ in range(_PEAKS_OF_GROUP):
            y, x = divmod(int(smooth.argmax()), columns)
            value = float(smooth[y, x])
            if value < max(0.5 * top, _LEAST_PEAK):
                break
            found.append((value, (x + 0.5) * size[1] / columns, (y + 0.5) * size[0] / rows))
            smooth[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1] = 0.0
    found.sort(reverse=True)
    return np.array([place[1:] for place in found[: settings.peaks]], np.float32).reshape(-1, 2)


def collect(
    answers: list[Answers],
    points: NDArray[np.float32],
    size: tuple[int, int],
    settings: ProposalSettings,
) -> Proposals:
    """Filter by quality, stability and area, and drop repeated masks.

    If nothing passes, the best answer is kept: a frame always has a proposal.
    """
    logits = np.concatenate([answer.logits for answer in answers])
    logits = logits.reshape(-1, *logits.shape[2:])  # (3K, lh, lw)
    quality = np.concatenate([answer.quality for answer in answers]).ravel()
    stability = np.concatenate([answer.stability for answer in answers]).ravel()
    share = (logits > 0).mean(axis=(1, 2))
    good = (quality > settings.least_quality) & (stability > settings.least_stability)
    good &= (share > settings.smallest) & (share < settings.largest)
    index = np.flatnonzero(good) if good.any() else np.array([int(quality.argmax())])
    rows, columns = work_size(*size)
    masks = np.stack([resized(logits[k], (rows, columns)) > 0 for k in index])
    kept = suppress(masks, quality[index], settings.same_mask)
    index = index[kept]
    return Proposals(
        logits=logits[index].astype(np.float16),
        masks=masks[kept],
        quality=quality[index].astype(np.float32),
        stability=stability[index].astype(np.float32),
        prompts=points,
    )


def no_proposals(size: tuple[int, int]) -> Proposals:
    """An empty set, for the mode without SAM."""
    rows, columns = work_size(*size)
    empty = np.zeros(0, dtype=np.float32)
    return Proposals(
        logits=np.zeros((0, rows, columns), dtype=np.float16),
        masks=np.zeros((0, rows, columns), dtype=bool),
        quality=empty,
        stability=empty,
        prompts=np.zeros((0, 2), dtype=np.float32),
    )


def _cell_scores(
    interest: FloatMap, points: NDArray[np.float32], size: tuple[int, int]
) -> NDArray[np.float32]:
    """Interest around each point, averaged over a cell of the guide grid."""
    rows, columns = interest.shape
    cell = (columns // _GUIDE_CELLS | 1, rows // _GUIDE_CELLS | 1)
    smooth = np.asarray(cv2.boxFilter(interest, cv2.CV_32F, cell), dtype=np.float32)
    return _at(smooth, points, size)


def _at(
    values: NDArray[np.generic], points: NDArray[np.float32], size: tuple[int, int]
) -> NDArray[np.float32]:
    """Values of a map over the frame at points (K, 2) in pixels of the frame."""
    rows, columns = values.shape
    y = np.clip(points[:, 1] * rows / size[0], 0, rows - 1).astype(int)
    x = np.clip(points[:, 0] * columns / size[1], 0, columns - 1).astype(int)
    return np.asarray(values[y, x], dtype=np.float32)


def _spread(
    points: NDArray[np.float32], value: NDArray[np.float32], spacing: float
) -> NDArray[np.int64]:
    """Indices of the best points, none closer to a better one than `spacing`."""
    picked: list[int] = []
    for k in np.argsort(-value, kind="stable"):
        if not np.isfinite(value[k]):
            break
        if all(np.hypot(*(points[k] - points[other])) > spacing for other in picked):
            picked.append(int(k))
    return np.array(picked, dtype=np.int64)


def _covered(
    answers: Answers, shape: tuple[int, ...], settings: ProposalSettings
) -> NDArray[np.bool_]:
    """(h, w) bool, where a good and not too large mask lies."""
    inside = answers.logits > 0
    good = (answers.quality > settings.least_quality + 0.05) & (
        answers.stability > settings.least_stability + 0.05
    )
    good &= inside.mean(axis=(2, 3)) < settings.largest_cover
    union = inside[good].any(axis=0) if good.any() else np.zeros(inside.shape[2:], dtype=bool)
    return resized(np.asarray(union, dtype=np.float32), (shape[0], shape[1])) > 0.5
