"""The tools of the frame, by the mouse and by keys: what is drawn becomes the frame's masks."""

from __future__ import annotations

import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from gui_fakes import HEIGHT, WIDTH, disc
from prompt_fakes import RADII, FakePrompting
from PySide6.QtCore import QPoint, QPointF, QRect, Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLineEdit, QPushButton

from moca_core.annotations.model import DRAWN, FOUND, pack
from moca_core.config import SegmentConfig
from moca_core.errors import WeightsError
from moca_gui.correcting.target import NAMELESS
from moca_gui.dialogs.errors import ErrorDialog

LEFT, RIGHT = Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton
SIZE = (HEIGHT, WIDTH)
FRAME = 21  # of which the stand-in finds two objects
NO, SHIFT, ALT = (
    Qt.KeyboardModifier.NoModifier,
    Qt.KeyboardModifier.ShiftModifier,
    Qt.KeyboardModifier.AltModifier,
)


@pytest.fixture
def prompting(services):
    services["prompting"] = FakePrompting()
    return services["prompting"]


@pytest.fixture
def window(prompting, make_window, open_clip, segmenter, qtbot):
    """A window at a frame with a dog (1) and a person (2)."""
    made = make_window()
    made.resize(1100, 800)
    open_clip(made)
    made.session.add_result(pack(segmenter.result(FRAME)))
    made.player.seek(FRAME)
    qtbot.waitUntil(lambda: made.session.frame == FRAME)
    made.view.setFocus()
    return made


def at(view, x, y):
    """The widget's point over a place in pixels of the frame."""
    rect, scale = view.frame_rect(), view.scale
    return QPoint(round(rect.left() + x * scale), round(rect.top() + y * scale))


def click(view, x, y, button=LEFT, keys=NO):
    QTest.mouseClick(view, button, keys, at(view, x, y))


def drag(view, *places, button=LEFT):
    QTest.mousePress(view, button, NO, at(view, *places[0]))
    for place in places[1:]:
        QTest.mouseMove(view, at(view, *place))
    QTest.mouseRelease(view, button, NO, at(view, *places[-1]))


def key(window, name, keys=NO):
    QTest.keyClick(window.view, getattr(Qt.Key, f"Key_{name}"), keys)


def mask(window, number, frame=FRAME):
    found = window.session.shown(frame)
    item = found.object(number) if found is not None else None
    return np.zeros(SIZE, bool) if item is None else item.mask(SIZE)


def numbers(window):
    found = window.session.result
    return [item.number for item in found.objects] if found is not None else []


def centre(window, number):
    rows, columns = np.nonzero(mask(window, number))
    return columns.mean() + 0.5, rows.mean() + 0.5


def answered(window, qtbot):
    qtbot.waitUntil(lambda: window.tools.prompts.pending and not window.tools.prompts.waiting)


def status(window):
    return window.status.note.full_text


def pixel(view, x, y):
    """What is painted over a place of the frame, as (red, green, blue)."""
    return view.grab().toImage().pixelColor(at(view, x, y)).getRgb()[:3]


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


def set_brush(window, size):
    from moca_gui.correcting.tools import SIZES

    window.tools.brush.set_step(SIZES.index(size))


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
    key(window, "Z", Qt.KeyboardModifier.ControlModifier)
    assert (mask(window, 1) == before).all()
    key(window, "Z", Qt.KeyboardModifier.ControlModifier | SHIFT)
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


def turn(view, degrees, keys=NO):
    point = QPointF(at(view, 20, 20))
    QApplication.sendEvent(
        view,
        QWheelEvent(
            *(point, view.mapToGlobal(point), QPoint(0, 0), QPoint(0, degrees)),
            *(Qt.MouseButton.NoButton, keys, Qt.ScrollPhase.NoScrollPhase, False),
        ),
    )


def test_zoom_and_pan_go_on_with_every_tool(window):
    view = window.view
    for letter in "VPXBEC":
        key(window, letter)
        scale = view.scale
        turn(view, 120, Qt.KeyboardModifier.ControlModifier)
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


# -- prompts ----------------------------------------------------------------------------------


def test_a_click_asks_for_a_mask_which_enter_applies(window, prompting, qtbot):
    key(window, "P")
    click(window.view, 40, 30)
    answered(window, qtbot)
    assert numbers(window) == [1, 2]
    assert window.tools.bar.text.full_text == "IoU 0.90, 1 of 3"
    key(window, "Return")
    assert numbers(window) == [1, 2, 3]
    assert (mask(window, 3) == disc(HEIGHT, WIDTH, 40, 30, RADII[0])).mean() > 0.99
    assert window.session.selected == 3
    assert not window.tools.prompts.pending
    key(window, "Z", Qt.KeyboardModifier.ControlModifier)
    assert numbers(window) == [1, 2]


