"""A sweep's outcome: a table as CSV and Markdown, all rows as CSV, and a plot."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moca_core.ablation.sweep import BEST, METRICS, Row, Sweep, Value, shown
from moca_core.evaluation.runner import NEAREST
from moca_core.export.svg import Series, line_plot, name_axis, number_axis
from moca_core.fileio import write_bytes

ALL = "all"
TABLE, MARKDOWN, PLOT, ROWS = "table.csv", "table.md", "plot.svg", "rows.csv"
_COLUMNS = (*METRICS, *(f"share_{name}" for name in NEAREST))
_NONE = "-"

Done = Sequence[tuple[Row, Mapping[str, Any]]]
"""Rows that are done, each with its report."""


@dataclass(frozen=True)
class Spread:
    """A metric over the seeds: its mean, its standard deviation (None below two), how many."""

    mean: float
    deviation: float | None
    count: int


@dataclass(frozen=True)
class Entry:
    """A line of the table: one value of each axis, on one subset.

    Attributes
    ----------
    values : of the axes, as they are shown.
    cases : how many were scored.
    seeds : with which it was run.
    metrics : by name; those that aren't defined there are missing.
    """

    values: tuple[str, ...]
    subset: str
    cases: int
    seeds: int
    metrics: Mapping[str, Spread]


def entries(sweep: Sweep, done: Done) -> list[Entry]:
    """The table: points of the axes in their order, each with all its subsets and `all`."""
    points: dict[tuple[Value, ...], list[Mapping[str, Any]]] = {}
    for row, report in done:
        points.setdefault(tuple(value for _, value in row.values), []).append(report)
    names = [_labels(values) for _, values in sweep.axes]
    found = []
    for point in sorted(points, key=lambda point: _place(sweep, point)):
        values = tuple(label[value] for label, value in zip(names, point, strict=True))
        for subset, parts in _by_subset(points[point]):
            metrics = {name: _spread(parts, name) for name in _COLUMNS}
            known = {name: spread for name, spread in metrics.items() if spread is not None}
            found.append(Entry(values, subset, int(parts[0]["n"]), len(parts), known))
    return found


def write_tables(sweep: Sweep, done: Done, folder: Path) -> list[Path]:
    """Write table, rows and plot; returns their paths. Raises `StorageError`."""
    table = entries(sweep, done)
    texts = {
        TABLE: _csv(_table_lines(sweep, table)),
        ROWS: _csv(_row_lines(sweep, done)),
        MARKDOWN: markdown(sweep, table, done),
        PLOT: plot(sweep, table),
    }
    for name, text in texts.items():
        write_bytes(folder / name, text.encode())
    return [folder / name for name in texts]


def markdown(sweep: Sweep, table: Sequence[Entry], done: Done) -> str:
    """The outcome for a reader: the plotted metric by subset, then all metrics of all cases."""
    wanted = len(sweep.rows)
    said = [f"# {sweep.title}", ""]
    if sweep.about:
        said += [sweep.about, ""]
    said += [
        f"`{sweep.plot}`, mean ± standard deviation over {len(sweep.seeds)} seeds "
        f"({', '.join(map(str, sweep.seeds))}). What the choice of cases adds is in {ROWS}, as "
        "standard errors.",
        "",
        *_lines(pivot(sweep, table, sweep.plot)),
        "",
        "All metrics of all cases:",
        "",
        *_lines(_metrics(sweep, table)),
        "",
    ]
    if len(done) < wanted:
        said += [f"**{wanted - len(done)} of {wanted} rows are missing.**", ""]
    if _seeds_are_idle(table):
        said += ["The seed changes nothing here: every seed gave the same numbers.", ""]
    used = [Path(_adapter_of(report)).stem for _, report in done]
    last = sum(name not in ("", BEST) for name in used)
    if sweep.adapter == BEST and last:
        said += [f"**In {last} of {wanted} rows nothing was held out: their last adapter counts.**"]
        said += [""]
    if len({str(report["config"].get("versions")) for _, report in done}) > 1:
        said += ["**The rows were made with different versions of the program; see rows/.**", ""]
    said += ["Settings of all rows, where they aren't the defaults:", ""]
    said += [f"* `{name}` = {_quoted(value)}" for name, value in sweep.base]
    return "\n".join(said).rstrip() + "\n"


def _adapter_of(report: Mapping[str, Any]) -> str:
    """The adapter that a row was scored with; "" without one."""
    return str(report["config"].get("segment", {}).get("adapter", ""))


def pivot(sweep: Sweep, table: Sequence[Entry], metric: str) -> list[list[str]]:
    """Lines of cells: a line for each point of the axes, a column for each subset."""
    subsets = list(dict.fromkeys(entry.subset for entry in table))
    lines = [[*_heads(sweep), "seeds", *subsets]]
    for values in dict.fromkeys(entry.values for entry in table):
        own = {entry.subset: entry for entry in table if entry.values == values}
        seeds = str(own[ALL].seeds)
        cells = [_cell(own[name].metrics, metric) if name in own else _NONE for name in subsets]
        lines.append([*values, seeds, *cells])
    return lines


def plot(sweep: Sweep, table: Sequence[Entry]) -> str:
    """The plotted metric against the first axis, as SVG.

    One line a subset; with more axes one line for each of their points, of all cases.
    """
    name, values = sweep.axes[0]
    places = {label: place for place, label in enumerate(_labels(values).values())}
    lines: dict[str, list[Entry]] = {}
    for entry in table:
        if sweep.plot in entry.metrics and (len(sweep.axes) == 1 or entry.subset == ALL):
            others = zip(_heads(sweep)[1:], entry.values[1:], strict=True)
            title = ", ".join(f"{head} {value}" for head, value in others) or entry.subset
            lines.setdefault(title, []).append(entry)
    series = [_series(title, points, places, sweep.plot) for title, points in lines.items()]
    ends = [
        y + sign * (spread or 0.0)
        for item in series
        for y, spread in zip(item.y, item.spread, strict=True)
        for sign in (-1, 1)
        if y is not None
    ]
    across = name_axis(name, list(places))
    return line_plot(sweep.title, series, across, number_axis(sweep.plot, ends))


def _series(title: str, points: Sequence[Entry], places: Mapping[str, int], metric: str) -> Series:
    spreads = [entry.metrics[metric] for entry in points]
    return Series(
        title,
        tuple(float(places[entry.values[0]]) for entry in points),
        tuple(spread.mean for spread in spreads),
        tuple(spread.deviation for spread in spreads),
    )


def _by_subset(
    reports: Sequence[Mapping[str, Any]],
) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    names = dict.fromkeys(name for report in reports for name in report["per_subset"])
    for name in names:
        yield name, [report["per_subset"][name] for report in reports]
    yield ALL, list(reports)


def _spread(parts: Sequence[Mapping[str, Any]], name: str) -> Spread | None:
    values = [part[name] for part in parts if part.get(name) is not None]
    if not values:
        return None
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return Spread(statistics.fmean(values), deviation, len(values))


def _seeds_are_idle(table: Sequence[Entry]) -> bool:
    deviations = [
        spread.deviation for entry in table for spread in entry.metrics.values() if entry.seeds > 1
    ]
    return bool(deviations) and not any(deviations)


def _place(sweep: Sweep, point: tuple[Value, ...]) -> tuple[int, ...]:
    """Where a point lies in the order of the axes' values."""
    return tuple(values.index(value) for (_, values), value in zip(sweep.axes, point, strict=True))


