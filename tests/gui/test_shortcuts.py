"""Keys as the user wants them, and what text boxes keep for themselves."""

from __future__ import annotations

import json

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QApplication,
    QComboBox,
    QDoubleSpinBox,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QSpinBox,
    QTextEdit,
    QWidget,
)

from moca_gui.actions import ACTIONS, key_text
from moca_gui.dialogs.shortcuts import ShortcutsDialog
from moca_gui.settings import Settings
from moca_gui.shortcuts import effective, is_key, read_changes

KEYS = [key for row in ACTIONS for key in row.keys]
SINGLE = [
    key
    for key in KEYS
    if not key.startswith(("Ctrl+", "Alt+")) and key != "Esc" and not key.startswith("F")
]


@pytest.fixture
def shown(window, qtbot):
    """The window of the shortcuts, opened by its key."""
    qtbot.waitUntil(window.isActiveWindow)
    qtbot.keyClick(window, Qt.Key.Key_F1)
    return window.findChild(ShortcutsDialog)


def press(widget, key):
    QTest.keySequence(widget, QKeySequence(key))


def choose(dialog, name, key=""):
    dialog.tree.setCurrentItem(dialog.items[name])
    if key:
        dialog.key.setFocus()
        press(dialog.key, key)


def stored():
    return json.loads(Settings().path.read_text()).get("shortcuts", {})


# -- the rules --------------------------------------------------------------------------------


@pytest.mark.parametrize("key", KEYS)
def test_every_key_of_the_table_is_written_as_qt_writes_it(key):
    assert is_key(key)


@pytest.mark.parametrize("key", ["", "no key", "Ctrl+K, Ctrl+B", "ctrl+k"])
def test_other_texts_are_no_keys(key):
    assert not is_key(key)


def test_a_damaged_file_changes_what_can_be_read():
    kept = {"play": ["P"], "mute": "M", "loop": ["nonsense"], "gone": ["X"], "faster": ["P"]}
    assert read_changes(kept) == {"play": ("P",)}


def test_a_given_key_is_missing_where_it_was():
    keys = effective({"play": ("J", "Left")})
    assert keys["play"] == ("J", "Left")
    assert keys["shuttle_back"] == ()
    assert keys["step_back"] == (",",)
    assert keys["loop"] == ("Ctrl+L",)


# -- the window -------------------------------------------------------------------------------


def test_every_action_is_listed_with_its_keys(shown):
    assert list(shown.items) == [row.name for row in sorted_rows()]
    for row in ACTIONS:
        for key in row.keys:
            assert key_text(key) in shown.items[row.name].text(1)


def sorted_rows():
    from moca_gui.actions import MENUS

    return sorted(ACTIONS, key=lambda row: MENUS.index(row.menu))


def test_search_finds_menus_titles_and_keys(shown, qtbot):
    assert QApplication.focusWidget() is shown.search
    for text, expected in (("reset layout", {"reset_layout"}), ("ctrl+m", {"match"})):
        shown.search.clear()
        qtbot.keyClicks(shown.search, text)
        assert {n for n, item in shown.items.items() if not item.isHidden()} == expected
    shown.search.setText("help")
    assert {"shortcuts", "about"} <= {n for n, i in shown.items.items() if not i.isHidden()}


def test_a_key_is_changed_everywhere_at_once_and_kept(shown, window, open_clip, qtbot, make_window):
    open_clip(window)
    action = window.actions_by_name["loop"]
    assert not shown.set_button.isEnabled()
    choose(shown, "loop", "Ctrl+K")
    assert shown.note.text() == f"{key_text('Ctrl+K')} is free."
    qtbot.mouseClick(shown.set_button, Qt.MouseButton.LeftButton)
    assert action.shortcut() == QKeySequence("Ctrl+K")
    assert key_text("Ctrl+K") in action.toolTip()
    assert shown.items["loop"].text(1) == key_text("Ctrl+K")
    assert shown.items["loop"].font(1).bold()
    assert stored() == {"loop": ["Ctrl+K"]}
    shown.close()
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    press(window, "Ctrl+K")
    assert window.player.looping
    press(window, "Ctrl+L")
    assert window.player.looping
    assert make_window().actions_by_name["loop"].shortcut() == QKeySequence("Ctrl+K")


def test_the_run_button_names_the_key_of_its_action(window):
    assert key_text("Ctrl+R") in window.run_button.toolTip()
    window.shortcuts.give("run_clip", ("F5",))
    assert window.run_button.toolTip().endswith("(F5)")


