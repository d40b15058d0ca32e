"""An iteration of training with the feature cache and without, by how many blocks are adapted.

Both ways train the same adapter on the same draws, in turn; without the cache every picture and
sound of a batch is read and passes the frozen encoders anew, as a trainer without one would do,
and nothing is kept of the first adapted block either (`training.entered`).

What the cache can save is bounded by arithmetic, whatever it costs itself. With B triplets and
audio negatives, n adapted blocks and p frozen ones below them, an iteration takes 4 B (n - 1)
blocks forwards and, since nothing learns before the first adapter, as many backwards. Anew come
3 B (p + 1) blocks forwards. The row `arithmetic` has this from counted operations, the audio
encoder included; reading the files comes on top of it, and may save more.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from moca_core.bench.items import draw_items
from moca_core.bench.random_models import TINY_IMAGEBIND
from moca_core.bench.random_weights import fill as fill_weights
from moca_core.bench.rates import operations
from moca_core.bench.report import BenchOptions, Row, Watch
from moca_core.device import DeviceChoice, choose_device
from moca_core.errors import DatasetError
from moca_core.heap import keep_freed_memory
from moca_core.models import imagebind
from moca_core.models.adapter import Adapter, AdapterConfig
from moca_core.models.compute import autocast, synchronise, torch_dtype
from moca_core.models.frozen import Frozen, frozen_imagebind, load_frozen
from moca_core.models.imagebind import HUGE, ImageBind
from moca_core.models.registry import bundle_row
from moca_core.training.cache import FeatureCache
from moca_core.training.config import TrainConfig
from moca_core.training.data import ItemReader, ItemSet
from moca_core.training.events import StepEvent
from moca_core.training.examples import feature_keys, feature_shape, fill
from moca_core.training.layouts import open_items
from moca_core.training.learner import Batch, Learner
from moca_core.training.trainer import Examples, Parts, Trainer, batch_of, draw
from moca_core.types import StageEvent

SPEED_UP = 5.0
"""The target: an iteration with the cache against one without it, on a CPU."""
BLOCKS = 1, 2, 4
"""Numbers of adapted blocks that are measured."""
_ITEMS, _TINY_ITEMS, _LEAST_ITEMS = 24, 6, 4
_TINY_BLOCKS = 1, 2
_TINY_SIDE = 56
_MIB = 2**20
_CACHED, _ANEW = "cached", "anew"
_READ, _FROZEN, _HEAR = "reading files", "frozen blocks", "audio tokens"


@dataclass(frozen=True, eq=False)
class Drawn:
    """Items whose likes are drawn: what is far and near doesn't matter for the time."""

    items: ItemSet
    _visual: Callable[[Sequence[int]], NDArray[np.float32]]
    _audio: Callable[[Sequence[int]], NDArray[np.float32]]

    @property
    def recordings(self) -> NDArray[np.int64]:
        """(n,) every picture is a recording of its own."""
        return np.arange(len(self.items))

    sounds = recordings

    def positives(self, rows: NDArray[np.integer], seed: int) -> NDArray[np.integer]:
        """(B,) -> (B,) the next item of each."""
        return (rows + 1) % len(self.items)

    def negatives(self, rows: NDArray[np.integer], seed: int) -> NDArray[np.integer]:
        """(B,) -> (B,) the one after."""
        return (rows + 2) % len(self.items)

    def visual(self, rows: Sequence[int]) -> NDArray[np.float32]:
        """(B, 1 + N, Dv)."""
        return self._visual(rows)

    def audio(self, rows: Sequence[int]) -> NDArray[np.float32]:
        """(B, M, Da)."""
        return self._audio(rows)


@dataclass(frozen=True, eq=False)
class Anew:
    """What the cache holds, from the files each time, with the time of each part."""

    items: ItemSet
    reader: ItemReader
    frozen: Frozen
    first: int
    watch: Watch

    def visual(self, rows: Sequence[int]) -> NDArray[np.float32]:
        """(B, 1 + N, Dv) tokens that enter the first adapted block."""
        with self.watch.timed(_READ):
            rgbs = [self.reader.picture(self.items[row]) for row in rows]
        with self.watch.timed(_FROZEN):
            return self.frozen.prefix(rgbs, self.first)

    def audio(self, rows: Sequence[int]) -> NDArray[np.float32]:
        """(B, M, Da) audio tokens."""
        with self.watch.timed(_READ):
            waves = [self.reader.wave(self.items[row]) for row in rows]
        with self.watch.timed(_HEAR):
            return np.stack([self.frozen.hear(wave) for wave in waves])


