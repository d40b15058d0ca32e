"""What a run is said to need before it starts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from moca_core.device import choose_device
from moca_core.errors import ConfigError, DeviceError
from moca_core.models.adapter import HOSTS
from moca_core.training.config import TrainConfig
from moca_core.training.entered import LIMIT_BYTES
from moca_core.training.estimate import (
    _AUDIO_BLOCKS,
    _AUDIO_TOKENS,
    Estimate,
    estimate,
    measured_rate,
)

CONFIG = TrainConfig(data="x", iterations=100, batch=8, validation=0, device="cpu")
RATE = 1e11


def test_by_hand() -> None:
    """Compact: 257 tokens of 384; blocks 7 to 9 run for 32 pictures, and backwards.

    Block 6, before the first adapter, runs once for each of a few pictures, and of many for the 24
    of an iteration.
    """
    block = 24 * 257 * 384**2 + 4 * 257**2 * 384
    iteration = 1.05 * 32 * block * (3 + 1.25 * 3)
    found = estimate(CONFIG, 50, rate=RATE)
    expected = (100 * iteration + 50 * 7 * block) / (0.7 * RATE) + 50 * 0.1
    assert found.seconds == pytest.approx(expected)
    assert found.feature_bytes == 50 * 2 * (257 * 384 + 3 * 1024)
    assert 1.2e9 < found.memory_bytes < 1.8e9  # 1.5 GB were measured
    many = estimate(CONFIG, 5000, rate=RATE)
    expected = (100 * (iteration + 1.05 * 24 * block) + 5000 * 6 * block) / (0.7 * RATE) + 500
    assert many.seconds == pytest.approx(expected)
    assert many.memory_bytes - found.memory_bytes == LIMIT_BYTES - 50 * 4 * 257 * 384


@pytest.mark.parametrize(
    ("values", "least", "most"),
    [
        ({"iterations": 200}, 1.9, 2.1),
        ({"batch": 16}, 1.9, 2.1),
        ({"audio_negatives": False}, 0.77, 0.78),
        ({"blocks": 1}, 0.09, 0.11),  # no block is run backwards
        ({"validation": 0.1, "validate_every": 10}, 1.3, 1.6),
    ],
    ids=str,
)
def test_what_makes_it_longer(values: dict[str, float], least: float, most: float) -> None:
    config = replace(CONFIG, **values)  # type: ignore[arg-type]
    ratio = estimate(config, 0, rate=RATE).seconds / estimate(CONFIG, 0, rate=RATE).seconds
    assert least < ratio < most


def test_the_other_bundle_takes_more_of_everything() -> None:
    one = estimate(CONFIG, 50, rate=RATE)
    other = estimate(replace(CONFIG, bundle="imagebind"), 50, rate=RATE)
    assert other.seconds > 5 * one.seconds
    assert other.feature_bytes > 3 * one.feature_bytes
    assert other.memory_bytes > 3 * one.memory_bytes


def test_this_machine_is_measured() -> None:
    assert measured_rate(20, 16, choose_device("cpu")) > 0
    assert estimate(CONFIG, 50).seconds > 0


def test_every_bundle_has_its_sizes() -> None:
    assert _AUDIO_TOKENS.keys() == _AUDIO_BLOCKS.keys() == HOSTS.keys()


def test_in_words() -> None:
    assert str(Estimate(12_000.0, 250_000_000, 1_540_000_000)) == (
        "about 3 h 20 min, 1.5 GB of memory, 0.25 GB on disk for features; "
        "the time may be off by half"
    )
    assert str(Estimate(10.0, 0, 0)).startswith("less than a minute")
    assert str(Estimate(700.0, 0, 0)).startswith("about 12 min")


def test_what_cannot_run_is_told() -> None:
    with pytest.raises(ConfigError):
        estimate(replace(CONFIG, blocks=11), 5)
    with pytest.raises(DeviceError):
        estimate(replace(CONFIG, device="gpu"), 5)
