"""MobileSAM equals the official one: preprocessing, each stage, embedding, masks of prompts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from data.make_reference import load
from numpy.typing import NDArray
from torch import Tensor, nn

from moca_core.errors import ConfigError
from moca_core.models.checkpoint import load_strictly, read_torch
from moca_core.models.sam import MobileSam, SamEmbedding
from moca_core.models.tinyvit import AttentionBlock, TinyViT, WindowAttention

# Stated by the README of the reference vectors, absolute.
EMBEDDING = 2e-4
STAGES = 2e-3
LOGITS = 5e-3
IOU = 1e-3
MASKS = 0.995
# "preprocessing 0": the same operations in the same order.
PREPROCESSED = 1e-6

# Without padding the encoder sees other borders: measured on the photograph, cosine 0.978 on
# average, masks of the prompts at IoU 0.965 and more, their quality within 0.055. A shifted or
# stretched grid, or the wrong padding, gives masks below 0.9.
UNPADDED_COSINE = 0.96
UNPADDED_MASKS = 0.95
UNPADDED_QUALITY = 0.08

PROMPTS = ("point_a", "two_points", "box")
FILE = "mobile_sam.pt"


@dataclass(frozen=True)
class Encoded:
    """The photograph as one model sees it, with what its stages gave out."""

    model: MobileSam
    embedding: SamEmbedding
    stages: dict[str, Tensor]


@pytest.fixture(scope="module")
def reference() -> dict[str, Tensor]:
    return load("mobile_sam")


@pytest.fixture(scope="module")
def photo() -> NDArray[np.uint8]:
    return load("photo")["input.image"].numpy()


@pytest.fixture(scope="module")
def padded(weights_dir: Path, photo: NDArray[np.uint8]) -> Encoded:
    """The official way, encoded once for all tests."""
    model = MobileSam.from_file(weights_dir / FILE, square=True)
    stages: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, given: Any, output: Tensor) -> None:
            stages[name] = output

        return hook

    encoder = model.image_encoder
    named = {"patch_embed": encoder.patch_embed}
    named.update({f"layer{number}": layer for number, layer in enumerate(encoder.layers)})
    handles = [module.register_forward_hook(keep(name)) for name, module in named.items()]
    embedding = model.embed(photo)
    for handle in handles:
        handle.remove()
    return Encoded(model, embedding, stages)


@pytest.fixture(scope="module")
def unpadded(weights_dir: Path, photo: NDArray[np.uint8]) -> Encoded:
    model = MobileSam.from_file(weights_dir / FILE, square=False)
    return Encoded(model, model.embed(photo), {})


@pytest.fixture(scope="module")
def small(weights_dir: Path) -> MobileSam:
    """At a quarter of the resolution, for what doesn't depend on it."""
    return MobileSam.from_file(weights_dir / FILE, longest_side=256)


def prompt_of(reference: dict[str, Tensor], prompt: str) -> dict[str, NDArray]:
    if prompt == "box":
        return {"boxes": reference["input.box.box"][None].numpy()}
    return {
        "points": reference[f"input.{prompt}.point_coords"][None].numpy(),
        "labels": reference[f"input.{prompt}.point_labels"][None].numpy(),
    }


def masks_of(logits: Tensor, embedding: SamEmbedding) -> Tensor:
    """(M, h, w) logits -> (M, H, W) bool at the picture's size, as the official code does it."""
    larger = F.interpolate(logits[None], scale_factor=4, mode="bilinear", align_corners=False)
    larger = larger[..., : embedding.resized[0], : embedding.resized[1]]
    return F.interpolate(larger, size=embedding.size, mode="bilinear", align_corners=False)[0] > 0


def expected_masks(reference: dict[str, Tensor], case: str) -> Tensor:
    packed = reference[f"{case}.masks_packed"].numpy()
    bits = np.unpackbits(packed, axis=1)[:, : 255 * 384]
    return torch.from_numpy(bits.reshape(-1, 255, 384).astype(bool))


def overlap(a: Tensor, b: Tensor) -> list[float]:
    """IoU of each pair of masks."""
    union = (a | b).sum((-2, -1)).clamp(min=1)
    return ((a & b).sum((-2, -1)) / union).tolist()


def furthest(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).abs().max())


CASES = [
    pytest.param(prompt, multimask, id=f"{prompt}-multi{int(multimask)}")
    for prompt in PROMPTS
    for multimask in (True, False)
]


# --- against the official implementation ---


