"""The tools of the frame, by the mouse and by keys: what is drawn becomes the frame's masks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from gui_fakes import HEIGHT, WIDTH
from PySide6.QtCore import QPointF, QRect, Qt
from PySide6.QtTest import QTest
from tool_hands import (
    ALT,
    CTRL,
    LEFT,
    NO,
    RIGHT,
    SHIFT,
    at,
    centre,
    click,
    drag,
    key,
    mask,
    numbers,
    pixel,
    set_brush,
    status,
    turn,
)

from moca_core.annotations.model import DRAWN, FOUND
from moca_gui.correcting.target import NAMELESS


@pytest.fixture
def window(marked_window):
    """A window at a frame with a dog (1) and a person (2)."""
    return marked_window


# -- choosing and selecting -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("letter", "tool"),
    [("V", "select"), ("P", "points"), ("X", "box"), ("B", "brush"), ("E", "eraser"), ("C", "cut")],
)
def test_a_key_chooses_each_tool_and_its_button_shows_it(window, letter, tool):
    key(window, "B" if letter != "B" else "V")
    key(window, letter)
    assert window.tools.current == tool
    checked = [row for row in window.actions_by_name if row.startswith("tool_")]
    assert [row for row in checked if window.actions_by_name[row].isChecked()] == [f"tool_{tool}"]
    assert window.tools.bar.brush.isVisible() == (tool in ("brush", "eraser"))


def test_a_click_selects_an_object_and_a_click_on_nothing_none(window):
    click(window.view, *centre(window, 2))
    assert window.session.selected == 2
    click(window.view, *centre(window, 1))
    assert window.session.selected == 1
    click(window.view, 1, 1)
    assert window.session.selected is None


def test_a_hidden_object_is_not_selected(window):
    window.session.set_object_shown(2, shown=False)
    click(window.view, *centre(window, 2))
    assert window.session.selected is None


def test_the_selected_object_is_outlined_more_strongly(window):
    x, y = centre(window, 1)
    top_left = at(window.view, 0, 0)
    area = QRect(top_left, at(window.view, x, y))  # of the first object alone

    def shown():
        return window.view.grab(area).toImage()

    before = shown()
    window.session.select(1)
    assert shown() != before
    window.session.select(2)
    assert shown() == before


def test_tools_need_a_clip_and_so_does_their_bar(make_window, prompting, open_clip):
    window = make_window()
    assert not window.tools.bar.isVisible()
    assert not window.actions_by_name["tool_brush"].isEnabled()
    open_clip(window)
    assert window.tools.bar.isVisible()


def test_a_tool_that_draws_shows_the_masks(window):
    key(window, "H")
    key(window, "2")
    key(window, "B")
    assert window.view.overlays_shown
    assert window.inspector.current == "masks"
    key(window, "2")
    key(window, "V")
    assert window.inspector.current == "evidence"


# -- brush and eraser -------------------------------------------------------------------------


def test_a_stroke_is_painted_to_the_pixel_and_undone_as_one(window):
    set_brush(window, 1)
    before = mask(window, 1)
    window.session.select(1)
    key(window, "B")
    drag(window.view, (2.5, 2.5), (20.5, 2.5), (20.5, 9.5))
    expected = before.copy()
    expected[2, 2:21] = expected[2:10, 20] = True
    assert (mask(window, 1) == expected).all()
    assert window.session.result.object(1).origin == DRAWN
    assert window.session.result.object(2).origin == FOUND
    key(window, "Z", CTRL)
    assert (mask(window, 1) == before).all()
    key(window, "Z", CTRL | SHIFT)
    assert (mask(window, 1) == expected).all()


@pytest.mark.parametrize("zoom", [0, 3, 8])
def test_the_brush_paints_the_pixels_that_its_circle_shows_at_any_zoom(window, zoom):
    set_brush(window, 8)
    view = window.view
    for _ in range(zoom):
        view.zoom_by(1, QPointF(at(view, 20, 20)))
    key(window, "B")
    click(view, 20.2, 19.9)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    expected = (columns - 20) ** 2 + (rows - 20) ** 2 <= 16
    assert (mask(window, 3) == expected).all()


def test_painting_without_a_selected_object_begins_a_new_one(window):
    set_brush(window, 4)
    key(window, "B")
    click(window.view, 5, 5)
    assert numbers(window) == [1, 2, 3]
    assert window.session.selected == 3
    assert window.session.result.object(3).name == "dog"  # the loudest that is heard
    drag(window.view, (5, 5), (12, 5))
    assert numbers(window) == [1, 2, 3]
    assert mask(window, 3)[4, 11]


def test_what_is_drawn_is_not_called_like_a_sound_without_a_source(window):
    heard = (("Music from an unseen source", 0.6), ("Dog", 0.2))
    window.session.add_result(replace(window.session.result, heard=heard))
    key(window, "B")
    click(window.view, 5, 5)
    assert window.session.result.object(3).name == "Dog"


def test_a_new_object_is_called_like_the_one_drawn_on_last(window):
    set_brush(window, 4)
    window.session.select(2)
    key(window, "B")
    click(window.view, 5, 5)
    key(window, "N")
    assert window.session.selected is None
    click(window.view, 30, 5)
    assert window.session.result.object(3).name == "person"


def test_a_frame_that_was_not_run_can_be_painted_on(window, qtbot):
    set_brush(window, 4)
    window.player.seek(3)
    qtbot.waitUntil(lambda: window.session.frame == 3)
    key(window, "B")
    click(window.view, 5, 5)
    found = window.session.shown(3)
    assert [(item.number, item.name, item.score) for item in found.objects] == [(3, NAMELESS, 1.0)]
    assert found.corrected
    # The selected object goes on in other frames.
    window.player.seek(4)
    qtbot.waitUntil(lambda: window.session.frame == 4)
    click(window.view, 8, 5)
    assert [item.number for item in window.session.shown(4).objects] == [3]


@pytest.mark.parametrize("by", ["eraser", "right button"])
def test_erasing_takes_pixels_away_and_at_last_the_object(window, by):
    window.session.select(2)
    before = mask(window, 2)
    x, y = centre(window, 2)
    set_brush(window, 4)
    key(window, "E" if by == "eraser" else "B")
    button = LEFT if by == "eraser" else RIGHT
    drag(window.view, (x, y), (x + 1, y), button=button)
    after = mask(window, 2)
    assert 0 < after.sum() < before.sum()
    assert not (after & ~before).any()
    set_brush(window, 60)
    drag(window.view, (x, y), (x + 1, y), button=button)
    assert numbers(window) == [1]


def test_an_object_that_is_erased_everywhere_is_selected_no_longer(window):
    set_brush(window, 4)
    key(window, "B")
    click(window.view, 5, 5)
    assert numbers(window) == [1, 2, 3] and window.session.selected == 3
    set_brush(window, 60)
    click(window.view, 5, 5, button=RIGHT)
    assert window.session.selected is None
    assert window.objects.numbers == []


def test_the_eraser_begins_on_the_object_below_it(window):
    set_brush(window, 4)
    key(window, "E")
    click(window.view, *centre(window, 2))
    assert window.session.selected == 2
    window.session.select(None)
    steps = window.session.labels.undo_title
    click(window.view, 1, 1)
    assert "nothing to erase" in status(window)
    assert window.session.labels.undo_title == steps


def test_a_stroke_that_changes_nothing_is_no_step(window):
    window.session.select(2)
    set_brush(window, 2)
    key(window, "E")
    click(window.view, 1, 1)
    assert window.session.labels.undo_title == ""


def test_a_pixel_belongs_to_one_object(window):
    window.session.select(1)
    set_brush(window, 4)
    key(window, "B")
    x, y = centre(window, 2)
    click(window.view, x, y)
    assert mask(window, 1)[int(y), int(x)]
    assert not mask(window, 2)[int(y), int(x)]


def test_a_stroke_shows_while_it_is_painted(window):
    set_brush(window, 10)
    window.session.select(2)
    key(window, "B")
    view = window.view
    before = pixel(view, 8, 40)
    QTest.mousePress(view, LEFT, NO, at(view, 8, 40))
    QTest.mouseMove(view, at(view, 14, 40))
    during = pixel(view, 8, 40)
    assert during != before
    assert not mask(window, 2)[40, 8]  # nothing is changed yet
    QTest.mouseRelease(view, LEFT, NO, at(view, 14, 40))
    assert mask(window, 2)[40, 8]


def test_a_fast_move_between_far_places_leaves_no_gap(window):
    set_brush(window, 3)
    key(window, "B")
    drag(window.view, (3.5, 45.5), (60.5, 3.5))
    import cv2

    count, _ = cv2.connectedComponents(mask(window, 3).view(np.uint8))
    assert count == 2


def test_the_stroke_of_a_brush_that_is_put_away_is_kept(window):
    set_brush(window, 4)
    key(window, "B")
    QTest.mousePress(window.view, LEFT, NO, at(window.view, 8, 40))
    key(window, "V")
    QTest.mouseRelease(window.view, LEFT, NO, at(window.view, 8, 40))
    assert mask(window, 3)[40, 8]


def test_a_clip_that_is_closed_takes_its_stroke_along(window, open_clip):
    key(window, "B")
    QTest.mousePress(window.view, LEFT, NO, at(window.view, 8, 40))
    open_clip(window, "other.mp4")
    QTest.mouseRelease(window.view, LEFT, NO, at(window.view, 8, 40))
    assert window.session.result is None
    assert window.session.labels.undo_title == ""


def test_the_brush_is_sized_by_keys_the_slider_and_the_wheel(window):
    key(window, "B")
    brush, bar = window.tools.brush, window.tools.bar
    size = brush.size
    key(window, "ParenRight")
    assert brush.size > size
    key(window, "ParenLeft")
    assert brush.size == size
    bar.brush.setValue(0)
    assert brush.size == 1
    assert bar.size_text.text() == "1 px"
    turn(window.view, 120, ALT)
    assert brush.size == 2
    assert bar.brush.value() == 1
    turn(window.view, -240, ALT)
    assert brush.size == 1


def test_a_touch_pad_turns_the_wheel_in_small_parts(window):
    key(window, "B")
    step = window.tools.brush.step
    for _ in range(7):
        turn(window.view, -30, ALT)
    assert window.tools.brush.step == step - 1
    for _ in range(3):
        turn(window.view, 30, ALT)
    assert window.tools.brush.step == step - 1


def test_the_mouse_is_seen_where_there_is_no_clip(window):
    key(window, "B")
    assert window.view.cursor().shape() == Qt.CursorShape.BlankCursor
    window.actions_by_name["close_clip"].trigger()
    assert window.view.cursor().shape() == Qt.CursorShape.ArrowCursor


def test_zoom_and_pan_go_on_with_every_tool(window):
    view = window.view
    for letter in "VPXBEC":
        key(window, letter)
        scale = view.scale
        turn(view, 120, CTRL)
        assert view.scale > scale
        left = view.frame_rect().left()
        drag(view, (20, 20), (30, 20), button=Qt.MouseButton.MiddleButton)
        assert view.frame_rect().left() > left
    assert window.session.labels.undo_title == ""
    assert not window.tools.prompts.pending


def test_a_stroke_pauses(window, qtbot):
    key(window, "B")
    key(window, "Space")
    assert window.player.playing
    QTest.mousePress(window.view, LEFT, NO, at(window.view, 5, 5))
    assert not window.player.playing
    frame = window.session.frame
    QTest.mouseRelease(window.view, LEFT, NO, at(window.view, 5, 5))
    qtbot.wait(60)
    assert window.session.frame == frame
    assert window.session.labels.get(frame) is not None


# -- the cut ----------------------------------------------------------------------------------


def test_a_line_cuts_the_object_below_it_in_two(window):
    before = mask(window, 1)
    x, y = centre(window, 1)
    key(window, "C")
    drag(window.view, (x + 2, y - 15), (x + 2, y + 15))
    assert numbers(window) == [1, 3, 2]
    assert (mask(window, 1) | mask(window, 3) == before).all()
    assert mask(window, 1).sum() > mask(window, 3).sum() > 0
    assert window.session.result.object(3).name == "dog"


def test_a_line_that_ends_inside_says_so(window):
    x, y = centre(window, 1)
    key(window, "C")
    drag(window.view, (x, y - 15), (x, y))
    assert "doesn't go through 1 dog" in status(window)
    drag(window.view, (2, 2), (10, 2))
    assert "no object to cut" in status(window)
    assert window.session.labels.undo_title == ""
