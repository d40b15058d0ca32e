"""How long a run still takes."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pace:
    """Estimates the end of a run from the moments at which its key frames came.

    Frames between key frames come in bursts, after the encoders have run on the next key frame, so
    a rate over single frames would jump up and down. Between two key frames the estimate counts
    down. What came before the first one (loading the models) and what came from disk doesn't count.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: tuple[float, int] | None = None  # (moment, frames done) of the first key frame
        self._end: float | None = None

    def note(self, done: int, total: int, *, key: bool, stored: bool) -> None:
        """A frame is finished, as number `done` of `total`."""
        if not key and not stored:
            return
        now = self._clock()
        if stored or self._since is None:
            self._since, self._end = (now, done), None
            return
        began, first = self._since
        if done > first:
            self._end = now + (now - began) / (done - first) * (total - done)

    def left_s(self) -> float | None:
        """Seconds that are left, None before that can be told."""
        return None if self._end is None else max(self._end - self._clock(), 0.0)
