"""Items without masks: how data sets are indexed, and how an item is read."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from core.avsbench_fakes import ms3_tree, ramp, s4_tree, write_png, write_table, write_wav
from core.item_fakes import clip, colours, flat, manifest, silence, tone
from data.make_clips import read_number

from moca_core.errors import DatasetError
from moca_core.training.data import ItemBuilder, ItemReader, Texts
from moca_core.training.layouts import Choice, detect_layout, index_items, open_items
from moca_core.types import StageEvent

VIDEO = "abcdefghijk"


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Clips of 2 s and 3 s, the second in a folder of its own, and one that is short."""
    folder = tmp_path_factory.mktemp("clips")
    clip(folder / "a.mp4")
    clip(folder / "deep" / "er" / "b.mkv", 3.0, "libopus")
    clip(folder / "short.mp4", 0.5)
    (folder / "notes.txt").write_text("no clip")
    (folder / ".hidden.mp4").write_text("no clip")
    return folder


def keys(items):
    return [item.key for item in items]


def test_a_folder_of_clips_is_searched_to_the_bottom(clips):
    items = open_items(clips)
    assert items.layout == "clips"
    assert keys(items) == [
        *("a.mp4@0.500", "a.mp4@1.500"),
        "short.mp4@0.250",
        *("deep/er/b.mkv@0.500", "deep/er/b.mkv@1.500", "deep/er/b.mkv@2.500"),
    ]
    item = items[1]
    assert (item.image, item.sound) == (clips / "a.mp4", clips / "a.mp4")
    assert (item.image_s, item.sound_s) == (1.5, 1.5)
    assert items.recordings.tolist() == [0, 0, 1, 2, 2, 2]
    assert len(open_items(clips, choice=Choice(every_s=0.5))) == 4 + 1 + 6


def test_the_frame_of_a_clip_is_the_one_shown_then(clips):
    with ItemReader(window_s=1.0) as reader:
        for item in open_items(clips, choice=Choice(every_s=0.25)):
            rgb, wave = reader.read(item)
            assert read_number(rgb) == int(item.image_s * 10 + 1e-6)
            assert wave.shape == (16_000,)
            assert np.abs(wave).max() > 0.05


def test_no_clip_at_all_names_what_clips_are(tmp_path):
    with pytest.raises(DatasetError, match="holds no clip") as caught:
        open_items(tmp_path)
    assert ".mp4" in caught.value.hint
    with pytest.raises(DatasetError, match="no such file"):
        open_items(tmp_path / "absent")


def test_s4_gives_all_frames_of_a_split_masked_or_not(tmp_path):
    clips = {(f"{VIDEO}_1000", "dog", "train"): [], (f"{VIDEO}_9000", "dog", "train"): []}
    folder = s4_tree(tmp_path, clips | {("plain", "cat", "test"): []})
    items = open_items(tmp_path)
    assert (items.layout, len(items)) == ("avsbench", 10)
    item = items[3]
    assert item.key == f"train/dog/{VIDEO}_1000_4"
    assert (item.image_s, item.sound_s, item.category) == (None, 3.5, "dog")
    # Two parts of one video are one recording.
    assert {item.recording for item in items} == {VIDEO}
    assert keys(open_items(folder, choice=Choice(split="test")))[0] == "test/cat/plain_1"
    with ItemReader(window_s=1.0) as reader:
        rgb, wave = reader.read(item)
    assert (rgb == 40).all()
    assert wave[0] == pytest.approx(ramp()[3 * 16_000] / 32768, abs=1e-6)


def test_ms3_and_a_split_that_is_not_there(tmp_path):
    ms3_tree(tmp_path, {("one", "train"): [], ("two", "val"): []})
    assert keys(open_items(tmp_path))[:2] == ["train/one_1", "train/one_2"]
    with pytest.raises(DatasetError, match="no clip has split 'test'") as caught:
        open_items(tmp_path, choice=Choice(split="test"))
    assert "train, val" in caught.value.hint


