"""Whole training runs without weights: a small encoder and retriever in the real ones' place.

Called as a program it is `moca` with them: for processes of their own.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1])]

from core.item_fakes import clip
from core.training_fakes import AUDIO, SHAPE, small_trunk

from moca_core.device import DeviceChoice
from moca_core.models import adapter
from moca_core.models.frozen import Frozen
from moca_core.training import run
from moca_core.training.config import TrainConfig
from moca_core.types import RgbImage

SETTINGS = {
    "blocks": 2,
    "latents": 3,
    "reduction": 4,
    "iterations": 6,
    "batch": 2,
    "neighbours": 2,
    "lr": 3e-3,
    "warmup": 1,
    "validation": 0.5,
    "validate_every": 2,
    "save_every": 3,
    "pma_window": 1,
    "device": "cpu",
}


def config(data: Path, **values: object) -> TrainConfig:
    """A short run on the clips in a folder."""
    return TrainConfig(**({"data": str(data)} | SETTINGS | values))  # type: ignore[arg-type]


def clips(folder: Path) -> Path:
    """Six clips of different lengths, with two or three frames each to learn from."""
    for number in range(6):
        clip(folder / f"{number}.mp4", 1.6 + 0.2 * number)
    return folder


def _embedded(rgbs: Sequence[RgbImage]) -> Tensor:
    small = [cv2.resize(rgb, SHAPE.table[::-1], interpolation=cv2.INTER_AREA) for rgb in rgbs]
    values = torch.from_numpy(np.stack(small)).float().flatten(1, 2) / 255  # (B, 9, 3)
    into = torch.randn(3, SHAPE.width, generator=torch.Generator().manual_seed(7))
    patches = values @ into
    return torch.cat([patches.mean(dim=1, keepdim=True), patches], dim=1)


def _heard(wave: NDArray[np.float32]) -> Tensor:
    parts = np.array_split(np.abs(wave), AUDIO[0] * AUDIO[1])
    return torch.tensor([10 * float(part.mean()) for part in parts]).reshape(AUDIO)


def load_frozen(bundle: str, device: DeviceChoice, side: int = 0) -> Frozen:
    """In place of the real one."""
    with torch.random.fork_rng():
        trunk = small_trunk()
    return Frozen(bundle, trunk, SHAPE.depth, SHAPE.table, AUDIO, 2.0, 16_000, _embedded, _heard)


def load_retriever(bundle: str, device: str = "cpu"):
    """In place of the real one: by brightness at 4 x 4 places."""

    def retrieve(rgbs: Sequence[RgbImage]) -> NDArray[np.float32]:
        small = [cv2.resize(rgb, (4, 4), interpolation=cv2.INTER_AREA).mean(axis=2) for rgb in rgbs]
        values = np.stack(small).reshape(len(rgbs), -1) + 1
        return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)

    return retrieve


REPLACED = (
    (run, "load_frozen", load_frozen),
    (run, "load_retriever", load_retriever),
    (adapter, "HOSTS", {"compact": adapter.Host(SHAPE.width, AUDIO[1], SHAPE.depth - 1)}),
)


if __name__ == "__main__":
    from moca_core.cli import main

    torch.set_num_threads(1)
    for module, name, value in REPLACED:
        setattr(module, name, value)
    sys.exit(main())
