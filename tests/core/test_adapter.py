"""AdaAV equals its formulas, starts as the frozen encoder, and reaches no further than it may."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from moca_core.errors import ConfigError
from moca_core.models.adapter import (
    HOSTS,
    AdaAV,
    Adapter,
    AdapterConfig,
    adapter_config,
    count_parameters,
    freeze,
    token_mask,
)
from moca_core.models.checkpoint import placed_on
from moca_core.models.imagebind import HUGE, VisionTrunk
from moca_core.models.registry import BUNDLE_NAMES
from moca_core.models.saliency_vit import SHAPE
from moca_core.models.vit import Trunk, ViT, ViTShape
from moca_core.models.yamnet import EMBEDDING

Floats = NDArray[np.float64]

COMPACT = ViTShape(width=24, depth=5, heads=3, patch=4, table=(3, 4), layer_scale=True)
VISION = ViTShape(width=32, depth=4, heads=4, patch=4, table=(3, 4))
CONFIGS = {
    "compact": AdapterConfig("compact", 24, 20, (1, 2, 3), reduction=4, latents=3),
    "imagebind": AdapterConfig("imagebind", 32, 12, (2, 3), reduction=8, latents=5),
}
TRUNKS: dict[str, Callable[[], Trunk]] = {
    "compact": lambda: ViT(COMPACT),
    "imagebind": lambda: VisionTrunk(VISION),
}
BATCH, PATCHES, HEARD = 3, 12, 7
each_bundle = pytest.mark.parametrize("bundle", CONFIGS)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def trunk_of(bundle: str) -> Trunk:
    """A small trunk of a bundle's kind with random weights, norms and scales."""
    trunk = freeze(TRUNKS[bundle]())
    for value in trunk.parameters():
        value.copy_(torch.randn_like(value) * (0.3 if value.ndim > 1 else 1.0))
    return trunk


def tokens_for(config: AdapterConfig) -> tuple[Tensor, Tensor]:
    """Tokens that enter the first adapted block, and audio tokens."""
    return (
        torch.randn(BATCH, 1 + PATCHES, config.visual_width),
        torch.randn(BATCH, HEARD, config.audio_width),
    )


def shaken(module: nn.Module) -> nn.Module:
    """All parameters away from where they start, gates included, as a mistake would show."""
    with torch.no_grad():
        for value in module.parameters():
            value.add_(torch.randn_like(value) * 0.5 + 0.1)
    return module


def small_part(**sizes: int) -> AdaAV:
    part = AdaAV(**{"visual_width": 16, "audio_width": 10, "reduction": 4, "latents": 3, **sizes})
    shaken(part)
    return part


# --- the formulas ---


def softmax(scores: Floats) -> Floats:
    raised = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def plain(part: AdaAV, patches: Tensor, audio: Tensor) -> tuple[Floats, Floats]:
    """METHOD.md section 3 for one item in float64: (N, Dv), (M, Da) -> g_z Z and the map (N,)."""
    state = {key: value.detach().double().numpy() for key, value in part.state_dict().items()}
    V, A, L = patches.double().numpy(), audio.double().numpy(), state["latents"]
    d = L.shape[1]
    heard = A @ state["hear.weight"].T + state["hear.bias"]
    centred = V - V.mean(axis=1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-6)
    seen = (normed * state["norm.weight"] + state["norm.bias"]) @ state["down.weight"].T
    S = L + softmax(L @ heard.T / np.sqrt(d)) @ heard
    fusion = softmax(seen @ S.T / np.sqrt(d))
    X = seen + state["mix"] * (fusion @ S)
    Z = (X * 0.5 * (1 + np.vectorize(math.erf)(X / np.sqrt(2)))) @ state["up.weight"].T
    pairs = np.exp(L @ heard.T / np.sqrt(d))  # one softmax over all of them
    weights = pairs.sum(axis=1) / pairs.sum()
    return state["gate"] * Z, fusion @ weights


