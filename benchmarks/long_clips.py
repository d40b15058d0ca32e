"""What a clip of two hours and 20,000 results cost the window.

    python benchmarks/long_clips.py --json FILE [--hours 2] [--results 20000] [--keep FOLDER]

Makes its clips by PyAV: a minute of 720p H.264 with B-frames and AAC, over and over, in MP4,
Matroska and MPEG-TS, and once with uneven frame times. The window is measured offscreen at 1600
pixels, at one and at two device pixels a pixel, each in a process with a home of its own.

Times of painting are of the window's thread: by the wall clock, and of the processor, which is
what counts where the machine does other work too.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import av
import numpy as np

from moca_core.bench.footage import draw_clip, repeat_clip
from moca_core.bench.report import Row, load_average, machine_facts, percentile, text_table

OPENS_WITHIN_S = 2.0
FRAME_MS = 1000 / 60
PIECE_S = 60
SIZE = (1600, 900)
SEEKS = 40
STEPS = 150
CONTAINERS = ("mp4", "mkv", "ts")


def main() -> int:
    """Measure, print the table and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--results", type=int, default=20_000)
    parser.add_argument("--keep", type=Path, help="a folder for the clips, used again if there")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--window", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.window is not None:
        rows = [asdict(row) for row in window_rows(args.window, args.results)]
        sys.stdout.write(json.dumps(rows) + "\n")
        return 0
    with tempfile.TemporaryDirectory(prefix="moca-long-") as scratch:
        clips = make_clips(args.keep or Path(scratch), 3600 * args.hours)
        rows = [row for clip in clips for row in opening_rows(clip)]
        for scale in (1, 2):
            rows += in_child(clips[0], args.results, scale, Path(scratch))
    sys.stdout.write(text_table(rows) + "\n")
    if args.json:
        facts = machine_facts() | {"load": load_average()}
        args.json.write_text(json.dumps({"machine": facts, "rows": [asdict(r) for r in rows]}))
    return 0


# -- clips ---------------------------------------------------------------------------------------


def make_clips(folder: Path, seconds: float) -> list[Path]:
    """Clips of `seconds` in each container, and one with uneven times; the MP4 is the first."""
    folder.mkdir(parents=True, exist_ok=True)
    piece = folder / "piece.mp4"
    if not piece.exists():
        sys.stderr.write("Making a minute of 720p\n")
        for _ in draw_clip(piece, PIECE_S):
            pass
    clips = [folder / f"long.{suffix}" for suffix in CONTAINERS]
    for clip in clips:
        if not clip.exists():
            sys.stderr.write(f"Making {clip.name}\n")
            repeat_clip(piece, clip, seconds)
    uneven = folder / "uneven.mp4"
    if not uneven.exists():
        sys.stderr.write(f"Making {uneven.name}\n")
        sway(clips[0], uneven)
    return [*clips, uneven]


def sway(clip: Path, target: Path) -> None:
    """Copy a clip, its frames up to 12 ms earlier or later."""
    with av.open(str(clip)) as source, av.open(str(target), "w") as output:
        streams = {item.index: output.add_stream_from_template(item) for item in source.streams}
        for packet in source.demux():
            if packet.dts is None or packet.pts is None:
                continue
            if packet.stream.type == "video":
                base = float(packet.time_base)
                pts, dts = (
                    round(stamp + 0.012 / base * np.sin(0.7 * base * stamp))
                    for stamp in (packet.pts, packet.dts)
                )
                packet.pts, packet.dts = pts, min(dts, pts)
            packet.stream = streams[packet.stream_index]
            output.mux(packet)


# -- opening -------------------------------------------------------------------------------------


