"""Objects are corrected in their panel, by keys and menus: real clicks, real keys, and undo."""

from __future__ import annotations

import pytest
from correcting_fakes import (
    RUN,
    choose_scope,
    click_row,
    corrected,
    ended,
    go_to,
    numbers,
    show_results,
)
from gui_fakes import COUNT
from PySide6.QtCore import QPoint, Qt, QTimer
from PySide6.QtGui import QContextMenuEvent
from PySide6.QtWidgets import QApplication, QLineEdit, QToolButton

from moca_core.annotations import edits
from moca_core.annotations.model import ORIGINS
from moca_gui.correcting.naming import known_names
from moca_gui.icons import NAMES
from moca_gui.panels.objects import MENU, ORIGIN_TIPS
from moca_gui.results import CORRECTED

KEY = Qt.Key
CTRL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier


@pytest.fixture
def run(window, open_clip, segmenter, qtbot):
    """A window with results, at a frame with two objects."""
    return show_results(window, open_clip, segmenter, qtbot)


def rows(window):
    """What the table says: (name, origin) by row."""
    table = window.objects.table
    spoken = Qt.ItemDataRole.AccessibleTextRole
    return [
        (table.item(row, 0).text(), table.item(row, 2).data(spoken))
        for row in range(table.rowCount())
    ]


def editor_of(window):
    return window.objects.table.findChild(QLineEdit)


def type_name(window, qtbot, name):
    qtbot.keyClicks(editor_of(window), name)
    qtbot.keyClick(editor_of(window), KEY.Key_Return)
    qtbot.waitUntil(lambda: editor_of(window) is None, timeout=2000)
    ended(window, qtbot)
    window.activateWindow()  # offscreen, the list of names takes that along when it closes
    qtbot.waitUntil(window.isActiveWindow, timeout=2000)


# -- choosing ---------------------------------------------------------------------------------


def test_a_row_is_the_selected_object_in_all_frames(run, qtbot):
    click_row(run, qtbot, 1)
    assert run.session.selected == 2
    go_to(run, qtbot, 4)  # has object 1 alone
    assert run.session.selected == 2
    assert not run.objects.table.selectedItems()
    go_to(run, qtbot, 5)
    assert {item.row() for item in run.objects.table.selectedItems()} == {1}


def test_what_is_selected_elsewhere_is_marked_in_the_table(run):
    run.session.select(2)
    assert {item.row() for item in run.objects.table.selectedItems()} == {1}
    run.session.select(None)
    assert not run.objects.table.selectedItems()
    assert run.objects.numbers == []


def test_rows_are_chosen_together_and_the_first_leads(run, qtbot):
    click_row(run, qtbot, 1)
    click_row(run, qtbot, 0, CTRL)
    assert run.objects.numbers == [2, 1]
    assert run.session.selected == 2
    click_row(run, qtbot, 1, CTRL)
    assert (run.objects.numbers, run.session.selected) == ([1], 1)


def test_o_goes_from_object_to_object(run, qtbot):
    selected = []
    for key in (KEY.Key_O, KEY.Key_O, KEY.Key_O):
        qtbot.keyClick(run, key)
        selected.append(run.session.selected)
    qtbot.keyClick(run, KEY.Key_O, SHIFT)
    assert [*selected, run.session.selected] == [1, 2, 1, 2]
    go_to(run, qtbot, 9)
    qtbot.keyClick(run, KEY.Key_O)
    assert run.status.note.full_text == "There is no object in this frame."


def test_the_check_box_still_hides_without_a_correction(run):
    run.objects.table.item(0, 0).setCheckState(Qt.CheckState.Unchecked)
    assert run.session.hidden_objects == {1}
    assert corrected(run) == []


# -- reject, accept, undo ---------------------------------------------------------------------


def test_delete_takes_an_object_out_of_this_frame_and_undo_brings_it_back(run, qtbot):
    undo, redo = (run.actions_by_name[name] for name in ("undo", "redo"))
    assert not undo.isEnabled()
    click_row(run, qtbot, 0)
    qtbot.keyClick(run, KEY.Key_Delete)
    assert numbers(run, 3) == [2]
    assert corrected(run) == [3]
    assert run.view.drawn_numbers == [2]
    assert (undo.text(), undo.isEnabled(), redo.isEnabled()) == ("&Undo reject 1", True, False)
    qtbot.keyClick(run, KEY.Key_Z, CTRL)
    assert numbers(run, 3) == [1, 2]
    assert corrected(run) == []
    assert (undo.text(), undo.isEnabled(), redo.text()) == ("&Undo", False, "&Redo reject 1")
    for keys in ((KEY.Key_Z, CTRL | SHIFT), (KEY.Key_Y, CTRL)):
        qtbot.keyClick(run, *keys)
        assert numbers(run, 3) == [2]
        assert run.status.note.full_text == "Done again: reject 1."
        qtbot.keyClick(run, KEY.Key_Z, CTRL)


