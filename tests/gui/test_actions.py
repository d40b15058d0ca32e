"""Every row of the table of actions."""

from __future__ import annotations

from collections import Counter

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence
from PySide6.QtWidgets import QAbstractButton, QDialog, QSlider

from moca_gui.actions import ACTIONS, MENUS, NEEDS, key_text, resolve_slot
from moca_gui.icons import NAMES


@pytest.mark.parametrize("row", ACTIONS, ids=lambda row: row.name)
def test_row_is_whole(row):
    assert row.menu in MENUS
    assert row.needs in ("", *NEEDS)
    assert row.icon == "" or row.icon in NAMES
    for key in row.keys:
        assert QKeySequence(key).count() == 1
        assert key_text(key)


def test_names_and_keys_are_unique():
    assert max(Counter(row.name for row in ACTIONS).values()) == 1
    keys = Counter(QKeySequence(key).toString() for row in ACTIONS for key in row.keys)
    assert [key for key, count in keys.items() if count > 1] == []


def test_every_row_has_a_slot_and_stands_in_its_menu(window):
    for row in ACTIONS:
        assert callable(resolve_slot(window, row)), row.name
        assert window.actions_by_name[row.name] in window.menus[row.submenu or row.menu].actions()


def test_rows_that_need_a_clip_are_grey_without_one(window, open_clip):
    for row in ACTIONS:
        assert window.actions_by_name[row.name].isEnabled() == (row.needs in ("", "idle")), row.name
    open_clip(window)
    for row in ACTIONS:
        expected = row.needs in ("", "idle", "clip")
        assert window.actions_by_name[row.name].isEnabled() == expected, row.name


@pytest.mark.parametrize(
    "name", [row.name for row in ACTIONS if row.name not in ("open", "quit", "weights")]
)
def test_every_action_can_be_triggered(window, open_clip, qtbot, name):
    open_clip(window)
    window.session.set_range(3, 9)
    window.actions_by_name[name].trigger()
    qtbot.wait(5)
    for dialog in window.findChildren(QDialog):
        dialog.close()


def test_every_control_has_an_accessible_name(window):
    controls = [
        *window.transport.findChildren(QAbstractButton),
        *window.status.findChildren(QAbstractButton),
        *window.findChildren(QSlider),
        window.run_button,
        window.view,
        window.objects.table,
        window.inspector.list,
        *window.timeline.rows,
    ]
    assert [c for c in controls if not c.accessibleName()] == []


def test_one_action_of_a_group_is_checked(window, qtbot):
    def checked(group):
        rows = [row.name for row in ACTIONS if row.group == group]
        return [name for name in rows if window.actions_by_name[name].isChecked()]

    assert checked("theme") == ["theme_system"]
    assert checked("overlay") == ["overlay_masks"]
    qtbot.keyClick(window, Qt.Key.Key_4)
    assert checked("overlay") == ["overlay_saliency"]
    window.inspector.list.setCurrentRow(1)
    assert checked("overlay") == ["overlay_evidence"]
    window.actions_by_name["theme_light"].trigger()
    assert checked("theme") == ["theme_light"]
