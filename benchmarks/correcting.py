"""What a person waits for while correcting: moves of the brush, answers of SAM to prompts.

    python benchmarks/correcting.py --json FILE

A move is one of the mouse with the repaint of what it changes, in the whole window, whose view
shows a frame of `--size` with two masks; a release makes the stroke a correction. MobileSAM answers
about that frame on the CPU. Milliseconds are medians of the wall clock and, in brackets, of the
processor: of the window's thread, or of all threads for SAM.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from moca_core.annotations.model import PackedObject, PackedResult, pack_mask
from moca_core.annotations.prompt import Prompt, PromptPoint
from moca_core.media.video import VideoReader
from moca_core.paths import resource
from moca_core.types import RgbImage

BRUSHES_PX = (22, 110, 300)
STEPS_PX = (8, 60)
MOVES, STROKES, ASKED = 80, 3, 10
BUTTON, NO = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier

Took = tuple[float, float]
"""Milliseconds of the wall clock and of the processor."""


def took(work: Callable[[], object], cpu: Callable[[], float]) -> Took:
    """What a piece of work takes."""
    wall_s, cpu_s = time.perf_counter(), cpu()
    work()
    return 1000 * (time.perf_counter() - wall_s), 1000 * (cpu() - cpu_s)


def median(times: Sequence[Took]) -> Took:
    """The median of both clocks."""
    wall, cpu = np.median(times, axis=0).tolist()
    return wall, cpu


def write_clip(path: Path, rgb: RgbImage) -> None:
    """A clip of a few frames, all alike and without sound."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = rgb.shape[1], rgb.shape[0], "yuv420p"
        for _ in range(5):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        output.mux(stream.encode(None))


def two_discs(size: tuple[int, int]) -> PackedResult:
    """A frame with two objects."""
    objects = []
    for number, x in ((1, 0.3), (2, 0.75)):
        mask = np.zeros(size, np.uint8)
        cv2.circle(mask, (int(x * size[1]), size[0] // 2), size[0] // 4, 1, -1)
        objects.append(PackedObject(number, "Dog", 0.8, *pack_mask(mask.astype(bool))))
    return PackedResult(0, 0.0, size, tuple(objects))


def open_window(clip: Path, size: tuple[int, int]) -> Any:
    """The window at the first frame of a clip, with results there, and with the brush."""
    from moca_gui.main_window import MainWindow

    window = MainWindow()
    window.resize(2400, 1600)
    window.show()
    window.open_path(clip)
    while window.session.image is None:
        QApplication.processEvents()
    window.session.add_result(two_discs(size))
    window.tools.choose("brush")
    return window


def stroke(window: Any, brush: int, step: int) -> dict[str, list[Took]]:
    """One stroke with a brush, by so many pixels a move."""
    view = window.view
    rect, scale = view.frame_rect(), view.scale
    window.session.select(1)
    while window.tools.brush.size != brush:
        window.tools.resize_brush(1 if window.tools.brush.size < brush else -1)
    places = [(300 + step * k % 1300, 300 + step * k % 500) for k in range(MOVES)]
    way = [QPoint(round(rect.x() + x * scale), round(rect.y() + y * scale)) for x, y in places]

    def shown(act: Callable[[], object]) -> Took:
        def both() -> None:
            act()
            QApplication.processEvents()

        QApplication.processEvents()  # what came before
        return took(both, time.thread_time)

    return {
        "press": [shown(partial(QTest.mousePress, view, BUTTON, NO, way[0]))],
        "move": [shown(partial(QTest.mouseMove, view, to)) for to in way[1:]],
        "release": [shown(partial(QTest.mouseRelease, view, BUTTON, NO, way[-1]))],
    }


def stroke_rows(rgb: RgbImage) -> dict[str, dict[str, Took]]:
    """Brushes of several sizes, at several speeds of the mouse."""
    app = QApplication([])
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CONFIG_HOME"] = folder  # the user's own settings stay as they are
        clip = Path(folder) / "still.mp4"
        write_clip(clip, rgb)
        window = open_window(clip, (rgb.shape[0], rgb.shape[1]))
        for brush in BRUSHES_PX:
            for step in STEPS_PX:
                strokes = [stroke(window, brush, step) for _ in range(STROKES)]
                rows[f"brush {brush} px, {step} px a move"] = {
                    name: median([one for found in strokes for one in found[name]])
                    for name in strokes[0]
                }
        window.shut_down()
    app.processEvents()
    return rows


def prompt_rows(rgb: RgbImage) -> dict[str, Took]:
    """Embedding a frame, and answers about it."""
    from moca_core.annotations.prompting import Prompter
    from moca_core.models.sam import load_sam

    prompter = Prompter(load_sam("mobile"))
    height, width = rgb.shape[:2]
    on, off = (PromptPoint(x * width, height / 2, x < 0.5) for x in (0.25, 0.8))
    prompter.embed(0, rgb)
    embed = [took(lambda: prompter.embed(0, rgb), time.process_time) for _ in range(3)]
    rows = {"embed the frame": median(embed)}
    for name, prompt in (
        ("a point, three masks", Prompt((on,))),
        ("two points", Prompt((on, off))),
        ("a box", Prompt(box=(0, 0, width // 2, height))),
    ):
        ask = partial(prompter.ask, 0, prompt)
        rows[name] = median([took(ask, time.process_time) for _ in range(ASKED)])
    return rows


def main() -> int:
    """Measure both and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, nargs=2, default=(1080, 1920), help="height and width")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with VideoReader(resource("demo/demo.mp4")) as video:
        rgb = cv2.resize(video.frame(30), tuple(args.size)[::-1], interpolation=cv2.INTER_CUBIC)
    strokes, prompts = stroke_rows(rgb), prompt_rows(rgb)
    write = sys.stdout.write
    write(f"{'ms':32}{'press':>16}{'move':>16}{'release':>16}\n")
    for name, found in strokes.items():
        cells = [f"{wall:.1f} ({cpu:.1f})" for wall, cpu in found.values()]
        write(f"{name:32}{''.join(f'{cell:>16}' for cell in cells)}\n")
    for name, (wall, cpu) in prompts.items():
        write(f"{name:32}{f'{wall:.0f} ({cpu:.0f})':>16}\n")
    if args.json:
        args.json.write_text(json.dumps({"strokes": strokes, "prompts": prompts}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
