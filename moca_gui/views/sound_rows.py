"""The rows of the sound: the waveform and the spectrogram, plotted by pyqtgraph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import QEvent, QPointF, QRectF, Qt, QTimer
from PySide6.QtGui import QPainter, QPaintEvent, QResizeEvent

from moca_gui.sound import RANGE_DB, RATE_HZ, SoundPicture
from moca_gui.theme import Theme, px
from moca_gui.timecode import TIMES, format_time
from moca_gui.views.time_row import GUTTER_PX, MARGIN_PX, TimeRow, small_font
from moca_gui.views.time_rows import TOP_LEVEL

if TYPE_CHECKING:
    from moca_gui.views.sound_plots import SpectrumPlot, TimePlot, WavePlot

LOWEST_HZ = 50


class SoundRow(TimeRow):
    """A row whose plot is a widget over the part that carries time.

    The plot is made when a clip has been painted for the first time, because that takes a while:
    the window and the clip's frame come first.
    """

    def __init__(self, *args: object, sound: SoundPicture) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self._sound = sound
        self._chart: TimePlot | None = None
        self._awaited = False

    def make_chart(self) -> TimePlot:
        """Make the plot."""
        raise NotImplementedError

    def fill_chart(self) -> None:
        """Give the plot its content."""
        raise NotImplementedError

    @property
    def chart(self) -> TimePlot:
        """The plot, made at the first use."""
        if self._chart is None:
            self._chart = self.make_chart()
            self._chart.setAccessibleName(f"{self.title} plot")
            self._chart.set_theme(self.theme)
            self._refill()
        return self._chart

    def redraw(self) -> None:
        super().redraw()
        if self._chart is not None:
            self._refill()

    def _refill(self) -> None:
        self.chart.setGeometry(self.plot.toRect())  # the gutter is as wide as its text is large
        there = self.axis.duration_s > 0 and self.session.clip is not None
        self.chart.setVisible(there)
        if there:
            self.chart.show_time(*self.view_s)
            self.fill_chart()
            self.move_marks()

    def move_marks(self) -> None:
        clip = self.session.clip
        if self._chart is not None and clip is not None:
            self._chart.move_marks(
                clip.time_of(self.session.frame),
                self.session.current_window_s(),
                self.session.range_seconds(),
            )

    def set_theme(self, theme: Theme) -> None:
        if self._chart is not None:
            self._chart.set_theme(theme)
        super().set_theme(theme)

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        if self._chart is None and self.session.clip is not None and not self._awaited:
            self._awaited = True
            QTimer.singleShot(0, self, lambda: self.chart)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if self._chart is not None:
            self._refill()

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.DevicePixelRatioChange:
            self.set_theme(self.theme)
        return super().event(event)

    def paint_corners(self, painter: QPainter, top: str, bottom: str = "") -> None:
        """Write into the corners of the gutter that touch the plot."""
        box = QRectF(MARGIN_PX, 2, px(GUTTER_PX) - MARGIN_PX - 6, self.height() - 4)
        right = Qt.AlignmentFlag.AlignRight
        painter.drawText(box, right | Qt.AlignmentFlag.AlignTop, top)
        painter.drawText(box, right | Qt.AlignmentFlag.AlignBottom, bottom)


class WaveformRow(SoundRow):
    """The sound's envelope, with the audio window of the frame and the range."""

    title = "Waveform"
    chart: WavePlot

    def make_chart(self) -> WavePlot:
        from moca_gui.views.sound_plots import WavePlot

        return WavePlot(self)

    def fill_chart(self) -> None:
        span, ratio = self.view_s, self.devicePixelRatioF()
        columns = max(int(self.plot.width() * ratio), 1)
        low, high = self._sound.envelope(*span, columns)  # (columns,) each, -1 to 1
        if self._sound.message:
            low, high = low[:0], high[:0]
        gain = self._sound.gain
        pixel = 2 * TOP_LEVEL / (self.height() * ratio)
        self.chart.set_wave(span, gain * low, gain * high, pixel)
        self.chart.set_message(self._sound.message, sum(span) / 2, small_font(self.font()))

    def paint_title(self, painter: QPainter) -> None:
        super().paint_title(painter)
        if self._sound.gain > 1:
            self.paint_corners(painter, f"{TIMES}{self._sound.gain:g}")

    def tip_at(self, point: QPointF) -> str:
        """The loudest sample of the column under the pointer, in dB of full scale."""
        step = (self.view_s[1] - self.view_s[0]) / self.plot.width()
        time_s = self.time_at(point.x())
        low, high = self._sound.envelope(time_s, time_s + step, 1)
        if not len(low):
            return ""
        peak = max(float(high[0]), -float(low[0]))
        level = f"{20 * np.log10(peak):.0f} dB of full scale" if peak > 1e-5 else "silent"
        return f"{format_time(time_s)}, {level}"


class SpectrogramRow(SoundRow):
    """Loudness by frequency on the mel scale, low at the bottom."""

    title = "Spectrogram"
    chart: SpectrumPlot

    def make_chart(self) -> SpectrumPlot:
        from moca_gui.views.sound_plots import SpectrumPlot

        return SpectrumPlot(self)

    def fill_chart(self) -> None:
        self.chart.set_parts(self._sound.spectrum(*self.view_s), self.view_s)

    def paint_title(self, painter: QPainter) -> None:
        super().paint_title(painter)
        self.paint_corners(painter, f"{RATE_HZ // 2000} kHz", f"{LOWEST_HZ} Hz")

    def tip_at(self, point: QPointF) -> str:
        """Frequency and loudness of the cell under the pointer."""
        time_s, share = self.time_at(point.x()), 1 - point.y() / self.height()
        for part in reversed(self._sound.spectrum(*self.view_s)):
            if part.start_s <= time_s < part.stop_s:
                bands, columns = part.levels.shape
                band = min(max(int(share * bands), 0), bands - 1)
                column = int((time_s - part.start_s) / (part.stop_s - part.start_s) * columns)
                below = RANGE_DB * (1 - int(part.levels[band, min(column, columns - 1)]) / 255)
                hertz = band_hz(band, bands)
                return f"{format_time(time_s)}, {hertz:.0f} Hz, {below:.0f} dB below the loudest"
        return ""


def band_hz(band: int, bands: int) -> float:
    """The middle of a spectrogram's band, see `moca_core.media.waveform.spectrogram`.

    >>> round(band_hz(-1, 64)), round(band_hz(64, 64))
    (50, 8000)
    """
    low, high = (2595 * np.log10(1 + hertz / 700) for hertz in (LOWEST_HZ, RATE_HZ / 2))
    return float(700 * (10 ** ((low + (band + 1) / (bands + 1) * (high - low)) / 2595) - 1))
