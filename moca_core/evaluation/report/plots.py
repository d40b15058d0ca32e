"""The plots of a report as figures with captions."""

from __future__ import annotations

from collections.abc import Sequence

from moca_core.evaluation.bootstrap import Interval
from moca_core.evaluation.metrics import THRESHOLDS
from moca_core.evaluation.report.charts import Bar, bars, histogram
from moca_core.evaluation.report.estimates import SHARES, Part, mean_curve
from moca_core.evaluation.report.markup import Child, Markup, clean, tag
from moca_core.evaluation.roc import Roc
from moca_core.export.svg import Axis, Series, line_plot

BARS_A_FIGURE = 30
"""More would not fit on a printed page."""
_UNIT = tuple((tick / 5, f"{tick / 5:.1f}") for tick in range(6))


def figure(drawing: Markup, caption: Child) -> Markup:
    """A drawing with what it says."""
    return tag("figure", drawing, tag("figcaption", caption))


def histograms(parts: Sequence[Part]) -> list[Markup]:
    """The IoU of the cases of each part."""
    found = []
    for part in parts:
        empty = part.empty_truths == len(part.records)
        x_title = "IoU of the background" if empty else "IoU"
        drawing = histogram(part.name, [record.j for record in part.records], x_title)
        found.append(figure(drawing, f"{part.name}: {_cases(len(part.records))}"))
    return found


def f_curves(parts: Sequence[Part]) -> Markup | None:
    """F-score over the threshold of the soft mask; None where no part has one."""
    series = [
        Series(clean(part.name), tuple(THRESHOLDS.tolist()), curve, markers=False)
        for part in parts
        if (curve := mean_curve(part.records)) is not None
    ]
    if not series:
        return None
    drawing = line_plot(
        "F-score over threshold",
        series,
        Axis("threshold of the soft mask", 0.0, 1.0, _UNIT),
        Axis("mean F-score", 0.0, 1.0, _UNIT),
    )
    words = (
        "Mean F-score of the soft masks, cut at each of 255 thresholds. F max, set is the "
        "highest point of a curve."
    )
    return figure(Markup(drawing), words)


def category_bars(parts: Sequence[Part]) -> list[Markup]:
    """Mean IoU of each category, the highest first."""
    ordered = sorted(parts, key=lambda part: -part.numbers["m_j"])
    rows = [
        Bar(part.name, part.numbers["m_j"], part.intervals["m_j"], f"({_cases(len(part.records))})")
        for part in ordered
    ]
    return bar_figures("Mean IoU by category", rows, "mean IoU")


def bar_figures(title: str, rows: Sequence[Bar], x_title: str) -> list[Markup]:
    """Bars with intervals, in as many figures as it takes."""
    pages = [rows[at : at + BARS_A_FIGURE] for at in range(0, len(rows), BARS_A_FIGURE)]
    return [
        figure(
            bars(title, page, x_title),
            f"{title}, with 95\u00a0% intervals{_of(number, len(pages))}.",
        )
        for number, page in enumerate(pages, start=1)
    ]


def _cases(count: int) -> str:
    return "1 case" if count == 1 else f"{count} cases"


def _of(number: int, count: int) -> str:
    return f" ({number} of {count})" if count > 1 else ""


def share_bars(part: Part) -> Markup:
    """Which truth of its picture the masks are nearest to."""
    rows = [Bar(m.name, part.numbers[m.key], part.intervals[m.key]) for m in SHARES]
    neither = [not record.nearest for record in part.records]
    rows.append(Bar("none", sum(neither) / len(neither), part.intervals["share_none"]))
    drawing = bars(f"Nearest truth in {part.name}", rows, "share of the cases")
    words = (
        f"{part.name}: whose true mask is nearest: this sound's (right), that of all sounds of "
        "the picture (both), another sound's (other); none: the mask overlaps nothing of them."
    )
    return figure(drawing, words)


def roc_plot(found: Roc, interval: Interval | None) -> Markup:
    """The ROC curve of the score that decides whether anything visible sounds."""
    series = (
        Series("score", found.false, found.true, markers=False),
        Series("chance", (0.0, 1.0), (0.0, 1.0), markers=False),
        Series("the masks", (found.point[0],), (found.point[1],)),
    )
    drawing = line_plot(
        "ROC of the score",
        series,
        Axis("share of cases with an empty truth that score at least as much", 0.0, 1.0, _UNIT),
        Axis("share of the others", 0.0, 1.0, _UNIT),
    )
    words = (
        f"Area under the curve {found.area:.3f}{_between(interval)}: how probably a case in "
        f"which something visible sounds ({found.positives}) scores above one in which nothing "
        f"does ({found.negatives}). The triangle is where the masks are: they aren't empty in "
        f"{_percent(found.point[1])} of the former and {_percent(found.point[0])} of the latter."
    )
    return figure(Markup(drawing), words)


def _percent(share: float) -> str:
    return f"{100 * share:.0f}\u00a0%"


def _between(interval: Interval | None) -> str:
    if interval is None:
        return ""
    return f" (95\u00a0% interval {interval.low:.3f} to {interval.high:.3f})"
