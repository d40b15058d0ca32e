"""The thresholds that can be moved, one row each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moca_core.types import Scores
from moca_gui.sliders import SliderRow

BINS = 48
_HUNDREDTHS = tuple(round(step / 100, 2) for step in range(101))


@dataclass(frozen=True)
class ThresholdRow:
    """A threshold of `MatchSettings`.

    Attributes
    ----------
    slider : its slider, whose name is that of the value in `MatchSettings`.
    low, high : the values that it may have; beyond the slider they can be typed.
    scores : which of `Scores` it cuts; empty if it isn't a cut.
    whole_clip : those of all key frames, not only of the frame on screen.
    drawn : what its histogram shows, for the user.
    """

    slider: SliderRow
    low: float
    high: float
    scores: str = ""
    whole_clip: bool = False
    drawn: str = ""

    @property
    def name(self) -> str:
        """As `hearing.faint`."""
        return self.slider.name

    def place(self, values: Any) -> NDArray[np.float64]:
        """Where values lie along the slider, 0 to 1; those beyond it at its end."""
        known = np.array(self.slider.values, float)
        return np.interp(values, known, np.linspace(0, 1, len(known)))


ROWS = (
    ThresholdRow(
        SliderRow(
            "hearing.empty_below",
            "Least agreement",
            "cosine",
            _HUNDREDTHS,
            "Below this agreement of sound and sight nothing visible sounds: the frame is empty",
        ),
        -1.0,
        1.0,
        "agreement",
        True,
        "agreement of all key frames",
    ),
    ThresholdRow(
        SliderRow(
            "hearing.faint",
            "Faint sound",
            "share of what is heard",
            tuple(float(f"{value:.3g}") for value in np.geomspace(0.002, 0.5, 97)),
            "A kind of sound with this share counts half as heard: lower it to hear more sources",
        ),
        0.0001,
        1.0,
        "weights",
        True,
        "shares of the sounds in all key frames",
    ),
    ThresholdRow(
        SliderRow(
            "region.rivalry",
            "Rivalry",
            "weight",
            tuple(round(step / 50, 2) for step in range(101)),
            "How much looking like something silent counts against a place",
        ),
        0.0,
        10.0,
    ),
    ThresholdRow(
        SliderRow(
            "region_threshold",
            "Region",
            "share of the most",
            _HUNDREDTHS,
            "Places with more than this belong to the sounding region that masks have to fit",
        ),
        0.0,
        1.0,
        "region",
        False,
        "the region's values in this frame",
    ),
    ThresholdRow(
        SliderRow(
            "least_fit",
            "Least fit",
            "IoU",
            _HUNDREDTHS,
            "Proposals that fit the region less give way to the region itself, a coarse mask",
        ),
        0.0,
        1.0,
        "fit",
        True,
        "best fit of all key frames",
    ),
    ThresholdRow(
        SliderRow(
            "least_share",
            "Least share",
            "of the best proposal",
            _HUNDREDTHS,
            "A proposal that sounds less surely isn't taken beside the one that does most",
        ),
        0.0,
        1.0,
        "shares",
        False,
        "chosen proposals of this frame",
    ),
)


def values_of(settings: Any) -> dict[str, float]:
    """The values of all rows in a `MatchSettings`."""
    return {row.name: float(reduce(getattr, row.name.split("."), settings)) for row in ROWS}


def counts(row: ThresholdRow, scores: Mapping[int, Scores], frame: int | None) -> NDArray[np.intp]:
    """How many scores lie in each of `BINS` parts of a row's slider.

    Parameters
    ----------
    scores : by key frame.
    frame : the key frame that the frame on screen belongs to; None if it isn't known.
    """
    keys = scores.keys() if row.whole_clip else scores.keys() & {frame}
    cut = [np.atleast_1d(getattr(scores[key], row.scores)) for key in keys]
    values = np.concatenate(cut) if cut else np.zeros(0)
    return np.histogram(row.place(values), BINS, (0, 1))[0]
