"""Masks between key frames: moved by dense optical flow (OpenCV DIS), METHOD.md section 7.5."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from moca_core.types import Mask, RgbImage, SoundingObject

_FLOW_SIDE = 256
_LEAST_SIDE = 32
"""On pictures with a shorter side DIS reads beyond its memory and the process ends."""

_LOST = 1 / 8
"""Share of an object's pixels at or below which only the blur of its border is left."""


def small_grey(rgb: RgbImage) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 -> (h, w) uint8 grey, the longer side at most 256 pixels, none below 32."""
    scale = min(1.0, _FLOW_SIDE / max(rgb.shape[:2]))
    height, width = (max(_LEAST_SIDE, round(side * scale)) for side in rgb.shape[:2])
    small = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def pixel_grid(rows: int, columns: int) -> NDArray[np.float32]:
    """(rows, columns, 2) float32, the (x, y) of each pixel."""
    x, y = np.meshgrid(np.arange(columns, dtype=np.float32), np.arange(rows, dtype=np.float32))
    return np.stack([x, y], axis=-1)


class FlowTracker:
    """Follows the pixels of frames back to one key frame, step by step away from it.

    Parameters
    ----------
    key : (h, w) uint8, the key frame from `small_grey`.
    """

    def __init__(self, key: NDArray[np.uint8]) -> None:
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        # The refinement smooths the flow across the border of an object, which then lags behind:
        # a textured square moved over a textured ground keeps IoU .91 over 24 frames, with it .6.
        self._flow.setVariationalRefinementIterations(0)
        self._last = key
        self._grid = pixel_grid(*key.shape)  # (h, w, 2)
        self._origin = self._grid
        self._before = key, self._grid  # the frame before the last step, and where pixels were

    def step(self, grey: NDArray[np.uint8]) -> Motion:
        """Go to the neighbouring frame (h, w), one further from the key frame, in either time."""
        # (h, w, 2): where each pixel was in the last frame, as an offset.
        flow = np.zeros((*grey.shape, 2), dtype=np.float32)
        self._flow.calc(grey, self._last, flow)
        place = self._grid + flow
        self._before = self._last, place
        origin = cv2.remap(
            self._origin,
            place[..., 0],
            place[..., 1],
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        self._origin = np.asarray(origin, dtype=np.float32)
        self._last = grey
        return Motion(self._origin)

    def expected(self) -> NDArray[np.uint8]:
        """(h, w), what the last frame would look like if it were the one before, moved."""
        before, place = self._before
        moved = cv2.remap(
            before,
            place[..., 0],
            place[..., 1],
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return np.asarray(moved, dtype=np.uint8)


@dataclass(frozen=True, eq=False)
class Motion:
    """How a frame came about from its key frame.

    Attributes
    ----------
    origin : (h, w, 2) float32, where (x, y) in the small key frame each small pixel was.
    """

    origin: NDArray[np.float32]

    def move(self, objects: Sequence[SoundingObject]) -> tuple[SoundingObject, ...]:
        """The objects of the key frame where they are now; those that left it are gone."""
        moved = []
        for item in objects:
            mask = self.warp(item.mask)
            if np.count_nonzero(mask) > _LOST * np.count_nonzero(item.mask):
                moved.append(SoundingObject(item.number, item.name, item.score, mask))
        return tuple(moved)

    def warp(self, mask: Mask) -> Mask:
        """A mask (H, W) of the key frame as it lies in this frame."""
        height, width = mask.shape
        moved = np.zeros((height, width), dtype=bool)
        values = np.ascontiguousarray(mask).view(np.uint8)
        target = self._reached(cv2.boundingRect(values), (height, width))
        if target is None:
            return moved
        rows, columns = self.origin.shape[:2]
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
            self.origin,
            enlarge,
            size,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )  # (h, w, 2): where a pixel was in the small key frame
        place = np.asarray(place, dtype=np.float32)
        found = cv2.remap(
            values * np.uint8(255),
            (place[..., 0] + np.float32(0.5)) * np.float32(scale_x) - np.float32(0.5),
            (place[..., 1] + np.float32(0.5)) * np.float32(scale_y) - np.float32(0.5),
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
        small = self.origin.shape[1::-1]
        scale = np.array(small, np.float32) / np.array(size[::-1], np.float32)
        low = np.array([left, top], np.float32) * scale - 1.5
        high = np.array([left + width, top + height], np.float32) * scale + 0.5
        # Between two small pixels lies all that is between their origins.
        window = np.ones((3, 3), np.uint8)
        most = np.asarray(cv2.dilate(self.origin, window))
        least = np.asarray(cv2.erode(self.origin, window))
        inside = ((most >= low) & (least <= high)).all(axis=2)
        x, y, columns, rows = cv2.boundingRect(np.asarray(inside, dtype=np.uint8))
        if not columns:
            return None
        # One small pixel more on each side, for the interpolation between them.
        x0, y0 = (math.floor(v) for v in np.array([x - 1, y - 1]) / scale)
        x1, y1 = (math.ceil(v) for v in np.array([x + columns + 1, y + rows + 1]) / scale)
        return (
            slice(max(y0, 0), min(y1, size[0])),
            slice(max(x0, 0), min(x1, size[1])),
        )