@pytest.mark.parametrize("latents", [1, 3, 11])
def test_an_adapter_equals_the_formulas_in_float64(latents: int) -> None:
    part = small_part(latents=latents).double()
    patches, audio = torch.randn(2, 9, 16).double() * 3 + 1, torch.randn(2, 5, 10).double() * 2
    with torch.no_grad():
        update, attention = part(patches, audio)
    assert update.shape == (2, 9, 16)
    assert attention.shape == (2, 9)
    for item in range(2):
        expected, map_of = plain(part, patches[item], audio[item])
        assert np.abs(expected).max() > 0.5  # something to compare
        assert np.allclose(update[item].numpy(), expected, atol=1e-12)
        assert np.allclose(attention[item].numpy(), map_of, atol=1e-12)


def test_the_norm_has_the_epsilon_of_the_blocks() -> None:
    part = small_part().double()
    faint, audio = torch.randn(1, 4, 16).double() * 1e-3, torch.randn(1, 2, 10).double()
    with torch.no_grad():
        update, _ = part(faint, audio)
    assert np.allclose(update[0].numpy(), plain(part, faint[0], audio[0])[0], atol=1e-12)


def test_float32_is_close_to_float64() -> None:
    part, patches, audio = small_part(), torch.randn(2, 9, 16), torch.randn(2, 5, 10)
    with torch.no_grad():
        update, attention = part(patches, audio)
    assert update.dtype == attention.dtype == torch.float32
    expected, map_of = plain(part, patches[1], audio[1])
    assert np.allclose(update[1].numpy(), expected, atol=2e-5)
    assert np.allclose(attention[1].numpy(), map_of, atol=1e-6)


def test_gradients_equal_differences() -> None:
    part = small_part(latents=2).double()
    parameters = dict(part.named_parameters())
    mask = token_mask([3, 1], 4)
    patches = torch.randn(2, 3, 16).double().requires_grad_()
    audio = torch.randn(2, 4, 10).double().requires_grad_()

    def call(patches: Tensor, audio: Tensor, *values: Tensor) -> tuple[Tensor, Tensor]:
        state = dict(zip(parameters, values, strict=True))
        return torch.func.functional_call(part, state, (patches, audio, mask))

    assert torch.autograd.gradcheck(call, (patches, audio, *parameters.values()))


def test_how_it_starts() -> None:
    part = AdaAV(384, 1024)
    assert part.gate.item() == 0.0
    assert part.mix.item() == 1.0
    assert part.latents.shape == (8, 48)
    assert part.down.bias is None
    assert part.up.bias is None
    assert part.hear.bias is not None
    # Latents differ, or they would all listen alike for ever.
    assert torch.pdist(part.latents.detach()).min() > 0.5


# --- the attention map, by hand ---


def by_hand() -> AdaAV:
    """d = 1, two latents 1 and -1; V' is the first of 2 channels after the norm, A' the sound."""
    part = AdaAV(2, 1, reduction=2, latents=2)
    state = {
        "latents": torch.tensor([[1.0], [-1.0]]),
        "hear.weight": torch.ones(1, 1),
        "down.weight": torch.tensor([[1.0, 0.0]]),
    }
    part.load_state_dict(part.state_dict() | state)
    return part


def test_the_map_shows_which_patch_turns_to_the_latent_that_the_sound_speaks_to() -> None:
    # The sound is one token, log 3 / 2: it speaks to the latents as exp(+-log 3 / 2), 3 to 1.
    sound = math.log(3) / 2
    # Both sums hear the same token: S = 1 + sound and -1 + sound, 2 apart. V' is 1 and -1 (LN).
    patches = torch.tensor([[[2.0, 0.0], [0.0, 2.0]]])
    with torch.no_grad():
        _, attention = by_hand()(patches, torch.tensor([[[sound]]]))
    turned = 1 / (1 + math.exp(-2))  # to the first latent, of the first patch
    expected = [0.75 * turned + 0.25 * (1 - turned), 0.75 * (1 - turned) + 0.25 * turned]
    assert attention[0].tolist() == pytest.approx(expected, abs=1e-5)


