"""Actions, keys and the mouse in any order: what is always so is looked at after every step.

The orders are drawn by a seed. A seed that once found something stays among them.
"""

from __future__ import annotations

import random
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from gui_fakes import HEIGHT, WIDTH, FakeSegmenter
from match_fakes import FakeMatching
from PySide6.QtCore import QEvent, Qt, qInstallMessageHandler
from PySide6.QtGui import QKeySequence
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractButton, QApplication, QDialog, QFileDialog, QLineEdit
from tool_hands import LEFT, RIGHT, at, turn

from moca_core.annotations.project import open_project
from moca_gui.actions import ACTIONS

STEPS = 160
NAMES = ("clip.mp4", "other.mp4", "silent.mp4", "bad.mp4", "clip.mov")
LEFT_OUT = {"open", "quit", "weights", "fullscreen"}
"""They ask by a window of the system, or end the test."""
OFTEN = (
    *("undo", "redo", "tool_brush", "tool_eraser", "tool_points", "tool_box", "tool_cut"),
    *("accept_frame", "reject", "merge", "split", "revert", "new_object", "next_object"),
    *("follow_forward", "follow_backward", "run_frame", "run_range", "run_clip", "cancel"),
    *("step_forward", "step_back", "save", "set_in", "set_out", "clear_results"),
)
NO, SHIFT, CTRL, ALT = (
    Qt.KeyboardModifier.NoModifier,
    Qt.KeyboardModifier.ShiftModifier,
    Qt.KeyboardModifier.ControlModifier,
    Qt.KeyboardModifier.AltModifier,
)
PENDING_KEYS = (Qt.Key.Key_Return, Qt.Key.Key_Escape, Qt.Key.Key_Backspace, Qt.Key.Key_Tab)


class Apart(FakeSegmenter):
    """Finds objects that don't overlap, as the method does."""

    def result(self, index: int, keep_maps: bool = False) -> Any:
        found = super().result(index, keep_maps)
        if len(found.objects) < 2:
            return found
        first, second = found.objects
        second = replace(second, mask=second.mask & ~first.mask)
        return replace(found, objects=(first, second))


