"""Analysed pictures made by hand: two boxes that look like a dog and a cat, and their proposals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from moca_core.pipeline.analysis import FrameAnalysis, Proposals, mean_inside, resized
from moca_core.pipeline.hearing import Hearing, listen
from moca_core.pipeline.matching import MatchSettings
from moca_core.types import Mask

NAMES = ("Dog", "Cat", "Car", "Bird")
DOG, CAT, CAR, BIRD = range(4)
SIZE = (96, 128)
WORK = (192, 256)
"""Rows and columns of the frame, and of its working grid: twice as many."""
TOKEN_GRID = (12, 16)


def box(top: int, left: int, bottom: int, right: int) -> Mask:
    """(192, 256) bool."""
    mask = np.zeros(WORK, dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


LEFT = box(48, 32, 144, 112)
RIGHT = box(48, 144, 144, 224)
"""Two boxes of the same size, whose sides lie between tokens."""


def at_full_size(mask: Mask) -> Mask:
    """(96, 128) bool of a mask on the working grid whose sides are even."""
    return mask[::2, ::2]


def analysis_of(
    parts: Mapping[int, Mask],
    masks: Sequence[Mask] = (),
    looks: NDArray[np.float32] | None = None,
    seen: float = 0.9,
) -> FrameAnalysis:
    """A frame in which each group of `parts` is seen in its mask; nothing in it can be changed.

    Parameters
    ----------
    masks : the proposals, on the working grid.
    looks : (P, G) what each proposal looks like; by default the mean of the groups inside.
    seen : how much a part looks like its group.
    """
    groups = np.full((len(NAMES), *WORK), 0.02, dtype=np.float32)
    salient = np.zeros(WORK, dtype=bool)
    kinds = np.zeros((len(parts) + 1, *WORK), dtype=np.float32)
    for kind, (group, part) in enumerate(parts.items(), start=1):
        groups[group][part] = seen
        salient |= part
        kinds[kind] = part
    kinds[0] = ~salient
    noise = np.random.default_rng(5).normal(0, 0.02, (TOKEN_GRID[0] * TOKEN_GRID[1], len(kinds)))
    tokens = np.stack([resized(kind, TOKEN_GRID, shrink=True).ravel() for kind in kinds], axis=1)
    stacked = np.array(masks, dtype=bool).reshape(-1, *WORK)
    presence = groups.max(axis=(1, 2))
    looks = mean_inside(stacked, groups) if looks is None else looks
    analysis = FrameAnalysis(
        size=SIZE,
        groups=groups,
        presence=presence,
        kindred=presence,
        saliency=np.where(salient, 0.9, 0.2).astype(np.float32),
        tokens=(tokens + noise).astype(np.float32),
        token_grid=TOKEN_GRID,
        proposals=Proposals(
            logits=np.where(stacked, 8, -8).astype(np.float16),
            masks=stacked,
            quality=np.linspace(0.95, 0.8, len(stacked)).astype(np.float32),
            stability=np.full(len(stacked), 0.9, np.float32),
            prompts=np.zeros((0, 2), np.float32),
        ),
        looks=looks,
    )
    for values in (groups, presence, analysis.saliency, analysis.tokens, stacked, looks):
        values.flags.writeable = False
    return analysis


def heard(**weights: float) -> NDArray[np.float32]:
    """(4,) weights by name, of sum 1: `heard(dog=2, cat=1)`."""
    values = np.array([weights.get(name.lower(), 0.0) for name in NAMES], dtype=np.float32)
    return values / values.sum()


def hearing_of(
    analysis: FrameAnalysis, settings: MatchSettings | None = None, **weights: float
) -> Hearing:
    """The decision which groups sound, by default at the settings as shipped."""
    hearing = (settings or MatchSettings()).hearing
    return listen(heard(**weights), analysis.kindred, hearing, NAMES)