def test_the_weight_of_a_latent_is_its_part_of_all_pairs() -> None:
    # Two tokens, 0 and log 2: pairs of latent 1 have 1 and 2, those of latent -1 have 1 and 1/2.
    patches = torch.tensor([[[2.0, 0.0]]])
    with torch.no_grad():
        _, attention = by_hand()(patches, torch.tensor([[[0.0], [math.log(2)]]]))
    first = 3 / 4.5
    # What the latents hear: log 2 times 2 / 3, and log 2 times 1 / 3.
    apart = (1 + math.log(2) * 2 / 3) - (-1 + math.log(2) / 3)
    turned = 1 / (1 + math.exp(-apart))
    assert attention.item() == pytest.approx(first * turned + (1 - first) * (1 - turned), abs=1e-5)


def test_a_sound_that_speaks_to_no_latent_more_than_another_says_nothing() -> None:
    part = by_hand()
    with torch.no_grad():
        _, attention = part(torch.randn(1, 6, 2), torch.zeros(1, 4, 1))
    assert torch.allclose(attention, torch.full((1, 6), 0.5))


# --- sounds of different lengths ---


def test_masks_from_lengths() -> None:
    mask = token_mask([2, 0, 3])
    assert mask.tolist() == [[True, True, False], [False] * 3, [True] * 3]
    assert token_mask(torch.tensor([1]), 4).tolist() == [[True, False, False, False]]


@pytest.mark.parametrize("filling", [0.0, 1e4, math.nan, math.inf])
def test_absent_tokens_change_nothing(filling: float) -> None:
    part = small_part()
    patches, audio = torch.randn(3, 6, 16), torch.randn(3, 5, 10)
    lengths = [5, 2, 1]
    mask = token_mask(lengths)
    padded = audio.masked_fill(~mask[:, :, None], filling).requires_grad_()
    update, attention = part(patches, padded, mask)
    for item, length in enumerate(lengths):
        alone = part(patches[item : item + 1], audio[item : item + 1, :length])
        assert torch.allclose(update[item], alone[0][0], atol=1e-5), item
        assert torch.allclose(attention[item], alone[1][0], atol=1e-6), item
    gradients = torch.autograd.grad(update.sum(), [padded, *part.parameters()])
    assert all(value.isfinite().all() for value in gradients)
    assert not gradients[0][~mask].any()


def test_a_mask_of_all_tokens_is_no_mask() -> None:
    part, patches, audio = small_part(), torch.randn(2, 6, 16), torch.randn(2, 5, 10)
    with torch.no_grad():
        masked = part(patches, audio, torch.ones(2, 5, dtype=torch.bool))
        plainly = part(patches, audio)
    assert all(map(torch.equal, masked, plainly))


def test_who_heard_nothing_has_the_latents_alone() -> None:
    part, patches, audio = small_part(), torch.randn(2, 6, 16), torch.randn(2, 5, 10)
    update, attention = part(patches, audio, token_mask([0, 5]))
    silent = copy.deepcopy(part)
    with torch.no_grad():
        silent.hear.weight.zero_()
        silent.hear.bias.zero_()  # every A' is 0, so that S = L
        expected, _ = silent(patches, audio)
    assert torch.allclose(update[0], expected[0], atol=1e-6)
    assert not torch.allclose(update[1], expected[1], atol=1e-2)
    assert torch.allclose(attention[0], torch.full((6,), 1 / 3))
    update.sum().backward()
    assert all(value.grad.isfinite().all() for value in part.parameters())


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


def test_loud_sounds_do_not_overflow_in_float16() -> None:
    part = AdaAV(64, 32, reduction=2)
    with torch.no_grad():
        part.gate.fill_(1.0)
        with torch.autocast("cpu", torch.float16):
            # A' is near 2000: its products would be beyond float16.
            update, attention = part(torch.randn(2, 6, 64), torch.randn(2, 9, 32) * 2000)
    assert update.dtype == torch.float32  # as the tokens: a small gate isn't rounded away
    assert update.isfinite().all()
    assert attention.isfinite().all()