def test_the_frame_on_screen_is_embedded_once(window, prompting, qtbot):
    notes = []
    window.session.noted.connect(notes.append)
    key(window, "P")
    click(window.view, 40, 30)
    answered(window, qtbot)
    assert notes == ["Loading SAM", "Embedding the frame"]
    click(window.view, 44, 30)
    answered(window, qtbot)
    assert len(notes) == 2
    assert prompting.embedded == [(FRAME, (FRAME, 0, 128))]
    assert [len(prompt.points) for prompt in prompting.asked] == [1, 2]


def test_right_and_shift_clicks_are_off_the_object(window, prompting, qtbot):
    key(window, "P")
    click(window.view, 40, 30)
    click(window.view, 44, 30, RIGHT)
    click(window.view, 36, 30, keys=SHIFT)
    answered(window, qtbot)
    assert [point.on for point in prompting.asked[-1].points] == [True, False, False]
    key(window, "Return")
    found = mask(window, 3)
    assert found[30, 40]
    assert not found[30, 44]
    assert not found[30, 36]


def test_points_that_are_all_off_the_object_ask_for_more(window, prompting):
    key(window, "P")
    click(window.view, 40, 30, RIGHT)
    assert "Click on the object, too" in status(window)
    assert prompting.asked == []
    assert window.tools.prompts.pending
    key(window, "Return")
    assert numbers(window) == [1, 2]


def test_a_drag_asks_for_what_lies_in_the_box(window, prompting, qtbot):
    key(window, "X")
    drag(window.view, (5.5, 6.5), (15, 12), (29.5, 19.5))
    answered(window, qtbot)
    assert prompting.asked[-1].box == (5, 6, 30, 20)
    key(window, "P")  # refined by points
    click(window.view, 10, 10, RIGHT)
    answered(window, qtbot)
    assert prompting.asked[-1].box == (5, 6, 30, 20)
    key(window, "Return")
    assert mask(window, 3)[18, 28]
    assert not mask(window, 3)[10, 10]


def test_a_box_is_cut_at_the_borders_and_a_click_is_none(window, prompting, qtbot):
    key(window, "X")
    click(window.view, 10, 10)
    assert "Drag from one corner" in status(window)
    assert not window.tools.prompts.pending
    window.view.zoom_by(-2)
    drag(window.view, (50.5, 40.5), (WIDTH + 3, HEIGHT + 2))
    answered(window, qtbot)
    assert prompting.asked[-1].box == (50, 40, WIDTH, HEIGHT)


@pytest.mark.parametrize("by", ["tab", "wheel", "button"])
def test_another_of_the_three_masks_is_chosen(window, qtbot, by):
    def step():
        if by == "tab":
            key(window, "Tab")
        elif by == "wheel":
            turn(window.view, -120)
        else:
            qtbot.mouseClick(window.tools.bar.next, LEFT)

    key(window, "P")
    click(window.view, 30, 24)
    answered(window, qtbot)
    sizes = []
    for _ in range(4):
        sizes.append(window.tools.prompts.mask.crop().sum())
        step()
    assert sizes[0] == sizes[3]
    assert [np.argsort(sizes[:3]).tolist()] == [np.argsort(RADII).tolist()]
    assert window.view.hasFocus() or by == "button"
    assert "2 of 3" in window.tools.bar.text.full_text
    key(window, "Return")
    assert mask(window, 3).sum() == sizes[1]


def test_keys_take_the_last_point_and_the_mask_away(window, prompting, qtbot):
    window.player.set_speed(2.0)
    key(window, "P")
    click(window.view, 40, 30)
    click(window.view, 44, 30, RIGHT)
    key(window, "Backspace")
    answered(window, qtbot)
    assert [point.on for point in prompting.asked[-1].points] == [True]
    key(window, "Backspace")
    assert not window.tools.prompts.pending
    assert window.player.speed == 2.0  # whose key it is otherwise
    key(window, "Backspace")
    assert window.player.speed == 1.0
    click(window.view, 40, 30)
    answered(window, qtbot)
    key(window, "Escape")
    assert not window.tools.prompts.pending
    assert numbers(window) == [1, 2]


def test_escape_stops_the_run_once_nothing_is_pending(window, segmenter, qtbot):
    segmenter.gate = threading.Event()
    key(window, "R")
    qtbot.waitUntil(lambda: window.runner.job is not None)
    key(window, "P")
    click(window.view, 40, 30)
    answered(window, qtbot)  # beside the run
    key(window, "Escape")
    assert not window.tools.prompts.pending
    assert not window.runner.job.cancelling
    key(window, "Escape")
    assert window.runner.job is None or window.runner.job.cancelling
    segmenter.gate.set()
    qtbot.waitUntil(lambda: window.runner.job is None)