def test_a_conflict_names_the_action_and_the_key_moves(shown, window, qtbot):
    choose(shown, "loop", "R")
    assert shown.note.text() == "R belongs to Run > On this frame, which will lose it."
    qtbot.mouseClick(shown.add_button, Qt.MouseButton.LeftButton)
    assert window.shortcuts.keys("loop") == ("Ctrl+L", "R")
    assert window.shortcuts.keys("run_frame") == ()
    assert window.actions_by_name["run_frame"].shortcuts() == []
    assert shown.items["run_frame"].text(1) == ""
    # A key that was moved can be moved on, and comes back when its action is reset.
    window.shortcuts.give("mute", ("R",))
    assert window.shortcuts.keys("loop") == ("Ctrl+L",)
    choose(shown, "run_frame")
    qtbot.mouseClick(shown.default_button, Qt.MouseButton.LeftButton)
    assert window.shortcuts.keys("run_frame") == ("R",)
    assert window.shortcuts.keys("mute") == ()
    qtbot.mouseClick(shown.all_button, Qt.MouseButton.LeftButton)
    assert all(window.shortcuts.is_default(row.name) for row in ACTIONS)
    assert not shown.all_button.isEnabled()
    assert stored() == {}


def test_an_action_may_have_no_key(shown, window, qtbot):
    choose(shown, "quit")
    qtbot.mouseClick(shown.none_button, Qt.MouseButton.LeftButton)
    assert window.actions_by_name["quit"].shortcuts() == []
    assert "(" not in window.actions_by_name["quit"].toolTip()
    assert stored() == {"quit": []}
    assert not shown.none_button.isEnabled()


# -- keys that are text -----------------------------------------------------------------------


@pytest.fixture
def fired(window, open_clip):
    """The actions that were triggered; their slots are not called."""
    open_clip(window)
    window.session.set_range(3, 9)
    names = []
    for name, action in window.actions_by_name.items():
        action.triggered.disconnect()
        action.triggered.connect(lambda *_, name=name: names.append(name))
        action.setEnabled(True)
    return names


def editable_combo():
    box = QComboBox()
    box.setEditable(True)
    return box


def read_only():
    box = QPlainTextEdit("some text")
    box.setReadOnly(True)
    return box


BOXES = {
    "line": QLineEdit,
    "spin": QSpinBox,
    "number": QDoubleSpinBox,
    "combo": editable_combo,
    "plain": QPlainTextEdit,
    "rich": QTextEdit,
    "read only": read_only,
}


@pytest.mark.parametrize("kind", BOXES)
def test_single_keys_never_fire_inside_a_text_box(kind, window, fired):
    box = BOXES[kind]()
    window.transport.layout().addWidget(box)
    box.show()
    box.setFocus()
    assert QApplication.focusWidget() is box
    for key in SINGLE:
        press(box, key)
        assert fired == [], key
    window.view.setFocus()
    press(window.view, "R")
    assert fired == ["run_frame"]


def test_single_keys_never_fire_inside_the_boxes_of_the_window(window, fired):
    window.docks["Log"].show()
    window.docks["Thresholds"].raise_()
    QApplication.processEvents()
    kinds = QLineEdit | QSpinBox | QDoubleSpinBox | QPlainTextEdit | QTextEdit
    boxes = [box for box in window.findChildren(QWidget) if isinstance(box, kinds)]
    boxes = [box for box in boxes if box.isVisible() and box.isEnabled()]
    assert window.log in boxes
    for box in boxes:
        box.setFocus()
        for key in SINGLE:
            press(box, key)
            assert fired == [], (box.accessibleName(), key)


def test_keys_that_move_and_copy_stay_with_a_text_box(window, fired, qtbot):
    box = QLineEdit("one two")
    window.transport.layout().addWidget(box)
    box.show()
    box.setFocus()
    box.selectAll()
    for key in ("Ctrl+C", "Ctrl+Left", "Ctrl+Right", "Shift+Home", "Ctrl+A", "Ctrl+Z"):
        press(box, key)
        assert fired == [], key
    assert QApplication.clipboard().text() == "one two"
    window.docks["Log"].show()
    window.log.setFocus()
    press(window.log, "Ctrl+A")
    press(window.log, "Ctrl+C")
    assert fired == []
    assert "Opened" in QApplication.clipboard().text()


def test_esc_and_f_keys_act_in_a_text_box_too(window, fired):
    box = QLineEdit()
    window.transport.layout().addWidget(box)
    box.show()
    box.setFocus()
    press(box, "Esc")
    press(box, "F11")
    assert fired == ["cancel", "fullscreen"]


@pytest.mark.parametrize("name", ["show_settings", "show_shortcuts", "show_about", "ask_position"])
def test_a_dialog_hands_no_key_to_the_window(name, window, fired):
    getattr(window.dialogs, name)()
    dialog = QApplication.activeModalWidget()
    for key in KEYS:
        if key not in ("Esc", "Space"):  # which work the dialog itself
            press(QApplication.focusWidget(), key)
            press(dialog, key)
    assert fired == []
    dialog.close()


def test_help_shows_no_old_key(window, qtbot):
    window.shortcuts.give("play", ("P",))
    qtbot.keyClick(window, Qt.Key.Key_F1)
    dialog = window.findChild(ShortcutsDialog)
    assert dialog.items["play"].text(1) == "P"
    assert not [label for label in dialog.findChildren(QLabel) if label.text() == "Space"]
    dialog.close()