# --- sizes and places ---


def test_the_places_are_those_of_the_bundles() -> None:
    assert tuple(HOSTS) == BUNDLE_NAMES
    compact, imagebind = HOSTS["compact"], HOSTS["imagebind"]
    assert (compact.visual_width, compact.audio_width) == (SHAPE.width, EMBEDDING)
    vision, audio = HUGE.vision, HUGE.audio
    assert (imagebind.visual_width, imagebind.audio_width) == (vision.width, audio.width)
    assert imagebind.last == vision.depth - 1
    assert adapter_config("compact").blocks == (6, 7, 8, 9)
    assert adapter_config("imagebind").blocks == (28, 29, 30, 31)
    assert adapter_config("imagebind", 2).blocks == (30, 31)
    assert adapter_config("compact", 6).entry == 4
    assert adapter_config("compact").width == 48
    assert adapter_config("imagebind").width == 160


def encoder_of(bundle: str) -> nn.Module:
    """A full-size trunk without its numbers."""
    with torch.device("meta"):
        return ViT(SHAPE) if bundle == "compact" else VisionTrunk(HUGE.vision)


@pytest.mark.parametrize(
    ("bundle", "count", "share"), [("compact", 348_872, 1.58), ("imagebind", 2_145_928, 0.34)]
)
def test_parameters_are_few(bundle: str, count: int, share: float) -> None:
    config, encoder = adapter_config(bundle), encoder_of(bundle)
    with torch.device("meta"):
        adapter = Adapter(config)
    Dv, Da, d, m = config.visual_width, config.audio_width, config.width, config.latents
    one = 2 * Dv + 2 * Dv * d + Da * d + d + m * d + 2
    assert adapter.parameter_count == 4 * one == count
    whole = count_parameters(encoder)
    assert 100 * count / whole == pytest.approx(share, abs=0.005)
    assert count < 0.03 * whole
    assert adapter.describe(encoder) == (
        f"{count:,} parameters, {share:.2f} % of the encoder's {whole:,}"
    )


@pytest.mark.parametrize("bundle", BUNDLE_NAMES)
def test_sweeps_of_the_method_stay_small_but_for_the_widest_compact_one(bundle: str) -> None:
    whole = count_parameters(encoder_of(bundle))
    for blocks, reduction, latents in [(2, 8, 8), (6, 8, 8), (4, 4, 8), (4, 16, 8), (4, 8, 32)]:
        with torch.device("meta"):
            adapter = Adapter(adapter_config(bundle, blocks, reduction, latents))
        wide = bundle == "compact" and reduction == 4
        assert (adapter.parameter_count < 0.03 * whole) is not wide


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"bundle": "tiny"}, "'tiny' is not a bundle"),
        ({"reduction": 0}, "reduction = 0"),
        ({"reduction": 7}, "reduction = 7"),
        ({"reduction": True}, "reduction = True"),
        ({"latents": 0}, "latents = 0"),
        ({"latents": 2.5}, "latents = 2.5"),
        ({"audio_width": -1}, "audio_width = -1"),
        ({"blocks": ()}, r"blocks = \(\)"),
        ({"blocks": (3, 2)}, r"blocks = \(3, 2\)"),
        ({"blocks": (2, 2)}, r"blocks = \(2, 2\)"),
        ({"blocks": (-1, 2)}, r"blocks = \(-1, 2\)"),
        ({"blocks": ("2",)}, "blocks = "),
    ],
)
def test_impossible_adapters_are_refused(values: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        replace(CONFIGS["compact"], **values)


def test_impossible_places_are_refused() -> None:
    for count in (0, 11):
        with pytest.raises(ConfigError, match=f"{count} adapted blocks"):
            adapter_config("compact", count)
    assert adapter_config("compact", 10).entry == 0
    with pytest.raises(ConfigError, match="'tiny' is not a bundle"):
        adapter_config("tiny")


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
