"""Baselines to hold the method against, on the same pictures, sounds and proposals: one table.

A row is made into a `Look`: what is seen in a picture once can be asked with any number of sounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from moca_core.errors import ConfigError
from moca_core.types import (
    REASON_NO_OBJECT,
    FloatMap,
    Listen,
    Mask,
    Prediction,
    RgbImage,
    Wave,
)

if TYPE_CHECKING:
    from moca_core.pipeline.analysis import FrameAnalysis
    from moca_core.pipeline.hearing import Heard
    from moca_core.pipeline.segmenter import Segmenter

Look = Callable[[RgbImage], Listen]
"""(H, W, 3) uint8 picture -> what it says to any sound."""

Predict = Callable[[RgbImage, Wave], Prediction]
"""Both at once; the sound is mono at 16 kHz."""

Saliency = Callable[[RgbImage], FloatMap]
"""(H, W, 3) uint8 picture -> (H, W) float32 saliency in [0, 1]."""

NOTHING, SALIENCY, EVIDENCE, PROPOSALS = "nothing", "saliency", "evidence", "proposals"
NEEDS = (NOTHING, SALIENCY, EVIDENCE, PROPOSALS)
"""What a baseline needs, each more than the one before: no encoder, the one for saliency, all but
SAM, all of the bundle."""

SALIENT_ABOVE = 0.5
EVIDENT_ABOVE = 0.5
"""Share of the picture's strongest evidence."""
ALIKE_ABOVE = 0.5
"""Share of the weight of the crop that is most like the sound."""
CROP_SCALE = 20.0
"""By which likeness is scaled in the softmax over crops: that of ImageBind's audio."""


@dataclass(frozen=True)
class Parts:
    """What baselines are made from; each part is loaded by the row that asks for it."""

    saliency: Callable[[], Saliency]
    segmenter: Callable[[], Segmenter]


@dataclass(frozen=True)
class Baseline:
    """A row of `BASELINES`: what it claims, which of `NEEDS` it has, and how it is made."""

    name: str
    help: str
    needs: str
    make: Callable[[Parts], Look]


def predict_with(look: Look) -> Predict:
    """Look and listen at once, for pictures that come with one sound."""
    return lambda rgb, wave: look(rgb)(wave)


def whole(rgb: RgbImage) -> Listen:
    """Claim every pixel."""
    return _deaf(_hard(np.ones(rgb.shape[:2], dtype=bool)))


def centre(rgb: RgbImage) -> Listen:
    """Claim the box in the middle that has half of the picture's area and its proportions."""
    height, width = rgb.shape[:2]
    mask = np.zeros((height, width), dtype=bool)
    box_height, box_width = (max(1, round(side * math.sqrt(0.5))) for side in (height, width))
    top, left = (height - box_height) // 2, (width - box_width) // 2
    mask[top : top + box_height, left : left + box_width] = True
    return _deaf(_hard(mask))


def salient(saliency: Saliency) -> Look:
    """Claim what stands out in the picture: saliency above `SALIENT_ABOVE`."""

    def look(rgb: RgbImage) -> Listen:
        soft = np.clip(saliency(rgb), 0, 1).astype(np.float32)
        return _deaf(Prediction(soft > SALIENT_ABOVE, soft))

    return look


def salient_masks(segmenter: Segmenter) -> Look:
    """Claim the proposals whose union is most like the salient region, whatever the sound.

    Where no proposal meets the region, it is claimed itself.
    """
    from moca_core.pipeline.analysis import best_cover, resized
    from moca_core.pipeline.segmenter import soft_claim

    def look(rgb: RgbImage) -> Listen:
        analysis = segmenter.analysed(rgb)
        wanted = (analysis.saliency > SALIENT_ABOVE).astype(np.float32)
        chosen = best_cover(wanted, analysis.proposals.masks) if wanted.any() else []
        soft = np.clip(resized(analysis.saliency, analysis.size), 0.0, 1.0)
        mask = _union(analysis, chosen) if chosen else soft > SALIENT_ABOVE
        return _deaf(Prediction(mask, soft_claim(mask, soft)))

    return look


