"""The media layer: random frames, decoding in order and ahead, the sound, and long clips."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

from moca_core import paths
from moca_core.bench.footage import draw_clip, repeat_clip
from moca_core.bench.report import BenchOptions, Row, Watch, percentile
from moca_core.media.audio import open_audio
from moca_core.media.video import VideoReader
from moca_core.media.waveform import WaveformPyramid, spectrogram
from moca_core.types import StageEvent

SEEK_WITHIN_MS = 100.0
CLIP_S, LONG_S = 20, 600
SEEKS, STEPS_BACK = 60, 60
PICTURE_PX = 1600
"""Width in pixels of the waveform and the spectrogram that are drawn."""


def measure(options: BenchOptions) -> Iterator[StageEvent | Row]:
    """Yield what access to frames and sound costs; see `Bench.run`."""
    # First, while little memory was used and given back that would hide what it takes.
    yield StageEvent(f"Making a clip of {LONG_S} s")
    long_clip = options.scratch / "long.mp4"
    repeat_clip(options.clip or paths.resource("demo/demo.mp4"), long_clip, LONG_S)
    yield from _long(long_clip)
    clip = options.clip
    if clip is None:
        clip = options.scratch / "clip.mp4"
        for number in draw_clip(clip, CLIP_S):
            yield StageEvent("Making a clip of 720p", number, CLIP_S * 30)
    watch = Watch()
    for _ in range(options.repeats):
        with watch.timed("open"), VideoReader(clip) as reader:
            has_audio = reader.info.has_audio
    yield watch.row("open", "opening the clip")
    yield from _seeks(clip)
    for ahead in (False, True):
        yield StageEvent("Decoding in order")
        yield from _decoding(clip, ahead)
    yield StageEvent("Stepping back")
    yield from _steps_back(clip)
    if has_audio:
        yield StageEvent("The sound")
        yield from _sound(clip)


def _seeks(clip: Path) -> Iterator[StageEvent | Row]:
    for ahead in (False, True):
        title = "random frame, while decoding ahead" if ahead else "random frame"
        # The smallest cache, so that each seek decodes.
        with VideoReader(clip, cache_bytes=1, decode_ahead=ahead) as reader:
            watch = Watch()
            for turn, index in enumerate(
                random.Random(0).choices(range(reader.info.frame_count), k=SEEKS)
            ):
                yield StageEvent(f"Seeking: {title}", turn, SEEKS)
                with watch.timed("seek"):
                    reader.frame(index)
        yield watch.row("seek", title, at_most=None if ahead else SEEK_WITHIN_MS)
        worst = 1000 * percentile(watch.wall_s["seek"], 0.95)
        yield Row(f"{title}, 95 % within", (worst,), "ms")


def _decoding(clip: Path, ahead: bool) -> Iterator[Row]:
    title = "in order, decoded ahead" if ahead else "in order"
    with VideoReader(clip, cache_bytes=64 * 2**20, decode_ahead=ahead) as reader:
        count = reader.info.frame_count
        before = resident_mib()
        half = before
        began = time.perf_counter()
        for index in range(count):
            reader.frame(index)
            if index == count // 2:
                half = resident_mib()
        seconds = time.perf_counter() - began
        yield Row(f"{title}: frames a second", (count / seconds,), "1/s")
        yield Row(f"{title}: growth of memory", (resident_mib() - before,), "MiB")
        yield Row(f"{title}: growth in the second half", (resident_mib() - half,), "MiB")


def _steps_back(clip: Path) -> Iterator[Row]:
    watch = Watch()
    with VideoReader(clip) as reader:
        middle = reader.info.frame_count // 2
        reader.frame(middle)
        for index in range(middle - 1, max(middle - 1 - STEPS_BACK, -1), -1):
            with watch.timed("back"):
                reader.frame(index)
    if watch.wall_s:
        yield watch.row("back", "a frame back")


def _sound(clip: Path) -> Iterator[Row]:
    watch = Watch()
    with watch.timed("decode"):
        reader = open_audio(clip)
    with reader:
        with watch.timed("pyramid"):
            pyramid = WaveformPyramid(reader.rate_hz, reader)
            pyramid.add(reader.window(0, reader.duration_s))
            pyramid.range(0, reader.duration_s, PICTURE_PX)
        with watch.timed("repaint"):
            pyramid.range(0.1, reader.duration_s, PICTURE_PX)
        with watch.timed("spectrogram"):
            spectrogram(reader, 0, reader.duration_s, PICTURE_PX)
    yield watch.row("decode", "decoding the sound")
    yield watch.row("pyramid", "waveform: the pyramid")
    yield watch.row("repaint", "waveform: another picture of it")
    yield watch.row("spectrogram", "spectrogram")


def _long(clip: Path) -> Iterator[Row]:
    """Opening ten minutes: the index of every frame, and what it holds in memory."""
    watch = Watch()
    before = resident_mib()
    with watch.timed("open"):
        reader = VideoReader(clip, cache_bytes=1)
    with reader:
        yield watch.row("open", "10 min: opening")
        yield Row("10 min: memory of the index", (resident_mib() - before,), "MiB")
        with watch.timed("end"):
            reader.frame(reader.info.frame_count - 1)
        yield watch.row("end", "10 min: the last frame")
        if reader.info.has_audio:
            before = resident_mib()
            with watch.timed("sound"):
                sound = open_audio(clip)
            with sound:
                yield watch.row("sound", "10 min: decoding the sound")
                yield Row("10 min: memory of the sound", (resident_mib() - before,), "MiB")


def resident_mib() -> float:
    """Memory that this process holds now, MiB; its peak where the system doesn't tell."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    try:
        import resource
    except ImportError:
        return 0.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
