"""SAM's automatic masks: a grid of points, official filters in the official order.

The steps are those of `SamAutomaticMaskGenerator` (segment-anything) with its default of one crop
and no smallest region. The filter on predicted IoU comes first and needs no large mask, so only
what passes it is enlarged to the picture; there the stability score, the mask and its box are
taken, as there. Boxes near the border of the only crop are kept there, so nothing is done here.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from moca_core.models.sam import Sam, SamEmbedding, stability_score
from moca_core.pipeline.analysis import Proposals, resized, work_size
from moca_core.pipeline.proposals import GridSettings, grid_points
from moca_core.types import StageEvent

_LARGE_BYTES = 256 * 2**20
"""What the enlarged masks of one step may take."""
_CPU_POINTS = 8
"""Points asked at once on a CPU: more save no time there, and 64 can't be stopped for 15 s."""


@dataclass(frozen=True, eq=False)
class Found:
    """Masks that passed the filters, the best predicted IoU first.

    Attributes
    ----------
    logits : (P, lh, lw) float16, low-resolution logits over the picture.
    boxes : (P, 4) float32 x0, y0, x1, y1: the outermost pixels of the mask at the picture's size.
    areas : (P,) int64 pixels of the mask at the picture's size.
    quality, stability : (P,) float32.
    points : (P, 2) float32, the point that was asked.
    """

    logits: NDArray[np.float16]
    boxes: NDArray[np.float32]
    areas: NDArray[np.int64]
    quality: NDArray[np.float32]
    stability: NDArray[np.float32]
    points: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.quality)

    def at(self, index: NDArray[np.int64] | list[int]) -> Found:
        """Some of them."""
        return Found(
            self.logits[index],
            self.boxes[index],
            self.areas[index],
            self.quality[index],
            self.stability[index],
            self.points[index],
        )


def automatic_proposals(
    sam: Sam, embedding: SamEmbedding, settings: GridSettings
) -> Generator[StageEvent, None, Proposals]:
    """The masks of `automatic_masks` as proposals; none where no mask passes the filters."""
    found = yield from automatic_masks(sam, embedding, settings)
    work = work_size(*embedding.size)
    inside = settings.mask_threshold
    masks = [resized(logits.astype(np.float32), work) > inside for logits in found.logits]
    return Proposals(
        logits=found.logits,
        masks=np.stack(masks) if masks else np.zeros((0, *work), dtype=bool),
        quality=found.quality,
        stability=found.stability,
        prompts=grid_points(embedding.size, settings.points_per_side),
    )


def automatic_masks(
    sam: Sam, embedding: SamEmbedding, settings: GridSettings
) -> Generator[StageEvent, None, Found]:
    """Ask at a grid of points and filter; yields before each batch of points."""
    points = grid_points(embedding.size, settings.points_per_side)
    step = settings.points_per_batch
    if embedding.features.device.type == "cpu":
        step = min(step, _CPU_POINTS)
    parts: list[Found] = []
    for start in range(0, len(points), step):
        yield StageEvent("masks", start, len(points))
        part = points[start : start + step]
        parts.append(_ask(sam, embedding, part, settings))
    found = Found(
        np.concatenate([part.logits for part in parts]),
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.areas for part in parts]),
        np.concatenate([part.quality for part in parts]),
        np.concatenate([part.stability for part in parts]),
        np.concatenate([part.points for part in parts]),
    )
    return found.at(box_nms(found.boxes, found.quality, settings.box_nms_thresh))


def box_nms(
    boxes: NDArray[np.float32], score: NDArray[np.float32], limit: float
) -> NDArray[np.int64]:
    """Non-maximum suppression by the IoU of boxes.

    Parameters
    ----------
    boxes : (N, 4) x0, y0, x1, y1; a box of no width or height overlaps nothing.
    limit : IoU above which the box of the lower score is dropped.

    Returns
    -------
    Indices kept, the best score first; of equal scores the earlier one.
    """
    order = np.argsort(-score, kind="stable")
    x0, y0, x1, y1 = boxes[order].T
    area = (x1 - x0) * (y1 - y0)
    open_ = np.ones(len(order), dtype=bool)
    kept: list[int] = []
    for k in range(len(order)):
        if not open_[k]:
            continue
        kept.append(int(order[k]))
        rest = slice(k + 1, None)
        width = np.minimum(x1[k], x1[rest]) - np.maximum(x0[k], x0[rest])
        height = np.minimum(y1[k], y1[rest]) - np.maximum(y0[k], y0[rest])
        overlap = np.maximum(width, 0) * np.maximum(height, 0)
        union = area[k] + area[rest] - overlap
        # Two boxes of no area have no union either.
        open_[rest] &= ~((union > 0) & (overlap / np.where(union > 0, union, 1) > limit))
    return np.array(kept, dtype=np.int64)


def _ask(
    sam: Sam, embedding: SamEmbedding, points: NDArray[np.float32], settings: GridSettings
) -> Found:
    """Ask at points (K, 2) and keep what passes the filters that look at one mask."""
    ones = np.ones((len(points), 1), dtype=np.int64)
    logits, iou = sam.decode_square(embedding, points[:, None], ones)
    asked = torch.arange(len(points), device=iou.device).repeat_interleave(iou.shape[1])
    logits, iou = logits.flatten(0, 1), iou.flatten()
    good = iou > (settings.pred_iou_thresh if settings.pred_iou_thresh > 0 else -torch.inf)
    logits, iou, asked = logits[good], iou[good], asked[good]
    stability, boxes, areas = _measured(sam, embedding, logits, settings)
    stable = stability >= max(settings.stability_score_thresh, 0)
    small = sam.without_padding(logits[stable], embedding)
    return Found(
        small.half().cpu().numpy(),
        boxes[stable].cpu().numpy(),
        areas[stable].cpu().numpy(),
        iou[stable].cpu().numpy(),
        stability[stable].cpu().numpy(),
        points[asked[stable].cpu().numpy()],
    )


def _measured(
    sam: Sam, embedding: SamEmbedding, logits: Tensor, settings: GridSettings
) -> tuple[Tensor, Tensor, Tensor]:
    """Stability (N,), boxes (N, 4) and areas (N,) of masks at the picture's size.

    Few are enlarged at once: a thousand of a large picture wouldn't fit the memory.
    """
    side = sam.longest_side**2 + embedding.size[0] * embedding.size[1]
    step = max(1, _LARGE_BYTES // (4 * side))
    threshold = settings.mask_threshold
    stability, boxes, areas = [logits.new_zeros(0)], [logits.new_zeros(0, 4)], []
    for start in range(0, len(logits), step):
        large = sam.enlarge(logits[start : start + step, None], embedding)[:, 0]
        stability.append(stability_score(large - threshold, settings.stability_score_offset))
        masks = large > threshold
        boxes.append(_boxes(masks))
        areas.append(masks.sum((1, 2)))
    areas.append(torch.zeros(0, dtype=torch.int64, device=logits.device))
    return torch.cat(stability), torch.cat(boxes), torch.cat(areas)


def _boxes(masks: Tensor) -> Tensor:
    """(N, h, w) bool -> (N, 4) float32 first column, first row, last column, last row.

    An empty mask has the box 0, 0, 0, 0.
    """
    ends = []
    for axis in (1, 2):  # columns, then rows
        hit = masks.any(axis).int()
        first = hit.argmax(1)
        last = hit.shape[1] - 1 - hit.flip(1).argmax(1)
        ends.append((first, last * hit.amax(1)))
    (left, right), (top, bottom) = ends
    return torch.stack([left, top, right, bottom], dim=1).float()
