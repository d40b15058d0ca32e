"""A whole run: data, features, pairs, training, and the adapter that comes out of it."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from moca_core import paths
from moca_core.config import fingerprint, load_toml, save_toml
from moca_core.device import choose_device
from moca_core.errors import ConfigError, DatasetError, StorageError
from moca_core.export.results import versions
from moca_core.models.adapter import Adapter, adapter_config
from moca_core.models.frozen import Frozen, load_frozen
from moca_core.models.registry import bundle_row
from moca_core.training.cache import FeatureCache
from moca_core.training.check import CheckReport, check, check_recordings
from moca_core.training.config import TrainConfig
from moca_core.training.data import ItemSet
from moca_core.training.events import (
    SavedEvent,
    StepEvent,
    TrainEvent,
    ValidationEvent,
)
from moca_core.training.examples import (
    CachedExamples,
    feature_keys,
    feature_shape,
    fill,
    sound_numbers,
)
from moca_core.training.layouts import Choice, index_items
from moca_core.training.learner import Learner
from moca_core.training.memory import remembered
from moca_core.training.pairs import PairConfig, make_pairs
from moca_core.training.processes import Processes, wait_for_all
from moca_core.training.retrieval import load_retriever
from moca_core.training.trainer import Parts, Trainer
from moca_core.types import NoteEvent, StageEvent

CONFIG, BEST, ADAPTER = "config.toml", "best.safetensors", "adapter.safetensors"
CHECK, METRICS, EVENTS = "check.csv", "metrics.csv", "events.jsonl"
PAIRS = "pairs-{}.npz"


def fit(
    config: TrainConfig,
    folder: Path,
    processes: Processes | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Generator[TrainEvent, None, None]:
    """Train an adapter; a generator of events, which may be closed at any of them.

    The folder then holds the configuration, what was left out of the data, the pairs, a table of
    all iterations, the last checkpoint, and the best and the last adapter. Called again with the
    same configuration it goes on from the checkpoint.

    Parameters
    ----------
    stop : asked after each iteration, of a single process; once it is true, the checkpoint and the
        adapter are saved as they are and the run ends.

    Raises
    ------
    ConfigError, DatasetError, WeightsError, StorageError, DeviceError : what can't work.
    TrainingError : the numbers don't stay finite.
    """
    own = processes or Processes()
    _keep_config(config, folder, own)
    device = choose_device(config.device, config.precision, bundle_row(config.bundle).gpu_bytes)
    items = yield from _items(config, folder, own)
    yield StageEvent("Loading the encoders")
    frozen = load_frozen(config.bundle, device)
    learner = _learner(config, frozen, device.device)
    own_part = learner.adapter.describe(frozen.trunk)
    yield NoteEvent(f"The adapter has {own_part}.")
    with ExitStack() as open_files:
        cache = yield from _features(config, items, frozen, learner.adapter.config.entry, own)
        open_files.callback(cache.close)
        training, held_out = yield from _split(config, items)
        parts = Parts(
            (yield from _examples(config, training, cache, folder / PAIRS.format("training"), own)),
            None
            if held_out is None
            else (
                yield from _examples(
                    config, held_out, cache, folder / PAIRS.format("validation"), own
                )
            ),
        )
        trainer = Trainer(config, learner, parts, folder, device, own)
        if trainer.state.step:
            yield NoteEvent(f"Going on after iteration {trainer.state.step}.")
        yield from _trained(trainer, folder, items, stop)


def resume_config(folder: Path) -> TrainConfig:
    """The configuration that a run was begun with; raises `ConfigError`."""
    return load_toml(TrainConfig, folder / CONFIG)


def _keep_config(config: TrainConfig, folder: Path, own: Processes) -> None:
    """Write the configuration, unless another run is in the folder."""
    path = folder / CONFIG
    if path.exists() and fingerprint(resume_config(folder)) != fingerprint(config):
        raise ConfigError(
            f"{folder}: another run is there",
            "Choose another folder, or go on with that run's own configuration (--resume).",
        )
    if own.first:
        save_toml(config, path)


def checked(
    config: TrainConfig, processes: Processes | None = None
) -> Generator[StageEvent, None, CheckReport]:
    """The data check with which a run begins; returns the report."""
    own = processes or Processes()
    videos = Path(config.videos) if config.videos else None
    choice = Choice(config.split, tuple(config.subsets), config.every_s, videos)
    items = yield from index_items(Path(config.data), config.layout, choice)
    items = items.limited(config.limit)
    row = bundle_row(config.bundle)
    if not own.first:
        wait_for_all()  # then what the first process found is remembered
    with remembered("check", items.root) as memory:
        return (yield from check(items, row.window_s, row.rate_hz, memory))


def _items(
    config: TrainConfig, folder: Path, own: Processes
) -> Generator[TrainEvent, None, ItemSet]:
    """What can be learnt from; what can't is written down and left out."""
    report = yield from checked(config, own)
    if own.first:
        report.write_csv(folder / CHECK)
        wait_for_all()
    if report.problems:
        yield NoteEvent(
            f"{len(report.problems)} of {len(report.items)} items are left out "
            f"({report.summary()}); see {folder / CHECK}"
        )
    rest = report.rest()
    yield NoteEvent(f"{len(rest)} items of {len(set(rest.recordings.tolist()))} recordings.")
    return rest


