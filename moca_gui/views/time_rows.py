"""The rows of the timeline that paint their own content."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QFontMetricsF, QImage, QPainter, QPen, QPolygonF

from moca_core.annotations.model import FOUND
from moca_gui.results import CORRECTED, EMPTY, MASKS, NOT_RUN
from moca_gui.sound import SoundPicture
from moca_gui.theme import Theme
from moca_gui.timecode import format_time
from moca_gui.views.time_row import NUDGE_PX, Span, TimeRow, small_font

_SLIT_PX = (5, 8)  # of a corrected frame's cell, from the lower edge
_HOLLOW = CORRECTED + 1  # the inside of a stretch of empty frames
TOP_LEVEL = 1.04  # at the upper edge of a waveform; its lower edge is the negative


class OverviewRow(TimeRow):
    """The whole clip, with the visible part framed; drag to move the view."""

    title = "Overview"
    whole_clip = True

    def __init__(self, *args: object, sound: SoundPicture) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self._sound = sound

    def paint_ground(self, painter: QPainter) -> None:
        ratio = self.devicePixelRatioF()
        paint_wave(painter, self._sound, self.view_s, self.plot, ratio, self.theme)
        if not self.axis.zoomed:
            return
        left, right = self.x_of(self.axis.start_s), self.x_of(self.axis.stop_s)
        veil = QColor(self.theme.panel)
        veil.setAlpha(170)
        painter.fillRect(QRectF(self.plot.left(), 0, left - self.plot.left(), self.height()), veil)
        painter.fillRect(QRectF(right, 0, self.plot.right() - right, self.height()), veil)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(QColor(self.theme.accent), 1.5))
        painter.drawRoundedRect(QRectF(left, 1, right - left, self.height() - 2), 3, 3)

    def paint_marks(self, painter: QPainter) -> None:
        self.paint_range(painter)

    def dragged(self, x0: float, x1: float) -> None:
        middle, half = self.time_at(x1), self.axis.span_s / 2
        if self.axis.zoomed:
            self.axis.set_view(middle - half, middle + half)
        else:
            self.time_clicked.emit(middle)


class RulerRow(TimeRow):
    """Ticks and times; drag to scrub."""

    title = ""
    bare = True

    def paint_ground(self, painter: QPainter) -> None:
        painter.setFont(small_font(self.font()))
        metrics = QFontMetricsF(painter.font())
        for time_s, label in ticks(self.view_s, self.plot.width() / 92):
            x = round(self.x_of(time_s)) + 0.5
            painter.setPen(QColor(self.theme.empty))
            painter.drawLine(QPointF(x, self.height() - 5), QPointF(x, self.height()))
            painter.setPen(QColor(self.theme.dim))
            width = metrics.horizontalAdvance(label)
            left = min(max(x - width / 2, self.plot.left()), self.plot.right() - width)
            painter.drawText(QPointF(left, self.height() - 15), label)

    def _paint_playhead(self, painter: QPainter) -> None:
        clip = self.session.clip
        assert clip is not None
        ratio = self.devicePixelRatioF()
        x = round(self.x_of(clip.time_of(self.session.frame)) * ratio) / ratio
        bottom = self.height()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(self.theme.playhead))
        shape = [(-5.5, -11), (5.5, -11), (5.5, -5.5), (0, 0), (-5.5, -5.5)]
        painter.drawPolygon(QPolygonF([QPointF(x + dx, bottom + dy) for dx, dy in shape]))

    def dragged(self, x0: float, x1: float) -> None:
        self.time_clicked.emit(self.time_at(x1))


def ticks(view_s: tuple[float, float], count: float) -> Iterator[tuple[float, str]]:
    """Yield (time, label) at round steps, about `count` of them."""
    start, stop = view_s
    if stop <= start:
        return
    steps = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)
    step = next((s for s in steps if (stop - start) / s <= max(count, 2)), steps[-1])
    first = int(np.ceil(start / step - 1e-9))
    for number in range(first, int(np.floor(stop / step + 1e-9)) + 1):
        time_s = number * step
        text = format_time(time_s)
        yield time_s, text[:-4] if step >= 1 else text[:-2] if step >= 0.1 else text


def paint_wave(
    painter: QPainter,
    sound: SoundPicture,
    view_s: tuple[float, float],
    plot: QRectF,
    ratio: float,
    theme: Theme,
) -> None:
    """Paint minimum and maximum of the sound for each device pixel column of `plot`.

    `ratio` is the number of device pixels a widget pixel.
    """
    columns = max(int(plot.width() * ratio), 1)
    low, high = sound.envelope(view_s[0], view_s[1], columns)  # (columns,) each, -1 to 1
    if not len(low):
        return
    low, high = low * sound.gain, high * sound.gain
    rows = max(int(plot.height() * ratio), 1)
    level = np.linspace(TOP_LEVEL, -TOP_LEVEL, rows, dtype=np.float32)[:, None]  # (rows, 1)
    thin = TOP_LEVEL / rows
    inside = (level <= high[None] + thin) & (level >= low[None] - thin)  # (rows, columns)
    core = (level <= 0.5 * high[None]) & (level >= 0.5 * low[None])
    outer, inner = (np.uint32(QColor(c).rgba()) for c in (theme.wave, theme.wave_rms))
    pixels = np.where(core, inner, np.where(inside, outer, np.uint32(0)))
    paint_pixels(painter, plot, pixels)


def paint_pixels(painter: QPainter, plot: QRectF, pixels: NDArray[np.uint32]) -> None:
    """Paint (rows, columns) colours, 0 where nothing is painted, over the whole of `plot`."""
    # The image borrows this memory, so the array has to outlive it.
    pixels = np.ascontiguousarray(pixels)
    rows, columns = pixels.shape
    image = QImage(
        pixels.data, columns, rows, 4 * columns, QImage.Format.Format_ARGB32_Premultiplied
    )
    painter.drawImage(plot, image)


class ResultsRow(TimeRow):
    """One cell a frame: tall and filled with masks, low and hollow when empty, bare if not run.

    Corrected frames fill the row from edge to edge, with a slit, and win in a shared pixel.
    """

    title = "Results"
    legend = (
        "Filled: masks found by the program. Hollow and low: nothing sounds. From edge to edge, "
        "with a slit: corrected by hand. Bare: not run. Notches: key frames."
    )

    def paint_ground(self, painter: QPainter) -> None:
        states = self.session.states
        clip = self.session.clip
        if clip is None or not states.any():
            painter.setPen(QColor(self.theme.dim))
            painter.setFont(small_font(self.font()))
            painter.drawText(self.plot, Qt.AlignmentFlag.AlignCenter, "not run yet")
            return
        ratio = self.devicePixelRatioF()
        columns = max(ceil(self.plot.width() * ratio), 1)
        times_s = clip.reader.info.times_s
        found = column_states(states, times_s, self.view_s, columns)
        found[insides(found, EMPTY, round(ratio))] = _HOLLOW
        paint_pixels(painter, self.plot, self._shapes(ratio)[:, found])
        self._paint_keys(painter)

    def _shapes(self, ratio: float) -> NDArray[np.uint32]:
        """(rows, states) colours of a column of pixels, from top to bottom, by its state."""
        height = self.height()
        y = (np.arange(round(height * ratio)) + 0.5) / ratio
        low = (y >= height - 9) & (y < height - 3)
        inner = (y >= height - 8) & (y < height - 4)
        slit = (y >= height - _SLIT_PX[1]) & (y < height - _SLIT_PX[0])
        shapes = np.zeros((len(y), _HOLLOW + 1), np.uint32)
        for state, there, colour in (
            (MASKS, (y >= 3) & (y < height - 3), self.theme.accent),
            (CORRECTED, ~slit, self.theme.corrected),
            (EMPTY, low, self.theme.empty),
            (_HOLLOW, low & ~inner, self.theme.empty),
        ):
            shapes[there, state] = QColor(colour).rgba()
        return shapes

    def _paint_keys(self, painter: QPainter) -> None:
        """A notch at each key frame, where there is room to tell them apart."""
        clip = self.session.clip
        assert clip is not None
        first, last = (clip.index_at(time_s) for time_s in self.view_s)
        keys = first + np.flatnonzero(self.session.results.keys[first : last + 1])
        if len(keys) > 0.2 * self.plot.width():
            return
        mark = QColor(self.theme.text)
        for frame in keys.tolist():
            x = round(self.x_of(clip.time_of(frame)))
            painter.fillRect(QRectF(x, 0, 2, 4), mark)

    def paint_marks(self, painter: QPainter) -> None:
        self.paint_range(painter)

    def describe(self, frame: int) -> str:
        """Words for a frame's cell."""
        result = self.session.shown(frame)
        if result is None:
            return f"Frame {frame}: not run"
        kind = "key frame" if result.key else "by motion"
        kind = "corrected by hand" if result.corrected else kind
        found = ", ".join(
            f"{item.name} {item.score:.2f}" + (f" {item.origin}" if item.origin != FOUND else "")
            for item in result.objects
        )
        return f"Frame {frame} ({kind}): {found or result.reason}"

    def tip_at(self, point: QPointF) -> str:
        clip = self.session.clip
        return self.describe(clip.index_at(self.time_at(point.x()))) if clip is not None else ""


