"""M_J and M_F equal AVSBench's own definitions, restated here in plain loops of torch.

After `mask_iou`, `_eval_pr` and `Eval_Fmeasure` in avs_scripts/avs_s4/utils/utility.py of
OpenNLPLab/AVSBench, which take a batch and leave the mean over batches to test.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from moca_core.evaluation.metrics import (
    THRESHOLDS,
    FrameScore,
    f_curve,
    score_frame,
    summarise,
)

SIDE = 12
NONE, ALL, PIXEL, LEFT = (np.zeros((SIDE, SIDE), bool) for _ in range(4))
ALL[:] = True
PIXEL[3, 7] = True
LEFT[:, : SIDE // 2] = True


def official_iou(masks: torch.Tensor, truths: torch.Tensor) -> float:
    """`mask_iou` of a batch (N, H, W), frame by frame."""
    total = 0.0
    for mask, truth in zip(masks, truths, strict=True):
        if truth.sum() == 0:
            inter, union = ((1 - truth) * (1 - mask)).sum(), truth.numel()
        else:
            inter, union = (mask * truth).sum(), torch.maximum(mask, truth).sum()
        total += float(inter / (union + 1e-7))
    return total / len(masks)


def official_f(softs: torch.Tensor, truths: torch.Tensor) -> float:
    """`Eval_Fmeasure` of a batch (N, H, W): the best threshold of the mean over its frames."""
    total, count = torch.zeros(255, dtype=softs.dtype), 0
    for soft, truth in zip(softs, truths, strict=True):
        if truth.mean() == 0:
            continue
        count += 1
        for place, threshold in enumerate(torch.linspace(0, 1 - 1e-10, 255, dtype=softs.dtype)):
            claimed = (soft >= threshold).to(softs.dtype)
            hits = (claimed * truth).sum()
            precision, recall = hits / (claimed.sum() + 1e-20), hits / (truth.sum() + 1e-20)
            value = (1 + 0.3) * precision * recall / (0.3 * precision + recall)
            total[place] += 0.0 if torch.isnan(value) else value
    # An empty batch has score 0, and test.py counts it.
    return float((total / count).max()) if count else 0.0


def official_test(softs: np.ndarray, truths: np.ndarray, batch: int) -> tuple[float, float]:
    """What test.py prints: the mean over batches of their IoU and of their F."""
    overlaps, scores = [], []
    for start in range(0, len(softs), batch):
        soft = torch.from_numpy(softs[start : start + batch]).double()
        truth = torch.from_numpy(truths[start : start + batch]).double()
        overlaps.append(official_iou((soft > 0.5).double(), truth))
        scores.append(official_f(soft, truth))
    return float(np.mean(overlaps)), float(np.mean(scores))


def ours(softs: np.ndarray, truths: np.ndarray) -> list[FrameScore]:
    return [score_frame(soft > 0.5, soft, truth) for soft, truth in zip(softs, truths, strict=True)]


def drawn(frames: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(n, H, W) float32 soft masks that somewhat follow (n, H, W) bool truths of all sizes."""
    draw = np.random.default_rng(seed)
    truths = draw.random((frames, SIDE, SIDE)) < draw.random((frames, 1, 1))
    gain, shift = draw.random((2, frames, 1, 1))
    softs = gain * truths + (1 - gain) * draw.random((frames, SIDE, SIDE)) * shift
    return softs.astype(np.float32), truths


def on_thresholds() -> np.ndarray:
    """(H, W) float64, every value exactly one of the thresholds, both ends among them."""
    places = np.linspace(0, 254, SIDE * SIDE).round().astype(int)
    return THRESHOLDS[places].reshape(SIDE, SIDE)


def edges() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    ramp = np.linspace(0, 1, SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE)
    softs = {
        "nothing": NONE,
        "everything": ALL,
        "a pixel": PIXEL,
        "the left half": LEFT,
        "the right half": ~LEFT,
        "a half everywhere": np.full((SIDE, SIDE), 0.5),
        "a ramp": ramp,
        "thresholds themselves": on_thresholds(),
    }
    truths = {"nothing": NONE, "everything": ALL, "a pixel": PIXEL, "the left half": LEFT}
    for claim, soft in softs.items():
        for true, truth in truths.items():
            yield f"{claim} for {true}", soft.astype(np.float64), truth


