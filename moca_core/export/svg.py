"""Line plots as SVG text: for reports and papers, without a plotting library.

White paper and dark ink, so that a print reads as the screen does. Series differ in colour, marker
and dashes: never in colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe & Ito 2008 without yellow, which is lost on white."""
_DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 2", "12 4", "1 2")
_INK, _GRID = "#222222", "#dddddd"
_FONT = "font-family='Helvetica, Arial, sans-serif' font-size='13'"
_LETTER_PX = 7.2
"""Width of a letter at this size, on the large side: boxes are sized before a font is known."""


@dataclass(frozen=True)
class Series:
    """One line of a plot.

    Attributes
    ----------
    name : in the legend.
    x, y : the points, in the units of the axes. Where `y` is None there is no point.
    spread : half the length of each point's error bar; None, or no entry: no bar.
    markers : mark the points; curves of many points read better without.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float | None, ...]
    spread: tuple[float | None, ...] = ()
    markers: bool = True


@dataclass(frozen=True)
class Axis:
    """One axis: `ticks` are (value, label); `low` and `high` its ends."""

    title: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]


def number_axis(title: str, values: Sequence[float], low: float | None = None) -> Axis:
    """An axis that holds finite `values`, with ticks at round numbers.

    Parameters
    ----------
    low : where it starts; None: a round number below the least value.
    """
    least = min(values, default=0.0) if low is None else low
    most = max(values, default=1.0)
    if most <= least:
        least, most = (least if low is not None else least - 0.5), least + 0.5
    step = _round_step((most - least) / 4)
    start = math.floor(least / step + 1e-9) if low is None else math.ceil(least / step - 1e-9)
    end = math.ceil(most / step - 1e-9)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    ticks = tuple((n * step, f"{n * step:.{digits}f}") for n in range(start, end + 1))
    return Axis(title, start * step if low is None else low, end * step, ticks)


def _round_step(step: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    power = 10 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9))


def name_axis(title: str, names: Sequence[str]) -> Axis:
    """An axis of names, evenly spaced at 0, 1, 2, ..."""
    ticks = tuple((float(place), name) for place, name in enumerate(names))
    return Axis(title, -0.5, len(names) - 0.5, ticks)


def line_plot(
    title: str, series: Sequence[Series], x: Axis, y: Axis, size: tuple[int, int] = (760, 420)
) -> str:
    """An SVG document of `size` (width, height) in pixels; it scales to any width.

    Values outside the axes are drawn at their ends.
    """
    width, height = size
    legend = max((len(item.name) for item in series), default=0) * _LETTER_PX + 54
    marks = max((len(label) for _, label in y.ticks), default=0) * _LETTER_PX
    frame = _Frame(32 + marks, 40, width - legend - 12, height - 54, x, y)
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' {_FONT} "
        f"role='img' aria-label={quoteattr(title)}>",
        f"<rect width='{width}' height='{height}' fill='#ffffff'/>",
        _text(frame.left, 24, title, "start", "font-weight='bold'"),
        *_axes(frame, height),
    ]
    for number, item in enumerate(series):
        parts += _line(frame, item, number)
        parts += _legend(item, number, width - legend + 4, frame.top + 10 + 20 * number)
    return "\n".join([*parts, "</svg>", ""])


@dataclass(frozen=True)
class _Frame:
    """The rectangle that is plotted in, in pixels, and its axes."""

    left: float
    top: float
    right: float
    bottom: float
    x: Axis
    y: Axis

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Pixels of a point; outside of the axes it lies on their ends."""
        across = _share(self.x, x) * (self.right - self.left)
        up = _share(self.y, y) * (self.bottom - self.top)
        return self.left + across, self.bottom - up


def _share(axis: Axis, value: float) -> float:
    return min(max((value - axis.low) / (axis.high - axis.low), 0.0), 1.0)