@pytest.mark.weights
def test_preprocessing(
    padded: Encoded, reference: dict[str, Tensor], photo: NDArray[np.uint8]
) -> None:
    x = padded.model.preprocess([photo])
    assert padded.model.resized(255, 384) == (680, 1024)
    assert x.shape == (1, 3, 1024, 1024)
    assert furthest(x[:, :, ::16, ::16], reference["expected.preprocessed_slice"]) < PREPROCESSED
    # The pixels themselves, found back from the normalised ones.
    std = torch.tensor((58.395, 57.12, 57.375)).view(3, 1, 1)
    mean = torch.tensor((123.675, 116.28, 103.53)).view(3, 1, 1)
    pixels = (x[0, :, :680] * std + mean).round().to(torch.uint8).permute(1, 2, 0)
    assert torch.equal(pixels[::8, ::8], reference["expected.resized_uint8_slice"])
    assert float(x[:, :, 680:].abs().max()) == 0.0


@pytest.mark.weights
def test_every_stage(padded: Encoded, reference: dict[str, Tensor]) -> None:
    cut = padded.stages["patch_embed"][:, ::8, ::16, ::16]
    assert furthest(cut, reference["expected.encoder.patch_embed_slice"]) < STAGES
    for number in range(4):
        tokens = padded.stages[f"layer{number}"].flatten(2).transpose(1, 2)
        expected = reference[f"expected.encoder.layer{number}_slice"]
        assert furthest(tokens[:, ::64, ::8], expected) < STAGES, f"layer {number}"


@pytest.mark.weights
def test_embedding(padded: Encoded, reference: dict[str, Tensor]) -> None:
    features = padded.embedding.features
    assert features.shape == (1, 256, 64, 64)
    assert features.dtype == torch.float32
    assert features.is_contiguous()
    cut = features[:, ::4, ::4, ::4]
    assert furthest(cut, reference["expected.image_embedding_slice"]) < EMBEDDING
    channels = features[0].flatten(1)
    assert furthest(channels.mean(1), reference["expected.embedding_channel_mean"]) < EMBEDDING
    assert furthest(channels.std(1), reference["expected.embedding_channel_std"]) < EMBEDDING


@pytest.mark.weights
@pytest.mark.parametrize(("prompt", "multimask"), CASES)
def test_masks_of_prompts(
    padded: Encoded, reference: dict[str, Tensor], prompt: str, multimask: bool
) -> None:
    given = prompt_of(reference, prompt)
    logits, iou = padded.model.decode(padded.embedding, multimask=multimask, **given)
    case = f"expected.{prompt}.multi{int(multimask)}"
    count = 3 if multimask else 1
    assert logits.shape == (1, count, 170, 256)  # 680 x 1024 by four: the padding is cut off
    low_res = reference[f"{case}.low_res_slice"][:, :43]
    assert furthest(logits[0, :, ::4, ::4], low_res) < LOGITS
    assert furthest(iou[0], reference[f"{case}.iou"]) < IOU
    masks = masks_of(logits[0], padded.embedding)
    assert min(overlap(masks, expected_masks(reference, case))) >= MASKS


# --- without padding ---


@pytest.mark.weights
def test_unpadded_embedding_is_near_the_padded_one(padded: Encoded, unpadded: Encoded) -> None:
    features = unpadded.embedding.features
    assert features.shape == (1, 256, 43, 64)  # 680 rows are padded to 688 only
    assert unpadded.embedding.resized == padded.embedding.resized == (680, 1024)
    cosine = F.cosine_similarity(features, padded.embedding.features[:, :, :43])
    assert float(cosine.mean()) > UNPADDED_COSINE
    # Far from the border that differs, it hardly matters.
    assert float(cosine[:, :16].mean()) > 0.995


@pytest.mark.weights
@pytest.mark.parametrize(("prompt", "multimask"), CASES)
def test_unpadded_masks_are_near_the_official_ones(
    unpadded: Encoded, reference: dict[str, Tensor], prompt: str, multimask: bool
) -> None:
    given = prompt_of(reference, prompt)
    logits, iou = unpadded.model.decode(unpadded.embedding, multimask=multimask, **given)
    case = f"expected.{prompt}.multi{int(multimask)}"
    masks = masks_of(logits[0], unpadded.embedding)
    assert min(overlap(masks, expected_masks(reference, case))) >= UNPADDED_MASKS
    assert furthest(iou[0], reference[f"{case}.iou"]) < UNPADDED_QUALITY


# --- many prompts on one picture ---


