"""Exports from a project, or from what is in memory: corrected frames, ranges, origins."""

from __future__ import annotations

import csv
import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from core.corrected_fakes import CORRECTED, RANGE, found, labels, shown, snapshot
from core.export_fakes import COUNT, FPS, SETTINGS, SIZE, files_of, footage, iou, maps
from core.export_readers import READERS, Masks
from core.official_loaders import OFFICIAL, official_avss
from core.test_export_avsbench import small
from data.make_clips import read_number
from pycocotools.coco import COCO

from moca_core.annotations.model import unpack
from moca_core.annotations.snapshot import Snapshot
from moca_core.errors import ConfigError, StorageError
from moca_core.evaluation.classes import AVSBENCH
from moca_core.evaluation.layouts import LAYOUTS, read_labels, read_mask
from moca_core.export.clips import Choice
from moca_core.export.exporter import ExportSettings
from moca_core.export.formats import FORMATS, export
from moca_core.export.projects import SnapshotClip, snapshot_clip
from moca_core.types import NoteEvent

EVERY = tuple(range(COUNT))


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return footage(tmp_path_factory.mktemp("clips"))


@pytest.fixture
def farm(clip) -> SnapshotClip:
    return snapshot_clip(snapshot(clip), "farm", clip, clip)


def write(name: str, clip, out: Path, settings: ExportSettings | None = None) -> list[str]:
    """Export one clip; returns the notes."""
    settings = settings or SETTINGS.get(name, ExportSettings())
    events = list(export(FORMATS[name], [clip], out, settings))
    return [event.message for event in events if isinstance(event, NoteEvent)]


def read(name: str, out: Path, clip: Path) -> Masks:
    masks = READERS[name][0](out, clip)
    if name == "avsbench":  # the frame nearest to the middle of its second
        return {number + 5: mask for number, mask in masks.items()}
    return masks


def union(number: int) -> np.ndarray:
    return unpack(shown(number)).union


def check(name: str, masks: Masks, numbers) -> None:
    """That the masks of `numbers` are those that are shown."""
    least = READERS[name][1]
    for number in numbers:
        truth = union(number)
        if truth.any():
            assert iou(masks[number], truth) >= least, number
        else:
            assert masks[number].mean() < (0.05 if name == "video" else 1e-9), number


@pytest.fixture(params=FORMATS)
def name(request) -> str:
    """Each format in turn."""
    return request.param


def test_masks_come_back_corrected(name, farm, clip, tmp_path):
    write(name, farm, tmp_path / "out")
    masks = read(name, tmp_path / "out", clip)
    expected = CORRECTED[:5] if name == "avsbench" else EVERY
    assert set(masks) >= set(expected)
    check(name, masks, expected)
    for number in set(expected) & {5, 25, 35, 45}:
        before = unpack(found(number)).union
        assert iou(masks[number], before) < 0.9  # it isn't what the program had found


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "avsbench"])
def test_a_part_in_seconds_and_the_range_of_the_project(name, farm, clip, tmp_path):
    for place, choice, numbers in (
        ("part", Choice(1.0, 2.5), range(10, 25)),
        ("range", Choice(range_only=True), range(RANGE[0], RANGE[1] + 1)),
        ("rest", Choice(start_s=5.5), range(55, 60)),
    ):
        write(name, farm.chosen(choice), tmp_path / place)
        masks = read(name, tmp_path / place, clip)
        if name in ("video", "matte"):  # their time begins with the part
            masks = {number + numbers[0]: mask for number, mask in masks.items()}
        assert sorted(masks) == list(numbers)
        if name != "video":  # which is compared with the clip from its beginning on
            check(name, masks, numbers[::5])


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "avsbench"])
def test_corrected_frames_only(name, farm, clip, tmp_path):
    write(name, farm.chosen(Choice(corrected_only=True)), tmp_path / "out")
    masks = read(name, tmp_path / "out", clip)
    if name in ("video", "matte"):  # frames in between are shown without masks
        masks = {number + 5: mask for number, mask in masks.items()}
        assert sorted(masks) == list(range(5, 56))
    else:
        assert sorted(masks) == list(CORRECTED)
    if name != "video":
        check(name, masks, CORRECTED)
    if name == "matte":
        assert not masks[16].any()


@pytest.mark.parametrize("kind", ["rle", "polygon"])
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_pycocotools_reads_objects_with_names_and_origins(farm, tmp_path, kind):
    write("coco", farm, tmp_path / "out", ExportSettings(segmentation=kind))
    coco = COCO(str(tmp_path / "out" / "annotations.json"))
    names = {row["id"]: row["name"] for row in coco.loadCats(coco.getCatIds())}
    assert sorted(names.values()) == ["Bell or gong", "Dog", "Wolf, grey"]
    images = {row["frame"]: row for row in coco.loadImgs(coco.getImgIds())}
    assert sorted(images) == list(EVERY)
    for number, image in images.items():
        truth = shown(number)
        assert (image["corrected"], image["reason"]) == (truth.corrected, truth.reason)
        rows = coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]], iscrowd=False))
        assert [row["number"] for row in rows] == [item.number for item in truth.objects]
        for row, item in zip(rows, truth.objects, strict=True):
            assert (names[row["category_id"]], row["origin"]) == (item.name, item.origin)
            np.testing.assert_array_equal(coco.annToMask(row).astype(bool), item.mask(SIZE))


