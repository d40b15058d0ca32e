"""The contact sheet: the key frames of a clip side by side, with masks, times and words."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from moca_core.errors import StorageError
from moca_core.export.drawing import (
    INK,
    PAPER,
    clock,
    draw_result,
    heard_words,
    paste,
    shortened,
    write,
)
from moca_core.fileio import write_bytes
from moca_core.types import FrameResult, RgbImage

_CELL_PX = 400
_COLUMNS = 4
_MOST_CELLS = 48
_GAP = 10
_TEXT_PX = 15
_MUTED = (160, 165, 170)


class ContactSheet:
    """Collects small pictures of key frames; of a long clip it keeps every second, fourth, ...

    Parameters
    ----------
    title : the line on top, the clip's name.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._cells: list[RgbImage] = []
        self._seen = 0
        self._every = 1

    def add(self, rgb: RgbImage, result: FrameResult) -> None:
        """Draw the next key frame, (H, W, 3) uint8 with its result."""
        if self._seen % self._every == 0:
            if len(self._cells) == _MOST_CELLS:
                self._cells = self._cells[::2]
                self._every *= 2
            if self._seen % self._every == 0:
                self._cells.append(_cell(rgb, result))
        self._seen += 1

    def picture(self) -> RgbImage:
        """The sheet so far, (H, W, 3) uint8."""
        columns = max(1, min(_COLUMNS, len(self._cells)))
        high = max((cell.shape[0] for cell in self._cells), default=0)
        rows = -(-len(self._cells) // columns)
        top = 3 * _TEXT_PX
        width = columns * (_CELL_PX + _GAP) + _GAP
        sheet = np.empty((top + rows * (high + _GAP) + _GAP, width, 3), np.uint8)
        sheet[...] = PAPER
        title = shortened(self._title, _TEXT_PX + 4, width - 2 * _GAP)
        paste(sheet, write(title, _TEXT_PX + 4, INK), (_GAP, _GAP))
        for place, cell in enumerate(self._cells):
            y = top + place // columns * (high + _GAP)
            x = _GAP + place % columns * (_CELL_PX + _GAP)
            sheet[y : y + cell.shape[0], x : x + _CELL_PX] = cell
        return sheet

    def save(self, path: Path) -> None:
        """Write the sheet as PNG; raises `StorageError`."""
        done, data = cv2.imencode(".png", cv2.cvtColor(self.picture(), cv2.COLOR_RGB2BGR))
        if not done:
            raise StorageError(f"{path}: the sheet can't be encoded")
        write_bytes(path, data.tobytes())


def _cell(rgb: RgbImage, result: FrameResult) -> RgbImage:
    """(h, 400, 3) uint8: the picture with its masks, two lines of words below."""
    height, width = rgb.shape[:2]
    # Tall pictures are fitted into a square, so that a sheet keeps its rows.
    scale = _CELL_PX / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    picture = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    draw_result(picture, result)
    line = _TEXT_PX + _TEXT_PX // 2
    cell = np.empty((size[1] + 2 * line, _CELL_PX, 3), np.uint8)
    cell[...] = PAPER
    left = (_CELL_PX - size[0]) // 2
    cell[: size[1], left : left + size[0]] = picture
    names = ", ".join(f"{item.number} {item.name}" for item in result.objects)
    first = f"{clock(result.time_s)}  {names or 'no mask'}"
    for row, (words, ink) in enumerate(((first, INK), (heard_words(result), _MUTED))):
        words = shortened(words, _TEXT_PX, _CELL_PX)
        if words:
            paste(cell, write(words, _TEXT_PX, ink), (0, size[1] + 2 + row * line))
    return cell
