"""The part of a report on data sets whose masks have classes (AVSBench's `avss`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moca_core.evaluation.bootstrap import Bootstrap, Interval
from moca_core.evaluation.classes import BACKGROUND, summarise_classes
from moca_core.evaluation.records import CaseRecord
from moca_core.evaluation.report.charts import Bar
from moca_core.evaluation.report.estimates import Part
from moca_core.evaluation.report.markup import Child, Markup, joined, tag
from moca_core.evaluation.report.plots import bar_figures
from moca_core.evaluation.report.tables import plain_table, with_interval

_MEANING = (
    "A class has an IoU and an F-score in each frame in which it is true or predicted, so that a "
    "false alarm counts as 0. Those of a class are averaged over its frames, and the means of the "
    "table's first rows over classes: rare ones weigh as much as frequent ones."
)


@dataclass(frozen=True)
class _Scores:
    """Of n frames and K classes: (n, K) float64 `iou` and `f`, (n, K) bool where they are."""

    names: tuple[str, ...]
    iou: NDArray[np.float64]
    f: NDArray[np.float64]
    there: NDArray[np.bool_]


def class_section(everything: Part) -> Markup:
    """Tables and bars of the classes; nothing where the data set has none."""
    numbers = everything.numbers.get("classes")
    if not numbers:
        return Markup()
    records = [record for record in everything.records if record.classes is not None]
    drawn = Bootstrap([record.group for record in records])
    scores = _scores(records, numbers["per_class"])
    ious = {
        name: drawn.mean(scores.iou[:, at], scores.there[:, at])
        for at, name in enumerate(scores.names)
    }
    return joined(
        tag("h3", "By class"),
        tag("p", _MEANING),
        _means(numbers, drawn, scores),
        _table(numbers["per_class"], ious),
        bar_figures("IoU by class", _bars(numbers["per_class"], ious), "mean IoU"),
    )


def _scores(records: Sequence[CaseRecord], per_class: Mapping[str, Any]) -> _Scores:
    names = tuple(per_class)
    place = {name: at for at, name in enumerate(names)}
    iou, f = np.zeros((2, len(records), len(names)))
    there = np.zeros(iou.shape, bool)
    for row, record in enumerate(records):
        of_frame: Any = summarise_classes([record.classes or {}])["per_class"]
        for name, score in of_frame.items():
            at = row, place[name]
            iou[at], f[at], there[at] = score["iou"], score["f"], True
    return _Scores(names, iou, f, there)


def _means(numbers: Mapping[str, Any], drawn: Bootstrap, scores: _Scores) -> Markup:
    """The means over classes, with the background and without."""
    named = np.array([name != BACKGROUND for name in scores.names], bool)
    rows: list[tuple[Child, ...]] = []
    for title, end, kept in (
        ("all classes", "", np.ones_like(named)),
        ("without the background", "_no_background", named),
    ):
        there = scores.there[:, kept]
        rows.append(
            (
                title,
                str(int(np.count_nonzero(kept))),
                with_interval(
                    numbers[f"miou{end}"], drawn.mean_of_means(scores.iou[:, kept], there)
                ),
                with_interval(numbers[f"f{end}"], drawn.mean_of_means(scores.f[:, kept], there)),
            )
        )
    caption = "Means over the classes that occur, 95\u00a0% bootstrap intervals"
    return plain_table(caption, ("", "classes", "mean IoU", "F"), rows, numbers=True)


def _table(per_class: Mapping[str, Any], ious: Mapping[str, Interval | None]) -> Markup:
    rows = [
        (
            name,
            str(row["true_frames"]),
            str(row["frames"]),
            with_interval(row["iou"], ious[name]),
            with_interval(row["f"], None),
        )
        for name, row in per_class.items()
    ]
    heads = ("class", "frames, true", "true or predicted", "IoU", "F")
    return plain_table("Each class, 95\u00a0% bootstrap intervals", heads, rows, numbers=True)


def _bars(per_class: Mapping[str, Any], ious: Mapping[str, Interval | None]) -> list[Bar]:
    ordered = sorted(per_class.items(), key=lambda item: -item[1]["iou"])
    return [Bar(name, row["iou"], ious[name], f"({row['frames']} frames)") for name, row in ordered]
