"""What long commands share: Ctrl-C that waits for the next yield, and progress of the events."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterable
from types import FrameType
from typing import Any

from moca_core.errors import StorageError
from moca_core.types import NoteEvent, ReportEvent, StageEvent

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Also with the one by which `torchrun` ends a process when another has failed."""
_STOPPING = b"\nStopping at the end of this step; Ctrl-C again stops at once.\n"


class StopRequest:
    """While entered, the first Ctrl-C sets `asked`, and the second ends the command at once.

    On a terminal the first is answered: a step of large encoders may take half a minute on a CPU.

    Parameters
    ----------
    signals : what asks to stop.
    """

    def __init__(self, *signals: signal.Signals) -> None:
        self.asked = False
        self._signals = signals or (signal.SIGINT,)
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        # Only the main thread may set handlers; elsewhere nobody presses Ctrl-C.
        if threading.current_thread() is threading.main_thread():
            for number in self._signals:
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *raised: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        if sys.stderr is not None and sys.stderr.isatty():
            # Past Python's buffer, in which somebody may be writing at this moment.
            os.write(sys.stderr.fileno(), _STOPPING)


def show(printer: Any, title: str, event: object) -> None:
    """Hand a `StageEvent` or `NoteEvent` of the job `title` to a `ProgressPrinter`."""
    if isinstance(event, StageEvent):
        printer.update(f"{title}: {event.stage}", event.done, event.total, "")
    elif isinstance(event, NoteEvent):
        printer.note(f"{title}: {event.message}")


class Scoring:
    """What scoring commands do with their events: show how far the job is, and keep its report.

    Attributes
    ----------
    report : the result; None before the end.
    done, total : pieces of work that are done, of how many.
    """

    def __init__(self, printer: Any, title: str, unit: str) -> None:
        self.report: dict[str, Any] | None = None
        self.done = self.total = 0
        self._printer, self._title, self._unit = printer, title, unit

    def follow(self, events: Iterable[Any], stop: StopRequest) -> None:
        """Take the events to their end, or to the first one at which a stop is asked for.

        Events that are neither a stage, a note nor the report say that a piece is done.
        """
        for event in events:
            if isinstance(event, ReportEvent):
                self.report = event.report
            elif isinstance(event, StageEvent | NoteEvent):
                show(self._printer, self._title, event)
            else:
                self.done, self.total = event.done, event.total
                self._printer.update(self._title, self.done, self.total, self._unit)
            if stop.asked:
                break


def say(line: str, quiet: bool = False) -> None:
    """Write a line of results to stdout, unless `quiet`; raises `StorageError` on a full device."""
    # A process started with its stdout closed has none.
    if quiet or sys.stdout is None:
        return
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        # What is left in the buffer must not fail again when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise StorageError(
            f"stdout: can't be written ({error.strerror or error})",
            "Check the free space where the output goes.",
        ) from error


def warn(line: str) -> None:
    """Write a line to stderr, if there is one."""
    if sys.stderr is None:
        return
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