def opening_rows(clip: Path) -> Iterator[Row]:
    """Seconds until the first frame is decoded, and until all frames are known."""
    from moca_core.media.video import VideoReader
    from moca_gui.projects.reading import PATIENCE_S

    began, used = time.perf_counter(), time.process_time()
    with VideoReader(clip, decode_ahead=True, patience_s=PATIENCE_S) as reader:
        reader.frame(0)
        opened, spent = time.perf_counter() - began, time.process_time() - used
        yield Row(f"{clip.name}: first frame", (opened,), "s", OPENS_WITHIN_S, cpu=(spent,))
        yield Row(f"{clip.name}: frames known by then", (float(reader.info.frame_count),), "")
        for found in reader.rest():
            if not isinstance(found, float):
                reader.grow(found)
        whole, spent = time.perf_counter() - began, time.process_time() - used
        yield Row(f"{clip.name}: all frames known", (whole,), "s", cpu=(spent,))
        yield Row(f"{clip.name}: frames", (float(reader.info.frame_count),), "")


# -- the window ----------------------------------------------------------------------------------


def in_child(clip: Path, results: int, scale: int, scratch: Path) -> list[Row]:
    """The rows of a window at `scale` device pixels a pixel, in a process of its own."""
    homes = {f"XDG_{n}_HOME": str(scratch / n.lower()) for n in ("CONFIG", "DATA", "CACHE")}
    look = {"QT_QPA_PLATFORM": "offscreen", "QT_SCALE_FACTOR": str(scale)}
    sys.stderr.write(f"Measuring the window at {scale}x\n")
    words = [sys.executable, __file__, "--window", str(clip), "--results", str(results)]
    done = subprocess.run(
        words, env={**os.environ, **homes, **look}, stdout=subprocess.PIPE, text=True, check=True
    )
    fields = json.loads(done.stdout.splitlines()[-1])
    return [Row(**{**row, "name": f"{scale}x: {row['name']}"}) for row in fields]


def window_rows(clip: Path, results: int) -> Iterator[Row]:
    """Open the clip in a window and measure it without results and with `results` of them."""
    from PySide6.QtWidgets import QApplication

    from moca_gui.main_window import MainWindow, Services
    from moca_gui.play import Presented, no_device, resident_mib, wait_for

    app = QApplication(sys.argv[:1])
    window = MainWindow(Services(audio_factory=no_device))
    window.resize(*SIZE)
    window.show()
    app.processEvents()
    began = time.perf_counter()
    window.open_path(clip)
    presented = Presented(window)
    wait_for(lambda: presented.frame == 0 and window.session.image is not None)
    yield Row("clip on screen", (time.perf_counter() - began,), "s", OPENS_WITHIN_S)
    wait_for(lambda: window.session.clip.indexed)
    yield Row("all frames known", (time.perf_counter() - began,), "s")
    with heartbeats() as gaps:
        wait_for(lambda: window.pool.titles == ["frames"], 900)
    yield Row("waveform and spectrogram read", (time.perf_counter() - began,), "s")
    yield Row("window held up meanwhile, 99 % within", (percentile(gaps, 0.99),), "ms")
    yield Row("memory", (resident_mib(),), "MiB")
    measured = Measured(window, presented)
    places = np.linspace(0, window.session.clip.frame_count - 1, results, dtype=int).tolist()
    sought = random.Random(0).sample(places, SEEKS)
    yield from measured.rows("no results")
    yield from measured.seeks(sought, "no results")
    for _ in measured.add(sought):
        pass
    yield from measured.seeks(sought, f"{SEEKS} results")
    yield from measured.add(places)
    yield from measured.rows(f"{results} results")
    yield from measured.seeks(sought, f"{results} results")
    yield Row("memory with results", (resident_mib(),), "MiB")
    window.close()
    app.processEvents()


