"""The one block equals a plain float64 one in every variant; trunks can be entered anywhere."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from moca_core.errors import ConfigError
from moca_core.models.checkpoint import placed_on
from moca_core.models.vit import Trunk, ViT, ViTBlock, ViTShape, collect, patches_of

SMALL = ViTShape(width=24, depth=3, heads=3, patch=4, table=(5, 5))
VARIANTS = {
    "imagebind-vision, dino": SMALL,
    "dinov2": replace(SMALL, layer_scale=True),
    "imagebind-audio": replace(SMALL, bias_kv=True),
    "both": replace(SMALL, layer_scale=True, bias_kv=True),
}
each_variant = pytest.mark.parametrize("shape", VARIANTS.values(), ids=VARIANTS)


def small_vit(shape: ViTShape = SMALL, seed: int = 0) -> ViT:
    """A small network with random weights, norms and scales, as a mistake would show."""
    torch.manual_seed(seed)
    net = ViT(shape).eval().requires_grad_(False)
    for value in net.parameters():
        value.copy_(torch.randn_like(value) * (0.3 if value.ndim > 1 else 1.0))
    return net


def block_of(net: ViT, number: int) -> ViTBlock:
    block = net.blocks[number]
    assert isinstance(block, ViTBlock)
    return block


def plain_block(
    block: ViTBlock, x: NDArray[np.float64], eps: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One block on (T, C) in float64, head by head, from the formulas.

    Returns the tokens, and the attention weights of the class token, (heads, T or T + 1).
    """
    state = {key: value.double().numpy() for key, value in block.state_dict().items()}

    def norm(x: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        centred = x - x.mean(-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(-1, keepdims=True) + eps)
        return centred / scale * state[f"{name}.weight"] + state[f"{name}.bias"]

    def linear(x: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    q, k, v = np.split(linear(norm(x, "norm1"), "qkv"), 3, axis=-1)
    if "bias_k" in state:
        k = np.concatenate([k, state["bias_k"][0]])
        v = np.concatenate([v, state["bias_v"][0]])
    heads, looks = [], []
    size = x.shape[-1] // block.heads
    for head in range(block.heads):
        part = slice(head * size, (head + 1) * size)
        scores = q[:, part] @ k[:, part].T / math.sqrt(size)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        looks.append(weights[0])
        heads.append(weights @ v[:, part])
    x = x + state.get("scale1", 1.0) * linear(np.concatenate(heads, axis=-1), "proj")
    hidden = linear(norm(x, "norm2"), "fc1")
    gelu = hidden * 0.5 * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2)))
    return x + state.get("scale2", 1.0) * linear(gelu, "fc2"), np.stack(looks)


@each_variant
def test_block_equals_the_formulas(shape: ViTShape) -> None:
    block = block_of(small_vit(shape), 0)
    # Small inputs, so that the epsilon of the norms matters.
    x = torch.randn(2, 7, shape.width) * 3e-3
    result = block(x)
    for row, tokens in zip(result, x, strict=True):
        expected, _ = plain_block(block, tokens.double().numpy(), shape.eps)
        np.testing.assert_allclose(row.numpy(), expected, atol=2e-5)


@each_variant
def test_attention_of_the_class_token_equals_the_formulas(shape: ViTShape) -> None:
    block = block_of(small_vit(shape), 1)
    x = torch.randn(2, 7, shape.width)
    weights = block.cls_attention(x)
    assert weights.shape == (2, shape.heads, 7 + shape.bias_kv)
    for row, tokens in zip(weights, x, strict=True):
        _, expected = plain_block(block, tokens.double().numpy(), shape.eps)
        np.testing.assert_allclose(row.numpy(), expected, atol=1e-6)


@each_variant
def test_a_token_alone_attends_to_itself(shape: ViTShape) -> None:
    """As if it were the only one, whatever its neighbours are."""
    block = block_of(small_vit(shape), 0)
    x = torch.randn(2, 5, shape.width)
    alone = block.alone(x)
    if not shape.bias_kv:  # which is one more to attend to, even for the only token
        for place in range(5):
            only = block(x[:, place : place + 1])
            assert torch.allclose(alone[:, place : place + 1], only, atol=1e-5)
    others = torch.cat([x[:, :1], torch.randn(2, 4, shape.width)], dim=1)
    assert torch.allclose(block.alone(others)[:, 0], alone[:, 0], atol=1e-5)
    assert float((block(x) - alone).abs().max()) > 0.01


