"""Which two frames are compared: the left one is of the open clip, the right one of any file."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject, Signal

from moca_gui.matching.pictures import Pick
from moca_gui.session import Session

LEFT, RIGHT = 0, 1
_LATER_S = 1.0


class FramePair(QObject):
    """The choice of two frames.

    Signals: `changed(side)` when the frame of a side did, `followed(bool)` when the left one
    follows the playhead or doesn't any more, and `replaced` when another clip is open, or none.
    """

    changed = Signal(int)
    followed = Signal(bool)
    replaced = Signal()

    def __init__(self, session: Session, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._picks: list[Pick | None] = [None, None]
        self.following = False
        session.clip_changed.connect(self.take_clip)
        session.frame_changed.connect(self._on_frame)

    @property
    def left(self) -> Pick | None:
        """The left frame; None without a clip."""
        return self._picks[LEFT]

    @property
    def right(self) -> Pick | None:
        """The right frame."""
        return self._picks[RIGHT]

    def take_clip(self) -> None:
        """Begin with the frame on screen; of another file the right frame stays."""
        old, right = self.left, self.right
        self._picks[LEFT] = self._on_screen()
        if right is None or (old is not None and right.path == old.path):
            self._picks[RIGHT] = self._later()
        self.replaced.emit()

    def _on_screen(self) -> Pick | None:
        """The frame of the main window."""
        clip = self._session.clip
        if clip is None:
            return None
        return Pick(clip.path, self._session.frame, self._session.image)

    def _later(self) -> Pick | None:
        """A second after the frame on screen, or before it at the end of the clip."""
        clip, frame = self._session.clip, self._session.frame
        if clip is None:
            return None
        now = clip.time_of(frame)
        found = clip.index_at(now + _LATER_S)
        if found == frame or now + _LATER_S > clip.duration_s:
            found = clip.index_at(max(now - _LATER_S, 0.0))
        return Pick(clip.path, found)

    def _on_frame(self) -> None:
        if self.following:
            self.take_current()

    def set_following(self, following: bool) -> None:
        """Let the left frame be the one on screen from now on, or leave it as it is."""
        if following != self.following:
            self.following = following
            self.followed.emit(following)
            if following:
                self.take_current()

    def take_current(self) -> None:
        """Take the frame on screen as the left one."""
        self._take(LEFT, self._on_screen())

    def take_own(self) -> None:
        """Take a frame of the open clip as the right one."""
        self._take(RIGHT, self._later())

    def take(self, pick: Pick) -> None:
        """Take a frame of any file as the right one."""
        self._take(RIGHT, pick)

    def take_file(self, path: Path) -> None:
        """Take a picture, or the first frame of a clip, as the right one."""
        self._take(RIGHT, Pick(path))

    def move(self, side: int, position: int | float) -> None:
        """Take another frame of the same file."""
        old = self._picks[side]
        if old is not None:
            if side == LEFT:
                self.set_following(False)
            self._take(side, Pick(old.path, position))

    def _take(self, side: int, pick: Pick | None) -> None:
        if pick is not None and pick != self._picks[side]:
            self._picks[side] = pick
            self.changed.emit(side)
