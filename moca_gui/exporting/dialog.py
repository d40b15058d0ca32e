"""The export window: which format, which frames, where to, and how far it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import Qt, QTimer, QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QVBoxLayout,
    QWidget,
)

from moca_core.annotations.snapshot import Snapshot
from moca_core.errors import MocaError
from moca_core.export.clips import Choice
from moca_core.export.formats import FORMATS, Format
from moca_core.export.projects import SnapshotClip, snapshot_clip
from moca_gui.dialogs.choosing import ask_folder
from moca_gui.exporting.fitted import FittedDialog
from moca_gui.exporting.folders import free, proposed, trouble, typed
from moca_gui.exporting.options import OptionsForm
from moca_gui.exporting.work import Ended, ExportWork
from moca_gui.jobs import JobState
from moca_gui.results import CORRECTED, NOT_RUN
from moca_gui.session import Session
from moca_gui.timecode import format_short
from moca_gui.tuning.data import PathEdit
from moca_gui.widgets import button
from moca_gui.words import sentence

_WIDTH_PX = 560
_SETTLE_MS = 200
WHOLE, RANGE = "whole", "range"
NOTHING = "Nothing to export yet: run the method, or draw masks."


class ExportDialog(FittedDialog):
    """Stays open beside the work; an export goes on when this is closed.

    Parameters
    ----------
    work : the job.
    snapshot : what is in memory, with the chosen range.
    """

    def __init__(
        self,
        session: Session,
        work: ExportWork,
        snapshot: Callable[[], Snapshot],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(_WIDTH_PX, parent)
        self.setWindowTitle("Export")
        self._session, self._work, self._snapshot = session, work, snapshot
        self._own_folder = False  # the user chose it
        self._done: Path | None = None  # where the last export is
        self._make_parts()
        self._lay_out()
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(_SETTLE_MS)
        self._settle.timeout.connect(self.refresh)
        self._connect()
        self._on_format()

    # -- assembly -----------------------------------------------------------------------------

    def _make_parts(self) -> None:
        self.formats = QComboBox()
        self.formats.setAccessibleName("Format")
        for row in FORMATS.values():
            self.formats.addItem(row.title, row.name)
            self.formats.setItemData(
                self.formats.count() - 1, row.help, Qt.ItemDataRole.ToolTipRole
            )
        self.about = _words("About the format")
        self.kept = _words("What is kept")
        self.lost = _words("What is lost")
        self.options = OptionsForm()
        self.part = QComboBox()
        self.part.setAccessibleName("Part of the clip")
        self.part.addItem("Whole clip", WHOLE)
        self.part.addItem("In/out range", RANGE)
        self.corrected = QCheckBox("Corrected frames only")
        self.count = _words("Frames to export")
        self.folder = PathEdit("Folder", "A new or an empty folder")
        self.folder_note = _words("State of the folder")
        self.folder_note.setObjectName("danger")
        self.bar = QProgressBar()
        self.bar.setAccessibleName("Export progress")
        self.state = QLabel()
        self.state.setAccessibleName("Export state")
        self.message = _words("Message")
        self.message.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.open_button = button("Open folder", self.open_folder)
        self.start_button = button("Start", self.start)
        self.start_button.setObjectName("primary")
        self.start_button.setDefault(True)
        self.cancel_button = button("Cancel export", self._work.cancel)
        self.cancel_button.setToolTip("Stop the export, which leaves nothing behind")
        self.close_button = button("Close", self.close)

    def _lay_out(self) -> None:
        frames = QHBoxLayout()
        frames.setSpacing(12)
        frames.addWidget(self.part)
        frames.addWidget(self.corrected)
        frames.addStretch(1)
        grid = QGridLayout()
        grid.setHorizontalSpacing(12)
        grid.setVerticalSpacing(7)
        grid.setColumnStretch(1, 1)
        grid.setColumnMinimumWidth(0, self.options.label_width)
        grid.addWidget(QLabel("Format"), 0, 0)
        grid.addWidget(self.formats, 0, 1)
        for place, words in enumerate((self.about, self.kept, self.lost), start=1):
            grid.addWidget(words, place, 1)
        grid.addWidget(self.options, 4, 0, 1, 2)
        grid.addWidget(QLabel("Frames"), 5, 0)
        grid.addLayout(frames, 5, 1)
        grid.addWidget(self.count, 6, 1)
        grid.addWidget(QLabel("Folder"), 7, 0)
        grid.addWidget(self.folder, 7, 1)
        grid.addWidget(self.folder_note, 8, 1)
        buttons = QHBoxLayout()
        buttons.setSpacing(8)
        buttons.addWidget(self.open_button)
        buttons.addStretch(1)
        for control in (self.start_button, self.cancel_button, self.close_button):
            buttons.addWidget(control)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(22, 18, 22, 16)
        layout.setSpacing(10)
        layout.addLayout(grid)
        layout.addStretch(1)
        for part in (self.bar, self.state, self.message):
            layout.addWidget(part)
        layout.addLayout(buttons)

    def _connect(self) -> None:
        session, work = self._session, self._work
        self.formats.currentIndexChanged.connect(self._on_format)
        self.part.currentIndexChanged.connect(self.refresh)
        self.corrected.toggled.connect(self.refresh)
        self.folder.edited.connect(self._on_folder)
        self.folder.edit.textChanged.connect(self.refresh)
        self.folder.browse.clicked.connect(
            lambda: ask_folder(self, "Folder to export to", self.out, self.folder.choose)
        )
        session.clip_changed.connect(self._on_clip)
        session.range_changed.connect(self._on_range)
        session.result_changed.connect(self._on_result)
        work.changed.connect(self.refresh)
        work.progressed.connect(self._on_progress)
        work.ended.connect(self._on_ended)

    # -- what is chosen -----------------------------------------------------------------------

    @property
    def row(self) -> Format:
        """The chosen format."""
        return FORMATS[str(self.formats.currentData())]

    @property
    def out(self) -> Path:
        """The folder; one without a beginning is beside the clip."""
        clip = self._session.clip
        return typed(self.folder.text, clip.path.parent if clip is not None else Path.home())

    def _counted(self) -> int:
        """How many frames are exported."""
        if self._session.clip is None:
            return 0
        states: NDArray[np.uint8] = self._session.states
        if self.part.currentData() == RANGE and self._session.range is not None:
            first, last = self._session.range
            states = states[first : last + 1]
        wanted = states == CORRECTED if self.corrected.isChecked() else states != NOT_RUN
        return int(np.count_nonzero(wanted))

    def showEvent(self, event: object) -> None:
        if self._session.range is not None and not self._work.active:
            self.part.setCurrentIndex(self.part.findData(RANGE))
        self._propose()

    def _on_format(self) -> None:
        row = self.row
        self.about.setText(sentence(row.help))
        self.kept.setText(f"Kept: {row.kept}.".replace("`", ""))
        self.lost.setText(f"Lost: {row.lost}.".replace("`", ""))
        self.options.show_options(row)
        self._propose()

    def _on_clip(self) -> None:
        self._own_folder = False
        self._on_range()
        self._propose()

    def _on_range(self) -> None:
        there = self._session.range is not None
        if not there:
            self.part.setCurrentIndex(self.part.findData(WHOLE))
        self.refresh()

    def _on_result(self) -> None:
        # Results come many a second: they are counted a few times a second, as long as they come.
        if self.isVisible() and not self._settle.isActive():
            self._settle.start()

    def _on_folder(self, text: str) -> None:
        self._own_folder = bool(text)
        self._propose()

    def _propose(self) -> None:
        """A free folder beside the clip, unless the user chose one."""
        clip = self._session.clip
        if clip is not None and not self._own_folder and not self._work.active:
            self.folder.show_path(str(proposed(clip.path, self.row.name)))
        self.refresh()

    def refresh(self) -> None:
        """Show what can be done now."""
        running, count = self._work.active, self._counted()
        lacks = self._lacks(count)
        for part in (self.formats, self.options, self.part, self.corrected, self.folder):
            part.setEnabled(not running)
        self.part.setEnabled(not running and self._session.range is not None)
        tip = "" if self._session.range is not None else "No range is set: [ and ] set its ends"
        self.part.setToolTip(tip)
        self.count.setText(lacks or f"{count:,} frame{'' if count == 1 else 's'}")
        note = trouble(self.out) if self.folder.text else "Choose a folder."
        self.folder_note.setText(note)
        self.folder_note.setVisible(bool(note) and not running)
        self.start_button.setVisible(not running)
        self.start_button.setEnabled(not lacks and not note)
        self.start_button.setToolTip(lacks or note or f"Write {self.row.title} to {self.out}")
        self.cancel_button.setVisible(running)
        job = self._work.job
        self.cancel_button.setEnabled(job is not None and not job.cancelling)
        if job is not None and job.cancelling:
            self.state.setText("Cancelling")
            self.bar.setRange(0, 0)
        self.bar.setVisible(running)
        self.state.setVisible(running)
        self.open_button.setVisible(self._done is not None and not running)

    def _lacks(self, count: int) -> str:
        """Why there is nothing to export; "" if there is something."""
        if self._session.clip is None:
            return "No clip is open."
        if count:
            return ""
        if not np.any(self._session.states != NOT_RUN):
            return NOTHING
        what = "corrected" if self.corrected.isChecked() else "run or corrected"
        where = "in the range" if self.part.currentData() == RANGE else "yet"
        return f"No frame is {what} {where}."

    # -- the job ------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin with what is in memory now; what is changed later isn't in the export."""
        clip = self._session.clip
        if clip is None or self._work.active or not self.start_button.isEnabled():
            return
        self._done = None
        self.say(self.message, "")
        choice = Choice(
            range_only=self.part.currentData() == RANGE, corrected_only=self.corrected.isChecked()
        )
        try:
            settings = self.options.settings(self.row)
        except MocaError as error:
            self.say_error(self.message, error)
            return
        maps = self._maps() if self.row.name == "npz" else {}
        make = partial(_make_clip, self._snapshot(), clip.path, maps, choice)
        self._work.start(self.row, make, self.out, settings)

    def _maps(self) -> dict[int, Mapping[str, Any]]:
        """The maps in memory by frame."""
        results = self._session.results
        return {frame: maps for frame in sorted(results.frames) if (maps := results.maps(frame))}

    def _on_progress(self, text: str, done: int, total: int, left_s: float | None) -> None:
        self.bar.setRange(0, total)
        self.bar.setValue(done)
        tail = f", {done:,} of {total:,}" if total else ""
        tail += f", {format_short(left_s)} left" if left_s is not None else ""
        self.state.setText(text + tail)

    def _on_ended(self, ended: Ended) -> None:
        if ended.state is JobState.DONE:
            self._done = ended.out
            self.folder.show_path(str(free(ended.out)))  # for the next one
            self.say(self.message, "\n".join([f"Exported to {ended.out}.", *ended.notes]))
        elif ended.error is not None:
            self.say_error(self.message, ended.error)
        else:
            self.say(self.message, "Cancelled: nothing was written.")
        self.refresh()

    def open_folder(self) -> None:
        """Show the export in the desktop's file manager."""
        if self._done is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._done)))


def _make_clip(
    snapshot: Snapshot, path: Path, maps: Mapping[int, Mapping[str, Any]], choice: Choice
) -> SnapshotClip:
    return snapshot_clip(snapshot, path.stem, path, path, maps).chosen(choice)


def _words(name: str) -> QLabel:
    label = QLabel()
    label.setObjectName("dim")
    label.setWordWrap(True)
    label.setAccessibleName(name)
    return label
