"""M_J and M_F against values worked out by hand and against a literal reading of their formula."""

import numpy as np
import pytest

from moca_core.evaluation.metrics import (
    THRESHOLDS,
    f_curve,
    iou,
    score_frame,
    standard_error,
    summarise,
)


def grid(*rows: str) -> np.ndarray:
    return np.array([[cell == "#" for cell in row] for row in rows])


def hard(mask: np.ndarray) -> np.ndarray:
    return mask.astype(np.float32)


def literal_curve(soft: np.ndarray, truth: np.ndarray) -> list[float]:
    values = []
    for threshold in THRESHOLDS:
        claimed = soft.astype(np.float64) >= threshold
        hit = (claimed & truth).sum()
        if not hit:
            values.append(0.0)
            continue
        precision, recall = hit / claimed.sum(), hit / truth.sum()
        values.append(1.3 * precision * recall / (0.3 * precision + recall))
    return values


def test_overlap_by_hand() -> None:
    truth = grid("##..", "##..")
    mask = grid(".##.", ".##.")
    # 2 pixels shared, 6 covered; precision 2/4, recall 2/4, so F is 1/2 for any beta.
    score = score_frame(mask, hard(mask), truth)
    assert (score.j, score.intersection, score.union) == (2 / 6, 2, 6)
    assert score.f_binary == pytest.approx(0.5)
    assert not score.empty
    assert iou(mask, truth) == 2 / 6
    assert iou(np.zeros((2, 2), bool), np.zeros((2, 2), bool)) == 0


def test_beta_weighs_precision_more() -> None:
    truth = grid("####")
    mask = grid("#...")
    # precision 1, recall 1/4: 1.3 * 0.25 / (0.3 + 0.25)
    assert score_frame(mask, hard(mask), truth).f_binary == pytest.approx(0.325 / 0.55)


def test_empty_truth_is_judged_by_its_background() -> None:
    truth = np.zeros((2, 4), bool)
    mask = grid("##..", "....")
    score = score_frame(mask, hard(mask), truth)
    assert score.j == 6 / 8
    assert score.f_binary is None
    assert score.f_curve is None
    nothing = score_frame(truth, hard(truth), truth)
    assert nothing.j == 1
    assert nothing.empty


def test_empty_prediction_scores_zero() -> None:
    truth = grid("#.")
    nothing = np.zeros((1, 2), bool)
    score = score_frame(nothing, hard(nothing), truth)
    assert (score.j, score.f_binary, score.empty) == (0, 0, True)
    # Threshold 0 takes every pixel: precision 1/2, recall 1. Above it nothing is left.
    assert score.f_curve[0] == pytest.approx(1.3 * 0.5 / (0.3 * 0.5 + 1))
    assert not score.f_curve[1:].any()


def test_curve_equals_the_literal_formula() -> None:
    rng = np.random.default_rng(0)
    soft = rng.random((17, 23)).astype(np.float32)
    soft[0] = np.float32(THRESHOLDS[100])  # values on a threshold and at both ends
    soft[1], soft[2] = 0, 1
    truth = rng.random((17, 23)) > 0.7
    np.testing.assert_allclose(f_curve(soft, truth), literal_curve(soft, truth), atol=1e-14)


def test_thresholds_are_the_stated_ones() -> None:
    assert len(THRESHOLDS) == 255
    assert THRESHOLDS[0] == 0
    assert THRESHOLDS[-1] == 1 - 1e-10
    # A soft value of exactly 1 passes all of them.
    assert f_curve(np.ones((1, 1), np.float32), np.ones((1, 1), bool)).tolist() == [1] * 255


def test_the_three_f_scores_differ_as_they_should() -> None:
    truth = grid("#...")
    # Frame 1 is best cut above .3, frame 2 between .05 and .3.
    first = np.array([[0.9, 0.3, 0.3, 0.3]], np.float32)
    second = np.array([[0.3, 0.05, 0.05, 0.05]], np.float32)
    scores = [score_frame(soft > 0.5, soft, truth) for soft in (first, second)]
    alone = summarise(scores)
    assert alone["f_max_clip"] == 1  # each frame has its own threshold
    assert alone["f_binary"] == 0.5  # the second mask is empty
    # One threshold: cut at .3 gives 1.3 * .25 / (.3 * .25 + 1) = .3023 and 1; above .3 1 and 0.
    assert alone["f_max_dataset"] == pytest.approx((1 + 0.325 / 1.075) / 2)
    together = summarise(scores, clips=["a", "a"])
    assert together["f_max_clip"] == pytest.approx(alone["f_max_dataset"])


def test_set_values_by_hand() -> None:
    truth = grid("##..")
    scores = [
        score_frame(mask, hard(mask), truth) for mask in (grid("##.."), grid("#..."), grid("...."))
    ]
    result = summarise(scores)
    assert result["n"] == 3
    assert result["m_j"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert result["iou_dataset"] == pytest.approx(3 / 6)
    assert result["share_empty"] == pytest.approx(1 / 3)
    # s of (1, .5, 0) is .5, so the standard error is .5 / sqrt(3)
    assert result["m_j_se"] == pytest.approx(0.5 / np.sqrt(3))


def test_all_truths_empty_leaves_no_f_score() -> None:
    truth = np.zeros((1, 2), bool)
    result = summarise([score_frame(truth, hard(truth), truth)] * 2)
    assert (result["f_binary"], result["f_max_clip"], result["f_max_dataset"]) == (None, None, None)
    assert (result["m_j"], result["iou_dataset"]) == (1, None)


def test_grouped_standard_error() -> None:
    # Two equal values of one picture say no more than one of them: residuals -1, -1, 1, 1.
    assert standard_error([0, 0, 2, 2], list("aabb")) == pytest.approx(np.sqrt(2 * 8) / 4)
    assert standard_error([0, 2], list("ab")) == pytest.approx(1)
    assert standard_error([0, 2], list("aa")) is None


def test_order_and_batch_do_not_matter() -> None:
    rng = np.random.default_rng(1)
    scores = []
    for _ in range(8):
        soft = rng.random((6, 6)).astype(np.float32)
        scores.append(score_frame(soft > 0.5, soft, rng.random((6, 6)) > 0.6))
    forward = summarise(scores)
    backward = summarise(scores[::-1])
    assert forward == pytest.approx(backward)


def test_sizes_must_agree() -> None:
    with pytest.raises(ValueError, match="sizes differ"):
        score_frame(np.zeros((2, 2), bool), np.zeros((2, 3), np.float32), np.zeros((2, 2), bool))
