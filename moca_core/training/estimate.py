"""How long a training run will take and what it needs, said before it starts.

The work is counted from the sizes of the blocks, and the speed of this machine measured by one
matrix product of their shape, for a third of a second. How much of that speed the blocks reach was
measured for the compact bundle on CPUs; for the other one, and on GPUs, it is taken to be the same.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from moca_core.device import DeviceChoice, choose_device
from moca_core.models.adapter import HOSTS, adapter_config
from moca_core.models.compute import synchronise, torch_dtype
from moca_core.models.registry import bundle_row
from moca_core.training.cache import FeatureShape
from moca_core.training.config import TrainConfig
from moca_core.training.entered import LIMIT_BYTES

_PATCH = 14
_REACHED = 0.7
"""Share of the matrix product's speed that whole blocks reach."""
_BACKWARD = 1.25
"""Work of a block backwards, against forwards: its weights are frozen, attention costs more."""
_APART = 1.05
"""PMA, the adapters and the optimiser on top of the blocks."""
_VALIDATION_BATCHES = 8
_ITEM_S = 0.1
"""A processor's time for an item besides the blocks: decoded twice, and looked at for pairs."""
_PROCESS_BYTES = 600_000_000
_KEPT = 16
"""Numbers kept for the way back, for each number of a block's tokens."""
_CALIBRATION_S = 0.3
_AUDIO_TOKENS = {"compact": 3, "imagebind": 229}
_AUDIO_BLOCKS = {"compact": 0, "imagebind": 12}


@dataclass(frozen=True)
class Estimate:
    """What a run will take; the time may be off by half, the memory by a third.

    Attributes
    ----------
    seconds : of the whole run; of features, if none were computed before.
    feature_bytes : on disk, in the cache.
    memory_bytes : of the process; on a GPU most of it is the GPU's.
    """

    seconds: float
    feature_bytes: int
    memory_bytes: int

    def __str__(self) -> str:
        disk, memory = self.feature_bytes / 1e9, self.memory_bytes / 1e9
        return (
            f"{_words(self.seconds)}, {memory:.1f} GB of memory, "
            f"{disk:.2f} GB on disk for features; the time may be off by half"
        )


def estimate(
    config: TrainConfig, item_count: int, device: DeviceChoice | None = None, rate: float = 0.0
) -> Estimate:
    """Estimate a run.

    Parameters
    ----------
    item_count : items that can be learnt from.
    device : what computes; the configuration's choice by default.
    rate : operations a second of a matrix product there; 0 measures it.

    Raises
    ------
    ConfigError : the bundle has fewer blocks than the configuration adapts.
    DeviceError : the device isn't there.
    """
    choice = device or choose_device(config.device, config.precision)
    sizes = adapter_config(config.bundle, config.blocks, config.reduction, config.latents)
    tokens, width = 1 + (bundle_row(config.bundle).image_side // _PATCH) ** 2, sizes.visual_width
    shape = FeatureShape((tokens, width), (_AUDIO_TOKENS[config.bundle], sizes.audio_width))
    speed = _REACHED * (rate or measured_rate(tokens, width, choice))
    pictures = config.batch * (4 if config.audio_negatives else 3)
    # Nothing learns before the first adapter, which stands behind its block: a picture passes that
    # once whatever its sound, or once in the whole run while all of them fit into memory.
    learning = pictures * (len(sizes.blocks) - 1) * _block(tokens, width)
    pictures_bytes = item_count * tokens * width * 4 if choice.device == "cpu" else 0
    remembered = 0 < pictures_bytes <= LIMIT_BYTES
    ahead = learning + (0 if remembered else 3 * config.batch * _block(tokens, width))
    iterations = config.iterations * _APART * (ahead + _BACKWARD * learning)
    validations = -(-config.iterations // config.validate_every) if config.validation else 0
    validating = validations * _VALIDATION_BATCHES * ahead
    entry = sizes.entry + remembered
    features = item_count * _item(config.bundle, entry, tokens, width)
    kept = _KEPT * pictures * len(sizes.blocks) * tokens * width * 4
    return Estimate(
        (iterations + validating + features) / speed + item_count * _ITEM_S,
        item_count * shape.item_bytes,
        _PROCESS_BYTES + _weights(config.bundle, width) + kept + min(pictures_bytes, LIMIT_BYTES),
    )


def measured_rate(tokens: int, width: int, device: DeviceChoice) -> float:
    """Operations a second of the largest product of a block, for eight pictures."""
    dtype = torch_dtype(device)
    x = torch.ones(8 * tokens, width, device=device.device, dtype=dtype)
    weight = torch.ones(4 * width, width, device=device.device, dtype=dtype)
    best = 0.0
    with torch.inference_mode():
        end = time.perf_counter() + _CALIBRATION_S
        while not best or time.perf_counter() < end:
            begin = time.perf_counter()
            torch.nn.functional.linear(x, weight)
            synchronise(x.device)
            # The best one: others may be computing at the moment.
            best = max(best, 8.0 * len(x) * width**2 / (time.perf_counter() - begin))
    return best


def _block(tokens: int, width: int) -> float:
    """Operations of a block for one picture: four matrices of 12 width^2, and attention."""
    return 24.0 * tokens * width**2 + 4.0 * tokens**2 * width


def _item(bundle: str, entry: int, tokens: int, width: int) -> float:
    """Operations for the features of an item: blocks that don't hear, and the sound."""
    sound = _block(_AUDIO_TOKENS[bundle], HOSTS[bundle].audio_width)
    return entry * _block(tokens, width) + _AUDIO_BLOCKS[bundle] * sound


def _weights(bundle: str, width: int) -> int:
    """Bytes of the transformers' matrices in float32."""
    sound = _AUDIO_BLOCKS[bundle] * HOSTS[bundle].audio_width ** 2
    return 4 * 12 * ((HOSTS[bundle].last + 1) * width**2 + sound)


def _words(seconds: float) -> str:
    """`about 3 h 20 min`, `about 12 min`, `less than a minute`."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    hours = f"{minutes // 60} h " if minutes >= 60 else ""
    return f"about {hours}{minutes % 60} min"
