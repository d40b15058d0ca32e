"""EfficientNet-lite0 equals its reference vectors; padding, fusing and the dense map hold."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from data.make_reference import load
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from moca_core.errors import ConfigError
from moca_core.models.checkpoint import load_strictly, read_torch
from moca_core.models.efficientnet_lite import (
    CLASSES,
    VARIANTS,
    EfficientNetLite,
    SameConv,
    resize,
)

# Stated by the README of the reference vectors, absolute.
FEATURES = 5e-4
LOGITS = 1e-4
# Probabilities of logits within `LOGITS`.
PROBABILITIES = LOGITS

FILES = {
    "lite0": "efficientnet-lite0-57934424.pth",
    "lite2": "efficientnet-lite2-9656183e.pth",
}
CATS = {281, 282, 283, 284, 285}
"""ImageNet's domestic cats, tabby to Egyptian."""


@pytest.fixture(scope="module")
def reference() -> dict[str, Tensor]:
    return load("efficientnet_lite0")


@pytest.fixture(scope="module")
def photo() -> NDArray[np.uint8]:
    return load("photo")["input.image"].numpy()


@pytest.fixture(scope="module")
def net(weights_dir: Path) -> EfficientNetLite:
    return EfficientNetLite.from_file(weights_dir / FILES["lite0"], "lite0")


def stretched(photo: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The photograph as the reference saw it: PIL bicubic to a square."""
    return np.array(Image.fromarray(photo).resize((side, side), Image.Resampling.BICUBIC))


def furthest(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).abs().max())


def noise(*size: int) -> NDArray[np.uint8]:
    return np.random.default_rng(11).integers(0, 256, size, dtype=np.uint8)


# --- against the reference ---


@pytest.mark.weights
@pytest.mark.parametrize("side", [224, 448])
def test_features_and_logits_equal_the_reference(
    net: EfficientNetLite, reference: dict[str, Tensor], photo: NDArray[np.uint8], side: int
) -> None:
    picture = stretched(photo, side)
    every = side // 14 if side == 224 else side // 28
    np.testing.assert_array_equal(
        picture[::every, ::every], reference[f"expected.{side}.resized_uint8_slice"]
    )
    x = net.normalise(picture[None])
    features = net.features(x)
    assert features.shape == (1, 1280, side // 32, side // 32)
    cut = features[0, ::4] if side == 224 else features[0, ::8, ::2, ::2]
    assert furthest(cut, reference[f"expected.{side}.features_slice"]) < FEATURES
    mean = reference[f"expected.{side}.features_channel_mean"]
    assert furthest(features[0].mean(dim=(1, 2)), mean) < FEATURES
    logits = net(x)[0]
    assert furthest(logits, reference[f"expected.{side}.logits"]) < LOGITS
    top = reference[f"expected.{side}.top10_index"]
    assert logits.topk(10).indices.tolist() == top.tolist()


@pytest.mark.weights
def test_fused_equals_unfused(
    net: EfficientNetLite, weights_dir: Path, photo: NDArray[np.uint8]
) -> None:
    path = weights_dir / FILES["lite0"]
    plain = EfficientNetLite("lite0")
    load_strictly(plain, read_torch(path), path)
    plain.eval().requires_grad_(False)
    norms = [m for m in plain.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert {norm.eps for norm in norms} == {1e-3}
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in net.modules())
    x = net.normalise(stretched(photo, 224)[None])
    assert furthest(plain.features(x), net.features(x)) < FEATURES
    assert furthest(plain(x), net(x)) < LOGITS


@pytest.mark.weights
@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_every_variant_sees_the_cat(
    weights_dir: Path, photo: NDArray[np.uint8], variant: str
) -> None:
    net = EfficientNetLite.from_file(weights_dir / FILES[variant], variant)
    side = VARIANTS[variant].side
    probabilities = net.probabilities(stretched(photo, side)[None])[0]
    assert int(probabilities.argmax()) in CATS
    assert float(probabilities[list(CATS)].sum()) > 0.5


@pytest.mark.weights
def test_a_batch_equals_its_pictures(net: EfficientNetLite, photo: NDArray[np.uint8]) -> None:
    crops = np.stack([stretched(photo, 96), 255 - stretched(photo, 96), noise(96, 96, 3)])
    together = net.probabilities(crops, batch=2)
    assert together.shape == (3, CLASSES)
    for row, crop in zip(together, crops, strict=True):
        assert furthest(row, net.probabilities(crop[None])[0]) < PROBABILITIES
    assert net.probabilities(np.zeros((0, 96, 96, 3), dtype=np.uint8)).shape == (0, CLASSES)


# --- the dense map ---


@pytest.mark.weights
@pytest.mark.parametrize("size", [(224, 224), (96, 160), (320, 32), (32, 32)])
def test_other_sizes(net: EfficientNetLite, size: tuple[int, int]) -> None:
    x = net.normalise(noise(1, *size, 3))
    assert net.features(x).shape == (1, 1280, size[0] // 32, size[1] // 32)
    probabilities = net.dense_probabilities(noise(*size, 3), max(size))
    assert probabilities.shape == (CLASSES, size[0] // 32, size[1] // 32)
    assert probabilities.dtype == torch.float32
    assert torch.allclose(probabilities.sum(dim=0), torch.ones(()), atol=1e-5)


@pytest.mark.weights
def test_dense_map_is_the_classifier_at_every_location(
    net: EfficientNetLite, photo: NDArray[np.uint8]
) -> None:
    picture = stretched(photo, 160)
    dense = net.dense_probabilities(picture, 160)
    features = net.features(net.normalise(picture[None]))[0]
    for row, column in ((0, 0), (1, 4), (4, 2)):
        one = (net._fc(features[:, row, column])).softmax(dim=0)
        assert furthest(dense[:, row, column], one) < PROBABILITIES
    # The classifier is linear, so its mean over the locations is the whole picture's logits.
    logits = F.linear(features.flatten(1).T, net._fc.weight, net._fc.bias).mean(dim=0)
    assert furthest(logits, net(net.normalise(picture[None]))[0]) < LOGITS


@pytest.mark.weights
def test_dense_map_finds_the_cat_on_its_side(
    net: EfficientNetLite, photo: NDArray[np.uint8]
) -> None:
    wide = np.full((255, 3 * 384, 3), 127, dtype=np.uint8)
    wide[:, 2 * 384 :] = photo
    cats = net.dense_probabilities(wide, 896)[list(CATS)].sum(dim=0)  # (6, 28)
    assert cats.shape == (6, 28)
    assert float(cats[:, 19:].max()) > 0.5
    assert float(cats[:, :14].max()) < 0.1


@pytest.mark.weights
@pytest.mark.parametrize(
    ("size", "grid"),
    [((1, 1), (7, 7)), ((1, 3000), (1, 7)), ((3000, 2), (7, 1)), ((255, 383), (5, 7))],
)
def test_odd_pictures(net: EfficientNetLite, size: tuple[int, int], grid: tuple[int, int]) -> None:
    probabilities = net.dense_probabilities(noise(*size, 3), 224)
    assert probabilities.shape == (CLASSES, *grid)
    assert bool(probabilities.isfinite().all())


@pytest.mark.weights
def test_longer_side_must_be_a_multiple_of_32(net: EfficientNetLite) -> None:
    with pytest.raises(ConfigError, match="longer side 100 px"):
        net.dense_probabilities(noise(50, 50, 3), 100)


# --- without weights ---


def same_by_hand(x: NDArray[np.float64], kernel: NDArray[np.float64], stride: int) -> NDArray:
    """One channel, TensorFlow's rule: output ceil(n / stride), the odd pixel right and below."""
    size, side = kernel.shape[0], x.shape[0]
    out = math.ceil(side / stride)
    total = max((out - 1) * stride + size - side, 0)
    padded = np.zeros((side + total, side + total))
    before = total // 2
    padded[before : before + side, before : before + side] = x
    result = np.zeros((out, out))
    for row in range(out):
        for column in range(out):
            y, z = row * stride, column * stride
            result[row, column] = (padded[y : y + size, z : z + size] * kernel).sum()
    return result


@pytest.mark.parametrize("side", [7, 8, 9])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2), (5, 1), (5, 2)])
def test_same_padding(side: int, kernel: int, stride: int) -> None:
    torch.manual_seed(0)
    conv = SameConv(1, 1, kernel, stride, bias=False).double()
    x = torch.randn(side, side, dtype=torch.float64)
    with torch.no_grad():
        result = conv(x[None, None])[0, 0].numpy()
        expected = same_by_hand(x.numpy(), conv.weight[0, 0].numpy(), stride)
    np.testing.assert_allclose(result, expected, atol=1e-12)


