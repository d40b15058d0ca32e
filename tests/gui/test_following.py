"""Objects followed along the clip from the window: keys, progress, cancel, undo."""

from __future__ import annotations

import threading

import pytest
from correcting_fakes import corrected, ended, go_to, show_results
from gui_fakes import COUNT, FakeReader
from PySide6.QtCore import Qt

from moca_core.annotations import edits
from moca_core.annotations.model import FOLLOWED, pack

KEY = Qt.Key
CTRL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier


class Gated(FakeReader):
    """Frames of one colour; those from `held` on wait until the test lets them go."""

    opened: list = []
    gate = threading.Event()
    held = COUNT

    def __init__(self, path):
        super().__init__(path)
        self.opened.append(self)

    def frame(self, index):
        if index >= self.held:
            self.gate.wait(5)
        return super().frame(index)


@pytest.fixture
def run(services, make_window, open_clip, segmenter, qtbot, monkeypatch):
    """A window with results, at a frame with two objects."""
    monkeypatch.setattr(Gated, "opened", [])
    monkeypatch.setattr(Gated, "gate", threading.Event())
    services["open_pictures"] = Gated
    window = make_window()
    yield show_results(window, open_clip, segmenter, qtbot)
    Gated.gate.set()


def box(window, frame, number):
    return window.session.shown(frame).object(number).box


def test_the_selected_object_is_followed_to_the_end_of_the_range_as_one_step(run, qtbot):
    run.session.set_range(0, 12)
    run.session.select(2)
    qtbot.keyClick(run, KEY.Key_F, SHIFT)
    ended(run, qtbot)
    assert corrected(run) == [4, 5, 6, 7, 8, 10, 11, 12]  # 9 is silent
    for frame in corrected(run):
        found = run.session.shown(frame)
        assert [item.number for item in found.objects] == [1, 2]
        assert found.objects[1].origin == FOLLOWED
        assert box(run, frame, 2) == box(run, 3, 2)
    assert run.session.shown(5).objects[0].origin == "found"
    note = run.status.note.full_text
    assert note == (
        "Follow 2 forward: 8 frames. 1 silent frame was left empty"
        " (Edit > Follow > In silent frames, too)."
    )
    assert Gated.opened[0].closed
    qtbot.keyClick(run, KEY.Key_Z, CTRL)
    assert corrected(run) == []
    assert run.actions_by_name["redo"].text() == "&Redo follow 2 forward"


def test_all_objects_are_followed_backward_if_none_is_selected(run, qtbot):
    go_to(run, qtbot, 11)
    run.actions_by_name["follow_silent"].trigger()
    qtbot.keyClick(run, KEY.Key_B, SHIFT)
    ended(run, qtbot)
    assert corrected(run) == list(range(11))
    assert [item.number for item in run.session.shown(9).objects] == [1, 2]
    assert run.settings.get("follow_silent")


def test_through_the_range_goes_both_ways_and_no_further(run, qtbot):
    go_to(run, qtbot, 5)
    run.session.select(1)
    qtbot.keyClick(run, KEY.Key_F, CTRL | SHIFT)
    assert run.edit_work.job is None  # greyed out: no range is chosen
    run.session.set_range(3, 7)
    qtbot.keyClick(run, KEY.Key_F, CTRL | SHIFT)
    ended(run, qtbot)
    assert corrected(run) == [3, 4, 6, 7]
    go_to(run, qtbot, 12)
    qtbot.keyClick(run, KEY.Key_F, CTRL | SHIFT)
    assert run.status.note.full_text == "This frame is not in the range. Go to one inside it."


def test_it_goes_on_into_frames_that_were_not_run(run, qtbot):
    go_to(run, qtbot, 43)
    run.session.select(1)
    qtbot.keyClick(run, KEY.Key_F, SHIFT)
    ended(run, qtbot)
    assert corrected(run) == list(range(44, COUNT))
    last = run.session.shown(COUNT - 1)
    assert (last.time_s, last.size) == (49 / 25, (48, 64))


