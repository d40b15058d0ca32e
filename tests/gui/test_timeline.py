"""The timeline: click, drag, zoom, what it paints."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from gui_fakes import fake_sound
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QColor, QImage, QPixmap, QWheelEvent
from PySide6.QtWidgets import QApplication

from moca_core.media.audio import frame_window
from moca_gui.colormaps import table
from moca_gui.sound import SoundPart
from moca_gui.theme import THEMES
from moca_gui.views.sound_rows import band_hz
from moca_gui.views.time_rows import TOP_LEVEL, ticks


def point(row, time_s):
    return QPoint(round(row.x_of(time_s)), row.height() // 2)


def go_to(window, qtbot, frame):
    window.player.seek(frame)
    qtbot.waitUntil(lambda: window.session.frame == frame, timeout=2000)


class Steps:
    """The envelope of a sound whose loudness changes every half second."""

    levels = np.float32([0.9, 0.1, 0.5, 0.0])

    def envelope(self, start_s, stop_s, columns):
        spans = pairwise(np.linspace(start_s, stop_s, columns + 1))
        high = np.float32([self.levels[int(a / 0.5) : int(b / 0.5) + 1].max() for a, b in spans])
        return -high / 2, high


@pytest.fixture
def sounding(window, open_clip, qtbot):
    """A window with a clip whose sound is read, at frame 25, with a window shorter than it."""
    window.session.audio_window_s = 0.5
    window.sound._read = lambda clip: iter([*fake_sound(clip), SoundPart(pyramid=Steps())])
    open_clip(window)
    qtbot.waitUntil(lambda: len(window.sound.spectrum(0.0, 2.0)) == 1, timeout=5000)
    go_to(window, qtbot, 25)
    return window


def picture(row, ratio=1):
    """(rows, columns, 3) uint8 RGB of a row as it is on a screen of `ratio`."""
    pixmap = QPixmap(row.size() * ratio)
    pixmap.setDevicePixelRatio(ratio)
    row.render(pixmap)
    image = pixmap.toImage().convertToFormat(QImage.Format.Format_RGBA8888)
    values = np.frombuffer(image.constBits(), np.uint8).copy()  # the image is about to go
    return values.reshape(image.height(), image.width(), 4)[..., :3]


def rgb(colour):
    return QColor(colour).getRgb()[:3]


def columns(image, colour):
    """The columns that have `colour` from top to bottom."""
    return np.flatnonzero((image == rgb(colour)).all(axis=(0, 2))).tolist()


def wheel(row, time_s, steps, keys=Qt.KeyboardModifier.NoModifier):
    where = QPointF(point(row, time_s))
    event = QWheelEvent(
        where,
        QPointF(row.mapToGlobal(where.toPoint())),
        QPoint(),
        QPoint(0, 120 * steps),
        Qt.MouseButton.NoButton,
        keys,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(row, event)


@pytest.mark.parametrize("name", ["overview", "ruler", "waveform", "spectrogram", "results"])
def test_click_moves_the_playhead(window, open_clip, qtbot, name):
    open_clip(window)
    row = getattr(window.timeline, name)
    qtbot.mouseClick(row, Qt.MouseButton.LeftButton, pos=point(row, 1.02))
    qtbot.waitUntil(lambda: window.session.frame == 25, timeout=2000)


def test_drag_selects_the_range(window, open_clip, qtbot):
    open_clip(window)
    row = window.timeline.waveform
    qtbot.mousePress(row, Qt.MouseButton.LeftButton, pos=point(row, 0.42))
    qtbot.mouseMove(row, point(row, 0.9))
    qtbot.mouseMove(row, point(row, 1.22))
    qtbot.mouseRelease(row, Qt.MouseButton.LeftButton, pos=point(row, 1.22))
    assert window.session.range == (10, 30)
    assert window.session.frame == 0
    assert "00:00.400 to 00:01.240" in window.transport.range.text()


def test_drag_on_the_ruler_scrubs(window, open_clip, qtbot):
    open_clip(window)
    row = window.timeline.ruler
    qtbot.mousePress(row, Qt.MouseButton.LeftButton, pos=point(row, 0.1))
    qtbot.mouseMove(row, point(row, 1.42))
    qtbot.waitUntil(lambda: window.session.frame == 35, timeout=2000)
    qtbot.mouseRelease(row, Qt.MouseButton.LeftButton, pos=point(row, 1.42))
    assert window.session.range is None


def test_zoom_keys_keep_the_playhead_in_place_and_pages_turn(window, open_clip, qtbot):
    open_clip(window)
    window.player.seek(25)
    qtbot.waitUntil(lambda: window.session.frame == 25, timeout=2000)
    axis = window.timeline.axis
    before = window.timeline.waveform.x_of(1.0)
    qtbot.keyClick(window, Qt.Key.Key_Plus, Qt.KeyboardModifier.ControlModifier)
    assert axis.span_s == pytest.approx(1.0)
    assert window.timeline.waveform.x_of(1.0) == pytest.approx(before)
    window.player.seek(48)
    qtbot.waitUntil(lambda: window.session.frame == 48, timeout=2000)
    assert axis.start_s <= 48 / 25 < axis.stop_s + 1e-9
    qtbot.keyClick(window, Qt.Key.Key_0, Qt.KeyboardModifier.ControlModifier)
    assert (axis.start_s, axis.stop_s) == (0.0, 2.0)


def test_waveform_and_playhead_are_painted(window, open_clip, qtbot):
    open_clip(window)
    row = window.timeline.waveform
    qtbot.waitUntil(lambda: window.sound.message == "", timeout=2000)
    window.player.seek(25)
    qtbot.waitUntil(lambda: window.session.frame == 25, timeout=2000)
    image = row.grab().toImage()
    ratio = image.devicePixelRatio()
    column = round(row.x_of(1.0) * ratio)
    colours = {image.pixelColor(column + dx, round(3 * ratio)).name() for dx in (-1, 0, 1)}
    assert QColor(window.theme.playhead).name() in colours
    middle = round(row.height() / 2 * ratio)
    wave = {image.pixelColor(x, middle).name() for x in range(round(100 * ratio), column - 60)}
    assert len(wave - {QColor(window.theme.base).name()}) > 0


def test_audio_window_lies_inside_the_clip(window, open_clip):
    open_clip(window)
    start, stop = window.session.current_window_s()
    assert (start, stop) == (0.0, pytest.approx(2.0))


def test_results_row_describes_a_frame(window, open_clip, qtbot):
    open_clip(window)
    window.runner.run_clip()
    qtbot.waitUntil(lambda: window.runner.job is None, timeout=5000)
    row = window.timeline.results
    assert row.describe(0) == "Frame 0 (key frame): dog 0.83"
    assert row.describe(19) == "Frame 19 (by motion): silent"


def test_ticks():
    assert [label for _, label in ticks((0.0, 10.0), 5)] == [
        "00:00",
        "00:02",
        "00:04",
        "00:06",
        "00:08",
        "00:10",
    ]
    assert next(ticks((0.1, 0.3), 10))[1] == "00:00.100"


@pytest.mark.parametrize(("peak", "gain"), [(0.9, 1), (0.3, 2), (0.01, 32), (0.0, 32)])
def test_a_quiet_clip_is_shown_larger(window, open_clip, qtbot, peak, gain):
    class Pyramid:
        def envelope(self, start_s, stop_s, columns):
            high = np.full(columns, peak, np.float32)
            return -high / 2, high

    window.sound._read = lambda clip: iter([SoundPart(pyramid=Pyramid())])
    open_clip(window)
    qtbot.waitUntil(lambda: window.sound.message == "", timeout=2000)
    assert window.sound.gain == gain


@pytest.mark.parametrize("name", ["waveform", "spectrogram"])
def test_the_plots_leave_the_mouse_to_their_rows(sounding, name):
    row = getattr(sounding.timeline, name)
    assert row.chart.isVisible()
    assert row.chart.geometry() == row.plot.toRect()
    assert sounding.childAt(row.mapTo(sounding, point(row, 1.5))) is row


@pytest.mark.parametrize("name", ["waveform", "spectrogram"])
def test_wheel_and_middle_button_zoom_and_pan_all_rows(sounding, qtbot, name):
    row, axis = getattr(sounding.timeline, name), sounding.timeline.axis
    before = row.x_of(1.5)
    wheel(row, 1.5, 2, Qt.KeyboardModifier.ControlModifier)
    assert axis.span_s == pytest.approx(2.0 * 0.8**2)
    assert row.x_of(1.5) == pytest.approx(before, abs=1)
    wheel(row, 1.5, -1)
    assert axis.span_s == pytest.approx(2.0 * 0.8**2)
    assert row.x_of(1.5) < before - 50
    start = axis.start_s
    qtbot.mousePress(row, Qt.MouseButton.MiddleButton, pos=point(row, 1.0))
    qtbot.mouseMove(row, point(row, 1.2))
    qtbot.mouseRelease(row, Qt.MouseButton.MiddleButton)
    assert axis.start_s == pytest.approx(start - 0.2, abs=0.005)
    for other in (sounding.timeline.waveform, sounding.timeline.spectrogram):
        (left, right), _ = other.chart.box.viewRange()
        assert (left, right) == pytest.approx((axis.start_s, axis.stop_s), abs=1e-5)
    assert sounding.session.frame == 25


@pytest.mark.parametrize("name", ["waveform", "spectrogram"])
def test_marks_stand_at_their_times(sounding, qtbot, name):
    chart = getattr(sounding.timeline, name).chart
    assert chart.playhead.value() == 1.0
    assert chart.window_mark.getRegion() == frame_window(1.0, 0.5, 2.0) == (0.75, 1.25)
    assert not chart.range_mark.isVisible()
    sounding.session.set_range(10, 30)
    assert chart.range_mark.isVisible()
    assert chart.range_mark.getRegion() == (10 / 25, 31 / 25)
    go_to(sounding, qtbot, 3)
    assert chart.playhead.value() == 3 / 25
    assert chart.window_mark.getRegion() == frame_window(3 / 25, 0.5, 2.0)
    sounding.session.clear_range()
    assert not chart.range_mark.isVisible()


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("ratio", [1, 2])
@pytest.mark.parametrize("view", [(0.0, 2.0), (0.3, 1.9), (0.96, 1.16)])
def test_lines_run_on_through_all_rows(sounding, view, ratio, theme):
    sounding.apply_theme(THEMES[theme])
    line = sounding.timeline
    sounding.session.set_range(26, 48)
    line.axis.set_view(*view)
    rows = [line.waveform, line.spectrogram, line.results]
    rows += [line.overview] if view == (0.0, 2.0) else []
    for time_s, colour in ((1.0, "playhead"), (26 / 25, "range_edge")):
        found = [columns(picture(row, ratio), getattr(sounding.theme, colour)) for row in rows]
        exact = line.waveform.x_of(time_s) * ratio
        own = [x for x in found[0] if abs(x + 0.5 - exact) < 4]
        assert own
        assert np.mean(own) + 0.5 == pytest.approx(exact, abs=1)
        assert all(other == found[0] for other in found)


@pytest.mark.parametrize("theme", THEMES)
def test_the_shade_covers_the_audio_window_alone(sounding, theme):
    sounding.apply_theme(THEMES[theme])
    row = sounding.timeline.waveform
    top = picture(row)[1]  # above the wave
    ground = (top == rgb(sounding.theme.base)).all(axis=1)
    left, right = round(row.x_of(0.75)), round(row.x_of(1.25))
    assert not ground[left:right].any()
    assert ground[92 : left - 1].all()
    assert ground[right + 1 : round(row.plot.right())].all()
    row = sounding.timeline.spectrogram
    shaded, beside = (picture(row)[:, round(row.x_of(time_s))] for time_s in (0.85, 0.5))
    assert (shaded == beside).all()


@pytest.mark.parametrize("view", [(0.0, 2.0), (0.3, 1.7)])
def test_the_wave_is_as_high_as_the_sound_is_loud(sounding, view):
    row = sounding.timeline.waveform
    sounding.timeline.axis.set_view(*view)
    assert sounding.sound.gain == 1
    image = picture(row)

    def edges(time_s, colour):
        column = image[:, round(row.x_of(time_s))]
        inside = np.flatnonzero((column == rgb(colour)).all(axis=1))
        return (inside.min(), inside.max() + 1) if len(inside) else None

    for time_s, high in ((0.4, 0.9), (0.48, 0.9), (0.52, 0.1), (1.4, 0.5), (1.48, 0.5)):
        exact = [(1 - level / TOP_LEVEL) / 2 * row.height() for level in (high, -high / 2)]
        assert edges(time_s, sounding.theme.wave) == pytest.approx(exact, abs=1.5)
        exact = [(1 - level / TOP_LEVEL) / 2 * row.height() for level in (high / 2, -high / 4)]
        assert edges(time_s, sounding.theme.wave_rms) == pytest.approx(exact, abs=1.5)
    assert edges(1.6, sounding.theme.wave) is None
    assert edges(1.6, sounding.theme.border) == pytest.approx((37, 38), abs=1)


@pytest.mark.parametrize("view", [(0.0, 2.0), (1.0, 1.2)])
def test_the_band_that_sounds_is_lit(sounding, view):
    row = sounding.timeline.spectrogram
    sounding.timeline.axis.set_view(*view)
    image = picture(row)
    colours = table("magma")
    for time_s in (1.05, 1.15):
        column = image[:, round(row.x_of(time_s))].astype(int)
        middle = int(row.height() * (1 - 8.5 / 32))
        np.testing.assert_allclose(column[middle], colours[255], atol=24)
        assert column.sum(axis=1).argmax() == pytest.approx(middle, abs=1)
        np.testing.assert_array_equal(column[5], colours[0])
    assert image[5, round(row.plot.right()) - 1].tolist() == colours[0].tolist()


def test_larger_text_leaves_all_rows_on_one_axis(sounding):
    timeline = sounding.timeline
    left = timeline.results.plot.left()
    sounding.settings.set("text_size", 1.5)
    assert timeline.results.plot.left() > left + 30
    for row in (timeline.waveform, timeline.spectrogram):
        assert row.chart.geometry() == timeline.results.plot.toRect().adjusted(
            0, 0, 0, row.height() - timeline.results.height()
        )


def test_words_for_what_is_under_the_pointer(sounding):
    row = sounding.timeline.waveform
    assert row.tip_at(QPointF(row.x_of(0.2), 10)) == "00:00.200, -1 dB of full scale"
    assert row.tip_at(QPointF(row.x_of(0.7), 10)) == "00:00.700, -20 dB of full scale"
    assert row.tip_at(QPointF(row.x_of(1.8), 10)) == "00:01.800, silent"
    row = sounding.timeline.spectrogram
    lit = row.tip_at(QPointF(row.x_of(1.5), row.height() * (1 - 8.5 / 32)))
    assert lit == f"00:01.500, {band_hz(8, 32):.0f} Hz, 0 dB below the loudest"
    assert row.tip_at(QPointF(row.x_of(0.5), 1)).endswith("Hz, 75 dB below the loudest")
    assert (band_hz(-1, 64), band_hz(64, 64)) == pytest.approx((50, 8000))


def test_a_clip_without_sound_says_so_in_place_of_the_wave(window, open_clip, qtbot):
    open_clip(window, "silent.mp4")
    row = window.timeline.waveform
    assert row.chart.message.toPlainText() == "no audio track"
    assert row.chart.message.isVisible()
    assert not row.chart.window_mark.isVisible()
    middle = picture(row)[row.height() // 2 - 6 : row.height() // 2 + 6]
    assert (middle[:, 400:600] != rgb(window.theme.base)).any()
    open_clip(window)
    qtbot.waitUntil(lambda: not row.chart.message.isVisible(), timeout=2000)


def test_the_plots_are_made_after_the_clip_is_seen(window, open_clip, qtbot):
    rows = (window.timeline.waveform, window.timeline.spectrogram)
    assert [child for row in rows for child in row.children()] == []
    with qtbot.waitSignal(window.opened, timeout=5000):
        window.open_path("clip.mp4")
    assert [child for row in rows for child in row.children()] == []
    qtbot.waitUntil(lambda: all(row.children() for row in rows), timeout=5000)
    window.clips.close()
    assert not any(row.chart.isVisible() for row in rows)


class Odd:
    """The envelope of a sound with values that are no numbers."""

    def __init__(self, value):
        self.value = value

    def envelope(self, start_s, stop_s, columns):
        return np.full(columns, -0.5, np.float32), np.full(columns, self.value, np.float32)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.0])
def test_odd_values_can_be_painted(sounding, value):
    """An exception inside painting would end the program."""
    sounding.sound._pyramid = Odd(value)
    row = sounding.timeline.waveform
    row.redraw()
    assert picture(row).any()
    assert np.isfinite(sounding.sound.gain)
    assert np.isfinite(sounding.sound.envelope(0.0, 2.0, 10)).all()
    assert "dB" in row.tip_at(QPointF(point(row, 1.0)))
