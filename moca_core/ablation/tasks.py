"""What one process of a sweep does: train a row, or score a part of the cases for many rows.

Rows with the same encoders are scored together, case by case: the picture is looked at once. Cases
are what several processes share then.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from moca_core.ablation.shared import SharedEncoders
from moca_core.ablation.store import RowStore
from moca_core.ablation.sweep import BEST, Row, Sweep
from moca_core.config import fingerprint
from moca_core.device import DeviceChoice
from moca_core.errors import MocaError
from moca_core.evaluation.layouts import Case, DataSet
from moca_core.evaluation.runner import Sounds, load_case, run_case
from moca_core.export.results import versions
from moca_core.pipeline.matching import MatchSettings
from moca_core.pipeline.segmenter import Segmenter
from moca_core.training import run
from moca_core.training.events import SavedEvent, StepEvent
from moca_core.types import NoteEvent, StageEvent

TRAINING, SCORING = "training", "scoring"


@dataclass(frozen=True)
class Task:
    """What a process is given.

    Attributes
    ----------
    rows : numbers of the rows; one, if it trains.
    trains : whether it trains its row, or scores its rows.
    shard, shards : which part of the cases it scores, of how many.
    """

    rows: tuple[int, ...]
    trains: bool = False
    shard: int = 0
    shards: int = 1

    @property
    def name(self) -> str:
        """Names its files."""
        return f"{TRAINING if self.trains else SCORING}-{self.rows[0]:03d}-{self.shard}"


@dataclass(frozen=True)
class DoneEvent:
    """How far a task is: `done` of `total` iterations or cases."""

    stage: str
    done: int
    total: int


TaskEvent = StageEvent | NoteEvent | DoneEvent
Working = Generator[TaskEvent, None, bool]


def scoring_tasks(sweep: Sweep, waiting: Sequence[int], jobs: int) -> list[Task]:
    """Share the rows that wait, by their numbers, among so many processes."""
    groups: dict[Hashable, list[int]] = {}
    for number in waiting:
        groups.setdefault(_shared_by(sweep.rows[number]), []).append(number)
    shards = -(-jobs // max(1, len(groups)))
    return [
        Task(tuple(group), shard=shard, shards=shards)
        for group in groups.values()
        for shard in range(shards)
    ]


def _shared_by(row: Row) -> Hashable:
    """Rows for which this is equal have the same cases and may share encoders."""
    config = row.segment
    encoders = config.bundle, config.sam, config.patches
    return encoders, row.device, row.precision, row.data


def shard_of(data: DataSet, shard: int, shards: int) -> list[Case]:
    """A part of the cases: those that show one picture or clip stay together, one after another."""
    groups: dict[str, list[Case]] = {}
    for case in data.cases:
        groups.setdefault(case.group, []).append(case)
    return [case for group in list(groups.values())[shard::shards] for case in group]


def run_task(
    sweep: Sweep, folder: Path, task: Task, stop: Callable[[], bool] = lambda: False
) -> Working:
    """Do it; a generator of events that returns whether the task is complete.

    Parameters
    ----------
    folder : of the sweep.
    stop : once it is true, an iteration or a case that is under way is finished and kept.

    Raises
    ------
    MocaError : what can't work.
    """
    rows = [sweep.rows[number] for number in task.rows]
    if task.trains:
        (row,) = rows
        return (yield from _train(row, RowStore(folder, row), stop))
    if sweep.trains:
        rows = [_with_adapter(sweep, row, RowStore(folder, row)) for row in rows]
    return (yield from _score(folder, rows, task, stop))


def _train(row: Row, store: RowStore, stop: Callable[[], bool]) -> Working:
    """Train a row's adapter; returns whether it is whole."""
    assert row.train is not None  # the sweep trains
    step: int | None = None
    with closing(run.fit(row.train, store.run, stop=stop)) as events:
        for event in events:
            if isinstance(event, StepEvent | SavedEvent):
                step = event.step
                yield DoneEvent(TRAINING, step, row.train.iterations)
            elif isinstance(event, NoteEvent) or (isinstance(event, StageEvent) and step is None):
                yield event
            # Once it trains, it ends by itself, and saves.
            if step is None and stop():
                return False
    return step == row.train.iterations


def _with_adapter(sweep: Sweep, row: Row, store: RowStore) -> Row:
    """A row with what it trained; the last adapter where nothing was held out to find a best."""
    best = store.run / run.BEST
    last = store.run / run.ADAPTER
    adapter = best if sweep.adapter == BEST and best.exists() else last
    return replace(row, segment=replace(row.segment, adapter=str(adapter)))


def _score(folder: Path, rows: Sequence[Row], task: Task, stop: Callable[[], bool]) -> Working:
    """Score a part of the cases for all rows, without what was scored before."""
    cases = shard_of(rows[0].data.read(), task.shard, task.shards)
    stores = [RowStore(folder, row) for row in rows]
    known = [store.known(cases) for store in stores]
    waiting = [case for case in cases if any(case.id not in ids for ids in known)]
    if not waiting:
        return True
    plain = replace(rows[0].segment, adapter="")
    first = Segmenter(plain, rows[0].device, precision=rows[0].precision)
    yield from first.load()
    shared = SharedEncoders(first.bundle)
    # What the encoders run on is settled: those of the rows have nothing to choose.
    own = [Segmenter(row.segment, "cpu", row.settings(), shared.view(row.segment)) for row in rows]
    for store, segmenter in zip(stores, own, strict=True):
        store.keep_facts(facts_of(store.row, segmenter.settings, first.device))
    with ExitStack() as held:
        files = [held.enter_context(store.add_records(task.shard)) for store in stores]
        sounds = held.enter_context(Sounds(first.window_s))
        for number, case in enumerate(waiting, start=1):
            if stop():
                return False
            try:
                loaded = load_case(case, sounds)
            except MocaError as error:
                yield NoteEvent(f"{case.id} is left out: {error.message}")
                continue
            for ids, segmenter, add in zip(known, own, files, strict=True):
                if case.id not in ids:
                    add(run_case(loaded, segmenter.predict)[1])
            yield DoneEvent(SCORING, number, len(waiting))
    return True


def facts_of(row: Row, settings: MatchSettings, device: DeviceChoice) -> dict[str, Any]:
    """What a row is made with, for its report."""
    return {
        "values": dict(row.values),
        "seed": row.seed,
        "train": None if row.train is None else asdict(row.train),
        "segment": asdict(row.segment),
        "thresholds": asdict(settings),
        "data": asdict(row.data),
        "device": asdict(device),
        "versions": versions(),
        "fingerprint": fingerprint(row),
    }
