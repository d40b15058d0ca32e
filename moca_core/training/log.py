"""The tables of a run: a line an iteration as CSV, and every event as a line of JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from moca_core.errors import StorageError
from moca_core.fileio import write_bytes
from moca_core.training.events import SavedEvent, StepEvent, TrainEvent, ValidationEvent

METRICS, EVENTS = "metrics.csv", "events.jsonl"
_FACTS = ("step", "loss", "lr", "gradient", "skipped")


class RunLog:
    """Writes the tables of a run as it goes on.

    Parameters
    ----------
    step : iterations that were done before; lines of later ones are of a run that was ended before
        its checkpoint, and go: their iterations come again.

    Raises
    ------
    StorageError : the folder can't be written, or the disk is full.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self._folder = folder
        self._names: list[str] = []
        with ExitStack() as files:
            try:
                _keep(folder / METRICS, _step_of_row, step)
                _keep(folder / EVENTS, _step_of_event, step)
                table = (folder / METRICS).open("a", newline="", encoding="utf-8")
                self._table = files.enter_context(table)
                self._events = files.enter_context((folder / EVENTS).open("a", encoding="utf-8"))
            except OSError as error:
                raise self._failure(error) from error
            self._files = files.pop_all()
        self._writer = csv.writer(self._table)

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._files.close()
        except OSError as error:
            raise self._failure(error) from error

    def note(self, event: TrainEvent) -> None:
        """Write an event down, if it is of an iteration, a validation or a checkpoint."""
        if not isinstance(event, StepEvent | ValidationEvent | SavedEvent):
            return
        try:
            if isinstance(event, StepEvent):
                self._add_row(event)
            line = {"event": type(event).__name__.removesuffix("Event").lower(), **vars(event)}
            self._events.write(json.dumps(line, default=str) + "\n")
            # Each at once: a line may not be lost of an iteration that a checkpoint counts.
            self._table.flush()
            self._events.flush()
        except OSError as error:
            raise self._failure(error) from error

    def _add_row(self, event: StepEvent) -> None:
        if not self._names:
            self._names = list(event.parts)
            if not self._table.tell():
                self._writer.writerow([*_FACTS, *self._names])
        parts = [event.parts.get(name, "") for name in self._names]
        self._writer.writerow([*(getattr(event, name) for name in _FACTS), *parts])

    def _failure(self, error: OSError) -> StorageError:
        return StorageError(
            f"{self._folder}: can't be written ({error.strerror or error})",
            "Free some space; the same command then goes on from the last checkpoint.",
        )


def _step_of_row(line: str) -> int | None:
    first = line.split(",")[0]
    return int(first) if first.isdigit() else None


def _step_of_event(line: str) -> int | None:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return None


def _keep(path: Path, step_of: Callable[[str], int | None], step: int) -> None:
    """Drop lines of iterations after `step`, and one that a kill cut short."""
    if not path.exists():
        return
    lines = path.read_bytes().decode("utf-8", "replace").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    kept = [line for line in whole if (step_of(line) or 0) <= step]
    if kept != lines:
        write_bytes(path, "".join(kept).encode())
