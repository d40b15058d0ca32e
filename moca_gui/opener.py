"""Opening a clip beside the window: the old clip stays until the new one is ready.

A clip opens with the project that lies beside it, and a project opens with its clip.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

from moca_gui.jobs import Job, JobPool, JobState
from moca_gui.projects.reading import OpenedClip, OpenReader, Wanted, load

if TYPE_CHECKING:
    from moca_core.media.video import VideoReader


class _Request:
    """One clip being opened: owns the reader until the window takes it.

    The thread that opens and the window that changes its mind meet here, so that exactly one of
    them closes a reader which nobody wants any more.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: OpenedClip | None = None
        self._given_up = False

    def offer(self, found: OpenedClip) -> None:
        """Hand over what was opened; closes it if it isn't wanted any more."""
        with self._lock:
            if not self._given_up:
                self._found = found
                return
        found.clip.reader.close()

    def take(self) -> OpenedClip | None:
        """What was opened, which belongs to the caller from then on."""
        with self._lock:
            found, self._found = self._found, None
            return found

    def give_up(self) -> None:
        """Close what was opened, or what will be."""
        with self._lock:
            self._given_up = True
        found = self.take()
        if found is not None:
            found.clip.reader.close()


class Opener(QObject):
    """Opens clips one at a time; a later request replaces an earlier one."""

    opened = Signal(object)
    failed = Signal(object, object)  # what was wanted, error

    def __init__(
        self,
        pool: JobPool,
        open_reader: OpenReader,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._pool = pool
        self._open_reader = open_reader
        self._job: Job | None = None
        self._request = _Request()

    def open(self, wanted: Wanted) -> None:
        """Begin to open a clip or a project; `opened` or `failed` tells the end."""
        self.cancel()
        request = self._request = _Request()

        def work() -> Iterator[None]:
            for event in load(wanted, self._open_reader):
                if isinstance(event, OpenedClip):
                    request.offer(event)
                yield

        on_finished = partial(self._on_finished, wanted, request)
        self._job = self._pool.start(f"open {wanted.path.name}", work, on_finished=on_finished)

    def cancel(self) -> None:
        """Give up what is being opened."""
        if self._job is not None:
            self._job.cancel()
            self._request.give_up()
            self._job = None

    def _on_finished(self, wanted: Wanted, request: _Request, job: Job) -> None:
        if job is not self._job:
            return  # replaced by a later request
        self._job = None
        found = request.take()
        if job.state is JobState.FAILED and job.error is not None:
            self.failed.emit(wanted, job.error)
        elif found is not None:
            self.opened.emit(found)


def open_video(path: Path, patience_s: float = math.inf) -> VideoReader:
    """The real reader, with decode-ahead for playback."""
    from moca_core.media.video import VideoReader

    return VideoReader(path, decode_ahead=True, patience_s=patience_s)
