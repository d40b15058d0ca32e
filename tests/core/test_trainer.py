"""Training on a small encoder: it learns, it can be stopped and taken up, and it can fail."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from training_fakes import SMALL, Kinds, small_learner

from moca_core.device import choose_device
from moca_core.errors import ConfigError, StorageError, WeightsError
from moca_core.training import checkpoint
from moca_core.training import trainer as module
from moca_core.training.config import TrainConfig
from moca_core.training.events import SavedEvent, StepEvent, TrainEvent, ValidationEvent
from moca_core.training.processes import Processes
from moca_core.training.trainer import (
    MOST_SKIPPED,
    Parts,
    Trainer,
    TrainingError,
    draw,
    learning_rate,
)
from moca_core.types import StageEvent

CPU = choose_device("cpu")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums in one order, so that runs are equal to the bit on a busy machine, too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def trainer(folder: Path, config: TrainConfig = SMALL, held_out: bool = True) -> Trainer:
    parts = Parts(Kinds(), Kinds(count=12, seed=5) if held_out else None)
    return Trainer(config, small_learner(config), parts, folder, CPU)


def weights(run: Trainer) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in run.learner.state_dict().items()}


def scored(run: Trainer, examples: Kinds) -> ValidationEvent:
    events = list(run._validation(examples, lambda: False))
    assert all(isinstance(event, StageEvent) for event in events[:-1])  # places to stop
    assert len(events) > 2 and isinstance(events[-1], ValidationEvent)
    return events[-1]


def steps(events: list[TrainEvent]) -> list[StepEvent]:
    return [event for event in events if isinstance(event, StepEvent)]


def test_every_iteration_is_told_and_validations_and_checkpoints_at_their_times(
    tmp_path: Path,
) -> None:
    events = list(trainer(tmp_path).events())
    assert [event.step for event in steps(events)] == list(range(1, 13))
    for kind in (ValidationEvent, SavedEvent):
        assert [event.step for event in events if isinstance(event, kind)] == [4, 8, 12]
    first = steps(events)[0]
    assert set(first.parts) == {"triplet", "audio", "near", "heard"}
    assert first.loss == pytest.approx(first.parts["triplet"] + first.parts["audio"], abs=1e-6)
    assert first.gradient > 0
    assert first.total == 12
    assert (tmp_path / checkpoint.LAST).is_file()


def test_it_learns(tmp_path: Path) -> None:
    """Like pictures come nearer than unlike ones, and with the own sound nearer than another."""
    config = replace(SMALL, iterations=150, validate_every=150, save_every=150, lr=1e-2)
    run = trainer(tmp_path, config)
    before = scored(run, Kinds(count=12, seed=5)).scores
    run.state = checkpoint.State()
    events = list(run.events())
    after = [event.scores for event in events if isinstance(event, ValidationEvent)][-1]
    assert after["loss"] < 0.8 * before["loss"]
    assert after["near"] > 0.9
    assert after["heard"] > 0.8


def test_the_encoder_stays_as_it_is(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    trunk = run.learner._trunk[0]
    before = {key: value.clone() for key, value in trunk.state_dict().items()}
    list(run.events())
    for key, value in trunk.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert not any(key.startswith("_trunk") or "blocks" in key for key in run.learner.state_dict())


@pytest.mark.parametrize(
    "options", [{}, {"ema": 0.9}, {"alignment": True}, {"ema": 0.5, "seed": 3}]
)
def test_a_run_that_was_stopped_equals_one_that_was_not(
    tmp_path: Path, options: dict[str, float]
) -> None:
    config = replace(SMALL, **options)  # type: ignore[arg-type]
    whole = trainer(tmp_path / "whole", config)
    told = [event.loss for event in steps(list(whole.events()))]
    first = trainer(tmp_path / "parts", config)
    for event in first.events():
        if isinstance(event, StepEvent) and event.step == 6:
            break  # after the checkpoint of step 4
    second = trainer(tmp_path / "parts", config)
    assert second.state.step == 4
    again = [event.loss for event in steps(list(second.events()))]
    assert again == told[4:]
    expected = whole.weights()
    for key, value in second.weights().items():
        assert torch.equal(value, expected[key]), key
    assert second.state.best == whole.state.best


def test_the_seed_fixes_the_draws_and_every_purpose_has_its_own() -> None:
    examples = Kinds()
    np.testing.assert_array_equal(draw(examples, SMALL, 0, 3), draw(examples, SMALL, 0, 3))
    drawn = [
        draw(examples, SMALL, 0, 3),
        draw(examples, SMALL, 0, 4),
        draw(examples, SMALL, 1, 3),
        draw(examples, replace(SMALL, seed=1), 0, 3),
    ]
    assert len({str(rows) for rows in drawn}) == 4
    for anchor, positive, negative, other in np.concatenate(drawn):
        assert examples.kind[positive] == examples.kind[anchor] != examples.kind[negative]
        assert examples.recordings[other] != examples.recordings[anchor]


def test_the_learning_rate_rises_then_falls_like_a_cosine() -> None:
    config = replace(SMALL, lr=1.0, warmup=4, iterations=24)
    rates = [learning_rate(config, step) for step in range(25)]
    assert rates[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rates[14] == pytest.approx(0.5)
    assert rates[24] == pytest.approx(0.0)
    assert learning_rate(replace(config, warmup=0), 0) == 1.0


def test_gradients_are_clipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With weights that only move by the gradient itself the step is as long as the limit."""
    config = replace(SMALL, clip=1e-3, warmup=0, lr=1.0, iterations=1)
    run = trainer(tmp_path, config, held_out=False)
    groups = [{"params": list(run.learner.parameters()), "times": 1.0}]
    run._optimiser = torch.optim.SGD(groups, lr=1.0)
    before = weights(run)
    event = steps(list(run.events()))[0]
    after = weights(run)
    moved = torch.cat([(after[key] - before[key]).flatten() for key in before]).norm()
    assert event.gradient > 1e-3
    assert float(moved) == pytest.approx(1e-3, rel=1e-3)


