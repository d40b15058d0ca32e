"""Masks moved by optical flow: against a plain version at full size, and on moving pictures."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from moca_core.pipeline.propagate import FlowTracker, Motion, small_grey
from moca_core.types import SoundingObject


def random_motion(rng, rows, columns, strength):
    """A smooth random field of origins, some of them outside of the picture."""
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    flow = cv2.GaussianBlur(rng.standard_normal((rows, columns, 2)).astype(np.float32), (0, 0), 6)
    flow *= strength / np.abs(flow).max()
    return Motion((np.stack([x, y], axis=-1) + flow).astype(np.float32))


def sampled(values, x, y):
    """Bilinear samples of (h, w) at (x, y), 0 outside, in double precision."""
    height, width = values.shape
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    total = np.zeros(x.shape)
    for dy in (0, 1):
        for dx in (0, 1):
            column, row = left + dx, top + dy
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            weight = (1 - np.abs(x - column)) * (1 - np.abs(y - row))
            picked = values[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
            total += weight * inside * picked
    return total


def plain_warp(origin, mask):
    """(H, W) float, how much of the mask lies at each pixel: every pixel by itself, no cropping."""
    height, width = mask.shape
    rows, columns = origin.shape[:2]
    y, x = np.mgrid[:height, :width].astype(float)
    small_x = np.clip((x + 0.5) * columns / width - 0.5, 0, columns - 1)
    small_y = np.clip((y + 0.5) * rows / height - 0.5, 0, rows - 1)
    from_x, from_y = (sampled(origin[..., k].astype(float), small_x, small_y) for k in (0, 1))
    full_x = (from_x + 0.5) * width / columns - 0.5
    full_y = (from_y + 0.5) * height / rows - 0.5
    return sampled(mask.astype(float), full_x, full_y)


@pytest.mark.parametrize("strength", [0.5, 6.0, 60.0])
@pytest.mark.parametrize("size", [(144, 256), (333, 517), (720, 405), (41, 640)])
def test_warp_equals_the_plain_version(size, strength):
    rng = np.random.default_rng(sum(size))
    grey = small_grey(np.zeros((*size, 3), np.uint8))
    motion = random_motion(rng, *grey.shape, strength)
    mask = np.zeros(size, bool)
    top, left = (int(rng.integers(0, n // 2)) for n in size)
    mask[top : top + size[0] // 3, left : left + size[1] // 4] = True
    moved = motion.warp(mask)
    plain = plain_warp(motion.origin, mask)
    # OpenCV rounds places to 1/32 pixel, so only what is near a half may fall to the other side.
    steps = max(1.0, strength) * 0.15
    sure = np.abs(plain - 0.5) > min(steps, 0.45)
    assert (moved == (plain > 0.5))[sure].all()
    assert (moved != (plain > 0.5)).mean() < 0.01
    assert moved.any()


@pytest.mark.parametrize("seed", range(6))
def test_small_masks_in_strong_flows_arent_lost(seed):
    """What the flow enlarges from a few pixels is found, though no small pixel comes from it."""
    rng = np.random.default_rng(seed)
    motion = random_motion(rng, 144, 256, 40.0)
    plain = np.zeros((720, 1280))
    while not (plain > 0.9).any():
        y, x = int(rng.integers(0, 716)), int(rng.integers(0, 1276))
        mask = np.zeros((720, 1280), bool)
        mask[y : y + 4, x : x + 4] = True
        plain = plain_warp(motion.origin, mask)
    moved = motion.warp(mask)
    assert moved[plain > 0.9].all()
    assert not moved[plain < 0.1].any()


def test_an_unmoved_picture_keeps_its_masks():
    rng = np.random.default_rng(0)
    grey = small_grey(rng.integers(0, 255, (300, 500, 3), dtype=np.uint8))
    motion = FlowTracker(grey).step(grey)
    mask = cv2.GaussianBlur(rng.standard_normal((300, 500)), (0, 0), 9) > 0
    assert (motion.warp(mask) == mask).mean() > 0.995


def test_empty_and_full_masks():
    motion = random_motion(np.random.default_rng(0), 90, 160, 3.0)
    assert not motion.warp(np.zeros((450, 800), bool)).any()
    assert motion.warp(np.ones((450, 800), bool))[30:-30, 30:-30].all()


def test_a_mask_that_leaves_the_picture_is_gone():
    y, x = np.mgrid[:90, :160].astype(np.float32)
    away = Motion(np.stack([x + 80, y], axis=-1))  # everything has moved 80 small pixels left
    mask = np.zeros((450, 800), bool)
    mask[100:200, 100:300] = True
    other = np.zeros((450, 800), bool)
    other[100:200, 350:500] = True  # a part of it stays
    kept = away.move([SoundingObject(3, "dog", 0.5, mask), SoundingObject(8, "cat", 0.25, other)])
    assert [(item.number, item.name, item.score) for item in kept] == [(8, "cat", 0.25)]
    assert kept[0].box == (0, 100, 100, 200)


def moving_square(number, size=(360, 640), side=120):
    """A textured square on a dim ground, three pixels further right and one down a frame."""
    ground = 50 + 10 * np.random.default_rng(1).random((size[0] // 8 + 1, size[1] // 8 + 1))
    picture = np.kron(ground, np.ones((8, 8)))[: size[0], : size[1]].copy()
    coat = 110 + 110 * np.random.default_rng(2).random((side // 8, side // 8))
    top, left = 60 + number, 80 + 3 * number
    picture[top : top + side, left : left + side] = np.kron(coat, np.ones((8, 8)))
    mask = np.zeros(size, bool)
    mask[top : top + side, left : left + side] = True
    return np.repeat(picture[..., None], 3, axis=2).astype(np.uint8), mask


@pytest.mark.parametrize("direction", [1, -1])
def test_masks_follow_a_moving_square(direction):
    numbers = list(range(0, 25))[::direction]
    first, mask = moving_square(numbers[0])
    tracker = FlowTracker(small_grey(first))
    for number in numbers[1:]:
        picture, now = moving_square(number)
        motion = tracker.step(small_grey(picture))
    moved = motion.warp(mask)
    assert (moved & now).sum() / (moved | now).sum() > 0.9
    assert (mask & now).sum() / (mask | now).sum() < 0.4  # it did move


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (2000, 12), (17, 17)])
def test_tiny_and_narrow_frames(size):
    rng = np.random.default_rng(0)
    tracker = FlowTracker(small_grey(rng.integers(0, 255, (*size, 3), dtype=np.uint8)))
    motion = tracker.step(small_grey(rng.integers(0, 255, (*size, 3), dtype=np.uint8)))
    mask = np.ones(size, bool)
    assert motion.warp(mask).shape == size
    assert np.isfinite(motion.origin).all()


def test_small_grey_keeps_the_shape_of_the_picture():
    assert small_grey(np.zeros((720, 1280, 3), np.uint8)).shape == (144, 256)
    assert small_grey(np.zeros((1280, 720, 3), np.uint8)).shape == (256, 144)
    assert small_grey(np.zeros((100, 120, 3), np.uint8)).shape == (100, 120)  # never enlarged
