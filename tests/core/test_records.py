"""What is kept of an evaluated case: to a line of JSON and back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from moca_core.evaluation.layouts import Case
from moca_core.evaluation.metrics import score_frame
from moca_core.evaluation.records import CaseRecord, from_line, record_of, to_line
from moca_core.types import Prediction

NOWHERE = Path("nowhere")
CASE = Case("dög/1", "single", "dog", NOWHERE, NOWHERE, NOWHERE, group="picture")


def record(truth: np.ndarray, agreement: float | None = None) -> CaseRecord:
    soft = np.linspace(0, 1, truth.size, dtype=np.float32).reshape(truth.shape)
    prediction = Prediction(soft > 0.7, soft, "", agreement)
    return record_of(CASE, prediction, score_frame(prediction.mask, soft, truth), "right", 0.1)


@pytest.mark.parametrize("wanted", [0, 13])
def test_a_record_comes_back_to_the_last_digit(wanted: int) -> None:
    truth = np.arange(70).reshape(7, 10) < wanted
    before = record(truth, 1 / 3)
    line = to_line(before)
    assert line.endswith("\n")
    assert line.count("\n") == 1
    assert from_line(line) == before
    assert (before.f_curve is None) == (wanted == 0)


def test_the_metrics_get_what_was_measured() -> None:
    truth = np.arange(70).reshape(7, 10) % 3 == 0
    kept = record(truth)
    soft = np.linspace(0, 1, 70, dtype=np.float32).reshape(7, 10)
    score = score_frame(soft > 0.7, soft, truth)
    assert (kept.frame_score.f_binary, kept.frame_score.empty) == (score.f_binary, score.empty)
    np.testing.assert_array_equal(kept.frame_score.f_curve, score.f_curve)
    assert (kept.j, kept.intersection, kept.union) == (score.j, score.intersection, score.union)


def test_the_score_is_the_agreement_or_the_claimed_share() -> None:
    truth = np.ones((7, 10), bool)
    assert record(truth, 0.25).score == 0.25
    assert record(truth).score == pytest.approx(0.3)
    assert (record(truth).clip, record(truth).group) == ("dög/1", "picture")


@pytest.mark.parametrize("line", ["", "{", "[]", "{}", json.dumps({"id": "a"}), '{"id": "a", "su'])
def test_anything_else_is_no_record(line: str) -> None:
    with pytest.raises(ValueError):
        from_line(line)


WRONG = {
    "id": [1],
    "subset": 5,
    "clip": {},
    "j": "x",
    "intersection": -1,
    "union": 0.5,
    "f_binary": "q",
    "f_curve": [0.1],
    "empty": "no",
    "nearest": 7,
    "reason": None,
    "score": float("nan"),
    "seconds": None,
    "classes": {"dog": [1, 2]},
    "files": [None],
}


@pytest.mark.parametrize("name", WRONG)
def test_a_line_whose_values_cannot_be_is_no_record(name: str) -> None:
    values = json.loads(to_line(record(np.ones((7, 10), bool))))
    assert from_line(json.dumps(values))
    with pytest.raises(ValueError):
        from_line(json.dumps(values | {name: WRONG[name]}))


def test_a_line_that_is_too_deep_is_no_record() -> None:
    with pytest.raises(ValueError):
        from_line("[" * 100_000)
