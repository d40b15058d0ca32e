"""What leaves the first adapted block is computed once, and training is as if it weren't kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from adapter_fakes import CONFIGS, shaken, tokens_for, trunk_of
from torch import Tensor
from training_fakes import SHAPE, SMALL, Kinds, small_learner, small_trunk

from moca_core.models.adapter import Adapter
from moca_core.training.entered import EntryBlock
from moca_core.training.learner import Learner
from moca_core.training.trainer import batch_of, draw

TOKENS = (1 + SHAPE.table[0] * SHAPE.table[1], SHAPE.width)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def counted(block: EntryBlock) -> list[int]:
    """The batches that a block computes from here on."""
    found: list[int] = []
    compute: Callable[[Tensor], Tensor] = block._block

    def call(tokens: Tensor) -> Tensor:
        found.append(len(tokens))
        return compute(tokens)

    block._block = call  # type: ignore[assignment]
    return found


def test_a_picture_is_computed_once_and_is_the_same_to_the_bit_in_any_batch() -> None:
    trunk = small_trunk()
    block, again = EntryBlock(trunk, 1), EntryBlock(trunk, 1)
    calls = counted(block)
    pictures = torch.randn(5, *TOKENS)
    left = block(pictures[[0, 1, 2, 0]])
    assert torch.equal(block(pictures[[4, 2, 1]])[1:], left[[2, 1]])
    assert calls == [1] * 4
    assert torch.equal(again(pictures)[:3], left[:3])
    torch.testing.assert_close(again(pictures), trunk.run(pictures, 1, 2), atol=1e-6, rtol=0)
    assert not left.requires_grad


def test_what_was_not_used_for_longest_goes_at_the_limit() -> None:
    pictures = torch.randn(3, 1, *TOKENS)
    size = pictures[0].nbytes
    block = EntryBlock(small_trunk(), 1, limit_bytes=2 * size)
    calls = counted(block)
    for number in (0, 1, 0, 2, 0):
        block(pictures[number])
        assert block.held_bytes <= 2 * size
    assert len(calls) == 3
    block(pictures[1])
    assert len(calls) == 4
    none = EntryBlock(small_trunk(), 1, limit_bytes=0)
    assert torch.equal(none(pictures[0]), block(pictures[0])) and none.held_bytes == 0


def forget(learner: Learner) -> None:
    """Let the adapter run the first block with the others, as if nothing were known of it."""
    run = learner.adapter.run
    learner.adapter.run = lambda *a, left, **k: run(*a, **k)  # type: ignore[method-assign]


@pytest.mark.parametrize("options", [{}, {"alignment": True}, {"audio_negatives": False}])
def test_loss_and_gradients_are_those_without_a_memory(options: dict[str, bool]) -> None:
    config, examples = replace(SMALL, **options), Kinds()  # type: ignore[arg-type]
    batch = batch_of(examples, draw(examples, config, 0, 0))
    found = []
    for plain in (False, True):
        learner = small_learner(config)
        if plain:
            forget(learner)
        loss, said = learner(batch)
        loss.backward()
        found.append([loss, *said.values(), *(value.grad for value in learner.parameters())])
    for own, other in zip(*found, strict=True):
        torch.testing.assert_close(own, other, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("bundle", CONFIGS)
def test_an_adapter_takes_what_is_known(bundle: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first adapted block isn't run then, and its adapter still sees what enters it."""
    config, trunk = CONFIGS[bundle], trunk_of(bundle)
    adapter = Adapter(config)
    shaken(adapter)
    tokens, audio = tokens_for(config)
    expected = adapter.run(trunk, tokens, audio)
    left = trunk.run(tokens, config.entry, config.entry + 1)

    def refused(*_: object) -> None:
        raise AssertionError("the block was run")

    monkeypatch.setattr(trunk.blocks[config.entry], "forward", refused)
    assert torch.equal(adapter.run(trunk, tokens, audio, left=left), expected)
    with pytest.raises(AssertionError, match="was run"):
        adapter.run(trunk, tokens, audio)
