"""Tables of a report as HTML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from moca_core.evaluation.bootstrap import Interval
from moca_core.evaluation.report.estimates import METRICS, Metric, Part
from moca_core.evaluation.report.markup import Child, Markup, joined, tag

NONE = "-"
"""Stands where a number isn't defined."""


def numbers_table(
    caption: str, head: str, parts: Sequence[Part], noun: str, columns: Sequence[Metric] = METRICS
) -> Markup:
    """A row for each part: cases, groups (`noun`), and `columns` with error and interval."""
    heads = [head, "cases", noun, *(metric.name for metric in columns)]
    rows = [
        [
            tag("th", part.name, scope="row"),
            _number(str(len(part.records))),
            _number(str(part.groups)),
            *(_estimate(part, metric) for metric in columns),
        ]
        for part in parts
    ]
    return _table(caption, heads, rows, "numbers")


def _estimate(part: Part, metric: Metric) -> Markup:
    """A number with its standard error and its interval."""
    error = part.numbers.get(f"{metric.key}_se")
    value, interval = part.numbers.get(metric.key), part.intervals.get(metric.key)
    return _number(with_interval(value, interval, error))


def with_interval(
    value: float | None, interval: Interval | None, error: float | None = None
) -> Markup:
    """A number, its standard error and its interval, each on a line of its own."""
    if value is None:
        return Markup(NONE)
    lines = [tag("b", f"{value:.3f}")]
    if error is not None:
        lines.append(tag("span", f"± {error:.3f}", class_="error"))
    if interval is not None:
        words = f"{interval.low:.3f} to {interval.high:.3f}"
        lines.append(tag("span", words, class_="interval"))
    return joined(lines)


def _number(child: Child) -> Markup:
    return tag("td", child, class_="number")


def meanings(metrics: Iterable[Metric]) -> Markup:
    """What the columns are, as a list of definitions."""
    return tag(
        "dl", [joined(tag("dt", metric.name), tag("dd", metric.meaning)) for metric in metrics]
    )


def plain_table(
    caption: str, heads: Sequence[str], rows: Iterable[Sequence[Child]], numbers: bool = False
) -> Markup:
    """A table of words, or of `numbers`; the first cell of each row heads it."""
    cell = _number if numbers else _words
    cells = [[tag("th", row[0], scope="row"), *map(cell, row[1:])] for row in rows]
    return _table(caption, heads, cells, "plain numbers" if numbers else "plain")


def _words(child: Child) -> Markup:
    return tag("td", child)


def _table(
    caption: str, heads: Sequence[str], rows: Iterable[Sequence[Markup]], class_: str
) -> Markup:
    """A table that scrolls sideways where the screen is narrow, and by keys too."""
    table = tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", [tag("th", head, scope="col") for head in heads])),
        tag("tbody", [tag("tr", row) for row in rows]),
        class_=class_,
    )
    return tag("div", table, class_="wide", tabindex="0", role="region", aria_label=caption)


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """(name, value) of all values of a nested mapping; those within as `part.name`."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", NONE if value in (None, "") else str(value)
