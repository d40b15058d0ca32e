"""Opening: argument, menu, drop, recent files; a failure keeps what was open."""

from __future__ import annotations

import threading
import time

import pytest
from gui_fakes import FakeReader, number_frame
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QColor, QDragEnterEvent, QDropEvent, QGuiApplication
from PySide6.QtWidgets import QFileDialog, QPushButton

from moca_gui.dialogs.errors import ErrorDialog


def pixel(image, x=5, y=5):
    return QColor(image.pixel(x, y)).getRgb()[:3]


def wait_until(there):
    """Wait for a thread without letting the window work."""
    deadline = time.monotonic() + 5
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_open_shows_the_first_frame_and_the_facts(window, open_clip):
    open_clip(window)
    assert pixel(window.session.image) == tuple(number_frame(0)[0, 0])
    assert window.status.clip.text() == "64×48  25 fps  44.1 kHz"  # noqa: RUF001
    assert window.status.position.text() == "0 / 50"
    assert window.transport.total.text() == "/ 00:02.000"
    assert window.windowTitle().startswith("clip.mp4")


def test_menu_opens_the_chosen_file(window, qtbot, tmp_path, monkeypatch):
    chosen = str(tmp_path / "chosen.mp4")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *a, **k: (chosen, ""))
    with qtbot.waitSignal(window.opened, timeout=3000):
        qtbot.keyClick(window, Qt.Key.Key_O, Qt.KeyboardModifier.ControlModifier)
    assert window.session.clip.path.name == "chosen.mp4"


def test_drop_opens_the_file(window, qtbot, tmp_path):
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(tmp_path / "dropped.mp4"))])
    actions, buttons = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton
    none = Qt.KeyboardModifier.NoModifier
    enter = QDragEnterEvent(QPoint(50, 50), actions, data, buttons, none)
    QGuiApplication.sendEvent(window, enter)
    assert enter.isAccepted()
    with qtbot.waitSignal(window.opened, timeout=3000):
        drop = QDropEvent(QPointF(50, 50), actions, data, buttons, none)
        QGuiApplication.sendEvent(window, drop)
    assert window.session.clip.path.name == "dropped.mp4"


def test_recent_files_list_the_latest_first_and_open(window, open_clip, qtbot):
    open_clip(window, "one.mp4")
    open_clip(window, "two.mp4")
    window.recent_menu.aboutToShow.emit()
    names = [action.text().split()[0] for action in window.recent_menu.actions()[:2]]
    assert names == ["two.mp4", "one.mp4"]
    with qtbot.waitSignal(window.opened, timeout=3000):
        window.recent_menu.actions()[1].trigger()
    assert window.session.clip.path.name == "one.mp4"


def test_failed_open_keeps_the_clip_and_shows_message_and_hint(window, open_clip, qtbot, tmp_path):
    open_clip(window)
    window.player.seek(7)
    qtbot.waitUntil(lambda: window.session.frame == 7, timeout=2000)
    with qtbot.waitSignal(window.open_failed, timeout=3000):
        window.open_path(tmp_path / "bad.mp4")
    dialog = window.findChild(ErrorDialog)
    assert "bad.mp4: not a video" in dialog.message.text()
    assert dialog.hint.text() == "Choose another file."
    qtbot.mouseClick(dialog.details_button, Qt.MouseButton.LeftButton)
    assert dialog.details.isVisible()
    assert "Traceback" in dialog.details.toPlainText()
    copy = next(b for b in dialog.findChildren(QPushButton) if b.text() == "Copy")
    qtbot.mouseClick(copy, Qt.MouseButton.LeftButton)
    assert "not a video" in QGuiApplication.clipboard().text()
    assert not window.docks["Log"].isVisible()
    qtbot.mouseClick(dialog.log_button, Qt.MouseButton.LeftButton)
    assert window.docks["Log"].isVisible()
    assert "not a video" in window.log.toPlainText()
    assert window.session.clip.path.name == "clip.mp4"
    assert window.session.frame == 7
    assert not window.session.clip.reader.closed
    dialog.accept()


