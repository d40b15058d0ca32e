"""The import window: what is chosen, what would change, and the change as one step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import (
    QCheckBox,
    QHBoxLayout,
    QLabel,
    QMenu,
    QProgressBar,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from moca_core.types import StageEvent
from moca_gui.dialogs.choosing import ask_file, ask_folder, dropped_path
from moca_gui.exporting.fitted import FittedDialog
from moca_gui.exporting.folders import typed
from moca_gui.jobs import Job, JobPool, JobState
from moca_gui.session import Clip, Session
from moca_gui.tuning.data import PathEdit
from moca_gui.widgets import button
from moca_gui.words import sentence

if TYPE_CHECKING:
    from moca_core.annotations.importing import Imported

_WIDTH_PX = 540
_ABOUT = (
    "A folder of PNG masks whose names hold frame numbers, such as an export makes, or a COCO "
    "file. Their frames become corrected frames; all others stay as they are."
)


class ImportDialog(FittedDialog):
    """Reads in a job as soon as a place is chosen, shows what was found, and takes it."""

    def __init__(
        self, pool: JobPool, session: Session, clip: Clip, parent: QWidget | None = None
    ) -> None:
        super().__init__(_WIDTH_PX, parent)
        self.setWindowTitle("Import masks")
        self.setAcceptDrops(True)
        self._pool, self._session, self._clip = pool, session, clip
        self._job: Job | None = None
        self._asked = 0  # how often something was read; only the last one's answer counts
        self._found: Imported | None = None
        session.clip_changed.connect(self.reject)  # the masks were read for another clip
        self._make_parts()
        self._lay_out()
        self.say(self.found, "")
        self._refresh()

    def _make_parts(self) -> None:
        self.about = QLabel(_ABOUT)
        self.about.setObjectName("dim")
        self.about.setWordWrap(True)
        self.source = PathEdit("Masks", "A folder of PNG, or a COCO file: choose or drop it")
        self.source.edited.connect(lambda _: self.read())
        menu = QMenu(self.source.browse)
        menu.addAction("Folder of PNG\N{HORIZONTAL ELLIPSIS}", self._ask_folder)
        menu.addAction("COCO file\N{HORIZONTAL ELLIPSIS}", self._ask_file)
        self.source.browse.setMenu(menu)
        self.source.browse.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.resize_box = QCheckBox("Resize masks of another size")
        self.resize_box.setToolTip("Otherwise masks of another size than the clip are refused")
        self.resize_box.toggled.connect(lambda _: self.read())
        self.bar = QProgressBar()
        self.bar.setAccessibleName("Reading progress")
        self.found = QLabel()
        self.found.setWordWrap(True)
        self.found.setAccessibleName("What was found")
        self.found.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.import_button = button("Import", self.take)
        self.import_button.setObjectName("primary")
        self.import_button.setDefault(True)
        self.cancel_button = button("Cancel", self.reject)

    def _lay_out(self) -> None:
        buttons = QHBoxLayout()
        buttons.setSpacing(8)
        buttons.addStretch(1)
        buttons.addWidget(self.import_button)
        buttons.addWidget(self.cancel_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(22, 18, 22, 16)
        layout.setSpacing(10)
        for part in (self.about, self.source, self.resize_box, self.bar, self.found):
            layout.addWidget(part)
        layout.addStretch(1)
        layout.addLayout(buttons)

    def _refresh(self) -> None:
        reading, found = self._job is not None, self._found is not None
        self.bar.setVisible(reading)
        self.import_button.setEnabled(found and not reading)
        self.import_button.setToolTip("" if found else "Choose masks first")

    # -- what is chosen -----------------------------------------------------------------------

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if dropped_path(event.mimeData()) is not None:
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        path = dropped_path(event.mimeData())
        if path is not None:
            event.acceptProposedAction()
            self.source.choose(path)

    def _start(self) -> Path:
        return Path(self.source.text) if self.source.text else self._clip.path.parent

    def _ask_folder(self) -> None:
        ask_folder(self, "Folder of PNG masks", self._start(), self.source.choose)

    def _ask_file(self) -> None:
        kinds = "COCO files (*.json)"
        ask_file(self, "COCO file", kinds, self._start(), self.source.choose)

    # -- reading ------------------------------------------------------------------------------

    def read(self) -> None:
        """Read what is chosen, in place of what was read before."""
        self._stop()
        self._asked += 1
        self._found = None
        self.say(self.found, "")
        if self.source.text:
            path = typed(self.source.text, self._clip.path.parent)
            events = _events(path, self._clip, self._session, self.resize_box.isChecked())
            self._job = self._pool.start(
                "reading masks",
                events,
                on_event=partial(self._on_event, self._asked),
                on_finished=self._on_finished,
            )
            self.bar.setRange(0, 0)
        self._refresh()

    def _stop(self) -> None:
        if self._job is not None:
            self._job.cancel()
            self._job = None
            self._asked += 1  # what it still says isn't heard

    def _on_event(self, asked: int, event: Any) -> None:
        if asked != self._asked:
            return
        if isinstance(event, StageEvent):
            self.bar.setRange(0, event.total)
            self.bar.setValue(event.done)
        else:
            self._found = event

    def _on_finished(self, job: Job) -> None:
        if job is not self._job:
            return
        self._job = None
        if self._found is not None and job.state is JobState.DONE:
            self.say(self.found, "\n".join(preview(self._found)))
        elif job.error is not None:
            self.say_error(self.found, job.error)
        self._refresh()

    def take(self) -> None:
        """Make the change, which Undo takes back as one."""
        found = self._found
        if found is None:
            return
        self.accept()
        self._session.apply(found.edit)
        self._session.note(" ".join([f"Imported {found.source.name}.", *preview(found)]))

    def done(self, result: int) -> None:
        """Close; what is being read is given up."""
        self._stop()
        self.source.blockSignals(True)  # a box that is left, or was typed in, would read again
        super().done(result)


def _events(path: Path, clip: Clip, session: Session, resize: bool) -> Callable[[], Iterator[Any]]:
    """What reads in the job, for the clip as it is now."""
    info = clip.reader.info
    size, times_s = (info.height, info.width), info.times_s
    shown = session.results.by_frame() | dict(session.labels.frames)

    def events() -> Iterator[Any]:
        from moca_core.annotations.imported import Target
        from moca_core.annotations.importing import read_masks

        yield from read_masks(path, Target(clip.path.stem, size, times_s, shown), resize)

    return events


def preview(found: Imported) -> list[str]:
    """What an import changes, line by line."""
    from moca_core.annotations.importing import counted

    numbers = list(found.frames)
    where = f"frame {numbers[0]:,}"
    if len(numbers) > 1:
        where = f"{counted(len(numbers), 'frame')} from {min(numbers):,} to {max(numbers):,}"
    lines = [f"Masks of {where}: " + ", ".join(_of_names(found)) + "."]
    if found.replaced:
        lines.append(f"They take the place of {counted(found.replaced, 'corrected frame')}.")
    return lines + [sentence(note) for note in found.notes]


def _of_names(found: Imported) -> list[str]:
    words = [f"{name} in {count:,}" for name, count in found.names.items()]
    return words + ([f"nothing in {found.empty:,}"] if found.empty else [])