class Measured:
    """A window whose timeline is moved and whose frames are sought."""

    def __init__(self, window: Any, presented: Any) -> None:
        self.window = window
        self.presented = presented

    def rows(self, with_what: str) -> Iterator[Row]:
        """Panning at three zooms, zooming, and the results row alone."""
        axis = self.window.timeline.axis
        for span_s in (0.9 * axis.duration_s, 600.0, 10.0):
            axis.set_view(0.0, span_s)
            self.settle()
            step = (axis.duration_s - span_s) / STEPS
            yield from frames(
                f"pan of {span_s:.0f} s, {with_what}",
                [self.turn(lambda step=step: axis.pan(step)) for _ in range(STEPS)],
            )
        axis.set_view(0.0, axis.duration_s)
        self.settle()
        middle = axis.duration_s / 2
        factors = [0.9] * (STEPS // 2) + [1 / 0.9] * (STEPS // 2)
        yield from frames(
            f"zoom, {with_what}",
            [self.turn(lambda factor=factor: axis.zoom(factor, middle)) for factor in factors],
        )
        row = self.window.timeline.results
        yield from frames(
            f"results row alone, {with_what}", [self.turn(row.redraw) for _ in range(STEPS // 5)]
        )

    def turn(self, action: Callable[[], Any]) -> tuple[float, float]:
        """Milliseconds of an action with the painting that follows: wall, and this thread's."""
        from PySide6.QtWidgets import QApplication

        began, used = time.perf_counter(), time.thread_time()
        action()
        QApplication.processEvents()
        return 1000 * (time.perf_counter() - began), 1000 * (time.thread_time() - used)

    def settle(self) -> None:
        """Until nothing is computed any more, so that no turn gets another one's work."""
        from moca_gui.play import pump, wait_for

        pump(0.3)
        wait_for(lambda: self.window.pool.titles == ["frames"])

    def seeks(self, sought: list[int], with_what: str) -> Iterator[Row]:
        """Frames to the screen, the same ones each time, with the masks of these results."""
        from moca_gui.play import pump, wait_for

        self.settle()
        found = []
        for frame in sought:
            began, used = time.perf_counter(), time.thread_time()
            self.window.player.seek(frame)
            wait_for(lambda frame=frame: self.presented.frame == frame)
            found.append((1000 * (time.perf_counter() - began), 1000 * (time.thread_time() - used)))
            pump(0.05)
        wall, cpu = zip(*found, strict=True)
        yield Row(f"seek, {with_what}", wall, "ms", cpu=cpu)

    def add(self, places: list[int]) -> Iterator[Row]:
        """Results at these frames, most with two objects, some empty."""
        from moca_core.annotations.model import pack
        from moca_gui.play import TURNS, moving_result

        session = self.window.session
        clip = session.clip
        turns = [pack(moving_result(clip, turn)) for turn in range(TURNS)]
        wall = []
        for number, frame in enumerate(places):
            same = turns[number % TURNS]
            objects = same.objects if number % 7 else ()
            result = replace(
                same, frame=frame, time_s=clip.time_of(frame), objects=objects, key=True
            )
            began = time.perf_counter()
            session.add_result(result)
            wall.append(1e6 * (time.perf_counter() - began))
        yield Row("adding a result, first hundred", tuple(wall[:100]), "us")
        yield Row("adding a result, last hundred", tuple(wall[-100:]), "us")
        yield Row(
            "next frame with a result",
            tuple(self.turn(lambda: session.neighbour(1))[0] for _ in range(20)),
            "ms",
        )


def frames(name: str, times_ms: list[tuple[float, float]]) -> Iterator[Row]:
    """The row of a movement's frames, and what 95 % and all of them kept within."""
    wall, cpu = zip(*times_ms, strict=True)
    yield Row(name, wall, "ms", FRAME_MS, cpu=cpu)
    yield Row(f"{name}: processor, 95 % within", (percentile(cpu, 0.95),), "ms", FRAME_MS)


@contextmanager
def heartbeats() -> Iterator[list[float]]:
    """Collects the milliseconds between two turns of the event loop that could be 5 apart."""
    from PySide6.QtCore import QTimer

    gaps: list[float] = []
    last = time.perf_counter()

    def beat() -> None:
        nonlocal last
        now = time.perf_counter()
        gaps.append(1000 * (now - last))
        last = now

    timer = QTimer()
    timer.timeout.connect(beat)
    timer.start(5)
    yield gaps
    timer.stop()


if __name__ == "__main__":
    sys.exit(main())
