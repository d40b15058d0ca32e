"""A whole sweep: a generator of events, over processes of its own, that ends with the tables."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moca_core.ablation.children import CARDS, Children, Ended
from moca_core.ablation.store import RowStore, keep_sweep, occupied
from moca_core.ablation.sweep import Row, Sweep
from moca_core.ablation.tables import write_tables
from moca_core.ablation.tasks import DoneEvent, Task, TaskEvent, scoring_tasks
from moca_core.ablation.worker import LOCK, THREADS
from moca_core.errors import MocaError
from moca_core.evaluation.layouts import DataSet
from moca_core.export.results import prepare_folder
from moca_core.models.filelock import FileLock
from moca_core.types import NoteEvent, StageEvent

_LOOK_S = 0.2
_WORK = "work"


@dataclass(frozen=True)
class RunningEvent:
    """How far it is.

    Attributes
    ----------
    label : the row that a process is at, or how many it scores at once.
    stage : what it does.
    done, total : iterations of that row; or cases, of all processes together.
    trained, of : while rows are trained: how many are, of all that have to be; 0 of 0 afterwards.
    """

    label: str
    stage: str
    done: int
    total: int
    trained: int = 0
    of: int = 0


@dataclass(frozen=True, eq=False)
class RowEvent:
    """A row is done: `done` of `total`. `kept`: it was done before."""

    row: Row
    report: dict[str, Any]
    done: int
    total: int
    kept: bool = False


@dataclass(frozen=True)
class FailureEvent:
    """Rows that can't be done, and why; the others go on."""

    rows: tuple[Row, ...]
    error: MocaError


@dataclass(frozen=True)
class TablesEvent:
    """The last event: table and plot of the rows that are done, `done` of `total`."""

    paths: tuple[Path, ...]
    done: int
    total: int


AblateEvent = StageEvent | NoteEvent | RunningEvent | RowEvent | FailureEvent | TablesEvent


def ablate(
    sweep: Sweep, folder: Path, jobs: int = 1, stop: Callable[[], bool] = lambda: False
) -> Generator[AblateEvent, None, None]:
    """Do every row of a sweep that isn't done; a generator of events, which may be closed.

    Called again it goes on: rows that are done stay, a training goes on from its checkpoint, a
    case that was scored isn't scored again. When it is closed its processes are ended; after
    `stop` they first finish and keep the step that is under way.

    Parameters
    ----------
    folder : of this sweep alone; it gets the sweep, a folder for each row, table and plot.
    jobs : processes at a time; each has its share of the cores.
    stop : asked several times a second.

    Raises
    ------
    ConfigError : another sweep is in the folder.
    DatasetError : the data that are evaluated can't be read.
    StorageError : the folder can't be written, or a sweep is going on there.
    """
    with occupied(folder):
        keep_sweep(sweep, folder)
        yield StageEvent("Reading the data")
        state = _State(sweep, folder, stop)
        yield from state.kept()
        if state.waiting and not stop():
            yield from _Work(state, jobs).events()
        done = [(store.row, report) for store in state.stores if (report := store.report())]
        yield StageEvent("Writing the tables")
        paths = write_tables(sweep, done, folder)
        yield TablesEvent(tuple(paths), len(done), len(state.stores))


class _State:
    """What is done of a sweep, and what waits."""

    def __init__(self, sweep: Sweep, folder: Path, stop: Callable[[], bool]) -> None:
        self.sweep, self.folder, self.stop = sweep, folder, stop
        self.stores = [RowStore(folder, row) for row in sweep.rows]
        # Read before anything is trained: a folder that isn't there shows now.
        choices = dict.fromkeys(row.data for row in sweep.rows)
        self.data: dict[Any, DataSet] = {choice: choice.read() for choice in choices}

    @property
    def waiting(self) -> list[int]:
        """Numbers of the rows that aren't done."""
        return [store.row.number for store in self.stores if store.report() is None]

    @property
    def done(self) -> int:
        return len(self.stores) - len(self.waiting)

    def kept(self) -> Iterator[AblateEvent]:
        """What the data lack, and the rows that were done before."""
        for data in self.data.values():
            if data.note:
                yield NoteEvent(data.note)
        done = [store for store in self.stores if store.report() is not None]
        for number, store in enumerate(done, start=1):
            report = store.report()
            assert report is not None
            yield RowEvent(store.row, report, number, len(self.stores), kept=True)

    def finish(self, number: int) -> AblateEvent:
        """Make the report of a row all of whose cases were tried."""
        store = self.stores[number]
        try:
            report = store.finish(self.data[store.row.data])
        except MocaError as error:
            return FailureEvent((store.row,), error)
        return RowEvent(store.row, report, self.done, len(self.stores))


