"""Models and PMA on a GPU: the numbers of the CPU, and what half precision may change."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from adapter_fakes import CONFIGS, shaken, tokens_for, trunk_of
from cuda_fakes import DEVICE, choice
from numpy.typing import NDArray
from torch import Tensor
from training_fakes import SMALL, Kinds, small_learner

from moca_core.bench.pipeline import frame_seconds
from moca_core.bench.random_models import Encoders, random_encoders
from moca_core.config import SegmentConfig
from moca_core.device import choose_device
from moca_core.models.adapter import Adapter
from moca_core.models.compute import BatchSize, empty_cache, to_device
from moca_core.pipeline import pma
from moca_core.pipeline.clusters import batch_clusters
from moca_core.pipeline.pma import MODES, PmaConfig
from moca_core.pipeline.proposals import GridSettings
from moca_core.training.trainer import batch_of, draw

RGBS = [np.random.default_rng(k).integers(0, 255, (72, 128, 3), dtype=np.uint8) for k in range(2)]
WAVE = np.random.default_rng(1).normal(0, 0.1, 32_000).astype(np.float32)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def both(*values: Tensor) -> list[tuple[Tensor, ...]]:
    """Leaves with gradients on the CPU and on the device."""
    return [
        tuple(v.detach().clone().to(place).requires_grad_() for v in values)
        for place in ("cpu", DEVICE)
    ]


def assert_same(found: Tensor, expected: Tensor, within: float) -> None:
    torch.testing.assert_close(found.cpu(), expected, atol=within, rtol=within)


# --- PMA ---


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("radius", [None, 2])
def test_pma_and_its_gradients(mode: str, radius: int | None) -> None:
    config = PmaConfig(mode=mode, radius=radius)
    values = torch.randn(3, 64, 96), torch.randn(3, 64, 96)
    found = []
    for a, b in both(*values):
        distance = pma.distance(a, b, (8, 8), config, chunk=2)
        distance.sum().backward()
        found.append((distance, a.grad, b.grad))
    for expected, other in zip(*found, strict=True):
        assert_same(other, expected, 1e-5)


def test_pma_is_float32_within_autocast() -> None:
    a, b = (torch.randn(2, 64, 96, device=DEVICE) for _ in range(2))
    exact = pma.distance(a, b, (8, 8))
    with torch.autocast(torch.device(DEVICE).type, dtype=torch.float16):
        assert torch.equal(pma.distance(a, b, (8, 8)), exact)


@pytest.mark.skipif(DEVICE == "cpu", reason="a CPU doesn't tell its peak")
def test_pmas_peak_of_gpu_memory_does_not_grow_with_the_width() -> None:
    def beyond(width: int) -> int:
        a, b = (torch.randn(4, 256, width, device=DEVICE).requires_grad_() for _ in range(2))
        pma.distance(a, b, (16, 16)).sum().backward()  # libraries take their workspaces
        a.grad = b.grad = None
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        pma.distance(a, b, (16, 16)).sum().backward()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before - 2 * a.numel() * a.element_size()

    assert beyond(2048) <= beyond(64) + 2**20


# --- adapters, learner, clusters ---


@pytest.mark.parametrize("bundle", CONFIGS)
def test_adapters_in_a_trunk_and_their_gradients(bundle: str) -> None:
    config, trunk = CONFIGS[bundle], trunk_of(bundle)
    adapter = Adapter(config)
    shaken(adapter)
    values = tokens_for(config)
    found = []
    for place, (tokens, audio) in zip(("cpu", DEVICE), both(*values), strict=True):
        own, blocks = copy.deepcopy(adapter).to(place), copy.deepcopy(trunk).to(place)
        result = own.run(blocks, tokens, audio)
        result.square().mean().backward()
        found.append([result, tokens.grad, audio.grad, *(p.grad for p in own.parameters())])
    for expected, other in zip(*found, strict=True):
        assert_same(other, expected, 1e-3)


@pytest.mark.parametrize("alignment", [False, True])
def test_the_loss_of_a_batch_and_its_gradients(alignment: bool) -> None:
    config, examples = replace(SMALL, alignment=alignment), Kinds()
    batch = batch_of(examples, draw(examples, config, 0, 0))
    found = []
    for place in ("cpu", DEVICE):
        learner = small_learner(config)
        learner._trunk[0].to(place)
        learner.to(place)
        loss, said = learner(batch.to(place))
        loss.backward()
        found.append([loss, *said.values(), *(value.grad for value in learner.parameters())])
    for expected, other in zip(*found, strict=True):
        assert_same(other, expected, 1e-4)


def test_clusters_are_those_of_the_cpu() -> None:
    random = np.random.default_rng(0)
    kinds = random.integers(0, 4, (3, 64))
    tokens = np.eye(12)[kinds] + random.normal(0, 0.05, (3, 64, 12))
    values = torch.from_numpy(tokens.astype(np.float32))
    np.testing.assert_array_equal(
        batch_clusters(values.to(DEVICE), 4, seed=3), batch_clusters(values, 4, seed=3)
    )


# --- encoders ---


def made_of(encoders: Encoders) -> dict[str, NDArray[np.float32]]:
    """What the three models of a bundle make of two pictures and a sound."""
    sight = encoders.imagebind.see(RGBS, alone=True)
    heard = encoders.imagebind.hear(WAVE)
    embedding = encoders.sam.encode(RGBS)[0]
    points, labels = np.array([[[40, 30]], [[90, 50]]], np.float32), np.ones((2, 1), np.int64)
    logits, quality = encoders.sam.decode(embedding, points, labels)
    tensors = {
        "patches": sight.patches,
        "embedding": sight.embedding,
        "sound": heard.embedding,
        "tokens of the sound": heard.tokens,
        "attention": torch.as_tensor(encoders.dino.attentions(RGBS, 224)),
        "SAM's picture": embedding.features,
        "SAM's masks": logits,
        "SAM's quality": quality,
    }
    return {name: value.float().cpu().numpy() for name, value in tensors.items()}


def apart(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Length of the difference as a share of what is expected."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def test_encoders_in_float32_are_those_of_the_cpu() -> None:
    there = random_encoders(choice("float32"), tiny=True)
    here = random_encoders(choose_device("cpu"), tiny=True)
    for name in ("imagebind", "dino", "sam"):
        getattr(here, name).load_state_dict(getattr(there, name).state_dict())
    found, expected = made_of(there), made_of(here)
    for name, values in found.items():
        assert apart(values, expected[name]) < 1e-3, name


def test_half_precision_changes_the_encoders_little() -> None:
    exact = made_of(random_encoders(choice("float32"), tiny=True))
    half = made_of(random_encoders(choice("float16"), tiny=True))
    for name, values in half.items():
        assert np.isfinite(values).all(), name
        assert apart(values, exact[name]) < 0.02, name


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_whole_pipeline(dtype: str) -> None:
    encoders = random_encoders(choice(dtype), tiny=True)
    config = SegmentConfig(bundle="imagebind")
    steps = frame_seconds(encoders, RGBS, WAVE, config, GridSettings(3), 1, "")
    while True:
        try:
            next(steps)
        except StopIteration as end:
            assert len(end.value) == 1 and end.value[0] > 0
            return


# --- the device ---


def test_copies_arrive_whole() -> None:
    values = np.random.default_rng(0).normal(0, 1, (50, 7)).astype(np.float32)
    copied = to_device(values, DEVICE)
    np.testing.assert_array_equal(copied.cpu().numpy(), values)


@pytest.mark.skipif(DEVICE == "cpu", reason="only a GPU can be filled safely")
def test_a_batch_that_does_not_fit_is_halved() -> None:
    """Three fifths of the card an item: two together never fit."""
    empty_cache()
    share = int(torch.cuda.mem_get_info(DEVICE)[0] * 0.6)

    def take(items: list[int]) -> list[int]:
        held = torch.empty(len(items) * share, dtype=torch.uint8, device=DEVICE)
        return [item + int(held.numel() > 0) for item in items]

    told: list[int] = []
    assert BatchSize(4, told.append).run(take, list(range(4))) == [1, 2, 3, 4]
    assert told == [2, 1]
    empty_cache()


@pytest.mark.skipif(DEVICE == "cpu", reason="is about the choice of a GPU")
def test_the_card_is_chosen_unless_it_is_too_small() -> None:
    chosen = choose_device("auto")
    assert chosen.device.startswith("cuda") and chosen.dtype == "float16"
    small = choose_device("auto", need_bytes=2**50)
    assert small.device == "cpu" and "needed" in small.reason