def test_enter_in_a_text_box_applies_nothing(window, qtbot):
    key(window, "P")
    click(window.view, 40, 30)
    answered(window, qtbot)
    window.session.select(1)
    key(window, "F2")
    editor = window.objects.table.findChild(QLineEdit)
    QTest.keyClicks(editor, "Wolf")
    QTest.keyClick(editor, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: window.session.result.object(1).name == "Wolf")
    assert window.tools.prompts.pending


def test_the_mask_goes_to_the_selected_object_or_with_shift_to_a_new_one(window, qtbot):
    window.session.select(2)
    key(window, "P")
    click(window.view, 20, 10)
    answered(window, qtbot)
    assert window.tools.bar.apply.text() == "Apply to 2 person"
    key(window, "Return")
    assert numbers(window) == [1, 2]
    assert (mask(window, 2) == disc(HEIGHT, WIDTH, 20, 10, RADII[0])).mean() > 0.99
    click(window.view, 50, 10)
    answered(window, qtbot)
    key(window, "Return", SHIFT)
    assert numbers(window) == [1, 2, 3]
    assert window.session.selected == 3


def test_a_double_click_applies(window, qtbot):
    view = window.view
    key(window, "P")
    click(view, 40, 30)
    QTest.mouseDClick(view, LEFT, NO, at(view, 40, 30))
    qtbot.waitUntil(lambda: numbers(window) == [1, 2, 3])
    assert mask(window, 3)[30, 40]


def test_enter_waits_for_the_answer(window, prompting, qtbot):
    prompting.gate = threading.Event()
    key(window, "P")
    click(window.view, 40, 30)
    key(window, "Return")
    assert numbers(window) == [1, 2]
    prompting.gate.set()
    qtbot.waitUntil(lambda: numbers(window) == [1, 2, 3])


def test_requests_that_were_overtaken_are_not_answered(window, prompting, qtbot):
    prompting.gate = threading.Event()
    key(window, "P")
    click(window.view, 10, 10)
    qtbot.waitUntil(lambda: len(prompting.embedded) == 1)
    for x in (20, 30, 40):
        click(window.view, x, 30)
    prompting.gate.set()
    answered(window, qtbot)
    assert [len(prompt.points) for prompt in prompting.asked] == [1, 4]


def test_another_frame_discards_what_is_pending_and_says_so(window, qtbot):
    key(window, "P")
    click(window.view, 40, 30)
    answered(window, qtbot)
    key(window, "Right")
    qtbot.waitUntil(lambda: not window.tools.prompts.pending)
    assert "wasn't applied" in status(window)
    assert window.session.labels.undo_title == ""


def test_another_tool_applies_what_is_pending(window, qtbot):
    key(window, "P")
    click(window.view, 40, 30)
    answered(window, qtbot)
    key(window, "X")
    assert window.tools.prompts.pending
    key(window, "B")
    assert numbers(window) == [1, 2, 3]


def test_buttons_apply_and_discard(window, qtbot):
    bar = window.tools.bar
    assert not bar.apply.isVisible()
    key(window, "P")
    click(window.view, 40, 30)
    answered(window, qtbot)
    qtbot.mouseClick(bar.discard, LEFT)
    assert not window.tools.prompts.pending
    click(window.view, 40, 30)
    answered(window, qtbot)
    qtbot.mouseClick(bar.apply, LEFT)
    assert numbers(window) == [1, 2, 3]
    assert not bar.apply.isVisible()


@pytest.mark.parametrize(("radius", "told"), [(-1, "Nothing was found"), (1, "has only")])
def test_empty_and_tiny_answers_say_so(window, prompting, qtbot, radius, told):
    prompting.radii = (radius,)
    key(window, "P")
    click(window.view, 40, 30)
    answered(window, qtbot)
    assert told in status(window)


def test_a_pending_mask_is_drawn_with_its_points(window, qtbot):
    view = window.view
    before = view.grab().toImage()
    key(window, "P")
    click(view, 40, 30)
    answered(window, qtbot)
    shown = view.grab().toImage()
    assert shown.pixelColor(at(view, 40, 30)) != before.pixelColor(at(view, 40, 30))
    assert shown.pixelColor(at(view, 44, 33)) != before.pixelColor(at(view, 44, 33))
    key(window, "Escape")
    assert view.grab().toImage().pixelColor(at(view, 44, 33)) == before.pixelColor(at(view, 44, 33))


def test_the_mask_that_would_be_replaced_is_not_shown(window, qtbot):
    x, y = centre(window, 2)
    before = pixel(window.view, x, y)
    window.session.select(2)
    key(window, "P")
    click(window.view, 20, 10)
    answered(window, qtbot)
    assert pixel(window.view, x, y) != before
    key(window, "Escape")
    assert pixel(window.view, x, y) == before