def measure(options: BenchOptions) -> Iterator[StageEvent | Row]:
    """Yield what an iteration takes both ways, and what it consists of; see `Bench.run`."""
    bundle = options.bundle or ("imagebind" if options.tiny else "compact")
    choice = choose_device(options.device, options.precision, bundle_row(bundle).gpu_bytes)
    if choice.device == "cpu":
        keep_freed_memory()  # as training does
    yield StageEvent(str(choice))
    items = yield from _items(options)
    yield StageEvent("Loading the encoders")
    frozen = encoders(bundle, choice, options.tiny)
    for count in _TINY_BLOCKS if options.tiny else BLOCKS:
        yield from _iterations(options, items, frozen, choice, count)


def _items(options: BenchOptions) -> Generator[StageEvent, None, ItemSet]:
    """Pictures with sounds that are drawn, or a frame a second of a clip."""
    folder = options.scratch / "items"
    if options.clip is None:
        count = _TINY_ITEMS if options.tiny else _ITEMS
        for number in draw_items(folder, count):
            yield StageEvent("Drawing pictures and sounds", number, count)
        return open_items(folder, "pairs")
    folder.mkdir()
    shutil.copy(options.clip, folder)
    items = open_items(folder, "clips")
    if len(items) < _LEAST_ITEMS:
        raise DatasetError(
            f"{options.clip}: has {len(items)} frames to learn from",
            f"Use a clip of {_LEAST_ITEMS} s or more.",
        )
    return items


def encoders(bundle: str, choice: DeviceChoice, tiny: bool) -> Frozen:
    """The compact bundle's encoders, or ImageBind with random weights; tiny: small ones of it."""
    if bundle == "compact" and not tiny:
        return load_frozen(bundle, choice)
    with torch.device("meta"):
        model = ImageBind(TINY_IMAGEBIND if tiny else HUGE)
    fill_weights(model, choice.device, torch_dtype(choice), official=imagebind.official_name)
    return frozen_imagebind(model, _TINY_SIDE if tiny else bundle_row("imagebind").image_side)


def _iterations(
    options: BenchOptions, items: ItemSet, frozen: Frozen, choice: DeviceChoice, count: int
) -> Iterator[StageEvent | Row]:
    """Both ways with `count` adapted blocks, turn by turn."""
    blocks = frozen.blocks(count)
    watch = Watch()
    keys = feature_keys(items)
    with ExitStack() as held:
        cache = FeatureCache(options.scratch / f"features-{count}", feature_shape(frozen))
        held.callback(cache.close)
        with watch.timed("fill"):
            yield from fill(cache, items, keys, frozen, blocks[0])
        reader = held.enter_context(ItemReader(frozen.window_s, frozen.rate_hz))
        anew = Anew(items, reader, frozen, blocks[0], watch)
        ways: dict[str, Examples] = {
            _CACHED: Drawn(
                items,
                lambda rows: cache.visual([keys[row] for row in rows]),
                lambda rows: cache.audio([keys[row] for row in rows]),
            ),
            _ANEW: Drawn(items, anew.visual, anew.audio),
        }
        peak = yield from _timed_turns(options, ways, frozen, choice, blocks, watch)
        learner = _learner(options, frozen, choice, blocks)
        config = _config(options)
        batch = batch_of(ways[_CACHED], draw(ways[_CACHED], config, 0, 0)).to(choice.device)
        yield from _parts(learner, batch, choice, watch, options.repeats)
        counted = _counted(learner, batch, anew, choice)
    name = f"{len(blocks)} blocks of {frozen.stop}"
    yield from _rows(name, watch, counted, None if options.tiny else SPEED_UP)
    once = [1000 * times["fill"][0] / len(items) for times in (watch.wall_s, watch.cpu_s)]
    yield Row(f"{name}: features of an item, once", (once[0],), "ms", cpu=(once[1],))
    yield Row(f"{name}: features of an item on disk", (cache.shape.item_bytes / 1e6,), "MB")
    if peak is not None:
        yield Row(f"{name}: peak of GPU memory beside the weights", (peak / _MIB,), "MiB")


def _config(options: BenchOptions) -> TrainConfig:
    turns = options.repeats + 1
    return TrainConfig(
        batch=options.batch, iterations=turns, warmup=1, save_every=turns, validation=0.0
    )


def _learner(
    options: BenchOptions, frozen: Frozen, choice: DeviceChoice, blocks: tuple[int, ...]
) -> Learner:
    sizes = AdapterConfig(
        frozen.bundle, frozen.trunk.shape.width, frozen.audio_shape[1], blocks, reduction=8
    )
    torch.manual_seed(0)
    learner = Learner(Adapter(sizes), frozen.trunk, frozen.stop, frozen.grid, _config(options))
    return learner.to(choice.device)