def test_the_old_reader_is_closed_by_a_new_clip(window, open_clip):
    open_clip(window, "one.mp4")
    old = window.session.clip.reader
    open_clip(window, "two.mp4")
    assert old.closed
    assert len(window.session.results) == 0


def slow_reader(made, gate=None):
    """Opens stand-ins that are listed in `made`, each when `gate` is open."""

    def open_reader(path, patience_s):
        if gate is not None:
            gate.wait(5)
        made.append(FakeReader(path))
        return made[-1]

    return open_reader


@pytest.mark.parametrize("held_back", [True, False])
def test_of_clips_opened_in_quick_succession_only_the_last_stays(
    make_window, services, qtbot, tmp_path, held_back
):
    made, gate = [], threading.Event()
    services["open_reader"] = slow_reader(made, gate if held_back else None)
    window = make_window()
    with qtbot.waitSignal(window.opened, timeout=5000):
        for number in range(5):
            window.open_path(tmp_path / f"{number}.mp4")
            if not held_back:  # ready, but the window doesn't know it yet
                wait_until(lambda number=number: len(made) == number + 1)
        gate.set()
    qtbot.waitUntil(lambda: len(made) == 5, timeout=3000)
    qtbot.waitUntil(lambda: sum(not reader.closed for reader in made) == 1, timeout=3000)
    assert window.session.clip.path.name == "4.mp4"
    assert not window.session.clip.reader.closed


@pytest.mark.parametrize("held_back", [True, False])
def test_a_clip_that_opens_while_the_window_closes_is_given_back(
    make_window, services, tmp_path, held_back
):
    made, gate = [], threading.Event()
    services["open_reader"] = slow_reader(made, gate if held_back else None)
    window = make_window()
    window.open_path(tmp_path / "late.mp4")
    if held_back:
        threading.Timer(0.05, gate.set).start()
    else:
        wait_until(lambda: made)
    window.shut_down()
    assert [reader.closed for reader in made] == [True]


def test_close_clip_empties_the_window(window, open_clip):
    open_clip(window)
    window.actions_by_name["close_clip"].trigger()
    assert window.session.clip is None
    assert window.status.clip.text() == "No clip"
    assert not window.actions_by_name["play"].isEnabled()


def test_a_clip_without_sound_says_so(window, open_clip):
    open_clip(window, "silent.mp4")
    assert window.status.sound.full_text == "No audio track"
    assert window.sound.message == "no audio track"


@pytest.mark.parametrize("name", ["one.mp4", "bad.mp4"])
def test_closing_while_a_clip_opens_shows_nothing_more(window, qtbot, tmp_path, name):
    window.open_path(tmp_path / name)
    window.close()
    qtbot.wait(30)
    assert window.session.clip is None
    assert window.findChild(ErrorDialog) is None


def test_the_start_page_opens_the_demo_clip_and_comes_back(window, qtbot):
    page = window.start_page
    assert page.isVisible()
    assert page.size() == window.view.size()
    with qtbot.waitSignal(window.opened, timeout=5000):
        qtbot.mouseClick(page.demo_button, Qt.MouseButton.LeftButton)
    assert window.session.clip.path.name == "demo.mp4"
    assert not page.isVisible()
    qtbot.keyClick(window, Qt.Key.Key_W, Qt.KeyboardModifier.ControlModifier)
    assert page.isVisible()
    recent = [b for b in page.findChildren(QPushButton) if b.objectName() == "link"]
    assert [button.text() for button in recent] == ["demo.mp4"]
    qtbot.waitUntil(lambda: recent[0].height() > 10, timeout=2000)  # laid out
    with qtbot.waitSignal(window.opened, timeout=5000):
        qtbot.mouseClick(recent[0], Qt.MouseButton.LeftButton)
    assert not page.isVisible()


def test_the_start_page_asks_for_a_file(window, qtbot, tmp_path, monkeypatch):
    chosen = str(tmp_path / "chosen.mp4")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *a, **k: (chosen, ""))
    with qtbot.waitSignal(window.opened, timeout=3000):
        qtbot.mouseClick(window.start_page.open_button, Qt.MouseButton.LeftButton)
    assert window.session.clip.path.name == "chosen.mp4"
