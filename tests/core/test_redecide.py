"""Thresholds are moved without an encoder: what a run kept gives the results of another run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from data.make_scene import Scene, SquaresBundle, make_scene

from moca_core.pipeline.analyses import Analyses
from moca_core.pipeline.segmenter import Segmenter
from moca_core.pipeline.store import ClipStore
from moca_core.types import REASON_NO_OBJECT, FrameEvent, ScoresEvent

# The dog sounds, then the cat, then nothing, then the cat again.
SCENE = Scene(frames=100, sounds=(("dog", 0, 1.2), ("cat", 1.2, 1.7), ("cat", 3.0, 4.0)))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return make_scene(tmp_path_factory.mktemp("scenes") / "scene.mkv", SCENE)


@pytest.fixture
def segmenter():
    return Segmenter(device="cpu", bundle=SquaresBundle())


def frames_of(events):
    return {e.result.frame: e.result for e in events if isinstance(e, FrameEvent)}


def analysed(segmenter, clip, **options):
    """Every frame of the clip, and what was kept."""
    options = {"frames": "all", "analyses": Analyses(), **options}
    return frames_of(segmenter.clip(clip, **options)), options["analyses"]


def counts(segmenter):
    return segmenter.bundle.looks, segmenter.bundle.heard


def alike(mask, other):
    """What is kept is coarser: a border may lie a pixel elsewhere here and there."""
    return np.count_nonzero(mask & other) > 0.99 * np.count_nonzero(mask | other)


def same(one, other):
    """The same objects with the same numbers."""
    assert list(one) == list(other)
    for frame, result in one.items():
        again = other[frame]
        facts = [
            (r.time_s, r.reason, r.window_s, r.key, r.between, r.coarse, r.heard)
            for r in (result, again)
        ]
        assert facts[0] == facts[1], frame
        names = [[(item.number, item.name) for item in r.objects] for r in (result, again)]
        assert names[0] == names[1], frame
        for item, twin in zip(result.objects, again.objects, strict=True):
            assert item.score == pytest.approx(twin.score, abs=1e-3)
            assert alike(item.mask, twin.mask)


def test_the_same_thresholds_give_the_same_masks_without_an_encoder(segmenter, clip):
    run, analyses = analysed(segmenter, clip)
    before = counts(segmenter)
    same(run, frames_of(segmenter.decide_clip(clip, analyses)))
    assert counts(segmenter) == before
    assert analyses.frames() == set(range(100))


def test_other_thresholds_give_what_a_run_with_them_gives(segmenter, clip):
    _, analyses = analysed(segmenter, clip)
    before = counts(segmenter)
    for changes in ({"region_threshold": 2.0}, {"least_fit": 1.0}, {"region_threshold": 0.3}):
        segmenter.settings = replace(Segmenter(bundle=segmenter.bundle).settings, **changes)
        again = frames_of(segmenter.decide_clip(clip, analyses))
        assert counts(segmenter) == before
        other = Segmenter(device="cpu", bundle=SquaresBundle(), settings=segmenter.settings)
        same(frames_of(other.clip(clip, frames="all")), again)


def test_it_reads_no_picture_where_the_motion_is_kept_and_finds_it_again_elsewhere(
    segmenter, clip, tmp_path
):
    copy = tmp_path / "scene.mkv"
    copy.write_bytes(clip.read_bytes())
    run, analyses = analysed(segmenter, copy)
    _, lean = analysed(segmenter, copy, analyses=Analyses(motion_bytes=1))
    assert lean.motion_nbytes < analyses.motion_nbytes / 20
    same(run, frames_of(segmenter.decide_clip(copy, lean)))
    copy.unlink()
    same(run, frames_of(segmenter.decide_clip(copy, analyses)))


@pytest.mark.parametrize("frame", [0, 7, 20, 30])
def test_one_frame_is_decided_by_itself(segmenter, clip, frame):
    run, analyses = analysed(segmenter, clip)
    (found,) = frames_of(segmenter.decide_frame(clip, analyses, frame)).values()
    assert found.frame == frame
    assert [item.name for item in found.objects] == [item.name for item in run[frame].objects]
    assert found.between == run[frame].between
    for item, twin in zip(found.objects, run[frame].objects, strict=True):
        assert alike(item.mask, twin.mask)
    segmenter.settings = replace(segmenter.settings, region_threshold=2.0)
    (found,) = frames_of(segmenter.decide_frame(clip, analyses, frame)).values()
    assert found.reason == REASON_NO_OBJECT


def test_a_frame_that_was_never_run_is_not_decided(segmenter, clip):
    _, analyses = analysed(segmenter, clip, end_s=1.0)
    assert not list(segmenter.decide_frame(clip, analyses, 60))


def test_results_are_kept_under_the_thresholds_but_not_looked_for(segmenter, clip, tmp_path):
    store = ClipStore(tmp_path)
    run, analyses = analysed(segmenter, clip, store=store)
    segmenter.settings = replace(segmenter.settings, region_threshold=2.0)
    moved = ClipStore(tmp_path / "moved")
    moved.folder.mkdir()
    again = frames_of(segmenter.decide_clip(clip, analyses, moved))
    assert not any(result.objects for result in again.values())
    assert moved.frames() == list(range(100))
    assert moved.load(0).reason == REASON_NO_OBJECT
    assert store.load(0).objects[0].name == run[0].objects[0].name
    again = frames_of(segmenter.decide_clip(clip, analyses, store))
    assert not again[0].objects


def test_a_stopped_run_can_be_decided_again_as_far_as_it_came(segmenter, clip):
    analyses = Analyses()
    events = segmenter.clip(clip, frames="all", analyses=analyses)
    run = {}
    for event in events:
        if isinstance(event, FrameEvent):
            run[event.result.frame] = event.result
            if event.result.frame == 17:
                break
    events.close()
    assert analyses.frames() == set(range(18))
    same(run, frames_of(segmenter.decide_clip(clip, analyses)))
    run, _ = analysed(segmenter, clip, analyses=analyses)
    assert segmenter.bundle.looks == sum(analyses.looked_at(key) for key in (0, 25, 50, 75))
    same(run, frames_of(segmenter.decide_clip(clip, analyses)))


def test_memory_is_bounded_and_what_was_let_go_is_left_out(segmenter, clip):
    run, whole = analysed(segmenter, clip)
    limit = int(0.6 * whole.nbytes)
    run, analyses = analysed(segmenter, clip, analyses=Analyses(key_bytes=limit))
    assert analyses.nbytes <= limit
    assert 0 < len(analyses) < len(whole)
    left = analyses.frames()
    again = frames_of(segmenter.decide_clip(clip, analyses))
    assert set(again) == left
    assert 0 not in left
    assert 99 in left
    for frame, result in again.items():
        assert [item.name for item in result.objects] == [i.name for i in run[frame].objects]


def test_a_frame_run_by_itself_takes_its_place(segmenter, clip):
    run, analyses = analysed(segmenter, clip)
    alone = frames_of(segmenter.clip(clip, frames=[7], analyses=analyses, keep_maps=True))
    looks = segmenter.bundle.looks
    events = list(segmenter.decide_clip(clip, analyses))
    assert segmenter.bundle.looks == looks
    assert [e.result.frame for e in events if isinstance(e, FrameEvent)] == [*range(100), 7]
    last = frames_of(events)[7]
    assert last.key
    assert set(last.maps) == set(alone[7].maps)
    assert [note.why for note in last.proposals] == [note.why for note in alone[7].proposals] != []
    assert not run[7].key
    # A run on the whole clip replaces both.
    analysed(segmenter, clip, analyses=analyses)
    assert len(analyses.plans()) == 1


def test_a_run_anew_computes_what_the_disk_has(segmenter, clip, tmp_path):
    store = ClipStore(tmp_path)
    analysed(segmenter, clip, store=store)
    looks = segmenter.bundle.looks
    _, nothing = analysed(segmenter, clip, store=store)
    assert segmenter.bundle.looks == looks
    assert not nothing.frames()
    _, analyses = analysed(segmenter, clip, store=store, anew=True)
    assert segmenter.bundle.looks == 2 * looks
    assert analyses.frames() == set(range(100))


def test_the_scores_are_what_the_thresholds_cut(segmenter, clip):
    analyses = Analyses()
    events = list(segmenter.clip(clip, frames="all", analyses=analyses))
    run = frames_of(events)
    scores = {e.frame: e.scores for e in events if isinstance(e, ScoresEvent)}
    heard = [frame for frame in (0, 25, 50, 75) if run[frame].heard]
    assert list(scores) == heard
    for frame, found in scores.items():
        assert found.weights.tolist() == pytest.approx([w for _, w in run[frame].heard])
        assert found.region.max() <= 1
        assert 0 < found.fit[0] <= 1
        assert found.shares.max() == 1
    least = scores[0].fit[0] + 0.001
    segmenter.settings = replace(segmenter.settings, least_fit=float(least))
    assert frames_of(segmenter.decide_frame(clip, analyses, 0))[0].coarse
    empty = scores[0].agreement + 0.001
    hearing = replace(segmenter.settings.hearing, empty_below=empty)
    segmenter.settings = replace(segmenter.settings, least_fit=0.0, hearing=hearing)
    assert frames_of(segmenter.decide_frame(clip, analyses, 0))[0].reason == REASON_NO_OBJECT


def test_why_proposals_were_taken_follows_the_thresholds(segmenter, clip):
    run, analyses = analysed(segmenter, clip, keep_maps=True)
    assert {note.why for note in run[0].proposals} > {"taken"}
    segmenter.settings = replace(segmenter.settings, least_fit=1.5)
    events = segmenter.decide_frame(clip, analyses, 0)
    (again,) = [event.result for event in events if isinstance(event, FrameEvent)]
    assert again.coarse
    for before, after in zip(run[0].proposals, again.proposals, strict=True):
        assert not after.taken
        if before.taken:
            assert after.why.endswith(", below 1.5: the refined region stands in")
        else:
            assert after.why == before.why
        assert (after.quality, after.stability) == (before.quality, before.stability)
