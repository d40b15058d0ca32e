"""What is kept of each evaluated case, as lines of JSON: numbers and words, no pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import numpy as np

from moca_core.evaluation.classes import Counts
from moca_core.evaluation.layouts import Case
from moca_core.evaluation.metrics import THRESHOLDS, FrameScore
from moca_core.fileio import is_finite, parse_json
from moca_core.types import Prediction

SCORES_VERSION = 1
"""Raised whenever the same masks get other numbers."""


@dataclass(frozen=True)
class CaseRecord:
    """All that the report needs of a case.

    Attributes
    ----------
    id, subset, category, group, files : as in `Case`.
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
    files: tuple[str, ...] = ()

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
        files=case.files,
    )


def to_line(record: CaseRecord) -> str:
    """A record as a line of JSON with its line break; numbers come back to the last digit."""
    return json.dumps(asdict(record), ensure_ascii=False, allow_nan=False) + "\n"


def from_line(line: str) -> CaseRecord:
    """The record in a line of `to_line`; raises `ValueError` for anything else."""
    values = parse_json(line)
    if not isinstance(values, dict) or values.keys() != _CHECKS.keys():
        raise ValueError("not the record of a case")
    if not all(_CHECKS[name](value) for name, value in values.items()):
        raise ValueError("not the record of a case")
    values["files"] = tuple(values["files"])
    if values["f_curve"] is not None:
        values["f_curve"] = tuple(values["f_curve"])
    if values["classes"] is not None:
        values["classes"] = {name: tuple(row) for name, row in values["classes"].items()}
    return CaseRecord(**values)


def is_of(record: CaseRecord, case: Case) -> bool:
    """Whether a record is of this very case: another manifest may give its id to another one."""
    kept = (record.id, record.subset, record.category, record.group, record.files)
    return kept == (case.id, case.subset, case.category, case.group, case.files)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_number_or_none(value: object) -> bool:
    return value is None or is_finite(value)


def _is_curve(value: object) -> bool:
    if not isinstance(value, list):
        return value is None
    return len(value) == len(THRESHOLDS) and all(map(is_finite, value))


def _are_counts(value: object) -> bool:
    if not isinstance(value, dict):
        return value is None
    return all(
        isinstance(row, list) and len(row) == 3 and all(map(_is_count, row))
        for row in value.values()
    )


_CHECKS: Mapping[str, Callable[[object], bool]] = {
    **dict.fromkeys(("id", "subset", "category", "group", "clip", "nearest", "reason"), _is_text),
    "files": _are_texts,
    **dict.fromkeys(("j", "score", "seconds"), is_finite),
    **dict.fromkeys(("intersection", "union"), _is_count),
    "f_binary": _is_number_or_none,
    "f_curve": _is_curve,
    "empty": lambda value: isinstance(value, bool),
    "classes": _are_counts,
}
"""What each field of a record must be in JSON: a line may be damaged, or another program's."""
