"""The `imagebind` bundle's encoders in full size on random weights: fast, and naively.

Fast is what the program does: batches, matrices in the device's best precision, guided prompts.
Naive is the same models frame by frame in float32, asked by SAM's grid of 32 x 32 points. Both are
held against the arithmetic of their parts at the rate at which the device multiplies large
matrices in the same precision, measured in the same run. Random weights need no file; they cost
what the real ones cost.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray

from moca_core import paths
from moca_core.bench.footage import enlarged
from moca_core.bench.pipeline import frame_seconds
from moca_core.bench.random_models import Encoders, random_encoders
from moca_core.bench.rates import matrix_rate, operations
from moca_core.bench.report import BenchOptions, Row, Watch
from moca_core.config import SegmentConfig
from moca_core.device import DeviceChoice, choose_device
from moca_core.errors import ConfigError, DeviceError
from moca_core.media.video import VideoReader
from moca_core.models.compute import empty_cache, out_of_memory, synchronise, torch_dtype
from moca_core.models.sam import SamEmbedding
from moca_core.pipeline.proposals import GridSettings, grid_points
from moca_core.types import RgbImage, StageEvent

FRAMES_A_SECOND, SPEED_UP, MEMORY_MIB = 30.0, 20.0, 4096.0
"""The targets on a GPU: end to end, over the naive pipeline, and beside the weights."""
NEED_BYTES = 6 * 2**30
"""GPU memory without which measuring isn't tried: float32 weights and room to compute."""
GUIDED_PROMPTS = 12
_TINY_GRID = 5
_SALIENCY_SIDE = 448
_WAVE_SAMPLES = 32_000
_MIB = 2**20
_CACHE_BYTES = 64 * _MIB


@dataclass(frozen=True, eq=False)
class Work:
    """What the stages are given: B pictures (H, W, 3) uint8, and the sound of each, (n,) mono.

    Attributes
    ----------
    points : (K, 2) x, y in pixels: what SAM is asked in every picture.
    config, grid : how the whole pipeline proposes masks.
    prompts : how many points are decoded at once; None leaves it to SAM.
    embeddings : of the pictures, set by the stage that makes them.
    """

    rgbs: Sequence[RgbImage]
    wave: NDArray[np.float32]
    points: NDArray[np.float32]
    config: SegmentConfig
    grid: GridSettings = field(default_factory=GridSettings)
    prompts: int | None = None
    embeddings: list[SamEmbedding] = field(default_factory=list)


def _see(encoders: Encoders, work: Work) -> None:
    encoders.imagebind.see(work.rgbs, alone=True)  # as the bundle by default


def _hear(encoders: Encoders, work: Work) -> None:
    for _ in work.rgbs:
        encoders.imagebind.hear(work.wave)


def _attend(encoders: Encoders, work: Work) -> None:
    encoders.dino.attentions(work.rgbs, _SALIENCY_SIDE)


def _encode(encoders: Encoders, work: Work) -> None:
    work.embeddings[:] = encoders.sam.encode(work.rgbs, batch=len(work.rgbs))


def _decode(encoders: Encoders, work: Work) -> None:
    labels = np.ones((len(work.points), 1), dtype=np.int64)
    for embedding in work.embeddings:
        encoders.sam.decode(embedding, work.points[:, None], labels, batch=work.prompts)


STAGES: Mapping[str, Callable[[Encoders, Work], None]] = MappingProxyType(
    {
        "ImageBind sees": _see,
        "ImageBind hears": _hear,
        "DINO attends": _attend,
        "SAM encodes": _encode,
        "SAM answers": _decode,
    }
)
"""In the order of the pipeline: SAM's answers need what it encoded."""


