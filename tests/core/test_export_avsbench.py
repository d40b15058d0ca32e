"""Results as AVSBench's trees, read by our layouts and by restatements of its official loaders."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import cv2
import numpy as np
import pytest
from core.export_fakes import (
    COUNT,
    FPS,
    SIZE,
    exported,
    footage,
    islands,
    result,
    ring,
    write_results,
)
from core.official_loaders import OFFICIAL, official_avss, official_ms3, official_s4, table
from data.make_clips import ClipSpec, make_clip, read_number

from moca_core.errors import ConfigError, StorageError
from moca_core.evaluation.classes import AVSBENCH
from moca_core.evaluation.layouts import LAYOUTS, read_image, read_labels, read_mask
from moca_core.evaluation.layouts.avsbench import AVSS, MS3, S4
from moca_core.evaluation.layouts.exporting import TREES
from moca_core.evaluation.runner import read_sound
from moca_core.export.exporter import ExportSettings
from moca_core.media.audio import open_audio
from moca_core.types import Mask

RATE_HZ = 16_000
DOG, BELL = AVSBENCH.names.index("dog"), AVSBENCH.names.index("bell")


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return footage(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def results(clip, tmp_path_factory) -> Path:
    return write_results(tmp_path_factory.mktemp("results") / "farm", clip)


def small(mask: Mask) -> Mask:
    """As AVSBench has it, 224 x 224."""
    values = mask.astype(np.uint8)
    return cv2.resize(values, (224, 224), interpolation=cv2.INTER_NEAREST_EXACT) > 0


def assert_sound(path: Path, clip: Path, start_s: int, seconds: int) -> None:
    with wave.open(str(path)) as stream:
        facts = (stream.getframerate(), stream.getnchannels(), stream.getsampwidth())
        assert facts == (RATE_HZ, 1, 2)
        assert stream.getnframes() == seconds * RATE_HZ
    with open_audio(clip, RATE_HZ) as audio:
        expected = audio.window(start_s, start_s + seconds)
    np.testing.assert_allclose(read_sound(path), np.clip(expected, -1, 1), atol=1 / 32768)


@pytest.mark.parametrize("name", OFFICIAL)
def test_the_official_loader_finds_pictures_masks_and_sound(name, results, clip, tmp_path):
    exported("avsbench", results, tmp_path, ExportSettings(tree=name, split="val"))
    (item,) = OFFICIAL[name](tmp_path, "val")
    assert item.name == "farm_0"
    assert [read_number(picture) for picture in item.images] == [0, 10, 20, 30, 40]
    for number, mask in zip((0, 10, 20, 30, 40), item.masks, strict=True):
        np.testing.assert_array_equal(mask, small(result(number).union))
    assert_sound(item.sound, clip, 0, 5)


def test_the_official_loader_of_avss_finds_classes(results, clip, tmp_path):
    exported("avsbench", results, tmp_path, ExportSettings(tree="avss"))
    (item,) = official_avss(tmp_path, "test")
    assert [read_number(picture) for picture in item.images] == [0, 10, 20, 30, 40]
    assert all(mask.shape == SIZE for mask in item.masks)
    assert set(np.unique(item.masks[0])) == {0, DOG}
    np.testing.assert_array_equal(item.masks[2] == DOG, ring())
    np.testing.assert_array_equal(item.masks[2] == BELL, islands())
    assert not item.masks[3].any()
    assert_sound(item.sound, clip, 0, 5)
    assert table(tmp_path / "AVSS" / "metadata.csv")[0][4] == "bell_dog"


@pytest.mark.parametrize("name", TREES)
def test_our_own_layouts_read_it(name, results, tmp_path):
    exported("avsbench", results, tmp_path, ExportSettings(tree=name))
    data = LAYOUTS[name](tmp_path, None, None)
    assert data.note == ""
    assert len(data.cases) == 5
    for number, case in zip((0, 10, 20, 30, 40), data.cases, strict=True):
        assert read_number(read_image(case.image_path)) == number
        if case.classes is None:
            found = read_mask(case.mask_path)
        else:
            found = read_labels(case.mask_path, case.classes) > 0
        truth = result(number).union
        np.testing.assert_array_equal(found, truth if case.classes else small(truth))
    assert {case.category for case in data.cases} == {
        {"s4": "dog", "ms3": ""}.get(name, "bell+dog")
    }


def test_the_training_split_of_s4_has_one_mask(results, tmp_path):
    exported("avsbench", results, tmp_path, ExportSettings(tree="s4", split="train"))
    (item,) = official_s4(tmp_path, "train")
    assert (len(item.images), len(item.masks)) == (5, 1)
    assert len(list(tmp_path.rglob("gt_masks/**/*.png"))) == 1


def test_the_frame_in_the_middle_of_its_second_is_taken(clip, tmp_path):
    results = write_results(tmp_path / "farm", clip, frames="all")
    exported("avsbench", results, tmp_path / "out", ExportSettings(tree="ms3"))
    (item,) = official_ms3(tmp_path / "out", "test")
    assert [read_number(picture) for picture in item.images] == [5, 15, 25, 35, 45]


def test_long_clips_become_several_of_ten_and_of_five_seconds(tmp_path):
    spec = ClipSpec(frames=170, fps=10, audio="aac", audio_stop_ms=17_000)
    results = long_results(tmp_path / "long", make_clip(tmp_path / "long.mp4", spec), 17)
    exported("avsbench", results, tmp_path / "avss", ExportSettings(tree="avss"))
    rows = table(tmp_path / "avss" / "AVSS" / "metadata.csv")
    assert [(row[1], row[6]) for row in rows] == [("long_0", "v2"), ("long_10", "v1m")]
    first, second = official_avss(tmp_path / "avss", "test")
    assert [read_number(picture) for picture in first.images] == list(range(0, 100, 10))
    assert [read_number(picture) for picture in second.images] == list(range(100, 150, 10))
    assert_sound(second.sound, tmp_path / "long.mp4", 10, 5)
    exported("avsbench", results, tmp_path / "ms3", ExportSettings(tree="ms3"))
    names = [item.name for item in official_ms3(tmp_path / "ms3", "test")]
    assert names == ["long_0", "long_5", "long_10"]


def long_results(folder: Path, clip: Path, seconds: int) -> Path:
    """Results of `farm`, with a copy of its first row in every second."""
    write_results(folder, clip)
    path = folder / "objects.json"
    row = json.loads(path.read_text())["frames"][0]
    rows = [row | {"frame": n * FPS, "time": float(n)} for n in range(seconds)]
    path.write_text(json.dumps({"frames": rows}))
    return folder


def test_what_has_no_class_is_left_out_and_told(results, tmp_path):
    path = write_results(tmp_path / "farm", json_clip(results)) / "objects.json"
    path.write_text(path.read_text().replace("Bell or gong", "Person"))
    notes = exported("avsbench", tmp_path / "farm", tmp_path / "out", ExportSettings(tree="avss"))
    assert notes == ["farm: AVSBench has no class for Person: left out"]
    (item,) = official_avss(tmp_path / "out", "test")
    assert set(np.unique(item.masks[2])) == {0, DOG}


def json_clip(results: Path) -> Path:
    return Path(json.loads((results / "summary.json").read_text())["clip"])


def test_clips_that_make_no_data_set(clip, tmp_path):
    mute = make_clip(tmp_path / "mute.mp4", ClipSpec(frames=COUNT, fps=FPS))
    with pytest.raises(StorageError, match="nothing to export as ms3"):
        exported("avsbench", write_results(tmp_path / "mute", mute), tmp_path / "out")
    results = write_results(tmp_path / "farm", clip)
    path = results / "objects.json"
    rows = json.loads(path.read_text())["frames"]
    path.write_text(json.dumps({"frames": rows[:2] + rows[3:]}))
    for mask in (results / "masks").glob("*20.png"):
        mask.unlink()
    with pytest.raises(StorageError, match="5 seconds on end"):
        exported("avsbench", results, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_s4_needs_something_that_sounds(clip, tmp_path):
    results = write_results(tmp_path / "farm", clip)
    path = results / "objects.json"
    rows = [row | {"objects": []} for row in json.loads(path.read_text())["frames"]]
    path.write_text(json.dumps({"frames": rows}))
    with pytest.raises(StorageError, match="nothing to export as s4"):
        exported("avsbench", results, tmp_path / "s4", ExportSettings(tree="s4"))
    exported("avsbench", results, tmp_path / "ms3", ExportSettings(tree="ms3"))
    (item,) = official_ms3(tmp_path / "ms3", "test")
    assert not np.any(item.masks)


def test_a_tree_must_be_chosen(results, tmp_path):
    with pytest.raises(ConfigError, match="s4, ms3, avss"):
        exported("avsbench", results, tmp_path / "out", ExportSettings())
    assert tuple(TREES.values()) == (S4, MS3, AVSS)
