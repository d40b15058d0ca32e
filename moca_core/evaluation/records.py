"""What is kept of each evaluated case, as lines of JSON: numbers and words, no pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from moca_core.evaluation.classes import Counts
from moca_core.evaluation.layouts import Case
from moca_core.evaluation.metrics import FrameScore
from moca_core.types import Prediction

SCORES_VERSION = 1
"""Raised whenever the same masks get other numbers."""


@dataclass(frozen=True)
class CaseRecord:
    """All that the report needs of a case.

    Attributes
    ----------
    id, subset, category, group : as in `Case`.
    clip : as in `Case`, the case's own id without one.
    j, intersection, union, f_binary, f_curve, empty : as in `FrameScore`.
    nearest : which truth the mask overlaps most, one of `runner.NEAREST`; "" if that isn't asked.
    reason : why the mask is empty, else "".
    score : how sure the program is that something visible sounds: the agreement of sound and
        sight, or of a baseline that doesn't listen the share of pixels that it claims.
    seconds : what reading, predicting and scoring took, in seconds.
    classes : what `class_counts` counts; None where the data set has no classes.
    """

    id: str
    subset: str
    category: str
    group: str
    clip: str
    j: float
    intersection: int
    union: int
    f_binary: float | None
    f_curve: tuple[float, ...] | None
    empty: bool
    nearest: str
    reason: str
    score: float
    seconds: float
    classes: Counts | None = None

    @property
    def frame_score(self) -> FrameScore:
        """The part that the metrics average."""
        curve = None if self.f_curve is None else np.array(self.f_curve)
        return FrameScore(self.j, self.intersection, self.union, self.f_binary, curve, self.empty)


def record_of(
    case: Case,
    prediction: Prediction,
    score: FrameScore,
    nearest: str,
    seconds: float,
    classes: Counts | None = None,
) -> CaseRecord:
    """The record of a case that was predicted and scored."""
    sure = prediction.agreement
    return CaseRecord(
        id=case.id,
        subset=case.subset,
        category=case.category,
        group=case.group,
        clip=case.clip or case.id,
        j=score.j,
        intersection=score.intersection,
        union=score.union,
        f_binary=score.f_binary,
        f_curve=None if score.f_curve is None else tuple(score.f_curve.tolist()),
        empty=score.empty,
        nearest=nearest,
        reason=prediction.reason,
        score=float(prediction.mask.mean()) if sure is None else sure,
        seconds=seconds,
        classes=classes,
    )


def to_line(record: CaseRecord) -> str:
    """A record as a line of JSON with its line break; numbers come back to the last digit."""
    return json.dumps(asdict(record), ensure_ascii=False, allow_nan=False) + "\n"


def from_line(line: str) -> CaseRecord:
    """The record in a line of `to_line`; raises `ValueError` for anything else."""
    values = json.loads(line)
    if not isinstance(values, Mapping) or values.keys() != _NAMES:
        raise ValueError("not the record of a case")
    filled: dict[str, Any] = dict(values)
    if filled["f_curve"] is not None:
        filled["f_curve"] = tuple(filled["f_curve"])
    if filled["classes"] is not None:
        filled["classes"] = {name: tuple(row) for name, row in filled["classes"].items()}
    return CaseRecord(**filled)


_NAMES = {item.name for item in fields(CaseRecord)}
