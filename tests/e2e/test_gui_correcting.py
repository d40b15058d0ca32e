"""The real window with the real SAM: a click on the cat draws it, and hands go on from there."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest

from moca_core.annotations.model import DRAWN, PackedObject

pytestmark = [pytest.mark.weights, pytest.mark.slow]

PATIENCE_MS = 300_000  # the machine may be busy; a test that works never waits this long
MEOW = 30  # a frame in which the cat is heard
LEFT, RIGHT = Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton
NO, SHIFT = Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.ShiftModifier
CTRL = Qt.KeyboardModifier.ControlModifier


def at(view: Any, x: float, y: float) -> QPoint:
    """The widget's point over a place in pixels of the frame."""
    rect, scale = view.frame_rect(), view.scale
    return QPoint(round(rect.left() + x * scale), round(rect.top() + y * scale))


def iou(first: np.ndarray, other: np.ndarray) -> float:
    return float((first & other).sum() / (first | other).sum())


def test_a_click_on_the_cat_draws_it_and_the_brush_goes_on(window: Any, qtbot: Any) -> None:
    view, session, prompts = window.view, window.session, window.tools.prompts

    def wait(condition: Callable[[], bool]) -> None:
        qtbot.waitUntil(condition, timeout=PATIENCE_MS)

    def key(name: Qt.Key, keys: Qt.KeyboardModifier = NO) -> None:
        QTest.keyClick(view, name, keys)

    def cat() -> np.ndarray:
        item = session.result.object(1)
        assert item is not None
        return np.asarray(item.mask(session.result.size))

    window.player.seek(MEOW)
    wait(lambda: session.frame == MEOW)
    # Without encoders in memory: the SAM alone.
    key(Qt.Key.Key_P)
    QTest.mouseClick(view, LEFT, NO, at(view, 210, 240))
    wait(lambda: len(prompts.meant) == 3)
    assert window.runner.lent is None
    alone: PackedObject = prompts.mask
    key(Qt.Key.Key_Escape)
    key(Qt.Key.Key_R)
    wait(lambda: window.runner.job is None)
    found = session.result
    (item,) = found.objects
    automatic = item.mask(found.size)
    assert item.name == "Cat"
    # With them: theirs.
    key(Qt.Key.Key_V)
    QTest.mouseClick(view, LEFT, NO, at(view, 210, 240))
    assert session.selected == item.number == 1
    key(Qt.Key.Key_P)
    QTest.mouseClick(view, LEFT, NO, at(view, 210, 240))
    wait(lambda: len(prompts.meant) == 3)
    assert window.runner.lent.sam is not None
    assert iou(prompts.mask.mask(found.size), alone.mask(found.size)) > 0.95
    assert iou(prompts.mask.mask(found.size), automatic) > 0.7
    key(Qt.Key.Key_Return)
    drawn = cat()
    assert iou(drawn, automatic) > 0.7
    assert session.result.object(1).origin == DRAWN
    # What is said to be off the object isn't in its mask.
    QTest.mouseClick(view, LEFT, NO, at(view, 210, 240))
    QTest.mouseClick(view, RIGHT, NO, at(view, 700, 300))
    wait(lambda: not prompts.waiting)
    assert not prompts.mask.mask(found.size)[300, 700]
    key(Qt.Key.Key_Escape)
    # The brush adds to it where nothing was, and undo takes that back.
    key(Qt.Key.Key_B)
    QTest.mousePress(view, LEFT, NO, at(view, 600, 100))
    QTest.mouseMove(view, at(view, 700, 100))
    QTest.mouseRelease(view, LEFT, NO, at(view, 700, 100))
    painted = cat()
    assert painted[100, 600:700].all()
    assert (painted[:, :500] == drawn[:, :500]).all()
    key(Qt.Key.Key_Z, CTRL)
    assert (cat() == drawn).all()
    key(Qt.Key.Key_Z, CTRL)
    assert session.result is found
    key(Qt.Key.Key_Z, CTRL | SHIFT)
    key(Qt.Key.Key_Z, CTRL | SHIFT)
    assert (cat() == painted).all()