def column_states(
    states: NDArray[np.uint8], times_s: NDArray[np.float64], span_s: Span, columns: int
) -> NDArray[np.uint8]:
    """(columns,) the highest state of the frames that are shown in each column of pixels.

    However many frames there are, no more than `columns` cells are left to paint.

    Parameters
    ----------
    states, times_s : (frames,) of each frame its state and its time, rising.
    span_s : what the columns share evenly. The last frame lasts to its end.
    """
    edges = np.linspace(*span_s, columns + 1)
    # A frame that begins at an edge belongs to the column after it alone.
    slip = NUDGE_PX * (span_s[1] - span_s[0]) / columns
    first = np.searchsorted(times_s, edges[:-1] + slip, side="right") - 1
    stop = np.maximum(np.searchsorted(times_s, edges[1:] - slip, side="left"), first + 1)
    # reduceat over [first, stop, first, stop, ...] gives the wanted stretches at even places; a
    # state more keeps `stop == len(states)` legal.
    bounds = np.stack([np.maximum(first, 0), stop], axis=1).ravel()
    found = np.maximum.reduceat(np.append(states, NOT_RUN), bounds)[::2]
    return np.where(stop > 0, found, NOT_RUN).astype(np.uint8)  # 0: before the first frame


def insides(states: NDArray[np.uint8], state: int, edge: int) -> NDArray[np.bool_]:
    """Where `state` lies at least `edge` columns from both ends of its stretch.

    >>> insides(np.array([1, 1, 1, 0, 1, 1], np.uint8), 1, 1).tolist()
    [False, True, False, False, False, False]
    """
    there = np.pad(states == state, edge)  # nothing lies beyond the first and the last column
    windows = np.lib.stride_tricks.sliding_window_view(there, 2 * edge + 1)
    return np.asarray(windows.all(axis=1))
