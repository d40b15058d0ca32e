"""M_J and M_F of AVSBench with their conventions named (METHOD.md section 8)."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moca_core.types import Mask

THRESHOLDS: NDArray[np.float64] = np.linspace(0.0, 1.0 - 1e-10, 255)
"""(255,) float64, the thresholds at which a soft mask is cut (`>=`)."""

BETA2 = 0.3
"""Weight of recall against precision in the F-score."""


@dataclass(frozen=True, eq=False)
class FrameScore:
    """How well one frame's prediction fits its truth.

    Attributes
    ----------
    j : IoU; where the truth is empty, the IoU of the background.
    intersection, union : pixels, for the IoU of the whole set.
    f_binary : F-score of the mask; None where the truth is empty.
    f_curve : (255,) float64, F-score of the soft mask at `THRESHOLDS`; None as above.
    empty : the predicted mask is empty.
    """

    j: float
    intersection: int
    union: int
    f_binary: float | None
    f_curve: NDArray[np.float64] | None
    empty: bool


def iou(first: Mask, second: Mask) -> float:
    """Intersection over union of two (H, W) masks; 0 if both are empty."""
    union = int(np.count_nonzero(first | second))
    return int(np.count_nonzero(first & second)) / union if union else 0.0


def score_frame(mask: Mask, soft: NDArray[np.floating], truth: Mask) -> FrameScore:
    """Compare a prediction with the truth.

    Parameters
    ----------
    mask, truth : (H, W) bool.
    soft : (H, W) in [0, 1].

    Raises
    ------
    ValueError : the three differ in size.
    """
    if not mask.shape == soft.shape == truth.shape:
        raise ValueError(f"sizes differ: {mask.shape}, {soft.shape}, {truth.shape}")
    positive = int(np.count_nonzero(mask))
    wanted = int(np.count_nonzero(truth))
    intersection = int(np.count_nonzero(mask & truth))
    union = positive + wanted - intersection
    if not wanted:
        j = 1.0 - positive / mask.size
        return FrameScore(j, 0, union, None, None, not positive)
    f_binary = float(f_score(intersection, positive, wanted))
    curve = f_curve(soft, truth)
    return FrameScore(intersection / union, intersection, union, f_binary, curve, not positive)


def f_curve(soft: NDArray[np.floating], truth: Mask) -> NDArray[np.float64]:
    """(255,) float64 F-score of `soft >= threshold` at each of `THRESHOLDS`.

    Parameters
    ----------
    soft : (H, W) in [0, 1]; what isn't a number passes no threshold.
    truth : (H, W) bool, not empty.
    """
    values = soft.ravel().astype(np.float64)
    # A pixel is positive at all thresholds up to its value: `level` counts them.
    level = np.searchsorted(THRESHOLDS, values, side="right")
    level[np.isnan(values)] = 0
    bins = len(THRESHOLDS) + 1
    every = np.bincount(level, minlength=bins)
    right = np.bincount(level[truth.ravel()], minlength=bins)
    # Positive at threshold i are the pixels with level > i: (256,) -> (255,)
    positive = np.cumsum(every[::-1])[::-1][1:]
    intersection = np.cumsum(right[::-1])[::-1][1:]
    return f_score(intersection, positive, int(np.count_nonzero(truth)))


def f_score(
    intersection: NDArray[np.integer] | int, positive: NDArray[np.integer] | int, wanted: int
) -> NDArray[np.float64]:
    """F-score of `intersection` pixels hit, of `positive` claimed and `wanted` true, not 0.

    (1 + b2) P R / (b2 P + R) in counts: (1 + b2) I / (b2 G + P); 0 where I is 0.
    """
    # `wanted` is not 0, so neither is the denominator; rounding may lift a 1 by its last digit.
    score = (1 + BETA2) * np.asarray(intersection, np.float64) / (BETA2 * wanted + positive)
    return np.minimum(score, 1.0)


def summarise(
    scores: Sequence[FrameScore],
    clips: Sequence[Hashable] | None = None,
    groups: Sequence[Hashable] | None = None,
) -> dict[str, float | int | None]:
    """Means over frames, with standard errors as `*_se`; independent of any batch size.

    Parameters
    ----------
    scores : n frames.
    clips : n names; frames of one clip share one threshold in `f_max_clip`. Default: each frame
        is a clip of its own.
    groups : n names; frames that share one (the same picture, say) are not independent, and the
        standard errors count them together. Default: the clips.

    Returns
    -------
    `n`, `m_j`, `iou_dataset`, `f_binary`, `f_max_clip`, `f_max_dataset`, `share_empty`. F-scores
    skip frames with an empty truth, and are None where nothing is left.
    """
    clips = list(range(len(scores))) if clips is None else list(clips)
    groups = clips if groups is None else list(groups)
    result: dict[str, float | int | None] = {"n": len(scores)}
    _put(result, "m_j", [score.j for score in scores], groups)
    union = sum(score.union for score in scores)
    overlap = sum(score.intersection for score in scores)
    result["iou_dataset"] = overlap / union if union else None
    _put_f_scores(result, scores, clips, groups)
    _put(result, "share_empty", [float(score.empty) for score in scores], groups)
    return result


def _put_f_scores(
    result: dict[str, float | int | None],
    scores: Sequence[FrameScore],
    clips: Sequence[Hashable],
    groups: Sequence[Hashable],
) -> None:
    binary, curves, kept_clips, kept_groups = [], [], [], []
    for score, clip, group in zip(scores, clips, groups, strict=True):
        if score.f_curve is not None and score.f_binary is not None:
            binary.append(score.f_binary)
            curves.append(score.f_curve)
            kept_clips.append(clip)
            kept_groups.append(group)
    _put(result, "f_binary", binary, kept_groups)
    by_clip: dict[Hashable, list[int]] = {}
    for place, clip in enumerate(kept_clips):
        by_clip.setdefault(clip, []).append(place)
    best = [float(np.mean([curves[i] for i in at], axis=0).max()) for at in by_clip.values()]
    _put(result, "f_max_clip", best, [kept_groups[at[0]] for at in by_clip.values()])
    at_best: list[float] = []
    if curves:
        table = np.stack(curves)  # (frames, 255)
        at_best = table[:, int(table.mean(axis=0).argmax())].tolist()
    _put(result, "f_max_dataset", at_best, kept_groups)


def _put(
    result: dict[str, float | int | None],
    name: str,
    values: Sequence[float],
    groups: Sequence[Hashable],
) -> None:
    result[name] = float(np.mean(values)) if len(values) else None
    result[f"{name}_se"] = standard_error(values, groups)


def standard_error(values: Sequence[float], groups: Sequence[Hashable]) -> float | None:
    """Standard error of the mean of `values`, those of one group counted together.

    The cluster-robust estimate sqrt(C / (C - 1) * sum over groups of (sum of residuals)^2) / n
    with C groups; with one value a group it is the usual s / sqrt(n). None below two groups.
    """
    sums: dict[Hashable, float] = {}
    mean = float(np.mean(values)) if len(values) else 0.0
    for value, group in zip(values, groups, strict=True):
        sums[group] = sums.get(group, 0.0) + value - mean
    count = len(sums)
    if count < 2:
        return None
    spread = math.fsum(item * item for item in sums.values())
    return math.sqrt(count / (count - 1) * spread) / len(values)
