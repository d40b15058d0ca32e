"""The window's layout: kept, put back, and never a reason not to open."""

from __future__ import annotations

import pytest
from PySide6.QtCore import QPoint, QSettings, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication

from moca_core.paths import config_dir
from moca_gui import layout
from moca_gui.settings import RECENT_LIMIT, WindowState


def ini():
    config_dir().mkdir(parents=True, exist_ok=True)
    return config_dir() / "window.ini"


def can_be_taken_hold_of(window):
    """Whether enough of the upper edge of the window is on a screen."""
    edge = window.frameGeometry()
    edge.setHeight(10)
    parts = [s.availableGeometry().intersected(edge) for s in QGuiApplication.screens()]
    return any(part.width() >= 80 and part.height() == 10 for part in parts)


def test_recent_files_are_bounded(tmp_path):
    state = WindowState()
    for number in range(RECENT_LIMIT + 5):
        state.add_recent(tmp_path / f"{number}.mp4")
    names = [path.name for path in WindowState().recent()]
    assert len(names) == RECENT_LIMIT
    assert names[0] == f"{RECENT_LIMIT + 4}.mp4"


def test_the_layout_is_kept_on_close(make_window):
    first = make_window()
    first.docks["Log"].show()
    first.docks["Objects"].hide()
    first.resize(790, 700)
    first.close()
    second = make_window()
    assert second.docks["Log"].isVisible()
    assert not second.docks["Objects"].isVisible()
    assert second.size() == first.size()


def test_reset_puts_all_of_it_back(make_window, open_clip, monkeypatch):
    monkeypatch.setattr(layout, "_fitting", lambda window: layout.SIZE_PX)  # a larger screen
    window = make_window()
    open_clip(window)
    QApplication.processEvents()
    at_first = window.size(), {name: dock.size() for name, dock in window.docks.items()}
    window.docks["Log"].show()
    window.docks["Thresholds"].raise_()
    window.docks["Inspector"].setFloating(True)
    window.addDockWidget(Qt.DockWidgetArea.LeftDockWidgetArea, window.docks["Objects"])
    window.resizeDocks([window.docks["Objects"]], [400], Qt.Orientation.Horizontal)
    window.resize(900, 720)
    window.timeline.zoom(0.3)
    window.view.zoom_by(3)
    QApplication.processEvents()
    assert window.timeline.axis.span_s < window.session.clip.duration_s
    window.actions_by_name["reset_layout"].trigger()
    QApplication.processEvents()
    assert not window.docks["Log"].isVisible()
    assert not window.docks["Inspector"].isFloating()
    assert window.dockWidgetArea(window.docks["Objects"]) == Qt.DockWidgetArea.RightDockWidgetArea
    behind = [window.docks[name] for name in ("Thresholds", "Proposals")]
    assert window.tabifiedDockWidgets(window.docks["Inspector"]) == behind
    assert not window.docks["Inspector"].visibleRegion().isEmpty()
    assert window.size() == at_first[0]
    for name in ("Objects", "Inspector"):
        size = window.docks[name].size()
        assert abs(size.width() - at_first[1][name].width()) <= 2, name
        assert abs(size.height() - at_first[1][name].height()) <= 2, name
    assert window.timeline.axis.span_s == window.session.clip.duration_s
    assert window.view.frame_rect().width() <= window.view.width()


def test_reset_leaves_the_full_screen(window):
    window.actions_by_name["fullscreen"].trigger()
    assert window.isFullScreen()
    window.actions_by_name["reset_layout"].trigger()
    assert not window.isFullScreen()


DAMAGED = {
    "no ini": b"\x00\xff\xfe garbage \x01" * 50,
    "half": b'[General]\ngeometry="@ByteArray(\\x1\\xd9',
    "another type": b"[General]\ngeometry=@Size(3 4)\ndocks=@Rect(1 2 3 4)\nrecent=@Point(1 1)\n",
    "text": b"[General]\ngeometry=hello\ndocks=7\nrecent=\n",
    "variant": b"[General]\ngeometry=@Variant(\\0\\0\\0\\x7f\\0\\x5No)\ndocks=@Variant(\\0\\0)\n",
    "cut": b"[General]\ngeometry=@ByteArray(\\x1\\xd9\\xd0\\xcb\\0\\x3)\ndocks=@ByteArray(\\xff)\n",
    "list": b"[General]\ngeometry=a, b, c\ndocks=@Invalid()\nrecent=@Invalid()\n",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_layout_never_keeps_the_program_from_opening(name, make_window, tmp_path):
    ini().write_bytes(DAMAGED[name])
    window = make_window()
    assert window.isVisible()
    assert can_be_taken_hold_of(window)
    assert window.docks["Inspector"].isVisible()
    window.state.add_recent(tmp_path / "a.mp4")
    window.docks["Log"].show()
    window.close()
    again = make_window()
    assert again.docks["Log"].isVisible()
    assert again.state.recent() == [tmp_path / "a.mp4"]


def test_a_folder_in_the_place_of_the_file_is_no_reason_either(make_window):
    ini().mkdir()
    window = make_window()
    assert window.isVisible()
    window.close()


@pytest.mark.parametrize("corner", [(9000, 9000), (-5000, 100), (100, -4000), (790, 100)])
def test_a_window_of_a_screen_that_is_gone_comes_up_visible(corner, make_window):
    first = make_window()
    first.resize(600, 500)
    first.move(QPoint(*corner))
    first.close()
    window = make_window()
    assert can_be_taken_hold_of(window)


def test_a_window_that_is_larger_than_the_screen_is_made_smaller(make_window):
    first = make_window()
    first.resize(5000, 4000)
    first.move(QPoint(9000, 9000))
    first.close()
    window = make_window()
    assert can_be_taken_hold_of(window)
    assert window.height() <= QGuiApplication.primaryScreen().availableGeometry().height()


def test_the_layout_has_its_own_file(window):
    window.close()
    keys = QSettings(str(ini()), QSettings.Format.IniFormat).allKeys()
    assert {"geometry", "docks"} <= set(keys)
