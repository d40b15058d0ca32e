"""Masks of one frame before and after training, side by side."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QImage, QPixmap, QResizeEvent
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from moca_core.config import SegmentConfig
from moca_core.types import FrameEvent, FrameResult, RgbImage, SegmentEvent, StageEvent
from moca_gui.frames import to_image
from moca_gui.run_worker import SegmenterLike

WHEN = ("Before", "After")


@dataclass(frozen=True, eq=False)
class Sample:
    """A frame with its masks drawn; `place` 0 is before, 1 after."""

    place: int
    image: QImage
    about: str


def compare(
    make: Callable[[SegmentConfig], SegmenterLike],
    configs: tuple[SegmentConfig, SegmentConfig],
    clip: Path,
    frame: int,
    picture: RgbImage,
) -> Iterator[StageEvent | Sample]:
    """Run on one frame with each of two configurations, one after the other."""
    for place, config in enumerate(configs):
        when = WHEN[place]
        yield StageEvent(f"{when}: loading the encoders")
        segmenter = make(config)
        events = cast("Generator[SegmentEvent, None, None]", segmenter.clip(clip, frames=[frame]))
        with closing(events):
            for event in events:
                if isinstance(event, FrameEvent):
                    yield Sample(place, drawn(picture, event.result), words_of(event.result))
                elif isinstance(event, StageEvent):
                    yield StageEvent(f"{when}: {event.stage}", event.done, event.total)
        del segmenter, events  # before the next one's encoders come


def drawn(picture: RgbImage, result: FrameResult) -> QImage:
    """The (H, W, 3) uint8 picture with the masks of its result."""
    from moca_core.export.drawing import draw_result

    copy = np.array(picture)
    draw_result(copy, result)
    return to_image(copy)


def words_of(result: FrameResult) -> str:
    """What was found, in words."""
    if not result.objects:
        return result.reason
    return ", ".join(f"{item.name} {item.score:.2f}" for item in result.objects)


class _Picture(QLabel):
    """A picture that fills its room and keeps its shape."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.setAccessibleName(name)
        self.setAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Ignored)
        self.setMinimumSize(QSize(160, 120))
        self._whole: QPixmap | None = None

    def show_image(self, image: QImage | None) -> None:
        self._whole = QPixmap.fromImage(image) if image is not None else None
        self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:
        self._fit()

    def _fit(self) -> None:
        if self._whole is None:
            self.clear()
            return
        ratio = self.devicePixelRatioF()
        fitted = self._whole.scaled(
            self.size() * ratio,
            Qt.AspectRatioMode.KeepAspectRatio,
            Qt.TransformationMode.SmoothTransformation,
        )
        fitted.setDevicePixelRatio(ratio)
        self.setPixmap(fitted)


class SamplesPanel(QWidget):
    """Two pictures; the button asks for those of the frame on screen."""

    def __init__(self) -> None:
        super().__init__()
        self.state = QLabel()
        self.state.setWordWrap(True)
        self.state.setAccessibleName("Comparison")
        self.button = QPushButton("Compare on this frame")
        self.button.setToolTip("Find what sounds in the open clip's frame, before and after")
        self.pictures = (_Picture("Before training"), _Picture("After training"))
        self.words = (QLabel(), QLabel())  # when, and what was found
        head = QHBoxLayout()
        head.addWidget(self.state, 1)
        head.addWidget(self.button)
        row = QHBoxLayout()
        row.setSpacing(12)
        for picture, words in zip(self.pictures, self.words, strict=True):
            column = QVBoxLayout()
            words.setObjectName("heading")
            words.setWordWrap(True)
            column.addWidget(words)
            column.addWidget(picture, 1)
            row.addLayout(column, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(12, 12, 12, 12)
        layout.setSpacing(9)
        layout.addLayout(head)
        layout.addLayout(row, 1)
        self.clear("")

    def clear(self, text: str) -> None:
        """Show no pictures, but why."""
        self.state.setText(text)
        for when, picture, words in zip(WHEN, self.pictures, self.words, strict=True):
            picture.show_image(None)
            words.setText(when)

    def show_event(self, event: StageEvent | Sample) -> None:
        """Show a picture, or what happens."""
        if isinstance(event, Sample):
            self.pictures[event.place].show_image(event.image)
            self.words[event.place].setText(f"{WHEN[event.place]}: {event.about}")
        else:
            self.state.setText(event.stage)
