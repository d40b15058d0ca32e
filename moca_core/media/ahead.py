"""Decoding ahead of the play head, in a thread of its own."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import av

from moca_core.errors import MediaError
from moca_core.media.decoder import Decoder
from moca_core.types import RgbImage

if TYPE_CHECKING:
    from moca_core.media.video import VideoReader


class FramePrefetcher:
    """Decodes ahead of the play head into the reader's cache, in one thread.

    It keeps up to half of what the cache holds ready, and rests until the play head moves.
    """

    def __init__(self, reader: VideoReader, frames_ahead: int = 48) -> None:
        self._reader = reader
        self._limit = frames_ahead
        self._turn = threading.Lock()  # one caller waits at a time
        self._changed = threading.Condition()
        self._head: int | None = None
        self._wanted: int | None = None
        self._found: tuple[int, av.VideoFrame | MediaError] | None = None
        self._stopped = False
        self._thread: threading.Thread | None = None

    def start(self, index: int) -> None:
        """Begin to decode from frame `index` on."""
        with self._changed:
            self._head = index
            if self._thread is None and not self._stopped:
                self._thread = threading.Thread(target=self._run, name="decode-ahead", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def request(self, index: int) -> RgbImage | None:
        """Move the play head to `index`; its frame if it is ready, else None at once."""
        held = self._reader._cache.get(index)
        self.start(index)
        return None if held is None else self._reader.to_rgb(held)

    def wait_for(self, index: int) -> av.VideoFrame:
        """Move the play head to `index` and wait for its frame; raises `MediaError`."""
        held = self._reader._cache.get(index)
        if held is not None:
            self.start(index)
            return held
        with self._turn:
            return self._wait(index)

    def _wait(self, index: int) -> av.VideoFrame:
        with self._changed:
            self._wanted, self._found = index, None
        self.start(index)
        with self._changed:
            self._changed.wait_for(
                lambda: self._stopped or (self._found is not None and self._found[0] == index)
            )
            if self._found is None or self._found[0] != index:
                raise MediaError(f"{self._reader.info.path.name}: the clip is closed")
            outcome, self._found = self._found[1], None
        if isinstance(outcome, MediaError):
            raise outcome
        return outcome

    def stop(self) -> None:
        """End the thread and wait for its end. May be called twice."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        decoder = Decoder(self._reader.info.path, self._reader._index)
        try:
            while (goal := self._next_goal()) is not None:
                if decoder.index is not self._reader._index:
                    decoder.close()
                    decoder = Decoder(self._reader.info.path, self._reader._index)
                self._decode_to(decoder, goal)
        finally:
            decoder.close()

    def _next_goal(self) -> int | None:
        """Wait for a frame that is worth decoding; None at the end."""
        with self._changed:
            while not self._stopped:
                if self._wanted is not None:
                    return self._wanted
                if self._head is not None:
                    stop = min(self._head + self._reach(), self._reader.info.frame_count)
                    for index in range(self._head, stop):
                        if index not in self._reader._cache:
                            return index
                self._changed.wait()
            return None

    def _reach(self) -> int:
        cache = self._reader._cache
        each = cache.used_bytes / max(len(cache), 1)
        return max(1, min(self._limit, int(cache.limit_bytes / 2 / max(each, 1))))

    def _decode_to(self, decoder: Decoder, goal: int) -> None:
        try:
            for found, frame in decoder.walk_to(goal):
                self._reader._cache.put(found, frame)
                with self._changed:
                    if found == self._wanted:
                        self._deliver(found, frame)
                    if self._stopped or self._wanted not in (None, goal):
                        return
                if found == goal:
                    return
            error = cant_decode(self._reader.info.path, goal)
        except MediaError as failure:
            error = failure
        with self._changed:
            if self._wanted == goal:
                self._deliver(goal, error)
            else:
                # Nothing to decode ahead of here until the play head moves.
                self._head = None

    def _deliver(self, index: int, outcome: av.VideoFrame | MediaError) -> None:
        self._wanted, self._found = None, (index, outcome)
        self._changed.notify_all()


def cant_decode(path: Path, index: int) -> MediaError:
    """What to say of a frame that can't be decoded."""
    return MediaError(
        f"{path.name}: frame {index} can't be decoded",
        "The file may be damaged or have changed since it was opened; open it again.",
    )
