"""A window with results to correct, and the hands that correct them."""

from __future__ import annotations

from typing import Any

from gui_fakes import COUNT
from PySide6.QtCore import Qt

from moca_core.annotations.model import pack

RUN = COUNT - 5
"""Frames with a result; those after them weren't run."""


def show_results(window: Any, open_clip: Any, segmenter: Any, qtbot: Any) -> Any:
    """A window with results of `RUN` frames, at frame 3, which has two objects."""
    open_clip(window)
    for frame in range(RUN):
        window.session.add_result(pack(segmenter.result(frame)))
    go_to(window, qtbot, 3)
    return window


def go_to(window: Any, qtbot: Any, frame: int) -> None:
    window.player.seek(frame)
    qtbot.waitUntil(lambda: window.session.frame == frame, timeout=2000)


def ended(window: Any, qtbot: Any) -> None:
    """Wait for the end of a large correction."""
    qtbot.waitUntil(lambda: window.edit_work.job is None, timeout=5000)


def corrected(window: Any) -> list[int]:
    """The frames that a person changed."""
    return sorted(window.session.labels.frames)


def numbers(window: Any, frame: int) -> list[int]:
    """Of the objects that a frame shows."""
    return [item.number for item in window.session.shown(frame).objects]


def click_row(
    window: Any, qtbot: Any, row: int, keys: Any = Qt.KeyboardModifier.NoModifier
) -> None:
    """Click on a row of the table of objects."""
    table = window.objects.table
    place = table.visualItemRect(table.item(row, 1)).center()
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, keys, place)


def choose_scope(window: Any, qtbot: Any, key: str, title: str) -> None:
    """Choose by keys where corrections are made."""
    box = window.objects.scopes.boxes[key]
    box.setFocus()
    while box.currentText() != title:
        before = box.currentIndex()
        down = before < box.findText(title)
        qtbot.keyClick(box, Qt.Key.Key_Down if down else Qt.Key.Key_Up)
        assert box.currentIndex() != before
