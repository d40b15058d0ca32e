"""The pipeline around its encoders: which frames get which masks, when, and what a rerun does."""

from __future__ import annotations

import shutil
import threading
import tracemalloc
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from data.make_scene import FPS, HEIGHT, WIDTH, Scene, SquaresBundle, make_scene

from moca_core.config import SegmentConfig
from moca_core.errors import ConfigError, MediaError, StorageError
from moca_core.media import audio as audio_module
from moca_core.media.probe import AudioInfo
from moca_core.media.video import VideoReader
from moca_core.pipeline.schedule import schedule
from moca_core.pipeline.segmenter import Segmenter
from moca_core.pipeline.store import ClipStore
from moca_core.types import (
    REASON_NO_AUDIO,
    REASON_NO_OBJECT,
    REASON_SILENT,
    FrameEvent,
    NoteEvent,
    StageEvent,
)

# The dog sounds, then the cat, then nothing, then the cat again.
SCENE = Scene(frames=100, sounds=(("dog", 0, 1.2), ("cat", 1.2, 1.7), ("cat", 3.0, 4.0)))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return make_scene(tmp_path_factory.mktemp("scenes") / "scene.mkv", SCENE)


@pytest.fixture(scope="module")
def quiet_clip(tmp_path_factory):
    """The same frames without a sound, which no encoder has to look at."""
    return make_scene(tmp_path_factory.mktemp("scenes") / "quiet.mkv", Scene(frames=100))


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Where `whole` keeps its results."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def whole(clip, kept):
    """Every frame in one uninterrupted run, a key frame a second."""
    segmenter = Segmenter(device="cpu", bundle=SquaresBundle())
    return results(segmenter, clip, frames="all", store=ClipStore(kept))


@pytest.fixture
def full_store(whole, kept, tmp_path):
    """A copy of all results of `whole`."""
    return ClipStore(Path(shutil.copytree(kept, tmp_path / "kept")))


@pytest.fixture
def bundle():
    return SquaresBundle()


@pytest.fixture
def segmenter(bundle):
    return Segmenter(device="cpu", bundle=bundle)


def results(segmenter, clip, **options):
    return [e.result for e in segmenter.clip(clip, **options) if isinstance(e, FrameEvent)]


def iou(one, other):
    union = (one | other).sum()
    return (one & other).sum() / union if union else 1.0


def facts(result):
    """All of a result that a second run must repeat."""
    return (
        result.frame,
        result.time_s,
        result.size,
        result.reason,
        result.window_s,
        result.key,
        result.between,
        result.coarse,
        result.heard,
        [(item.number, item.name, item.score, item.mask.tobytes()) for item in result.objects],
    )


def same(some, others):
    assert [facts(result) for result in some] == [facts(result) for result in others]


def test_every_frame_has_its_own_mask(whole):
    found = whole
    assert [result.frame for result in found] == list(range(100))
    assert [result.frame for result in found if result.key] == [0, 25, 50, 75]
    for result in found:
        assert result.time_s == pytest.approx(result.frame / FPS)
        assert result.size == (HEIGHT, WIDTH)
        for item in result.objects:
            assert iou(item.mask, SCENE.mask(item.name, result.frame)) > (
                0.97 if result.key else 0.9
            )
        if result.key:
            # Not one frame early or late: a square that moves tells them apart.
            assert result.between == ()
            for item in result.objects:
                for other in (result.frame - 1, result.frame + 1):
                    right = iou(item.mask, SCENE.mask(item.name, result.frame))
                    assert right > iou(item.mask, SCENE.mask(item.name, other))


def test_masks_follow_the_flow_for_long(segmenter, clip):
    by_frame = {r.frame: r for r in results(segmenter, clip, frames="all", every_s=1.8, end_s=1.84)}
    assert by_frame[20].between == (0, 45)
    (dog,) = by_frame[20].objects
    assert iou(dog.mask, SCENE.mask("dog", 20)) > 0.9
    assert iou(by_frame[0].objects[0].mask, SCENE.mask("dog", 20)) < 0.5


def test_masks_switch_when_the_sound_switches(segmenter, clip):
    """Within the window of 0.4 s, between two key frames."""
    names = {
        result.frame: {item.name for item in result.objects}
        for result in results(segmenter, clip, frames="all", every_s=2.0)
    }
    assert all(names[frame] == {"dog"} for frame in range(0, 23))
    assert all(names[frame] == {"cat"} for frame in range(36, 43))
    assert all(names[frame] == set() for frame in range(58, 66))
    assert all(names[frame] == {"cat"} for frame in range(83, 100))


