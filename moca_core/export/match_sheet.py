"""Two pictures with the matches between them, and how badly each place matches the other one."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from moca_core.errors import StorageError
from moca_core.export.drawing import (
    INK,
    PAPER,
    colour_of,
    heat,
    paste,
    shortened,
    viridis,
    write,
)
from moca_core.fileio import write_bytes
from moca_core.pipeline.pma import PmaResult, spread_matches
from moca_core.types import RgbImage

_CELL_PX = 560
_GAP, _BETWEEN = 14, 44
_TEXT_PX = 16
_LINE_PX = 26
_BAR_PX, _BAR_LABELS_PX = 22, 62
_TICKS = 5
_MUTED = (160, 165, 170)


def match_sheet(
    a: RgbImage,
    b: RgbImage,
    result: PmaResult,
    titles: tuple[str, str],
    heading: str,
    count: int = 12,
) -> RgbImage:
    """The sheet, (H, W, 3) uint8: the pictures with `count` matches, below them their cost maps.

    Parameters
    ----------
    a, b : (H, W, 3) uint8, of any sizes; each is shown within 560 x 560 pixels.
    titles : a line for each picture.
    heading : the line on top.
    """
    pictures = [_fitted(rgb) for rgb in (a, b)]
    high = max(picture.shape[0] for picture in pictures)
    width = 2 * _CELL_PX + 3 * _GAP + _BETWEEN + _BAR_PX + _BAR_LABELS_PX
    tops = [_GAP + 2 * _LINE_PX, 2 * _GAP + 3 * _LINE_PX + high]
    lefts = [_GAP, _GAP + _CELL_PX + _BETWEEN]
    sheet = np.empty((tops[1] + high + _GAP, width, 3), np.uint8)
    sheet[...] = PAPER
    _line(sheet, heading, (_GAP, _GAP - 4), width - 2 * _GAP, INK)
    low, top = result.cost_range
    corners = []
    costs = (result.cost_a, result.cost_b)
    for picture, cost, left, title, other in zip(
        pictures, costs, lefts, titles, ("the right one", "the left one"), strict=True
    ):
        # A narrower picture stands in the middle of its cell.
        x = left + (_CELL_PX - picture.shape[1]) // 2
        corners.append((x, tops[0]))
        _line(sheet, title, (left, tops[0] - _LINE_PX), _CELL_PX, INK)
        words = (
            f"cost against {other}: {cost.min():.3f} to {cost.max():.3f}, mean {cost.mean():.3f}"
        )
        _line(sheet, words, (left, tops[1] - _LINE_PX), _CELL_PX, _MUTED)
        _put(sheet, picture, (x, tops[0]))
        _put(sheet, heat(picture, (cost - low) / (top - low)), (x, tops[1]))
    _draw_matches(sheet, spread_matches(result, count), result.grid, pictures, corners)
    _draw_bar(sheet, (lefts[1] + _CELL_PX + _GAP, tops[1]), high, low, top)
    return sheet


def save_sheet(sheet: RgbImage, path: Path) -> None:
    """Write a picture as PNG, whatever the file is called; raises `StorageError`."""
    done, data = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    if not done:
        raise StorageError(f"{path}: the sheet can't be encoded")
    write_bytes(path, data.tobytes())


def _fitted(rgb: RgbImage) -> RgbImage:
    height, width = rgb.shape[:2]
    scale = _CELL_PX / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(rgb, size, interpolation=method), dtype=np.uint8)


def _draw_matches(
    sheet: RgbImage,
    matches: NDArray[np.int64],
    grid: tuple[int, int],
    pictures: list[RgbImage],
    corners: list[tuple[int, int]],
) -> None:
    """Numbered ends and lines between them, best first; the best one is on top."""
    ends = []
    for side, (picture, corner) in enumerate(zip(pictures, corners, strict=True)):
        places = matches[:, 2 * side : 2 * side + 2]  # row, column
        scale = np.array(picture.shape[:2]) / grid
        ends.append(np.rint((places + 0.5) * scale).astype(int)[:, ::-1] + corner)
    numbered = list(enumerate(zip(*ends, strict=True), start=1))[::-1]
    for number, both in numbered:
        start, stop = (tuple(map(int, point)) for point in both)
        cv2.line(sheet, start, stop, PAPER, 4, cv2.LINE_AA)
        cv2.line(sheet, start, stop, colour_of(number), 2, cv2.LINE_AA)
    for number, both in numbered:
        for point in both:
            _badge(sheet, number, (int(point[0]), int(point[1])))


def _badge(sheet: RgbImage, number: int, place: tuple[int, int]) -> None:
    cv2.circle(sheet, place, 12, PAPER, -1, cv2.LINE_AA)
    cv2.circle(sheet, place, 11, colour_of(number), 2, cv2.LINE_AA)
    words = write(str(number), _TEXT_PX - 3, INK)
    paste(sheet, words, (place[0] - words.shape[1] // 2, place[1] - words.shape[0] // 2))


def _draw_bar(sheet: RgbImage, place: tuple[int, int], height: int, low: float, top: float) -> None:
    """The colours from the greatest cost down to the least, with numbers."""
    x, y = place
    shares = np.linspace(1, 0, height)
    sheet[y : y + height, x : x + _BAR_PX] = viridis(shares)[:, None]
    _line(sheet, "cost", (x, y - _LINE_PX), _BAR_PX + _BAR_LABELS_PX, _MUTED)
    for share in np.linspace(0, 1, _TICKS):
        words = write(f"{low + share * (top - low):.3f}", _TEXT_PX - 2, INK)
        middle = y + round((1 - share) * (height - 1))
        row = int(np.clip(middle - words.shape[0] // 2, y, y + height - words.shape[0]))
        paste(sheet, words, (x + _BAR_PX + 8, row))
        sheet[middle, x + _BAR_PX : x + _BAR_PX + 5] = INK


def _line(
    sheet: RgbImage, words: str, place: tuple[int, int], width: int, ink: tuple[int, int, int]
) -> None:
    words = shortened(words, _TEXT_PX, width)
    if words:
        paste(sheet, write(words, _TEXT_PX, ink), place)


def _put(sheet: RgbImage, picture: RgbImage, place: tuple[int, int]) -> None:
    x, y = place
    sheet[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
