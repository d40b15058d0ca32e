"""Frames on their way to the screen: the latest request wins, decoding stays off the GUI thread."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PySide6.QtGui import QImage

from moca_core.errors import MocaError
from moca_core.types import RgbImage
from moca_gui.inbox import Inbox


class FrameReader(Protocol):
    """What is needed of `moca_core.media.video.VideoReader`."""

    def frame(self, index: int) -> RgbImage:
        """(H, W, 3) uint8 RGB."""
        ...


@dataclass(frozen=True, eq=False)
class FrameReady:
    """A decoded frame; `image` is None with an `error` where it can't be decoded."""

    index: int
    image: QImage | None
    error: str = ""


def to_image(frame: RgbImage) -> QImage:
    """Copy (H, W, 3) uint8 RGB into a QImage in the format that paints fastest."""
    frame = np.ascontiguousarray(frame)
    height, width = frame.shape[:2]
    image = QImage(frame.data, width, height, 3 * width, QImage.Format.Format_RGB888)
    return image.convertToFormat(QImage.Format.Format_RGB32)


def to_picture(image: QImage) -> RgbImage:
    """A copy of a QImage as (H, W, 3) uint8 RGB."""
    image = image.convertToFormat(QImage.Format.Format_RGB888)
    rows = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    return rows[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).copy()


class FrameLoader:
    """Generator of `FrameReady` events for a job; `request` may be called from any thread."""

    def __init__(self, reader: FrameReader) -> None:
        self._reader = reader
        self._inbox = Inbox[int]()

    def request(self, index: int) -> None:
        """Ask for a frame; a request that wasn't begun yet is replaced."""
        self._inbox.put(index)

    def stop(self) -> None:
        """End the generator."""
        self._inbox.stop()

    def events(self) -> Iterator[FrameReady]:
        """Yield each frame asked for, until `stop`."""
        for index in self._inbox:
            try:
                yield FrameReady(index, to_image(self._reader.frame(index)))
            except MocaError as error:
                yield FrameReady(index, None, error.message)
