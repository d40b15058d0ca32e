"""Keeps the project of the open clip on disk: when it is saved, and what came of it."""

from __future__ import annotations

import enum
import errno
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, QTimer, Signal

from moca_core.annotations.project import Project, Snapshot, View, project_path
from moca_core.errors import MocaError, ProjectConflictError, ProjectVersionError, StorageError
from moca_gui.jobs import Job, JobPool, JobState
from moca_gui.projects.reading import place_in
from moca_gui.settings import Settings

MOST_S = 20.0
"""While changes go on, they are saved at least so often."""
RETRY_S = 10.0
"""After a save that failed, as long as nothing is changed."""


class State(enum.Enum):
    """How what is on screen relates to what is on disk."""

    NONE = "there is no project"
    SAVED = "saved"
    CHANGED = "not saved yet"
    SAVING = "saving"
    FAILED = "not saved"
    CONFLICT = "not saved, as what is on disk is another state"


@dataclass(frozen=True)
class _Hashed:
    """The content of the clip is known."""

    clip_hash: str


class Saver(QObject):
    """Saves in a job, from a snapshot that nothing changes any more.

    Signals: `changed` when the state is another one; `settled(well)` when a save has ended;
    `refused` when the folder of the clip can't be written and no other one is known.

    Parameters
    ----------
    snapshot : what there is to save at this moment; the hash of its clip may be missing.
    """

    changed = Signal()
    settled = Signal(bool)
    refused = Signal()

    def __init__(
        self, pool: JobPool, settings: Settings, snapshot: Callable[[], Snapshot], parent: QObject
    ) -> None:
        super().__init__(parent)
        self.project: Project | None = None
        self.error: MocaError | None = None  # of the last save
        self.trouble: MocaError | None = None  # why the project of the clip can't be saved
        self.saves = 0  # that went well
        self.discarded = False  # what isn't saved, for the clip that comes next
        self._pool, self._settings, self._snapshot = pool, settings, snapshot
        self._job: Job | None = None
        self._hash = ""
        self._changes = self._saved = self._saving = 0
        self._again = False  # after the save that is under way
        self._next: Path | None = None  # where to go on after it
        self._since: float | None = None  # when what isn't saved began
        self._view: View | None = None  # that was saved last
        self._told: tuple[Any, ...] = ()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.save)
        settings.changed.connect(lambda key: self._schedule() if key == "autosave" else None)

    # -- what is the matter -------------------------------------------------------------------

    @property
    def unsaved(self) -> bool:
        """Whether something would be lost now."""
        return self._changes != self._saved

    @property
    def saving(self) -> bool:
        """Whether a save is under way."""
        return self._job is not None

    @property
    def state(self) -> State:
        """How things are."""
        if self._job is not None:
            return State.SAVING
        if isinstance(self.error, ProjectConflictError):
            return State.CONFLICT
        if self.error is not None:
            return State.FAILED
        if self.unsaved:
            return State.CHANGED
        return State.NONE if self.project is None else State.SAVED

    @property
    def view_moved(self) -> bool:
        """Whether another part of the clip is on screen than the project says."""
        return self.project is not None and self._snapshot().view != self._view

    def _tell(self) -> None:
        saved_at = self.project.saved_at if self.project is not None else None
        now = (self.state, saved_at, self.error, self.unsaved)
        if now != self._told:
            self._told = now
            self.changed.emit()

    # -- clips --------------------------------------------------------------------------------

    def begin(
        self,
        project: Project | None,
        clip_hash: str = "",
        trouble: MocaError | None = None,
        view: View | None = None,
    ) -> None:
        """Go on with the project of another clip.

        Parameters
        ----------
        trouble : why the project that the clip has must not be saved over.
        view : what the project says was on screen.
        """
        self._timer.stop()
        self._job = None  # what was discarded may still be written, to where it belongs
        self._again, self._next = False, None
        self.project, self.error, self.trouble = project, trouble, trouble
        self._hash, self._view, self._since = clip_hash, view, None
        self._changes = self._saved = 0
        self.discarded = False
        self._tell()

    def touch(self) -> None:
        """Something was changed that the project keeps."""
        self._changes += 1
        self._schedule()
        self._tell()

    def discard(self) -> None:
        """Let go of what isn't saved; the disk keeps what it has."""
        self._timer.stop()
        self.discarded = self.unsaved
        self._saved = self._changes

    def keep(self) -> None:
        """What was let go of stays in the window, as nothing came in its place."""
        if self.discarded:
            self.discarded = False
            self.touch()

    # -- saving -------------------------------------------------------------------------------

    def _schedule(self, after_s: float | None = None) -> None:
        paused = self.trouble is not None or isinstance(self.error, ProjectConflictError)
        if not self.unsaved or self._job is not None or paused:
            return
        if not self._settings.get("autosave"):
            self._timer.stop()
            return
        now = time.monotonic()
        if self._since is None:
            self._since = now
        if after_s is None:
            after_s = self._settings.get("autosave_after_s")
        due_s = (
            min(after_s, max(self._since + MOST_S - now, 0.0)) if self.error is None else after_s
        )
        self._timer.start(round(1000 * due_s))

    def save(self, force: bool = False) -> None:
        """Save now, or again after the save that is under way; `settled` tells the end."""
        if self._job is not None:
            self._again = True
            return
        if self.trouble is not None:
            self.settled.emit(False)
            return
        project, clip = self.project, self._snapshot().clip.path
        folder = self._settings.get("projects_folder")
        if project is not None:
            self._start(partial(_save, project), force)
        else:
            self._start(partial(_save_new, clip, Path(folder) if folder else None), force)

    def save_as(self, path: Path) -> None:
        """Save under another name, and go on with that."""
        if self._job is not None:
            self._next = path
            return
        here = self.project
        project = here if here is not None and here.path == path else Project(path)
        self._start(partial(_save, project), force=True)

    def _start(self, work: Callable[..., Iterator[Any]], force: bool) -> None:
        self._timer.stop()
        snapshot = self._snapshot()
        if self._hash:
            snapshot = replace(snapshot, clip=replace(snapshot.clip, hash=self._hash))
        self._saving, self._since = self._changes, None
        found: list[Project] = []

        def on_event(event: Any) -> None:
            if isinstance(event, _Hashed):
                self._hash = event.clip_hash
            elif isinstance(event, Project):
                found[:] = [event]

        def on_finished(job: Job) -> None:
            if job is self._job:
                self._job = None
                self._end(job, found[0] if found else None, snapshot.view)

        make = partial(_with_hash, snapshot, partial(work, force=force))
        self._job = self._pool.start("saving", make, on_event=on_event, on_finished=on_finished)
        self._tell()

    def _end(self, job: Job, project: Project | None, view: View) -> None:
        if job.state is JobState.DONE and project is not None:
            self.project, self.error, self.trouble = project, None, None
            self.saves += 1
            self._saved, self._view = self._saving, view
            again, self._again = self._again and self.unsaved, False
            if again and self._next is None:
                self.save()
            self._schedule()
        else:
            self.error, self._again = _as_moca(job.error), False
            if self.project is None and _is_read_only(job.error):
                self.refused.emit()
            elif not isinstance(job.error, ProjectVersionError):
                self._schedule(RETRY_S)
        path, self._next = self._next, None
        if path is not None:
            self._again = False
            self.save_as(path)
            return
        self._tell()
        self.settled.emit(self.error is None)


