"""What a person shows of an object: points on it and off it, a box around it."""

from __future__ import annotations

from dataclasses import dataclass

from moca_core.annotations.model import Box


@dataclass(frozen=True)
class PromptPoint:
    """A place, x and y in pixels of the frame, that is on the object or off it."""

    x: float
    y: float
    on: bool = True


@dataclass(frozen=True)
class Prompt:
    """What is said of one object: points, a box around it, or both."""

    points: tuple[PromptPoint, ...] = ()
    box: Box | None = None

    @property
    def answerable(self) -> bool:
        """Whether it says where the object is, not only where it isn't."""
        return self.box is not None or any(point.on for point in self.points)

    @property
    def ambiguous(self) -> bool:
        """Whether it may mean a part, an object or a group: a single point."""
        return self.box is None and len(self.points) == 1