@pytest.mark.weights
@pytest.mark.parametrize("batch", [1, 3, 8])
def test_prompts_together_equal_one_by_one(small: MobileSam, batch: int) -> None:
    embedding = small.embed(load("photo")["input.image"].numpy())
    chance = np.random.default_rng(2)
    points = chance.uniform((0, 0), (384, 255), (7, 2, 2)).astype(np.float32)
    labels = chance.integers(0, 2, (7, 2))
    logits, iou = small.decode(embedding, points, labels, batch=batch)
    assert logits.shape == (7, 3, 42, 64)  # 170 x 256 by four
    assert iou.shape == (7, 3)
    for number in range(7):
        part = slice(number, number + 1)
        alone, quality = small.decode(embedding, points[part], labels[part])
        assert furthest(logits[part], alone) < LOGITS
        assert furthest(iou[part], quality) < IOU


@pytest.mark.weights
def test_boxes_with_points_in_one_batch(small: MobileSam, photo: NDArray[np.uint8]) -> None:
    embedding = small.embed(photo)
    boxes = np.array([[50, 20, 300, 250], [196, 185, 252, 228]], dtype=np.float32)
    points = boxes.reshape(2, 2, 2).mean(axis=1, keepdims=True)
    ones = np.ones((2, 1), dtype=np.int64)
    logits, _ = small.decode(embedding, points, ones, boxes, multimask=False)
    for number in range(2):
        part = slice(number, number + 1)
        alone, _ = small.decode(embedding, points[part], ones[part], boxes[part], multimask=False)
        assert furthest(logits[part], alone) < LOGITS
    assert not torch.equal(logits[0], logits[1])


@pytest.mark.weights
def test_no_prompts_give_no_masks(small: MobileSam, photo: NDArray[np.uint8]) -> None:
    embedding = small.embed(photo)
    none = np.zeros((0, 1, 2), dtype=np.float32)
    logits, iou = small.decode(embedding, none, np.zeros((0, 1), dtype=np.int64))
    assert logits.shape == (0, 3, 42, 64)
    assert iou.shape == (0, 3)
    assert small.decode(embedding, boxes=np.zeros((0, 4)), multimask=False)[0].shape[:2] == (0, 1)


@pytest.mark.weights
def test_the_mask_lies_under_its_point(small: MobileSam) -> None:
    """On a picture higher than wide: neither x and y nor their scales are mixed up."""
    rgb = np.full((400, 150, 3), 60, dtype=np.uint8)
    rgb[300:360, 90:140] = (250, 240, 60)
    truth = torch.zeros(400, 150, dtype=torch.bool)
    truth[300:360, 90:140] = True
    embedding = small.embed(rgb)
    ones = np.ones((1, 1), dtype=np.int64)
    three, _ = small.decode(embedding, np.array([[[115, 330]]], dtype=np.float32), ones)
    # So small a picture is seen coarsely: one of the three masks is the field (measured 0.93).
    assert max(overlap(masks_of(three[0], embedding), truth)) > 0.85
    box = np.array([[90, 300, 140, 360]], dtype=np.float32)
    one, _ = small.decode(embedding, boxes=box, multimask=False)
    assert overlap(masks_of(one[0], embedding), truth)[0] > 0.85


@pytest.mark.weights
def test_each_axis_has_its_own_scale(small: MobileSam) -> None:
    """3 rows of 500 pixels become 2 rows of 256: by 2/3 downwards, by 0.512 to the right."""
    embedding = small.embed(np.zeros((3, 500, 3), dtype=np.uint8))
    given: list[Any] = []
    handle = small.prompt_encoder.register_forward_pre_hook(lambda _, args: given.append(args))
    small.decode(
        embedding,
        np.array([[[250, 1.5]]], dtype=np.float32),
        np.ones((1, 1), dtype=np.int64),
        np.array([[0, 0, 500, 3]], dtype=np.float32),
    )
    handle.remove()
    points, _, boxes = given[0]
    assert points.flatten().tolist() == pytest.approx([128, 1])
    assert boxes.flatten().tolist() == pytest.approx([0, 0, 256, 2])


# --- sizes ---