def test_both_chosen_objects_are_rejected_and_the_frame_says_so(run, qtbot):
    click_row(run, qtbot, 0)
    click_row(run, qtbot, 1, SHIFT)
    qtbot.keyClick(run, KEY.Key_Delete)
    assert numbers(run, 3) == []
    assert run.objects.message.text() == "No mask: no sounding object. A person said so."


def test_accept_tells_what_a_person_agreed_to(run, qtbot):
    click_row(run, qtbot, 1)
    qtbot.keyClick(run, KEY.Key_A, SHIFT)
    assert rows(run) == [("dog", "found"), ("person", "accepted")]
    qtbot.keyClick(run, KEY.Key_A)
    assert rows(run) == [("dog", "accepted"), ("person", "accepted")]
    assert run.session.states[3] == CORRECTED
    qtbot.keyClick(run, KEY.Key_A)
    assert run.status.note.full_text == "Accept the frame: nothing to change."
    assert run.session.labels.undo_title == "accept the frame"


def test_an_empty_frame_can_be_right(run, qtbot):
    go_to(run, qtbot, 9)
    qtbot.keyClick(run, KEY.Key_A)
    assert run.session.shown(9).corrected
    assert run.session.shown(9).reason == "silent"
    assert run.inspector.kind.text() == "by motion, corrected"


def test_a_frame_that_wasnt_run_cant_be_accepted(run, qtbot):
    go_to(run, qtbot, COUNT - 1)
    qtbot.keyClick(run, KEY.Key_A)
    assert corrected(run) == []
    assert run.status.note.full_text == (
        "Can't accept the frame: frame 49 wasn't run. Run on it (R), or draw an object."
    )


def test_the_scope_is_chosen_kept_and_obeyed(run, qtbot, make_window):
    choose_scope(run, qtbot, "scope_objects", "In/out range")
    click_row(run, qtbot, 1)
    qtbot.keyClick(run, KEY.Key_Delete)
    assert run.status.note.full_text.startswith("Can't reject 2: no range is chosen.")
    run.session.set_range(4, 11)
    qtbot.keyClick(run, KEY.Key_Delete)
    ended(run, qtbot)
    assert corrected(run) == [5, 7, 11]
    qtbot.keyClick(run, KEY.Key_Z, CTRL)
    assert corrected(run) == []
    choose_scope(run, qtbot, "scope_objects", "Whole clip")
    qtbot.keyClick(run, KEY.Key_A)
    ended(run, qtbot)
    assert corrected(run) == list(range(RUN))
    other = make_window()
    assert other.objects.scopes.boxes["scope_objects"].currentText() == "Whole clip"
    assert other.objects.scopes.boxes["scope_names"].currentText() == "Whole clip"


def test_the_programs_result_can_stand_again(run, qtbot):
    click_row(run, qtbot, 0)
    qtbot.keyClick(run, KEY.Key_Delete)
    run.actions_by_name["revert"].trigger()
    assert numbers(run, 3) == [1, 2]
    assert corrected(run) == []
    assert run.session.labels.undo_title == "take corrections back"
    qtbot.keyClick(run, KEY.Key_Z, CTRL)
    assert numbers(run, 3) == [2]


# -- names ------------------------------------------------------------------------------------


def test_f2_renames_in_the_whole_clip(run, qtbot):
    click_row(run, qtbot, 0)
    qtbot.keyClick(run, KEY.Key_F2)
    editor = editor_of(run)
    assert editor.text() == "dog"
    for key in (KEY.Key_Delete, KEY.Key_A, KEY.Key_O, KEY.Key_Backspace, KEY.Key_Backspace):
        qtbot.keyClick(editor, key)
    assert (corrected(run), run.session.selected) == ([], 1)
    type_name(run, qtbot, "hat 1")  # of letters and digits that are shortcuts elsewhere
    names = {item.name for f in range(45) for item in run.session.shown(f).objects}
    assert names == {"hat 1", "person"}
    assert rows(run)[0] == ("hat 1", "found")
    assert run.view.overlays_shown
    assert run.session.labels.undo_title == "rename 1 to hat 1"
    qtbot.keyClick(run, KEY.Key_Z, CTRL)
    assert rows(run)[0] == ("dog", "found")


def test_renaming_brings_the_panel_up(run, qtbot):
    run.docks["Objects"].hide()
    run.session.select(2)
    qtbot.keyClick(run, KEY.Key_F2)
    assert run.objects.isVisible()
    assert editor_of(run).text() == "person"


def test_a_double_click_renames_and_escape_leaves_the_name(run, qtbot):
    table = run.objects.table
    place = table.visualItemRect(table.item(1, 0)).center()
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    qtbot.mouseDClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    qtbot.keyClicks(editor_of(run), "x")
    qtbot.keyClick(editor_of(run), KEY.Key_Escape)
    assert corrected(run) == []
    qtbot.mouseDClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    type_name(run, qtbot, "  ")  # no name
    assert corrected(run) == []


