"""Pictures as the encoders take them: squashed or cropped to a square, masked, and normalised."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from moca_core.models.compute import to_device
from moca_core.types import RgbImage

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

BILINEAR = Image.Resampling.BILINEAR
BICUBIC = Image.Resampling.BICUBIC


def squash(rgb: RgbImage, side: int, method: Image.Resampling = BICUBIC) -> RgbImage:
    """(H, W, 3) uint8 -> (side, side, 3) uint8, whatever its proportions: nothing is cut off."""
    picture = Image.fromarray(rgb)
    if picture.size != (side, side):
        picture = picture.resize((side, side), method)
    return np.array(picture)


def centre_crop(rgb: RgbImage, shorter: int, side: int) -> RgbImage:
    """The usual way to feed a classifier: resize by the shorter side, keep the middle.

    Parameters
    ----------
    rgb : (H, W, 3) uint8.
    shorter : pixels of the shorter side after resizing (bicubic), at least `side`. The longer
        side is rounded down and the offset of the crop to the nearest even number at a half,
        as torchvision does it.
    side : of the square that is kept.

    Returns
    -------
    (side, side, 3) uint8.
    """
    height, width = rgb.shape[:2]
    longer = int(shorter * max(height, width) / min(height, width))
    size = (longer, shorter) if width >= height else (shorter, longer)  # width, height
    left, top = (round((full - side) / 2) for full in size)
    resized = Image.fromarray(rgb).resize(size, BICUBIC)
    return np.array(resized.crop((left, top, left + side, top + side)))


def masked_crops(rgb: RgbImage, masks: NDArray[np.bool_], side: int) -> NDArray[np.uint8]:
    """Square crops around masks, all else grey: crops with their background say little.

    Parameters
    ----------
    rgb : (H, W, 3) uint8.
    masks : (P, h, w) bool over the same picture.

    Returns
    -------
    (P, side, side, 3) uint8.
    """
    height, width = rgb.shape[:2]
    crops = np.full((len(masks), side, side, 3), 127, dtype=np.uint8)
    for crop, small in zip(crops, masks, strict=True):
        mask = cv2.resize(small.view(np.uint8), (width, height), interpolation=cv2.INTER_LINEAR)
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not len(rows):
            continue
        top, bottom = int(rows[0]), int(rows[-1]) + 1
        left, right = int(columns[0]), int(columns[-1]) + 1
        # A margin of five per cent a side, the object in the middle.
        extent = int(1.1 * max(bottom - top, right - left)) + 2
        canvas = np.full((extent, extent, 3), 127, dtype=np.uint8)
        part = rgb[top:bottom, left:right]
        inside = mask[top:bottom, left:right, None] > 0
        y, x = (extent - (bottom - top)) // 2, (extent - (right - left)) // 2
        canvas[y : y + bottom - top, x : x + right - left] = np.where(inside, part, 127)
        method = cv2.INTER_AREA if extent > side else cv2.INTER_CUBIC
        crop[:] = cv2.resize(canvas, (side, side), interpolation=method)
    return crops


def normalised(
    pictures: Sequence[RgbImage],
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device | str = "cpu",
) -> Tensor:
    """B pictures (H, W, 3) uint8 of one size -> (B, 3, H, W) float32, (x / 255 - mean) / std."""
    pixels = to_device(np.stack(pictures), device)  # as bytes: a quarter of what floats would be
    x = pixels.permute(0, 3, 1, 2).float() / 255
    middle = torch.tensor(mean, device=device).view(3, 1, 1)
    spread = torch.tensor(std, device=device).view(3, 1, 1)
    return (x - middle) / spread
