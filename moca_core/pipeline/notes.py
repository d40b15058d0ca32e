"""Why each mask proposal of a key frame was taken or not, in words and numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from moca_core.pipeline.analysis import expected_iou
from moca_core.pipeline.matching import Match, MatchSettings, below, nothing_sounds, wanted_in
from moca_core.pipeline.regions import sounding_value
from moca_core.types import ProposalNote

TAKEN = "taken"
_INSTEAD = "the refined region stands in"


def notes_of(found: Match, settings: MatchSettings) -> tuple[ProposalNote, ...]:
    """What became of each proposal of a frame, the best predicted IoU first.

    Parameters
    ----------
    settings : the thresholds by which it was decided.
    """
    analysis = found.analysis
    proposals = analysis.proposals
    overlap = expected_iou(wanted_in(found.region, settings), proposals.masks)
    sounds = sounding_value(analysis.looks, found.hearing, settings.region)
    taken = set() if found.choice is None else set(found.choice.taken(settings))
    return tuple(
        ProposalNote(
            number=index + 1,
            quality=float(proposals.quality[index]),
            stability=float(proposals.stability[index]),
            sounds=float(sounds[index]),
            overlap=float(overlap[index]),
            taken=index in taken,
            why=TAKEN if index in taken else why,
            mask=proposals.masks[index],
        )
        for index, why in enumerate(_reasons(found, settings, overlap))
    )


def _reasons(found: Match, settings: MatchSettings, overlap: NDArray[np.float32]) -> list[str]:
    """For each proposal, why it isn't taken if it isn't."""
    empty = nothing_sounds(found.region, found.hearing, settings)
    if empty:
        return [empty] * len(overlap)
    apart = "no overlap with the region"
    choice = found.choice
    if choice is None:
        # Then the most that any overlaps is less than the gain that a mask is taken for.
        few = f"overlaps the region by less than {settings.gain:g}; {_INSTEAD}"
        return [few if value > 0 else apart for value in overlap]
    masks = found.analysis.proposals.masks
    union = masks[choice.indices].any(axis=0)
    joined = expected_iou(wanted_in(found.region, settings), masks | union)
    reasons = [
        _no_gain(choice.fit, float(with_it), settings.gain) if alone > 0 else apart
        for alone, with_it in zip(overlap, joined, strict=True)
    ]
    for index, share in zip(choice.indices, choice.shares, strict=True):
        if choice.fit < settings.least_fit:
            reasons[index] = f"fit {below(choice.fit, settings.least_fit)}: {_INSTEAD}"
        else:
            reasons[index] = f"share {below(float(share), settings.least_share)}"
    return reasons


def _no_gain(fit: float, with_it: float, gain: float) -> str:
    """Why a proposal isn't taken beside those whose union has `fit`."""
    if with_it > fit:
        return f"would raise the fit of {fit:.2f} by less than {gain:g}"
    if f"{with_it:.2f}" == f"{fit:.2f}":
        return f"would leave the fit at {fit:.2f}"  # as part of one that is taken
    return f"would lower the fit from {fit:.2f} to {with_it:.2f}"
