"""Baselines that don't listen: what a mask of nothing but the picture scores."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moca_core.types import FloatMap, Prediction, RgbImage

Predict = Callable[[RgbImage, NDArray[np.float32]], Prediction]
"""(H, W, 3) uint8 picture, (n,) float32 sound at 16 kHz -> prediction."""

Saliency = Callable[[RgbImage], FloatMap]
"""(H, W, 3) uint8 picture -> (H, W) float32 saliency in [0, 1]."""

SALIENT_ABOVE = 0.5


@dataclass(frozen=True)
class Baseline:
    """A row of `BASELINES`: what it claims, and how it is made from a saliency function."""

    name: str
    help: str
    make: Callable[[Callable[[], Saliency]], Predict]


def whole(rgb: RgbImage, wave: NDArray[np.float32]) -> Prediction:
    """Claim every pixel."""
    return _hard(np.ones(rgb.shape[:2], dtype=bool))


def centre(rgb: RgbImage, wave: NDArray[np.float32]) -> Prediction:
    """Claim the box in the middle that has half of the picture's area and its proportions."""
    height, width = rgb.shape[:2]
    mask = np.zeros((height, width), dtype=bool)
    box_height, box_width = (max(1, round(side * math.sqrt(0.5))) for side in (height, width))
    top, left = (height - box_height) // 2, (width - box_width) // 2
    mask[top : top + box_height, left : left + box_width] = True
    return _hard(mask)


def salient(saliency: Saliency) -> Predict:
    """Claim what stands out in the picture: saliency above `SALIENT_ABOVE`."""

    def predict(rgb: RgbImage, wave: NDArray[np.float32]) -> Prediction:
        soft = np.clip(saliency(rgb), 0, 1).astype(np.float32)
        return Prediction(soft > SALIENT_ABOVE, soft)

    return predict


def _hard(mask: NDArray[np.bool_]) -> Prediction:
    return Prediction(mask, mask.astype(np.float32))


# `make` gets a function that loads the saliency model, so that only its own row pays for it.
BASELINES = {
    row.name: row
    for row in (
        Baseline("whole", "every pixel", lambda load: whole),
        Baseline("centre", "the middle box of half the area", lambda load: centre),
        Baseline("saliency", "saliency above one half, no sound", lambda load: salient(load())),
    )
}