def broken(run: Trainer, bad: set[int]) -> None:
    """Let the loss be nan in iterations `bad`, counted from 0."""
    whole = run.learner.forward
    count = iter(range(10_000))

    def forward(batch):  # type: ignore[no-untyped-def]
        loss, said = whole(batch)
        return (loss * torch.nan if next(count) in bad else loss), said

    run.learner.forward = forward  # type: ignore[method-assign]


def test_an_iteration_without_a_finite_loss_changes_nothing(tmp_path: Path) -> None:
    run = trainer(tmp_path, held_out=False)
    broken(run, {0, 1, 5})
    before = weights(run)
    events = run.events()
    for count in (1, 2):
        event = next(event for event in events if isinstance(event, StepEvent))
        assert math.isnan(event.loss)
        assert event.skipped == count
    for key, value in weights(run).items():
        assert torch.equal(value, before[key]), key
    last = steps(list(events))[-1]
    assert (last.step, last.skipped) == (12, 3)
    assert math.isfinite(last.loss)
    assert run.state.in_a_row == 0
    assert any(not torch.equal(value, before[key]) for key, value in weights(run).items())
    assert all(bool(value.isfinite().all()) for value in weights(run).values())


def test_ten_in_a_row_stop_the_run_with_advice(tmp_path: Path) -> None:
    run = trainer(tmp_path, replace(SMALL, iterations=40), held_out=False)
    broken(run, set(range(6, 40)))
    seen = []
    with pytest.raises(TrainingError) as caught:
        seen.extend(run.events())
    assert "10 times in a row" in caught.value.message
    assert "lr" in caught.value.hint
    assert run.state.step == 6 + MOST_SKIPPED
    # What was good before is on disk.
    loaded = checkpoint.load(module.fingerprint(run.config), tmp_path)
    assert loaded is not None
    assert loaded.step == 12


def test_a_running_mean_is_what_is_kept(tmp_path: Path) -> None:
    run = trainer(tmp_path, replace(SMALL, ema=0.9))
    list(run.events())
    own, mean = run.learner.state_dict(), run.weights()
    assert any(not torch.equal(mean[key], own[key]) for key in own)
    plain = trainer(tmp_path / "plain")
    list(plain.events())
    # It follows and doesn't lead: training itself is the same without it.
    for key, value in plain.learner.state_dict().items():
        assert torch.equal(value, own[key]), key


def test_a_disk_that_is_full_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trainer(tmp_path)
    events = run.events()
    while not isinstance(next(events), SavedEvent):
        pass
    good = (tmp_path / checkpoint.LAST).read_bytes()

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        list(events)
    assert (tmp_path / checkpoint.LAST).read_bytes() == good
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.LAST]
    monkeypatch.undo()
    assert steps(list(trainer(tmp_path).events()))[0].step == 5


@pytest.mark.parametrize("cut", [0, 10, 500, -1])
def test_a_damaged_checkpoint_is_told(tmp_path: Path, cut: int) -> None:
    list(trainer(tmp_path).events())
    path = tmp_path / checkpoint.LAST
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(WeightsError, match=r"last\.pt"):
        trainer(tmp_path)


def test_the_checkpoint_of_another_configuration_is_refused(tmp_path: Path) -> None:
    list(trainer(tmp_path).events())
    with pytest.raises(ConfigError, match="another configuration"):
        trainer(tmp_path, replace(SMALL, lr=1.0))


def test_a_batch_that_cant_be_shared_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="batch = 4 for 3 processes"):
        Trainer(SMALL, small_learner(), Parts(Kinds(), None), tmp_path, CPU, Processes(0, 3))


def test_without_held_out_items_nothing_is_validated(tmp_path: Path) -> None:
    events = list(trainer(tmp_path, held_out=False).events())
    assert not [event for event in events if isinstance(event, ValidationEvent)]


def test_validation_moves_nothing(tmp_path: Path) -> None:
    run = trainer(tmp_path, replace(SMALL, ema=0.9))
    before = weights(run)
    one = scored(run, Kinds(count=12, seed=5))
    two = scored(run, Kinds(count=12, seed=5))
    assert one.scores == two.scores
    assert (one.best, two.best) == (True, False)
    for key, value in weights(run).items():
        assert torch.equal(value, before[key])
    assert all(value.grad is None for value in run.learner.parameters())
    assert np.isfinite(list(one.scores.values())).all()


def test_matrices_decay_and_gates_move_faster(tmp_path: Path) -> None:
    run = trainer(tmp_path, replace(SMALL, alignment=True, gate_rate=7.0, weight_decay=0.3))
    names = {id(value): name for name, value in run.learner.named_parameters()}
    told = {
        names[id(value)]: (group["weight_decay"], group["times"])
        for group in run._optimiser.param_groups
        for value in group["params"]
    }
    assert told.keys() == set(names.values())
    assert told["adapter.parts.1.gate"] == told["adapter.parts.2.mix"] == (0.0, 7.0)
    for name in ("adapter.parts.1.latents", "adapter.parts.1.norm.weight"):
        assert told[name] == (0.0, 1.0)
    for name in ("adapter.parts.2.up.weight", "head.visual.weight"):
        assert told[name] == (0.3, 1.0)