class Hand:
    """Does one thing after the other; `done` says what, for a test that fails."""

    def __init__(self, window: Any, folder: Any, seed: int) -> None:
        self.window, self.folder, self.random = window, folder, random.Random(seed)
        self.done: list[str] = []
        self.down = LEFT
        often = (self.act, self.drag, self.click, self.move, self.wait)
        self.hands: list[Callable[[], str]] = [
            *(hand for hand in often for _ in range(4)),
            *(self.press, self.release, self.key, self.answer, self.row, self.rename),
            *(self.wheel, self.close_windows, self.open),
        ]

    def step(self) -> None:
        """Do something."""
        self.done.append(self.random.choice(self.hands)())
        QApplication.processEvents()
        QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)

    def act(self) -> str:
        names = [row.name for row in ACTIONS if row.name not in LEFT_OUT]
        name = self.random.choice(names if self.random.random() < 0.3 else OFTEN)
        if QApplication.activeModalWidget() is not None:
            self.close_windows()
        self.window.actions_by_name[name].trigger()
        return name

    def key(self) -> str:
        rows = [row for row in ACTIONS if row.keys and row.name not in LEFT_OUT]
        row = self.random.choice(rows)
        pressed = QKeySequence(self.random.choice(row.keys))[0]
        focus = QApplication.focusWidget() or self.window.view
        QTest.keyClick(focus, pressed.key(), pressed.keyboardModifiers())
        return f"key of {row.name}"

    def answer(self) -> str:
        key = self.random.choice(PENDING_KEYS)
        QTest.keyClick(self.window.view, key, self.random.choice((NO, NO, SHIFT)))
        return key.name

    def place(self) -> Any:
        x, y = self.random.uniform(-3, WIDTH + 3), self.random.uniform(-3, HEIGHT + 3)
        return at(self.window.view, x, y)

    def press(self) -> str:
        self.down = self.random.choice((LEFT, RIGHT))
        QTest.mousePress(self.window.view, self.down, NO, self.place())
        return "press"

    def move(self) -> str:
        QTest.mouseMove(self.window.view, self.place())
        return "move"

    def release(self) -> str:
        QTest.mouseRelease(self.window.view, self.down, NO, self.place())
        return "release"

    def click(self) -> str:
        keys = self.random.choice((NO, NO, NO, SHIFT, CTRL))
        fast = self.random.random() < 0.15
        click = QTest.mouseDClick if fast else QTest.mouseClick
        click(self.window.view, self.random.choice((LEFT, LEFT, RIGHT)), keys, self.place())
        return "double click" if fast else "click"

    def drag(self) -> str:
        self.press()
        for _ in range(self.random.randrange(1, 4)):
            self.move()
        self.release()
        return "drag"

    def wheel(self) -> str:
        turn(self.window.view, self.random.choice((-120, 50, 120)), self.random.choice((NO, ALT)))
        return "wheel"

    def row(self, click: Callable[..., None] = QTest.mouseClick) -> str:
        table = self.window.objects.table
        if table.rowCount():
            item = table.item(self.random.randrange(table.rowCount()), self.random.randrange(3))
            keys = self.random.choice((NO, SHIFT, CTRL)) if click is QTest.mouseClick else NO
            click(table.viewport(), LEFT, keys, table.visualItemRect(item).center())
        return "row"

    def rename(self) -> str:
        self.row(QTest.mouseDClick)
        editor = self.window.objects.table.findChild(QLineEdit)
        if editor is not None:
            QTest.keyClicks(editor, self.random.choice(("Cat", "", "a b", "dog")))
            QTest.keyClick(editor, self.random.choice((Qt.Key.Key_Return, Qt.Key.Key_Escape)))
        return "rename"

    def wait(self) -> str:
        QTest.qWait(self.random.choice((1, 5, 20)))
        return "wait"

    def open(self) -> str:
        name = self.random.choice(NAMES)
        if QApplication.activeModalWidget() is None:
            self.window.open_path(self.folder / name)
        return f"open {name}"

    def close_windows(self) -> str:
        """Answer each window by a button or by Esc."""
        for dialog in self.window.findChildren(QDialog):
            if not dialog.isVisible():
                continue
            buttons = [
                button
                for button in dialog.findChildren(QAbstractButton)
                if button.isVisible() and button.isEnabled() and not _has_menu(button)
            ]
            if buttons and not isinstance(dialog, QFileDialog) and self.random.random() < 0.6:
                QTest.mouseClick(self.random.choice(buttons), LEFT)
            dialog.reject()
        return "close windows"


def _has_menu(button: Any) -> bool:
    return hasattr(button, "menu") and button.menu() is not None


# -- what is always so ------------------------------------------------------------------------


def check_frames(session: Any) -> None:
    """Each frame is sound by itself, and an object that is selected is there."""
    assert all(item.corrected for item in session.labels.frames.values())
    assert not any(item.corrected for item in session.results.values())
    shown = session.results.by_frame() | dict(session.labels.frames)
    for frame, item in shown.items():
        assert item.frame == frame < session.clip.frame_count
        numbers = [found.number for found in item.objects]
        assert len(set(numbers)) == len(numbers), f"frame {frame} has {numbers}"
        assert bool(item.objects) != bool(item.reason), f"frame {frame}: {item.reason!r}"
        masks = [found.mask(item.size) for found in item.objects]
        assert all(mask.any() for mask in masks), f"frame {frame} has an empty mask"
        assert not masks or np.sum(masks, axis=0).max() == 1, f"masks of frame {frame} overlap"
    assert session.selected is None or session.has_object(session.selected)


