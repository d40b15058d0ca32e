"""The window's benchmarks, which live in `moca_gui.bench`: the core has no Qt of its own."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any

from moca_core.bench.report import BenchOptions, Row
from moca_core.commands.gui import explained_import
from moca_core.types import StageEvent


def measure_start(options: BenchOptions) -> Iterator[StageEvent | Row]:
    """Yield how long the window takes to be seen; see `Bench.run`."""
    yield from _of_gui("start_up")(options)


def measure_playback(options: BenchOptions) -> Iterator[StageEvent | Row]:
    """Yield the rate and the memory of playback with masks; see `Bench.run`."""
    yield from _of_gui("playback")(options)


def _of_gui(name: str) -> Callable[[BenchOptions], Iterator[Any]]:
    with explained_import():
        return getattr(importlib.import_module("moca_gui.bench"), name)
