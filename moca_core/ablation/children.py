"""The processes of a sweep: started, watched through the files that they write, and ended.

Nothing here waits, and there is no thread: who calls `poll` now and then hears all that happened.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from moca_core.ablation.tasks import Task, TaskEvent
from moca_core.ablation.worker import THREADS, as_text, from_line
from moca_core.cli import DONE, STOPPED
from moca_core.errors import MocaError

CARDS = "CUDA_VISIBLE_DEVICES"
WORKER: tuple[str, ...] = (sys.executable, "-m", "moca_core.ablation.worker")
_LEAVE_S = 60.0
"""How long a process that is asked to stop may take for the step that is under way."""
_THREADS = (THREADS, "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Ended:
    """A process has ended: `complete`, or stopped, or with an `error`."""

    task: Task
    complete: bool
    error: MocaError | None


@dataclass(eq=False)
class _Child:
    task: Task
    process: subprocess.Popen[bytes]
    events: Path
    log: Path
    card: str
    error: MocaError | None = None
    read: int = 0
    rest: bytes = field(default=b"")


class Children:
    """At most `jobs` processes at a time.

    Parameters
    ----------
    folder : of the sweep.
    work : folder for what the processes say; it is there.
    threads : of each process.
    cards : names of GPUs, of which each process sees the one that fewest use; none: all of them.
    """

    def __init__(self, folder: Path, work: Path, threads: int, cards: tuple[str, ...] = ()) -> None:
        self._folder, self._work, self._threads = folder, work, threads
        self._cards = cards
        self._running: list[_Child] = []

    def __len__(self) -> int:
        return len(self._running)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        """Leave none behind."""
        for child in self._running:
            _signal(child.process, kill=True)
            child.process.wait()
        self._running.clear()

    def start(self, task: Task) -> None:
        """Begin a task in a process of its own."""
        events, log = (self._work / f"{task.name}.{end}" for end in ("jsonl", "log"))
        events.write_bytes(b"")
        command = [*WORKER, str(self._folder), as_text(task), str(events)]
        used = [child.card for child in self._running]
        card = min(self._cards, key=used.count, default="")
        own = {CARDS: card} if card else {}
        with log.open("wb") as said:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env=os.environ | dict.fromkeys(_THREADS, str(self._threads)) | own,
                start_new_session=True,  # Ctrl-C reaches us alone
            )
        self._running.append(_Child(task, process, events, log, card))

    def poll(self) -> Iterator[tuple[Task, TaskEvent | Ended]]:
        """What the processes have said since the last call, and which of them have ended."""
        for child in list(self._running):
            # Before its events are read, so that none is missed.
            code = child.process.poll()
            for event in _news(child):
                if isinstance(event, MocaError):
                    child.error = event
                else:
                    yield child.task, event
            if code is not None:
                self._running.remove(child)
                yield child.task, _ended(child, code)

    def stop(self) -> Iterator[None]:
        """Ask all of them to end, and wait for that; yields meanwhile. The rest is ended."""
        for child in self._running:
            _signal(child.process)
        until = time.monotonic() + _LEAVE_S
        while self._running and time.monotonic() < until:
            self._running = [child for child in self._running if child.process.poll() is None]
            yield
        self.__exit__(None, None, None)


def _news(child: _Child) -> Iterator[TaskEvent | MocaError]:
    with child.events.open("rb") as stream:
        stream.seek(child.read)
        new = stream.read()
    child.read += len(new)
    *lines, child.rest = (child.rest + new).split(b"\n")
    for line in lines:
        yield from_line(line.decode())


def _ended(child: _Child, code: int) -> Ended:
    if code in (DONE, STOPPED):
        return Ended(child.task, code == DONE, None)
    return Ended(child.task, False, child.error or _died(code, child.log))


def _died(code: int, log: Path) -> MocaError:
    """What is said of a process that could say nothing itself."""
    if code < 0:
        with contextlib.suppress(ValueError):
            name = signal.Signals(-code).name
            memory = " Fewer --jobs take less memory." if name == "SIGKILL" else ""
            return MocaError(
                f"its process was ended by {name}", f"The same command goes on.{memory}"
            )
    lines = log.read_text(errors="replace").strip().splitlines()
    if not lines:
        return MocaError(
            f"its process failed and could write no reason (exit code {code})",
            f"Check the free space of {log.parent}; the same command goes on.",
        )
    return MocaError(f"its process failed ({lines[-1]})", f"See {log}.")


def _signal(process: subprocess.Popen[bytes], kill: bool = False) -> None:
    """Ask a process to end, or end it; nothing if it has."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            if kill:
                process.kill()
            else:
                process.terminate()
