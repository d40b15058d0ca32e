"""Masks by points and boxes: asked for, looked at, applied or discarded."""

from __future__ import annotations

import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from gui_fakes import HEIGHT, WIDTH, disc
from prompt_fakes import RADII
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLineEdit, QPushButton
from tool_hands import (
    CTRL,
    FRAME,
    LEFT,
    NO,
    RIGHT,
    SHIFT,
    answered,
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

from moca_core.config import SegmentConfig
from moca_core.errors import WeightsError
from moca_gui.dialogs.errors import ErrorDialog


@pytest.fixture
def window(marked_window):
    """A window at a frame with a dog (1) and a person (2)."""
    return marked_window


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
    key(window, "Z", CTRL)
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