def test_reasons_and_windows(whole):
    for result in whole:
        assert bool(result.objects) != bool(result.reason)
        assert result.window_s[1] - result.window_s[0] == pytest.approx(0.4)
        assert 0 <= result.window_s[0] <= result.time_s <= result.window_s[1] <= 4.0
        silent = 58 <= result.frame < 66
        assert not silent or result.reason == REASON_SILENT
        assert not result.heard or result.heard[0][1] > 0.4


def test_a_sound_that_nothing_makes(tmp_path, segmenter):
    clip = make_scene(tmp_path / "bird.mkv", Scene(frames=30, sounds=(("bird", 0, 1.2),)))
    for result in results(segmenter, clip, frames="all"):
        assert result.objects == ()
        assert result.reason == REASON_NO_OBJECT
        assert result.heard[0][0] == "bird"


def test_no_audio_track(tmp_path, segmenter, bundle):
    clip = make_scene(tmp_path / "mute.mkv", Scene(frames=30, audio=False))
    events = list(segmenter.clip(clip, frames="all"))
    found = [event.result for event in events if isinstance(event, FrameEvent)]
    assert [result.frame for result in found] == list(range(30))
    assert {result.reason for result in found} == {REASON_NO_AUDIO}
    assert any("no audio track" in e.message for e in events if isinstance(e, NoteEvent))
    assert bundle.looks == 0  # no encoder can change that


def test_a_sound_track_that_cant_be_read_counts_as_none(segmenter, clip, bundle, monkeypatch):
    """As of a stream that was cut before its first sound packet: its rate isn't known."""
    unknown = AudioInfo("aac", 0, 0)
    monkeypatch.setattr(audio_module, "audio_info", lambda container: unknown)
    events = list(segmenter.clip(clip))
    found = [event.result for event in events if isinstance(event, FrameEvent)]
    assert [result.frame for result in found] == [0, 25, 50, 75]
    assert {result.reason for result in found} == {REASON_NO_AUDIO}
    notes = [event.message for event in events if isinstance(event, NoteEvent)]
    assert notes == ["scene.mkv: the sound track can't be read; its masks are empty."]
    assert bundle.looks == 0


@pytest.fixture
def damage(monkeypatch):
    """Make frames of every clip fail to decode, though the index promises them."""
    whole = VideoReader.frame

    def do(*bad):
        def frame(self, index):
            if index in bad:
                raise MediaError(f"frame {index} can't be decoded")
            return whole(self, index)

        monkeypatch.setattr(VideoReader, "frame", frame)

    return do


@pytest.mark.parametrize("bad", [(10,), (20,), (0,), (25,), (99,), (0, 10, 20, 25, 26, 99)])
def test_frames_that_cant_be_decoded_are_left_out(segmenter, damage, tmp_path, bad):
    scene = Scene(frames=100, sounds=(("dog", 0, 4.0),))
    clip = make_scene(tmp_path / "damaged.mkv", scene)
    damage(*bad)
    events = list(segmenter.clip(clip, frames="all"))
    found = [event for event in events if isinstance(event, FrameEvent)]
    assert [e.result.frame for e in found] == [n for n in range(100) if n not in bad]
    assert found[-1].done == 100 - len(bad)
    # That the last frame is bad shows when all others are done.
    assert found[-1].total == found[-1].done + (99 in bad)
    for event in found:
        (dog,) = event.result.objects
        assert iou(dog.mask, scene.mask("dog", event.result.frame)) > 0.85
        assert dog.number == 1
    (note,) = [event.message for event in events if isinstance(event, NoteEvent)]
    named = ", ".join(map(str, bad[:5])) + (" ..." if len(bad) > 5 else "")
    assert note == f"Frames that can't be decoded were left out: {named}"


def test_of_a_clip_without_one_good_frame_the_run_fails(segmenter, clip, damage):
    damage(*range(100))
    with pytest.raises(MediaError, match="frame 0 can't be decoded"):
        results(segmenter, clip, frames=[0, 10])
    damage(0)
    assert [result.frame for result in results(segmenter, clip, frames=[0, 10])] == [10]