def _labels(values: Sequence[Value]) -> dict[Value, str]:
    """How the values of an axis are shown: files by their names, unless two have the same."""
    short = [shown(value) for value in values]
    unique = len(set(short)) == len(short)
    return {
        value: label if unique else str(value) for value, label in zip(values, short, strict=True)
    }


def _heads(sweep: Sweep) -> list[str]:
    return [name for name, _ in sweep.axes]


def _metrics(sweep: Sweep, table: Sequence[Entry]) -> list[list[str]]:
    lines = [[*_heads(sweep), "cases", *METRICS]]
    for entry in table:
        if entry.subset == ALL:
            cells = [_cell(entry.metrics, name) for name in METRICS]
            lines.append([*entry.values, str(entry.cases), *cells])
    return lines


def _cell(metrics: Mapping[str, Spread], name: str) -> str:
    spread = metrics.get(name)
    if spread is None:
        return _NONE
    after = "" if spread.deviation is None else f" ± {spread.deviation:.3f}"
    return f"{spread.mean:.3f}{after}"


def _lines(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as a table of Markdown."""
    head, *rest = [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
    return [head, f"|{'---|' * len(rows[0])}", *rest]


def _quoted(value: Value) -> str:
    return f"`{shown(value)}`"


def _table_lines(sweep: Sweep, table: Sequence[Entry]) -> Iterator[Sequence[object]]:
    yield (
        *_heads(sweep),
        *("subset", "cases", "seeds"),
        *(head for name in _COLUMNS for head in (name, f"{name}_sd")),
    )
    for entry in table:
        numbers: list[object] = []
        for name in _COLUMNS:
            spread = entry.metrics.get(name)
            numbers += ["", ""] if spread is None else [spread.mean, _blank(spread.deviation)]
        yield *entry.values, entry.subset, entry.cases, entry.seeds, *numbers


def _row_lines(sweep: Sweep, done: Done) -> Iterator[Sequence[object]]:
    """Every row on every subset, with the standard errors over its cases."""
    yield (
        *("row", *_heads(sweep), "seed", "subset", "cases"),
        *(head for name in _COLUMNS for head in (name, f"{name}_se")),
        "folder",
    )
    for row, report in done:
        values = [shown(value) for _, value in row.values]
        for subset, (part,) in _by_subset([report]):
            numbers = [_blank(part.get(key)) for name in _COLUMNS for key in (name, f"{name}_se")]
            yield row.number, *values, row.seed, subset, part["n"], *numbers, row.folder


def _blank(value: object) -> object:
    return "" if value is None else value


def _csv(lines: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()
