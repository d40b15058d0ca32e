"""The plots of the waveform and of the spectrogram, drawn by pyqtgraph.

Loading pyqtgraph takes half as long as the rest of the start-up: import this module late.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QColor, QFont, QPainter
from PySide6.QtWidgets import QWidget

from moca_gui.colormaps import table
from moca_gui.sound import Spectrum
from moca_gui.theme import Theme
from moca_gui.views.time_row import NUDGE_PX, PLAYHEAD_PX, RANGE_PX, WINDOW_PX, Span, mark_pen
from moca_gui.views.time_rows import TOP_LEVEL

SILENT = 2.0**-15  # a step of 16 bits: decoders leave less than that where there was nothing


class TimePlot(pg.GraphicsView):
    """A plot over seconds, with the marks of the timeline. It follows; the row takes the mouse."""

    tinted = True  # False: spans are marked by their ends alone

    def __init__(self, parent: QWidget, bottom: float, top: float) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        # pyqtgraph's own pan, zoom, menu and automatic range would each break the one axis.
        self.box = pg.ViewBox(enableMouse=False, enableMenu=False, defaultPadding=0)
        self.box.disableAutoRange()
        self.box.setYRange(bottom, top, padding=0)
        self.setCentralItem(self.box)
        self.window_mark = pg.LinearRegionItem(movable=False)
        self.range_mark = pg.LinearRegionItem(movable=False)
        self.playhead = pg.InfiniteLine(angle=90, movable=False)
        for depth, mark in enumerate((self.window_mark, self.range_mark, self.playhead)):
            self.add(mark, 10 + depth)

    def add(self, item: pg.GraphicsObject, depth: float) -> None:
        """Put `item` into the plot, above what has a lower `depth`."""
        item.setZValue(depth)
        self.box.addItem(item, ignoreBounds=True)

    def set_theme(self, theme: Theme) -> None:
        """Take the theme's colours, with lines for the screen that the plot is on."""
        ratio = self.devicePixelRatioF()
        self.setBackground(QColor(theme.base))
        self.playhead.setPen(mark_pen(theme.playhead, PLAYHEAD_PX, ratio))
        for mark, shade, edge, width in (
            (self.window_mark, theme.window_shade, theme.window_edge, WINDOW_PX),
            (self.range_mark, theme.range_shade, theme.range_edge, RANGE_PX),
        ):
            # As QColor: pyqtgraph reads eight hex digits with the alpha last, Qt with it first.
            mark.setBrush(QColor(shade))
            mark.setFlag(mark.GraphicsItemFlag.ItemHasNoContents, not self.tinted)
            for line in mark.lines:
                line.setPen(mark_pen(edge, width, ratio))

    def show_time(self, start_s: float, stop_s: float) -> None:
        """Show `start_s` to `stop_s`, as the row has it."""
        nudge_s = NUDGE_PX * (stop_s - start_s) / self.width()
        self.box.setXRange(start_s - nudge_s, stop_s - nudge_s, padding=0)

    def move_marks(self, playhead_s: float, window_s: Span | None, range_s: Span | None) -> None:
        """Put the marks at these seconds; a span that is None is not shown."""
        self.playhead.setValue(playhead_s)
        for mark, span in ((self.window_mark, window_s), (self.range_mark, range_s)):
            mark.setVisible(span is not None)
            if span is not None:
                mark.setRegion(span)


class WavePlot(TimePlot):
    """One bar a column of pixels, from its lowest to its highest sample."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent, -TOP_LEVEL, TOP_LEVEL)
        nothing = np.empty(0)
        self.outer, self.inner = (
            pg.BarGraphItem(x0=nothing, width=0.0, y0=nothing, y1=nothing, pen=None)
            for _ in range(2)
        )
        self.middle = pg.InfiniteLine(0.0, angle=0, movable=False)
        self.message = pg.TextItem(anchor=(0.5, 0.5))
        for depth, item in enumerate((self.middle, self.outer, self.inner, self.message)):
            self.add(item, depth)

    def set_theme(self, theme: Theme) -> None:
        super().set_theme(theme)
        self.middle.setPen(mark_pen(theme.border, 1, self.devicePixelRatioF()))
        self.outer.setOpts(brush=QColor(theme.wave))
        self.inner.setOpts(brush=QColor(theme.wave_rms))
        self.message.setColor(QColor(theme.dim))

    def set_wave(
        self, span_s: Span, low: NDArray[np.float32], high: NDArray[np.float32], pixel: float
    ) -> None:
        """Draw (columns,) lowest and highest levels, -1 to 1, that share `span_s` evenly.

        Each bar is at least one `pixel`, a height in levels, high. Silence has none: there the
        middle line shows through.
        """
        width = (span_s[1] - span_s[0]) / max(len(low), 1)
        heard = np.flatnonzero(np.maximum(high, -low) > SILENT)
        left, low, high = span_s[0] + width * heard, low[heard], high[heard]
        thin = 0.51 * pixel  # the edges of a bar are rounded: from one half on it can't vanish
        self.outer.setOpts(x0=left, width=width, y0=low - thin, y1=high + thin)
        self.inner.setOpts(x0=left, width=width, y0=0.5 * low, y1=0.5 * high)

    def set_message(self, text: str, middle_s: float, font: QFont) -> None:
        """Say `text` in place of the waveform, around `middle_s`."""
        self.message.setText(text)
        self.message.setFont(font)
        self.message.setPos(middle_s, 0.0)
        for item, shown in ((self.message, text != ""), (self.middle, text == "")):
            item.setVisible(shown)


class SpectrumPlot(TimePlot):
    """Images of loudness, low bands at the bottom, the later ones above the earlier ones."""

    tinted = False  # a tint would change what the colours say

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent, 0.0, 1.0)
        self.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        self.images: list[pg.ImageItem] = []

    def set_parts(self, parts: Sequence[Spectrum], span_s: Span) -> None:
        """Draw what lies within `span_s` of each of `parts`."""
        while len(self.images) < len(parts):
            image = pg.ImageItem(axisOrder="row-major", levels=(0, 255), lut=table("magma"))
            self.add(image, len(self.images))
            self.images.append(image)
        for number, image in enumerate(self.images):
            image.setVisible(number < len(parts) and self._draw(image, parts[number], span_s))

    def _draw(self, image: pg.ImageItem, part: Spectrum, span_s: Span) -> bool:
        """Only the visible columns and their neighbours: a far larger target would be cut off."""
        columns = part.levels.shape[1]
        step = (part.stop_s - part.start_s) / columns
        first = max(int(np.floor((span_s[0] - part.start_s) / step)) - 1, 0)
        stop = min(int(np.ceil((span_s[1] - part.start_s) / step)) + 1, columns)
        if stop <= first:
            return False
        image.setImage(part.levels[:, first:stop], autoLevels=False)
        image.setRect(QRectF(part.start_s + first * step, 0.0, (stop - first) * step, 1.0))
        return True
