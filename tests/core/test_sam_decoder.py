"""SAM's prompt encoder and mask decoder equal the official ones on a small random model."""

from __future__ import annotations

import pytest
import torch
from data.make_reference import load
from torch import Tensor, nn

from moca_core.models.sam_decoder import (
    Attention,
    DecoderShape,
    MaskDecoder,
    Positions,
    PromptEncoder,
    stability_score,
)
from moca_core.models.tinyvit import LayerNorm2d

# Stated by the README of the reference vectors, absolute.
MASKS = 2e-5
IOU = 5e-6
# Not stated there: prompt tokens are single sines and sums, dense prompts one small convolution.
TOKENS = 1e-5

# The configuration of the reference model; its decoder has 32 channels.
SHAPE = DecoderShape(width=32, heads=4, depth=2, mlp=64, mask_channels=16, iou_hidden=24, grid=16)
PROMPTS = ("point1", "points3", "box", "point_and_box", "point1_mask", "two_prompts")


class Tiny(nn.Module):
    """The two parts under the official names."""

    def __init__(self) -> None:
        super().__init__()
        self.prompt_encoder = PromptEncoder(SHAPE)
        self.mask_decoder = MaskDecoder(SHAPE)


@pytest.fixture(scope="module")
def reference() -> dict[str, Tensor]:
    return load("sam_tiny_decoder")


@pytest.fixture(scope="module")
def tiny(reference: dict[str, Tensor]) -> Tiny:
    model = Tiny()
    weights = {
        key.removeprefix("weight."): value
        for key, value in reference.items()
        if key.startswith("weight.")
    }
    model.load_state_dict(weights)  # strict: every official key, and no other
    return model.eval().requires_grad_(False)


def furthest(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).abs().max())


def sparse_of(tiny: Tiny, reference: dict[str, Tensor], prompt: str) -> Tensor:
    given = [reference.get(f"input.{prompt}.{what}") for what in ("points", "labels", "box")]
    return tiny.prompt_encoder(*given)


def dense_of(tiny: Tiny, reference: dict[str, Tensor], prompt: str) -> Tensor:
    if prompt == "point1_mask":
        return tiny.prompt_encoder.mask_downscaling(reference["input.mask_prompt"])
    return tiny.prompt_encoder.no_mask_embed.weight.view(1, -1, 1, 1)


def grid_of(tiny: Tiny) -> Tensor:
    return tiny.prompt_encoder.pe_layer.dense(SHAPE.grid, SHAPE.grid, SHAPE.grid)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_prompt_tokens(tiny: Tiny, reference: dict[str, Tensor], prompt: str) -> None:
    sparse = sparse_of(tiny, reference, prompt)
    assert furthest(sparse, reference[f"expected.{prompt}.sparse"]) < TOKENS


def test_dense_prompts(tiny: Tiny, reference: dict[str, Tensor]) -> None:
    assert furthest(grid_of(tiny)[:, :, ::3, ::3], reference["expected.dense_pe"]) < TOKENS
    dense = dense_of(tiny, reference, "point1_mask")
    assert furthest(dense, reference["expected.point1_mask.dense"]) < TOKENS


@pytest.mark.parametrize("multimask", [True, False], ids=["multi1", "multi0"])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_masks_and_iou(
    tiny: Tiny, reference: dict[str, Tensor], prompt: str, multimask: bool
) -> None:
    image = reference["expected.image_embedding"] + dense_of(tiny, reference, prompt)
    sparse = sparse_of(tiny, reference, prompt)
    masks, iou = tiny.mask_decoder(image, grid_of(tiny), sparse, multimask)
    case = f"expected.{prompt}.multi{int(multimask)}"
    step = 2 if prompt in PROMPTS[3:] else 1  # the README cuts the last three
    assert furthest(masks[:, :, ::step, ::step], reference[f"{case}.masks"]) < MASKS
    assert furthest(iou, reference[f"{case}.iou"]) < IOU


def test_epsilons(tiny: Tiny) -> None:
    """Of one norm alone it stays below the tolerance; of all together it doesn't (1.2e-4)."""
    assert {m.eps for m in tiny.modules() if isinstance(m, nn.LayerNorm)} == {1e-5}
    assert {m.eps for m in tiny.modules() if isinstance(m, LayerNorm2d)} == {1e-6}


