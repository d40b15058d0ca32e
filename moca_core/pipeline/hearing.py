"""Which of the visible things is heard: a decision before any pixel is painted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_TINY = 1e-6


@dataclass(frozen=True)
class HearingSettings:
    """How sound and sight are joined.

    Attributes
    ----------
    margin : how far, in nats, a second source may be below the strongest and still sound.
    presence_power : how much seeing a group supports hearing it.
    least_presence : of the strongest group's presence, below which a second source isn't shown.
    rival_presence : presence from which a silent group counts as a rival for pixels.
    empty_below : agreement of sound and sight below which nothing visible sounds.
    """

    margin: float = 1.5
    presence_power: float = 0.5
    least_presence: float = 0.1
    rival_presence: float = 0.08
    empty_below: float = 0.2


@dataclass(frozen=True, eq=False)
class Hearing:
    """The outcome: group indices, the strongest first.

    Attributes
    ----------
    sounding : the groups that sound and are visible.
    strength : one value a sounding group, 1 for the strongest.
    rivals : groups that are visible and don't sound.
    agreement : 0 to 1, how well what is heard matches what is seen (cosine).
    """

    sounding: tuple[int, ...]
    strength: tuple[float, ...]
    rivals: tuple[int, ...]
    agreement: float


def listen(
    weights: NDArray[np.float32], presence: NDArray[np.float32], settings: HearingSettings
) -> Hearing:
    """Decide which visible groups sound.

    Parameters
    ----------
    weights : (G,) how loudly each group is heard, sum 1.
    presence : (G,) 0 to 1, how surely each group is visible.

    Notes
    -----
    The strength of a group is `weight * presence ** presence_power`, the posterior of a naive
    model in which a group sounds if it is both heard and seen. How many sources sound is decided
    here, by `margin`, and not by a threshold on pixels.
    """
    joint = weights * np.maximum(presence, _TINY) ** settings.presence_power
    top = int(joint.argmax())
    strength = joint / max(float(joint[top]), _TINY)
    sounding = (np.log(strength + _TINY) > -settings.margin) & (
        presence > settings.least_presence * presence[top]
    )
    sounding[top] = True
    order = [int(g) for g in np.argsort(-strength, kind="stable") if sounding[g]]
    rivals = np.flatnonzero((presence > settings.rival_presence) & ~sounding)
    norm = float(np.linalg.norm(weights) * np.linalg.norm(presence))
    return Hearing(
        sounding=tuple(order),
        strength=tuple(float(strength[g]) for g in order),
        rivals=tuple(int(g) for g in rivals),
        agreement=float(weights @ presence) / norm if norm > 0 else 0.0,
    )
