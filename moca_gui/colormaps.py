"""Colours with a meaning: viridis for values, magma for the spectrogram, Okabe-Ito for objects."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Sixteen evenly spaced stops of each map (matplotlib, CC0); 256 steps are interpolated, which
# stays within two levels of the full table.
_STOPS = {
    "viridis": (
        "440154 481a6c 472f7d 414487 39568c 31688e 2a788e 23888e "
        "1f988b 22a884 35b779 54c568 7ad151 a5db36 d2e21b fde725"
    ),
    "magma": (
        "000004 0b0924 20114b 3b0f70 57157e 721f81 8c2981 a8327d "
        "c43c75 de4968 f1605d fa7f5e fe9f6d febf84 fddea0 fcfdbf"
    ),
}

# Okabe & Ito 2008, distinguishable with any colour vision; black is left out (invisible on dark
# frames), and the dark blue comes last.
OBJECT_COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#D55E00", "#CC79A7", "#0072B2")


def table(name: str) -> NDArray[np.uint8]:
    """(256, 3) uint8 RGB rows of the colour map `name` (`viridis`, `magma`)."""
    stops = np.array([tuple(bytes.fromhex(stop)) for stop in _STOPS[name].split()], float)
    position = np.linspace(0, len(stops) - 1, 256)
    channels = [np.interp(position, np.arange(len(stops)), stops[:, c]) for c in range(3)]
    return np.round(np.stack(channels, axis=1)).astype(np.uint8)


def apply(values: NDArray, name: str, low: float, high: float) -> NDArray[np.uint8]:
    """Colour `values` (h, w) between `low` and `high`; (h, w, 3) uint8 RGB, NaN as `low`."""
    scaled = (np.nan_to_num(values, nan=low) - low) / max(high - low, 1e-12)
    return table(name)[np.clip(scaled * 255, 0, 255).astype(np.uint8)]


def object_colour(number: int) -> str:
    """Hex colour of the object `number` (1-based); colours repeat after seven."""
    return OBJECT_COLOURS[(number - 1) % len(OBJECT_COLOURS)]