@pytest.mark.parametrize(
    ("soft", "truth"), [pytest.param(*rest, id=name) for name, *rest in edges()]
)
def test_a_frame_scores_what_the_official_functions_give(
    soft: np.ndarray, truth: np.ndarray
) -> None:
    (score,) = ours(soft[None], truth[None])
    j, f = official_test(soft[None], truth[None], 1)
    assert score.j == pytest.approx(j, abs=2e-7)  # eps in their denominator
    result = summarise([score])
    if truth.any():
        assert result["f_max_clip"] == pytest.approx(f, abs=1e-12)
        assert result["f_max_dataset"] == pytest.approx(f, abs=1e-12)
    else:
        assert (score.f_curve, result["f_max_clip"], f) == (None, None, 0.0)


def test_random_frames_score_what_the_official_functions_give() -> None:
    softs, truths = drawn(25)
    truths[[3, 11]] = False
    result = summarise(ours(softs, truths), clips=[place // 5 for place in range(25)])
    j, f = official_test(softs, truths, 5)
    assert result["m_j"] == pytest.approx(j, abs=1e-8)
    assert result["f_max_clip"] == pytest.approx(f, abs=1e-12)
    # One threshold for all is their value for a single batch.
    assert result["f_max_dataset"] == pytest.approx(official_test(softs, truths, 25)[1], abs=1e-12)


def test_their_single_precision_makes_no_difference_that_is_printed() -> None:
    softs, truths = drawn(5, seed=7)
    single = official_f(torch.from_numpy(softs), torch.from_numpy(truths).float())
    result = summarise(ours(softs, truths), clips=["clip"] * 5)
    assert result["f_max_clip"] == pytest.approx(single, abs=1e-6)


def test_the_official_f_depends_on_the_batch_and_ours_does_not() -> None:
    """Frames whose best thresholds differ: the more of them share one, the lower is the mean."""
    softs, truths = drawn(20, seed=2)
    official = {batch: official_test(softs, truths, batch)[1] for batch in (1, 4, 5, 20)}
    assert [round(official[batch], 3) for batch in (1, 4, 5, 20)] == [0.926, 0.878, 0.870, 0.864]

    clips = np.arange(20) // 5
    whole = summarise(ours(softs, truths), clips=clips.tolist())
    for batch in (1, 4, 5):
        order = np.random.default_rng(batch).permutation(20)
        scores: list[FrameScore] = []
        for start in range(0, 20, batch):
            part = order[start : start + batch]
            scores += ours(softs[part], truths[part])
        again = summarise(scores, clips=clips[order].tolist())
        assert again == pytest.approx(whole, rel=1e-12)
    # The three names say which batch is meant: a frame as a clip, a clip, the whole set.
    alone = summarise(ours(softs, truths))["f_max_clip"]
    assert alone == pytest.approx(official[1], abs=1e-12)
    assert whole["f_max_clip"] == pytest.approx(official[5], abs=1e-12)
    assert whole["f_max_dataset"] == pytest.approx(official[20], abs=1e-12)


def test_a_short_last_batch_weighs_as_much_as_a_full_one_in_the_official_mean() -> None:
    """So that even their IoU depends on the batch; ours is the mean over frames."""
    softs = np.stack([LEFT, LEFT, LEFT, LEFT, ~LEFT]).astype(np.float32)
    truths = np.stack([LEFT] * 5)
    assert official_test(softs, truths, 5)[0] == pytest.approx(4 / 5)
    assert official_test(softs, truths, 4)[0] == pytest.approx((1 + 0) / 2)
    assert summarise(ours(softs, truths))["m_j"] == 4 / 5


def test_a_clip_that_is_silent_throughout_counts_zero_there_and_not_at_all_here() -> None:
    softs = np.stack([LEFT, LEFT, NONE, NONE]).astype(np.float32)
    truths = np.stack([LEFT, LEFT, NONE, NONE])
    assert official_test(softs, truths, 2)[1] == pytest.approx((1 + 0) / 2)
    assert summarise(ours(softs, truths), clips=["a", "a", "b", "b"])["f_max_clip"] == 1


def test_what_is_not_a_number_passes_no_threshold() -> None:
    soft = np.where(LEFT, 0.8, np.nan)
    np.testing.assert_array_equal(f_curve(soft, ALL), f_curve(np.where(LEFT, 0.8, -1.0), ALL))
    assert f_curve(soft, ALL)[0] == pytest.approx(official_f(*_batch(soft, ALL)))


def _batch(soft: np.ndarray, truth: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(soft)[None], torch.from_numpy(truth).double()[None]
