"""Numbers that stay with the objects of a clip."""

from __future__ import annotations

import numpy as np

from moca_core.pipeline.numbering import Numbering
from moca_core.types import SoundingObject


def thing(name, left, top=20, side=40, number=0, size=(120, 400)):
    mask = np.zeros(size, bool)
    mask[top : top + side, left : left + side] = True
    return SoundingObject(number, name, 0.5, mask)


def numbers(objects):
    return [item.number for item in objects]


def test_an_object_keeps_its_number_while_it_moves():
    numbering = Numbering()
    for left in range(0, 300, 15):
        assert numbers(numbering.assign([thing("dog", left)])) == [1]


def test_what_is_given_comes_back_unchanged_but_for_the_number():
    item = thing("dog", 5, number=9)
    (found,) = Numbering(first=4).assign([item])
    assert (found.number, found.name, found.score) == (4, "dog", 0.5)
    assert found.mask is item.mask


def test_another_name_or_place_is_another_object():
    numbering = Numbering()
    assert numbers(numbering.assign([thing("dog", 0)])) == [1]
    assert numbers(numbering.assign([thing("cat", 0)])) == [2]
    assert numbers(numbering.assign([thing("dog", 200)])) == [3]


def test_an_object_that_was_silent_gets_its_number_back():
    numbering = Numbering()
    numbering.assign([thing("dog", 0), thing("cat", 100)])
    numbering.assign([])
    assert numbers(numbering.assign([thing("cat", 104)])) == [2]
    assert numbers(numbering.assign([thing("dog", 4)])) == [1]


def test_two_of_one_name_keep_their_numbers_whatever_their_order():
    numbering = Numbering()
    numbering.assign([thing("dog", 0), thing("dog", 30)])
    assert numbers(numbering.assign([thing("dog", 32), thing("dog", 2)])) == [2, 1]


def test_the_pairs_that_overlap_most_find_each_other_first():
    numbering = Numbering()
    numbering.assign([thing("dog", 20)])
    # The first overlaps the known one as well, but the second lies right on it.
    assert numbers(numbering.assign([thing("dog", 5), thing("dog", 20)])) == [2, 1]


def test_no_number_twice_in_a_frame():
    numbering = Numbering()
    numbering.follow([thing("dog", 0, number=1)])
    numbering.follow([thing("dog", 2, number=2)])  # the same dog under another number
    both = numbers(numbering.follow([thing("dog", 0, number=1), thing("dog", 8, number=2)]))
    assert both == [1, 2]


def test_within_a_span_the_brought_numbers_count_more_than_the_place():
    numbering = Numbering()
    assert numbers(numbering.follow([thing("dog", 0, number=7)])) == [1]
    # A jump that leaves no overlap: its number in the span says that it is the same.
    assert numbers(numbering.follow([thing("dog", 300, number=7)])) == [1]


def test_a_new_span_goes_by_the_place():
    numbering = Numbering()
    numbering.follow([thing("dog", 0, number=1), thing("cat", 100, number=2)])
    numbering.begin_span()
    again = [thing("cat", 102, number=1), thing("dog", 3, number=2), thing("dog", 300, number=3)]
    assert numbers(numbering.follow(again)) == [2, 1, 3]


def test_frames_of_another_size_are_never_alike():
    numbering = Numbering()
    numbering.assign([thing("dog", 0)])
    assert numbers(numbering.assign([thing("dog", 0, size=(100, 300))])) == [2]


def test_the_smallest_object_in_a_large_frame_keeps_its_number():
    numbering = Numbering()
    for _ in range(2):
        found = numbering.assign([thing("bird", 1001, top=700, side=2, size=(1080, 1920))])
        assert numbers(found) == [1]


def test_memory_is_bounded():
    numbering = Numbering()
    for index in range(600):
        numbering.assign([thing(f"thing {index}", 0, size=(720, 1280))])
    assert len(numbering._seen) <= 256
    assert sum(seen.mask.nbytes for seen in numbering._seen.values()) < 16 * 2**20
    # The one seen last is known, the one seen first is forgotten.
    assert numbers(numbering.assign([thing("thing 599", 0, size=(720, 1280))])) == [600]
    assert numbers(numbering.assign([thing("thing 0", 0, size=(720, 1280))])) == [601]
