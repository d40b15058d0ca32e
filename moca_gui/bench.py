"""The window's benchmarks for `moca bench start` and `moca bench playback`.

Both measure processes of their own, offscreen and with a home of their own: memory is that of the
window alone, and the user's settings stay as they are.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moca_core import paths
from moca_core.bench.report import BenchOptions, Row
from moca_core.errors import MocaError
from moca_core.types import StageEvent

SHOWN_WITHIN_S = 1.5
FRAMES_A_SECOND = 25.0
PLAY_S = 30.0
GROWTH_MIB = 16.0
"""Memory may differ by this much between the first and the last fifth of the playback."""
SEEK_WITHIN_MS = 100.0
CLIP_S = 20
_PATIENCE_S = 120.0


def start_up(options: BenchOptions) -> Iterator[StageEvent | Row]:
    """Yield the seconds until the window, and the clip in it, can be seen."""
    clip = options.clip or paths.resource("demo/demo.mp4")
    shown, filled, processor = [], [], []
    for turn in range(options.repeats + 1):
        yield StageEvent("Starting the window", turn, options.repeats + 1)
        times = start_once(clip, options.scratch)
        if turn:  # the first start warms the disk
            shown.append(times["window shown"][0])
            processor.append(times["window shown"][1])
            filled.append(times["clip shown"][0])
    yield Row("window shown", tuple(shown), "s", at_most=SHOWN_WITHIN_S)
    yield Row("window shown, processor time", tuple(processor), "s")
    yield Row("clip shown", tuple(filled), "s")


def playback(options: BenchOptions) -> Iterator[StageEvent | Row]:
    """Yield the rate, the memory and the seek times of a clip with masks at every frame."""
    clip = options.clip
    if clip is None:
        from moca_core.bench.footage import draw_clip

        clip = options.scratch / "playback.mp4"
        for number in draw_clip(clip, CLIP_S):
            yield StageEvent("Making a clip of 720p", number, CLIP_S * 30)
    yield StageEvent(f"Playing for {PLAY_S:.0f} s")
    found = play_once(clip, PLAY_S, options.scratch)
    # A clip of fewer frames a second can't show more.
    wanted = min(FRAMES_A_SECOND, 0.98 * found["fps"])
    yield Row("frames shown a second", (found["shown_per_s"],), "fps", at_least=wanted)
    yield Row("frames passed over", (found["dropped"],), "")
    yield Row("processor time a second", (found["cpu_share"],), "s")
    yield Row("memory after the first fifth", (found["first_mib"],), "MiB")
    yield Row("memory growth", (found["growth_mib"],), "MiB", at_most=GROWTH_MIB)
    yield Row("random frame on screen", tuple(found["seek_ms"]), "ms", at_most=SEEK_WITHIN_MS)
    yield Row(
        "the same, processor time with what is decoded ahead", tuple(found["seek_cpu_ms"]), "ms"
    )


def start_once(clip: Path, scratch: Path) -> dict[str, tuple[float, float]]:
    """Run `moca gui CLIP` until the clip is seen.

    Returns (seconds since the process began, processor seconds) by event: `window shown` and
    `clip shown`.
    """
    said = _child(["-m", "moca_core", "gui", str(clip)], scratch, MOCA_GUI_TIMING="exit")
    line = r"^(.+) after ([0-9.]+) s, ([0-9.]+) s of processor time$"
    found = re.findall(line, said.stderr, re.MULTILINE)
    return {what: (float(wall), float(processor)) for what, wall, processor in found}


def play_once(clip: Path, seconds: float, scratch: Path) -> dict[str, Any]:
    """Play `clip` over and over in a window for `seconds`; see `play.measure` for the keys."""
    said = _child(["-m", "moca_gui.play", str(clip), str(seconds)], scratch)
    measured: dict[str, Any] = json.loads(said.stdout.splitlines()[-1])
    return measured


def _child(words: list[str], scratch: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run this Python with `words`; raises `MocaError` with what it said if it fails."""
    homes = {f"XDG_{name}_HOME": str(scratch / name.lower()) for name in ("CONFIG", "DATA")}
    source = str(Path(__file__).resolve().parent.parent)
    kept = os.environ.get("PYTHONPATH")
    variables |= {"PYTHONPATH": f"{source}{os.pathsep}{kept}" if kept else source}
    try:
        done = subprocess.run(
            [sys.executable, *words],
            env={**os.environ, **homes, "QT_QPA_PLATFORM": "offscreen", **variables},
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S + PLAY_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise MocaError("the window didn't end in time", "Try it on a machine at rest.") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise MocaError(f"the window ended with code {done.returncode}: {last}")
    return done
