"""A correction carried along a clip: textured squares that move over a textured ground."""

from __future__ import annotations

import numpy as np
import pytest

from moca_core.annotations.edits import accept, blank, put_mask, reject
from moca_core.annotations.model import (
    ACCEPTED,
    DRAWN,
    FOLLOWED,
    FOUND,
    PackedObject,
    PackedResult,
    pack_mask,
)
from moca_core.annotations.propagating import (
    LOST,
    SPOKEN,
    Followed,
    Stopped,
    Way,
    follow,
    frames_spoken,
)
from moca_core.errors import MediaError
from moca_core.types import REASON_SILENT, StageEvent

SIZE = (288, 512)
SIDE, COUNT = 96, 200
START, SPEED = (20, 300), (6, -4)  # x of the squares' left edges in frame 0, pixels a frame


def texture(rng, height, width, low, high):
    """(height, width, 3) uint8 of small blocks between two grey values."""
    blocks = rng.integers(low, high, (height // 8, width // 8), np.uint8)
    return np.kron(blocks, np.ones((8, 8), np.uint8))[..., None].repeat(3, axis=2)


class Squares:
    """A clip in which two textured squares move, the second one below the first."""

    def __init__(self, bad=(), moves=24):
        rng = np.random.default_rng(1)
        self.ground = texture(rng, *SIZE, 40, 60)
        self.tiles = [texture(rng, SIDE, SIDE, 90, 210) for _ in range(2)]
        self.bad = bad
        self.moves = moves  # frames until the squares are gone
        self.asked = []

    def place(self, which, frame):
        return START[which] + SPEED[which] * frame, (24, 160)[which]

    def frame(self, index):
        self.asked.append(index)
        if index in self.bad:
            raise MediaError(f"frame {index} can't be decoded")
        picture = self.ground.copy()
        if index < self.moves:
            for which in (0, 1):
                x, y = self.place(which, index)
                picture[y : y + SIDE, x : x + SIDE] = self.tiles[which]
        return picture

    def time_of(self, index):
        return index / 25

    def mask(self, which, frame):
        mask = np.zeros(SIZE, bool)
        x, y = self.place(which, frame)
        mask[y : y + SIDE, x : x + SIDE] = True
        return mask


def frame_of(video, frame, which=(0, 1), origin=DRAWN, **values):
    """The squares as objects 1 and 2 of a frame."""
    objects = []
    for k in which:
        box, bits = pack_mask(video.mask(k, frame))
        objects.append(PackedObject(k + 1, ("Dog", "Cat")[k], 0.5, box, bits, origin))
    return PackedResult(frame, frame / 25, SIZE, tuple(objects), **values)


def iou(first, second):
    return (first & second).sum() / (first | second).sum()


def reached(events):
    return {item.frame: item.result for item in events if isinstance(item, Followed)}


@pytest.mark.parametrize(("at", "frames"), [(2, range(3, 18)), (17, range(16, 1, -1))])
def test_objects_follow_the_motion_both_ways(at, frames):
    video = Squares()
    events = list(follow(video, Way(frame_of(video, at), [1, 2], frames, {}, {})))
    found = reached(events)
    assert list(found) == list(frames)
    for frame, result in found.items():
        assert (result.frame, result.time_s, result.corrected) == (frame, frame / 25, True)
        assert [(item.number, item.name) for item in result.objects] == [(1, "Dog"), (2, "Cat")]
        assert {item.origin for item in result.objects} == {FOLLOWED}
        for item in result.objects:
            assert iou(item.mask(SIZE), video.mask(item.number - 1, frame)) > 0.8
    done = [item.done for item in events if isinstance(item, Followed)]
    assert done == list(range(1, len(frames) + 1))
    assert {item.total for item in events if isinstance(item, Followed)} == {len(frames)}


def test_only_the_chosen_object_is_replaced():
    video = Squares()
    shown = {5: frame_of(video, 9, origin=FOUND)}  # both, at wrong places
    way = Way(frame_of(video, 4), [1], range(5, 6), shown, {})
    (result,) = reached(follow(video, way)).values()
    first, second = result.objects
    assert (first.origin, second.origin) == (FOLLOWED, FOUND)
    assert iou(first.mask(SIZE), video.mask(0, 5)) > 0.8
    assert second is shown[5].objects[1]


def test_an_object_that_is_gone_is_lost_there():
    video = Squares(moves=6)
    events = list(follow(video, Way(frame_of(video, 2), [1, 2], range(3, 20), {}, {})))
    stopped = {(item.number, item.frame, item.why) for item in events if isinstance(item, Stopped)}
    assert stopped == {(1, 6, LOST), (2, 6, LOST)}
    assert list(reached(events)) == [3, 4, 5]
    assert max(video.asked) == 6  # the rest isn't even read


@pytest.mark.parametrize("smooth", [False, True])
def test_light_that_changes_loses_nothing(smooth):
    video = Squares()
    if smooth:
        video.tiles = [np.full_like(tile, 180) for tile in video.tiles]
    plain = video.frame
    video.frame = lambda index: plain(index) + np.uint8(2 * index if smooth else 40 * (index == 4))
    events = list(follow(video, Way(frame_of(video, 2), [1], range(3, 9), {}, {})))
    assert list(reached(events)) == list(range(3, 9))


def test_a_persons_word_ends_it_for_that_object():
    video = Squares()
    way = Way(frame_of(video, 2), [1, 2], range(3, 12), {}, {1: {6}, 2: {30}})
    events = list(follow(video, way))
    assert [item for item in events if isinstance(item, Stopped)] == [Stopped(1, 6, SPOKEN)]
    found = reached(events)
    assert [item.number for item in found[5].objects] == [1, 2]
    assert [item.number for item in found[6].objects] == [2]
    assert max(found) == 11


def test_silent_frames_stay_empty_unless_asked():
    video = Squares()
    shown = {4: blank(4, 0.16, SIZE)}
    shown[5] = PackedResult(5, 0.2, SIZE, reason=REASON_SILENT)
    for in_silence, kept in ((False, [3, 4, 6]), (True, [3, 4, 5, 6])):
        way = Way(frame_of(video, 2), [1], range(3, 7), shown, {}, in_silence)
        events = list(follow(video, way))
        assert [frame for frame, result in reached(events).items() if result] == kept
        silent = [item.frame for item in events if isinstance(item, Followed) and item.silent]
        assert silent == ([] if in_silence else [5])


def test_frames_that_cant_be_decoded_are_passed_over():
    video = Squares(bad={4, 5})
    found = reached(follow(video, Way(frame_of(video, 2), [1], range(3, 8), {}, {})))
    assert [frame for frame, result in found.items() if result] == [3, 6, 7]
    assert iou(found[7].objects[0].mask(SIZE), video.mask(0, 7)) > 0.8


def test_the_way_back_reads_forwards_and_can_be_stopped_meanwhile():
    video = Squares(moves=COUNT)
    video.place = lambda which, frame: (20 + 40 * which, 10)
    way = Way(frame_of(video, 180), [1], range(179, 29, -1), {}, {})
    events = follow(video, way)
    assert isinstance(next(events), StageEvent)
    events.close()
    assert len(video.asked) == 2
    video.asked.clear()
    found = reached(follow(video, way))
    assert list(found) == list(range(179, 29, -1))
    steps = np.diff(video.asked[1:])
    assert (steps == 1).sum() == len(steps) - 1  # one jump back, between two parts


def test_of_what_a_person_has_spoken():
    video = Squares()
    drawn = frame_of(video, 1, which=(0,), corrected=True)
    found = frame_of(video, 2, origin=FOUND)
    taken_out = reject([found], [1]).after[2]
    followed = frame_of(video, 3, origin=FOLLOWED, corrected=True)
    accepted = accept([frame_of(video, 4, origin=FOUND)], [1]).after[4]
    assert [item.origin for item in accepted.objects] == [ACCEPTED, FOUND]
    empty = accept([blank(5, 0.2, SIZE)]).after[5]
    item = drawn.objects[0]
    other = put_mask(blank(6, 0.24, SIZE), item, video.mask(0, 6), "draw").after[6]
    corrected = {f.frame: f for f in (drawn, taken_out, followed, accepted, empty, other)}
    assert frames_spoken(corrected, {2: found}, 1) == {1, 2, 4, 5, 6}
    assert frames_spoken(corrected, {2: found}, 2) == {5}
