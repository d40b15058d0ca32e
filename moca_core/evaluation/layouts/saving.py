"""Predicted masks as files, as AVSBench's own test scripts write them."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moca_core.evaluation.layouts.cases import Case
from moca_core.types import Prediction

CLASS_SIZE = (360, 240)
"""(width, height) of masks with classes, whatever the size of their pictures."""


def saved_mask(case: Case, prediction: Prediction) -> bytes:
    """The PNG that `--save-masks` writes.

    Of `s4` and `ms3`, 0 or 255 in a grey palette (`save_mask` in OpenNLPLab/AVSBench,
    avs_scripts/avs_s4/utils/utility.py). Of `avss`, RGB in the colours of the classes at 360x240
    (`save_color_mask` in avs_scripts/avss/utils/vis_mask.py, sizes in config.py); each pixel is the
    nearest one, where the official script mixes colours that then belong to no class, and what
    has no class is white. Of other layouts, 8-bit grey, 0 or 255.
    """
    if case.classes is not None:
        colours = case.classes.coloured(case.classes.label_map(prediction))
        return png_bytes(colours, CLASS_SIZE)
    grey = prediction.mask.astype(np.uint8) * np.uint8(255)
    return png_bytes(grey, palette=bool(case.saved_as))


def png_bytes(
    pixels: NDArray[np.uint8], size: tuple[int, int] | None = None, palette: bool = False
) -> bytes:
    """A PNG of (H, W) grey or (H, W, 3) RGB.

    Parameters
    ----------
    size : (width, height), each pixel the nearest one; None: as it is.
    palette : grey as numbers of a palette of greys.
    """
    image = Image.fromarray(pixels)
    if size is not None:
        image = image.resize(size, Image.Resampling.NEAREST)
    if palette:
        image = image.convert("P")
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    return stream.getvalue()
