"""Objects are corrected in their panel, by keys and menus: real clicks, real keys, and undo."""

from __future__ import annotations

import threading

import pytest
from gui_fakes import COUNT, FakeReader
from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QApplication, QLineEdit, QToolButton

from moca_core.annotations import edits
from moca_core.annotations.history import Edit
from moca_core.annotations.model import ORIGINS, pack
from moca_gui.correcting import work
from moca_gui.correcting.naming import known_names
from moca_gui.icons import NAMES
from moca_gui.panels.objects import MENU, ORIGIN_TIPS
from moca_gui.results import CORRECTED
from moca_gui.theme import contrast

KEY = Qt.Key
CTRL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier


def go_to(window, qtbot, frame):
    window.player.seek(frame)
    qtbot.waitUntil(lambda: window.session.frame == frame, timeout=2000)


@pytest.fixture
def run(window, open_clip, segmenter, qtbot):
    """A window with results of all frames but the last five, at frame 3, which has two objects."""
    open_clip(window)
    for frame in range(COUNT - 5):
        window.session.add_result(pack(segmenter.result(frame)))
    go_to(window, qtbot, 3)
    return window


def rows(window):
    """What the table says: (name, origin) by row."""
    table = window.objects.table
    spoken = Qt.ItemDataRole.AccessibleTextRole
    return [
        (table.item(row, 0).text(), table.item(row, 2).data(spoken))
        for row in range(table.rowCount())
    ]


def click_row(window, qtbot, row, keys=Qt.KeyboardModifier.NoModifier):
    table = window.objects.table
    place = table.visualItemRect(table.item(row, 1)).center()
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, keys, place)


def choose_scope(window, qtbot, key, title):
    box = window.objects.scopes.boxes[key]
    box.setFocus()
    while box.currentText() != title:
        before = box.currentIndex()
        step = KEY.Key_Down if before < box.findText(title) else KEY.Key_Up
        qtbot.keyClick(box, step)
        assert box.currentIndex() != before


def ended(window, qtbot):
    qtbot.waitUntil(lambda: window.edit_work.job is None, timeout=5000)


def numbers(window, frame):
    return [item.number for item in window.session.shown(frame).objects]


def corrected(window):
    return sorted(window.session.labels.frames)


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
    assert run.inspector.kind.text() == "followed by motion, corrected"


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
    assert corrected(run) == list(range(COUNT - 5))
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


# -- large changes ----------------------------------------------------------------------------


@pytest.fixture
def held(run, monkeypatch):
    """A window whose large changes wait, part by part, until the test lets them go."""
    gate = threading.Event()
    plain = work._in_parts

    def parts(frames, make):
        for part in plain(frames, make):
            yield part
            while not gate.wait(0.02):
                yield work.Part({}, {}, part.done, part.total)

    monkeypatch.setattr(work, "_in_parts", parts)
    run.gate = gate
    yield run
    gate.set()


def test_escape_stops_a_large_change_and_nothing_is_changed(held, qtbot):
    choose_scope(held, qtbot, "scope_objects", "Whole clip")
    qtbot.keyClick(held, KEY.Key_A)
    qtbot.waitUntil(held.edit_work.strip.isVisible, timeout=2000)
    assert held.edit_work.strip.text.full_text.startswith("Accept frames")
    qtbot.keyClick(held, KEY.Key_Escape)
    ended(held, qtbot)
    assert not held.edit_work.strip.isVisible()
    assert corrected(held) == []
    assert held.status.note.full_text == "Accept frames: cancelled, nothing was changed."


def test_what_is_changed_meanwhile_isnt_lost(held, qtbot, segmenter):
    choose_scope(held, qtbot, "scope_objects", "Whole clip")
    qtbot.keyClick(held, KEY.Key_A)
    qtbot.waitUntil(lambda: held.edit_work.job is not None, timeout=2000)
    held.session.apply(edits.rename([held.session.shown(7)], 1, "Wolf"))
    held.session.add_result(pack(segmenter.result(12)))
    held.gate.set()
    ended(held, qtbot)
    seven = held.session.shown(7)
    assert (seven.objects[0].name, seven.objects[0].origin) == ("Wolf", "accepted")
    assert corrected(held) == list(range(COUNT - 5))
    qtbot.keyClick(held, KEY.Key_Z, CTRL)
    assert [item.name for item in held.session.shown(7).objects] == ["Wolf", "person"]


def test_one_large_change_at_a_time_and_none_for_a_closed_clip(held, qtbot, open_clip):
    choose_scope(held, qtbot, "scope_objects", "Whole clip")
    qtbot.keyClick(held, KEY.Key_A)
    qtbot.waitUntil(lambda: held.edit_work.job is not None, timeout=2000)
    qtbot.keyClick(held, KEY.Key_A)
    assert held.status.note.full_text == "A correction is under way. Cancel it first (Esc)."
    open_clip(held, "other.mp4")
    ended(held, qtbot)
    assert len(held.session.labels) == 0
    assert held.session.labels.undo_title == ""


def test_a_change_that_fails_is_told(run, qtbot, monkeypatch):
    shown = []
    monkeypatch.setattr(run.dialogs, "show_error", lambda title, error: shown.append(title))

    def bad(frames):
        raise RuntimeError("no")

    run.edit_work.make("rename 1 to x", [run.session.shown(f) for f in (1, 2)], bad)
    ended(run, qtbot)
    assert shown == ["Rename 1 to x failed"]
    assert len(run.session.labels) == 0


# -- with runs --------------------------------------------------------------------------------