def _learner(config: TrainConfig, frozen: Frozen, device: str) -> Learner:
    torch.manual_seed(config.seed)
    if config.start:
        adapter = Adapter.load(Path(config.start), config.bundle)
    else:
        sizes = adapter_config(config.bundle, config.blocks, config.reduction, config.latents)
        adapter = Adapter(sizes)
    return Learner(adapter, frozen.trunk, frozen.stop, frozen.grid, config).to(device)


def _features(
    config: TrainConfig, items: ItemSet, frozen: Frozen, first: int, own: Processes
) -> Generator[TrainEvent, None, FeatureCache]:
    """Features of all items; several processes compute a part each."""
    shape = feature_shape(frozen)
    name = f"{config.bundle}-{first}-{shape.visual[0]}-{shape.audio[0]}"
    folder = paths.cache_dir() / "training" / f"features-{name}"
    keys = feature_keys(items)
    cache = FeatureCache(folder, shape, str(own.rank))
    try:
        places = np.arange(own.rank, len(items), own.count)
        part = [keys[place] for place in places]
        yield from fill(cache, items.take(places), part, frozen, first)
        wait_for_all()
        cache.reload()
    except BaseException:
        cache.close()
        raise
    return cache


def _split(
    config: TrainConfig, items: ItemSet
) -> Generator[TrainEvent, None, tuple[ItemSet, ItemSet | None]]:
    """Items to learn from and items held out, which share no recording."""
    if not config.validation:
        return items, None
    held = _held_out(items, config)
    training, held_out = items.take(np.flatnonzero(~held)), items.take(np.flatnonzero(held))
    try:
        for part in (training, held_out):
            check_recordings(part)
        if len(set(sound_numbers(held_out).tolist())) < 2:
            raise DatasetError("one sound")
    except DatasetError:
        yield NoteEvent("There are too few recordings to hold some out: nothing is validated.")
        return items, None
    yield NoteEvent(f"{len(held_out)} items are held out.")
    return training, held_out


def _held_out(items: ItemSet, config: TrainConfig) -> NDArray[np.bool_]:
    """(n,) which items are held out: such that share no recording with the others.

    Where a few sounds lie under many pictures, these are all kin: then pictures are held out, whose
    sounds may be known.
    """
    count = max(2, round(1 / config.validation))
    with suppress(DatasetError):
        fold = items.folds(count, config.seed)
        sizes = np.bincount(fold, minlength=count) / len(items)
        nearest = int(np.abs(sizes - config.validation).argmin())
        if sizes[nearest] <= 2 * config.validation:
            return fold == nearest
    recordings = items.recordings
    order = np.random.default_rng(config.seed).permutation(int(recordings.max()) + 1)
    return order[recordings] % count == 0


def _examples(
    config: TrainConfig, items: ItemSet, cache: FeatureCache, path: Path, own: Processes
) -> Generator[TrainEvent, None, CachedExamples]:
    """Items with their pairs, which are stored with the run."""
    sounds = sound_numbers(items)
    if len(set(sounds.tolist())) < 2:
        raise DatasetError(
            f"{items.root}: all items have one sound",
            "Training compares different sounds: add clips of other things.",
        )
    pairs = PairConfig(
        data=config.data,
        layout=items.layout,
        split=config.split,
        subsets=tuple(config.subsets),
        every_s=config.every_s,
        limit=config.limit,
        bundle=config.bundle,
        k=config.neighbours,
    )
    retrieve = load_retriever(config.bundle)
    with remembered("features", items.root) as memory:
        table = yield from make_pairs(items, pairs, retrieve, memory)
    if own.first:
        table.save(path)
    return CachedExamples(table, cache, feature_keys(items), sounds)


