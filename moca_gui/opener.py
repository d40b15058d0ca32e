"""Opening a clip beside the window: the old clip stays until the new one is ready."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QImage

from moca_gui.frames import to_image
from moca_gui.jobs import Job, JobPool, JobState
from moca_gui.session import Clip

if TYPE_CHECKING:
    from moca_core.media.video import VideoReader


@dataclass(frozen=True, eq=False)
class OpenedClip:
    """A clip whose first frame could be decoded."""

    clip: Clip
    first: QImage


class Opener(QObject):
    """Opens clips one at a time; a later request replaces an earlier one."""

    opened = Signal(object)
    failed = Signal(object, object)  # path, error

    def __init__(
        self,
        pool: JobPool,
        open_reader: Callable[[Path], VideoReader],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._pool = pool
        self._open_reader = open_reader
        self._job: Job | None = None
        self._found: OpenedClip | None = None

    def open(self, path: Path) -> None:
        """Begin to open `path`; `opened` or `failed` tells the end."""
        self.cancel()
        path = path.expanduser().absolute()
        self._job = self._pool.start(
            f"open {path.name}",
            partial(open_clip, path, self._open_reader),
            on_event=self._take,
            on_finished=partial(self._on_finished, path),
        )

    def cancel(self) -> None:
        """Give up what is being opened."""
        if self._job is not None:
            self._job.cancel()
            self._job = None

    def _take(self, found: OpenedClip) -> None:
        self._found = found

    def _on_finished(self, path: Path, job: Job) -> None:
        found, self._found = self._found, None
        if job is not self._job:
            # Replaced by a later request.
            if found is not None:
                found.clip.reader.close()
            return
        self._job = None
        if job.state is JobState.FAILED and job.error is not None:
            self.failed.emit(path, job.error)
        elif found is not None:
            self.opened.emit(found)


def open_video(path: Path) -> VideoReader:
    """The real reader, with decode-ahead for playback."""
    from moca_core.media.video import VideoReader

    return VideoReader(path, decode_ahead=True)


def open_clip(path: Path, open_reader: Callable[[Path], VideoReader]) -> Iterator[OpenedClip]:
    """Open a clip and decode its first frame; raises `MediaError`."""
    reader = open_reader(path)
    try:
        first = to_image(reader.frame(0))
    except BaseException:
        reader.close()
        raise
    yield OpenedClip(Clip(path, reader), first)
