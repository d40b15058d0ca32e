"""A run that is asked to end keeps what it has, and can be taken up as if it had gone on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from training_fakes import SMALL, Kinds, small_learner

from moca_core.device import choose_device
from moca_core.training.events import SavedEvent, StepEvent
from moca_core.training.trainer import Parts, Trainer


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def trainer(folder: Path) -> Trainer:
    parts = Parts(Kinds(), Kinds(count=12, seed=5))
    return Trainer(SMALL, small_learner(SMALL), parts, folder, choose_device("cpu"))


def test_what_is_there_is_saved_and_nothing_is_lost(tmp_path: Path) -> None:
    whole = [e for e in trainer(tmp_path / "whole").events() if isinstance(e, StepEvent)]
    seen: list[StepEvent] = []
    first = trainer(tmp_path / "parts")
    events = []
    for event in first.events(stop=lambda: len(seen) == 6):
        events.append(event)
        if isinstance(event, StepEvent):
            seen.append(event)
    # Neither of iteration 4's events, nor the end's validation, stands after the sixth iteration.
    assert [type(event) for event in events[-2:]] == [StepEvent, SavedEvent]
    assert events[-1].step == 6
    second = trainer(tmp_path / "parts")
    assert second.state.step == 6
    rest = [e.loss for e in second.events() if isinstance(e, StepEvent)]
    assert [e.loss for e in seen] + rest == [e.loss for e in whole]
