"""Speed and memory of the media layer: random seeks, sequential decoding, playback ahead, sound.

Makes a 60 s clip of 1280x720 at 30 fps with a key frame every 30 frames (H.264, B-frames, AAC)
in a temporary folder, or takes a clip of yours. Prints a table; `--json FILE` writes it.

    python benchmarks/bench_media.py [--clip FILE] [--json FILE] [--seeks N]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from moca_core.media.audio import open_audio
from moca_core.media.video import VideoReader
from moca_core.media.waveform import WaveformPyramid, spectrogram

WIDTH, HEIGHT, FPS, SECONDS, GROUP = 1280, 720, 30, 60, 30


def make_clip(path: Path) -> None:
    """Encode moving texture with some noise, so that decoding costs what real footage costs."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (HEIGHT // 8 + 60, WIDTH // 8 + 60, 3), dtype=np.uint8)
    scene = np.kron(coarse, np.ones((8, 8, 1), np.uint8))
    grain = rng.integers(0, 24, (8, HEIGHT, WIDTH, 1), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        options = {"g": str(GROUP), "bf": "2", "preset": "veryfast", "crf": "26"}
        video = container.add_stream("libx264", rate=FPS, options=options)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        sound = container.add_stream("aac", rate=48000, layout="mono")
        for number in range(FPS * SECONDS):
            x, y = 3 * number % 470, 2 * number % 470
            picture = scene[y : y + HEIGHT, x : x + WIDTH] // 2 + grain[number % 8]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            container.mux(video.encode(frame))
            tone = 0.2 * np.sin(2 * np.pi * 440 * np.arange(1600) / 48000)
            block = av.AudioFrame.from_ndarray(
                tone.astype(np.float32)[None], format="fltp", layout="mono"
            )
            block.sample_rate, block.pts = 48000, number * 1600
            block.time_base = Fraction(1, 48000)
            container.mux(sound.encode(block))
        container.mux(video.encode(None))
        container.mux(sound.encode(None))


def measure(path: Path, seeks: int) -> dict[str, float]:
    """The numbers of the table, milliseconds, frames a second and MiB."""
    row: dict[str, float] = {}
    began = time.perf_counter()
    reader = VideoReader(path)
    row["open_ms"] = 1000 * (time.perf_counter() - began)
    with reader:
        count = reader.info.frame_count
        row["frames"] = count
        order = random.Random(0).choices(range(count), k=seeks)
    for ahead in (False, True):
        name = "seek_ahead" if ahead else "seek"
        # The smallest cache, so that each seek decodes.
        with VideoReader(path, cache_bytes=1, decode_ahead=ahead) as reader:
            times = []
            for index in order:
                began = time.perf_counter()
                reader.frame(index)
                times.append(1000 * (time.perf_counter() - began))
            row[f"{name}_median_ms"] = statistics.median(times)
            row[f"{name}_p95_ms"] = statistics.quantiles(times, n=20)[-1]
    for ahead in (False, True):
        with VideoReader(path, cache_bytes=64 * 2**20, decode_ahead=ahead) as reader:
            before = resident_mib()
            half = 0.0
            began = time.perf_counter()
            for index in range(count):
                reader.frame(index)
                if index == count // 2:
                    half = resident_mib()
            seconds = time.perf_counter() - began
            name = "ahead" if ahead else "sequential"
            row[f"{name}_fps"] = count / seconds
            row[f"{name}_growth_mib"] = resident_mib() - before
            row[f"{name}_second_half_growth_mib"] = resident_mib() - half
    with VideoReader(path) as reader:
        times = []
        reader.frame(count // 2)
        for index in range(count // 2 - 1, count // 2 - 61, -1):
            began = time.perf_counter()
            reader.frame(index)
            times.append(1000 * (time.perf_counter() - began))
        row["step_back_median_ms"] = statistics.median(times)
        row["step_back_worst_ms"] = max(times)
    if reader.info.has_audio:
        row.update(measure_sound(path))
    return row


def measure_sound(path: Path) -> dict[str, float]:
    """Decoding to 16 kHz mono, the pyramid, and pictures of it."""
    row: dict[str, float] = {}
    began = time.perf_counter()
    with open_audio(path) as reader:
        row["sound_decode_ms"] = 1000 * (time.perf_counter() - began)
        began = time.perf_counter()
        pyramid = WaveformPyramid(reader.rate_hz, reader)
        pyramid.add(reader.window(0, reader.duration_s))
        pyramid.range(0, reader.duration_s, 1600)
        row["pyramid_ms"] = 1000 * (time.perf_counter() - began)
        began = time.perf_counter()
        pyramid.range(1, reader.duration_s - 1, 1600)
        row["waveform_repaint_ms"] = 1000 * (time.perf_counter() - began)
        began = time.perf_counter()
        spectrogram(reader, 0, reader.duration_s, 1600)
        row["spectrogram_ms"] = 1000 * (time.perf_counter() - began)
    return row


def resident_mib() -> float:
    """Memory of this process now, MiB; its peak where the system doesn't tell."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clip", type=Path, help="measure this clip")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--seeks", type=int, default=60)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="moca-bench-") as folder:
        path = arguments.clip
        if path is None:
            path = Path(folder) / "clip.mp4"
            make_clip(path)
        row = measure(path, arguments.seeks)
    row["cores"] = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    for name, value in row.items():
        sys.stdout.write(f"{name:32} {value:10.1f}\n")
    if arguments.json:
        arguments.json.write_text(json.dumps(row, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