def test_a_learned_key_equals_that_of_torch() -> None:
    # The second opinion: torch's own attention with `add_bias_kv`, which the official code uses.
    shape = replace(SMALL, bias_kv=True)
    block = block_of(small_vit(shape), 0)
    theirs = nn.MultiheadAttention(shape.width, shape.heads, add_bias_kv=True, batch_first=True)
    names = {"in_proj_weight": "qkv.weight", "in_proj_bias": "qkv.bias"}
    names |= {"out_proj.weight": "proj.weight", "out_proj.bias": "proj.bias"}
    state = block.state_dict()
    theirs.load_state_dict({key: state[names.get(key, key)] for key in theirs.state_dict()})
    x = torch.randn(2, 7, shape.width)
    with torch.no_grad():
        normed = block.norm1(x)
        expected = x + theirs(normed, normed, normed, need_weights=False)[0]
        expected = expected + block.fc2(F.gelu(block.fc1(block.norm2(expected))))
    assert torch.allclose(block(x), expected, atol=1e-5)


def test_variants_have_the_parameters_they_need_and_no_other() -> None:
    names = {key: set(ViTBlock(shape).state_dict()) for key, shape in VARIANTS.items()}
    plain = names["imagebind-vision, dino"]
    assert names["dinov2"] - plain == {"scale1", "scale2"}
    assert names["imagebind-audio"] - plain == {"bias_k", "bias_v"}


# --- entering and leaving ---


def test_run_in_parts_equals_run_at_once() -> None:
    net = small_vit()
    tokens = net.embed(torch.randn(2, 3, 20, 20))
    for cut in range(4):
        parts = net.run(net.run(tokens, stop=cut), first=cut)
        assert torch.equal(parts, net.run(tokens)), cut
    assert not torch.allclose(net.run(tokens), net.run(tokens, stop=2))
    assert torch.equal(net.run(tokens, stop=0), tokens)


def test_the_hook_sees_every_block_that_runs() -> None:
    net = small_vit()
    tokens = net.embed(torch.randn(2, 3, 20, 20))
    seen: dict[int, Tensor] = {}
    end = net.run(tokens, hook=collect({0, 1, 2}, seen))
    assert list(seen) == [0, 1, 2]
    for number, value in seen.items():
        assert torch.equal(value, net.run(tokens, stop=number + 1))
    assert torch.equal(end, seen[2])
    part: dict[int, Tensor] = {}
    net.run(seen[0], first=1, stop=2, hook=collect({0, 1, 2}, part))
    assert list(part) == [1]
    assert torch.equal(part[1], seen[1])


@pytest.mark.parametrize("number", [0, 1, 2])
def test_what_a_hook_returns_enters_the_next_block(number: int) -> None:
    net = small_vit()
    tokens = net.embed(torch.randn(1, 3, 20, 20))
    shift = torch.randn(tokens.shape)

    def add(block: int, x: Tensor) -> Tensor:
        return x + shift if block == number else x

    by_hand = net.run(net.run(tokens, stop=number + 1) + shift, first=number + 1)
    assert torch.equal(net.run(tokens, hook=add), by_hand)
    assert not torch.allclose(by_hand, net.run(tokens))


# --- positions ---


def test_positions_of_the_own_grid_are_not_resized() -> None:
    net = small_vit()
    net.patch_embed.weight.zero_()
    net.patch_embed.bias.zero_()
    tokens = net.embed(torch.zeros(1, 3, 20, 20))
    assert torch.equal(tokens[0, 1:], net.positions[0, 1:])
    assert torch.equal(tokens[0, 0], net.cls_token[0, 0] + net.positions[0, 0])


def test_tokens_are_row_by_row() -> None:
    net = small_vit()
    net.positions.zero_()
    image = torch.zeros(1, 3, 8, 12)
    plain = net.embed(image)
    image[:, :, 4:8, 8:12] = 1.0  # row 1, column 2 of a grid of 2 x 3
    changed = (net.embed(image) - plain).abs().amax(dim=2)[0]
    assert changed.nonzero().flatten().tolist() == [1 + 1 * 3 + 2]


