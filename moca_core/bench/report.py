"""What a benchmark measures: rows with their samples and targets, and the machine beside them."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Row:
    """A measured quantity.

    Attributes
    ----------
    name : what it is, in words.
    samples : the measurements; their median is the row's value.
    unit : of the samples.
    at_most, at_least : the target that the value should keep, if it has one.
    cpu : the same in processor time of all threads, where it was measured. On a machine that does
        other work too it tells more.
    """

    name: str
    samples: tuple[float, ...]
    unit: str
    at_most: float | None = None
    at_least: float | None = None
    cpu: tuple[float, ...] = ()

    @property
    def value(self) -> float:
        """Median of the samples."""
        return float(statistics.median(self.samples))

    @property
    def met(self) -> bool | None:
        """True if the value keeps its target, None if it has none."""
        if self.at_most is None and self.at_least is None:
            return None
        above = self.at_least is None or self.value >= self.at_least
        return above and (self.at_most is None or self.value <= self.at_most)


@dataclass(frozen=True)
class BenchOptions:
    """What the benchmarks can be told.

    Attributes
    ----------
    scratch : a temporary folder, deleted afterwards.
    clip : measure this clip where the benchmark measures one, instead of its own.
    repeats : how often what is measured is repeated.
    dataset, limit : masks to compare on, and how many of its cases.
    bundle : which encoders; None takes the benchmark's own.
    device, precision : see `choose_device`.
    batch : pictures at once.
    compile : compile the transformers' blocks.
    tiny : models of the same make and a few thousand times less work, for tests.
    """

    scratch: Path
    clip: Path | None = None
    repeats: int = 5
    dataset: Path | None = None
    limit: int | None = None
    bundle: str | None = None
    device: str = "auto"
    precision: str = "auto"
    batch: int = 8
    compile: bool = False
    tiny: bool = False


@dataclass
class Watch:
    """Collects durations by name: wall clock, and processor time of all threads."""

    wall_s: dict[str, list[float]] = field(default_factory=dict)
    cpu_s: dict[str, list[float]] = field(default_factory=dict)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the time of a `with` block to `name`."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.add(name, time.perf_counter() - wall, time.process_time() - cpu)

    def add(self, name: str, wall_s: float, cpu_s: float) -> None:
        """Add a sample of `name`."""
        self.wall_s.setdefault(name, []).append(wall_s)
        self.cpu_s.setdefault(name, []).append(cpu_s)

    def row(self, name: str, title: str, at_most: float | None = None) -> Row:
        """The times of `name` in milliseconds."""
        wall, cpu = (
            tuple(1000 * value for value in times[name]) for times in (self.wall_s, self.cpu_s)
        )
        return Row(title, wall, "ms", at_most, cpu=cpu)


def percentile(samples: Sequence[float], share: float) -> float:
    """The smallest sample that `share` (0 to 1) of the samples don't exceed."""
    ordered = sorted(samples)
    rank = max(0, -int(-share * len(ordered) // 1) - 1)
    return float(ordered[rank])


def text_table(rows: Sequence[Row]) -> str:
    """Rows as lines: name, median, unit, spread of several samples, processor time, target."""
    width = max((len(row.name) for row in rows), default=0)
    lines = []
    for row in rows:
        line = f"{row.name:{width}}  {_number(row.value):>8} {row.unit:<5}"
        parts = []
        if len(row.samples) > 1:
            low, high = _number(min(row.samples)), _number(max(row.samples))
            parts.append(f"{low} to {high} in {len(row.samples)}")
        if row.cpu:
            parts.append(f"processor {_number(statistics.median(row.cpu))}")
        if row.met is not None:
            parts.append(f"target {_target(row)}: {'met' if row.met else 'NOT met'}")
        lines.append(f"{line}  {'; '.join(parts)}".rstrip())
    return "\n".join(lines)


def as_json(name: str, rows: Sequence[Row], machine: dict[str, Any]) -> dict[str, Any]:
    """What `--json` writes."""
    return {
        "bench": name,
        "machine": machine,
        "rows": [
            {
                "name": row.name,
                "value": row.value,
                "unit": row.unit,
                "samples": list(row.samples),
                "cpu": list(row.cpu),
                "at_most": row.at_most,
                "at_least": row.at_least,
                "met": row.met,
            }
            for row in rows
        ],
    }


def machine_facts() -> dict[str, Any]:
    """Processor, memory, load, threads and versions, that the numbers depend on."""
    import torch

    from moca_core.export.results import versions

    facts: dict[str, Any] = {
        "system": platform.platform(terse=True),
        "processor": _processor(),
        "cores": cores(),
        "torch_threads": torch.get_num_threads(),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", ""),
        "versions": versions(),
    }
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        facts["memory_gib"] = round(pages / 2**30, 1)
    return facts


def load_average() -> float | None:
    """Processes that want a core, mean of the last minute; None where the system doesn't tell."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _target(row: Row) -> str:
    parts = []
    if row.at_least is not None:
        parts.append(f"at least {_number(row.at_least)}")
    if row.at_most is not None:
        parts.append(f"at most {_number(row.at_most)}")
    return " and ".join(parts)
