"""Corrections of many frames, beside runs, and along the timeline."""

from __future__ import annotations

import threading

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
from gui_fakes import FakeReader
from PySide6.QtCore import QEvent, QPoint, Qt
from PySide6.QtGui import QHelpEvent
from PySide6.QtWidgets import QApplication, QToolTip

from moca_core.annotations import edits
from moca_core.annotations.history import Edit
from moca_core.annotations.model import pack
from moca_gui.correcting import work
from moca_gui.theme import contrast

KEY = Qt.Key
CTRL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier


@pytest.fixture
def run(window, open_clip, segmenter, qtbot):
    """A window with results, at a frame with two objects."""
    return show_results(window, open_clip, segmenter, qtbot)


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
    assert corrected(held) == list(range(RUN))
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


def test_a_frame_of_which_only_the_name_was_changed_is_yet_to_be_checked(run, qtbot):
    session = run.session
    session.apply(edits.rename([session.shown(f) for f in (4, 5, 6)], 1, "Wolf"))
    session.apply(edits.accept([session.shown(f) for f in (4, 6)]))
    seen = []
    for _ in range(2):
        qtbot.keyClick(run, KEY.Key_Down, Qt.KeyboardModifier.AltModifier)
        seen.append(run.player.target)
    assert seen == [5, 7]


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
    for x, text in ((10, row.legend), (row.x_of(3.5 / 25), row.describe(3))):
        place = QPoint(round(x), 10)
        event = QHelpEvent(QEvent.Type.ToolTip, place, row.mapToGlobal(place))
        QApplication.sendEvent(row, event)
        assert QToolTip.text() == text
    QToolTip.hideText()
