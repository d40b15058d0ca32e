"""Masks between key frames: moved by dense optical flow (OpenCV DIS), METHOD.md section 7.5."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from moca_core.types import Mask, RgbImage, SoundingObject

_FLOW_SIDE = 256
_SAME_OBJECT = 0.3
"""IoU from which objects of one name in successive key frames are the same object."""


def small_grey(rgb: RgbImage) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 -> (h, w) uint8 grey, the longer side at most 256 pixels."""
    scale = min(1.0, _FLOW_SIDE / max(rgb.shape[:2]))
    # DIS needs some pixels to work on.
    size = max(16, round(rgb.shape[1] * scale)), max(16, round(rgb.shape[0] * scale))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


class FlowTracker:
    """Follows the pixels of frames back to one key frame, step by step away from it.

    Parameters
    ----------
    key : (h, w) uint8, the key frame from `small_grey`.
    """

    def __init__(self, key: NDArray[np.uint8]) -> None:
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._last = key
        rows, columns = key.shape
        x, y = np.meshgrid(np.arange(columns, dtype=np.float32), np.arange(rows, dtype=np.float32))
        self._grid = np.stack([x, y], axis=-1)  # (h, w, 2)
        self._origin = self._grid

    def step(self, grey: NDArray[np.uint8]) -> None:
        """Go to the neighbouring frame (h, w), one further from the key frame, in either time."""
        # (h, w, 2): where each pixel was in the last frame, as an offset.
        flow = np.zeros((*grey.shape, 2), dtype=np.float32)
        self._flow.calc(grey, self._last, flow)
        place = self._grid + flow
        self._origin = np.asarray(
            cv2.remap(
                self._origin,
                place[..., 0],
                place[..., 1],
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            ),
            dtype=np.float32,
        )
        self._last = grey

    def warp(self, mask: Mask) -> Mask:
        """A mask (H, W) of the key frame as it lies in the frame of the last step."""
        height, width = mask.shape
        moved = np.zeros((height, width), dtype=bool)
        values = np.ascontiguousarray(mask).view(np.uint8)
        target = self._reached(cv2.boundingRect(values), (height, width))
        if target is None:
            return moved
        rows, columns = self._last.shape
        top, left = target[0].start, target[1].start
        size = target[1].stop - left, target[0].stop - top
        # Pixel centres of the small picture lie between those of the large one.
        scale_x, scale_y = width / columns, height / rows
        enlarge = np.array(
            [
                [1 / scale_x, 0, (left + 0.5) / scale_x - 0.5],
                [0, 1 / scale_y, (top + 0.5) / scale_y - 0.5],
            ]
        )
        place = cv2.warpAffine(
            self._origin,
            enlarge,
            size,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )  # (h, w, 2): where a pixel was in the small key frame
        full = (np.asarray(place) + 0.5) * np.array([scale_x, scale_y]) - 0.5
        found = cv2.remap(
            values * np.uint8(255),
            full.astype(np.float32),
            None,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
        )
        moved[target] = np.asarray(found) > 127
        return moved

    def _reached(self, box: Sequence[int], size: tuple[int, int]) -> tuple[slice, slice] | None:
        """The part of the frame, `size` pixels, that comes from `box` of the key frame.

        Only there is a mask moved at full size: most objects are much smaller than the frame.
        """
        left, top, width, height = box
        if not width:
            return None
        scale = np.array(self._last.shape[::-1], np.float32) / np.array(size[::-1], np.float32)
        low = np.array([left, top], np.float32) * scale - 1.5
        high = np.array([left + width, top + height], np.float32) * scale + 0.5
        inside = ((self._origin >= low) & (self._origin <= high)).all(axis=2).astype(np.uint8)
        x, y, columns, rows = cv2.boundingRect(inside)
        if not columns:
            return None
        # One small pixel more on each side, for the interpolation between them.
        x0, y0 = (math.floor(v) for v in np.array([x - 1, y - 1]) / scale)
        x1, y1 = (math.ceil(v) for v in np.array([x + columns + 1, y + rows + 1]) / scale)
        return (
            slice(max(y0, 0), min(y1, size[0])),
            slice(max(x0, 0), min(x1, size[1])),
        )

    def move(self, objects: Sequence[SoundingObject]) -> tuple[SoundingObject, ...]:
        """The objects of the key frame where they are now; those that left it are gone."""
        moved = []
        for item in objects:
            mask = self.warp(item.mask)
            if mask.any():
                moved.append(SoundingObject(item.number, item.name, item.score, mask))
        return tuple(moved)


class Numbering:
    """Gives the objects of a clip numbers that stay with them.

    An object keeps the number of the last object of its name that it overlaps; others get a new
    number.
    """

    def __init__(self) -> None:
        self._known: dict[int, SoundingObject] = {}
        self._next = 1

    def assign(self, objects: Sequence[SoundingObject]) -> tuple[SoundingObject, ...]:
        """The same objects with their numbers in the clip."""
        free = dict(self._known)
        named = []
        for item in objects:
            number = self._same(item, free)
            if number is None:
                number = self._next
                self._next += 1
            free.pop(number, None)
            named.append(SoundingObject(number, item.name, item.score, item.mask))
        self._known.update({item.number: item for item in named})
        return tuple(named)

    def remember(self, objects: Sequence[SoundingObject]) -> None:
        """Take note of objects that have their numbers already, from an earlier run."""
        self._known.update({item.number: item for item in objects})
        self._next = max(self._next, *(item.number + 1 for item in objects), 1)

    def _same(self, item: SoundingObject, known: dict[int, SoundingObject]) -> int | None:
        best, found = _SAME_OBJECT, None
        for number, other in known.items():
            if other.name != item.name or other.mask.shape != item.mask.shape:
                continue
            union = int((item.mask | other.mask).sum())
            iou = int((item.mask & other.mask).sum()) / union if union else 0.0
            if iou > best:
                best, found = iou, number
        return found
