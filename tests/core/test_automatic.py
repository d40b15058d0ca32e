"""The grid mode of SAM equals its automatic masks: the same filters in the same order, and NMS."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from data.make_reference import load
from numpy.typing import NDArray
from sam_tiny import tiny_sam

from moca_core.models.sam import SamEmbedding, VitSam
from moca_core.pipeline import automatic
from moca_core.pipeline.analysis import work_size
from moca_core.pipeline.automatic import Found, automatic_masks, automatic_proposals, box_nms
from moca_core.pipeline.proposals import GridSettings
from moca_core.types import StageEvent

SIZE = (90, 130)
# A model of random weights is sure of nothing, and its masks are speckles all over the picture:
# these settings keep a part of them at every step.
LOOSE = GridSettings(
    points_per_side=8,
    points_per_batch=7,
    pred_iou_thresh=0.02,
    stability_score_thresh=0.6,
    stability_score_offset=0.02,
    box_nms_thresh=0.5,
    mask_threshold=1.05,
)


@pytest.fixture(scope="module")
def tiny() -> VitSam:
    return tiny_sam()


@pytest.fixture(scope="module")
def embedding(tiny: VitSam) -> SamEmbedding:
    photo = load("photo")["input.image"].numpy()
    return tiny.embed(np.ascontiguousarray(photo[40 : 40 + SIZE[0], 100 : 100 + SIZE[1]]))


def run(steps: Generator[StageEvent, None, Any]) -> tuple[Any, list[StageEvent]]:
    """What a job returns, and what it said on the way."""
    events = []
    while True:
        try:
            events.append(next(steps))
        except StopIteration as end:
            return end.value, events


def plain(sam: VitSam, embedding: SamEmbedding, settings: GridSettings) -> dict[str, Any]:
    """The same in the plainest way, everything at full size at once."""
    side, (height, width) = settings.points_per_side, embedding.size
    places = (np.arange(side) + 0.5) / side
    points = np.array([(x * width, y * height) for y in places for x in places], np.float32)
    ones = np.ones((len(points), 1), dtype=np.int64)
    square, iou = sam.decode_square(embedding, points[:, None], ones)
    kept = []
    for point, logits, qualities in zip(points, square, iou, strict=True):
        for row, quality in zip(logits, qualities, strict=True):
            large = F.interpolate(row[None, None], (256, 256), mode="bilinear")
            large = large[..., : embedding.resized[0], : embedding.resized[1]]
            mask = F.interpolate(large, (height, width), mode="bilinear")[0, 0]
            inner = int((mask > settings.mask_threshold + settings.stability_score_offset).sum())
            outer = int((mask > settings.mask_threshold - settings.stability_score_offset).sum())
            stability = inner / outer if outer else 0.0
            good = float(quality) > settings.pred_iou_thresh
            if not good or stability < settings.stability_score_thresh:
                continue
            y, x = np.nonzero(mask.numpy() > settings.mask_threshold)
            box = (x.min(), y.min(), x.max(), y.max()) if len(x) else (0, 0, 0, 0)
            kept.append((float(quality), stability, box, len(x), point))
    order = plain_nms([row[2] for row in kept], [row[0] for row in kept], settings.box_nms_thresh)
    names = ("quality", "stability", "boxes", "areas", "points")
    return {name: np.array([kept[k][n] for k in order]) for n, name in enumerate(names)}


def plain_nms(boxes: list[tuple[float, ...]], score: list[float], limit: float) -> list[int]:
    """One by one, each against all that were kept."""
    kept: list[int] = []
    for k in sorted(range(len(boxes)), key=lambda number: (-score[number], number)):
        if all(plain_iou(boxes[k], boxes[other]) <= limit for other in kept):
            kept.append(k)
    return kept


def plain_iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    overlap = max(width, 0) * max(height, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap
    return overlap / union if union > 0 else 0.0


def chance_boxes(count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Whole numbers in a small range, so that boxes repeat, touch, and have no area."""
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 12, (count, 2, 2))
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    return boxes.astype(np.float32), rng.integers(0, 20, count).astype(np.float32) / 20


def test_the_official_settings() -> None:
    settings = GridSettings()
    assert (settings.points_per_side, settings.pred_iou_thresh) == (32, 0.88)
    assert (settings.stability_score_thresh, settings.stability_score_offset) == (0.95, 1.0)
    assert (settings.box_nms_thresh, settings.mask_threshold) == (0.7, 0.0)


@pytest.mark.parametrize("limit", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("count", [0, 1, 2, 150])
def test_nms_equals_a_plain_loop(count: int, limit: float) -> None:
    for seed in range(8):
        boxes, score = chance_boxes(count, seed)
        expected = plain_nms([tuple(map(float, box)) for box in boxes], score.tolist(), limit)
        assert box_nms(boxes, score, limit).tolist() == expected


def test_nms_by_hand() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 7], [0, 0, 10, 7.1], [20, 0, 30, 10]], np.float32)
    # 0.7 isn't above 0.7; 0.71 is.
    assert box_nms(boxes, np.array([0.9, 0.8, 0.7, 0.95], np.float32), 0.7).tolist() == [3, 0, 1]
    assert box_nms(boxes[:2], np.array([0.5, 0.5], np.float32), 0.6).tolist() == [0]
    # Boxes of a mask of one pixel have no area, and don't suppress each other.
    nothing = np.array([[3, 3, 3, 3]] * 2, np.float32)
    assert box_nms(nothing, np.array([0.5, 0.6], np.float32), 0.1).tolist() == [1, 0]


