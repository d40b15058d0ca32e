"""Pictures come to the transformers as the official transforms make them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from data.make_reference import load
from PIL import Image
from torch import Tensor

from moca_core.models.imagebind import MEAN, STD
from moca_core.models.pictures import centre_crop, normalised, squash

# Stated by the README of the reference vectors; another Pillow may move a pixel by 1 / 255.
TOLERANCE = 1e-6
ONE_STEP = 1 / 255 / min(STD) + TOLERANCE

CASES = ("landscape", "portrait_odd", "small_upscaled")


@pytest.fixture(scope="module")
def reference() -> dict[str, Tensor]:
    return load("imagebind_pictures")


@pytest.mark.parametrize("case", CASES)
def test_the_official_transform(reference: dict[str, Tensor], case: str) -> None:
    rgb = reference[f"{case}.image_uint8"].numpy()
    x = normalised([centre_crop(rgb, 224, 224)], MEAN, STD)
    assert x.shape == (1, 3, 224, 224)
    error = (x[0, :, ::4, ::4] - reference[f"{case}.expected_slice"]).abs()
    assert float(error.max()) < ONE_STEP
    # Pixels that another Pillow moved are few; a wrong crop moves nearly all.
    assert float((error > TOLERANCE).float().mean()) < 0.01


@pytest.mark.parametrize("height, width", [(217, 224), (224, 217)])
def test_the_crop_takes_the_even_offset_at_a_half(height: int, width: int) -> None:
    # A side of 231 leaves 7 px: the official code starts at round(3.5) = 4; one of 229 at 2.
    for longer, start in ((231, 4), (229, 2)):
        ramp = np.arange(longer, dtype=np.uint8)
        shape = (224, longer) if width >= height else (longer, 224)
        along = ramp[None, :] if width >= height else ramp[:, None]
        rgb = np.broadcast_to(along[..., None], (*shape, 3)).copy()
        crop = centre_crop(rgb, 224, 224)
        assert crop.shape == (224, 224, 3)
        assert crop[0, 0, 0] == start
        assert crop[-1, -1, 0] == start + 223


def test_a_crop_smaller_than_the_shorter_side() -> None:
    rgb = np.zeros((256, 256, 3), dtype=np.uint8)
    rgb[16:240, 16:240] = 255
    assert (centre_crop(rgb, 256, 224) == 255).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (3, 2), (255, 383)])
def test_squash_keeps_the_whole_picture(size: tuple[int, int]) -> None:
    rgb = np.random.default_rng(3).integers(0, 256, (*size, 3), dtype=np.uint8)
    squashed = squash(rgb, 224)
    assert squashed.shape == (224, 224, 3)
    assert abs(float(squashed.mean()) - float(rgb.mean())) < 12
    expected = Image.fromarray(rgb).resize((224, 224), Image.Resampling.BICUBIC)
    assert (squashed == np.array(expected)).all()


def test_a_square_of_the_right_size_is_not_touched() -> None:
    rgb = np.random.default_rng(3).integers(0, 256, (28, 28, 3), dtype=np.uint8)
    assert (squash(rgb, 28) == rgb).all()


def test_normalised_keeps_pictures_and_channels_apart() -> None:
    rgb = np.zeros((2, 4, 3), dtype=np.uint8)
    rgb[..., 1] = 255
    rgb[1, 3] = 51
    x = normalised([rgb, 255 - rgb], (0.5, 0.25, 0.0), (0.5, 0.25, 2.0))
    assert x.shape == (2, 3, 2, 4)
    assert x[0, :, 0, 0].tolist() == [-1.0, 3.0, 0.0]
    assert x[1, :, 0, 0].tolist() == [1.0, -1.0, 0.5]
    assert torch.allclose(x[0, :, 1, 3], torch.tensor([-0.6, -0.2, 0.1]))
