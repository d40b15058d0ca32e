"""The benchmarks, one row each. Only the module of the one asked for is imported."""

from __future__ import annotations

import importlib
from collections.abc import Generator
from dataclasses import dataclass

from moca_core.bench.report import BenchOptions, Row
from moca_core.types import StageEvent

BenchEvent = StageEvent | Row


@dataclass(frozen=True)
class Bench:
    """A row of `BENCHES`.

    Attributes
    ----------
    name : as `moca bench` knows it.
    target : `module:function`; the function takes `BenchOptions` and yields stages and rows.
    help : what is measured, in a line.
    """

    name: str
    target: str
    help: str

    def run(self, options: BenchOptions) -> Generator[BenchEvent, None, None]:
        """Measure; a generator that can be closed at any yield. Raises `MocaError`."""
        module, _, function = self.target.partition(":")
        yield from getattr(importlib.import_module(module), function)(options)


BENCHES: dict[str, Bench] = {
    row.name: row
    for row in (
        Bench(
            "frame",
            "moca_core.bench.keyframe:measure",
            "one 720p key frame, stage by stage; guided prompts against the 8x8 grid",
        ),
        Bench(
            "clip",
            "moca_core.bench.clip:measure",
            "`moca segment` of 10 s, masks at every frame; again from the stored results",
        ),
        Bench(
            "memory",
            "moca_core.bench.clip:measure_memory",
            "peak memory of `moca segment`, 10 s against 10 min",
        ),
        Bench(
            "seek",
            "moca_core.bench.media:measure",
            "random frames and decoding of 720p with a key frame every 30; the sound",
        ),
        Bench(
            "start",
            "moca_core.bench.window:measure_start",
            "from `moca gui CLIP` until the window can be seen",
        ),
        Bench(
            "playback",
            "moca_core.bench.window:measure_playback",
            "frames a second with masks on top, and memory while playing",
        ),
        Bench(
            "encoders",
            "moca_core.bench.encoders:measure",
            "ImageBind, DINO and SAM in full size on random weights, fast and naively",
        ),
        Bench(
            "precision",
            "moca_core.bench.precision:measure",
            "masks in half precision against those in float32, on DATASET",
        ),
        Bench(
            "pma",
            "moca_core.bench.pma:measure",
            "matching of two pictures by one matrix product, and by unfolded windows; memory",
        ),
        Bench(
            "train",
            "moca_core.bench.train:measure",
            "an iteration of training with the feature cache and without; needs minutes on a CPU",
        ),
    )
}
