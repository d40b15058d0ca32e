"""The small SAM with random weights of the reference vectors, built in every way that there is."""

from __future__ import annotations

from pathlib import Path

from data.make_reference import load
from torch import Tensor

from moca_core.models.sam import VitSam
from moca_core.models.sam_decoder import DecoderShape
from moca_core.models.sam_vit import VitShape

VIT = VitShape(48, 3, 4, (1,), window=7, image=256, channels=32)
DECODER = DecoderShape(width=32, heads=4, depth=2, mlp=64, mask_channels=16, iou_hidden=24, grid=16)
PROMPTS = ("point1", "points3", "box", "point_and_box", "point1_mask", "two_prompts")


def vectors() -> dict[str, Tensor]:
    """Inputs, weights and expected outputs of the whole model."""
    return {**load("sam_tiny_decoder"), **load("sam_tiny_encoder")}


def official_state(reference: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights under their official names."""
    return {
        key.removeprefix("weight."): value
        for key, value in reference.items()
        if key.startswith("weight.")
    }


def tiny_sam(attention: str = "sdpa") -> VitSam:
    """The model as ours, from its official weights."""
    state = official_state(vectors())
    return VitSam.from_state(state, Path("tiny.pth"), VIT, DECODER, attention=attention)
