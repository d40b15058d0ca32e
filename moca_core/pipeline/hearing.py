"""What is heard, and whether anything visible can make it: decided before a pixel is painted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_TINY = 1e-9
_NAMED = 5
_AUDIBLE = 0.01
"""How many groups are named to the user, and the weight that one needs for it."""


@dataclass(frozen=True)
class HearingSettings:
    """How sound and sight are joined.

    Attributes
    ----------
    faint : weight of a group at which it counts half as heard.
    steepness : how sharply the count falls below `faint`, in powers of the weight.
    rival_below : strength from which a group is no rival of what sounds; below it, the less it
        is heard the more it is one.
    empty_below : agreement of sound and sight below which nothing visible sounds.
    """

    faint: float = 0.035
    steepness: float = 1.5
    rival_below: float = 0.5
    empty_below: float = 0.25


@dataclass(frozen=True, eq=False)
class Heard:
    """What a bundle hears in one audio window.

    Attributes
    ----------
    features : float32 vector in the bundle's own terms: (G,) how loudly each group is heard, or
        (De,) a point of the space that it shares with pictures.
    tokens : (M, Da) float32 audio tokens, for an adapter; None without one.
    """

    features: NDArray[np.float32]
    tokens: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class Hearing:
    """The outcome, one value a sound group.

    Attributes
    ----------
    strength : (G,) float32, 0 to 1, how surely each group sounds; 1 for the strongest.
    silence : (G,) float32, 0 to 1, how surely each group doesn't: the rivals for pixels.
    agreement : how well what is heard matches what is seen (cosine).
    heard : the groups that are heard with their weights, the loudest first, for the user; empty
        in a bundle that can't name what it hears.
    """

    strength: NDArray[np.float32]
    silence: NDArray[np.float32]
    agreement: float
    heard: tuple[tuple[str, float], ...] = ()


def listen(
    weights: NDArray[np.float32],
    kindred: NDArray[np.float32],
    settings: HearingSettings,
    names: Sequence[str] = (),
) -> Hearing:
    """Decide which groups sound.

    Parameters
    ----------
    weights : (G,) how loudly each group is heard, sum 1.
    kindred : (G,) 0 to 1, how surely each group or its like is visible, see `FrameAnalysis`.
    names : (G,) display names of the groups, for `Hearing.heard`.

    Notes
    -----
    In a mix of two sources both weights fall, while a source that is silent has next to none: how
    surely a group sounds is a logistic function of the logarithm of its weight, not the weight
    itself. How many sources sound is decided here, and not by a threshold on pixels. Being seen
    doesn't make a group sound more surely: its pixels compete later anyway.
    """
    odds = (weights / settings.faint) ** settings.steepness
    surely = odds / (1.0 + odds)
    strength = surely / max(float(surely.max()), _TINY)
    norm = float(np.linalg.norm(weights) * np.linalg.norm(kindred))
    return Hearing(
        strength=strength.astype(np.float32),
        silence=np.clip(1.0 - strength / settings.rival_below, 0.0, 1.0).astype(np.float32),
        agreement=float(weights @ kindred) / norm if norm > 0 else 0.0,
        heard=_loudest(weights, names),
    )


def _loudest(weights: NDArray[np.float32], names: Sequence[str]) -> tuple[tuple[str, float], ...]:
    """What is heard, in words."""
    top = [group for group in np.argsort(-weights, kind="stable")[:_NAMED] if group < len(names)]
    return tuple((names[g], round(float(weights[g]), 4)) for g in top if weights[g] > _AUDIBLE)