def evident(segmenter: Segmenter) -> Look:
    """Claim where the evidence for what is heard is more than `EVIDENT_ABOVE` of its maximum.

    No proposals, no regions, no competition, no training: the map that the method starts from.
    """
    from moca_core.pipeline.analysis import resized

    def answer(analysis: FrameAnalysis, heard: Heard) -> Prediction:
        settings = segmenter.settings.hearing
        related, hearing = segmenter.bundle.relate(analysis, heard, settings)
        seen = np.tensordot(hearing.strength, related.groups, 1)
        soft = np.clip(resized(seen.astype(np.float32), analysis.size), 0.0, None)
        strongest = float(soft.max())
        if strongest > 0:
            soft = soft / np.float32(strongest)
        mask = soft > EVIDENT_ABOVE
        return Prediction(mask, soft, _reason(mask), hearing.agreement)

    return lambda rgb: segmenter.listener(rgb, answer)


def alike_crops(segmenter: Segmenter) -> Look:
    """Claim the proposals whose masked crops are most like the sound in the joint space.

    After ImageBind-SAM (in IDEA's Grounded-Segment-Anything): crops of SAM's masks and the sound
    are embedded, and a softmax over the crops of their scaled likeness weighs the masks. There a
    fixed weight decides, which depends on how many masks there are; here it is `ALIKE_ABOVE` of
    the largest. As long as there is a proposal, something is claimed for every sound.
    """
    if segmenter.config.proposals == "none":
        raise ConfigError(
            "without proposals there are no crops to compare with the sound",
            "Use --proposals guided or grid.",
        )

    def look(rgb: RgbImage) -> Listen:
        crops: list[NDArray[np.float32]] = []

        def answer(analysis: FrameAnalysis, heard: Heard) -> Prediction:
            if not len(analysis.proposals):
                nothing = _hard(np.zeros(analysis.size, dtype=bool))
                return replace(nothing, reason=REASON_NO_OBJECT, agreement=0.0)
            if not crops:
                crops.append(_unit(segmenter.bundle.see_crops(rgb, analysis.proposals.masks)))
            return _alike(analysis, crops[0] @ _unit(heard.features))

        return segmenter.listener(rgb, answer)

    return look


def _alike(analysis: FrameAnalysis, likeness: NDArray[np.float32]) -> Prediction:
    """The proposals whose likeness (P,) to the sound has most of the weight."""
    from moca_core.pipeline.analysis import resized
    from moca_core.pipeline.segmenter import soft_claim

    best = float(likeness.max())
    weight = np.exp(CROP_SCALE * (likeness - best)).astype(np.float32)  # of the softmax; best: 1
    mask = _union(analysis, [int(place) for place in np.flatnonzero(weight >= ALIKE_ABOVE)])
    order = (weight[:, None, None] * analysis.proposals.masks).max(axis=0)
    soft = soft_claim(mask, resized(order.astype(np.float32), analysis.size))
    return Prediction(mask, soft, _reason(mask), best)


def _union(analysis: FrameAnalysis, chosen: list[int]) -> Mask:
    from moca_core.pipeline.matching import full_mask

    return np.logical_or.reduce([full_mask(analysis, index) for index in chosen])


def _unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors (..., D) of length 1; those of length 0 stay."""
    length = np.linalg.norm(values, axis=-1, keepdims=True)
    return (values / np.maximum(length, 1e-9)).astype(np.float32)


def _reason(mask: Mask) -> str:
    return "" if mask.any() else REASON_NO_OBJECT


def _deaf(prediction: Prediction) -> Listen:
    """The same for every sound."""
    return lambda wave: prediction


def _hard(mask: Mask) -> Prediction:
    return Prediction(mask, mask.astype(np.float32))


BASELINES = {
    row.name: row
    for row in (
        Baseline("whole", "every pixel", NOTHING, lambda parts: whole),
        Baseline("centre", "the middle box of half the area", NOTHING, lambda parts: centre),
        Baseline(
            "saliency",
            "saliency above one half, no sound",
            SALIENCY,
            lambda parts: salient(parts.saliency()),
        ),
        Baseline(
            "saliency-masks",
            "the proposals that fit that best, no sound",
            PROPOSALS,
            lambda parts: salient_masks(parts.segmenter()),
        ),
        Baseline(
            "evidence",
            "training-free evidence above half of its maximum, no proposals",
            EVIDENCE,
            lambda parts: evident(parts.segmenter()),
        ),
        Baseline(
            "crops",
            "the proposals whose masked crops are most like the sound",
            PROPOSALS,
            lambda parts: alike_crops(parts.segmenter()),
        ),
    )
}