def check_window(window: Any) -> None:
    """What the window says is so."""
    session, labels = window.session, window.session.labels
    if session.clip is not None:
        check_frames(session)
    else:
        assert session.selected is None and not len(labels) and not window.isWindowModified()
    chosen = window.objects.numbers
    assert session.selected == (chosen[0] if chosen else None)
    saver = window.projects.saver
    assert window.isWindowModified() == (saver.unsaved or saver.discarded)
    job = window.runner.job is not None or window.edit_work.job is not None
    there = {
        **{"": True, "clip": session.clip is not None, "range": session.range is not None},
        **{"job": job, "idle": not job, "corrected": len(labels) > 0},
        **{"undo": bool(labels.undo_title), "redo": bool(labels.redo_title)},
        **{"selected": session.selected is not None, "several": len(chosen) > 1},
        "result": len(session.results) > 0 or len(labels) > 0,
    }
    for row in ACTIONS:
        may = there[row.needs] and not (row.name.startswith("run_") and window.runner.job)
        assert window.actions_by_name[row.name].isEnabled() == may, row.name


def check_undo(session: Any) -> None:
    """All steps back and forth again give the very same frames."""
    states = [dict(session.labels.frames)]
    while session.labels.undo_title:
        session.undo()
        states.append(dict(session.labels.frames))
    for state in reversed(states[:-1]):
        session.redo()
        assert dict(session.labels.frames) == state


def check_disk(window: Any, qtbot: Any, hand: Hand) -> None:
    """A saved project is what is in the window."""
    session, saver = window.session, window.projects.saver

    def at_rest() -> bool:
        hand.close_windows()
        window.cancel_jobs()
        jobs = (window.runner.job, window.edit_work.job)
        return jobs == (None, None) and not any(t.startswith("open ") for t in window.pool.titles)

    qtbot.waitUntil(at_rest, timeout=10_000)
    window.projects.save()
    qtbot.waitUntil(lambda: not saver.saving and not saver.unsaved, timeout=10_000)
    if saver.project is None:  # no clip, or one that had to wait for the save before it opened
        assert not len(session.labels)
        return
    opened = open_project(saver.project.path)
    assert opened.notes == ()
    for kept, mine in (
        (opened.snapshot.labels, session.labels.frames),
        (opened.snapshot.results, session.results.by_frame()),
    ):
        assert {n: _said(item) for n, item in kept.items()} == {
            n: _said(item) for n, item in mine.items()
        }


def _said(frame: Any) -> tuple[Any, ...]:
    objects = [
        (item.number, item.name, item.origin, item.box, item.crop().tobytes())
        for item in frame.objects
    ]
    return frame.reason, frame.corrected, frame.heard, objects


# -- the test ---------------------------------------------------------------------------------


@pytest.fixture
def segmenter() -> Apart:
    return Apart(delay_s=0.002)


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Exceptions and warnings of Qt that nobody caught, but for those of the screen we lack."""
    troubles: list[str] = []
    unimportant = ("This plugin does not support", "edit: editing failed")

    def hear(kind: object, context: object, text: str) -> None:
        if not text.startswith(unimportant):
            troubles.append(text)

    def catch(*error: Any) -> None:
        troubles.append("".join(traceback.format_exception(*error)))

    monkeypatch.setattr(sys, "excepthook", catch)
    before = qInstallMessageHandler(hear)
    yield troubles
    qInstallMessageHandler(before)


@pytest.mark.parametrize("seed", [4, 10, 15, 19, 44, 71])
def test_any_order_leaves_all_as_it_should_be(
    seed, heard, prompting, tuning, services, make_window, open_clip, qtbot, tmp_path, monkeypatch
):
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: ("", ""))  # it would wait
    services["matching"] = FakeMatching()
    for name in NAMES:
        (tmp_path / name).write_text(name)
    window = make_window()
    window.settings.set("autosave_after_s", 0.5)
    window.resize(1100, 800)
    open_clip(window)
    hand = Hand(window, tmp_path, seed)
    try:
        for _ in range(STEPS):
            hand.step()
            check_window(window)
            assert heard == []
        check_undo(window.session)
        check_disk(window, qtbot, hand)
    except BaseException as error:
        error.add_note(f"after {', '.join(hand.done[-50:])}")
        raise
    finally:
        hand.close_windows()
