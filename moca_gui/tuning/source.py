"""What the window takes from the core to train: generators for jobs, and small facts.

Whatever imports torch does so in the worker.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from moca_core import paths
from moca_core.errors import MocaError, StorageError
from moca_core.models.registry import bundle_row
from moca_core.training.config import TrainConfig
from moca_core.types import StageEvent

if TYPE_CHECKING:
    from moca_core.training.events import TrainEvent

ADAPTER_FILE, BEST_FILE, CONFIG_FILE = "adapter.safetensors", "best.safetensors", "config.toml"
CHECKPOINT_FILE = "last.pt"
"""As in `moca_core.training`'s `run` and `checkpoint`, which import torch."""
RUN_FILES = (
    *(ADAPTER_FILE, BEST_FILE, CONFIG_FILE, CHECKPOINT_FILE, ".lock"),
    *("check.csv", "metrics.csv", "events.jsonl", "pairs-training.npz", "pairs-validation.npz"),
)
"""All that a run leaves in its folder."""

ROWS_SHOWN = 2000
"""Rows of a check that a table shows; all of them are in its CSV file."""
_KEPT_ADAPTERS = 12
_EVERY_S = 0.03

T = TypeVar("T")


@dataclass(frozen=True)
class ProblemRow:
    """Why an item can't be learnt from."""

    problem: str
    item: str
    what: str


@dataclass(frozen=True, eq=False)
class Checked:
    """What the data check found.

    Attributes
    ----------
    total, usable : items, and those that can be learnt from.
    recordings : of the usable ones.
    problems : the first `ROWS_SHOWN` of `left_out`.
    error : why training can't begin with these data; None if it can.
    write_csv : writes all problems to a file; raises `StorageError`.
    """

    total: int
    usable: int
    recordings: int
    problems: tuple[ProblemRow, ...]
    left_out: int
    error: MocaError | None
    write_csv: Callable[[Path], None]


@dataclass(frozen=True)
class AdapterFacts:
    """An adapter's file: the bundle that it belongs to, and a line about it."""

    path: Path
    bundle: str
    about: str


@dataclass(frozen=True)
class Estimate:
    """What a run is going to take, in words."""

    text: str


class TuningSource(Protocol):
    """What the fine-tuning window needs; all generators are consumed in a worker."""

    def check(self, config: TrainConfig) -> Iterator[StageEvent | Checked]:
        """Check the data; the last event is a `Checked`. Raises `MocaError`."""
        ...

    def fit(
        self, config: TrainConfig, folder: Path, stop: Callable[[], bool]
    ) -> Iterator[TrainEvent]:
        """Train; see `moca_core.training.run.fit`."""
        ...

    def remove(self, folder: Path) -> None:
        """Remove the files of a run, and its folder if nothing else is in it."""
        ...

    def facts(self, path: Path, bundle: str = "") -> Iterator[AdapterFacts]:
        """What an adapter's file is; raises `WeightsError` if it isn't one of `bundle`."""
        ...

    def adopt(self, path: Path) -> Iterator[AdapterFacts]:
        """Copy an adapter to a place of the program's own, under a name that tells its content."""
        ...

    def estimate(self, config: TrainConfig, items: int) -> Iterator[Estimate]:
        """How long it is going to take, and how much memory."""
        ...


