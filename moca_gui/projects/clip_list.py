"""The dock with the clips of a folder: which one is open, how far each is, the next one."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QModelIndex, QSize, QSortFilterProxyModel, Qt, Signal
from PySide6.QtGui import QAction
from PySide6.QtWidgets import (
    QAbstractItemView,
    QDockWidget,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QMainWindow,
    QTableView,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from moca_core.annotations.project import Peek
from moca_gui.dialogs.choosing import ask_folder
from moca_gui.jobs import Job, JobPool, JobState
from moca_gui.projects.clip_model import ClipModel
from moca_gui.projects.listing import Listed, Seen, look
from moca_gui.projects.part import Projects
from moca_gui.projects.saver import State
from moca_gui.session import Session
from moca_gui.settings import WindowState
from moca_gui.theme import px

TITLE = "Clips"
_LEAST_PX, _ROW_PX = 220, 26
_WIDTH_PX, _HEIGHT_PX = 290, 400


class ClipList(QWidget):
    """Lists the clips of the folder that was opened last.

    Signals: `chosen(path)` for a clip to be opened, `failed(path, error)` for a folder that
    can't be listed.
    """

    chosen = Signal(object)
    failed = Signal(object, object)

    def __init__(
        self,
        window: QMainWindow,
        pool: JobPool,
        session: Session,
        projects: Projects,
        state: WindowState,
        actions: dict[str, QAction],
    ) -> None:
        super().__init__()
        self.setObjectName("surface")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self._window, self._pool, self._state = window, pool, state
        self._session, self._projects = session, projects
        self._job: Job | None = None
        self._next: Path | None = None  # that is being opened
        self._folder = Path.home()
        self.model = ClipModel(self)
        self.shown = QSortFilterProxyModel(self)
        self.shown.setSourceModel(self.model)
        self.shown.setFilterCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        self.filter = QLineEdit()
        self.filter.setPlaceholderText("Filter by name")
        self.filter.setAccessibleName("Filter the clips by name")
        self.filter.setClearButtonEnabled(True)
        self.filter.textChanged.connect(self._filter)
        self.table = _table(self.shown)
        self.table.activated.connect(self._choose)
        self.count = QLabel()
        self.count.setObjectName("dim")
        self._lay_out(actions)
        self.dock = self._make_dock()
        session.clip_changed.connect(self._on_clip)
        projects.saver.changed.connect(self._on_saved)

    def _lay_out(self, actions: dict[str, QAction]) -> None:
        row = QHBoxLayout()
        row.addWidget(self.count, 1)
        for name, text in (("previous_clip", "Previous"), ("next_clip", "Next")):
            button = QToolButton()
            button.setDefaultAction(actions[name])
            button.setObjectName("plain")
            button.setText(text)
            button.setAccessibleName(actions[name].text().replace("&", ""))
            row.addWidget(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 8, 8, 8)
        layout.setSpacing(6)
        layout.addWidget(self.filter)
        layout.addWidget(self.table, 1)
        layout.addLayout(row)
        self.setMinimumWidth(px(_LEAST_PX))

    def _make_dock(self) -> QDockWidget:
        dock = QDockWidget(TITLE, self._window)
        dock.setObjectName(f"dock {TITLE}")  # the name under which its place is stored
        dock.setAccessibleName(TITLE)
        dock.setWidget(self)
        self._window.addDockWidget(Qt.DockWidgetArea.LeftDockWidgetArea, dock)
        dock.hide()
        return dock

    def sizeHint(self) -> QSize:
        return QSize(px(_WIDTH_PX), _HEIGHT_PX)

    def show_dock(self) -> None:
        """Show the list where there is more than one clip, and only there."""
        self.dock.setVisible(len(self.model.clips) > 1)

    # -- folders ------------------------------------------------------------------------------

    def ask_folder(self) -> None:
        """Ask for a folder and open its clips."""
        recent = self._state.recent()
        start = recent[0].parent if recent else self._folder
        ask_folder(self._window, "Open the clips of a folder", start, self.open_folder)

    def open_folder(self, folder: Path) -> None:
        """List a folder, and open the clip of it that was open last, or its first one."""
        if self._job is not None:
            self._job.cancel()
        folder = folder.expanduser().absolute()

        def on_event(event: object) -> None:
            if job is not self._job:
                return  # of a folder before
            if isinstance(event, Listed):
                self._show(event)
            elif isinstance(event, Seen):
                self.model.set_seen(event.clip, event.peek)

        def on_finished(ended: Job) -> None:
            if ended is self._job:
                self._job = None
                if ended.state is JobState.FAILED and ended.error is not None:
                    self.failed.emit(folder, ended.error)

        job = self._job = self._pool.start(
            f"list {folder.name}",
            lambda: look(folder, self._projects.folder),
            on_event=on_event,
            on_finished=on_finished,
        )

    def _show(self, listed: Listed) -> None:
        self._folder = listed.folder
        self.filter.clear()
        self.model.set_clips(listed.clips)
        self.show_dock()
        self._count()
        known = listed.folder / self._state.position(listed.folder)
        self._open(known if known in listed.clips else listed.clips[0])

    # -- clips --------------------------------------------------------------------------------

    def step(self, clips: int) -> None:
        """Open the next (1) or previous (-1) clip of those that the filter leaves."""
        rows = self.shown.rowCount()
        at = self._row(self._next or self.model.current)
        row = (0 if clips > 0 else rows - 1) if at is None else at + clips
        if not 0 <= row < rows:
            edge = "last" if clips > 0 else "first"
            none = "Open a folder to go from clip to clip (Ctrl+Shift+O)."
            self._session.note(f"This is the {edge} clip of the list." if rows else none)
            return
        self._choose(self.shown.index(row, 0))

    def forget_next(self) -> None:
        """The clip that was to be opened won't be."""
        self._next = None
        self._select(self.model.current)

    def _choose(self, index: QModelIndex) -> None:
        self._open(self.model.clips[self.shown.mapToSource(index).row()])

    def _open(self, clip: Path) -> None:
        self._next = clip
        self._select(clip)
        self.chosen.emit(clip)

    def _row(self, clip: Path | None) -> int | None:
        """The row of a clip among those shown."""
        row = self.model.row_of(clip)
        if row is None:
            return None
        index = self.shown.mapFromSource(self.model.index(row, 0))
        return index.row() if index.isValid() else None

    def _select(self, clip: Path | None) -> None:
        row = self._row(clip)
        if row is None:
            self.table.clearSelection()
            return
        index = self.shown.index(row, 0)
        self.table.setCurrentIndex(index)
        self.table.scrollTo(index)

    def _on_clip(self) -> None:
        clip = self._session.clip
        path = clip.path if clip is not None else None
        self.model.set_current(path)
        if path is not None:
            self._next = None
            self._select(path)
            if self.model.row_of(path) is not None:
                self._state.keep_position(path)

    def _on_saved(self) -> None:
        clip, saver = self._session.clip, self._projects.saver
        if clip is None or saver.project is None or saver.state is not State.SAVED:
            return
        corrected, results = len(self._session.labels), len(self._session.results)
        self.model.set_seen(clip.path, Peek(corrected, results, saver.project.saved_at))

    def _filter(self, text: str) -> None:
        self.shown.setFilterFixedString(text.strip())
        self._select(self.model.current)
        self._count()

    def _count(self) -> None:
        shown, clips = self.shown.rowCount(), len(self.model.clips)
        self.count.setText(f"{clips} clips" if shown == clips else f"{shown} of {clips}")


def _table(model: QSortFilterProxyModel) -> QTableView:
    table = QTableView()
    table.setModel(model)
    table.setAccessibleName("Clips of the folder")
    table.verticalHeader().hide()
    table.verticalHeader().setDefaultSectionSize(px(_ROW_PX))
    table.setShowGrid(False)
    table.setWordWrap(False)
    table.setTabKeyNavigation(False)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    table.setTextElideMode(Qt.TextElideMode.ElideMiddle)
    header = table.horizontalHeader()
    header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
    header.setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
    header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
    header.setHighlightSections(False)
    return table
