"""Outlines of masks: filled again they are the masks, with holes and in several parts."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from core.export_fakes import iou, islands, ring

from moca_core.export.polygons import LEAST_IOU, centre_polygons, edge_polygons, filled
from moca_core.types import Mask

DRAW = np.random.default_rng(4)


def blobs(spread: float) -> Mask:
    """(60, 80) of random parts with holes; the larger `spread`, the fewer."""
    noise = DRAW.standard_normal((60, 80)).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), spread)) > 0


def one(rows: slice | int, columns: slice | int) -> Mask:
    mask = np.zeros((60, 80), bool)
    mask[rows, columns] = True
    return mask


MASKS = {
    "ring": ring(),
    "islands": islands(),
    "whole picture": np.ones((60, 80), bool),
    "one pixel": one(59, 79),
    "a line": one(3, slice(2, 30)),
    "a diagonal": np.eye(40, dtype=bool),
    "fine blobs": blobs(2.0),
    "coarse blobs": blobs(6.0),
}


def even_odd(polygons: list[np.ndarray], shape: tuple[int, int]) -> Mask:
    """(H, W) the pixels whose middle is within a polygon: crossings of a ray to the left."""
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    inside = np.zeros(shape, bool)
    for polygon in polygons:
        crossings = np.zeros(shape, int)
        for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
            if y0 != y1:
                spans = (min(y0, y1) <= rows) & (rows < max(y0, y1))
                crossings += spans & (x0 + (rows - y0) / (y1 - y0) * (x1 - x0) < columns)
        inside |= crossings % 2 == 1
    return inside


@pytest.mark.parametrize("name", MASKS)
def test_polygons_along_edges_are_the_mask_to_the_pixel(name):
    mask = MASKS[name]
    polygons = edge_polygons(mask)
    np.testing.assert_array_equal(even_odd(polygons, mask.shape), mask)
    points = np.concatenate(polygons)
    assert points.min() >= 0
    assert (points <= mask.shape[::-1]).all()
    assert all(len(polygon) >= 3 for polygon in polygons)


@pytest.mark.parametrize("name", MASKS)
def test_polygons_through_middles_are_the_mask(name):
    mask = MASKS[name]
    polygons = centre_polygons(mask)
    drawn = np.zeros_like(mask)
    for polygon in polygons:
        drawn |= filled(polygon, mask.shape)
    assert iou(drawn, mask) >= LEAST_IOU
    points = np.concatenate(polygons)
    assert points.min() > 0
    assert (points < mask.shape[::-1]).all()
    assert all(len(polygon) >= 3 for polygon in polygons)


def test_a_hole_stays_a_hole():
    (polygon,) = centre_polygons(ring())
    drawn = filled(polygon, ring().shape)
    assert not drawn[55:65, 25:35].any()
    np.testing.assert_array_equal(drawn, ring())


def test_parts_are_one_polygon_unless_the_slit_costs_too_much():
    assert len(centre_polygons(islands())) == 1
    specks = one(5, slice(5, 8)) | one(50, slice(70, 73))
    assert len(centre_polygons(specks)) == 2
    assert len(edge_polygons(islands())) == 2


def test_straight_lines_have_no_points_between():
    assert len(edge_polygons(one(slice(5, 30), slice(10, 50)))[0]) == 4


def test_nothing_has_no_outline():
    assert edge_polygons(np.zeros((4, 5), bool)) == []
    assert centre_polygons(np.zeros((4, 5), bool)) == []
