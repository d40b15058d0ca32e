"""What a frame is taken to show, and the one way by which changes are told."""

from __future__ import annotations

import pytest

from moca_core.annotations import edits
from moca_core.annotations.model import pack
from moca_gui.results import CORRECTED, EMPTY, MASKS


@pytest.fixture
def session(window, open_clip, segmenter):
    """A session with results of the frames 3, 9 and 20."""
    open_clip(window)
    for frame in (3, 9, 20):
        window.session.add_result(pack(segmenter.result(frame)))
    return window.session


def test_a_corrected_frame_stands_before_the_programs_result(session):
    found = session.shown(3)
    assert session.apply(edits.rename([found], 1, "Wolf"))
    assert session.shown(3).objects[0].name == "Wolf"
    assert session.states[[3, 9, 20]].tolist() == [CORRECTED, EMPTY, MASKS]
    session.undo()
    assert session.shown(3) is found
    session.redo()
    assert session.shown(3).corrected
    session.clear_results()
    assert session.shown(3).objects[0].name == "Wolf"


def test_corrections_are_found_on_the_way_to_the_next_result(session):
    session.apply(edits.accept([session.shown_or_blank(14)]))
    assert [session.neighbour(1, frame) for frame in (0, 3, 9, 14, 20)] == [3, 9, 14, 20, None]
    assert [session.neighbour(-1, frame) for frame in (3, 14, 49)] == [None, 9, 20]


def test_every_change_is_told_once(session, qtbot):
    told = []
    session.dirtied.connect(lambda: told.append(1))
    session.apply(edits.rename([session.shown(3)], 1, "Wolf"))
    session.undo()
    session.redo()
    session.redo()
    session.apply(edits.rename([session.shown(3)], 1, "Wolf"))
    assert len(told) == 3


def test_a_free_number_is_one_that_no_frame_has(session, segmenter):
    assert session.free_number == 3
    frame = session.shown(3)
    session.apply(edits.split(frame, 1, [frame.objects[0].mask(frame.size)], 3))
    session.apply(edits.merge([session.shown(3)], [7, 1]))
    assert session.free_number == 8
    session.set_object_shown(9, False)
    assert session.free_number == 10


def test_an_object_that_is_gone_is_chosen_no_longer(session, window):
    def draw():
        dog = session.shown(3).objects[0]
        session.apply(edits.put_object(session.shown(3), edits.replace(dog, number=7), "draw"))
        session.select(7)

    draw()
    session.undo()
    assert session.selected is None
    assert window.objects.numbers == []
    draw()
    window.objects.numbers = [2, 7]
    session.select(2)
    session.apply(edits.merge([session.shown(3)], [2, 7]))
    assert (session.selected, window.objects.numbers) == (2, [2])
    assert not window.actions_by_name["merge"].isEnabled()
    session.clear_results()
    assert session.selected == 2  # which a corrected frame has
    session.clear_results()
    while session.labels.undo_title:
        session.undo()
    assert session.selected is None


def test_another_clip_begins_without_a_chosen_object(session, window, open_clip):
    session.select(1)
    window.objects.numbers = [1, 2]
    open_clip(window, "other.mp4")
    assert (session.selected, window.objects.numbers) == (None, [])
    assert not window.actions_by_name["merge"].isEnabled()


def test_an_object_of_other_encoders_is_chosen_no_longer(session):
    session.apply(edits.reject([session.shown(3)], [2]))
    for number, left in ((1, 1), (2, None)):  # the corrected frame has object 1
        session.select(number)
        session.use_method(f"other encoders {number}", 2.0)
        assert session.selected == left