def ramp(rows: int, columns: int) -> Trunk:
    """A trunk whose positions are (row, column) and whose class position is (100, 200)."""
    trunk = Trunk(ViTShape(width=2, depth=0, heads=1, table=(rows, columns))).requires_grad_(False)
    grid = torch.meshgrid(torch.arange(float(rows)), torch.arange(float(columns)), indexing="ij")
    trunk.positions[0, 0] = torch.tensor([100.0, 200.0])
    trunk.positions[0, 1:] = torch.stack(grid, dim=-1).view(-1, 2)
    return trunk


def cubic_on_a_ramp(places: NDArray[np.float64]) -> Tensor:
    """What cubic convolution (Keys 1981, a = -0.75) reads at places between 0, 1, 2, 3 ..."""
    t = places - np.floor(places)

    def near(d: NDArray[np.float64]) -> NDArray[np.float64]:
        return 1.25 * d**3 - 2.25 * d**2 + 1

    def far(d: NDArray[np.float64]) -> NDArray[np.float64]:
        return -0.75 * (d**3 - 5 * d**2 + 8 * d - 4)

    weights = (far(1 + t), near(t), near(1 - t), far(2 - t))
    value = sum(w * (np.floor(places) + k) for w, k in zip(weights, range(-1, 3), strict=True))
    return torch.from_numpy(np.asarray(value)).float()


def test_resized_positions_keep_rows_and_columns_apart() -> None:
    places = ramp(6, 8).positions_at((12, 16))
    assert places.shape == (1, 1 + 12 * 16, 2)
    assert places[0, 0].tolist() == [100.0, 200.0]
    grid = places[0, 1:].view(12, 16, 2)
    # Away from the borders. Centres of patches are kept, corners aren't aligned.
    rows = cubic_on_a_ramp((np.arange(12) + 0.5) / 2 - 0.5)
    columns = cubic_on_a_ramp((np.arange(16) + 0.5) / 2 - 0.5)
    assert torch.allclose(grid[4:8, 5, 0], rows[4:8], atol=1e-5)
    assert torch.allclose(grid[5, 4:12, 1], columns[4:12], atol=1e-5)


def test_an_offset_moves_the_positions_by_its_share() -> None:
    trunk = ramp(8, 8)
    trunk.shape = replace(trunk.shape, offset=0.1)
    grid = trunk.positions_at((16, 16))[0, 1:].view(16, 16, 2)
    columns = cubic_on_a_ramp((np.arange(16) + 0.5) * 8 / 16.1 - 0.5)
    assert torch.allclose(grid[7, 4:12, 1], columns[4:12], atol=1e-5)
    assert torch.equal(trunk.positions_at((8, 8)), trunk.positions)


@pytest.mark.parametrize("side", [14, 20, 28, 31, 37, 50])
def test_every_grid_comes_out_with_and_without_an_offset(side: int) -> None:
    trunk = ramp(37, 37)
    for offset in (0.0, 0.1):
        trunk.shape = replace(trunk.shape, offset=offset)
        assert trunk.positions_at((side, side)).shape == (1, 1 + side * side, 2)


def test_sides_are_multiples_of_the_patch() -> None:
    assert patches_of(448, 14) == 32
    for side in (0, 13, 223, -14):
        with pytest.raises(ConfigError, match=f"side {side} px"):
            patches_of(side, 14)


# --- half precision ---


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@each_variant
def test_half_precision_keeps_tokens_and_norms_in_float32(
    shape: ViTShape, dtype: torch.dtype
) -> None:
    net, half = small_vit(shape), small_vit(shape)
    place = placed_on(half, "cpu", dtype)
    state = {key: place(key, value) for key, value in half.state_dict().items()}
    half.load_state_dict(state, assign=True)
    for key, value in half.named_parameters():
        matrix = any(part in key for part in ("qkv", "proj", "fc1", "fc2", "patch_embed"))
        assert value.dtype == (dtype if matrix else torch.float32), key
    image = torch.randn(2, 3, 20, 20)
    exact, tokens = net.run(net.embed(image)), half.run(half.embed(image))
    assert tokens.dtype == torch.float32
    # Eight bits of bfloat16 give 0.4 % for a product; ten times less in float16.
    error = (tokens - exact).norm() / exact.norm()
    assert 0 < float(error) < (0.03 if dtype == torch.bfloat16 else 0.004)
    weights = block_of(half, 0).cls_attention(half.embed(image))
    assert weights.dtype == torch.float32
    assert torch.allclose(weights.sum(-1), torch.ones(()), atol=1e-5)
