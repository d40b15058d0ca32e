"""COCO's run lengths: known strings, an independent oracle, round trips, damaged strings."""

from __future__ import annotations

import numpy as np
import pytest

from moca_core.errors import StorageError
from moca_core.pipeline import rle


def counts_of(mask):
    """Run lengths counted pixel by pixel down the columns, as COCO's documentation says."""
    counts, current = [0], False
    for column in range(mask.shape[1]):
        for row in range(mask.shape[0]):
            if bool(mask[row, column]) != current:
                counts.append(0)
                current = not current
            counts[-1] += 1
    return counts


def string_of(counts):
    """COCO's string by two's complement: the shortest run of 5-bit groups that holds the value."""
    text = ""
    for index, count in enumerate(counts):
        value = count - counts[index - 2] if index >= 3 else count
        groups = next(n for n in range(1, 20) if -(2 ** (5 * n - 1)) <= value < 2 ** (5 * n - 1))
        word = value % 2 ** (5 * groups)
        for group in range(groups):
            last = group == groups - 1
            text += chr(48 + (word // 32**group) % 32 + (0 if last else 32))
    return text


def blobs(rng, height, width, blur):
    """A random mask of larger or smaller patches."""
    noise = rng.standard_normal((height, width))
    for axis, size in enumerate((height, width)):
        kernel = np.ones(min(blur, size)) / blur
        noise = np.apply_along_axis(np.convolve, axis, noise, kernel, "same")
    return noise > rng.normal(0, 0.3 / blur)


@pytest.mark.parametrize(
    ("mask", "counts"),
    [
        (np.zeros((3, 3), bool), "9"),
        (np.ones((3, 3), bool), "09"),
        (np.zeros((100, 100), bool), "`h9"),
        (np.zeros((480, 640), bool), "PP\\9"),
        # Runs 1, 1, 2, 2: the last one is written as the difference to the run two before.
        (np.array([[0, 0, 1], [1, 0, 1]], bool), "1121"),
        # Runs 1, 1, 3, 1, 1: differences of 0 and, negative, of -2.
        (np.array([[0, 1, 0, 0, 0, 1, 0]], bool), "1130N"),
    ],
)
def test_known_strings(mask, counts):
    assert rle.encode(mask) == {"size": list(mask.shape), "counts": counts}
    assert (rle.decode({"size": list(mask.shape), "counts": counts}) == mask).all()


@pytest.mark.parametrize("seed", range(12))
def test_like_the_oracle(seed):
    rng = np.random.default_rng(seed)
    height, width = (int(n) for n in rng.integers(1, 90, 2))
    mask = blobs(rng, height, width, int(rng.integers(1, 15)))
    encoded = rle.encode(mask)
    assert encoded["counts"] == string_of(counts_of(mask))
    decoded = rle.decode(encoded)
    assert decoded.dtype == bool
    assert decoded.shape == mask.shape
    assert (decoded == mask).all()


def test_large_masks_keep_every_pixel():
    rng = np.random.default_rng(5)
    for mask in (rng.random((720, 1280)) < 0.5, rng.random((1080, 1920)) < 1e-4):
        decoded = rle.decode(rle.encode(mask))
        assert (decoded == mask).all()
        assert decoded.flags.c_contiguous  # as every other mask: views and OpenCV work on it


def test_masks_in_any_memory_order():
    mask = np.random.default_rng(1).random((37, 53)) < 0.3
    for view in (
        np.asfortranarray(mask),
        np.repeat(mask, 2, axis=1)[:, ::2],
        mask.astype(np.uint8),
    ):
        assert rle.encode(view) == rle.encode(mask)


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0)])
def test_masks_without_pixels(shape):
    encoded = rle.encode(np.zeros(shape, bool))
    assert rle.decode(encoded).shape == shape


@pytest.mark.parametrize(
    ("size", "counts"),
    [
        ([3, 3], "8"),  # too few pixels
        ([3, 3], ":"),  # too many
        ([3, 3], ""),
        ([3, 3], "9Y"),  # cut within a value
        ([3, 3], "Y"),
        ([3, 3], "9é"),  # no character of COCO's
        ([3, 3], "9 "),
        ([3, 3], "O:1"),  # -1 and 10 and 1: the sum is right, a run is negative
        ([-3, -3], "9"),
        ([3, 3], "P" * 40 + "0"),  # a value no mask needs
        ([2**20, 2**20], "PPPPPPPPPPP1" * 8),  # lengths whose sum overflows
    ],
)
def test_damaged_strings(size, counts):
    with pytest.raises(StorageError) as caught:
        rle.decode({"size": size, "counts": counts})
    assert caught.value.hint


def test_every_damage_of_one_character():
    """A damaged string either still fits the size, or raises `StorageError`: nothing else."""
    rng = np.random.default_rng(0)
    mask = blobs(rng, 40, 60, 6)
    encoded = rle.encode(mask)
    text = encoded["counts"]
    refused = 0
    for position in range(len(text)):
        for other in ("", "\x00", "o", "0", "\U0001f600"):
            changed = text[:position] + other + text[position + 1 :]
            try:
                decoded = rle.decode({"size": encoded["size"], "counts": changed})
            except StorageError:
                refused += 1
            else:
                assert decoded.shape == mask.shape
    assert refused > 4 * len(text)
