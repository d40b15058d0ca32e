"""`moca segment` as its users run it: its time and its memory, measured from outside.

Each run is a process of its own with a cache of its own, so that no stored result helps it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moca_core import paths
from moca_core.bench.footage import enlarge_clip, repeat_clip
from moca_core.bench.report import BenchOptions, Row
from moca_core.errors import MocaError
from moca_core.types import StageEvent

SHORT_S, LONG_S = 10.0, 600.0
CLIP_WITHIN_S = 25.0
MEMORY_GROWTH = 1.1
"""The target: the peak of the long clip is at most so many times that of the short one."""
_LONG_EVERY_S = 20.0
_POLL_S = 0.02


@dataclass(frozen=True)
class SegmentRun:
    """What one run of `moca segment` took.

    Attributes
    ----------
    wall_s : from its start to its end, imports and loading of the weights included.
    cpu_s : processor time of all its threads; 0 where the system doesn't tell.
    peak_mib : the most memory it held at once; 0 where the system doesn't tell.
    summary : its summary.json.
    """

    wall_s: float
    cpu_s: float
    peak_mib: float
    summary: dict[str, Any]

    @property
    def cpu(self) -> tuple[float, ...]:
        """The processor time as `Row.cpu` has it."""
        return (self.cpu_s,) if self.cpu_s else ()


def measure(options: BenchOptions) -> Iterator[StageEvent | Row]:
    """Yield the time of a whole clip with masks at every frame; see `Bench.run`."""
    clips = {"your clip": options.clip} if options.clip else {}
    if not clips:
        demo = paths.resource("demo/demo.mp4")
        yield StageEvent("Making a clip of 720p")
        enlarge_clip(demo, options.scratch / "demo_720p.mp4", SHORT_S)
        clips = {"854x480": demo, "1280x720": options.scratch / "demo_720p.mp4"}
    words = ("--frames", "all", "--end", str(SHORT_S))
    for title, clip in clips.items():
        cache = own_cache(options.scratch / f"cache-{clip.stem}")
        out = options.scratch / f"out-{clip.stem}"
        yield StageEvent(f"First run, {title}")
        first = yield from segment_run(clip, out, cache, *words)
        yield StageEvent(f"Second run, {title}")
        second = yield from segment_run(clip, out, cache, *words)
        yield Row(f"{title}: first run", (first.wall_s,), "s", at_most=CLIP_WITHIN_S, cpu=first.cpu)
        stages = first.summary["stage_seconds"]
        yield Row(f"{title}: frames", (float(first.summary["frames"]),), "")
        yield Row(f"{title}: key frames", (float(first.summary["key_frames"]),), "")
        for name, seconds in stages.items():
            yield Row(f"{title}: key frames, {name}", (float(seconds),), "s")
        # Loading, hearing, deciding, decoding, flow, moving and writing masks.
        rest = float(first.summary["seconds"]) - sum(stages.values())
        yield Row(f"{title}: all else", (rest,), "s")
        start = first.wall_s - float(first.summary["seconds"])
        yield Row(f"{title}: start of Python and the libraries", (start,), "s")
        yield Row(
            f"{title}: second run, from the stored results",
            (second.wall_s,),
            "s",
            cpu=second.cpu,
        )


def measure_memory(options: BenchOptions) -> Iterator[StageEvent | Row]:
    """Yield the peak memory of short and long clips; see `Bench.run`."""
    if not hasattr(os, "wait4"):
        raise MocaError(
            f"{sys.platform}: the system doesn't tell the peak memory of a process",
            "Run this benchmark on Linux or macOS.",
        )
    clip = options.clip or paths.resource("demo/demo.mp4")
    long_clip = options.scratch / "long.mp4"
    yield StageEvent(f"Making a clip of {LONG_S:g} s")
    repeat_clip(clip, long_clip, LONG_S)
    runs = {
        "10 s, a key frame a second": (clip, ("--end", str(SHORT_S))),
        "10 min, a key frame every 20 s": (long_clip, ("--every", str(_LONG_EVERY_S))),
        "10 s, every frame": (clip, ("--frames", "all", "--end", str(SHORT_S))),
        "10 min, every frame of the last 10 s": (
            long_clip,
            ("--frames", "all", "--start", str(LONG_S - SHORT_S), "--end", str(LONG_S)),
        ),
    }
    peaks: list[float] = []
    for number, (title, (path, words)) in enumerate(runs.items()):
        yield StageEvent(title, number, len(runs))
        cache = own_cache(options.scratch / f"cache-{number}")
        run = yield from segment_run(path, options.scratch / f"out-{number}", cache, *words)
        peaks.append(run.peak_mib)
        yield Row(title, (run.peak_mib,), "MiB")
    for name, (short, long) in (("key frames", peaks[:2]), ("every frame", peaks[2:])):
        yield Row(f"10 min / 10 s, {name}", (long / short,), "x", at_most=MEMORY_GROWTH)


def own_cache(folder: Path) -> Path:
    """A cache folder without stored results, but with this user's weights."""
    folder.mkdir(parents=True)
    try:
        (folder / "weights").symlink_to(paths.weights_dir().resolve(), target_is_directory=True)
    except OSError:
        # Windows lets only some users make links.
        shutil.copytree(paths.weights_dir(), folder / "weights")
    return folder


def segment_run(
    clip: Path, out: Path, cache: Path, *words: str
) -> Generator[StageEvent, None, SegmentRun]:
    """Run `moca segment CLIP --out OUT WORDS...`; raises `MocaError` with what it said if it fails.

    Yields while it waits; closed then, it ends the process.
    """
    command = [sys.executable, "-m", "moca_core", "segment", str(clip), "--out", str(out)]
    command += ["--device", "cpu", "--quiet", *words]
    said = out.with_name(f"{out.name}.stderr")
    began = time.perf_counter()
    with said.open("wb") as stderr:
        process = subprocess.Popen(
            command,
            env={**os.environ, "MOCA_CACHE_DIR": str(cache)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )
        try:
            cpu_s, peak_mib = yield from _waited(process)
        finally:
            if process.returncode is None:
                process.kill()
                process.wait()
    wall_s = time.perf_counter() - began
    if process.returncode != 0:
        last = said.read_text(errors="replace").strip().splitlines()[-3:]
        raise MocaError(f"moca segment ended with exit code {process.returncode}", "\n".join(last))
    summary = json.loads((out / clip.stem / "summary.json").read_text())
    return SegmentRun(wall_s, cpu_s, peak_mib, summary)


def _waited(process: subprocess.Popen[bytes]) -> Generator[StageEvent, None, tuple[float, float]]:
    """Wait for the end of `process`; its processor time in seconds and its peak memory in MiB."""
    if not hasattr(os, "wait4"):
        while process.poll() is None:
            yield StageEvent("Segmenting")
            time.sleep(_POLL_S)
        return 0.0, 0.0
    while True:
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        if ended:
            break
        yield StageEvent("Segmenting")
        time.sleep(_POLL_S)
    process.returncode = os.waitstatus_to_exitcode(status)
    # In KiB, on macOS in bytes. It counts what this process held when it started the other one,
    # which is why nothing here imports torch.
    unit = 1 if sys.platform == "darwin" else 1024
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit / 2**20
