"""The windows and main states of the program, each a row: for its pictures and for tests of all.

A scene brings up what it shows by itself, whatever was shown before it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from PySide6.QtCore import QEventLoop
from PySide6.QtWidgets import QApplication, QDialog, QWidget

from moca_core.errors import MediaError, ProjectConflictError
from moca_core.models import licences
from moca_gui.actions import ACTIONS
from moca_gui.dialogs.errors import ErrorDialog
from moca_gui.dialogs.goto import GoToDialog
from moca_gui.dialogs.terms import TermsDialog
from moca_gui.main_window import MainWindow
from moca_gui.projects.asking import ask_conflict
from moca_gui.theme import text_scale
from moca_gui.tuning.leaving import DiscardDialog, LeaveDialog

SIZE_PX = (1120, 800)
BOTH_S, CAT_S = 1.2, 5.0  # places of the demo clip
DialogT = TypeVar("DialogT", bound=QDialog)


class Stage:
    """The window that the scenes are played in.

    Parameters
    ----------
    window : the main window, shown.
    data : a folder of clips that can be learnt from, with `demo.mp4`, which is shown.
    patience_s : how long the program may work for a scene.
    """

    def __init__(self, window: MainWindow, data: Path, patience_s: float) -> None:
        self.window, self.data, self.patience_s = window, data, patience_s

    @property
    def clip(self) -> Path:
        """The clip that is shown."""
        return self.data / "demo.mp4"

    def wait(self, there: Callable[[], object]) -> None:
        """Let the program work until `there`."""
        deadline = time.monotonic() + self.patience_s
        while not there():
            if time.monotonic() > deadline:
                raise TimeoutError("the window didn't get there")
            QApplication.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents, 50)

    def do(self, name: str) -> None:
        """Trigger an action."""
        self.window.actions_by_name[name].trigger()

    def clear(self) -> None:
        """Close all dialogs, and show the masks."""
        for dialog in self.window.findChildren(QDialog):
            dialog.close()
        self.do("overlay_masks")
        if self.window.session.clip is not None:
            self.do("tool_select")
        self.window.docks["Inspector"].raise_()
        self.window.resize(*(round(side * text_scale()) for side in SIZE_PX))
        QApplication.processEvents()

    def open(self, second: float = BOTH_S) -> MainWindow:
        """The window with the demo clip at a place."""
        window = self.window
        if window.session.clip is None:
            window.open_path(self.clip)
        self.wait(lambda: window.session.image is not None)
        window.player.seek_time(second)
        self.wait(lambda: window.session.frame == window.player.target)
        self.wait(lambda: not {"waveform", "spectrogram"} & set(window.pool.titles))
        window.status.show_note("")
        return window

    def run(self, second: float = BOTH_S) -> MainWindow:
        """The window with the demo clip and its results."""
        window = self.open(second)
        if len(window.session.results) < window.session.clip.frame_count:
            window.runner.run_clip()
            self.wait(lambda: window.runner.job is None)
        return self.open(second)

    def run_frame(self, second: float = CAT_S) -> MainWindow:
        """As `run`, with the maps of a frame."""
        window = self.run(second)
        if not window.session.results.maps(window.session.frame):
            window.runner.run_frame()
            self.wait(lambda: window.runner.job is None)
        return self.open(second)

    def dialog(self, kind: type[DialogT]) -> DialogT:
        """The dialog of a kind that is shown."""
        shown = [dialog for dialog in self.window.findChildren(kind) if dialog.isVisible()]
        return shown[-1]

    def opened(self, dialog: DialogT) -> DialogT:
        """Open a dialog."""
        dialog.open()
        return dialog


def _start(stage: Stage) -> QWidget:
    stage.do("close_clip")
    return stage.window


def _opened(stage: Stage) -> QWidget:
    window = stage.open()
    stage.do("clear_results")
    return window


def _running(stage: Stage) -> QWidget:
    window = stage.open()
    window.runner.run_anew()
    stage.wait(lambda: window.runner.job is None or len(window.session.results) > 25)
    return window


def _stop(stage: Stage) -> None:
    stage.window.runner.cancel()
    stage.wait(lambda: stage.window.runner.job is None)


def _overlay(name: str, stage: Stage) -> QWidget:
    window = stage.run_frame()
    stage.do(name)
    return window


def _thresholds(stage: Stage) -> QWidget:
    window = stage.run_frame()
    if not window.runner.decidable:  # the masks of a run before, which follow no threshold
        window.runner.run_anew()
        stage.wait(lambda: window.runner.job is None)
    stage.do("thresholds")
    return stage.open(CAT_S)


def _side_by_side(stage: Stage) -> QWidget:
    window = stage.run_frame()
    stage.do("overlay_evidence")
    stage.do("side_by_side")
    return window


def _why(stage: Stage) -> QWidget:
    window = stage.run_frame()
    stage.do("overlay_proposals")
    stage.do("proposals")
    return window


def _correct(stage: Stage) -> QWidget:
    window = stage.run()
    window.session.select(window.session.result.objects[0].number)
    stage.do("tool_brush")
    return window


def _clips(stage: Stage) -> QWidget:
    window = stage.run()
    window.clip_list.open_folder(stage.data)
    stage.wait(lambda: window.clip_list.isVisible())
    return window


def _hide_clips(stage: Stage) -> None:
    stage.window.docks["Clips"].hide()


def _export(stage: Stage) -> QWidget:
    stage.run()
    stage.do("export")
    return stage.dialog(QDialog)


def _import(stage: Stage) -> QWidget:
    stage.run()
    stage.do("import_masks")
    return stage.dialog(QDialog)


def _conflict(stage: Stage) -> QWidget:
    project = stage.clip.with_name("demo.moca.json")
    error = ProjectConflictError(f"{project.name}: another program saved it meanwhile", "")
    return ask_conflict(stage.window, error, *(lambda: None,) * 3)


def _match(stage: Stage) -> QWidget:
    stage.run()
    stage.do("match")
    dialog = stage.window.matching.dialog
    assert dialog is not None
    dialog.resize(1160, 740)
    stage.wait(lambda: dialog.compared is not None)
    dialog.find_neighbours()
    stage.wait(lambda: dialog.strip.search.isVisible() and dialog.strip.search.isEnabled())
    dialog.choose(0, (6, 2))
    return dialog


def _fine_tune(stage: Stage) -> QWidget:
    stage.do("fine_tune")
    dialog = stage.window.fine_tune.dialog
    assert dialog is not None
    if not dialog.data.usable:
        dialog.setup.data.path.choose(stage.data)
        dialog.data.start()
    stage.wait(lambda: not dialog.data.active)
    return dialog


def _made_by(name: str, stage: Stage) -> QWidget:
    """The dialog that an action opens."""
    stage.do(name)
    return stage.dialog(QDialog)


def _error(stage: Stage) -> QWidget:
    error = MediaError(
        "holiday.mp4: the file ends in the middle of a picture",
        "Copy it again, or open it with another program to see whether it plays there.",
    )
    stage.window.dialogs.show_error("Can't open holiday.mp4", error)
    dialog = stage.dialog(ErrorDialog)
    dialog.details_button.setChecked(True)
    return dialog


def _go_to(stage: Stage) -> QWidget:
    stage.open()
    stage.do("go_to")
    dialog = stage.dialog(GoToDialog)
    dialog.edit.setText("00:04.560")
    return dialog


def _terms(stage: Stage) -> QWidget:
    return stage.opened(TermsDialog("imagebind", licences.pending("imagebind"), stage.window))


@dataclass(frozen=True)
class Scene:
    """One row.

    Attributes
    ----------
    name : of its pictures.
    show : brings it up; returns the window that it is about.
    end : leaves it, where closing its window isn't enough.
    """

    name: str
    show: Callable[[Stage], QWidget]
    end: Callable[[Stage], object] = lambda stage: None


SCENES = (
    Scene("start", _start),
    Scene("opened", _opened),
    Scene("running", _running, end=_stop),
    Scene("window", Stage.run),
    *(
        Scene(row.name.removeprefix("overlay_"), partial(_overlay, row.name))
        for row in ACTIONS
        if row.group == "overlay" and row.name != "overlay_masks"
    ),
    Scene("thresholds", _thresholds),
    Scene("why", _why),
    Scene("side-by-side", _side_by_side, end=lambda stage: stage.do("side_by_side")),
    Scene("correct", _correct),
    Scene("clips", _clips, end=_hide_clips),
    Scene("project-conflict", _conflict),
    Scene("export", _export),
    Scene("import", _import),
    Scene("match", _match),
    Scene("fine-tune", _fine_tune),
    Scene("fine-tune-leave", lambda stage: stage.opened(LeaveDialog(stage.window))),
    Scene("fine-tune-discard", lambda stage: stage.opened(DiscardDialog(stage.window))),
    Scene("weights", partial(_made_by, "weights")),
    Scene("terms", _terms),
    Scene("settings", partial(_made_by, "settings")),
    Scene("shortcuts", partial(_made_by, "shortcuts")),
    Scene("go-to", _go_to),
    Scene("error", _error),
    Scene("about", partial(_made_by, "about")),
)
