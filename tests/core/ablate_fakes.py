"""A sweep without weights: small encoders for training and scoring, and six cases with masks.

Called as a program it is a process of a sweep with them. `ABLATE_TEST`, as JSON, says what goes
wrong: `die` ends it by SIGKILL at the look with this number, `slow` makes looks take so many
seconds, `row` names the process by one of its rows; all of them without it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1])]

from core.avsbench_fakes import write_wav
from core.cli_fakes import LeftHalf
from core.item_fakes import COLOURS, SIDE, flat, manifest, tone
from core.train_fakes import REPLACED, SETTINGS

from moca_core.ablation import tasks
from moca_core.ablation.children import Ended
from moca_core.ablation.sweep import Sweep, load_sweep
from moca_core.ablation.tasks import Task, TaskEvent, run_task
from moca_core.config import SegmentConfig
from moca_core.errors import MocaError
from moca_core.pipeline.matching import MatchSettings
from moca_core.pipeline.segmenter import Segmenter

WRONG = "ABLATE_TEST"
TRAIN = tuple(
    (f"train.{name}", value) for name, value in SETTINGS.items() if name not in ("device", "blocks")
)


def cases(folder: Path) -> Path:
    """Six pictures whose left half sounds, each with a tone of its own; two subsets."""
    truth = np.zeros((SIDE, SIDE), np.uint8)
    truth[:, : SIDE // 2] = 255
    cv2.imwrite(str(folder / "mask.png"), truth)
    rows = []
    for number, colour in enumerate(COLOURS):
        cv2.imwrite(str(folder / f"{number}.png"), flat(colour))
        write_wav(folder / f"{number}.wav", tone(hz=300 + 50 * number))
        subset = "single" if number < 4 else "ms_both"
        files = [f"{number}.png", "mask.png", f"{number}.wav"]
        rows.append([f"case{number}", "dev", subset, "bell", *files])
    return manifest(folder, rows, ("id", "split", "subset", "category", "image", "mask", "audio"))


def sweep_file(path: Path, text: str) -> Sweep:
    """A sweep from the text of its file."""
    path.write_text(text)
    return load_sweep(path)


class Looks(LeftHalf):
    """Counts what it looks at, for all that share it."""

    def __init__(self, wrong: dict[str, Any] | None = None) -> None:
        super().__init__(self._before)
        self.wrong = wrong or {}
        self.adapted: list[object] = []

    def adapt(self, adapter: object) -> None:
        self.adapted.append(adapter)

    def _before(self, count: int) -> None:
        time.sleep(self.wrong.get("slow", 0.0))
        if self.wrong.get("die") == count:
            os.kill(os.getpid(), signal.SIGKILL)


def fake_pipeline(bundle: Looks):  # type: ignore[no-untyped-def]
    """In place of `Segmenter`: encoders that were to be loaded are `bundle`."""

    def make(
        config: SegmentConfig,
        device: str = "auto",
        settings: MatchSettings | None = None,
        shared: Any = None,
        precision: str = "auto",
    ) -> Segmenter:
        return Segmenter(config, "cpu", settings, shared or bundle)

    return make


class Here:
    """In place of `Children`: does every task in this process, when it is started."""

    def __init__(self, folder: Path, *_: object) -> None:
        self._folder = folder
        self._news: list[tuple[Task, TaskEvent | Ended]] = []

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __len__(self) -> int:
        return len({task for task, event in self._news if isinstance(event, Ended)})

    def start(self, task: Task) -> None:
        try:
            steps = run_task(load_sweep(self._folder / "sweep.toml"), self._folder, task)
            while True:
                self._news.append((task, next(steps)))
        except StopIteration as end:
            self._news.append((task, Ended(task, end.value, None)))
        except MocaError as error:
            self._news.append((task, Ended(task, False, error)))

    def poll(self) -> Iterator[tuple[Task, TaskEvent | Ended]]:
        news, self._news = self._news, []
        yield from news

    def stop(self) -> Iterator[None]:
        yield from ()


if __name__ == "__main__":
    import torch

    from moca_core.ablation.worker import main

    torch.set_num_threads(1)
    wrong = json.loads(os.environ.get(WRONG, "{}"))
    if wrong.pop("row", None) not in (None, *json.loads(sys.argv[2])["rows"]):
        wrong = {}
    fake = fake_pipeline(Looks(wrong))
    for module, name, value in (*REPLACED, (tasks, "Segmenter", fake)):
        setattr(module, name, value)
    sys.exit(main())
