"""Hands for tests of the tools: clicks, drags and keys over the frame, and what they did."""

from __future__ import annotations

import numpy as np
from gui_fakes import HEIGHT, MARKED, WIDTH
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from moca_gui.correcting.tools import SIZES

LEFT, RIGHT = Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton
SIZE = (HEIGHT, WIDTH)
FRAME = MARKED
NO, SHIFT, ALT, CTRL = (
    Qt.KeyboardModifier.NoModifier,
    Qt.KeyboardModifier.ShiftModifier,
    Qt.KeyboardModifier.AltModifier,
    Qt.KeyboardModifier.ControlModifier,
)


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


def turn(view, degrees, keys=NO):
    point = QPointF(at(view, 20, 20))
    QApplication.sendEvent(
        view,
        QWheelEvent(
            *(point, view.mapToGlobal(point), QPoint(0, 0), QPoint(0, degrees)),
            *(Qt.MouseButton.NoButton, keys, Qt.ScrollPhase.NoScrollPhase, False),
        ),
    )


def set_brush(window, size):
    window.tools.brush.set_step(SIZES.index(size))
