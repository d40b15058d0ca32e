"""The timeline: click, drag, zoom, what it paints."""

from __future__ import annotations

import numpy as np
import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QColor

from moca_gui.sound import SoundPart
from moca_gui.views.time_rows import runs, ticks


def point(row, time_s):
    return QPoint(round(row.x_of(time_s)), row.height() // 2)


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
    assert row.describe(19) == "Frame 19 (followed by motion): silent"


def test_runs_and_ticks():
    assert list(runs(np.array([], np.uint8))) == []
    assert list(runs(np.array([1, 1, 0], np.uint8))) == [(0, 1, 1), (2, 2, 0)]
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
