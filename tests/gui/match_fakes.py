"""A stand-in for the encoders: places are what 8 x 8 fields of a frame look like."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PySide6.QtGui import QImage

from moca_core.errors import MocaError, NoAudioError
from moca_core.training.neighbours import Neighbour
from moca_core.types import StageEvent
from moca_gui.matching.source import EncoderChoice, Found, Heard, NeighbourQuery

GRID = (8, 8)


def fields(rgb: np.ndarray) -> np.ndarray:
    """(64, 48) float32: 4 x 4 pixels of each field."""
    small = cv2.resize(rgb, (32, 32), interpolation=cv2.INTER_AREA)
    parts = small.reshape(8, 4, 8, 4, 3).transpose(0, 2, 1, 3, 4)
    return parts.reshape(64, 48).astype(np.float32) / 255 + 0.01


@dataclass
class FakeMatching:
    """`load_gate` and `search_gate` hold the work back until the test lets it go on."""

    load_gate: threading.Event | None = None
    load_error: Exception | None = None
    search_gate: threading.Event | None = None
    search_error: MocaError | None = None
    mute: tuple[str, ...] = ()  # names of files without sound
    found: tuple[Neighbour, ...] = ()
    left_out: tuple[str, ...] = ()
    loaded: list[EncoderChoice] = field(default_factory=list)
    closed: int = 0
    heard: list[Heard | None] = field(default_factory=list)
    queries: list[NeighbourQuery] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)

    def load(self, choice: EncoderChoice, stopped: Callable[[], bool]) -> Any:
        self.threads.add(threading.current_thread().name)
        while self.load_gate is not None and not self.load_gate.wait(0.02) and not stopped():
            pass
        if self.load_error is not None:
            raise self.load_error
        self.loaded.append(choice)
        return FakeEncoder(self)

    def neighbours(self, query: NeighbourQuery) -> Iterator[StageEvent | Found]:
        self.threads.add(threading.current_thread().name)
        self.queries.append(query)
        yield StageEvent("Looking at pictures", 1, 4)
        while self.search_gate is not None and not self.search_gate.wait(0.02):
            yield StageEvent("Looking at pictures", 2, 4)
        if self.search_error is not None:
            raise self.search_error
        image = QImage(30, 20, QImage.Format.Format_RGB32)
        image.fill(0)
        thumbs = tuple(image for _ in self.found)
        frame = query.pick.position
        assert isinstance(frame, int)
        yield Found(frame, self.found, thumbs, 4, 4, self.left_out)


class FakeEncoder:
    grid = GRID

    def __init__(self, source: FakeMatching) -> None:
        self._source = source

    def features(self, rgb: np.ndarray, heard: Heard | None) -> np.ndarray:
        if heard is not None and heard.path.name in self._source.mute:
            raise NoAudioError(f"{heard.path.name}: no audio track")
        self._source.heard.append(heard)
        return fields(rgb) + (heard.time_s if heard is not None else 0.0)

    def close(self) -> None:
        self._source.closed += 1


def some_neighbours(clip: Path, picture: Path) -> tuple[Neighbour, ...]:
    """A frame of a clip, and a picture."""
    return Neighbour(clip, 0.5, 0.93), Neighbour(picture, None, 0.41)
