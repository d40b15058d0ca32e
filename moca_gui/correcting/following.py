"""Objects of the frame on screen followed along the clip, as one correction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from PySide6.QtCore import QObject

from moca_core.annotations.edits import with_mask
from moca_core.annotations.model import FOLLOWED, PackedResult
from moca_core.annotations.propagating import (
    LOST,
    Followed,
    Stopped,
    Way,
    follow,
    frames_spoken,
)
from moca_core.types import StageEvent
from moca_gui.correcting.work import EditWork, Part
from moca_gui.projects.reading import PATIENCE_S
from moca_gui.session import Session
from moca_gui.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Generator

    from PySide6.QtGui import QAction

    from moca_core.media.video import VideoReader

FORWARD, BACKWARD, RANGE = "forward", "backward", "through the range"


class Following(QObject):
    """Follows the selected object, or all of the frame if none is selected.

    Parameters
    ----------
    work : runs the job and applies what it made.
    open_pictures : opens a clip for the job, beside the player's.
    actions : of the window; one is checked while silent frames get masks, too.
    """

    def __init__(
        self,
        session: Session,
        settings: Settings,
        work: EditWork,
        open_pictures: Callable[[Path], VideoReader],
        actions: dict[str, QAction],
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._session, self._settings, self._work = session, settings, work
        self._open_pictures = open_pictures
        actions["follow_silent"].setChecked(settings.get("follow_silent"))

    def set_in_silence(self, wanted: bool) -> None:
        """Give masks to frames without a sound, too."""
        self._settings.set("follow_silent", wanted)

    def start(self, where: str) -> None:
        """Follow forward or backward, inside the range if the frame lies there; or through it."""
        session = self._session
        source = session.result
        if session.clip is None:
            return
        if source is None or not source.objects:
            session.note("There is no object in this frame to follow. Draw one, or go to another.")
            return
        numbers = [item.number for item in source.objects]
        if session.selected is not None:
            if session.selected not in numbers:
                session.note(f"Object {session.selected} isn't in this frame. Select another.")
                return
            numbers = [session.selected]
        spans = self._spans(where)
        if not any(spans):
            session.note(self._why_nowhere(where))
            return
        ways = [self._way(source, numbers, span) for span in spans if span]
        title = f"follow {', '.join(map(str, numbers))} {where}"
        path = session.clip.path
        self._work.start(title, partial(self._parts, path, ways), _put_again, keep=True)

    def _spans(self, where: str) -> tuple[range, range]:
        """The frames to reach, backwards and forwards."""
        session = self._session
        assert session.clip is not None
        frame, chosen = session.frame, session.range
        inside = chosen is not None and chosen[0] <= frame <= chosen[1]
        if where == RANGE and not inside:
            return range(0), range(0)
        first, last = 0, session.clip.frame_count - 1
        if chosen is not None and inside:
            first, last = chosen
        back = range(frame - 1, first - 1, -1) if where != FORWARD else range(0)
        ahead = range(frame + 1, last + 1) if where != BACKWARD else range(0)
        return back, ahead

    def _why_nowhere(self, where: str) -> str:
        if where != RANGE:
            return f"There is no frame to follow {where} to."
        if self._session.range is None:
            return "No range is chosen. Set its ends with [ and ]."
        return "This frame is not in the range. Go to one inside it."

    def _way(self, source: PackedResult, numbers: Sequence[int], span: range) -> Way:
        """What the job needs to know, as it is now."""
        session = self._session
        there = np.flatnonzero(session.states).tolist()
        shown = {
            frame: item
            for frame in there
            if frame in span and (item := session.shown(frame)) is not None
        }
        corrected = {frame: item for frame, item in shown.items() if item.corrected}
        found = {
            frame: item for frame in corrected if (item := session.results.get(frame)) is not None
        }
        spoken = {number: frames_spoken(corrected, found, number) for number in numbers}
        in_silence = self._settings.get("follow_silent")
        return Way(source, numbers, span, shown, spoken, in_silence)

    def _parts(self, path: Path, ways: Sequence[Way]) -> Iterator[Part]:
        """The job: the frames of all ways; what stopped an object is told at the end."""
        reader = self._open_pictures(path)
        done = 0
        total = sum(len(way.frames) for way in ways)
        silent: list[int] = []
        try:
            yield from _find_all_frames(reader)
            for way in ways:
                events = cast("Generator[StageEvent | Followed | Stopped]", follow(reader, way))
                with closing(events):
                    for event in events:
                        if isinstance(event, Followed):
                            if event.silent:
                                silent.append(event.frame)
                            yield _part(way, event, done + event.done, total)
                        elif isinstance(event, Stopped):
                            yield Part({}, {}, done, total, _told(event))
                        else:
                            yield Part({}, {}, done, total)
                done += len(way.frames)
            if silent:
                yield Part({}, {}, total, total, _silent(silent))
        finally:
            reader.close()


def open_pictures(path: Path) -> VideoReader:
    """The real reader; of a long clip it knows the first frames only."""
    from moca_core.media.video import VideoReader

    return VideoReader(path, patience_s=PATIENCE_S)


def _find_all_frames(reader: VideoReader) -> Iterator[Part]:
    """Let the reader of a long clip know all its frames, with places to stop."""
    if reader.indexed:
        return
    for found in reader.rest():
        if not isinstance(found, float):
            reader.grow(found)
        yield Part({}, {}, 0, 0)


def _part(way: Way, event: Followed, done: int, total: int) -> Part:
    if event.result is None:
        return Part({}, {}, done, total)
    shown = way.shown.get(event.frame)
    before = {} if shown is None else {event.frame: shown}
    return Part(before, {event.frame: event.result}, done, total)


def _told(stopped: Stopped) -> str:
    if stopped.why == LOST:
        return f"Object {stopped.number} was lost at frame {stopped.frame}."
    return f"Object {stopped.number} ends before frame {stopped.frame}, which a person corrected."


def _silent(frames: Sequence[int]) -> str:
    count = f"{len(frames)} silent frame" + ("s were" if len(frames) > 1 else " was")
    return f"{count} left empty (Edit > Follow > In silent frames, too)."


def _put_again(now: PackedResult, made: PackedResult) -> PackedResult:
    """What was followed, over what the program has found meanwhile; a person's word stands."""
    if now.corrected:
        return now
    for item in made.objects:
        if item.origin == FOLLOWED:
            now = with_mask(now, item, item.mask(made.size), FOLLOWED)
    return now