def test_a_silent_clip_needs_no_encoders(tmp_path):
    clip = make_scene(tmp_path / "silent.mkv", Scene(frames=30))
    segmenter = Segmenter(device="cpu")  # whose encoders would be loaded by the first look
    found = results(segmenter, clip, frames="all")
    assert {result.reason for result in found} == {REASON_SILENT}
    assert segmenter._bundle is None


def test_silent_key_frames_arent_looked_at(segmenter, clip, bundle):
    assert len(results(segmenter, clip, every_s=0.2)) == 20
    # Keys at 0, 0.2, ... 3.8; the windows around 2.0 to 2.8 s hold nothing.
    assert bundle.looks == 15


def test_a_short_sound_far_from_its_key_frame_is_found(tmp_path, segmenter):
    scene = Scene(frames=100, sounds=(("dog", 3.4, 3.8),))
    clip = make_scene(tmp_path / "late.mkv", scene)
    found = results(segmenter, clip, frames="all", every_s=100)
    assert {result.frame for result in found if result.objects} >= set(range(86, 94))
    assert found[60].reason == REASON_SILENT


def test_an_object_that_leaves_the_picture(tmp_path, segmenter):
    scene = Scene(frames=40, sounds=(("dog", 0, 1.6),), dog=lambda n: (200 + 6 * n, 40), cat=None)
    clip = make_scene(tmp_path / "away.mkv", scene)
    found = results(segmenter, clip, frames="all", every_s=100)
    assert found[5].objects
    assert found[-1].objects == ()
    assert found[-1].reason == REASON_NO_OBJECT


def test_numbers_stay(segmenter, clip):
    numbers = {}
    for result in results(segmenter, clip, frames="all", every_s=0.5):
        for item in result.objects:
            numbers.setdefault(item.name, set()).add(item.number)
    assert numbers == {"dog": {1}, "cat": {2}}


def test_key_frames_are_analysed_once(segmenter, clip, bundle):
    results(segmenter, clip, frames="all", every_s=0.5)
    # Of eight, the one at 2.5 s not at all: whatever follows it is silent.
    assert bundle.looks == 7


def test_the_sound_is_judged_every_quarter_of_a_second(segmenter, clip, bundle):
    results(segmenter, clip, frames="all")
    # Four key frames, and sixteen quarters, of which those at a border are judged from both sides.
    assert bundle.heard <= 4 + 16 + 5


@pytest.mark.parametrize(
    ("options", "frames", "keys"),
    [
        ({}, [0, 25, 50, 75], [0, 25, 50, 75]),
        ({"every_s": 1.5}, [0, 37, 75], [0, 37, 75]),
        ({"every_s": 1e9}, [0], [0]),
        ({"every_s": 1e-9}, list(range(100)), list(range(100))),
        ({"every_s": 0.04}, list(range(100)), list(range(100))),
        ({"frames": [7, 3, 7, 99]}, [3, 7, 99], [3, 7, 99]),
        ({"frames": range(10, 13)}, [10, 11, 12], [10, 11, 12]),
        ({"frames": np.array([4, 5])}, [4, 5], [4, 5]),
        ({"start_s": 1.0, "end_s": 3.0}, [25, 50], [25, 50]),
        ({"start_s": 1.01, "end_s": 1.01}, [25], [25]),
        ({"start_s": 3.9}, [97], [97]),
        ({"frames": "all", "start_s": 1.0, "end_s": 1.38}, list(range(25, 35)), [25]),
        ({"frames": "all", "start_s": 2.0, "end_s": 3.1}, list(range(50, 78)), [50, 75]),
        ({"frames": "all", "every_s": 1e9, "end_s": 0.1}, [0, 1, 2], [0]),
        ({"frames": "all", "every_s": 1e-6, "end_s": 0.1}, [0, 1, 2], [0, 1, 2]),
        ({"frames": "all", "start_s": 3.5, "end_s": 99.0}, list(range(87, 100)), [87]),
    ],
)
def test_which_frames(segmenter, quiet_clip, options, frames, keys):
    found = results(segmenter, quiet_clip, **options)
    assert [result.frame for result in found] == frames
    assert [result.frame for result in found if result.key] == keys


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"frames": [100]}, "100"),
        ({"frames": [-1, 3]}, "-1"),
        ({"frames": []}, "no frame"),
        ({"frames": "some"}, "some"),
        ({"every_s": 0}, "0"),
        ({"every_s": -1.0}, "-1"),
        ({"every_s": float("nan")}, "nan"),
        ({"start_s": 4.0}, "4 s"),
        ({"start_s": -0.5}, "-0.5 s"),
        ({"start_s": float("nan")}, "nan s"),
        ({"start_s": 2.0, "end_s": 1.0}, "1 s"),
    ],
)
def test_frames_that_are_not_there(segmenter, quiet_clip, options, word):
    with pytest.raises(ConfigError) as caught:
        list(segmenter.clip(quiet_clip, **options))
    assert word in caught.value.message
    assert caught.value.hint


