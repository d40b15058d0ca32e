"""The rest of a long clip's frames, found beside the window while its beginning is on screen."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

from moca_gui.jobs import Job, JobPool, JobState
from moca_gui.session import Clip, Session

if TYPE_CHECKING:
    from moca_core.media.index import FrameIndex


class Indexing(QObject):
    """Goes on where the opening of a clip left off; the session's clip grows at the end."""

    progressed = Signal(object)  # share of the file that was read, 0 to 1; None: nothing to do
    renumbered = Signal(object)  # path of a clip whose first frames were counted wrongly

    def __init__(self, session: Session, pool: JobPool, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._pool = pool
        self._job: Job | None = None
        session.clip_changed.connect(self._begin)

    def _begin(self) -> None:
        if self._job is not None:
            self._job.cancel()
            self._job = None
        clip = self._session.clip
        if clip is None or clip.indexed:
            return
        self._job = self._pool.start(
            "index",
            clip.reader.rest,
            on_event=partial(self._take, clip),
            on_finished=partial(self._on_finished, clip),
        )

    def _take(self, clip: Clip, found: float | FrameIndex) -> None:
        if clip is not self._session.clip:
            return  # of the clip before
        if isinstance(found, float):
            self.progressed.emit(found)
        else:
            self._session.grow_clip(found)

    def _on_finished(self, clip: Clip, job: Job) -> None:
        if job is not self._job:
            return
        self._job = None
        self.progressed.emit(None)
        if job.state is not JobState.FAILED:
            return
        from moca_core.media.video import RenumberedError  # slow to import

        self._session.note(f"The rest of the clip isn't known: {job.error}")
        if isinstance(job.error, RenumberedError):
            self.renumbered.emit(clip.path)
