"""The list of a folder's clips: opened, filtered, walked through by keys."""

from __future__ import annotations

import pytest
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QGuiApplication
from PySide6.QtWidgets import QFileDialog, QToolButton

from moca_core.annotations.edits import accept
from moca_core.annotations.model import PackedResult
from moca_core.annotations.project import ClipRef, Project, Snapshot, peek
from moca_core.errors import MediaError
from moca_core.media.probe import clip_hash
from moca_gui.__main__ import main
from moca_gui.dialogs.errors import ErrorDialog
from moca_gui.projects.listing import clips_in, said

CTRL = Qt.KeyboardModifier.ControlModifier
SHIFT = Qt.KeyboardModifier.ShiftModifier
NAMES = ["b1.mp4", "b2.MOV", "b10.mp4", "c.mkv"]


@pytest.fixture
def folder(tmp_path):
    """Four clips, and files that are none."""
    made = tmp_path / "clips"
    made.mkdir()
    for name in [*NAMES, "notes.txt", ".hidden.mp4"]:
        (made / name).write_text(name)
    (made / "folder.mp4").mkdir()
    return made


def keep(clip, corrected, results):
    """Save a project of a clip with so many frames."""
    ref = ClipRef(clip, clip_hash(clip), 50, 25.0, 2.0, (48, 64))
    frames = {frame: PackedResult(frame, frame / 25, (48, 64)) for frame in range(results)}
    labels = {frame: frames[frame] for frame in range(corrected)}
    for _ in Project(clip.with_suffix(".moca.json")).save(
        Snapshot(ref, results=frames, labels=labels)
    ):
        pass


@pytest.fixture
def listed(window, folder, qtbot):
    """The window with the folder open."""
    with qtbot.waitSignal(window.opened, timeout=5000):
        window.open_path(folder)
    return window


def rows(window):
    shown = window.clip_list.shown
    return [
        tuple(shown.index(row, column).data() for column in range(2))
        for row in range(shown.rowCount())
    ]


def names(window):
    return [name for name, _ in rows(window)]


def key(window, qtbot, *pressed):
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow, timeout=3000)
    with qtbot.waitSignal(window.opened, timeout=5000):
        qtbot.keyClick(window, *pressed)
    return window.session.clip.path.name


def test_a_folder_lists_its_clips_as_a_person_sorts_them(listed, qtbot):
    assert names(listed) == NAMES
    assert listed.clip_list.dock.isVisible()
    assert listed.session.clip.path.name == "b1.mp4"
    assert listed.clip_list.count.text() == "4 clips"


def test_one_clip_needs_no_list(window, open_clip):
    open_clip(window)
    assert not window.clip_list.dock.isVisible()


def test_the_keys_go_from_clip_to_clip(listed, qtbot):
    assert key(listed, qtbot, Qt.Key.Key_PageDown, CTRL) == "b2.MOV"
    assert key(listed, qtbot, Qt.Key.Key_PageDown, CTRL) == "b10.mp4"
    assert key(listed, qtbot, Qt.Key.Key_PageUp, CTRL) == "b2.MOV"
    bold = [
        bool(font and font.bold())
        for font in (
            listed.clip_list.shown.index(row, 0).data(Qt.ItemDataRole.FontRole)
            for row in range(len(NAMES))
        )
    ]
    assert bold == [False, True, False, False]
    assert listed.clip_list.table.currentIndex().row() == 1


def test_keys_pressed_quickly_go_as_far(listed, qtbot):
    listed.activateWindow()
    qtbot.waitUntil(listed.isActiveWindow, timeout=3000)
    for _ in range(2):
        qtbot.keyClick(listed, Qt.Key.Key_PageDown, CTRL)
    qtbot.waitUntil(lambda: listed.session.clip.path.name == "b10.mp4", timeout=5000)


def test_keys_pressed_quickly_go_as_far_while_the_clip_is_saved(listed, folder, qtbot):
    listed.settings.set("autosave_after_s", 20.0)
    shown = listed.session.shown_or_blank(0)
    assert listed.session.apply(accept([shown]))
    listed.activateWindow()
    qtbot.waitUntil(listed.isActiveWindow, timeout=3000)
    for _ in range(3):
        qtbot.keyClick(listed, Qt.Key.Key_PageDown, CTRL)
    qtbot.waitUntil(lambda: listed.session.clip.path.name == "c.mkv", timeout=5000)
    assert peek(folder / "b1.moca.json").corrected == 1


