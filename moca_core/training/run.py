"""A whole run: data, features, pairs, training, and the adapter that comes out of it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from moca_core.config import fingerprint, load_toml, save_toml
from moca_core.device import DeviceChoice, choose_device
from moca_core.errors import ConfigError, DatasetError, StorageError
from moca_core.export.results import versions
from moca_core.heap import keep_freed_memory
from moca_core.models.adapter import Adapter, AdapterConfig, adapter_config
from moca_core.models.filelock import FileLock
from moca_core.models.frozen import Frozen, load_frozen
from moca_core.models.registry import bundle_row
from moca_core.training import checkpoint
from moca_core.training.cache import FeatureCache, open_cache
from moca_core.training.check import CheckReport, check, check_recordings
from moca_core.training.config import TrainConfig
from moca_core.training.data import ItemSet
from moca_core.training.events import SavedEvent, TrainEvent, ValidationEvent
from moca_core.training.examples import (
    CachedExamples,
    feature_keys,
    feature_shape,
    fill,
    sound_numbers,
)
from moca_core.training.feature_folders import folder_of
from moca_core.training.layouts import Choice, index_items
from moca_core.training.learner import Learner
from moca_core.training.log import RunLog
from moca_core.training.memory import remembered
from moca_core.training.pairs import PairConfig, PairTable, make_pairs
from moca_core.training.processes import Processes
from moca_core.training.retrieval import Retrieve, load_retriever
from moca_core.training.trainer import Parts, Trainer
from moca_core.types import NoteEvent, StageEvent

CONFIG, BEST, ADAPTER = "config.toml", "best.safetensors", "adapter.safetensors"
CHECK = "check.csv"
PAIRS = "pairs-{}.npz"
_TRAINING, _VALIDATION = "training", "validation"
_LOCK = ".lock"


def fit(
    config: TrainConfig,
    folder: Path,
    processes: Processes | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Generator[TrainEvent, None, None]:
    """Train an adapter; a generator of events, which may be closed at any of them.

    The folder then holds the configuration, what was left out of the data, the pairs, a table of
    all iterations, the last checkpoint, and the best and the last adapter. Called again with the
    same configuration it goes on from the checkpoint; a run that is done is told at once.

    Parameters
    ----------
    stop : asked after each iteration and within validations; once it is true of any of the
        processes, the checkpoint and the adapter are saved as they are and the run ends.

    Raises
    ------
    ConfigError, DatasetError, WeightsError, StorageError, DeviceError : what can't work.
    ProcessError : another process has ended.
    TrainingError : the numbers don't stay finite.
    """
    own = processes or Processes()
    with ExitStack() as held:
        if own.first:
            held.enter_context(_occupied(folder))
        begun = _keep_config(config, folder, own)
        if begun is not None and _is_done(begun, config, folder):
            yield NoteEvent(f"This run was done before: {config.iterations} iterations.")
            yield SavedEvent(config.iterations, folder / ADAPTER)
            return
        device = _device(config, own)
        yield StageEvent("Loading the encoders")
        frozen = load_frozen(config.bundle, device)
        learner = _learner(config, frozen, device.device)
        retrieve = load_retriever(config.bundle, device.device)
        own_part = learner.adapter.describe(frozen.trunk)
        yield NoteEvent(f"The adapter has {own_part}.")
        items = yield from _items(config, folder, own)
        cache = yield from _features(config, items, frozen, learner.adapter.config.entry, own)
        held.callback(cache.close)
        training, held_out = yield from _split(config, items)
        source = _Source(config, folder, cache, retrieve, own, begun is not None)
        parts = Parts(
            (yield from source.examples(training, _TRAINING)),
            None if held_out is None else (yield from source.examples(held_out, _VALIDATION)),
        )
        trainer = Trainer(config, learner, parts, folder, device, own)
        if trainer.state.step:
            yield NoteEvent(f"Going on after iteration {trainer.state.step}.")
        yield from _trained(trainer, folder, items, stop)


def resume_config(folder: Path) -> TrainConfig:
    """The configuration that a run was begun with; raises `ConfigError`."""
    return load_toml(TrainConfig, folder / CONFIG)


def _occupied(folder: Path) -> FileLock:
    """A lock that keeps other runs out of the folder; raises `StorageError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / _LOCK)
    except OSError as error:
        raise StorageError(
            f"{folder}: can't be written ({error.strerror or error})",
            "Choose another folder, or change its permissions.",
        ) from error
    if not lock.acquire():
        with lock:
            raise StorageError(
                f"{folder}: a run is going on there", "Wait for it, or choose another folder."
            )
    return lock


def _keep_config(config: TrainConfig, folder: Path, own: Processes) -> checkpoint.State | None:
    """Write the configuration unless another run is in the folder; returns the state of this one.

    Before its first checkpoint nothing of a run is worth keeping: its settings may be put right.
    """
    path = folder / CONFIG
    has_begun = (folder / checkpoint.LAST).exists()
    if has_begun and path.exists() and fingerprint(resume_config(folder)) != fingerprint(config):
        raise ConfigError(
            f"{folder}: another run is there",
            "Choose another folder, or go on with that run's own configuration (--resume).",
        )
    state = checkpoint.load(fingerprint(config), folder)
    if own.first and not (state and path.exists()):
        save_toml(config, path)
    return state


def _is_done(state: checkpoint.State, config: TrainConfig, folder: Path) -> bool:
    validates = (folder / PAIRS.format(_VALIDATION)).exists()
    return (
        state.step == config.iterations
        and (state.validated == state.step or not validates)
        and (folder / ADAPTER).exists()
    )


def _device(config: TrainConfig, own: Processes) -> DeviceChoice:
    """What computes; each of several processes has a GPU of its own."""
    request = config.device
    if own.count > 1 and request != "cpu" and torch.cuda.is_available():
        if request not in ("auto", "cuda"):
            raise ConfigError(
                f"device = {request} for {own.count} processes",
                "Use cuda or auto: each process then takes a GPU of its own.",
            )
        request = f"cuda:{own.local}"
    device = choose_device(request, config.precision, bundle_row(config.bundle).gpu_bytes)
    if device.device == "cpu":
        keep_freed_memory()
    else:
        torch.cuda.set_device(device.device)
    return device


def checked(
    config: TrainConfig, processes: Processes | None = None
) -> Generator[StageEvent, None, CheckReport]:
    """The data check with which a run begins; returns the report."""
    own = processes or Processes()
    if not own.first:
        yield from own.waiting()  # then what the first process found is remembered
    videos = Path(config.videos) if config.videos else None
    choice = Choice(config.split, tuple(config.subsets), config.every_s, videos)
    items = yield from index_items(Path(config.data), config.layout, choice)
    items = items.limited(config.limit)
    row = bundle_row(config.bundle)
    with remembered("check", items.root) as memory:
        return (yield from check(items, row.window_s, row.rate_hz, memory))


def _items(
    config: TrainConfig, folder: Path, own: Processes
) -> Generator[TrainEvent, None, ItemSet]:
    """What can be learnt from; what can't is written down and left out."""
    report = yield from checked(config, own)
    if own.first:
        report.write_csv(folder / CHECK)
        yield from own.waiting()
    if report.problems:
        yield NoteEvent(
            f"{len(report.problems)} of {len(report.items)} items are left out "
            f"({report.summary()}); see {folder / CHECK}"
        )
    rest = report.rest()
    if _has_one_sound(rest):
        raise DatasetError(
            f"{rest.root}: all items have one sound",
            "Training compares different sounds: add clips of other things.",
        )
    yield NoteEvent(f"{len(rest)} items of {len(set(rest.recordings.tolist()))} recordings.")
    return rest


def _has_one_sound(items: ItemSet) -> bool:
    return len(set(sound_numbers(items).tolist())) < 2


def _learner(config: TrainConfig, frozen: Frozen, device: str) -> Learner:
    """The trained parts, as the seed or the file to start from has them."""
    sizes = adapter_config(config.bundle, config.blocks, config.reduction, config.latents)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        adapter = Adapter(sizes)
        if config.start:
            adapter = Adapter.load(Path(config.start), config.bundle)
            _check_sizes(adapter.config, sizes, config.start)
        learner = Learner(adapter, frozen.trunk, frozen.stop, frozen.grid, config)
    return learner.to(device)


def _check_sizes(found: AdapterConfig, wanted: AdapterConfig, path: str) -> None:
    """Raise `ConfigError` unless an adapter to start from has the sizes of the configuration.

    Neither silently gives way: a configuration says what its run trains.
    """
    if found == wanted:
        return
    last = adapter_config(found.bundle, len(found.blocks), found.reduction, found.latents)
    values = f"blocks={len(found.blocks)}, latents={found.latents}, reduction={found.reduction}"
    if found.blocks != last.blocks:
        raise ConfigError(
            f"{path}: adapts blocks {found.blocks}, training the last ones",
            "Start from another adapter, or from none.",
        )
    raise ConfigError(
        f"{path}: an adapter of other sizes than the configuration's",
        f"To start from it set {values}.",
    )


def _features(
    config: TrainConfig, items: ItemSet, frozen: Frozen, first: int, own: Processes
) -> Generator[TrainEvent, None, FeatureCache]:
    """Features of all items; several processes compute a part each."""
    shape = feature_shape(frozen)
    name = f"{config.bundle}-{first}-{shape.visual[0]}-{shape.audio[0]}"
    if frozen.identity:
        name += f"-{frozen.identity}"
    folder = folder_of(name, items.root)
    keys = feature_keys(items)
    cache = open_cache(folder, shape, own.rank, own.count)
    try:
        places = np.arange(own.rank, len(items), own.count)
        part = [keys[place] for place in places]
        yield from fill(cache, items.take(places), part, frozen, first)
        yield from own.waiting()
        cache.reload()
        cache.end_writing()
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
            if _has_one_sound(part):
                raise DatasetError("one sound")
    except DatasetError:
        yield NoteEvent(
            "There are too few recordings to hold some out: nothing is validated, and there will "
            "be an adapter.safetensors, but no best.safetensors."
        )
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


@dataclass(frozen=True, eq=False)
class _Source:
    """Makes examples of items: with their pairs, which are stored with the run."""

    config: TrainConfig
    folder: Path
    cache: FeatureCache
    retrieve: Retrieve
    own: Processes
    begun: bool

    def examples(self, items: ItemSet, name: str) -> Generator[TrainEvent, None, CachedExamples]:
        """The items with their features and pairs; several processes read what the first made."""
        path = self.folder / PAIRS.format(name)
        if self.own.first:
            table = self._stored(items, path) if self.begun and path.exists() else None
            if table is None:
                table = yield from self._made(items)
                table.save(path)
        yield from self.own.waiting()
        if not self.own.first:
            table = PairTable.load(path)
        assert table is not None
        return CachedExamples(table, self.cache, feature_keys(items), sound_numbers(items))

    def _stored(self, items: ItemSet, path: Path) -> PairTable:
        """The pairs with which the run began, so that it goes on with the same."""
        table = PairTable.load(path)
        try:
            table.check_items(items)
        except DatasetError as error:
            raise DatasetError(
                f"{items.root}: the data have changed since the run began",
                "Put them back, or choose another folder for a run on the new ones.",
            ) from error
        return table

    def _made(self, items: ItemSet) -> Generator[TrainEvent, None, PairTable]:
        config = self.config
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
        with remembered("features", items.root) as memory:
            return (yield from make_pairs(items, pairs, self.retrieve, memory))


def _trained(
    trainer: Trainer, folder: Path, items: ItemSet, stop: Callable[[], bool]
) -> Iterator[TrainEvent]:
    """The iterations, noted in the run's tables, and the best and the last adapter."""
    first = trainer.processes.first
    with ExitStack() as files:
        log = files.enter_context(RunLog(folder, trainer.state.step)) if first else None
        for event in trainer.events(stop):
            if log is not None:
                log.note(event)
            if isinstance(event, ValidationEvent) and event.best and first:
                _save_adapter(trainer, folder / BEST, items)
            yield event
    if first:
        _save_adapter(trainer, folder / ADAPTER, items)
        yield SavedEvent(trainer.state.step, folder / ADAPTER)


def _save_adapter(trainer: Trainer, path: Path, items: ItemSet) -> None:
    """Write the adapter as it is now, with what it was trained on."""
    config, state = trainer.config, trainer.state
    with torch.device("meta"):
        adapter = Adapter(trainer.learner.adapter.config)
    prefix = "adapter."
    weights = {
        key.removeprefix(prefix): value
        for key, value in trainer.weights().items()
        if key.startswith(prefix)
    }
    adapter.load_state_dict(weights, assign=True)
    # Others have no use for where things are on this machine, and it isn't theirs to know.
    names = {name: Path(getattr(config, name)).name for name in ("data", "videos", "start")}
    adapter.save(
        path,
        {
            "training": asdict(config) | names,
            "data": {"name": items.root.name, "layout": items.layout, "items": len(items)},
            "step": state.step,
            "validation": dict(state.scores),
            "versions": versions(),
            "terms": bundle_row(config.bundle).terms,
        },
    )
