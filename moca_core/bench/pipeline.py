"""The whole pipeline of the `imagebind` bundle on pictures in memory, with random weights."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence

import numpy as np
from numpy.typing import NDArray

from moca_core.bench.random_models import Encoders
from moca_core.config import SegmentConfig
from moca_core.models.compute import synchronise
from moca_core.models.imagebind_bundle import ImageBindBundle
from moca_core.pipeline.analysis import FrameAnalysis
from moca_core.pipeline.proposals import GridSettings
from moca_core.pipeline.segmenter import Segmenter
from moca_core.types import RgbImage, StageEvent


def frame_seconds(
    encoders: Encoders,
    rgbs: Sequence[RgbImage],
    wave: NDArray[np.float32],
    config: SegmentConfig,
    grid: GridSettings,
    repeats: int,
    title: str,
) -> Generator[StageEvent, None, tuple[float, ...]]:
    """Seconds a frame from pictures and sounds to masks, one number a repeat, after a warm-up.

    Parameters
    ----------
    rgbs : B pictures (H, W, 3) uint8, looked at as one batch.
    wave : (n,) mono, heard anew for each of them.
    grid : of SAM's automatic masks, if `config` asks for them.
    """
    bundle = ImageBindBundle(encoders.choice, grid_settings=grid)
    bundle.use(encoders.imagebind, encoders.dino, encoders.sam)
    # The bundle is on its device already. A segmenter on a GPU would go over to the CPU where
    # memory runs out, which is no measurement.
    segmenter = Segmenter(config, "cpu", bundle=bundle)
    device = encoders.choice.device
    seconds = []
    for turn in range(repeats + 1):
        yield StageEvent(f"The whole pipeline, {title}", turn, repeats + 1)
        synchronise(device)
        began = time.perf_counter()
        for analysis, rgb in zip(_looked(segmenter, rgbs), rgbs, strict=True):
            segmenter.decide(analysis, bundle.hear(wave), rgb)
        synchronise(device)
        if turn:
            seconds.append((time.perf_counter() - began) / len(rgbs))
    return tuple(seconds)


def _looked(segmenter: Segmenter, rgbs: Sequence[RgbImage]) -> list[FrameAnalysis]:
    steps = segmenter.look(rgbs)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: list[FrameAnalysis] = end.value
            return found
