"""One key frame of 720p: its stages, and guided prompts against the grid of SAM's automatic mode.

Both modes run on the same picture with the same encoders, in turn, so that whatever else the
machine does is shared by them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moca_core import paths
from moca_core.bench.footage import enlarged, middle_frame
from moca_core.bench.report import BenchOptions, Row, Watch
from moca_core.config import SegmentConfig
from moca_core.media.audio import frame_window, open_audio
from moca_core.models.bundles import Bundle
from moca_core.pipeline.analysis import FrameAnalysis
from moca_core.pipeline.segmenter import Segmenter
from moca_core.types import RgbImage, StageEvent

ENCODING, DECODING = "proposals", "masks"
"""The bundle's stages that embed the picture for SAM, and that ask SAM and choose proposals."""
SPEED_UP = 5.0
"""The target: so many times faster than the grid."""
MODES = ("guided", "grid")


def measure(options: BenchOptions) -> Iterator[StageEvent | Row]:
    """Yield the stage times of both modes and how they compare; see `Bench.run`."""
    clip = options.clip or paths.resource("demo/demo.mp4")
    segmenter = Segmenter(device="cpu")
    yield from (event for event in segmenter.load() if isinstance(event, StageEvent))
    bundle = segmenter.bundle
    rgb = enlarged(middle_frame(clip))
    wave = middle_sound(clip, bundle)
    watches = {mode: Watch() for mode in MODES}
    analyses: dict[str, FrameAnalysis] = {}
    for turn in range(options.repeats + 1):
        for mode in MODES:
            yield StageEvent(f"A key frame, {mode}", turn, options.repeats + 1)
            # The first turn warms up: allocators, thread pools, the libraries' kernels.
            watch = watches[mode] if turn else Watch()
            config = SegmentConfig(proposals=mode)
            analyses[mode] = timed_look(bundle, rgb, config, watch)
            with watch.timed("hearing"):
                heard = bundle.hear(wave)
            with watch.timed("deciding"):
                segmenter.decide(analyses[mode], heard, rgb)
    for mode in MODES:
        yield from _stage_rows(mode, watches[mode], analyses[mode])
    yield from _comparison(watches["guided"], watches["grid"])


def middle_sound(clip: Path, bundle: Bundle) -> NDArray[np.float32]:
    """(n,) mono sound around the picture of `middle_frame`."""
    with open_audio(clip, bundle.rate_hz) as reader:
        return reader.window(
            *frame_window(reader.duration_s / 3, bundle.window_s, reader.duration_s)
        )


def timed_look(bundle: Bundle, rgb: RgbImage, config: SegmentConfig, watch: Watch) -> FrameAnalysis:
    """Analyse a picture; the time of each stage and of the whole goes to `watch`."""
    steps = bundle.look([rgb], config)
    wall: dict[str, float] = {}
    cpu: dict[str, float] = {}
    stage = ""
    while True:
        wall_before, cpu_before = time.perf_counter(), time.process_time()
        analysis: FrameAnalysis | None = None
        following = ""
        try:
            event = next(steps)
            following = event.stage if isinstance(event, StageEvent) else stage
        except StopIteration as end:
            (analysis,) = end.value
        wall[stage] = wall.get(stage, 0.0) + time.perf_counter() - wall_before
        cpu[stage] = cpu.get(stage, 0.0) + time.process_time() - cpu_before
        if analysis is not None:
            break
        stage = following
    for name in wall:
        if name:
            watch.add(name, wall[name], cpu[name])
    watch.add("all", sum(wall.values()), sum(cpu.values()))
    return analysis


def _stage_rows(mode: str, watch: Watch, analysis: FrameAnalysis) -> Iterator[Row]:
    titles = {
        ENCODING: "SAM encodes the picture",
        DECODING: f"SAM answers {len(analysis.proposals.prompts)} prompts",
        "all": "all of the picture",
    }
    for name in watch.wall_s:
        yield watch.row(name, f"{mode}: {titles.get(name, name)}")
    yield Row(f"{mode}: proposals that are left", (float(len(analysis.proposals)),), "")


def _comparison(guided: Watch, grid: Watch) -> Iterator[Row]:
    """How many times faster guided prompts are, turn by turn."""

    def ratio(title: str, *stages: str, at_least: float | None = None) -> Row:
        wall, cpu = (
            tuple(
                sum(slow) / max(sum(fast), 1e-9)
                for slow, fast in zip(
                    zip(*(of_grid[stage] for stage in stages), strict=True),
                    zip(*(of_guided[stage] for stage in stages), strict=True),
                    strict=True,
                )
            )
            for of_grid, of_guided in ((grid.wall_s, guided.wall_s), (grid.cpu_s, guided.cpu_s))
        )
        return Row(f"grid / guided: {title}", wall, "x", at_least=at_least, cpu=cpu)

    yield ratio("prompts to proposals", DECODING, at_least=SPEED_UP)
    yield ratio("with encoding the picture", ENCODING, DECODING)
    yield ratio("all of the picture", "all")
