"""A small frozen encoder, and items whose pictures and sounds are of a few kinds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from moca_core.models.adapter import Adapter, AdapterConfig, freeze
from moca_core.models.vit import Trunk, ViTShape
from moca_core.training.config import TrainConfig
from moca_core.training.learner import Learner

SHAPE = ViTShape(width=16, depth=3, heads=2, patch=4, table=(3, 3))
AUDIO = (2, 6)
"""Audio tokens of an item: how many, and how wide."""
ADAPTED = AdapterConfig("compact", SHAPE.width, AUDIO[1], blocks=(1, 2), reduction=4, latents=3)
SMALL = TrainConfig(
    iterations=12,
    batch=4,
    lr=3e-3,
    warmup=2,
    validate_every=4,
    save_every=4,
    pma_window=1,
    device="cpu",
)


def small_trunk(seed: int = 0) -> Trunk:
    torch.manual_seed(seed)
    return freeze(Trunk(SHAPE))


def small_learner(config: TrainConfig = SMALL, seed: int = 1) -> Learner:
    """Its gates are a little open, so that the first iteration moves everything."""
    trunk = small_trunk()
    torch.manual_seed(seed)
    adapter = Adapter(ADAPTED)
    with torch.no_grad():
        for part in adapter.parts.values():
            part.gate.fill_(0.5)
    return Learner(adapter, trunk, SHAPE.depth, SHAPE.table, config)


class Kinds:
    """Items of `kinds` kinds: those of one look alike and sound alike.

    Parameters
    ----------
    count : how many; item i is of kind i % kinds and of recording i // 2.
    seed : of how items differ from their kind, which is the same in all sets.
    """

    def __init__(self, count: int = 24, kinds: int = 3, seed: int = 0) -> None:
        kind, random = np.random.default_rng(42), np.random.default_rng(seed)
        tokens, audio = (1 + SHAPE.table[0] * SHAPE.table[1], SHAPE.width), AUDIO
        self.kind = np.arange(count) % kinds
        looks = kind.normal(0, 1, (kinds, *tokens))
        sounds = kind.normal(0, 1, (kinds, *audio))
        self._visual = (looks[self.kind] + random.normal(0, 0.7, (count, *tokens))).astype("f4")
        self._audio = (sounds[self.kind] + random.normal(0, 0.3, (count, *audio))).astype("f4")
        self.recordings: NDArray[np.int64] = np.arange(count) // 2
        self.sounds = self.recordings

    def positives(self, rows: NDArray[np.integer], seed: int) -> NDArray[np.int64]:
        return np.array([self._one(row, seed, same=True) for row in rows])

    def negatives(self, rows: NDArray[np.integer], seed: int) -> NDArray[np.int64]:
        return np.array([self._one(row, seed, same=False) for row in rows])

    def _one(self, row: int, seed: int, same: bool) -> int:
        like = (self.kind == self.kind[row]) == same
        others = np.flatnonzero(like & (self.recordings != self.recordings[row]))
        return int(np.random.default_rng([seed, row]).choice(others))

    def visual(self, rows: Sequence[int]) -> NDArray[np.float32]:
        return self._visual[list(rows)]

    def audio(self, rows: Sequence[int]) -> NDArray[np.float32]:
        return self._audio[list(rows)]
