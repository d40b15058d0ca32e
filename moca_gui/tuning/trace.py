"""A curve of any length in a bounded number of points."""

from __future__ import annotations

import math

LIMIT = 2000


class Trace:
    """Values by step; once there are too many, neighbours are put together in pairs.

    Values that aren't finite are left out.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.steps: list[float] = []
        self.values: list[float] = []
        self._limit = limit
        self._each = 1  # values in a point
        self._waiting: list[tuple[float, float]] = []

    def add(self, step: float, value: float) -> None:
        """Add a value."""
        if not math.isfinite(value):
            return
        self._waiting.append((step, value))
        if len(self._waiting) < self._each:
            return
        self.steps.append(sum(s for s, _ in self._waiting) / self._each)
        self.values.append(sum(v for _, v in self._waiting) / self._each)
        self._waiting.clear()
        if len(self.steps) >= self._limit:
            self.steps = _halved(self.steps)
            self.values = _halved(self.values)
            self._each *= 2

    def smoothed(self, share: float = 0.05) -> list[float]:
        """The values with each one's past weighed in; `share` is that of the newest."""
        out: list[float] = []
        mean = weight = 0.0
        for value in self.values:
            mean = (1 - share) * mean + share * value
            weight = (1 - share) * weight + share
            out.append(mean / weight)
        return out


def _halved(numbers: list[float]) -> list[float]:
    return [(a + b) / 2 for a, b in zip(numbers[::2], numbers[1::2], strict=False)]