def test_a_file_that_is_no_clip(segmenter, tmp_path):
    path = tmp_path / "text.mp4"
    path.write_text("not a film")
    with pytest.raises(MediaError):
        list(segmenter.clip(path))


def test_progress_counts_every_frame(segmenter, clip):
    events = list(segmenter.clip(clip, frames="all"))
    frames = [event for event in events if isinstance(event, FrameEvent)]
    assert [event.done for event in frames] == list(range(1, 101))
    assert {event.total for event in frames} == {100}
    stages = [e for e in events if isinstance(e, StageEvent) and e.stage.startswith("Frame 25")]
    assert {event.stage for event in stages} == {"Frame 25: colours", "Frame 25: squares"}
    # It was looked at as soon as the frames that follow it were to come.
    assert {event.done for event in stages} == {13}


def test_maps_on_request(segmenter, clip, whole):
    found = results(segmenter, clip, frames="all", keep_maps=True, end_s=1.1)
    kept = {result.frame: set(result.maps) for result in found if result.maps}
    assert set(kept) == {0, 25}  # key frames
    assert kept[0] == {"evidence", "region", "saliency", "clusters", "proposals"}
    assert found[0].maps["proposals"].max() == 2
    assert [note.number for note in found[0].proposals] == [1, 2]
    assert {result.frame for result in found if result.proposals} == {0, 25}
    assert not any(result.maps for result in whole)


def test_stage_times_belong_to_key_frames(segmenter, clip):
    for result in results(segmenter, clip, frames="all", end_s=1.0):
        assert set(result.seconds) == ({"colours", "squares"} if result.key else set())


def test_a_second_run_is_read_from_disk(segmenter, clip, whole, full_store, bundle):
    events = list(segmenter.clip(clip, frames="all", store=full_store))
    again = [event for event in events if isinstance(event, FrameEvent)]
    assert all(event.stored for event in again)
    same([event.result for event in again], whole)
    assert (bundle.looks, bundle.heard) == (0, 0)
    assert not any(e.stage == "Reading the sound" for e in events if isinstance(e, StageEvent))


def test_an_interrupted_run_continues(segmenter, clip, whole, tmp_path):
    store = ClipStore(tmp_path)
    run = segmenter.clip(clip, frames="all", store=store)
    for event in run:
        if isinstance(event, FrameEvent) and event.done == 30:
            break
    run.close()
    assert store.frames() == list(range(30))
    events = list(segmenter.clip(clip, frames="all", store=store))
    again = [event for event in events if isinstance(event, FrameEvent)]
    assert [event.stored for event in again] == [True] * 30 + [False] * 70
    same([event.result for event in again], whole)


@pytest.mark.parametrize(
    "lost",
    [
        range(1, 100),  # stopped after the first frame
        range(14, 100),  # where the next key frame takes over
        range(26, 100),  # just after a key frame
        [99],
        [3, 25, 26, 60, 99],  # dropped or damaged
    ],
)
def test_what_is_lacking_is_filled_in(segmenter, clip, whole, full_store, lost):
    for frame in lost:
        (full_store.folder / f"frame_{frame:06d}.json").write_text("{")
    same(results(segmenter, clip, frames="all", store=full_store), whole)
    assert full_store.frames() == list(range(100))


def test_numbers_continue_after_stored_frames(segmenter, clip, whole, tmp_path):
    """A part that was run before had numbers of its own; the whole clip has one set."""
    store = ClipStore(tmp_path)
    part = results(segmenter, clip, frames="all", start_s=3.0, store=store)
    assert {item.number for result in part for item in result.objects} == {1}
    found = results(segmenter, clip, frames="all", store=store)
    numbers = {(item.name, item.number) for result in found for item in result.objects}
    assert numbers == {("dog", 1), ("cat", 2)}
    same(found, whole)