def _timed_turns(
    options: BenchOptions,
    ways: dict[str, Examples],
    frozen: Frozen,
    choice: DeviceChoice,
    blocks: tuple[int, ...],
    watch: Watch,
) -> Generator[StageEvent, None, int | None]:
    """Iterations of both ways in turn; returns the peak of GPU memory with the cache, if any."""
    on_gpu = torch.device(choice.device).type == "cuda"
    events = {}
    for name, examples in ways.items():
        learner = _learner(options, frozen, choice, blocks)
        if name == _ANEW:
            learner.keep_pictures(0)
        trainer = Trainer(
            _config(options),
            learner,
            Parts(examples, None),
            options.scratch / f"run-{len(blocks)}-{name}",
            choice,
        )
        events[name] = trainer.events()
    held, peak = torch.cuda.memory_allocated(choice.device) if on_gpu else 0, 0
    for turn in range(options.repeats + 1):
        for name, steps in events.items():
            yield StageEvent(f"{len(blocks)} adapted blocks, {name}", turn, options.repeats + 1)
            if on_gpu:
                torch.cuda.reset_peak_memory_stats(choice.device)
            # The first turn warms up: allocators, thread pools, the libraries' kernels.
            kept = {part: len(times) for part, times in watch.wall_s.items()}
            with watch.timed(name):
                event = next(steps)
                synchronise(choice.device)
            assert isinstance(event, StepEvent)
            if not turn:
                _forget(watch, kept)
            if on_gpu and name == _CACHED:
                peak = max(peak, torch.cuda.max_memory_allocated(choice.device) - held)
    return peak if on_gpu else None


def _forget(watch: Watch, kept: dict[str, int]) -> None:
    """Drop the samples that came after `kept` of each name were there."""
    for times in (watch.wall_s, watch.cpu_s):
        for name, samples in times.items():
            del samples[kept.get(name, 0) :]


def _parts(
    learner: Learner, batch: Batch, choice: DeviceChoice, watch: Watch, repeats: int
) -> Iterator[StageEvent]:
    """Time a batch forwards and backwards, and the first adapted block without its adapter."""
    config = learner.adapter.config
    trunk = learner._trunk[0]
    pictures = torch.cat([batch.anchor, batch.positive, batch.negative, batch.anchor])
    for turn in range(repeats + 1):
        yield StageEvent("Forwards and backwards", turn, repeats + 1)
        own = watch if turn else Watch()
        with own.timed("forwards"):
            with autocast(choice):
                loss = learner(batch)[0]
            synchronise(choice.device)
        with own.timed("backwards"):
            loss.backward()
            synchronise(choice.device)
        learner.zero_grad(set_to_none=True)
        with own.timed("entry"), torch.no_grad(), autocast(choice):
            trunk.run(pictures, config.entry, config.entry + 1)
            synchronise(choice.device)


def _counted(learner: Learner, batch: Batch, anew: Anew, choice: DeviceChoice) -> tuple[int, int]:
    """Operations of an iteration with the cache, and of what the cache saves."""
    rgb, wave = anew.reader.read(anew.items[0])
    pictures, sounds = 3 * len(batch.anchor), 2 * len(batch.anchor)
    with_cache = operations(lambda: learner(batch)[0].backward())
    learner.zero_grad(set_to_none=True)
    seeing = operations(lambda: anew.frozen.prefix([rgb], anew.first + 1))
    hearing = operations(lambda: anew.frozen.hear(wave))
    return with_cache, pictures * seeing + sounds * hearing


def _rows(name: str, watch: Watch, counted: tuple[int, int], target: float | None) -> Iterator[Row]:
    turns = len(watch.wall_s[_CACHED])
    for part in (_READ, _FROZEN, _HEAR):
        _per_turn(watch, part, turns)
    yield watch.row(_CACHED, f"{name}: an iteration, features cached")
    yield watch.row("forwards", f"{name}: cached, forwards")
    yield watch.row("entry", f"{name}: cached, first adapted block without its adapter")
    yield watch.row("backwards", f"{name}: cached, backwards")
    yield watch.row(_ANEW, f"{name}: an iteration, features anew")
    for part in (_READ, _FROZEN, _HEAR):
        yield watch.row(part, f"{name}: anew, {part}")
    wall, cpu = (
        tuple(slow / quick for slow, quick in zip(times[_ANEW], times[_CACHED], strict=True))
        for times in (watch.wall_s, watch.cpu_s)
    )
    yield Row(f"{name}: anew / cached", wall, "x", at_least=target, cpu=cpu)
    rest, saved = counted
    yield Row(f"{name}: arithmetic, cached", (rest / 1e9,), "GFLOP")
    yield Row(f"{name}: arithmetic that the cache saves", (saved / 1e9,), "GFLOP")
    yield Row(f"{name}: arithmetic, anew / cached", ((rest + saved) / rest,), "x")


def _per_turn(watch: Watch, name: str, turns: int) -> None:
    """Sums of what was timed several times in each turn."""
    for times in (watch.wall_s, watch.cpu_s):
        times[name] = np.array(times[name]).reshape(turns, -1).sum(axis=1).tolist()