@dataclass
class Measured:
    """Times and operations of each stage for one frame, and the memory.

    Attributes
    ----------
    whole_s : seconds of the pipeline as a whole, one number a repeat.
    rate : operations a second of a large matrix product in the same precision.
    weights_mib : of the weights.
    beside_mib : peak of GPU memory beside the weights; None on a CPU.
    """

    watch: Watch
    whole_s: tuple[float, ...]
    rate: float
    weights_mib: float
    beside_mib: float | None
    operations: dict[str, int] = field(default_factory=dict)

    def stages_s(self) -> tuple[float, ...]:
        """Seconds of all stages of a frame, one number a repeat."""
        return tuple(map(sum, zip(*(self.watch.wall_s[name] for name in STAGES), strict=True)))


def measure(options: BenchOptions) -> Iterator[StageEvent | Row]:
    """Yield what each stage takes, fast and naively; see `Bench.run`."""
    if options.bundle not in (None, "imagebind"):
        raise ConfigError(
            f"{options.bundle!r} isn't measured by this",
            "Use --bundle imagebind, or `moca bench frame` for the compact one.",
        )
    choice = choose_device(options.device, options.precision, 0 if options.tiny else NEED_BYTES)
    yield StageEvent(str(choice))
    rgbs, wave = material(options)
    size = rgbs[0].shape[0], rgbs[0].shape[1]
    guided = grid_points(size, 4)[:GUIDED_PROMPTS]
    grid = GridSettings(points_per_side=_TINY_GRID) if options.tiny else GridSettings()
    everything = grid_points(size, grid.points_per_side)
    encoders = random_encoders(choice, tiny=options.tiny, compiled=options.compile)
    config = SegmentConfig(bundle="imagebind")
    fast = yield from _times(encoders, Work(rgbs, wave, guided, config), options.repeats, "fast")
    # Before the next ones: one set of weights at a time is what the memory must hold.
    del encoders
    gc.collect()
    empty_cache()
    plain = DeviceChoice(choice.device, "float32", choice.reason)
    encoders = random_encoders(plain, tiny=options.tiny)
    naively = replace(config, proposals="grid")
    work = Work(rgbs[:1], wave, everything, naively, grid, grid.points_per_batch)
    naive = yield from _times(encoders, work, options.repeats, "naive")
    yield StageEvent("Counting operations")
    naive.operations = _counts(encoders, work)
    fast.operations = _counts(encoders, Work(rgbs[:1], wave, guided, config))
    yield from _stage_rows(fast, naive, (len(guided), len(everything)))
    yield from _total_rows(fast, naive, targets=choice.device != "cpu" and not options.tiny)