def _axes(frame: _Frame, height: float) -> list[str]:
    parts = []
    for value, label in frame.y.ticks:
        _, at = frame.at(frame.x.low, value)
        parts.append(_stroke(frame.left, at, frame.right, at, _GRID))
        parts.append(_text(frame.left - 6, at + 4, label, "end"))
    for value, label in frame.x.ticks:
        at, _ = frame.at(value, frame.y.low)
        parts.append(_stroke(at, frame.bottom, at, frame.bottom + 4, _INK))
        parts.append(_text(at, frame.bottom + 18, label, "middle"))
    parts.append(_stroke(frame.left, frame.bottom, frame.right, frame.bottom, _INK))
    parts.append(_stroke(frame.left, frame.top, frame.left, frame.bottom, _INK))
    middle = (frame.top + frame.bottom) / 2
    turned = f"transform='rotate(-90 14 {middle:.1f})'"
    parts.append(_text((frame.left + frame.right) / 2, height - 14, frame.x.title, "middle"))
    parts.append(_text(14, middle, frame.y.title, "middle", turned))
    return parts


def _line(frame: _Frame, item: Series, number: int) -> list[str]:
    colour, dash = _style(number)
    spread = item.spread or (None,) * len(item.x)
    parts: list[str] = []
    run: list[str] = []  # points since the last gap
    for x, y, half in zip(item.x, item.y, spread, strict=True):
        if y is None:
            parts.append(_polyline(run, colour, dash))
            run = []
            continue
        across, up = frame.at(x, y)
        run.append(f"{across:.1f},{up:.1f}")
        if half:
            parts += _bar(frame, x, y, half, colour)
        if item.markers:
            parts.append(_marker(number, across, up, colour))
    return [*(part for part in (*parts, _polyline(run, colour, dash)) if part)]


def _polyline(points: Sequence[str], colour: str, dash: str) -> str:
    if len(points) < 2:
        return ""
    return (
        f"<polyline points='{' '.join(points)}' fill='none' stroke='{colour}' "
        f"stroke-width='2' stroke-dasharray='{dash}'/>"
    )


def _bar(frame: _Frame, x: float, y: float, half: float, colour: str) -> list[str]:
    across, low = frame.at(x, y - half)
    _, high = frame.at(x, y + half)
    return [
        _stroke(across, low, across, high, colour),
        _stroke(across - 4, low, across + 4, low, colour),
        _stroke(across - 4, high, across + 4, high, colour),
    ]


def _legend(item: Series, number: int, left: float, top: float) -> list[str]:
    colour, dash = _style(number)
    line = _stroke(left, top, left + 30, top, colour, f"stroke-width='2' stroke-dasharray='{dash}'")
    mark = _marker(number, left + 15, top, colour) if item.markers else ""
    return [part for part in (line, mark, _text(left + 38, top + 4, item.name, "start")) if part]


def _style(number: int) -> tuple[str, str]:
    return _COLOURS[number % len(_COLOURS)], _DASHES[number % len(_DASHES)]


def _marker(number: int, x: float, y: float, colour: str) -> str:
    """A disc, square, triangle, diamond or upside-down triangle, by the number of the series."""
    if number % 5 == 0:
        return f"<circle cx='{x:.1f}' cy='{y:.1f}' r='4' fill='{colour}'/>"
    corners = (
        ((-4, -4), (4, -4), (4, 4), (-4, 4)),
        ((0, -5), (5, 4), (-5, 4)),
        ((0, -5.5), (5.5, 0), (0, 5.5), (-5.5, 0)),
        ((0, 5), (5, -4), (-5, -4)),
    )[number % 5 - 1]
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return f"<polygon points='{points}' fill='{colour}'/>"


def _stroke(x0: float, y0: float, x1: float, y1: float, colour: str, more: str = "") -> str:
    return (
        f"<line x1='{x0:.1f}' y1='{y0:.1f}' x2='{x1:.1f}' y2='{y1:.1f}' stroke='{colour}' {more}/>"
    )


def _text(x: float, y: float, words: str, anchor: str, more: str = "") -> str:
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' fill='{_INK}' {more}>"
        f"{escape(words)}</text>"
    )
