"""The numbers of a report with how sure they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from moca_core.evaluation.bootstrap import Bootstrap, Interval
from moca_core.evaluation.layouts import ONE_OF_SEVERAL
from moca_core.evaluation.metrics import THRESHOLDS
from moca_core.evaluation.records import CaseRecord
from moca_core.evaluation.roc import Roc, roc
from moca_core.evaluation.runner import NEAREST


@dataclass(frozen=True)
class Metric:
    """A number of the tables: its key in the JSON report, its heading, and what it is."""

    key: str
    name: str
    meaning: str


METRICS = (
    Metric(
        "m_j",
        "mean IoU",
        "Intersection over union of the predicted and the true mask, a number for each case, and "
        "their mean (M_J). Where the truth is empty it is the IoU of the background: the share of "
        "the picture that is rightly left out. Both empty count as 1.",
    ),
    Metric(
        "iou_dataset",
        "dataset IoU",
        "All intersections together over all unions together: large objects weigh more. "
        "A mask where nothing sounds adds to the unions.",
    ),
    Metric(
        "f_binary",
        "F binary",
        "F-score of the final masks: (1 + β²) P R / (β² P + R) with β² = 0.3, so that precision P "
        "counts more than recall R. Mean over the cases whose truth isn't empty.",
    ),
    Metric(
        "f_max_clip",
        "F max, clip",
        "F-score of the soft masks at the best of 255 thresholds from 0 to 1, chosen for each clip "
        "(without clips: each case) and averaged over clips. This is what AVSBench's scripts give "
        "for batches of one clip; the threshold is chosen by the truth.",
    ),
    Metric(
        "f_max_dataset",
        "F max, set",
        "The same with one threshold for all cases of the row, the best one for it.",
    ),
    Metric("share_empty", "empty", "Share of cases in which nothing was predicted."),
)
"""The columns of the tables; further keys of a report are in its JSON file."""

SHARES = (
    Metric("share_right", "right", "Share of masks that are nearest (by IoU) to the true one."),
    Metric(
        "share_both", "both", "... nearest to the union of all that could sound in the picture."
    ),
    Metric("share_other", "other", "... nearest to what another sound of the picture belongs to."),
)
"""Of subsets in which a picture comes with one of several sounds. The rest meets none of them."""


def intervals(records: Sequence[CaseRecord]) -> dict[str, Interval | None]:
    """Bootstrap interval of each of `METRICS` and `SHARES`; None where there is none."""
    drawn = Bootstrap([record.group for record in records])
    scored = [record.f_curve is not None for record in records]
    nothing = np.zeros(len(THRESHOLDS))
    curves = [nothing if record.f_curve is None else record.f_curve for record in records]
    table = np.asarray(curves, np.float64).reshape(len(records), len(THRESHOLDS))
    found = {
        "m_j": drawn.mean([record.j for record in records]),
        "iou_dataset": drawn.ratio(
            [record.intersection for record in records], [record.union for record in records]
        ),
        "f_binary": drawn.mean([record.f_binary or 0.0 for record in records], scored),
        "f_max_clip": drawn.mean(*_best_of_clips(records, table)),
        "f_max_dataset": drawn.ratio(table, scored),
        "share_empty": drawn.mean([record.empty for record in records]),
    }
    for name in (*NEAREST, ""):
        nearest = [record.nearest == name for record in records]
        found[f"share_{name or 'none'}"] = drawn.mean(nearest)
    return found


def _best_of_clips(
    records: Sequence[CaseRecord], table: np.ndarray[Any, np.dtype[np.float64]]
) -> tuple[list[float], list[bool]]:
    """Each clip's F at its best threshold, on its first scored case; and which cases those are."""
    places: dict[str, list[int]] = {}
    for place, record in enumerate(records):
        if record.f_curve is not None:
            places.setdefault(record.clip, []).append(place)
    values, counted = [0.0] * len(records), [False] * len(records)
    for at in places.values():
        values[at[0]] = float(table[at].mean(axis=0).max())
        counted[at[0]] = True
    return values, counted


def mean_curve(records: Sequence[CaseRecord]) -> tuple[float, ...] | None:
    """(255,) mean F-score at each threshold; None where no truth has anything in it."""
    curves = [record.f_curve for record in records if record.f_curve is not None]
    return tuple(np.mean(curves, axis=0).tolist()) if curves else None


def roc_of(records: Sequence[CaseRecord]) -> tuple[Roc, Interval | None] | None:
    """The curve of the score over all cases, with an interval of its area; `roc.roc`."""
    scores = [record.score for record in records]
    sounds = [record.f_curve is not None for record in records]
    groups = [record.group for record in records]
    found = roc(scores, sounds, [not record.empty for record in records], groups)
    return None if found is None else (found, Bootstrap(groups).auc(scores, sounds))


@dataclass(frozen=True)
class Part:
    """Some cases with their numbers: a subset, a category, or all.

    Attributes
    ----------
    numbers : the entry of the JSON report.
    intervals : of the same keys.
    """

    name: str
    records: Sequence[CaseRecord]
    numbers: Mapping[str, Any]
    intervals: Mapping[str, Interval | None]

    @property
    def groups(self) -> int:
        """Pictures, or clips."""
        return len({record.group for record in self.records})

    @property
    def empty_truths(self) -> int:
        """Cases in which nothing that is seen sounds."""
        return sum(record.f_curve is None for record in self.records)

    @property
    def one_of_several(self) -> bool:
        """Its pictures come with one of several sounds."""
        return all(record.subset == ONE_OF_SEVERAL for record in self.records)


def parts_of(
    report: Mapping[str, Any], records: Sequence[CaseRecord], key: str, name: str
) -> list[Part]:
    """The parts that `report[key]` has, of the records whose attribute `name` names them."""
    found: dict[str, list[CaseRecord]] = {}
    for record in records:
        found.setdefault(getattr(record, name), []).append(record)
    return [
        Part(part, found[part], numbers, intervals(found[part]))
        for part, numbers in report[key].items()
        if part in found
    ]