# -- in the job ----------------------------------------------------------------------------------


def _with_hash(snapshot: Snapshot, save: Callable[[Snapshot], Iterator[Any]]) -> Iterator[Any]:
    """Save a snapshot, once it is known which clip it is of."""
    if not snapshot.clip.hash:
        from moca_core.media.probe import clip_hash  # slow to import

        found = clip_hash(snapshot.clip.path)
        yield _Hashed(found)
        snapshot = replace(snapshot, clip=replace(snapshot.clip, hash=found))
    yield from save(snapshot)


def _save(project: Project, snapshot: Snapshot, force: bool) -> Iterator[Any]:
    yield from project.save(snapshot, force)
    yield project


def _save_new(clip: Path, folder: Path | None, snapshot: Snapshot, force: bool) -> Iterator[Any]:
    """Begin a project beside the clip or, where nothing can be written there, in `folder`."""
    try:
        yield from _save(Project(project_path(clip)), snapshot, force)
    except StorageError as error:
        if folder is None or not _is_read_only(error):
            raise
        yield from _save(Project(place_in(folder, clip)), snapshot, force)


# -- words ---------------------------------------------------------------------------------------

_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)
_REASONS = {
    errno.ENOSPC: "disk full",
    errno.EDQUOT: "no space left for you",
    **dict.fromkeys(_READ_ONLY, "the folder is read-only"),
}


def reason(error: MocaError) -> str:
    """Why a save failed, in a few words."""
    cause = _cause(error)
    if isinstance(error, ProjectVersionError):
        return "a newer program saved it"
    if cause is None:
        return error.message
    return _REASONS.get(cause.errno or 0) or (cause.strerror or str(cause)).lower()


def _is_read_only(error: BaseException | None) -> bool:
    cause = _cause(error)
    return cause is not None and cause.errno in _READ_ONLY


def _cause(error: BaseException | None) -> OSError | None:
    """What the system said."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__
    return error


def _as_moca(error: BaseException | None) -> MocaError:
    if isinstance(error, MocaError):
        return error
    return StorageError(f"{type(error).__name__}: {error}", "Save under another name.")