def _trained(
    trainer: Trainer, folder: Path, items: ItemSet, stop: Callable[[], bool]
) -> Iterator[TrainEvent]:
    """The iterations, noted in the run's tables, and the best and the last adapter."""
    own = trainer.processes
    scores: dict[str, float] = {}
    with ExitStack() as files:
        log = files.enter_context(_Log(folder, trainer.state.step)) if own.first else None
        for event in trainer.events(stop):
            if log is not None:
                log.note(event)
            if isinstance(event, ValidationEvent):
                scores = dict(event.scores)
                if event.best and own.first:
                    _save_adapter(trainer, folder / BEST, items, event.step, scores)
            yield event
    if own.first:
        path = folder / ADAPTER
        _save_adapter(trainer, path, items, trainer.state.step, scores)
        yield SavedEvent(trainer.state.step, path)


def _save_adapter(
    trainer: Trainer, path: Path, items: ItemSet, step: int, scores: dict[str, float]
) -> None:
    """Write the adapter as it is now, with what it was trained on."""
    adapter = Adapter(trainer.learner.adapter.config)
    prefix = "adapter."
    weights = {
        key.removeprefix(prefix): value
        for key, value in trainer.weights().items()
        if key.startswith(prefix)
    }
    adapter.load_state_dict(weights)
    adapter.save(
        path,
        {
            "training": asdict(trainer.config),
            "data": {"name": items.root.name, "layout": items.layout, "items": len(items)},
            "step": step,
            "validation": scores,
            "versions": versions(),
            "terms": bundle_row(trainer.config.bundle).terms,
        },
    )


class _Log:
    """The run's tables: a line an iteration as CSV, and every event as a line of JSON.

    Parameters
    ----------
    step : iterations that were done before; lines of later ones belong to a run that was ended.
    """

    def __init__(self, folder: Path, step: int) -> None:
        try:
            self._keep(folder / METRICS, lambda line: line.split(",")[0], step)
            self._keep(folder / EVENTS, lambda line: str(json.loads(line)["step"]), step)
            self._table = (folder / METRICS).open("a", newline="", encoding="utf-8")
            self._events = (folder / EVENTS).open("a", encoding="utf-8")
        except OSError as error:
            raise StorageError(
                f"{folder}: can't be written ({error.strerror or error})", "Free some space."
            ) from error
        self._writer = csv.writer(self._table)
        self._names: list[str] = []

    def __enter__(self) -> _Log:
        return self

    def __exit__(self, *_: object) -> None:
        self._table.close()
        self._events.close()

    def note(self, event: TrainEvent) -> None:
        """Write an event down, if it is of an iteration, a validation or a checkpoint."""
        if isinstance(event, StepEvent):
            if not self._names:
                self._names = list(event.parts)
                if not self._table.tell():
                    facts = ["step", "loss", "lr", "gradient", "skipped"]
                    self._writer.writerow([*facts, *self._names])
            numbers = [event.parts.get(name, "") for name in self._names]
            row = [event.step, event.loss, event.lr, event.gradient, event.skipped]
            self._writer.writerow([*row, *numbers])
        if isinstance(event, StepEvent | ValidationEvent | SavedEvent):
            line = {"event": type(event).__name__.removesuffix("Event").lower(), **vars(event)}
            self._events.write(json.dumps(line, default=str) + "\n")
        if isinstance(event, ValidationEvent | SavedEvent):
            self._table.flush()
            self._events.flush()

    @staticmethod
    def _keep(path: Path, step_of: Callable[[str], str], step: int) -> None:
        """Drop the lines of iterations after `step`, and one that a kill cut short."""
        if not path.exists():
            return
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = []
        for line in lines:
            if not line.endswith("\n"):
                break
            number = step_of(line)
            if not number.isdigit() or int(number) <= step:
                kept.append(line)
        path.write_text("".join(kept), encoding="utf-8")
