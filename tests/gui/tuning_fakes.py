"""A stand-in for the trainer: it checks, trains, saves and fails as a test tells it to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFileDialog, QLineEdit

from moca_core.config import save_toml
from moca_core.errors import MocaError, WeightsError
from moca_core.training.config import TrainConfig
from moca_core.training.events import SavedEvent, StepEvent, ValidationEvent
from moca_core.types import NoteEvent, StageEvent
from moca_gui.tuning.source import (
    ADAPTER_FILE,
    BEST_FILE,
    CHECKPOINT_FILE,
    CONFIG_FILE,
    AdapterFacts,
    Checked,
    Estimate,
    ProblemRow,
)

PROBLEMS = (
    ProblemRow("mute", "a.mp4@0.500", "no sound from 0.0 to 2.0 s"),
    ProblemRow("missing", "b.mp4@0.500", "b.mp4: no such file"),
)


@dataclass
class FakeTuning:
    """`step_gate` and `check_gate` hold the work back until the test lets it go on."""

    checked: Checked | None = None
    check_error: MocaError | None = None
    check_gate: threading.Event | None = None
    fit_error: Exception | None = None
    fail_at: int = 3
    stage_gate: threading.Event | None = None  # before the first iteration
    step_gate: threading.Semaphore | None = None  # one release an iteration
    skip: tuple[int, ...] = ()
    adapters: dict[Path, str] = field(default_factory=dict)  # the bundle by the file
    fitted: list[tuple[TrainConfig, Path]] = field(default_factory=list)
    closed: int = 0  # generators of `fit` that came to their end, whatever it was
    threads: set[str] = field(default_factory=set)
    adopted: Path = Path()

    def check(self, config: TrainConfig) -> Iterator[Any]:
        self.threads.add(threading.current_thread().name)
        yield StageEvent("Decoding", 1, 4)
        while self.check_gate is not None and not self.check_gate.wait(0.02):
            yield StageEvent("Decoding", 2, 4)
        if self.check_error is not None:
            raise self.check_error
        yield self.checked or checked()

    def fit(self, config: TrainConfig, folder: Path, stop: Callable[[], bool]) -> Iterator[Any]:
        self.threads.add(threading.current_thread().name)
        self.fitted.append((config, folder))
        try:
            yield from self._fit(config, folder, stop)
        finally:
            self.closed += 1

    def _fit(self, config: TrainConfig, folder: Path, stop: Callable[[], bool]) -> Iterator[Any]:
        folder.mkdir(parents=True, exist_ok=True)
        save_toml(config, folder / CONFIG_FILE)
        yield StageEvent("Computing features", 3, 10)
        while self.stage_gate is not None and not self.stage_gate.wait(0.02):
            yield StageEvent("Computing features", 5, 10)
        yield NoteEvent("The adapter has 0.5 % of the encoder's parameters.")
        path = folder / CHECKPOINT_FILE
        first = int(path.read_text()) + 1 if path.exists() else 1
        for step in range(first, config.iterations + 1):
            while self.step_gate is not None and not self.step_gate.acquire(timeout=0.02):
                yield StageEvent("waiting")
            if self.fit_error is not None and step == self.fail_at:
                raise self.fit_error
            loss = float("nan") if step in self.skip else 1 / step
            done = len([number for number in self.skip if number <= step])
            yield StepEvent(step, config.iterations, loss, {}, 1e-4, 1.0, done)
            stopped, last = stop(), step == config.iterations
            if last or (step % config.validate_every == 0 and not stopped):
                scores = {"loss": 0.9 / step, "near": 0.7, "heard": 0.6}
                (folder / BEST_FILE).write_text("best")
                yield ValidationEvent(step, scores, True)
            if last or stopped or step % config.save_every == 0:
                path.write_text(str(step))
                yield SavedEvent(step, path)
            if stopped:
                break
        (folder / ADAPTER_FILE).write_text("adapter")
        yield SavedEvent(config.iterations if not stop() else step, folder / ADAPTER_FILE)

    def remove(self, folder: Path) -> None:
        for name in (CONFIG_FILE, CHECKPOINT_FILE, BEST_FILE, ADAPTER_FILE):
            (folder / name).unlink(missing_ok=True)
        if folder.exists() and not any(folder.iterdir()):
            folder.rmdir()

    def facts(self, path: Path, bundle: str = "") -> Iterator[AdapterFacts]:
        own = self.adapters.get(path)
        if own is None:
            raise WeightsError(f"{path.name}: not an adapter", "Choose another file.")
        if bundle and own != bundle:
            raise WeightsError(
                f"{path.name}: an adapter of the {own} bundle, not of {bundle}", "Choose another."
            )
        yield AdapterFacts(path, own, f"{own}, blocks 6 to 9")

    def adopt(self, path: Path) -> Iterator[AdapterFacts]:
        if path.name in (ADAPTER_FILE, BEST_FILE) and path.exists():
            yield AdapterFacts(self.adopted / "own-01234567.safetensors", "compact", "")
            return
        (found,) = self.facts(path)
        yield AdapterFacts(self.adopted / f"{path.stem}-0a1b2c3d.safetensors", found.bundle, "")

    def estimate(self, config: TrainConfig, items: int) -> Iterator[Estimate]:
        yield Estimate(f"{config.iterations} iterations of {items} items")


def checked(
    usable: int = 8, problems: tuple[ProblemRow, ...] = (), error: MocaError | None = None
) -> Checked:
    """A check that left out `problems`."""

    def write(path: Path) -> None:
        path.write_text("\n".join(row.item for row in problems))

    return Checked(usable + len(problems), usable, 4, problems, len(problems), error, write)


def press(qtbot: Any, button: Any) -> None:
    """Click a button that can be seen and pressed."""
    assert button.isVisible()
    assert button.isEnabled()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def pick(parent: Any, path: Path) -> None:
    """Choose a file in the file window that is open."""
    (files,) = [f for f in parent.findChildren(QFileDialog) if f.isVisible()]
    files.findChild(QLineEdit).setText(str(path))
    files.accept()


def visible(window: Any, kind: type) -> list[Any]:
    """The windows of a kind that can be seen."""
    return [found for found in window.findChildren(kind) if found.isVisible()]


def ended(dialog: Any) -> Callable[[], bool]:
    """Asks whether the dialog's run has ended."""
    return lambda: not dialog._run.active
