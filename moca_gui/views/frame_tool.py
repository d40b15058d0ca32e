"""What a tool is for the frame view: it answers the mouse, and paints over the frame."""

from __future__ import annotations

from typing import Protocol

from PySide6.QtCore import QRectF
from PySide6.QtGui import QCursor, QMouseEvent, QPainter, QWheelEvent


class FrameTool(Protocol):
    """What the buttons but the middle one do over the frame, and what is painted meanwhile."""

    @property
    def cursor(self) -> QCursor:
        """The mouse's look over the frame."""
        ...

    @property
    def covered(self) -> int | None:
        """Number of the object that the tool paints itself."""
        ...

    def press(self, event: QMouseEvent) -> None:
        """A button went down."""
        ...

    def move(self, event: QMouseEvent) -> None:
        """The mouse moved, with or without a button."""
        ...

    def release(self, event: QMouseEvent) -> None:
        """A button went up."""
        ...

    def double_click(self, event: QMouseEvent) -> None:
        """A button went down for the second time; its first press was told by `press`."""
        ...

    def wheel(self, event: QWheelEvent) -> bool:
        """The wheel was turned without Ctrl; whether that meant anything."""
        ...

    def leave(self) -> None:
        """The mouse left the frame."""
        ...

    def paint_masks(self, painter: QPainter, rect: QRectF) -> None:
        """Paint what lies below the labels; the frame lies at `rect` in widget pixels."""
        ...

    def paint(self, painter: QPainter, rect: QRectF) -> None:
        """Paint over everything."""
        ...