class LocalTuning:
    """The trainer of the core, on this machine."""

    def check(self, config: TrainConfig) -> Iterator[StageEvent | Checked]:
        """The check with which a run begins; raises `DatasetError`."""
        from moca_core.training.run import checked

        with closing(checked(config)) as steps:
            report = yield from _thinned(steps)
        error: MocaError | None = None
        recordings = 0
        try:
            recordings = len(set(report.rest().recordings.tolist()))
        except MocaError as problem:
            error = problem
        rows = tuple(ProblemRow(p.kind, p.key, p.what) for p in report.problems[:ROWS_SHOWN])
        left_out, total = len(report.problems), len(report.items)
        yield Checked(total, total - left_out, recordings, rows, left_out, error, report.write_csv)

    def fit(
        self, config: TrainConfig, folder: Path, stop: Callable[[], bool]
    ) -> Iterator[TrainEvent]:
        """Train to the end, or until `stop`."""
        from moca_core.export.results import prepare_folder
        from moca_core.training.run import fit

        yield StageEvent("Starting")
        prepare_folder(folder)
        with closing(fit(config, folder, stop=stop)) as events:
            yield from events

    def remove(self, folder: Path) -> None:
        """Remove the files of a run; raises `StorageError`."""
        try:
            for name in RUN_FILES:
                (folder / name).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                folder.rmdir()  # only succeeds on an empty one
        except OSError as error:
            raise StorageError(
                f"{folder}: can't be removed ({error.strerror or error})", "Remove it yourself."
            ) from error

    def facts(self, path: Path, bundle: str = "") -> Iterator[AdapterFacts]:
        """Read an adapter's header; raises `WeightsError`."""
        from moca_core.models.adapter_file import read_facts

        found = read_facts(path, bundle)
        yield AdapterFacts(path, found.config.bundle, about_adapter(found.config, found.info))

    def adopt(self, path: Path) -> Iterator[AdapterFacts]:
        """Copy a whole adapter; raises `WeightsError` or `StorageError`."""
        from moca_core.fileio import write_bytes
        from moca_core.models.adapter import Adapter
        from moca_core.models.adapter_file import read_facts

        found = read_facts(path)
        Adapter.load(path, found.config.bundle)  # every weight, before anything relies on it
        try:
            content = path.read_bytes()
        except OSError as error:
            raise StorageError(
                f"{path}: can't be read ({error.strerror or error})", "Choose another file."
            ) from error
        place = path
        if path.parent != paths.adapters_dir():
            name = f"{title_of(path)}-{hashlib.sha256(content).hexdigest()[:8]}.safetensors"
            place = paths.adapters_dir() / name
            write_bytes(place, content)
        os.utime(place)  # the last to be dropped
        _prune(place)
        yield AdapterFacts(place, found.config.bundle, about_adapter(found.config, found.info))

    def estimate(self, config: TrainConfig, items: int) -> Iterator[Estimate]:
        """Measure this machine for a moment; raises `ConfigError` or `DeviceError`."""
        from moca_core.training.estimate import estimate

        yield Estimate(str(estimate(config, items)))


def _thinned(steps: Generator[StageEvent, None, T]) -> Generator[StageEvent, None, T]:
    """No more signs of life than a window can show: hundreds of thousands of items have one each.

    Each stage's first comes through at once.
    """
    stage, shown = "", 0.0
    while True:
        try:
            event = next(steps)
        except StopIteration as end:
            return end.value
        now = time.monotonic()
        if event.stage != stage or now - shown >= _EVERY_S:
            stage, shown = event.stage, now
            yield event


def title_of(path: Path) -> str:
    """What to call an adapter: its file's name, or its run's where all files are called alike."""
    stem = path.stem
    return path.parent.name or stem if path.name in (ADAPTER_FILE, BEST_FILE) else stem


def shown_title(path: Path) -> str:
    """The title of an adapter that was adopted, without its content's name.

    >>> shown_title(Path("dogs-0a1b2c3d.safetensors"))
    'dogs'
    """
    title, _, content = path.stem.rpartition("-")
    return title if title and len(content) == 8 else path.stem


def about_adapter(config: Any, info: dict[str, Any]) -> str:
    """A line about an adapter: where it sits, and what it was trained on."""
    first, last = config.blocks[0], config.blocks[-1]
    places = f"block {first}" if first == last else f"blocks {first} to {last}"
    words = [f"{bundle_row(config.bundle).title.split(',')[0]}, {places}, {config.latents} latents"]
    data = info.get("data")
    if isinstance(data, dict) and data.get("name"):
        words.append(f"trained on {data['name']} ({data.get('items', '?')} items)")
    if info.get("step"):
        words.append(f"{info['step']} iterations")
    return "; ".join(words)


def _prune(keep: Path) -> None:
    """Drop the adopted adapters that weren't chosen for longest."""
    found: Sequence[Path] = sorted(
        keep.parent.glob("*.safetensors"), key=lambda path: path.stat().st_mtime_ns, reverse=True
    )
    for path in found[_KEPT_ADAPTERS:]:
        if path != keep:
            with contextlib.suppress(OSError):
                path.unlink()