def test_it_equals_the_plain_way(tiny: VitSam, embedding: SamEmbedding) -> None:
    found, events = run(automatic_masks(tiny, embedding, LOOSE))
    expected = plain(tiny, embedding, LOOSE)
    # Something is dropped at every step, or the test would say little of it.
    everything = replace(LOOSE, pred_iou_thresh=0, stability_score_thresh=0, box_nms_thresh=2.0)
    counts = [
        len(run(automatic_masks(tiny, embedding, replace(everything, **change)))[0])
        for change in (
            {},
            {"pred_iou_thresh": LOOSE.pred_iou_thresh},
            {"stability_score_thresh": LOOSE.stability_score_thresh},
            {"box_nms_thresh": LOOSE.box_nms_thresh},
        )
    ]
    assert counts[0] == 8 * 8 * 3
    assert all(2 < count < counts[0] for count in counts[1:]), counts
    assert len(found) == len(expected["quality"]) > 2
    np.testing.assert_allclose(found.quality, expected["quality"], atol=1e-5)
    np.testing.assert_allclose(found.stability, expected["stability"], atol=1e-6)
    np.testing.assert_array_equal(found.boxes, expected["boxes"])
    np.testing.assert_array_equal(found.areas, expected["areas"])
    np.testing.assert_allclose(found.points, expected["points"], atol=1e-4)
    assert [(event.done, event.total) for event in events] == [(k, 64) for k in range(0, 64, 7)]


def test_few_points_at_once_on_a_cpu_so_that_it_can_be_stopped(
    tiny: VitSam, embedding: SamEmbedding
) -> None:
    expected, _ = run(automatic_masks(tiny, embedding, LOOSE))
    found, events = run(automatic_masks(tiny, embedding, replace(LOOSE, points_per_batch=64)))
    assert [event.done for event in events] == list(range(0, 64, 8))
    np.testing.assert_array_equal(found.boxes, expected.boxes)


def test_the_thresholds_are_on_their_side(tiny: VitSam, embedding: SamEmbedding) -> None:
    """Predicted IoU must be exceeded, the stability score must be reached."""
    found, _ = run(automatic_masks(tiny, embedding, LOOSE))
    worst = float(found.quality.min())
    again, _ = run(automatic_masks(tiny, embedding, replace(LOOSE, pred_iou_thresh=worst)))
    assert float(again.quality.min()) > worst
    least = float(found.stability.min())
    again, _ = run(automatic_masks(tiny, embedding, replace(LOOSE, stability_score_thresh=least)))
    assert float(again.stability.min()) == least


def test_few_large_masks_at_once(
    tiny: VitSam, embedding: SamEmbedding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step in which masks are enlarged follows their size, and changes nothing."""
    whole, _ = run(automatic_masks(tiny, embedding, LOOSE))
    one = 4 * (256**2 + SIZE[0] * SIZE[1])
    monkeypatch.setattr(automatic, "_LARGE_BYTES", 2 * one + 1)
    sizes: list[int] = []
    enlarge = tiny.enlarge

    def spy(logits: torch.Tensor, picture: SamEmbedding) -> torch.Tensor:
        sizes.append(len(logits))
        return enlarge(logits, picture)

    monkeypatch.setattr(tiny, "enlarge", spy)
    parts, _ = run(automatic_masks(tiny, embedding, LOOSE))
    assert max(sizes) == 2
    for name in Found.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


def test_proposals_are_for_the_pipeline(tiny: VitSam, embedding: SamEmbedding) -> None:
    found, _ = run(automatic_masks(tiny, embedding, LOOSE))
    proposals, events = run(automatic_proposals(tiny, embedding, LOOSE))
    assert len(events) == 10
    assert len(proposals) == len(found)
    assert proposals.masks.shape == (len(found), *work_size(*SIZE))
    assert proposals.masks.dtype == bool
    assert proposals.logits.dtype == np.float16
    assert proposals.prompts.shape == (64, 2)
    assert (np.diff(proposals.quality) <= 0).all()
    plain_settings = replace(LOOSE, mask_threshold=0.0)
    found, _ = run(automatic_masks(tiny, embedding, plain_settings))
    proposals, _ = run(automatic_proposals(tiny, embedding, plain_settings))
    # The working grid shows the same part of the picture as the mask at full size.
    shares = proposals.masks.mean(axis=(1, 2))
    assert len(shares) > 0
    np.testing.assert_allclose(shares, found.areas / (SIZE[0] * SIZE[1]), atol=0.02)


def test_nothing_that_passes_is_no_proposal(tiny: VitSam, embedding: SamEmbedding) -> None:
    """As the official one, which gives an empty list: the caller then has no proposals."""
    proposals, _ = run(automatic_proposals(tiny, embedding, replace(LOOSE, pred_iou_thresh=9.0)))
    assert len(proposals) == 0
    assert proposals.masks.shape == (0, *work_size(*SIZE))
    assert proposals.logits.shape[0] == 0


def test_boxes_are_the_outermost_pixels() -> None:
    masks = torch.zeros(4, 5, 7, dtype=torch.bool)
    masks[0, 1:4, 2:6] = True
    masks[1, 4, 6] = True
    masks[2] = True
    expected = [[2, 1, 5, 3], [6, 4, 6, 4], [0, 0, 6, 4], [0, 0, 0, 0]]
    assert automatic._boxes(masks).tolist() == expected