def test_both_trees_at_once_are_refused(tmp_path):
    s4_tree(tmp_path, {("a", "dog", "train"): []})
    ms3_tree(tmp_path, {("b", "train"): []})
    with pytest.raises(DatasetError, match="Single-source and Multi-sources"):
        open_items(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        *(f"{VIDEO}_000030.mp4", f"x/{VIDEO}_30.webm", f"{VIDEO}_30_40.mkv"),
        *(f"train/{VIDEO}_000030_000040.mp4", f"{VIDEO}_30000_40000.avi"),
    ],
)
def test_vggsound_finds_a_video_by_any_usual_name(name, tmp_path):
    table = tmp_path / "anything.csv"
    rows = [[VIDEO, "30", "dog barking, loud", "train"], ["otherid_123", "7", "cat", "test"]]
    write_table(table, rows)
    path = tmp_path / "videos" / name
    path.parent.mkdir(parents=True)
    path.write_text("a video")
    (item,) = open_items(table, choice=Choice(videos=tmp_path / "videos"))
    assert item.image == item.sound == path
    assert (item.key, item.recording) == (f"{VIDEO}_000030", VIDEO)
    assert (item.image_s, item.sound_s, item.category) == (5.0, 5.0, "dog barking, loud")
    (absent,) = open_items(table, choice=Choice("test", videos=tmp_path / "videos"))
    assert absent.image.name == "otherid_123_000007.mp4"


def test_vggsound_in_one_folder_with_a_heading(tmp_path):
    rows = [["youtube_id", "start", "label", "split"], [VIDEO, "30", "dog", "train"]]
    write_table(tmp_path / "vggsound.csv", rows)
    assert detect_layout(tmp_path) == "vggsound"
    assert len(open_items(tmp_path)) == 1
    write_table(tmp_path / "vggsound.csv", [*rows, ["../../etc", "30", "dog", "train"]])
    with pytest.raises(DatasetError, match="line 3"):
        open_items(tmp_path)


def test_a_manifest_needs_no_masks_and_leaves_out_what_does_not_belong_together(tmp_path):
    colours(tmp_path)
    assert detect_layout(tmp_path) == "pairs"
    assert len(open_items(tmp_path)) == 6
    write_png(tmp_path / "p.png", flat((9, 9, 9)))
    write_wav(tmp_path / "s.wav", np.concatenate([silence(3), tone(2), silence(3)]))
    rows = [
        ["on", "dev", "single", "x", "p.png", "s.wav"],
        ["off", "dev", "ms_off", "x", "p.png", "s.wav"],
        ["one", "test", "ms_one", "y", "p.png", "0.wav"],
    ]
    manifest(tmp_path, rows)
    assert keys(open_items(tmp_path)) == ["on", "one"]
    assert keys(open_items(tmp_path, choice=Choice("dev"))) == ["on"]
    assert keys(open_items(tmp_path, choice=Choice(subsets=("ms_off",)))) == ["off"]
    items = open_items(tmp_path)
    assert items.pictures()[0].tolist() == [0, 0]
    with ItemReader(window_s=2.0) as reader:
        wave = reader.wave(items[0])
    # The middle of the sound, where it isn't said when.
    assert len(wave) == 32_000
    assert np.abs(wave[:200]).max() > 0.1
    assert np.abs(wave[-200:]).max() > 0.1


def test_masks_are_never_opened(tmp_path):
    heading = ("id", "split", "subset", "category", "image", "audio", "mask")
    write_png(tmp_path / "p.png", flat((9, 9, 9)))
    write_wav(tmp_path / "s.wav", tone())
    row = ["on", "dev", "single", "x", "p.png", "s.wav", "../../no such folder/mask.png"]
    items = open_items(manifest(tmp_path, [row], heading))
    with ItemReader() as reader:
        assert reader.read(items[0])[0].shape == (32, 32, 3)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "names no item"),
        ([["a", "dev", "single", "x", "../p.png", "s.wav"]], "can't be its image"),
        ([["a", "dev", "single", "x", "p.png", ""]], "can't be its audio"),
        ([["a", "dev", "ms_off", "x", "p.png", "s.wav"]], "no line has split"),
    ],
)
def test_a_manifest_that_can_not_be_used_is_told(rows, words, tmp_path):
    with pytest.raises(DatasetError, match=words):
        open_items(manifest(tmp_path, rows))


def test_a_key_that_comes_twice_gets_a_number(tmp_path):
    row = ["same", "dev", "single", "x", "p.png", "s.wav"]
    assert keys(open_items(manifest(tmp_path, [row, row, row]))) == ["same", "same#2", "same#3"]


@pytest.mark.parametrize("what", ["picture", "sound"])
def test_an_item_that_can_not_be_read_is_named(what, tmp_path):
    items = open_items(colours(tmp_path))
    (tmp_path / ("2.png" if what == "picture" else "2.wav")).write_text("broken")
    with ItemReader() as reader:
        reader.read(items[1])
        with pytest.raises(DatasetError, match="item2: ") as caught:
            reader.read(items[2])
        assert caught.value.hint
        reader.read(items[3])


