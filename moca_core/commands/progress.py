"""Progress of a long command on stderr: a line that is redrawn, or now and then a plain line."""

from __future__ import annotations

import os
import sys
import time
import unicodedata
from collections import deque
from collections.abc import Callable
from typing import TextIO

BYTES = "bytes"
"""Unit of `ProgressPrinter.update` that is shown in megabytes."""
_REDRAW_S = 0.1
_LINE_S = 10.0
_STEP_S = 1.0
"""Plain lines: one after ten seconds, or after a tenth of the work, but none within a second."""
_BAR_CELLS = 24


class ProgressPrinter:
    """Shows how far a job has come.

    A terminal gets a bar with the rate and the time that is left, always in its last line. A file
    or a pipe gets a plain line now and then. Notes are shown in both cases, and with `quiet` too.

    Parameters
    ----------
    quiet : show notes only.
    stream : where to (stderr).
    now : clock in seconds.
    """

    def __init__(
        self,
        quiet: bool,
        stream: TextIO | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._quiet = quiet
        self._stream = sys.stderr if stream is None else stream
        self._now = now
        self._terminal = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._pace = _Pace()
        self._line = ""  # what the terminal's last line shows
        self._last_s: float | None = None  # when something was last written
        self._tenth = 0

    def update(self, title: str, done: int, total: int, unit: str) -> None:
        """The job `title` has done `done` of `total` (0: unknown) `unit`; cheap to call often."""
        moment = self._now()
        if self._pace.add(moment, done, total):
            self._tenth = 0
        if self._quiet or not self._is_due(moment, done, total, unit):
            return
        self._last_s = moment
        text = _text(self._pace, title, done, total, unit)
        if self._terminal:
            self._redraw(_fit(title, text, _share(done, total), _columns(self._stream)))
        else:
            self._tenth = _tenth(done, total)
            self._write(f"{_printable(title)}: {text}\n" if text else f"{_printable(title)}\n")

    def note(self, text: str) -> None:
        """Something the user should know, on a line that stays."""
        line = self._line
        self._redraw("")
        self._write(_printable(text) + "\n")
        self._redraw(line)

    def finish(self) -> None:
        """Take the bar away: what follows starts on a clean line. The next job starts anew."""
        self._redraw("")
        self._pace = _Pace()
        self._last_s, self._tenth = None, 0

    def _is_due(self, moment: float, done: int, total: int, unit: str) -> bool:
        if self._last_s is None:
            return True
        since = moment - self._last_s
        # A stage at the end of its steps isn't the end of the job; a unit marks what is counted.
        ended = bool(unit) and 0 < total == done
        if self._terminal:
            return ended or since >= _REDRAW_S
        further = _tenth(done, total) > self._tenth
        return ended or since >= _LINE_S or (further and since >= _STEP_S)

    def _redraw(self, line: str) -> None:
        if line == self._line:
            return
        # Spaces over what was longer: it works where escape sequences don't.
        rest = max(0, _cells(self._line) - _cells(line))
        self._line = line
        self._write("\r" + line + " " * rest + ("" if line else "\r"))

    def _write(self, text: str) -> None:
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        self._stream.write(text.encode(encoding, "replace").decode(encoding))
        self._stream.flush()


class _Pace:
    """Rate of a job over the later half of its time so far.

    Frames come in bursts, one a key frame, which a short window would show as leaps; and a job's
    first frames may have been stored, which the whole time would take for a promise.
    """

    def __init__(self) -> None:
        self._total = -1
        self._begin_s = 0.0
        self._moment = 0.0
        self._done = 0
        self._seen: deque[tuple[float, int]] = deque()

    def add(self, moment: float, done: int, total: int) -> bool:
        """Note how far the job is; returns whether another job began."""
        fresh = total != self._total or done < self._done
        if fresh:
            self._total, self._begin_s = total, moment
            self._seen.clear()
        self._moment = moment
        elapsed = moment - self._begin_s
        # The spacing grows with the time, so that their number doesn't.
        apart = max(_REDRAW_S, elapsed / 200)
        if not self._seen or moment - self._seen[-1][0] >= apart:
            self._seen.append((moment, done))
        self._done = done
        while len(self._seen) > 1 and self._seen[1][0] <= self._begin_s + elapsed / 2:
            self._seen.popleft()
        return fresh

    @property
    def per_s(self) -> float:
        """Steps a second, 0 while it isn't known."""
        begin_s, first = self._seen[0]
        # A first moment says little, and what it says changes by the second.
        if self._moment - begin_s < _STEP_S:
            return 0.0
        return (self._done - first) / (self._moment - begin_s)


def _text(pace: _Pace, title: str, done: int, total: int, unit: str) -> str:
    """`37/300 frames, 12.3/s, 0:21 left`; "" where nothing is counted."""
    if total <= 0:
        return ""
    rate = pace.per_s
    parts = [_amount(done, total, unit)]
    if rate and done < total and unit:
        parts.append(f"{rate / 1e6:.1f} MB/s" if unit == BYTES else _rate(rate))
    if rate and done < total:
        parts.append(f"{_duration((total - done) / rate)} left")
    return ", ".join(parts)


def _amount(done: int, total: int, unit: str) -> str:
    if unit == BYTES:
        return f"{done / 1e6:.1f}/{total / 1e6:.1f} MB"
    return f"{done}/{total} {unit}".rstrip()


def _rate(per_s: float) -> str:
    return f"{per_s:.1f}/s" if per_s >= 1 else f"{1 / per_s:.1f} s each"


def _duration(seconds: float) -> str:
    """`0:21`, `1:02:03`."""
    whole = round(seconds)
    minutes = f"{whole // 60 % 60:02d}:{whole % 60:02d}"
    return f"{whole // 3600}:{minutes}" if whole >= 3600 else minutes.removeprefix("0")


def _share(done: int, total: int) -> float | None:
    return min(max(done / total, 0.0), 1.0) if total > 0 else None


def _tenth(done: int, total: int) -> int:
    return 10 * done // total if total > 0 else 0


def _fit(title: str, text: str, share: float | None, columns: int) -> str:
    """Title, bar and text in at most `columns` cells; the bar gives way first, then the title."""
    title = _printable(title)
    # Terminals wrap a line that fills the last cell.
    room = columns - 1
    bar = "" if share is None else _bar(share, _BAR_CELLS)
    for parts in ((title, bar, text), (title, text)):
        line = "  ".join(part for part in parts if part)
        if _cells(line) <= room:
            return line
    left = room - _cells(text) - 2 if text else room
    if left < 8:
        return _cut(text or title, room)
    short = _cut(title, left)
    return f"{short}  {text}" if text else short


def _bar(share: float, cells: int) -> str:
    full = round(share * cells)
    return f"[{'#' * full}{'-' * (cells - full)}]"


def _cut(words: str, room: int) -> str:
    """`words` in at most `room` cells, the end cut off."""
    if _cells(words) <= room:
        return words
    while words and _cells(words) > max(room - 3, 0):
        words = words[:-1]
    return (words + "...")[: max(room, 0)]


def _cells(words: str) -> int:
    """Width on a terminal: some letters take two cells, accents that are added take none."""
    return sum(
        0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in "WF")
        for letter in words
    )


def _printable(words: str) -> str:
    """A file's name may hold line breaks and escape sequences, which would move the cursor."""
    return "".join(
        "?" if unicodedata.category(letter) in ("Cc", "Cs") else letter for letter in words
    )


def _columns(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80
