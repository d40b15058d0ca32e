"""AdaAV equals its formulas, its attention map is what is said of it, and it is small."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from core.adapter_fakes import CONFIGS, shaken
from numpy.typing import NDArray
from torch import Tensor, nn

from moca_core.errors import ConfigError
from moca_core.models.adapter import (
    HOSTS,
    AdaAV,
    Adapter,
    adapter_config,
    count_parameters,
    token_mask,
)
from moca_core.models.imagebind import HUGE, VisionTrunk
from moca_core.models.registry import BUNDLE_NAMES
from moca_core.models.saliency_vit import SHAPE
from moca_core.models.vit import ViT
from moca_core.models.yamnet import EMBEDDING

Floats = NDArray[np.float64]


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


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


# --- half precision ---


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
