"""Corrected frames: what each edit does to a frame, and that undo gives back what was there."""

from __future__ import annotations

import numpy as np
import pytest

from moca_core.annotations import edits
from moca_core.annotations.history import Edit, Labels
from moca_core.annotations.model import (
    ACCEPTED,
    DRAWN,
    FOUND,
    PackedObject,
    PackedResult,
    pack,
    pack_mask,
    unpack,
)
from moca_core.types import REASON_NO_OBJECT, FrameResult, SoundingObject

SIZE = (20, 30)


def box_mask(x0, y0, x1, y1):
    mask = np.zeros(SIZE, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def an_object(number=1, name="Dog", mask=None, origin=FOUND):
    box, bits = pack_mask(box_mask(2, 2, 8, 8) if mask is None else mask)
    return PackedObject(number, name, 0.5, box, bits, origin)


def a_frame(*objects, number=0, **values):
    return PackedResult(number, number / 25, SIZE, objects, **values)


@pytest.fixture
def pair():
    """A frame with two objects beside each other."""
    return a_frame(an_object(1), an_object(2, "Cat", box_mask(10, 2, 16, 8)))


def only(edit):
    ((_, frame),) = edit.after.items()
    return frame


def test_a_packed_frame_comes_back_to_the_pixel():
    rng = np.random.default_rng(0)
    masks = [rng.random(SIZE) > 0.5, box_mask(0, 0, 30, 20), np.zeros(SIZE, bool)]
    objects = tuple(SoundingObject(k, f"o{k}", 0.1 * k, mask) for k, mask in enumerate(masks, 1))
    result = FrameResult(3, 0.12, SIZE, objects, window_s=(0.0, 2.0), heard=(("Dog", 0.5),))
    packed = pack(result)
    back = unpack(packed)
    for item, mask in zip(back.objects, masks, strict=True):
        assert (item.mask == mask).all()
    assert (back.frame, back.time_s, back.size) == (3, 0.12, SIZE)
    assert (back.heard, back.window_s) == (result.heard, result.window_s)
    assert packed.objects[2].box == (0, 0, 0, 0)


def test_accept_says_that_a_person_agreed(pair):
    frame = only(edits.accept([pair], [2]))
    assert [item.origin for item in frame.objects] == [FOUND, ACCEPTED]
    assert frame.corrected
    assert edits.accept([frame], [2]).after == {}
    empty = only(edits.accept([a_frame(reason="silent")]))
    assert (empty.corrected, empty.reason) == (True, "silent")


def test_reject_takes_out_and_says_why_nothing_is_left(pair):
    frame = only(edits.reject([pair], [1]))
    assert [item.number for item in frame.objects] == [2]
    frame = only(edits.reject([pair], [1, 2]))
    assert (frame.objects, frame.reason) == ((), REASON_NO_OBJECT)
    assert edits.reject([pair], [3]).after == {}


def test_rename_changes_one_object_in_all_frames(pair):
    other = a_frame(an_object(2, "Cat"), number=1)
    edit = edits.rename([pair, other, a_frame(an_object(1), number=2)], 2, "Lion")
    assert sorted(edit.after) == [0, 1]
    assert [item.name for item in edit.after[0].objects] == ["Dog", "Lion"]


def test_merge_joins_masks_under_the_first_number_along_the_clip(pair):
    alone = a_frame(an_object(2, "Cat"), number=1)
    edit = edits.merge([pair, alone, a_frame(an_object(1), number=2)], [1, 2])
    assert sorted(edit.after) == [0, 1]
    (item,) = edit.after[0].objects
    assert (item.number, item.name, item.origin) == (1, "Dog", DRAWN)
    assert item.mask(SIZE).sum() == 72
    assert [(item.number, item.name) for item in edit.after[1].objects] == [(1, "Dog")]


def test_split_makes_objects_of_the_parts_that_dont_touch():
    mask = box_mask(2, 2, 4, 4) | box_mask(10, 2, 16, 8) | box_mask(20, 10, 23, 13)
    frame = a_frame(an_object(3, mask=mask), an_object(4, "Cat", box_mask(0, 18, 5, 20)))
    parts = edits.separate_parts(mask)
    assert [int(part.sum()) for part in parts] == [36, 9, 4]
    split = only(edits.split(frame, 3, parts, free=7))
    assert [item.number for item in split.objects] == [3, 7, 8, 4]
    assert [int(item.mask(SIZE).sum()) for item in split.objects] == [36, 9, 4, 10]
    assert edits.split(frame, 3, [mask], free=7).after == {}


def test_a_new_mask_takes_its_pixels_from_the_others(pair):
    mask = box_mask(5, 2, 16, 8)
    frame = only(edits.put_mask(pair, pair.objects[0], mask, "paint"))
    assert [item.number for item in frame.objects] == [1]
    frame = only(edits.put_mask(pair, pair.objects[0], box_mask(5, 2, 12, 8), "paint"))
    first, second = frame.objects
    assert second.box == (12, 2, 16, 8)
    assert not (first.mask(SIZE) & second.mask(SIZE)).any()
    assert (first.origin, second.origin) == (DRAWN, FOUND)
    gone = only(edits.put_mask(pair, pair.objects[0], np.zeros(SIZE, bool), "erase"))
    assert [item.number for item in gone.objects] == [2]


def test_an_object_can_be_drawn_where_nothing_was_run():
    frame = only(
        edits.put_mask(edits.blank(5, 0.2, SIZE), an_object(4), box_mask(0, 0, 3, 3), "new")
    )
    assert (frame.frame, frame.reason, frame.corrected) == (5, "", True)
    assert frame.objects[0].box == (0, 0, 3, 3)


def test_undo_and_redo_give_back_the_very_frames(pair):
    labels = Labels()
    first = edits.rename([pair], 1, "Wolf")
    assert labels.apply(first) == {0}
    labels.apply(edits.reject([labels.frames[0]], [2]))
    assert [item.name for item in labels.frames[0].objects] == ["Wolf"]
    assert labels.undo_title == "reject 2"
    assert labels.undo() == {0}
    assert labels.frames[0] is first.after[0]
    assert labels.undo() == {0}
    assert labels.get(0) is None
    assert labels.undo() == set()
    assert labels.redo_title == "rename 1 to Wolf"
    assert labels.redo() == {0}
    assert labels.frames[0] is first.after[0]
    labels.apply(edits.revert(labels.frames.values()))
    assert (len(labels), labels.redo_title) == (0, "")


def test_what_changes_nothing_is_no_step(pair):
    labels = Labels()
    labels.apply(edits.reject([pair], [1]))
    frame = labels.frames[0]
    assert labels.apply(Edit("nothing", {0: frame, 4: None})) == set()
    assert labels.undo_title == "reject 1"


def test_undo_is_bounded_by_bytes_and_keeps_the_last_step():
    labels = Labels(undo_bytes=20_000)
    rng = np.random.default_rng(0)
    frame = a_frame(an_object())
    for number in range(200):
        mask = rng.random(SIZE) > 0.5
        labels.apply(edits.put_mask(frame, an_object(), mask, f"paint {number}"))
        frame = labels.frames[0]
        assert labels.nbytes <= 20_000
    undone = 0
    while labels.undo_title:
        labels.undo()
        undone += 1
    assert 5 < undone < 200
    labels = Labels(undo_bytes=1)
    labels.apply(edits.reject([a_frame(an_object())], [1]))
    assert labels.undo() == {0}


def test_masks_that_an_edit_keeps_count_once():
    frames = [a_frame(an_object(), number=number) for number in range(100)]
    labels = Labels()
    labels.apply(edits.rename(frames, 1, "Wolf"))
    assert labels.nbytes < 100 * 800