def test_a_shared_picture_equals_a_picture_for_each_prompt(
    tiny: Tiny, reference: dict[str, Tensor]
) -> None:
    image = reference["expected.image_embedding"] + dense_of(tiny, reference, "point1")
    points = torch.rand(5, 2, 2, generator=torch.Generator().manual_seed(1)) * 256
    sparse = tiny.prompt_encoder(points, torch.tensor([[1, 0]]).expand(5, 2), None)
    together, quality = tiny.mask_decoder(image, grid_of(tiny), sparse)
    own, own_quality = tiny.mask_decoder(image.expand(5, -1, -1, -1), grid_of(tiny), sparse)
    assert furthest(together, own) < MASKS
    assert furthest(quality, own_quality) < IOU
    for number in range(5):
        alone, alone_quality = tiny.mask_decoder(image, grid_of(tiny), sparse[number : number + 1])
        assert furthest(together[number], alone[0]) < MASKS
        assert furthest(quality[number], alone_quality[0]) < IOU


def test_a_grid_that_is_no_square(tiny: Tiny, reference: dict[str, Tensor]) -> None:
    positions = tiny.prompt_encoder.pe_layer
    part = positions.dense(5, 16, SHAPE.grid)
    assert part.shape == (1, SHAPE.width, 5, 16)
    assert torch.equal(part, grid_of(tiny)[:, :, :5])
    image = reference["expected.image_embedding"][:, :, :5]
    masks, iou = tiny.mask_decoder(image, part, sparse_of(tiny, reference, "two_prompts"))
    assert masks.shape == (2, 3, 20, 64)
    assert iou.shape == (2, 3)


def test_positions_are_x_before_y() -> None:
    positions = Positions(4)
    # One frequency for x alone, and one for y alone.
    positions.positional_encoding_gaussian_matrix.copy_(torch.tensor([[0.25, 0.0], [0.0, 0.25]]))
    # (2 xy - 1) * frequency * 2 pi: a right angle to the right, and one upwards.
    tokens = positions(torch.tensor([[1.0, 0.5], [0.5, 0.0]]))
    assert torch.allclose(tokens[0], torch.tensor([1.0, 0.0, 0.0, 1.0]), atol=1e-6)
    assert torch.allclose(tokens[1], torch.tensor([0.0, -1.0, 1.0, 0.0]), atol=1e-6)


def test_order_of_points_and_labels(tiny: Tiny) -> None:
    points = torch.tensor([[[30.0, 40.0], [200.0, 10.0]]])
    on_off = tiny.prompt_encoder(points, torch.tensor([[1, 0]]), None)[0]
    off_on = tiny.prompt_encoder(points.flip(1), torch.tensor([[0, 1]]), None)[0]
    assert on_off.shape == (3, SHAPE.width)  # two points and the padding point
    assert torch.equal(on_off[0], off_on[1])
    assert torch.equal(on_off[1], off_on[0])
    nothing = tiny.prompt_encoder.not_a_point_embed.weight[0]
    assert torch.equal(on_off[2], nothing)
    # A missing point is the padding token wherever it lies.
    missing = tiny.prompt_encoder(points, torch.tensor([[1, -1]]), None)[0]
    assert torch.equal(missing[1], nothing)


def test_few_keys_is_the_same_attention() -> None:
    torch.manual_seed(0)
    attention = Attention(32, 4, 16).requires_grad_(False)
    for shared in (1, 3):
        query = torch.randn(shared, 50, 32)
        key, value = torch.randn(3, 6, 32), torch.randn(3, 6, 32)
        usual = torch.cat(
            [
                attention(query[min(k, shared - 1)][None], key[k : k + 1], value[k : k + 1])
                for k in range(3)
            ]
        )
        assert furthest(attention.few_keys(query, key, value), usual) < TOKENS


def test_layer_norm_2d_is_over_channels() -> None:
    norm = LayerNorm2d(5).requires_grad_(False)
    norm.weight.copy_(torch.arange(1.0, 6.0))
    norm.bias.copy_(torch.arange(5.0))
    x = torch.randn(2, 5, 3, 4, dtype=torch.float32, generator=torch.Generator().manual_seed(2))
    x = x * 1e-3  # small, so that the epsilon matters
    centred = x.double() - x.double().mean(1, keepdim=True)
    scale = (centred.square().mean(1, keepdim=True) + 1e-6).sqrt()
    expected = centred / scale * torch.arange(1.0, 6.0).view(5, 1, 1) + torch.arange(5.0).view(
        5, 1, 1
    )
    assert furthest(norm(x).double(), expected) < TOKENS


def test_stability_score() -> None:
    logits = torch.tensor([[[3.0, 0.5], [-0.5, -3.0]], [[2.0, 2.0], [2.0, 2.0]]])
    # Above +1: one pixel of the first; above -1: three. The second doesn't change.
    assert torch.allclose(stability_score(logits), torch.tensor([1 / 3, 1.0]))
    assert torch.allclose(stability_score(logits, offset=0.25), torch.tensor([1.0, 1.0]))
    assert stability_score(torch.full((2, 3, 4, 4), -9.0)).tolist() == [[0.0] * 3] * 2
