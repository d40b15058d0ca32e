"""Adapters in small trunks of both kinds: at first the frozen encoder, and what they then do."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from core.adapter_fakes import (
    BATCH,
    COMPACT,
    CONFIGS,
    HEARD,
    PATCHES,
    VISION,
    shaken,
    tokens_for,
    trunk_of,
)
from torch import Tensor

from moca_core.errors import ConfigError
from moca_core.models.adapter import Adapter, adapter_config, freeze, token_mask
from moca_core.models.checkpoint import placed_on
from moca_core.models.imagebind import HUGE
from moca_core.models.saliency_vit import SHAPE
from moca_core.models.vit import ViT

each_bundle = pytest.mark.parametrize("bundle", CONFIGS)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


# --- in a trunk ---


@each_bundle
def test_before_training_it_is_exactly_the_frozen_encoder(bundle: str) -> None:
    config, trunk = CONFIGS[bundle], trunk_of(bundle)
    adapter = Adapter(config)
    tokens, audio = tokens_for(config)
    for stop in (None, config.blocks[-1] + 1, config.blocks[-1], -1):
        expected = trunk.run(tokens, first=config.entry, stop=stop)
        assert torch.equal(adapter.run(trunk, tokens, audio, stop=stop), expected), stop
    shaken(adapter)
    assert not torch.allclose(adapter.run(trunk, tokens, audio), trunk.run(tokens, config.entry))
    with torch.no_grad():
        for part in adapter.parts.values():
            part.gate.zero_()
    expected = trunk.run(tokens, first=config.entry)
    assert torch.equal(adapter.run(trunk, tokens, audio, token_mask([7, 0, 3])), expected)


@each_bundle
def test_updates_are_made_of_what_enters_a_block_and_added_to_what_leaves_it(bundle: str) -> None:
    config, trunk = CONFIGS[bundle], trunk_of(bundle)
    adapter = Adapter(config)
    shaken(adapter)
    tokens, audio = tokens_for(config)
    maps: dict[int, Tensor] = {}
    with torch.no_grad():
        result = adapter.run(trunk, tokens, audio, watch=maps.__setitem__)
        x = tokens
        for number in range(config.entry, len(trunk.blocks)):
            left = trunk.run(x, first=number, stop=number + 1)
            if number in config.blocks:
                update, attention = adapter.parts[str(number)](x[:, 1:], audio)
                left[:, 1:] += update
                assert torch.equal(maps[number], attention)
            x = left
    assert torch.allclose(result, x, atol=1e-5)
    assert tuple(maps) == config.blocks
    assert all(value.shape == (BATCH, PATCHES) for value in maps.values())


@each_bundle
def test_the_class_token_leaves_an_adapted_block_as_it_did(bundle: str) -> None:
    config, trunk = CONFIGS[bundle], trunk_of(bundle)
    adapter = Adapter(config)
    shaken(adapter)
    tokens, audio = tokens_for(config)
    stop = config.entry + 1
    plainly = trunk.run(tokens, config.entry, stop)
    adapted = adapter.run(trunk, tokens, audio, stop=stop)
    assert torch.equal(adapted[:, 0], plainly[:, 0])
    assert not torch.isclose(adapted[:, 1:], plainly[:, 1:]).all(dim=2).any()


def test_blocks_between_adapted_ones_run_plainly() -> None:
    config = replace(CONFIGS["compact"], blocks=(1, 3))
    trunk, adapter = trunk_of("compact"), Adapter(config)
    shaken(adapter)
    tokens, audio = tokens_for(config)
    inner = adapter.run(trunk, tokens, audio, stop=2)
    passed = trunk.run(inner, first=2, stop=3)
    update, _ = adapter.update(3, passed, audio)
    last = trunk.run(passed, first=3, stop=4)
    expected = torch.cat([last[:, :1], last[:, 1:] + update], dim=1)
    assert torch.allclose(adapter.run(trunk, tokens, audio, stop=4), expected, atol=1e-5)


def test_a_frame_hears_its_own_sound_only() -> None:
    config, trunk = CONFIGS["imagebind"], trunk_of("imagebind")
    adapter = Adapter(config)
    shaken(adapter)
    tokens, audio = tokens_for(config)
    before = adapter.run(trunk, tokens, audio)
    audio[1] = torch.randn_like(audio[1])
    after = adapter.run(trunk, tokens, audio)
    assert torch.allclose(after[[0, 2]], before[[0, 2]], atol=1e-6)
    assert (after[1, 1:] - before[1, 1:]).abs().max() > 1e-2


@each_bundle
def test_sounds_of_different_lengths_share_a_batch(bundle: str) -> None:
    config, trunk = CONFIGS[bundle], trunk_of(bundle)
    adapter = Adapter(config)
    shaken(adapter)
    tokens, audio = tokens_for(config)
    lengths = [HEARD, 2, 4]
    maps: dict[int, Tensor] = {}
    with torch.no_grad():
        result = adapter.run(
            trunk, tokens, audio, token_mask(lengths, HEARD), watch=maps.__setitem__
        )
        for item, length in enumerate(lengths):
            one = slice(item, item + 1)
            own: dict[int, Tensor] = {}
            alone = adapter.run(trunk, tokens[one], audio[one, :length], watch=own.__setitem__)
            assert torch.allclose(result[item], alone[0], atol=1e-4), item
            assert all(torch.allclose(maps[n][item], own[n][0], atol=1e-5) for n in own), item


@each_bundle
def test_gradients_reach_everything_as_soon_as_the_gates_move(bundle: str) -> None:
    config, trunk = CONFIGS[bundle], trunk_of(bundle)
    adapter = Adapter(config)
    tokens, audio = tokens_for(config)
    goal = torch.randn(BATCH, 1 + PATCHES, config.visual_width)
    assert all(value.requires_grad for value in adapter.parameters())
    assert not any(value.requires_grad for value in trunk.parameters())
    assert not trunk.training
    before = {key: value.clone() for key, value in trunk.state_dict().items()}
    optimizer = torch.optim.SGD(adapter.parameters(), lr=0.01)
    for step in range(2):
        optimizer.zero_grad()
        (adapter.run(trunk, tokens, audio) - goal).square().mean().backward()
        for name, value in adapter.named_parameters():
            assert value.grad is not None, name
            assert value.grad.any() == (step == 1 or name.endswith("gate")), (step, name)
        optimizer.step()
    assert all(value.grad is None for value in trunk.parameters())
    assert all(torch.equal(value, before[key]) for key, value in trunk.state_dict().items())


def test_tokens_that_were_made_in_inference_mode_can_be_trained_on() -> None:
    config, trunk = CONFIGS["compact"], trunk_of("compact")
    adapter = Adapter(config)
    with torch.inference_mode():
        tokens, audio = tokens_for(config)
        frozen = trunk.run(tokens, config.entry)
        assert torch.equal(adapter.run(trunk, tokens, audio), frozen)
    result = adapter.run(trunk, tokens, audio)
    assert torch.equal(result, frozen)
    result.square().sum().backward()
    assert adapter.parts["3"].gate.grad.abs() > 0


def test_freezing_is_for_the_encoder_and_changes_no_number() -> None:
    trunk = ViT(COMPACT)
    assert trunk.training
    state = copy.deepcopy(trunk.state_dict())
    assert freeze(trunk) is trunk
    assert not any(module.training for module in trunk.modules())
    assert not any(value.requires_grad for value in trunk.parameters())
    assert all(torch.equal(value, state[key]) for key, value in trunk.state_dict().items())


# --- half precision ---


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@each_bundle
def test_under_autocast_it_is_close_and_learns(bundle: str, dtype: torch.dtype) -> None:
    config, trunk = CONFIGS[bundle], trunk_of(bundle)
    adapter = Adapter(config)
    shaken(adapter)
    tokens, audio = tokens_for(config)
    mask = token_mask([7, 4, 0])
    maps: dict[int, Tensor] = {}
    exact_maps: dict[int, Tensor] = {}
    exact = adapter.run(trunk, tokens, audio, mask, watch=exact_maps.__setitem__)
    with torch.autocast("cpu", dtype):
        result = adapter.run(trunk, tokens, audio, mask, watch=maps.__setitem__)
        loss = result.square().mean()
    assert result.dtype == torch.float32
    assert result.isfinite().all()
    error = ((result - exact).norm() / exact.norm()).item()
    assert 0 < error < (0.03 if dtype == torch.bfloat16 else 0.004)
    for number in config.blocks:
        assert maps[number].dtype == torch.float32
        assert torch.allclose(maps[number], exact_maps[number], atol=0.05), number
    loss.backward()
    assert all(
        value.grad.dtype == torch.float32 and value.grad.isfinite().all()
        for value in adapter.parameters()
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("cast", [False, True])
def test_before_training_it_is_the_encoder_in_half_precision_too(
    dtype: torch.dtype, cast: bool
) -> None:
    config, trunk = CONFIGS["compact"], trunk_of("compact")
    place = placed_on(trunk, "cpu", dtype)
    state = {key: place(key, value) for key, value in trunk.state_dict().items()}
    trunk.load_state_dict(state, assign=True)
    tokens, audio = tokens_for(config)
    with torch.no_grad(), torch.autocast("cpu", dtype, enabled=cast):
        expected = trunk.run(tokens, config.entry)
        # Audio tokens may be cached in half precision.
        result = Adapter(config).run(trunk, tokens, audio.half())
    assert torch.equal(result, expected)


def test_what_does_not_fit_is_refused_by_its_sizes() -> None:
    config, trunk = CONFIGS["compact"], trunk_of("compact")
    adapter = Adapter(config)
    tokens, audio = tokens_for(config)
    with pytest.raises(ConfigError, match="4 blocks, 32 wide") as caught:
        adapter.run(trunk_of("imagebind"), tokens, audio)
    assert "compact" in caught.value.hint
    shallow = ViT(replace(COMPACT, depth=3))
    for wrong, message in (
        ((shallow, tokens, audio), "a transformer of 3 blocks"),
        ((trunk, tokens[0], audio), r"tokens \(13, 24\)"),
        ((trunk, tokens[:, :, :8], audio), r"tokens \(3, 13, 8\)"),
        ((trunk, tokens, audio[..., :9]), r"audio tokens \(3, 7, 9\)"),
        ((trunk, tokens, audio[:, :0]), r"audio tokens \(3, 0, 20\)"),
        ((trunk, tokens, audio[:2]), "2 sounds for 3 pictures"),
        ((trunk, tokens, audio, torch.ones(3, 6, dtype=torch.bool)), r"mask \(3, 6\)"),
        ((trunk, tokens, audio, torch.ones(3, 7)), "mask .* torch.float32"),
    ):
        with pytest.raises(ConfigError, match=message):
            adapter.run(*wrong)


# --- the real compact encoder ---


@pytest.mark.weights
def test_before_training_it_is_exactly_the_real_compact_encoder(weights_dir) -> None:
    from moca_core.models.saliency_vit import SaliencyViT

    trunk = SaliencyViT.from_file(weights_dir / "vit_s_focus.onnx").backbone
    adapter = Adapter(adapter_config("compact"))
    with torch.no_grad():
        image = torch.randn(2, 3, 112, 112)
        tokens = trunk.run(trunk.embed(image), stop=adapter.config.entry)
        audio = torch.rand(2, 3, 1024)
        for stop in (10, None):
            expected = trunk.run(tokens, first=6, stop=stop)
            assert torch.equal(adapter.run(trunk, tokens, audio, stop=stop), expected)
        adapter.parts["6"].gate.fill_(0.1)
        moved = adapter.run(trunk, tokens, audio, stop=10)
    assert (moved - trunk.run(tokens, first=6, stop=10)).abs().max() > 0.05


def test_the_small_trunks_differ_from_the_real_ones_in_sizes_only() -> None:
    same = replace(VISION, width=1280, depth=32, heads=16, patch=14, table=(16, 16))
    assert same == HUGE.vision
    same = replace(COMPACT, width=384, depth=12, heads=6, patch=14, table=(37, 37))
    assert same == SHAPE