def test_the_list_ends(listed, qtbot):
    listed.activateWindow()
    qtbot.waitUntil(listed.isActiveWindow, timeout=3000)
    qtbot.keyClick(listed, Qt.Key.Key_PageUp, CTRL)
    assert "first clip" in listed.status.note.full_text
    qtbot.wait(50)
    assert listed.session.clip.path.name == "b1.mp4"


def test_without_a_list_the_keys_say_what_makes_one(window, open_clip, qtbot):
    open_clip(window)
    qtbot.keyClick(window, Qt.Key.Key_PageDown, CTRL)
    assert "Ctrl+Shift+O" in window.status.note.full_text


def test_buttons_and_rows_open_clips(listed, qtbot):
    panel = listed.clip_list
    buttons = {b.text(): b for b in panel.findChildren(QToolButton) if b.text()}
    with qtbot.waitSignal(listed.opened, timeout=5000):
        qtbot.mouseClick(buttons["Next"], Qt.MouseButton.LeftButton)
    assert listed.session.clip.path.name == "b2.MOV"
    place = panel.table.visualRect(panel.shown.index(3, 0)).center()
    qtbot.mouseClick(panel.table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    with qtbot.waitSignal(listed.opened, timeout=5000):
        qtbot.mouseDClick(panel.table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert listed.session.clip.path.name == "c.mkv"
    panel.table.setFocus()
    for _ in range(3):
        qtbot.keyClick(panel.table, Qt.Key.Key_Up)
    with qtbot.waitSignal(listed.opened, timeout=5000):
        qtbot.keyClick(panel.table, Qt.Key.Key_Return)
    assert listed.session.clip.path.name == "b1.mp4"


def test_the_filter_leaves_names_and_takes_keys_as_text(listed, qtbot):
    box = listed.clip_list.filter
    box.setFocus()
    qtbot.keyClicks(box, "B1 ")
    assert box.text() == "B1 "
    assert not listed.player.playing  # Space is text here
    assert names(listed) == ["b1.mp4", "b10.mp4"]
    assert listed.clip_list.count.text() == "2 of 4"
    assert key(listed, qtbot, Qt.Key.Key_PageDown, CTRL) == "b10.mp4"  # of those left


def test_the_states_say_how_far_each_clip_is(window, folder, qtbot):
    keep(folder / "b1.mp4", 3, 12)
    keep(folder / "b2.MOV", 7, 7)
    keep(folder / "b10.mp4", 0, 5)
    (folder / "c.moca.json").write_text("{}")
    window.open_path(folder)
    qtbot.waitUntil(lambda: len(rows(window)) == 4, timeout=5000)
    qtbot.waitUntil(lambda: all(state != "…" for _, state in rows(window)), timeout=5000)
    states = dict(rows(window))
    assert states["b1.mp4"] == "3 of 12"
    assert states["b2.MOV"] == "all 7"
    assert states["b10.mp4"] == "0 of 5"
    assert states["c.mkv"] == "unreadable"
    row = window.clip_list.shown.index(3, 0)
    assert "not a MoCA project" in row.data(Qt.ItemDataRole.ToolTipRole)


def test_the_state_of_the_open_clip_follows_its_saves(listed, qtbot):
    qtbot.waitUntil(lambda: dict(rows(listed))["b1.mp4"] == "no project", timeout=5000)
    listed.settings.set("autosave_after_s", 0.5)
    listed.runner.run_clip()
    qtbot.waitUntil(lambda: listed.runner.job is None, timeout=5000)
    qtbot.keyClick(listed, Qt.Key.Key_A)
    qtbot.waitUntil(lambda: dict(rows(listed))["b1.mp4"] == "1 of 50", timeout=5000)


def test_the_place_in_the_list_is_kept(listed, qtbot, make_window, folder):
    assert key(listed, qtbot, Qt.Key.Key_PageDown, CTRL) == "b2.MOV"
    listed.close()
    window = make_window()
    with qtbot.waitSignal(window.opened, timeout=5000):
        window.open_path(folder)
    assert window.session.clip.path.name == "b2.MOV"


def test_the_menu_and_a_drop_open_a_folder(window, folder, qtbot):
    qtbot.keyClick(window, Qt.Key.Key_O, CTRL | SHIFT)
    dialog = window.findChild(QFileDialog)
    with qtbot.waitSignal(window.opened, timeout=5000):
        dialog.fileSelected.emit(str(folder))
    dialog.close()
    window.clips.close()
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(folder))])
    button, none = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    action = Qt.DropAction.CopyAction
    enter = QDragEnterEvent(QPoint(50, 50), action, data, button, none)
    drop = QDropEvent(QPointF(50, 50), action, data, button, none)
    QGuiApplication.sendEvent(window, enter)
    assert enter.isAccepted()
    with qtbot.waitSignal(window.opened, timeout=5000):
        QGuiApplication.sendEvent(window, drop)
    assert len(names(window)) == 4