def test_same_padding_of_unequal_sides() -> None:
    conv = SameConv(2, 3, 3, 2)
    assert conv(torch.zeros(1, 2, 7, 12)).shape == (1, 3, 4, 6)


def test_normalise() -> None:
    net = EfficientNetLite("lite0")
    pixels = np.array([[[[0, 127, 255]]]], dtype=np.uint8)
    x = net.normalise(pixels)
    assert x.shape == (1, 3, 1, 1)
    assert x.flatten().tolist() == [-127 / 128, 0.0, 1.0]
    # A crop that isn't contiguous is taken too.
    assert net.normalise(noise(1, 8, 8, 3)[:, ::2, ::-1]).shape == (1, 3, 4, 8)


def test_resize_takes_means_where_it_shrinks() -> None:
    # Columns of 0 and 200: sampling single pixels would keep the stripes.
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, 1::2] = 200
    assert np.unique(resize(stripes, 32, 32)).tolist() == [100]
    grown = resize(stripes[:4, :4], 8, 8)
    assert grown.shape == (8, 8, 3)
    assert grown.dtype == np.uint8


def test_widths_of_lite2() -> None:
    widths = [block._project_conv.out_channels for block in EfficientNetLite("lite2")._blocks]
    assert sorted(set(widths)) == [16, 24, 48, 88, 120, 208, 352]
    assert len(widths) == 1 + 3 + 3 + 4 + 4 + 5 + 1
