"""Play a clip with masks at every frame in a window, and measure. `python -m moca_gui.play`."""

from __future__ import annotations

import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PySide6.QtCore import QEvent, QEventLoop, QObject, QTimer
from PySide6.QtWidgets import QApplication

from moca_core.annotations.model import pack
from moca_core.types import FrameResult, SoundingObject
from moca_gui.clocks import AudioUnavailableError
from moca_gui.main_window import MainWindow, Services
from moca_gui.session import Clip

SEEKS = 40
TURNS = 30
SAMPLE_EVERY_MS = 500
_WAIT_S = 60.0


class Presented(QObject):
    """Counts what reaches the screen: each painting of a frame that wasn't there before."""

    def __init__(self, window: MainWindow) -> None:
        super().__init__(window)
        self.count = 0
        self.frame = -1
        self._session = window.session
        window.view.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Paint and self._session.frame != self.frame:
            self.frame = self._session.frame
            self.count += 1
        return False


def measure(path: Path, seconds: float) -> dict[str, Any]:
    """Play `path` over and over.

    Returns
    -------
    `fps` of the clip, `shown_per_s` frames painted a second, `dropped` frames passed over,
    `cpu_share` processor seconds a second, `first_mib` memory (median of the first fifth),
    `growth_mib` (median of the last fifth above it), `seek_ms` of random frames to the screen and
    `seek_cpu_ms`, the processor time that they take.
    """
    app = QApplication.instance() or QApplication(sys.argv[:1])
    window = MainWindow(Services(audio_factory=no_device))
    window.resize(1280, 860)
    window.show()
    window.open_path(path)
    wait_for(lambda: window.session.image is not None)
    assert window.session.clip is not None
    _fill(window)
    presented = Presented(window)
    window.player.set_looping(True)
    window.player.play()
    pump(2.0)  # until caches are full and the first loops are over
    memory: list[float] = []
    sampler = QTimer()
    sampler.timeout.connect(lambda: memory.append(resident_mib()))
    sampler.start(SAMPLE_EVERY_MS)
    window.player.dropped_count = 0
    shown, began, cpu = presented.count, time.perf_counter(), time.process_time()
    pump(seconds)
    wall = time.perf_counter() - began
    cpu_share = (time.process_time() - cpu) / wall
    per_s, dropped = (presented.count - shown) / wall, window.player.dropped_count
    sampler.stop()
    window.player.pause()
    fifth = max(len(memory) // 5, 1)
    first, last = statistics.median(memory[:fifth]), statistics.median(memory[-fifth:])
    found: dict[str, Any] = {
        "fps": window.session.clip.fps,
        "shown_per_s": per_s,
        "dropped": dropped,
        "cpu_share": cpu_share,
        "first_mib": first,
        "growth_mib": last - first,
    }
    found["seek_ms"], found["seek_cpu_ms"] = _seek(window, presented)
    window.close()
    app.processEvents()
    return found


def no_device(clip: Clip, run: Callable[..., Any]) -> Any:
    """Sound that isn't part of the measurement."""
    raise AudioUnavailableError("not part of the measurement")


def _fill(window: MainWindow) -> None:
    """Two objects that move, in every frame; they are back where they were after a while."""
    clip = window.session.clip
    assert clip is not None
    turns = [pack(moving_result(clip, turn)) for turn in range(min(TURNS, clip.frame_count))]
    for frame in range(clip.frame_count):
        same = turns[frame % len(turns)]
        window.session.add_result(replace(same, frame=frame, time_s=clip.time_of(frame)))


def moving_result(clip: Clip, turn: int) -> FrameResult:
    """Two rosettes that swing to and fro once in `TURNS`."""
    info = clip.reader.info
    rows, columns = np.mgrid[: info.height, : info.width]
    angle = 2 * np.pi * turn / TURNS
    objects = []
    for number, (name, x) in enumerate((("Dog", 0.3), ("Person", 0.7)), start=1):
        dx = columns - info.width * (x + 0.1 * np.sin(angle))
        dy = rows - info.height * 0.55
        wave = 1 + 0.15 * np.sin(7 * np.arctan2(dy, dx) + angle)  # an outline with bays
        mask = dx**2 + dy**2 <= (info.height / 4 * wave) ** 2
        objects.append(SoundingObject(number, name, 0.9 - 0.3 * number, mask))
    return FrameResult(turn, 0.0, (info.height, info.width), tuple(objects), key=turn == 0)


def _seek(window: MainWindow, presented: Presented) -> tuple[list[float], list[float]]:
    """Milliseconds from asking for a random frame until it is painted; processor time of these."""
    assert window.session.clip is not None
    count = window.session.clip.frame_count
    wall_ms, cpu_ms = [], []
    for frame in random.Random(0).choices(range(count), k=SEEKS):
        if frame == presented.frame:
            continue
        began, cpu = time.perf_counter(), time.process_time()
        window.player.seek(frame)
        wait_for(partial(_is_shown, presented, frame))
        wall_ms.append(1000 * (time.perf_counter() - began))
        cpu_ms.append(1000 * (time.process_time() - cpu))
    return wall_ms, cpu_ms


def _is_shown(presented: Presented, frame: int) -> bool:
    return presented.frame == frame


def resident_mib() -> float:
    """Memory of this process in MiB, as the system counts it; 0 where it doesn't tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * 4096 / 2**20


def pump(seconds: float) -> None:
    """Run the event loop for so long."""
    loop = QEventLoop()
    QTimer.singleShot(round(1000 * seconds), loop.quit)
    loop.exec()


def wait_for(condition: Callable[[], bool], within_s: float = _WAIT_S) -> None:
    """Run the event loop until `condition`; raises `TimeoutError`."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the window didn't get there")
        QApplication.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents, 10)


def main() -> None:
    """Measure the clip and the seconds of the command line; prints JSON."""
    sys.stdout.write(json.dumps(measure(Path(sys.argv[1]), float(sys.argv[2]))) + "\n")


if __name__ == "__main__":
    main()