def test_png_tables_say_who_made_what(farm, tmp_path):
    write("png", farm, tmp_path / "out")
    tables = {}
    for name in ("frames", "objects"):
        with (tmp_path / "out" / "farm" / f"{name}.csv").open(newline="") as stream:
            tables[name] = list(csv.DictReader(stream))
    corrected = [int(row["frame"]) for row in tables["frames"] if row["corrected"] == "1"]
    assert corrected == list(CORRECTED)
    keys = [int(row["frame"]) for row in tables["frames"] if row["key"] == "1"]
    assert keys == list(range(0, COUNT, 10))
    found = {
        int(row["frame"]): (row["name"], row["origin"])
        for row in tables["objects"]
        if row["number"] == "1"
    }
    assert found[4] == ("Dog", "found")
    assert found[15] == ("Wolf, grey", "found")
    assert found[35] == ("Dog", "drawn")
    assert found[55] == ("Dog", "accepted")
    assert 25 not in found


def test_masks_are_disjoint_and_inside_the_picture(farm):
    for number in farm.numbers:
        objects = farm.result(number).objects
        assert all(item.mask.shape == SIZE and item.mask.any() for item in objects)
        for one, other in combinations(objects, 2):
            assert not (one.mask & other.mask).any()
    bell, dog = sorted(farm.result(5).objects, key=lambda item: item.name)
    assert (dog.name, dog.mask.any(), bell.mask.sum()) == ("Dog", True, 88 * 50)


@pytest.mark.parametrize("tree", OFFICIAL)
def test_the_official_loaders_find_corrected_masks(farm, tmp_path, tree):
    write("avsbench", farm, tmp_path, ExportSettings(tree=tree))
    (item,) = OFFICIAL[tree](tmp_path, "test")
    assert [read_number(picture) for picture in item.images] == list(CORRECTED[:5])
    for number, mask in zip(CORRECTED, item.masks, strict=False):
        np.testing.assert_array_equal(mask, small(union(number)))
    for number, case in zip(CORRECTED, LAYOUTS[tree](tmp_path, None, None).cases, strict=False):
        np.testing.assert_array_equal(read_mask(case.mask_path), small(union(number)))


def test_avss_has_the_corrected_objects_of_all_frames(farm, tmp_path):
    notes = write("avsbench", farm, tmp_path, ExportSettings(tree="avss"))
    assert notes == ["farm: AVSBench has no class for Wolf, grey: left out"]
    (item,) = official_avss(tmp_path, "test")
    cases = LAYOUTS["avss"](tmp_path, None, None).cases
    for number, mask, case in zip(CORRECTED, item.masks, cases, strict=False):
        for thing in shown(number).objects:
            if thing.name != "Wolf, grey":
                kind = AVSBENCH.names.index("dog" if thing.name == "Dog" else "bell")
                np.testing.assert_array_equal(mask == kind, thing.mask(SIZE))
        np.testing.assert_array_equal(read_labels(case.mask_path, case.classes), mask)


def test_maps_in_memory_are_exported(clip, tmp_path):
    kept = {number: maps(number) for number in (10, 20)}
    farm = snapshot_clip(snapshot(clip), "farm", clip, clip, kept)
    assert write("npz", farm, tmp_path / "out") == []
    with np.load(tmp_path / "out" / "farm.npz") as archive:
        assert archive["frames"].tolist() == [10, 20]
        for place, number in enumerate((10, 20)):
            np.testing.assert_array_equal(archive["evidence"][place], maps(number)["evidence"])
            np.testing.assert_array_equal(archive["masks"][place], union(number))
        assert archive["all_frames"].tolist() == list(EVERY)


@pytest.mark.parametrize("name", ["png", "coco", "avsbench", "npz"])
def test_the_record_tells_thresholds_and_configuration(name, farm, tmp_path):
    write(name, farm, tmp_path / "out")
    record = json.loads((tmp_path / "out" / "moca.json").read_text())
    assert record["format"] == name
    (row,) = record["clips"]
    assert (row["name"], row["file"], row["frames"]) == ("farm", "farm.mp4", COUNT)
    assert row["thresholds"] == {"gain": "0.11"}
    assert (row["config"]["bundle"], row["config"]["seed"]) == ("compact", 3)
    assert set(record["settings"]) == set(FORMATS[name].options)


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("video", "matte")])
def test_the_same_snapshot_makes_the_same_files(name, farm, tmp_path):
    for place in ("one", "two"):
        write(name, farm, tmp_path / place)
    files = files_of(tmp_path / "one")
    assert files == files_of(tmp_path / "two")
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_frames_that_were_not_run_are_shown_without_masks(clip, tmp_path):
    whole = snapshot(clip)
    few = Snapshot(whole.clip, results={number: found(number) for number in (10, 14)})
    farm = snapshot_clip(few, "farm", clip, clip)
    with farm.video() as video:
        frames = list(farm.every_frame(video))
    assert [frame.frame for frame in frames] == [10, 11, 12, 13, 14]
    assert [bool(frame.objects) for frame in frames] == [True, False, False, False, True]
    assert frames[1].reason == "no result"
    assert frames[1].time_s == pytest.approx(11 / FPS, abs=1e-3)


def test_choices_that_leave_nothing(farm, clip):
    for choice, words in (
        (Choice(20.0), r"farm: no frame with a result from 20 s on"),
        (Choice(0.0, 0.4, corrected_only=True), r"no corrected frame from 0 s to 0\.4 s"),
    ):
        with pytest.raises(StorageError, match=words):
            farm.chosen(choice)
    with pytest.raises(ConfigError, match="2 to 1 s"):
        Choice(2.0, 1.0)
    plain = Snapshot(snapshot(clip).clip, labels=dict(labels().frames))
    with pytest.raises(StorageError, match="no range is chosen"):
        snapshot_clip(plain, "farm", clip, clip).chosen(Choice(range_only=True))
    with pytest.raises(StorageError, match="no frame has a result"):
        snapshot_clip(Snapshot(plain.clip), "farm", clip, clip)