def test_frames_of_other_key_frames_arent_mixed_in(segmenter, clip, tmp_path):
    store = ClipStore(tmp_path)
    results(segmenter, clip, frames="all", every_s=1.0, store=store)
    part = {"frames": "all", "every_s": 0.7, "end_s": 1.6}
    for options in ({"frames": [10, 30]}, part, {"every_s": 0.3}):
        same(results(segmenter, clip, store=store, **options), results(segmenter, clip, **options))


def test_maps_that_werent_kept_are_computed(segmenter, clip, bundle, tmp_path):
    store = ClipStore(tmp_path)
    results(segmenter, clip, store=store)
    with_maps = results(segmenter, clip, store=store, keep_maps=True)
    assert [bool(result.maps) for result in with_maps] == [True, True, False, True]
    looks = bundle.looks
    again = results(segmenter, clip, store=store, keep_maps=True)
    assert bundle.looks == looks  # the silent frame has none and counts as stored
    for one, other in zip(again, with_maps, strict=True):
        assert one.maps.keys() == other.maps.keys()
        for name, values in one.maps.items():
            assert values == pytest.approx(other.maps[name], abs=1e-3)


def test_a_full_disk_doesnt_end_the_run(segmenter, clip):
    class FullStore:
        tries = 0

        def load(self, frame, maps=False):
            return None

        def save(self, result):
            self.tries += 1
            if self.tries > 3:
                raise StorageError("the disk is full", "Free some space.")

    store = FullStore()
    events = list(segmenter.clip(clip, frames="all", store=store))
    assert sum(isinstance(event, FrameEvent) for event in events) == 100
    notes = [event.message for event in events if isinstance(event, NoteEvent)]
    assert len(notes) == 1
    assert "the disk is full" in notes[0]
    assert store.tries == 4


def test_closing_at_any_event_leaves_nothing_open(segmenter, clip, tmp_path):
    threads = threading.active_count()
    for stop in range(0, 70, 9):
        run = segmenter.clip(clip, frames="all", store=ClipStore(tmp_path))
        for _, _event in zip(range(stop), run, strict=False):
            pass
        run.close()
        assert threading.active_count() == threads
        assert not any(path.suffix == ".tmp" for path in tmp_path.iterdir())
    # What was closed in the middle of an analysis works again.
    assert len(results(segmenter, clip)) == 4


def test_memory_doesnt_grow_with_the_clip(tmp_path, segmenter):
    peaks = []
    for frames in (40, 160):
        scene = Scene(frames=frames, sounds=(("dog", 0, 12), ("cat", 0, 12)))
        clip = make_scene(tmp_path / f"long_{frames}.mkv", scene)
        tracemalloc.start()
        for event in segmenter.clip(clip, frames="all", every_s=0.4):
            del event
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 1e6  # a mask of each frame would be 60 kB


def test_frames_held_for_the_next_key_frame_are_bounded(quiet_clip):
    """However far the key frames are apart, 128 at most are followed back."""
    with VideoReader(quiet_clip) as video:
        info = replace(video.info, frame_count=10_000, times_s=np.arange(10_000) / FPS)
        info = replace(info, duration_s=400.0)
    for every_s in (1.0, 4.0, 100.0, 150.0):
        spans = schedule(info, "all", every_s, None, None)
        assert [frame for span in spans for frame in span.frames] == list(range(10_000))
        assert spans[0].first == 0
        for span, following in pairwise(spans):
            assert span.after == following.key
            assert span.last - span.middle <= 128
            assert span.middle - span.key >= span.last - span.middle
            assert following.first == span.middle + 1


def test_one_picture_with_one_sound(segmenter):
    rgb = np.full((120, 160, 3), 60, np.uint8)
    rgb[20:60, 30:90] = (220, 40, 40)
    wave = np.sin(2 * np.pi * 440 * np.arange(6400) / segmenter.rate_hz).astype(np.float32)
    found = segmenter.predict(rgb, wave)
    truth = np.zeros((120, 160), bool)
    truth[20:60, 30:90] = True
    assert iou(found.mask, truth) > 0.9
    assert ((found.soft > 0.5) == found.mask).all()
    assert found.reason == ""
    silent = segmenter.predict(rgb, np.zeros(6400, np.float32))
    assert (silent.mask.any(), silent.soft.max(), silent.reason) == (False, 0.0, REASON_SILENT)


def test_settings_reach_the_regions():
    segmenter = Segmenter(SegmentConfig(clusters=7, seed=3), device="cpu", bundle=SquaresBundle())
    assert (segmenter.settings.region.clusters, segmenter.settings.region.seed) == (7, 3)