def material(options: BenchOptions) -> tuple[list[RgbImage], NDArray[np.float32]]:
    """A batch of different 720p pictures (tiny: small ones), and 2 s of noise."""
    clip = options.clip or paths.resource("demo/demo.mp4")
    with VideoReader(clip, cache_bytes=_CACHE_BYTES) as reader:
        count = reader.info.frame_count
        rgbs = [reader.frame(turn * count // options.batch) for turn in range(options.batch)]
    if options.tiny:
        rgbs = [np.ascontiguousarray(rgb[::8, ::8]) for rgb in rgbs]
    else:
        rgbs = [enlarged(rgb) for rgb in rgbs]
    wave = np.random.default_rng(0).normal(0, 0.1, _WAVE_SAMPLES).astype(np.float32)
    return rgbs, wave


def _times(
    encoders: Encoders, work: Work, repeats: int, title: str
) -> Generator[StageEvent, None, Measured]:
    """Time every stage and the whole on a batch, after a warm-up; times are of one frame."""
    device = encoders.choice.device
    on_gpu = torch.device(device).type == "cuda"
    watch = Watch()
    held = torch.cuda.memory_allocated(device) if on_gpu else 0
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    for turn in range(repeats + 1):
        for name, stage in STAGES.items():
            yield StageEvent(f"{name}, {title}", turn, repeats + 1)
            # The first turn warms up: allocators, kernels that are chosen or compiled.
            _time(stage, encoders, work, watch if turn else Watch(), name)
    whole = yield from frame_seconds(
        encoders, work.rgbs, work.wave, work.config, work.grid, repeats, title
    )
    peak = torch.cuda.max_memory_allocated(device) - held if on_gpu else None
    yield StageEvent(f"A large matrix product in {encoders.choice.dtype}")
    return Measured(
        watch,
        whole,
        matrix_rate(device, torch_dtype(encoders.choice), repeats),
        encoders.weights_bytes() / _MIB,
        None if peak is None else peak / _MIB,
    )


def _time(
    stage: Callable[[Encoders, Work], None],
    encoders: Encoders,
    work: Work,
    watch: Watch,
    name: str,
) -> None:
    whole, device = Watch(), encoders.choice.device
    synchronise(device)
    try:
        with whole.timed(name):
            stage(encoders, work)
            synchronise(device)
    except RuntimeError as error:
        if out_of_memory(error):
            raise DeviceError(
                f"{device}: memory ran out with {len(work.rgbs)} pictures at once",
                "Use a smaller --batch.",
            ) from error
        raise
    count = len(work.rgbs)
    watch.add(name, whole.wall_s[name][0] / count, whole.cpu_s[name][0] / count)


def _counts(encoders: Encoders, work: Work) -> dict[str, int]:
    """Operations of each stage."""
    return {
        name: operations(lambda stage=stage: stage(encoders, work))  # type: ignore[misc]
        for name, stage in STAGES.items()
    }


def _stage_rows(fast: Measured, naive: Measured, prompts: tuple[int, int]) -> Iterator[Row]:
    for name in STAGES:
        asked = [f" {count} prompts" if name == "SAM answers" else "" for count in prompts]
        for run, title, words in zip((fast, naive), ("fast", "naive"), asked, strict=True):
            label = f"{name}{words}, {title}"
            yield run.watch.row(name, f"{label}: a frame")
            yield Row(f"{label}: arithmetic", (run.operations[name] / 1e9,), "GFLOP")
            least_ms = 1000 * run.operations[name] / run.rate
            yield Row(f"{label}: that at the matrix rate", (least_ms,), "ms")
        ratios = _ratios(naive.watch.wall_s[name], fast.watch.wall_s[name])
        yield Row(f"{name}: naive / fast", ratios, "x")


def _total_rows(fast: Measured, naive: Measured, targets: bool) -> Iterator[Row]:
    for run, title in ((fast, "fast"), (naive, "naive")):
        wanted = targets and run is fast
        yield Row(f"matrix rate, {title}", (run.rate / 1e12,), "TFLOP/s")
        least_s = sum(run.operations.values()) / run.rate
        times = run.stages_s()
        yield Row(f"all stages, {title}: a frame", tuple(1000 * time for time in times), "ms")
        shares = tuple(100 * least_s / time for time in times)
        yield Row(f"all stages, {title}: share of the matrix rate", shares, "%")
        whole = f"pipeline end to end, {title}"
        yield Row(f"{whole}: a frame", tuple(1000 * time for time in run.whole_s), "ms")
        yield Row(
            f"{whole}: frames a second",
            tuple(1 / time for time in run.whole_s),
            "1/s",
            at_least=FRAMES_A_SECOND if wanted else None,
        )
        yield Row(f"weights, {title}", (run.weights_mib,), "MiB")
        if run.beside_mib is not None:
            limit = MEMORY_MIB if wanted else None
            yield Row(f"peak beside the weights, {title}", (run.beside_mib,), "MiB", at_most=limit)
    yield Row("all stages: naive / fast", _ratios(naive.stages_s(), fast.stages_s()), "x")
    yield Row(
        "pipeline end to end: naive / fast",
        _ratios(naive.whole_s, fast.whole_s),
        "x",
        at_least=SPEED_UP if targets else None,
    )


def _ratios(slow: Sequence[float], quick: Sequence[float]) -> tuple[float, ...]:
    return tuple(a / b for a, b in zip(slow, quick, strict=True))
