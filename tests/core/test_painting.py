"""Strokes cover exactly the pixels under the brush, without gaps; cuts divide what they cross."""

from __future__ import annotations

import numpy as np
import pytest

from moca_core.annotations.painting import cut, edge, snapped, stroke, tidied

SIZE = (40, 60)


def painted(*dabs):
    mask = np.zeros(SIZE, bool)
    for dab in dabs:
        mask[dab.part] |= dab.inside
    return mask


def dot(x, y, size):
    place = snapped((x, y), size)
    return painted(stroke(place, place, size, SIZE))


@pytest.mark.parametrize("x", [7.0, 7.01, 7.5, 7.99])
def test_a_brush_of_one_pixel_paints_the_pixel_under_it(x):
    mask = dot(x, 5.3, 1)
    assert np.argwhere(mask).tolist() == [[5, 7]]


def test_a_brush_of_two_pixels_covers_four_around_the_nearest_corner():
    assert np.argwhere(dot(7.4, 5.6, 2)).tolist() == [[5, 6], [5, 7], [6, 6], [6, 7]]


@pytest.mark.parametrize("size", [1, 2, 3, 8, 15, 20])
def test_a_dot_is_as_wide_and_high_as_the_brush_and_round(size):
    mask = dot(30.2, 20.3, size)
    assert mask.any(axis=0).sum() == mask.any(axis=1).sum() == size
    assert abs(mask.sum() - np.pi * size**2 / 4) <= size + 1
    inner = mask[np.ix_(mask.any(axis=1), mask.any(axis=0))]
    assert (inner == inner[::-1]).all()
    assert (inner == inner.T).all()


@pytest.mark.parametrize("end", [(50.5, 30.5), (50.5, 5.5), (4.5, 35.5), (11.5, 39.5)])
def test_a_fast_move_leaves_no_gaps(end):
    import cv2

    mask = painted(stroke((10.5, 5.5), end, 1, SIZE))
    count, _ = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)
    assert count == 2
    assert mask[5, 10]
    assert mask[int(end[1]), int(end[0])]
    assert mask.sum() < 1.5 * (max(abs(end[0] - 10.5), abs(end[1] - 5.5)) + 1)


def test_a_stroke_is_the_union_of_all_dots_on_its_way():
    line = painted(stroke((10, 20), (40, 20), 8, SIZE))
    dots = painted(*(stroke((x, 20), (x, 20), 8, SIZE) for x in np.linspace(10, 40, 301)))
    assert (line == dots).all()


def test_what_lies_outside_of_the_frame_is_left_out():
    assert stroke((-9, 5), (-9, 20), 6, SIZE) is None
    assert stroke((30, 60), (40, 70), 6, SIZE) is None
    mask = painted(stroke((-2, 20), (2, 20), 8, SIZE))
    assert mask[:, 0].sum() == 8


def test_the_edge_of_a_mask_is_its_outer_pixels():
    mask = np.zeros((7, 8), bool)
    mask[1:6, 2:7] = True
    expected = mask.copy()
    expected[2:5, 3:6] = False
    assert (edge(mask) == expected).all()
    assert not edge(np.ones((3, 3), bool)).any()


def a_box(x0, y0, x1, y1):
    mask = np.zeros(SIZE, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def test_specks_go_but_for_those_that_a_person_points_at():
    body = a_box(10, 5, 50, 35)
    mask = body.copy()
    mask[10:13, 20:23] = mask[30, 40] = False  # holes of nine pixels and of one
    mask[15:20, 30:35] = False  # a hole that is large enough
    mask[1:3, 1:3] = mask[38, 58] = True
    expected = body & ~a_box(30, 15, 35, 20)
    assert (tidied(mask) == expected).all()
    pointed = tidied(mask, on=[(1.5, 1.5), (-3.0, 99.0)], off=[(21.5, 11.5)])
    assert (pointed == (expected | a_box(1, 1, 3, 3)) & ~a_box(20, 10, 23, 13)).all()


def test_a_mask_that_is_all_specks_or_empty_is_none():
    assert not tidied(a_box(3, 3, 5, 5)).any()
    assert not tidied(np.zeros(SIZE, bool)).any()
    assert tidied(np.ones(SIZE, bool)).all()


def test_a_cut_gives_both_sides_and_loses_no_pixel():
    mask = a_box(10, 5, 50, 35)
    large, small = cut(mask, (25.0, 0.0), (25.0, 39.0))
    assert (large | small == mask).all()
    assert not (large & small).any()
    assert (small == a_box(10, 5, 25, 35)).all()


def test_a_slanted_cut_follows_its_line():
    mask = a_box(10, 5, 50, 35)
    large, small = cut(mask, (12.0, 2.0), (38.0, 38.0))
    rows, columns = np.nonzero(small)
    sides = (38 - 12) * (rows + 0.5 - 2) - (38 - 2) * (columns + 0.5 - 12)
    assert (sides > 0).all()
    assert (large | small == mask).all()


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ((25.0, 0.0), (25.0, 20.0)),  # ends inside
        ((2.0, 2.0), (50.0, 3.0)),  # passes by
        ((20.0, 10.0), (20.0, 10.0)),  # a click
        ((-20.0, -10.0), (-9.0, -5.0)),  # outside of the frame
    ],
)
def test_a_line_that_does_not_go_through_cuts_nothing(start, end):
    assert cut(a_box(10, 5, 50, 35), start, end) is None


def test_pieces_that_are_not_cut_stay_with_the_larger_part():
    mask = a_box(2, 2, 32, 12) | a_box(40, 20, 58, 38)
    # The line goes on through the second piece, but ends inside of it.
    large, small = cut(mask, (8.0, 0.0), (8.0, 15.0))
    assert (small == a_box(2, 2, 8, 12)).all()
    assert (large == mask & ~small).all()


def test_two_arms_that_are_cut_off_at_once_are_one_part():
    mask = a_box(10, 5, 15, 35) | a_box(40, 5, 45, 35) | a_box(10, 30, 45, 35)
    large, small = cut(mask, (5.0, 10.0), (50.0, 10.0))
    assert (small == (a_box(10, 5, 15, 10) | a_box(40, 5, 45, 10))).all()
    assert (large == mask & ~small).all()
