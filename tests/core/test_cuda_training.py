"""Training on a GPU: in half precision, taken up again, and as one of torchrun's processes."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from cuda_fakes import DEVICE, choice
from torch.nn.parallel import DistributedDataParallel
from training_fakes import SMALL, Kinds, small_learner

from moca_core.models.compute import autocast
from moca_core.training.config import TrainConfig
from moca_core.training.events import StepEvent, ValidationEvent
from moca_core.training.processes import Processes, averaged, joined
from moca_core.training.trainer import Parts, Trainer, batch_of, draw


def trainer(
    folder: Path, config: TrainConfig, dtype: str, processes: Processes | None = None
) -> Trainer:
    learner = small_learner(config)
    learner._trunk[0].to(DEVICE)
    parts = Parts(Kinds(), Kinds(count=12, seed=5))
    return Trainer(config, learner.to(DEVICE), parts, folder, choice(dtype), processes)


def losses(run: Trainer) -> list[float]:
    return [event.loss for event in run.events() if isinstance(event, StepEvent)]


@pytest.mark.parametrize("options", [{}, {"alignment": True, "ema": 0.9}])
def test_half_precision_stays_finite_and_learns(tmp_path: Path, options: dict[str, float]) -> None:
    """The scale of the loss may have to find its size, at the cost of the first iterations."""
    long = {"iterations": 150, "validate_every": 25, "save_every": 150, "lr": 1e-2}
    config = replace(SMALL, **long, **options)  # type: ignore[arg-type]
    run = trainer(tmp_path, config, "float16")
    events = list(run.events())
    told = [event.loss for event in events if isinstance(event, StepEvent)]
    assert np.isfinite(told[20:]).all() and run.state.skipped < 20
    scores = [event.scores["loss"] for event in events if isinstance(event, ValidationEvent)]
    assert scores[-1] < 0.9 * scores[0]
    assert all(bool(value.isfinite().all()) for value in run.weights().values())


def test_float16_points_where_float32_does() -> None:
    """Loss and gradient of the same batch."""
    examples = Kinds()
    batch = batch_of(examples, draw(examples, SMALL, 0, 0)).to(DEVICE)
    found = []
    for dtype in ("float32", "float16"):
        learner = small_learner().to(DEVICE)
        learner._trunk[0].to(DEVICE)
        with autocast(choice(dtype)):
            loss = learner(batch)[0]
        (1024 * loss).backward()
        gradient = torch.cat([value.grad.flatten() for value in learner.parameters()])
        found.append((float(loss.detach()), gradient / 1024))
    assert abs(found[0][0] - found[1][0]) < 0.01
    assert torch.cosine_similarity(found[0][1], found[1][1], dim=0) > 0.99


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_run_that_was_stopped_goes_on_as_one_that_was_not(tmp_path: Path, dtype: str) -> None:
    """To the bit on a CPU; a GPU may add in another order."""
    config = replace(SMALL, ema=0.5)
    whole = trainer(tmp_path / "whole", config, dtype)
    told = losses(whole)
    first = trainer(tmp_path / "parts", config, dtype)
    for event in first.events():
        if isinstance(event, StepEvent) and event.step == 6:
            break  # after the checkpoint of step 4
    second = trainer(tmp_path / "parts", config, dtype)
    assert second.state.step == 4
    within = 1e-4 if dtype == "float32" else 1e-2
    np.testing.assert_allclose(losses(second), told[4:], atol=within)
    expected = whole.weights()
    for key, value in second.weights().items():
        torch.testing.assert_close(value, expected[key], atol=within, rtol=within)


def test_one_of_torchruns_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NCCL starts and sums, and gradients through it are those without it."""
    values = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MASTER_PORT", str(free.getsockname()[1]))
    examples = Kinds()
    batch = batch_of(examples, draw(examples, SMALL, 0, 0)).to(DEVICE)
    plain = trainer(tmp_path / "plain", SMALL, "float32").learner
    plain(batch)[0].backward()
    with joined(cuda=DEVICE != "cpu") as processes:
        assert (processes.rank, processes.count) == (0, 1)
        run = trainer(tmp_path / "run", SMALL, "float32", processes)
        summed = torch.ones(3, device=DEVICE)
        dist.all_reduce(summed)
        assert summed.tolist() == [1, 1, 1]
        assert averaged({"x": torch.tensor(0.5, device=DEVICE)}) == {"x": 0.5}
        DistributedDataParallel(run.learner)(batch)[0].backward()
        for own, other in zip(plain.parameters(), run.learner.parameters(), strict=True):
            torch.testing.assert_close(own.grad, other.grad, atol=1e-5, rtol=1e-4)
        assert np.isfinite(losses(run)).all()
    assert not dist.is_initialized()
