"""A process of a sweep: does one task and writes its events to a file, which the sweep watches.

`moca_core.ablation.children` starts it. Its exit codes are those of `moca`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2

from moca_core.ablation.store import SWEEP
from moca_core.ablation.sweep import load_sweep
from moca_core.ablation.tasks import DoneEvent, Task, TaskEvent, run_task
from moca_core.cli import DONE, FAILED, STOPPED
from moca_core.errors import MocaError
from moca_core.models.filelock import FileLock
from moca_core.types import NoteEvent, StageEvent

THREADS = "OMP_NUM_THREADS"
LOCK = ".lock"
"""Ending of the file that a process locks beside its events, so that it's seen to be there."""
_KINDS: dict[str, type[Any]] = {"stage": StageEvent, "note": NoteEvent, "done": DoneEvent}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def main(words: Sequence[str] | None = None) -> int:
    """Do a task. Words: the folder of the sweep, the task as JSON, the file for its events."""
    folder, task, events = sys.argv[1:] if words is None else words
    stop = _asked_to_stop()
    # torch and the other libraries read the variable themselves.
    cv2.setNumThreads(int(os.environ.get(THREADS, "0")) or -1)
    with ExitStack() as held:
        held.enter_context(FileLock(Path(events).with_suffix(LOCK))).acquire()
        # Line by line: whoever reads sees whole lines, or a last one without its line break.
        stream = held.enter_context(Path(events).open("w", encoding="utf-8", buffering=1))
        try:
            sweep = load_sweep(Path(folder) / SWEEP)
            steps = run_task(sweep, Path(folder), _task(task), stop)
            while True:
                stream.write(as_line(next(steps)))
        except StopIteration as end:
            return DONE if end.value else STOPPED
        except MocaError as error:
            stream.write(json.dumps({"error": error.message, "hint": error.hint}) + "\n")
            return FAILED


def as_text(task: Task) -> str:
    """A task as the word of a command line."""
    return json.dumps(asdict(task))


def _task(text: str) -> Task:
    values = json.loads(text)
    return Task(**values | {"rows": tuple(values["rows"])})


def as_line(event: TaskEvent) -> str:
    """An event as a line of JSON."""
    return json.dumps({"kind": _NAMES[type(event)], **asdict(event)}) + "\n"


def from_line(line: str) -> TaskEvent | MocaError:
    """What a line says; an error is the last."""
    values = json.loads(line)
    if "error" in values:
        return MocaError(values["error"], values["hint"])
    event: TaskEvent = _KINDS[values.pop("kind")](**values)
    return event


def _asked_to_stop() -> Callable[[], bool]:
    """Whether the sweep asked this process to stop (SIGTERM), or has itself ended.

    Ctrl-C is for the sweep to answer.
    """
    asked: list[int] = []
    parent = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    return lambda: bool(asked) or os.getppid() != parent


if __name__ == "__main__":
    sys.exit(main())
