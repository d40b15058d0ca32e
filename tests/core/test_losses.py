"""The parts of the loss, by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from training_fakes import SMALL, Kinds, small_learner, small_trunk

from moca_core.pipeline import pma
from moca_core.training.learner import EvidenceHead
from moca_core.training.losses import attended, contrast, triplet
from moca_core.training.trainer import batch_of

ROWS = np.array([(0, 6, 1, 2), (4, 10, 3, 5), (8, 14, 9, 7)])


def test_the_margin_is_what_far_must_be_beyond_near() -> None:
    near, far = torch.tensor([0.2, 0.5, 0.1]), torch.tensor([0.3, 0.4, 0.9])
    assert float(triplet(near, far, 0.2)) == pytest.approx((0.1 + 0.3 + 0.0) / 3)


def test_contrast_is_cross_entropy_both_ways() -> None:
    places = torch.eye(3)[:2]
    sounds = torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0]])
    # Cosines [[1, .6], [0, .8]] over 0.5: rows, then columns.
    rows = [-math.log(math.exp(2) / (math.exp(2) + math.exp(1.2)))]
    rows += [-math.log(math.exp(1.6) / (1 + math.exp(1.6)))]
    columns = [-math.log(math.exp(2) / (math.exp(2) + 1))]
    columns += [-math.log(math.exp(1.6) / (math.exp(1.6) + math.exp(1.2)))]
    expected = (sum(rows) / 2 + sum(columns) / 2) / 2
    found = contrast(places, sounds, 0.5, torch.tensor([0, 1]))
    assert float(found) == pytest.approx(expected, abs=1e-6)


def test_items_of_one_recording_are_no_negatives_of_each_other() -> None:
    places = torch.nn.functional.normalize(torch.randn(4, 8), dim=-1)
    same = contrast(places, places, 0.1, torch.tensor([3, 3, 3, 3]))
    assert float(same) == 0.0
    pairs = contrast(places, places, 0.1, torch.tensor([0, 0, 1, 1]))
    others = contrast(places, places, 0.1, torch.tensor([0, 1, 2, 3]))
    assert 0 < float(pairs) < float(others)


def test_what_is_attended_to_counts() -> None:
    values = torch.eye(3)[None]
    found = attended(values, torch.tensor([[3.0, 4.0, 0.0]]))
    assert found[0].tolist() == pytest.approx([0.6, 0.8, 0.0])
    assert bool(attended(values, torch.zeros(1, 3)).isfinite().all())


def test_the_loss_is_that_of_the_distances() -> None:
    """Every picture with the anchor's sound, but the last one, which has another."""
    learner = small_learner()
    batch = batch_of(Kinds(), ROWS)
    loss, said = learner(batch)
    loss = loss.detach()

    def enhanced(tokens: Tensor, audio: Tensor) -> Tensor:
        return learner.adapter.run(small_trunk(), tokens, audio)[:, 1:]

    def distance(one: Tensor, other: Tensor) -> Tensor:
        return pma.distance(one, other, (3, 3), pma.PmaConfig(window=SMALL.pma_window))

    anchor = enhanced(batch.anchor, batch.audio)
    positive = enhanced(batch.positive, batch.audio)
    negative = enhanced(batch.negative, batch.audio)
    unheard = enhanced(batch.anchor, batch.other)
    near = distance(anchor, positive)
    first = triplet(near, distance(anchor, negative), 0.2).detach()
    second = triplet(near, distance(unheard, positive), 0.2).detach()
    assert float(loss) == pytest.approx(float(first + second), abs=1e-6)
    assert float(said["triplet"]) == pytest.approx(float(first), abs=1e-6)
    assert float(said["audio"]) == pytest.approx(float(second), abs=1e-6)


def test_parts_can_be_left_out_and_weighted() -> None:
    batch = batch_of(Kinds(), ROWS)
    plain, said = small_learner(replace(SMALL, audio_negatives=False))(batch)
    assert set(said) == {"triplet", "near"}
    assert float(plain.detach()) == float(said["triplet"])
    config = replace(SMALL, audio_weight=0.5, alignment=True, alignment_weight=0.25)
    loss, said = small_learner(config)(batch)
    expected = said["triplet"] + 0.5 * said["audio"] + 0.25 * said["alignment"]
    assert float(loss.detach()) == pytest.approx(float(expected), abs=1e-6)


def test_alignment_trains_the_head_and_what_is_attended_to() -> None:
    config = replace(SMALL, alignment=True, margin=0.0, audio_negatives=False, alignment_weight=1.0)
    learner = small_learner(config)
    loss, _ = learner(batch_of(Kinds(), ROWS))
    loss.backward()
    assert learner.head is not None
    for name, value in learner.named_parameters():
        if name.startswith("head"):
            assert value.grad is not None, name
            assert float(value.grad.abs().max()) > 0, name
    latents = learner.adapter.parts["1"].latents
    assert float(latents.grad.abs().max()) > 0


def test_the_head_compares_places_with_sounds() -> None:
    torch.manual_seed(0)
    head = EvidenceHead(6, 5, joint=4)
    places = head.places(torch.randn(2, 7, 6))
    sounds = head.sounds(torch.randn(2, 3, 5))
    assert places.shape == (2, 7, 4)
    assert sounds.shape == (2, 4)
    for unit in (places, sounds):
        torch.testing.assert_close(unit.norm(dim=-1), torch.ones(unit.shape[:-1]))