def test_a_long_name_does_not_widen_the_window(window, qtbot):
    item = window.session.result.object(2)
    long = replace(window.session.result, objects=(replace(item, name="a name " * 20),))
    window.session.add_result(long)
    window.session.select(2)
    key(window, "P")
    click(window.view, 20, 10)
    answered(window, qtbot)
    apply = window.tools.bar.apply
    assert apply.sizeHint().width() < 300
    assert "a name a name" in apply.toolTip()


def test_a_frame_that_was_not_run_can_be_prompted(window, prompting, qtbot):
    window.player.seek(3)
    qtbot.waitUntil(lambda: window.session.frame == 3)
    key(window, "P")
    click(window.view, 40, 30)
    answered(window, qtbot)
    assert prompting.embedded == [(3, (3, 0, 128))]
    key(window, "Return")
    assert [item.number for item in window.session.shown(3).objects] == [3]


def test_a_click_while_it_plays_is_for_the_frame_that_was_seen(window, prompting, qtbot):
    key(window, "P")
    key(window, "Space")
    qtbot.waitUntil(lambda: window.session.frame > FRAME + 2)
    click(window.view, 40, 30)
    frame = window.session.frame
    answered(window, qtbot)
    qtbot.wait(60)
    assert not window.player.playing
    assert window.session.frame == frame
    assert prompting.embedded == [(frame, (frame, 0, 128))]
    assert window.tools.prompts.shown


def test_missing_weights_are_offered(window, prompting, qtbot):
    prompting.error = WeightsError("mobile_sam.pt: not here", "Fetch it: moca weights get compact")
    key(window, "P")
    click(window.view, 40, 30)
    qtbot.waitUntil(lambda: window.findChild(ErrorDialog) is not None)
    dialog = window.findChild(ErrorDialog)
    texts = [button.text() for button in dialog.findChildren(QPushButton)]
    assert any("Weights" in text for text in texts)
    assert not window.tools.prompts.pending
    dialog.close()
    prompting.error = None
    click(window.view, 40, 30)
    answered(window, qtbot)


def test_the_encoders_of_a_run_are_shared_and_another_sam_is_another_model(
    window, prompting, segmenter, qtbot
):
    key(window, "P")
    click(window.view, 40, 30)
    answered(window, qtbot)
    assert prompting.loads[-1][1] is None
    key(window, "Escape")
    with qtbot.waitSignal(window.runner.completed):
        key(window, "R")
    click(window.view, 40, 30)
    answered(window, qtbot)
    assert prompting.loads[-1][1] is segmenter
    window.actions_by_name["sam_vit_b"].trigger()
    qtbot.waitUntil(lambda: window.runner.config.sam == "vit_b")
    assert not window.tools.prompts.pending
    click(window.view, 40, 30)
    answered(window, qtbot)
    assert prompting.loads[-1][0].sam == "vit_b"
    assert prompting.loads[-1][1] is None
    assert len(prompting.embedded) == 2


def test_prompts_take_the_sam_that_is_in_memory_or_load_it_alone(monkeypatch):
    from moca_core.models import sam as sams
    from moca_gui.correcting.prompt_worker import LocalPrompting

    loaded = []
    monkeypatch.setattr(sams, "load_sam", lambda name, device: loaded.append(name) or "own")
    source, config = LocalPrompting(), SegmentConfig(sam="mobile")
    alone = source.load(config, None, None)
    assert alone.sam == "own"
    assert source.load(config, None, alone) is alone
    loading = SimpleNamespace(sam=None)  # a run that isn't that far yet
    assert source.load(config, loading, alone) is alone
    run = SimpleNamespace(sam="the run's")
    shared = source.load(config, run, alone)
    assert shared.sam == "the run's"
    assert source.load(config, run, shared) is shared
    assert source.load(config, None, shared) is shared
    assert loaded == ["mobile"]


def test_the_model_leaves_the_memory_with_the_clip(window, open_clip, qtbot):
    key(window, "P")
    click(window.view, 40, 30)
    answered(window, qtbot)
    assert "masks by prompts" in window.pool.titles
    open_clip(window, "other.mp4")
    qtbot.waitUntil(lambda: "masks by prompts" not in window.pool.titles)
    assert not window.tools.prompts.pending


def test_tools_work_in_both_views_side_by_side(window, qtbot):
    window.actions_by_name["side_by_side"].trigger()
    right = window.views.right
    qtbot.waitUntil(right.isVisible)
    set_brush(window, 4)
    key(window, "B")
    click(right, 5, 5)
    assert mask(window, 3)[5, 5]


def test_every_control_of_the_bar_has_a_name(window):
    bar = window.tools.bar
    for control in (bar.brush, bar.next, bar.apply, bar.discard, bar.text):
        assert control.accessibleName()