def test_runs_thresholds_and_forgetting_never_touch_corrected_frames(run, qtbot, segmenter):
    click_row(run, qtbot, 0)
    qtbot.keyClick(run, KEY.Key_Delete)
    frame = run.session.shown(3)
    run.runner.run_clip()
    qtbot.waitUntil(lambda: run.runner.job is None, timeout=5000)
    assert run.session.shown(3) is frame
    assert run.session.shown(4) is not None
    run.runner.move_thresholds((("hearing.empty_below", "0.9"),))  # no result can follow
    qtbot.waitUntil(lambda: run.runner.job is None and run.session.shown(4) is None, timeout=5000)
    assert run.session.shown(3) is frame
    run.session.add_result(pack(segmenter.result(4)))
    run.actions_by_name["clear_results"].trigger()
    assert run.session.shown(3) is frame
    assert run.session.shown(4) is None


def test_a_later_run_takes_no_number_of_a_persons_own_object(run, qtbot, segmenter):
    session = run.session
    frame = session.result
    own = edits.replace(frame.objects[0], number=3, name="Ghost")
    mask = frame.objects[1].mask(frame.size)
    session.apply(edits.put_mask(frame, own, mask, "draw"))
    session.clear_results()
    found = pack(segmenter.result(5))
    objects = (*found.objects, edits.replace(found.objects[0], number=3, name="cat"))
    for at in (5, 6):
        session.add_result(edits.replace(found, frame=at, objects=objects))
        assert numbers(run, at) == [1, 2, 4]
    go_to(run, qtbot, 40)
    run.runner.run_frame()
    qtbot.waitUntil(lambda: run.runner.job is None, timeout=5000)
    assert 3 not in numbers(run, 40)


def test_a_persons_mask_of_what_the_program_found_keeps_one_number(run, segmenter):
    session = run.session
    frame = session.result
    dog = frame.objects[0]
    session.apply(edits.put_mask(frame, dog, dog.mask(frame.size), "paint"))
    session.clear_results()
    session.add_result(pack(segmenter.result(5)))
    assert [(item.number, item.name) for item in session.shown(5).objects] == [
        (1, "dog"),
        (2, "person"),
    ]
    renamed = edits.rename([session.shown(3)], 1, "Wolf")
    session.apply(Edit("rename", renamed.after))
    session.add_result(pack(segmenter.result(7)))
    assert numbers(run, 7) == [1, 2]


# -- going on ---------------------------------------------------------------------------------


def test_alt_down_goes_to_what_is_yet_to_be_checked(run, qtbot):
    session = run.session
    session.apply(edits.accept([session.shown(f) for f in (4, 5, 7)]))
    seen = []
    for keys in ((KEY.Key_Down, 0), (KEY.Key_Down, 0), (KEY.Key_Down, 0), (KEY.Key_Up, 0)):
        qtbot.keyClick(run, keys[0], Qt.KeyboardModifier.AltModifier)
        seen.append(run.player.target)
    assert seen == [6, 8, 10, 8]  # 9 is silent
    qtbot.keyClick(run, KEY.Key_Up, Qt.KeyboardModifier.AltModifier | SHIFT)
    assert run.player.target == 7
    qtbot.keyClick(run, KEY.Key_Down, Qt.KeyboardModifier.AltModifier | SHIFT)
    assert run.player.target == 7
    assert run.status.note.full_text == "No further corrected frame."


def test_the_context_menu_opens_by_its_key(run, qtbot):
    click_row(run, qtbot, 0)
    table = run.objects.table
    assert table.contextMenuPolicy() == Qt.ContextMenuPolicy.ActionsContextMenu
    assert QApplication.widgetAt(table.mapToGlobal(QPoint(5, 5))) is not None


# -- the timeline -----------------------------------------------------------------------------


def column(row, time_s, ratio=1):
    """(height,) colours of the row's pixels at a time, from above."""
    image = row.grab().toImage()
    x = round((row.x_of(time_s)) * image.devicePixelRatio())
    return [image.pixelColor(x, y).name() for y in range(image.height())]


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_the_timeline_tells_corrected_from_automatic_and_empty_by_shape(run, theme):
    run.preferences.choose_theme(theme)
    run.session.apply(edits.accept([run.session.shown(20)]))
    row, look = run.timeline.results, run.theme
    middle = 0.5 / 25
    shapes = {}
    for name, frame in (("masks", 22), ("empty", 29), ("corrected", 20), ("bare", 47)):
        colours = column(row, frame / 25 + middle)
        shapes[name] = tuple(colour != look.base for colour in colours)
    assert len(set(shapes.values())) == 4  # without a colour
    assert not any(shapes["bare"])
    assert shapes["corrected"][0] and shapes["corrected"][-1]
    assert not (shapes["masks"][0] or shapes["masks"][-1])
    assert shapes["corrected"].count(False) in (3, 6, 9)  # the slit, at 1x, 2x, 3x
    assert contrast(look.corrected, look.base) >= 3


def test_one_corrected_frame_is_seen_in_a_clip_of_many(make_window, open_clip, services):
    services["open_reader"] = lambda path, patience_s: FakeReader(path, count=20000)
    window = make_window()
    open_clip(window)
    session = window.session
    session.results.states[:] = 2
    session.apply(edits.accept([session.shown_or_blank(12345)]))
    colours = {colour for x in (0, 1) for colour in column(window.timeline.results, 12345 / 25 + x)}
    assert window.theme.corrected in colours


def test_tool_tips_say_corrected_by_hand_and_explain_the_marks(run):
    row = run.timeline.results
    run.session.apply(edits.accept([run.session.shown(3)], [1]))
    assert row.describe(3) == "Frame 3 (corrected by hand): dog 0.83 accepted, person 0.41"
    assert "corrected by hand" in row.legend
    assert row.accessibleDescription() == row.legend
