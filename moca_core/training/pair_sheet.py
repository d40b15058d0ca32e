"""Anchors with their neighbours and negatives, drawn to be judged by eye."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from moca_core.errors import StorageError
from moca_core.evaluation.layouts.cases import spread
from moca_core.export.drawing import INK, PAPER, Colour, clock, paste, shortened, write
from moca_core.fileio import write_bytes
from moca_core.training.data import Item, ItemReader, ItemSet
from moca_core.training.pairs import PairTable
from moca_core.types import RgbImage, StageEvent

ROWS = 12
NEGATIVES = 3
_MOST_NEIGHBOURS = 7
_CELL_PX = 180
_PICTURE_PX = 128
_GAP, _WIDE_GAP = 8, 28
_TEXT_PX = 13
_LINE_PX = 18
_MUTED: Colour = (160, 165, 170)
_HEAD_PX = 2 * _LINE_PX + _GAP


def draw_sheet(
    items: ItemSet, table: PairTable, path: Path, rows: int = ROWS, seed: int = 0
) -> Iterator[StageEvent]:
    """Write a PNG with a row for each of some anchors, spread evenly; yields before each.

    Under a picture stand its name, its likeness to the anchor, when the clip shows it, and its
    category where that is known.

    Raises
    ------
    DatasetError : a picture can't be read.
    StorageError : the sheet can't be written.
    """
    anchors = [int(table.item_of[place]) for place in spread(len(table.item_of), rows)]
    near = min(table.config.k, _MOST_NEIGHBOURS)
    lefts, width = _columns(near)
    high = _PICTURE_PX + 3 * _LINE_PX + _GAP
    sheet = np.empty((_HEAD_PX + len(anchors) * high + _GAP, width, 3), np.uint8)
    sheet[...] = PAPER
    _head(sheet, lefts, near)
    with ItemReader() as reader:
        for row, anchor in enumerate(anchors):
            yield StageEvent("Drawing the sheet", row, len(anchors))
            top = _HEAD_PX + row * high
            drawn = [
                int(table.negatives([anchor], seed + number)[0]) for number in range(NEGATIVES)
            ]
            found = table.near(anchor)[0][:near].tolist()
            shown = [(lefts[0], anchor), *zip(lefts[1:], found, strict=False)]
            shown += zip(lefts[1 + near :], drawn, strict=True)
            for left, place in shown:
                alike = "" if place == anchor else f"{table.cosine(anchor, place):.2f}"
                _put(sheet, _cell(reader, items[place], alike), (left, top))
    done, data = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    if not done:
        raise StorageError(f"{path}: the sheet can't be encoded")
    write_bytes(path, data.tobytes())


def _columns(near: int) -> tuple[list[int], int]:
    """Left edges of the anchor, the neighbours and the negatives, and the sheet's width."""
    lefts, x = [], _GAP
    for column in range(1 + near + NEGATIVES):
        # A wider gap parts what belongs together from what doesn't.
        x += _WIDE_GAP if column in (1, 1 + near) else 0
        lefts.append(x)
        x += _CELL_PX + _GAP
    return lefts, x


def _head(sheet: RgbImage, lefts: list[int], near: int) -> None:
    words = {
        0: "anchor",
        1: "neighbours, the most alike first (cosine)",
        1 + near: "negatives, drawn beyond the nearer half",
    }
    for column, text in words.items():
        paste(sheet, write(text, _TEXT_PX + 2, INK), (lefts[column], _GAP))
        # The line reaches to where the next part begins.
        ends = [place for place in words if place > column]
        stop = lefts[ends[0]] - _WIDE_GAP if ends else sheet.shape[1] - _GAP
        y = _GAP + _LINE_PX + 6
        sheet[y : y + 1, lefts[column] : stop - (_GAP if ends else 0)] = _MUTED


def _cell(reader: ItemReader, item: Item, alike: str) -> RgbImage:
    """(h, 180, 3) uint8: the picture, and below it its name, category and likeness."""
    rgb = reader.picture(item)
    scale = min(_CELL_PX / rgb.shape[1], _PICTURE_PX / rgb.shape[0])
    size = max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale))
    small = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    cell = np.empty((_PICTURE_PX + 3 * _LINE_PX, _CELL_PX, 3), np.uint8)
    cell[...] = PAPER
    _put(cell, small, ((_CELL_PX - size[0]) // 2, (_PICTURE_PX - size[1]) // 2))
    moment = "" if item.image_s is None else f"at {clock(item.image_s)}"
    second = "  ".join(part for part in (alike, moment, item.category) if part)
    for row, (words, ink) in enumerate(((_name(item), INK), (second, _MUTED))):
        words = shortened(words, _TEXT_PX, _CELL_PX) if words else ""
        if words:
            paste(cell, write(words, _TEXT_PX, ink), (0, _PICTURE_PX + 3 + row * _LINE_PX))
    return cell


def _name(item: Item) -> str:
    """The clip, or the last part of a key: folders in front say less, and take the room."""
    return item.key.rpartition("/")[2] if item.image_s is None else item.image.name


def _put(sheet: RgbImage, picture: NDArray[np.uint8], place: tuple[int, int]) -> None:
    """Copy (h, w, 3) to (x, y)."""
    x, y = place
    sheet[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
