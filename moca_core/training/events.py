"""What a training run says while it goes on: small frozen events, each a place to stop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from moca_core.types import NoteEvent, StageEvent


@dataclass(frozen=True)
class StepEvent:
    """An iteration is done.

    Attributes
    ----------
    step : iterations done, of `total`.
    loss : of this iteration; nan if it was skipped.
    parts : its parts by name, before their weights.
    lr : learning rate.
    gradient : norm before clipping.
    skipped : iterations skipped so far because loss or gradient wasn't finite.
    """

    step: int
    total: int
    loss: float
    parts: Mapping[str, float]
    lr: float
    gradient: float
    skipped: int


@dataclass(frozen=True)
class ValidationEvent:
    """The held-out recordings were scored.

    Attributes
    ----------
    scores : `loss`; `near`: share of triplets whose like picture is nearer than the unlike one;
        `heard`: share for which the own sound brings like pictures nearer than another sound does.
    best : no earlier validation had a lower loss.
    """

    step: int
    scores: Mapping[str, float]
    best: bool


@dataclass(frozen=True)
class SavedEvent:
    """A checkpoint is on disk."""

    step: int
    path: Path


TrainEvent = StageEvent | NoteEvent | StepEvent | ValidationEvent | SavedEvent
