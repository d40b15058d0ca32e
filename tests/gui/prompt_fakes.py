"""A SAM's stand-in that draws discs around points, and fills boxes."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from types import SimpleNamespace
from typing import Any

import numpy as np
from gui_fakes import HEIGHT, WIDTH, disc

from moca_core.annotations.prompt import Prompt

RADII = (8, 4, 14)
"""Of the masks that a single point may mean, the likeliest first."""


class FakePrompting:
    """Makes prompters that draw discs; `gate` holds an answer back until the test lets it go."""

    def __init__(self) -> None:
        self.gate: threading.Event | None = None
        self.error: Exception | None = None
        self.loads: list[tuple[Any, Any]] = []
        self.embedded: list[tuple[Hashable, tuple[int, ...]]] = []
        self.asked: list[Prompt] = []
        self.radii = RADII

    def load(self, config: Any, lent: Any, old: Any) -> FakePrompter:
        if self.error is not None:
            raise self.error
        self.loads.append((config, lent))
        return old or FakePrompter(self)


class FakePrompter:
    """Keeps which frames it has seen."""

    def __init__(self, source: FakePrompting) -> None:
        self._source = source
        self._frames: set[Hashable] = set()

    def knows(self, frame: Hashable) -> bool:
        return frame in self._frames

    def embed(self, frame: Hashable, rgb: np.ndarray) -> None:
        self._frames.add(frame)
        self._source.embedded.append((frame, tuple(int(x) for x in rgb[0, 0])))

    def ask(self, frame: Hashable, prompt: Prompt) -> SimpleNamespace:
        source = self._source
        if source.gate is not None:
            source.gate.wait()
        source.asked.append(prompt)
        if prompt.box is not None:
            x0, y0, x1, y1 = prompt.box
            mask = np.zeros((HEIGHT, WIDTH), bool)
            mask[y0:y1, x0:x1] = True
            masks = [mask]
        else:
            on = next(point for point in prompt.points if point.on)
            radii = source.radii if prompt.ambiguous else source.radii[:1]
            # The middle of the first pixel is at a half; a radius below nothing finds nothing.
            masks = [disc(HEIGHT, WIDTH, on.x - 0.5, on.y - 0.5, r) & (r >= 0) for r in radii]
        for point in prompt.points:
            if not point.on:
                masks = [mask & ~disc(HEIGHT, WIDTH, point.x, point.y, 3) for mask in masks]
        ious = np.linspace(0.9, 0.5, len(masks), dtype=np.float32)
        return SimpleNamespace(masks=np.stack(masks), ious=ious)
