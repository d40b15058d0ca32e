"""Pictures as the transformers take them: squashed or cropped to a square, and normalised."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
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