def test_names_of_groups_and_of_the_clip_are_offered(run, qtbot):
    run.session.apply(edits.rename([run.session.shown(3)], 2, "My aunt"))
    names = known_names(run.session)
    assert {"Dog", "Accordion", "My aunt", "person"} <= set(names)
    click_row(run, qtbot, 0)
    qtbot.keyClick(run, KEY.Key_F2)
    editor = editor_of(run)
    qtbot.keyClicks(editor, "aun")
    completer = editor.completer()
    assert completer.popup().isVisible()
    assert completer.currentCompletion() == "My aunt"
    qtbot.keyClick(completer.popup(), KEY.Key_Down)
    qtbot.keyClick(completer.popup(), KEY.Key_Return)
    qtbot.keyClick(editor, KEY.Key_Return)
    qtbot.waitUntil(lambda: editor_of(run) is None, timeout=2000)
    ended(run, qtbot)
    assert rows(run)[0][0] == "My aunt"


def test_an_object_of_another_frame_cant_be_renamed_here(run, qtbot):
    click_row(run, qtbot, 1)
    go_to(run, qtbot, 4)
    qtbot.keyClick(run, KEY.Key_F2)
    assert editor_of(run) is None
    assert run.status.note.full_text.startswith("Object 2 isn't in this frame.")


# -- merge and split --------------------------------------------------------------------------


def test_merge_makes_one_object_along_the_clip(run, qtbot):
    merge = run.actions_by_name["merge"]
    click_row(run, qtbot, 1)
    assert not merge.isEnabled()
    click_row(run, qtbot, 0, CTRL)
    assert merge.isEnabled()
    area = sum(int(item.crop().sum()) for item in run.session.shown(3).objects)
    qtbot.keyClick(run, KEY.Key_M, SHIFT)
    ended(run, qtbot)
    assert rows(run) == [("person", "drawn")]
    assert {n for frame in range(45) for n in numbers(run, frame)} == {2}
    (item,) = run.session.shown(3).objects
    assert int(item.crop().sum()) == area
    assert {item.name for f in range(45) for item in run.session.shown(f).objects} == {"person"}


def test_split_makes_objects_of_parts(run, qtbot):
    frame = run.session.result
    both = frame.objects[0].mask(frame.size) | frame.objects[1].mask(frame.size)
    run.session.apply(edits.put_mask(frame, frame.objects[0], both, "draw"))
    run.session.select(1)
    qtbot.keyClick(run, KEY.Key_S, SHIFT)
    assert sorted(numbers(run, 3)) == [1, 3]  # 2 is another object in other frames
    assert rows(run) == [("dog", "drawn")] * 2
    qtbot.keyClick(run, KEY.Key_S, SHIFT)
    assert run.status.note.full_text.startswith("Object 1 is in one piece")


# -- looks and reach --------------------------------------------------------------------------


def test_all_of_it_is_in_menu_and_buttons_with_names(run, qtbot):
    panel = run.objects
    menu = [action.text().replace("&", "") for action in panel.table.actions()]
    assert len(menu) == len(MENU)
    assert all(action in run.menus["Edit"].actions() for action in panel.table.actions())
    for button in panel.findChildren(QToolButton):
        assert button.accessibleName()
        assert not button.icon().isNull()
    click_row(run, qtbot, 0)
    button = next(b for b in panel.findChildren(QToolButton) if "ject" in b.accessibleName())
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert numbers(run, 3) == [2]


def test_every_origin_has_an_icon_and_words(run, qtbot):
    assert set(ORIGIN_TIPS) == set(ORIGINS)
    assert set(ORIGINS) <= set(NAMES)
    run.session.apply(edits.accept([run.session.shown(3)], [1]))
    for width, words in ((400, ["found", "accepted"]), (250, ["", ""])):
        run.docks["Objects"].setFloating(True)
        run.docks["Objects"].resize(width, 400)
        qtbot.waitUntil(lambda width=width: abs(run.objects.width() - width) < 20, timeout=2000)
        cells = [run.objects.table.item(row, 2) for row in (0, 1)]
        assert sorted(cell.text() for cell in cells) == sorted(words)
        assert {cell.toolTip() for cell in cells} == {ORIGIN_TIPS["found"], ORIGIN_TIPS["accepted"]}
        assert not any(cell.icon().isNull() for cell in cells)


def test_the_context_menu_opens_by_its_key(run, qtbot):
    click_row(run, qtbot, 0)
    table, seen = run.objects.table, []

    def look():
        menu = QApplication.activePopupWidget()
        seen.extend(action.text() for action in menu.actions())
        menu.close()

    QTimer.singleShot(100, look)
    key = QContextMenuEvent.Reason.Keyboard
    QApplication.sendEvent(table, QContextMenuEvent(key, QPoint(5, 5), table.mapToGlobal(QPoint())))
    assert seen == [run.actions_by_name[name].text() for name in MENU]