def threads_for(jobs: int) -> tuple[int, int]:
    """(processes, threads of each) for `jobs` asked for: no more threads than cores together."""
    cores = _cores()
    jobs = max(1, min(jobs, cores))
    wanted = os.environ.get(THREADS, "")
    most = int(wanted) if wanted.isdecimal() and int(wanted) else cores
    return jobs, max(1, min(most, cores // jobs))


def visible_cards() -> tuple[str, ...]:
    """The GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` names them."""
    import torch

    count = torch.cuda.device_count()
    named = os.environ.get(CARDS, "")
    names = named.split(",") if named else [str(number) for number in range(count)]
    return tuple(names[:count])


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Work:
    """The rows that wait, shared among processes.

    Parameters
    ----------
    asked : processes at a time.
    """

    def __init__(self, state: _State, asked: int) -> None:
        self._state, self._asked = state, asked
        self._jobs, self._threads = threads_for(asked)
        self._tasks: list[Task] = []
        self._of = 0
        self._untrained: set[int] = set()
        self._preparing: set[Task] = set()
        self._scored: dict[Task, tuple[int, int]] = {}
        self._parts: Counter[int] = Counter()
        self._told: set[object] = set()
        self._failed = False

    def events(self) -> Iterator[AblateEvent]:
        """Do them all, or until a stop is asked for: first what has to be trained."""
        if self._jobs < self._asked:
            yield NoteEvent(f"{self._jobs} processes at a time: there are no more cores.")
        sweep, stores, waiting = self._state.sweep, self._state.stores, self._state.waiting
        work = self._state.folder / _WORK
        prepare_folder(work)
        yield from self._alone(work)
        for number in waiting:
            prepare_folder(stores[number].folder)
            # What was scored was trained before.
            if not stores[number].gather() and sweep.trains:
                self._untrained.add(number)
        self._tasks = [Task((number,), trains=True) for number in sorted(self._untrained)]
        self._of = len(self._tasks)
        with Children(self._state.folder, work, self._threads, self._cards()) as children:
            yield from self._worked(children)
            ready = [number for number in waiting if number not in self._untrained]
            self._tasks = scoring_tasks(sweep, ready, self._jobs)
            self._parts.update(number for task in self._tasks for number in task.rows)
            yield from self._worked(children)
            yield from (StageEvent("Stopping") for _ in children.stop())
        if not self._failed:
            shutil.rmtree(work, ignore_errors=True)

    def _worked(self, children: Children) -> Iterator[AblateEvent]:
        """Do all tasks, so many at a time."""
        while (self._tasks or len(children)) and not self._state.stop():
            self._start(children)
            for task, event in children.poll():
                yield from self._heard(task, event)
            time.sleep(_LOOK_S)

    def _alone(self, work: Path) -> Iterator[AblateEvent]:
        """Wait for processes whose sweep was killed: they end after the step that is under way."""
        for path in work.glob(f"*{LOCK}"):
            with FileLock(path) as lock:
                while not lock.acquire() and not self._state.stop():
                    yield StageEvent("Waiting for processes of a run that was killed")

    def _cards(self) -> tuple[str, ...]:
        """The GPUs that processes are given in turn; none where the rows name what computes."""
        devices = {row.device for row in self._state.sweep.rows}
        return visible_cards() if self._jobs > 1 and devices <= {"auto", "cuda"} else ()

    def _start(self, children: Children) -> None:
        """Fill the free places."""
        for task in list(self._tasks):
            if len(children) >= self._jobs:
                return
            # One computes the features that the others then find on disk.
            features = self._features(task)
            if not task.trains or features not in map(self._features, self._preparing):
                self._tasks.remove(task)
                self._preparing.add(task)
                children.start(task)

    def _features(self, task: Task) -> tuple[str, int] | None:
        """What the features that a training needs depend on."""
        train = self._state.sweep.rows[task.rows[0]].train
        return None if train is None else (train.bundle, train.blocks)

    def _heard(self, task: Task, event: TaskEvent | Ended) -> Iterator[AblateEvent]:
        """What a process's event means for the sweep."""
        if isinstance(event, Ended):
            self._preparing.discard(task)
            yield from self._ended(event)
            return
        if isinstance(event, NoteEvent):
            # Rows with the same data have the same to say.
            if self._is_new(event.message):
                yield NoteEvent(f"{self._label(task)}: {event.message}")
            return
        done, total = event.done, event.total
        if isinstance(event, DoneEvent):
            self._preparing.discard(task)
            if not task.trains:
                # Its processes share the cases: what counts is how many they have done together.
                self._scored[task] = done, total
                done, total = (sum(part) for part in zip(*self._scored.values(), strict=True))
        if task.trains:
            trained = self._of - len(self._untrained)
            yield RunningEvent(self._label(task), event.stage, done, total, trained, self._of)
        else:
            yield RunningEvent(self._label(task), event.stage, done, total)

    def _label(self, task: Task) -> str:
        """The row of a task; how many there are, where it does many at once."""
        first = self._state.sweep.rows[task.rows[0]].label
        return first if len(task.rows) == 1 else f"{len(task.rows)} rows"

    def _ended(self, end: Ended) -> Iterator[AblateEvent]:
        if end.error is not None:
            self._failed = True
            rows = tuple(self._state.sweep.rows[number] for number in end.task.rows)
            if self._is_new((end.task.rows, end.error.message)):
                yield FailureEvent(rows, end.error)
        if not end.complete:
            return
        if end.task.trains:
            self._untrained -= set(end.task.rows)
            return
        for number in end.task.rows:
            self._parts[number] -= 1
            if not self._parts[number]:
                yield self._state.finish(number)

    def _is_new(self, said: object) -> bool:
        new = said not in self._told
        self._told.add(said)
        return new
