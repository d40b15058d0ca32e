"""Masks between key frames: moved by dense optical flow (OpenCV DIS), METHOD.md section 7.5."""

from __future__ import annotations

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
        rows, columns = self._last.shape
        scale = np.array([width / columns, height / rows], dtype=np.float32)
        # Pixel centres of the small picture lie between those of the large one.
        place = (self._origin + 0.5) * scale - 0.5
        full = cv2.resize(place, (width, height), interpolation=cv2.INTER_LINEAR)
        moved = cv2.remap(
            mask.view(np.uint8) * np.uint8(255),
            np.asarray(full[..., 0], dtype=np.float32),
            np.asarray(full[..., 1], dtype=np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
        )
        return np.asarray(moved) > 127

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
