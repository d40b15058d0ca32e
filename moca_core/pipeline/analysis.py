"""What one frame holds, whatever the sound: the expensive half of the pipeline, kept for reuse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from moca_core.types import FloatMap

WORK_SIDE = 256
"""Longer side in pixels of the working grid, on which regions and proposals are compared."""


def work_size(height: int, width: int) -> tuple[int, int]:
    """(rows, columns) of the working grid of a frame of `height` x `width` pixels."""
    scale = WORK_SIDE / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def resized(values: NDArray[np.float32], size: tuple[int, int], shrink: bool = False) -> FloatMap:
    """A map at `size` (rows, columns): bilinear, or by area means where it shrinks."""
    method = cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(values, size[::-1], interpolation=method), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Proposals:
    """Mask proposals of one frame, the best predicted IoU first.

    Attributes
    ----------
    logits : (P, lh, lw) float16, SAM's low-resolution mask logits over the whole frame.
    masks : (P, h, w) bool on the working grid.
    quality : (P,) float32, the predicted IoU.
    stability : (P,) float32, SAM's stability score.
    prompts : (K, 2) float32, the prompt points in pixels of the frame (x, y), for looking at.
    """

    logits: NDArray[np.float16]
    masks: NDArray[np.bool_]
    quality: NDArray[np.float32]
    stability: NDArray[np.float32]
    prompts: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.masks)


@dataclass(frozen=True, eq=False)
class FrameAnalysis:
    """Everything the encoders say of one frame without its sound.

    A bundle whose evidence is a likeness to the sound itself has no group until a sound is there:
    `Bundle.relate` gives it one, what is heard.

    Attributes
    ----------
    size : (height, width) of the frame.
    groups : (G, h, w) float32, how much each location looks like each sound group, 0 to 1; less
        than 0 where it looks less like what is heard than the rest of the picture does.
    presence : (G,) float32, 0 to 1, how surely each group is somewhere in the frame.
    kindred : (G,) float32, the same where groups that are easily taken for each other lend
        each other a part of their presence.
    saliency : (h, w) float32, 0 to 1.
    tokens : (N, D) float32 patch tokens, row-major over `token_grid`.
    token_grid : (rows, columns) of the tokens.
    proposals : the mask proposals.
    looks : (P, G) float32, how much each proposal looks like each group, scaled as `groups`.
    labels : (N,) the cluster of each token, where the bundle found them for all its pictures at
        once; otherwise `clusters.labels_of` does.
    prefix : (1 + N, D) float32 tokens that enter the first adapted block, the class token first;
        None without an adapter.
    attention : maps (N,) by adapted block, of a frame that was related to a sound.
    joint : (1 + N, De) float32 unit features of the picture and of its patches in the space that
        it shares with the sound; None in a bundle that has no such space.
    """

    size: tuple[int, int]
    groups: NDArray[np.float32]
    presence: NDArray[np.float32]
    kindred: NDArray[np.float32]
    saliency: FloatMap
    tokens: NDArray[np.float32]
    token_grid: tuple[int, int]
    proposals: Proposals
    looks: NDArray[np.float32]
    labels: NDArray[np.int64] | None = None
    joint: NDArray[np.float32] | None = None
    prefix: NDArray[np.float32] | None = None
    attention: Mapping[int, NDArray[np.float32]] = field(default_factory=dict)


def mean_inside(masks: NDArray[np.bool_], maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean of each map inside each mask: (P, h, w) bool, (G, h, w) -> (P, G); 0 for empty masks."""
    flat = _flat(masks).astype(np.float32)
    area = np.maximum(flat.sum(axis=1, keepdims=True), 1.0)
    return (flat @ maps.reshape(len(maps), -1).T / area).astype(np.float32)


def mean_around(
    masks: NDArray[np.bool_], maps: NDArray[np.float32], margin: int
) -> NDArray[np.float32]:
    """Mean of each map in a ring of `margin` pixels around each mask; shapes as `mean_inside`."""
    # A square: it is taken apart into a row and a column, ten times as fast as a disc.
    kernel = np.ones((2 * margin + 1, 2 * margin + 1), dtype=np.uint8)
    rings = np.zeros(masks.shape, dtype=bool)
    for ring, mask in zip(rings, masks, strict=True):
        ring[:] = cv2.dilate(mask.view(np.uint8), kernel).astype(bool) & ~mask
    return mean_inside(rings, maps)


def _flat(masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(P, h, w) -> (P, h*w), also for no mask at all, of which -1 can't tell the size."""
    return masks.reshape(len(masks), masks.shape[1] * masks.shape[2])


def pairwise_iou(masks: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(P, h, w) bool -> (P, P) IoU; two empty masks have IoU 0."""
    flat = _flat(masks).astype(np.float32)
    overlap = flat @ flat.T
    area = flat.sum(axis=1)
    return overlap / np.maximum(area[:, None] + area[None, :] - overlap, 1.0)


def suppress(masks: NDArray[np.bool_], score: NDArray[np.float32], limit: float) -> list[int]:
    """Non-maximum suppression by mask IoU: indices kept, the best score first."""
    iou = pairwise_iou(masks)
    kept: list[int] = []
    for candidate in np.argsort(-score, kind="stable"):
        if not kept or iou[candidate, kept].max() <= limit:
            kept.append(int(candidate))
    return kept


def expected_iou(wanted: FloatMap, masks: NDArray[np.bool_]) -> NDArray[np.float32]:
    """IoU of each mask with what is wanted: (h, w) from 0 to 1, (P, h, w) bool -> (P,).

    It is taken as sum(wanted inside) / (|mask| + sum(wanted outside)); with a `wanted` of zeros
    and ones it is the IoU.
    """
    return _expected(wanted.ravel().astype(np.float32), _flat(masks))


def _expected(value: NDArray[np.float32], flat: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The same of (h*w,) and (P, h*w)."""
    overlap = flat.astype(np.float32) @ value
    return overlap / np.maximum(flat.sum(axis=1) + value.sum() - overlap, 1e-6)


def best_cover(wanted: FloatMap, masks: NDArray[np.bool_], gain: float = 0.001) -> list[int]:
    """Choose masks greedily so that their union's `expected_iou` rises by `gain` each time.

    Parameters
    ----------
    wanted : (h, w) float32, 0 to 1, how probably each location is wanted.
    masks : (P, h, w) bool.

    Returns
    -------
    Indices into `masks` in the order in which they were taken; empty if none overlaps.
    """
    value = wanted.ravel().astype(np.float32)
    flat = _flat(masks)
    union = np.zeros(value.shape, dtype=bool)
    chosen: list[int] = []
    best = 0.0
    while len(chosen) < len(flat):
        joined = flat | union  # (P, h*w)
        iou = _expected(value, joined)
        winner = int(iou.argmax())
        if iou[winner] < best + gain:
            break
        best = float(iou[winner])
        union = joined[winner]
        chosen.append(winner)
    return chosen