def test_it_stops_before_what_a_person_drew_or_took_out(run, qtbot):
    for frame, edit in (
        (8, edits.accept([run.session.shown(8)], [1])),
        (6, edits.reject([run.session.shown(7)], [2])),
    ):
        run.session.apply(edit)
        kept = run.session.shown(frame)
    assert kept is not None
    qtbot.keyClick(run, KEY.Key_F, SHIFT)
    ended(run, qtbot)
    assert corrected(run) == [4, 5, 6, 7, 8]
    assert run.session.shown(6).object(2).origin == FOLLOWED
    assert run.session.shown(7).object(2) is None
    assert run.session.shown(7).object(1).origin == FOLLOWED
    assert run.session.shown(8).object(1).origin == "accepted"
    assert "Object 2 ends before frame 7, which a person corrected." in run.status.note.full_text


def test_a_cancelled_one_keeps_what_is_finished(run, qtbot, monkeypatch):
    monkeypatch.setattr(Gated, "held", 20)
    run.session.select(1)
    qtbot.keyClick(run, KEY.Key_F, SHIFT)
    strip = run.edit_work.strip
    qtbot.waitUntil(lambda: strip.isVisible() and strip.bar.value() >= 16, timeout=5000)
    assert strip.text.full_text.startswith("Follow 1 forward")
    assert corrected(run) == []
    qtbot.keyClick(run, KEY.Key_Escape)
    Gated.gate.set()
    ended(run, qtbot)
    assert corrected(run) == [f for f in range(4, 20) if f % 10 != 9]
    assert "Cancelled." in run.status.note.full_text
    assert Gated.opened[0].closed


def test_closing_the_window_during_it_leaves_nothing_running(run, qtbot, monkeypatch):
    monkeypatch.setattr(Gated, "held", 20)
    qtbot.keyClick(run, KEY.Key_F, SHIFT)
    qtbot.waitUntil(lambda: run.edit_work.strip.bar.value() >= 16, timeout=5000)
    threading.Timer(0.1, Gated.gate.set).start()
    run.close()
    assert Gated.opened[0].closed


def test_what_a_person_or_a_run_does_meanwhile_stands(run, qtbot, monkeypatch, segmenter):
    monkeypatch.setattr(Gated, "held", 20)
    run.session.set_range(0, 25)
    run.session.select(1)
    qtbot.keyClick(run, KEY.Key_F, SHIFT)
    qtbot.waitUntil(lambda: run.edit_work.strip.bar.value() >= 16, timeout=5000)
    run.session.apply(edits.rename([run.session.shown(6)], 1, "Wolf"))
    mine = run.session.shown(6)
    run.session.add_result(pack(segmenter.result(7)))
    Gated.gate.set()
    ended(run, qtbot)
    assert run.session.shown(6) is mine
    assert run.session.shown(7).object(1).origin == FOLLOWED
    assert [item.number for item in run.session.shown(7).objects] == [1, 2]


def test_the_rest_of_a_long_clip_is_found_first(run, qtbot, monkeypatch):
    class Long(Gated):
        indexed = False

        def rest(self):
            yield 0.5
            yield "the index"

        def grow(self, index):
            assert index == "the index"
            self.indexed = True

        def frame(self, index):
            assert self.indexed
            return super().frame(index)

    monkeypatch.setattr(run.following, "_open_pictures", Long)
    qtbot.keyClick(run, KEY.Key_B, SHIFT)
    ended(run, qtbot)
    assert corrected(run) == [0, 1, 2]


def test_nothing_to_follow_is_said(run, qtbot):
    go_to(run, qtbot, 9)
    qtbot.keyClick(run, KEY.Key_F, SHIFT)
    assert run.status.note.full_text.startswith("There is no object in this frame to follow.")
    go_to(run, qtbot, 4)
    run.session.select(2)
    qtbot.keyClick(run, KEY.Key_F, SHIFT)
    assert run.status.note.full_text == "Object 2 isn't in this frame. Select another."
    go_to(run, qtbot, 0)
    run.session.select(1)
    qtbot.keyClick(run, KEY.Key_B, SHIFT)
    assert run.status.note.full_text == "There is no frame to follow backward to."
    assert Gated.opened == []
