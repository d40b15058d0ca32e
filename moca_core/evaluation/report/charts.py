"""Histograms and bars with intervals as SVG, beside the lines of `export.svg`.

Colours come from the page's style sheet, so that they suit light, dark and paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moca_core.evaluation.bootstrap import Interval
from moca_core.evaluation.report.markup import Markup, joined, tag
from moca_core.export.svg import number_axis

BINS = 20
_ROW_PX = 22
_NAME_PX = 180
_LONGEST_NAME = 22
_SHARES = tuple((tick / 5, f"{tick / 5:.1f}") for tick in range(6))


@dataclass(frozen=True)
class Bar:
    """A row of `bars`: `value` in [0, 1] with its interval, `note` after the name."""

    name: str
    value: float
    interval: Interval | None
    note: str = ""


@dataclass(frozen=True)
class _Area:
    """The rectangle of a plot in pixels, x from 0 to 1, and y from 0 to `top_value`."""

    left: float
    top: float
    right: float
    bottom: float
    top_value: float = 1.0

    def x(self, share: float) -> float:
        return self.left + min(max(share, 0.0), 1.0) * (self.right - self.left)

    def y(self, value: float) -> float:
        return self.bottom - value / self.top_value * (self.bottom - self.top)


def histogram(title: str, values: Sequence[float], x_title: str) -> Markup:
    """How often values in [0, 1] occur, in 20 bins, with their mean."""
    counts, edges = np.histogram(np.clip(values, 0, 1), bins=BINS, range=(0, 1))
    axis = number_axis("cases", [0.0, float(counts.max(initial=1))], 0.0)
    # Counts have no halves.
    ticks = [(value, f"{value:.0f}") for value, _ in axis.ticks if value % 1 == 0]
    area = _Area(52, 34, 388, 190, axis.high)
    mean = float(np.mean(values))
    words = (
        f"{title}: histogram of {len(values)} values, mean {mean:.3f}, "
        f"{int(counts[0])} below {edges[1]:.2f}, {int(counts[-1])} from {edges[-2]:.2f}"
    )
    boxes = [
        tag(
            "rect",
            class_="bar",
            x=area.x(float(edges[place])) + 0.5,
            y=area.y(float(count)),
            width=(area.right - area.left) / BINS - 1,
            height=area.bottom - area.y(float(count)),
        )
        for place, count in enumerate(counts)
        if count
    ]
    # The label stands on the side that has room for it.
    anchor, shift = ("end", -5) if mean > 0.5 else ("start", 5)
    marked = (
        _line(area.x(mean), area.top - 14, area.x(mean), area.bottom, "mark"),
        _text(area.x(mean) + shift, area.top - 4, f"mean {mean:.3f}", anchor, "strong"),
    )
    titles = (_x_axis(area, x_title), _side_title(area, axis.title))
    parts = (*(_y_tick(area, value, name) for value, name in ticks), *boxes, *titles, *marked)
    return _drawing(words, 400, 236, parts)


def bars(title: str, rows: Sequence[Bar], x_title: str) -> Markup:
    """Horizontal bars from 0 to 1 with names, intervals and values."""
    area = _Area(_NAME_PX, 8, 640, 8 + _ROW_PX * len(rows))
    words = "; ".join(f"{row.name} {_said(row)}" for row in rows)
    parts = [_x_axis(area, x_title)]
    for number, row in enumerate(rows):
        parts += _bar(area, row, area.top + _ROW_PX * (number + 0.5))
    return _drawing(f"{title}: {words}", 760, int(area.bottom) + 46, parts)


def _bar(area: _Area, row: Bar, middle: float) -> list[Markup]:
    half = _ROW_PX / 2 - 4
    width = area.x(row.value) - area.left
    parts = [
        _name(row.name, area.left - 8, middle),
        tag("rect", class_="bar", x=area.left, y=middle - half, width=width, height=2 * half),
    ]
    if row.interval is not None:
        low, high = area.x(row.interval.low), area.x(row.interval.high)
        parts += [
            _line(low, middle, high, middle, "whisker"),
            _line(low, middle - 4, low, middle + 4, "whisker"),
            _line(high, middle - 4, high, middle + 4, "whisker"),
        ]
    note = f"  {row.note}" if row.note else ""
    parts.append(_text(area.right + 8, middle + 4, f"{row.value:.3f}{note}", "start"))
    return parts


def _name(name: str, right: float, middle: float) -> Markup:
    """A row's name; a long one is cut, and whole where the pointer rests on it."""
    if len(name) <= _LONGEST_NAME:
        return _text(right, middle + 4, name, "end")
    cut = name[: _LONGEST_NAME - 1] + "…"
    return tag("text", tag("title", name), cut, x=right, y=middle + 4, text_anchor="end")


def _said(row: Bar) -> str:
    between = (
        "" if row.interval is None else f" ({row.interval.low:.3f} to {row.interval.high:.3f})"
    )
    return f"{row.value:.3f}{between}"


def colour_bar(title: str) -> Markup:
    """The colours of maps from 0 to 1 (viridis)."""
    stops = ("#440154", "#414487", "#2a788e", "#22a884", "#7ad151", "#fde725")
    gradient = tag(
        "linearGradient",
        [
            tag("stop", offset=f"{20 * number}%", stop_color=stop)
            for number, stop in enumerate(stops)
        ],
        id="viridis",
    )
    parts = (
        tag("defs", gradient),
        tag("rect", x=12, y=4, width=176, height=12, fill="url(#viridis)"),
        _text(12, 32, "0", "middle"),
        _text(100, 32, "0.5", "middle"),
        _text(188, 32, "1", "middle"),
    )
    return _drawing(title, 200, 36, parts, "scale")


def _drawing(
    words: str, width: int, height: int, parts: Sequence[Markup], class_: str = "chart"
) -> Markup:
    """The SVG element; `words` say to those who don't see it what it shows."""
    return tag(
        "svg", parts, class_=class_, viewBox=f"0 0 {width} {height}", role="img", aria_label=words
    )


def _x_axis(area: _Area, title: str) -> Markup:
    ticks = [
        joined(
            _line(area.x(share), area.top, area.x(share), area.bottom, "grid-line"),
            _text(area.x(share), area.bottom + 17, name, "middle"),
        )
        for share, name in _SHARES
    ]
    middle = (area.left + area.right) / 2
    base = _line(area.left, area.bottom, area.right, area.bottom, "axis")
    return joined(ticks, base, _text(middle, area.bottom + 36, title, "middle"))


def _y_tick(area: _Area, value: float, name: str) -> Markup:
    at = area.y(value)
    return joined(
        _line(area.left, at, area.right, at, "grid-line"), _text(area.left - 6, at + 4, name, "end")
    )


def _side_title(area: _Area, title: str) -> Markup:
    middle = (area.top + area.bottom) / 2
    return tag(
        "text",
        title,
        x=14,
        y=middle,
        text_anchor="middle",
        transform=f"rotate(-90 14 {middle:.1f})",
    )


def _line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    return tag("line", class_=class_, x1=x1, y1=y1, x2=x2, y2=y2)


def _text(x: float, y: float, words: str, anchor: str, class_: str | None = None) -> Markup:
    return tag("text", words, class_=class_, x=x, y=y, text_anchor=anchor)