def test_what_shares_a_recording_shares_a_fold(tmp_path):
    """Items 0 and 1 have one picture; 1 and 2 one sound; 3 is a mix with 4's sound."""
    heading = ("id", "split", "subset", "category", "image", "audio", "mix_of")
    rows = [
        ["0", "dev", "single", "", "a.png", "s0.ogg", ""],
        ["1", "dev", "single", "", "a.png", "s1.ogg", ""],
        ["2", "dev", "single", "", "b.png", "s1.ogg", ""],
        ["3", "dev", "single", "", "c.png", "mix.ogg", "s3.flac;s4.flac"],
        ["4", "dev", "single", "", "d.png", "s4.ogg", ""],
        ["5", "dev", "single", "", "e.png", "s5.ogg", ""],
        ["6", "dev", "single", "", "f.png", "s6.ogg", ""],
    ]
    manifest(tmp_path, rows, heading)
    items = open_items(tmp_path)
    assert items.kin.tolist() == [0, 0, 0, 1, 1, 2, 3]
    # Sounds 5 and 6 were cut from one recording.
    table = [["audio", "group"], ["s5.ogg", "tape"], ["s6.ogg", "tape"]]
    write_table(tmp_path / "audio.csv", table)
    items = open_items(tmp_path)
    assert items.kin.tolist() == [0, 0, 0, 1, 1, 2, 2]
    folds = items.folds(3, seed=1)
    assert len({*folds[:3]}) == len({*folds[3:5]}) == len({*folds[5:]}) == 1
    assert sorted(np.bincount(folds).tolist()) == [2, 2, 3]
    assert (folds == items.folds(3, seed=1)).all()
    with pytest.raises(DatasetError, match="can't make 4 folds"):
        items.folds(4)


def test_folds_by_picture_and_what_may_be_learnt_from_beside_one(tmp_path):
    """A chain of sounds makes all kin: 0 to 3 share one with the next."""
    heading = ("id", "split", "subset", "category", "image", "audio", "mix_of")
    mixes = ["a.flac;b.flac", "b.flac;c.flac", "c.flac;d.flac", "d.flac;e.flac"]
    rows = [
        [str(n), "dev", "ms_both", "", f"{n}.png", f"m{n}.ogg", mix] for n, mix in enumerate(mixes)
    ]
    rows.append(["again", "dev", "single", "", "0.png", "z.ogg", ""])
    items = open_items(manifest(tmp_path, rows, heading))
    assert items.kin.tolist() == [0] * 5
    folds = items.folds(4, 0, items.recordings)
    assert sorted(folds[:4].tolist()) == [0, 1, 2, 3]
    assert folds[4] == folds[0]
    assert items.apart_from([0]).tolist() == [False, False, True, True, False]
    assert items.apart_from([1, 4]).tolist() == [False, False, False, True, False]
    assert items.apart_from([]).all()


def test_taking_some_and_spreading_a_limit(clips):
    items = open_items(clips)
    assert keys(items.take([5, 0])) == ["deep/er/b.mkv@2.500", "a.mp4@0.500"]
    assert keys(items.limited(3)) == [keys(items)[place] for place in (0, 2, 4)]
    assert len(items.limited(0)) == len(items.limited(99)) == 6
    assert keys(items[1:3]) == keys(items)[1:3]


def test_texts_hold_any_file_name():
    words = ["", "a", "\udcff.mp4", "ein schönes Lied", ""]
    assert list(Texts.of(words)) == words


def test_indexing_can_be_stopped(clips):
    steps = index_items(clips)
    assert isinstance(next(steps), StageEvent)
    steps.close()


def test_200000_entries_take_little_memory(tmp_path):
    rows = [[f"{number:011d}", str(number % 600), "label", "train"] for number in range(200_000)]
    write_table(tmp_path / "vggsound.csv", rows)
    # In a process of its own: the peak of this one is that of other tests.
    code = (
        "import resource, sys\n"
        "from moca_core.training.layouts import open_items\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak()\n"
        "items = open_items(sys.argv[1])\n"
        "grown, texts = (peak() - before) * 1024, items.texts\n"
        "held = items.rows.nbytes + texts.data.nbytes + texts.ends.nbytes\n"
        "kinds = len(set(items.recordings.tolist()))\n"
        "print(len(items), kinds, held, grown, items[123_456].key)\n"
    )
    words = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    count, kinds, held, grown, key = done.stdout.split()
    assert int(count) == int(kinds) == 200_000
    assert int(held) < 60e6
    assert int(grown) < 400e6
    assert key == f"00000123456_{123456 % 600:06d}"


def test_a_builder_without_items_gives_an_empty_set(tmp_path):
    items = ItemBuilder(tmp_path, "clips").finish()
    assert len(items) == 0
    assert list(items) == []
    assert len(items.pictures()[1]) == 0