@pytest.mark.weights
@pytest.mark.parametrize("square", [False, True], ids=["unpadded", "padded"])
@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (40, 61), (255, 2)])
def test_odd_pictures(
    weights_dir: Path, small: MobileSam, size: tuple[int, int], square: bool
) -> None:
    small.square = square
    try:
        rgb = np.random.default_rng(4).integers(0, 256, (*size, 3), dtype=np.uint8)
        embedding = small.embed(rgb)
        height, width = (max(1, int(side * 256 / max(size) + 0.5)) for side in size)
        assert embedding.resized == (height, width)
        assert embedding.size == size
        grid = (16, 16) if square else (-(-height // 16), -(-width // 16))
        assert embedding.features.shape == (1, 256, *grid)
        logits, _ = small.decode(
            embedding, np.zeros((1, 1, 2), dtype=np.float32), np.ones((1, 1), dtype=np.int64)
        )
        assert logits.shape == (1, 3, max(1, round(height / 4)), max(1, round(width / 4)))
        assert bool(logits.isfinite().all())
    finally:
        small.square = False


def test_longest_side_must_be_a_multiple_of_16() -> None:
    with pytest.raises(ConfigError, match="longest side 1000 px"):
        MobileSam(longest_side=1000)


# --- the encoder's parts ---


@pytest.mark.weights
def test_fused_equals_unfused(small: MobileSam, weights_dir: Path) -> None:
    plain = MobileSam(longest_side=256)
    path = weights_dir / FILE
    unused = ("image_encoder.norm_head.", "image_encoder.head.")
    load_strictly(plain, read_torch(path), path, unused)
    plain.eval().requires_grad_(False)
    assert any(isinstance(m, nn.BatchNorm2d) for m in plain.modules())
    assert not any(isinstance(m, nn.BatchNorm2d) for m in small.modules())
    x = small.preprocess([load("photo")["input.image"].numpy()])
    before = plain.image_encoder(x)
    assert furthest(before, small.image_encoder(x)) < EMBEDDING
    plain.image_encoder.fuse()
    plain.image_encoder.fuse()  # a second time changes nothing
    assert furthest(before, plain.image_encoder(x)) < EMBEDDING


@pytest.mark.weights
def test_a_batch_equals_its_pictures(small: MobileSam, photo: NDArray[np.uint8]) -> None:
    """Pictures of one size go together, whatever lies between them."""
    pictures = [photo, photo[:100].copy(), photo[::-1].copy(), photo[:, ::-1].copy()]
    sizes: list[int] = []
    handle = small.image_encoder.register_forward_pre_hook(
        lambda _, args: sizes.append(len(args[0]))
    )
    together = small.encode(pictures, batch=2)
    handle.remove()
    assert sizes == [2, 1, 1]
    for found, one in zip(together, pictures, strict=True):
        alone = small.embed(one)
        assert (found.size, found.resized) == (one.shape[:2], alone.resized)
        assert furthest(found.features, alone.features) < EMBEDDING
    assert small.encode([]) == []


def test_windows_are_apart() -> None:
    """What happens in one window stays there, with windows that don't divide the picture."""
    torch.manual_seed(0)
    block = AttentionBlock(8, 2, 4).eval().requires_grad_(False)
    block.attn.attention_biases.normal_()
    x = torch.randn(1, 6, 10, 8)
    before = block._attend(x)
    assert before.shape == x.shape
    changed = x.clone()
    changed[0, 5, 9, 0] += 3.0  # rows 4 to 5, columns 8 to 9
    difference = (block._attend(changed) - before).abs().amax(dim=-1)[0] > 1e-6
    expected = torch.zeros(6, 10, dtype=torch.bool)
    expected[4:, 8:] = True
    assert torch.equal(difference, expected)


def test_bias_numbers_follow_the_order_of_first_meeting() -> None:
    # Two by two: the first token meets itself, its right, lower and diagonal neighbour.
    index = WindowAttention(4, 1, 2).bias_index
    assert index.tolist() == [[0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0]]


def test_padding_inside_an_attention_is_the_norm_of_zeros() -> None:
    """Padded tokens become the norm's bias and take part unmasked, as the model was trained."""
    torch.manual_seed(0)
    block = AttentionBlock(8, 2, 4).eval().requires_grad_(False)
    block.attn.norm.bias.normal_()
    x = torch.randn(1, 3, 3, 8)
    full = F.pad(x, (0, 0, 0, 1, 0, 1))
    expected = block.attn(full.reshape(1, 16, 8)).view(1, 4, 4, 8)[:, :3, :3]
    assert torch.allclose(block._attend(x), expected, atol=1e-6)


def test_shapes_of_any_multiple_of_16() -> None:
    encoder = TinyViT(width_out=8).eval()
    with torch.inference_mode():
        for rows, columns in ((16, 16), (48, 112), (160, 16)):
            assert encoder(torch.zeros(1, 3, rows, columns)).shape == (
                1,
                8,
                rows // 16,
                columns // 16,
            )