def test_the_start_page_opens_a_folder(window, folder, qtbot):
    qtbot.mouseClick(window.start_page.folder_button, Qt.MouseButton.LeftButton)
    dialog = window.findChild(QFileDialog)
    with qtbot.waitSignal(window.opened, timeout=5000):
        dialog.fileSelected.emit(str(folder))
    dialog.close()
    assert len(names(window)) == 4


def test_a_folder_without_clips_says_so_and_the_clip_stays(window, open_clip, qtbot, tmp_path):
    open_clip(window)
    (tmp_path / "empty").mkdir()
    with qtbot.waitSignal(window.open_failed, timeout=5000):
        window.open_path(tmp_path / "empty")
    dialog = window.findChild(ErrorDialog)
    assert "empty: a folder without clips" in dialog.message.text()
    dialog.accept()
    assert window.session.clip.path.name == "clip.mp4"


def test_a_clip_that_cant_be_opened_leaves_the_mark_where_it_is(listed, folder, qtbot):
    (folder / "b2-bad.mp4").write_text("bad")
    with qtbot.waitSignal(listed.opened, timeout=5000):
        listed.open_path(folder)
    row = names(listed).index("b2-bad.mp4")
    with qtbot.waitSignal(listed.open_failed, timeout=5000):
        listed.clip_list.table.activated.emit(listed.clip_list.shown.index(row, 0))
    listed.findChild(ErrorDialog).accept()
    assert listed.session.clip.path.name == "b1.mp4"
    assert listed.clip_list.table.currentIndex().row() == names(listed).index("b1.mp4")


def test_many_clips_are_listed_beside_the_window(window, tmp_path, qtbot):
    many = tmp_path / "many"
    many.mkdir()
    for number in range(500):
        (many / f"{number}.mp4").write_text(str(number))
    with qtbot.waitSignal(window.opened, timeout=10000):
        window.open_path(many)
    qtbot.waitUntil(lambda: all(s == "no project" for _, s in rows(window)), timeout=20000)
    assert names(window)[:3] == ["0.mp4", "1.mp4", "2.mp4"]


def test_another_folder_takes_the_place_of_a_list_that_isnt_done(listed, folder, tmp_path, qtbot):
    second = tmp_path / "second"
    second.mkdir()
    for name in ("x.mp4", "y.mp4"):
        (second / name).write_text(name)
    listed.open_path(folder)
    with qtbot.waitSignal(listed.opened, timeout=5000):
        listed.open_path(second)
    qtbot.waitUntil(lambda: "list clips" not in listed.pool.titles, timeout=5000)
    assert names(listed) == ["x.mp4", "y.mp4"]
    assert listed.session.clip.path.name == "x.mp4"


def test_a_folder_that_isnt_there_is_said(tmp_path):
    with pytest.raises(MediaError) as caught:
        clips_in(tmp_path / "gone")
    assert "gone" in caught.value.message and caught.value.hint


def test_nobody_looked_yet():
    assert said(None) == "…"


def test_the_command_line_says_what_it_takes(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert "CLIP|FOLDER|PROJECT" in text and "moca.json" in text
