"""Masks of our own exports and of other tools, taken into a clip as one edit."""

from __future__ import annotations

import json
import os
import shutil
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from core.corrected_fakes import CORRECTED, drawn, found, labels, shown, snapshot
from core.export_fakes import COUNT, FPS, SIZE, footage, islands, pixels, ring, write_results
from PIL import Image
from pycocotools import mask as coco_masks

from moca_core.annotations import edits
from moca_core.annotations.history import Labels
from moca_core.annotations.imported import Target, frame_number, prefix
from moca_core.annotations.importing import Imported, read_masks
from moca_core.annotations.model import PackedResult
from moca_core.errors import StorageError
from moca_core.export.clips import Choice
from moca_core.export.exporter import ExportSettings
from moca_core.export.formats import FORMATS, export
from moca_core.export.polygons import covered, edge_polygons
from moca_core.export.projects import snapshot_clip
from moca_core.export.reading import read_results
from moca_core.pipeline import rle
from moca_core.types import REASON_NO_OBJECT

TIMES = np.arange(COUNT) / FPS


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return footage(tmp_path_factory.mktemp("clips"))


def target(name: str = "farm", frames=()) -> Target:
    return Target(name, SIZE, TIMES, {item.frame: item for item in frames})


def take(source: Path, to: Target | None = None, resize: bool = False) -> Imported:
    *_, last = read_masks(source, to or target(), resize)
    assert isinstance(last, Imported)
    return last


def refused(source: Path, to: Target | None = None, resize: bool = False) -> StorageError:
    with pytest.raises(StorageError) as caught:
        take(source, to, resize)
    assert caught.value.hint
    assert "\n" not in caught.value.message
    return caught.value


def assert_same(one: PackedResult, other: PackedResult) -> None:
    """The same objects to the pixel."""
    assert (one.frame, one.size) == (other.frame, other.size)
    assert one.time_s == pytest.approx(other.time_s)
    assert {item.number for item in one.objects} == {item.number for item in other.objects}
    for item in one.objects:
        same = other.object(item.number)
        assert same is not None
        assert (item.name, item.origin) == (same.name, same.origin)
        assert item.score == pytest.approx(same.score, abs=1e-4)
        np.testing.assert_array_equal(item.mask(SIZE), same.mask(SIZE))


# -- there and back ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("png", ExportSettings()),
        ("coco", ExportSettings(segmentation="rle")),
        ("coco", ExportSettings(segmentation="polygon")),
    ],
    ids=["png", "rle", "polygon"],
)
@pytest.mark.parametrize(
    "choice", [Choice(), Choice(corrected_only=True)], ids=["all", "corrected"]
)
def test_what_is_exported_comes_back_to_the_pixel(clip, tmp_path, name, settings, choice):
    farm = snapshot_clip(snapshot(clip), "farm", clip, clip).chosen(choice)
    list(export(FORMATS[name], [farm], tmp_path / "out", settings))
    source = tmp_path / "out" / ("annotations.json" if name == "coco" else "")
    imported = take(source)
    assert tuple(imported.frames) == farm.numbers
    assert imported.notes == ()
    for number, frame in imported.frames.items():
        assert_same(frame, shown(number))
        assert frame.corrected
        assert frame.reason == shown(number).reason
    assert set(imported.names) == {"Dog", "Bell or gong", "Wolf, grey"}


@pytest.mark.parametrize("place", ["", "farm", "farm/index", "farm/objects"])
def test_all_folders_of_an_export_of_png(clip, tmp_path, place):
    list(export(FORMATS["png"], [snapshot_clip(snapshot(clip), "farm", clip, clip)],
                tmp_path / "out", ExportSettings()))  # fmt: skip
    imported = take(tmp_path / "out" / place)
    for number in (4, *CORRECTED[:4], 55):
        assert_same(imported.frames[number], shown(number))


def test_names_that_tables_have_to_quote(clip, tmp_path):
    """What can't be shown in a line becomes a space."""
    names = {10: 'dog, "big"', 11: "a\u2028b\nc", 12: "Hund \U0001f415"}
    whole = snapshot(clip)
    results = {n: edits.rename([found(n)], 1, name).after[n] for n, name in names.items()}
    farm = snapshot_clip(replace(whole, results=results, labels={}), "farm", clip, clip)
    for kind in ("png", "coco"):
        list(export(FORMATS[kind], [farm], tmp_path / kind, ExportSettings()))
        source = tmp_path / kind / ("annotations.json" if kind == "coco" else "")
        taken = take(source).frames
        assert [taken[n].objects[0].name for n in names] == [names[10], "a b c", names[12]]


def test_one_picture_of_all_objects_is_one_object(clip, tmp_path):
    list(export(FORMATS["png"], [snapshot_clip(snapshot(clip), "farm", clip, clip)],
                tmp_path / "out", ExportSettings()))  # fmt: skip
    frame = take(tmp_path / "out" / "farm" / "union").frames[20]
    (item,) = frame.objects
    assert (item.name, item.number, item.origin) == ("object", 1, "drawn")
    np.testing.assert_array_equal(item.mask(SIZE), ring() | islands())


def test_frames_between_key_frames_have_no_objects(clip, tmp_path):
    (results,) = read_results(write_results(tmp_path / "farm", clip, frames="all"))
    list(export(FORMATS["png"], [results], tmp_path / "out", ExportSettings()))
    imported = take(tmp_path / "out")
    # Silent ones have nothing to tell apart.
    assert sorted(imported.frames) == [0, 10, 20, *range(30, 41), 50]
    (note,) = imported.notes
    assert note.startswith("45 frames have one mask for all objects and are left out")
    assert imported.frames[30].reason == "silent"


def test_an_import_is_one_edit_that_replaces_and_can_be_undone(clip, tmp_path):
    farm = snapshot_clip(snapshot(clip), "farm", clip, clip).chosen(Choice(0.0, 3.0))
    list(export(FORMATS["coco"], [farm], tmp_path / "out", ExportSettings()))
    before = drawn(9, "Cat", islands())
    mine = [replace(found(number), objects=(before,), corrected=True) for number in (5, 40)]
    others = [found(number) for number in range(COUNT) if number not in (5, 40)]
    imported = take(tmp_path / "out" / "annotations.json", target(frames=[*mine, *others]))
    assert imported.replaced == 1
    kept = Labels(mine)
    assert kept.apply(imported.edit) == set(range(30))
    assert kept.undo_title == "import 30 frames"
    assert_same(kept.frames[5], shown(5))
    assert kept.frames[40] is mine[1]  # the import has no such frame
    kept.undo()
    assert set(kept.frames) == {5, 40}
    assert kept.frames[5] is mine[0]


# -- other people's PNG -----------------------------------------------------------------------


def save(path: Path, values: np.ndarray, mode: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    if mode == "P":
        image.putpalette(bytes(range(256)) * 3)
    elif mode:
        image = image.convert(mode)
    image.save(path)
    return path


def grey(*masks: np.ndarray, values=(255,)) -> np.ndarray:
    picture = np.zeros(SIZE, np.uint8)
    for mask, value in zip(masks, values, strict=False):
        picture[mask] = value
    return picture


@pytest.mark.parametrize("mode", [None, "1", "RGB", "RGBA", "LA"])
def test_black_and_white(tmp_path, mode):
    save(tmp_path / "take 2 - 0007.png", grey(ring()), mode)
    save(tmp_path / "take 2 - 0008.png", grey(), mode)
    imported = take(tmp_path)
    (item,) = imported.frames[7].objects
    assert (item.name, item.number, item.score, item.origin) == ("object", 1, 1.0, "drawn")
    np.testing.assert_array_equal(item.mask(SIZE), ring())
    assert (imported.frames[8].objects, imported.frames[8].reason) == ((), REASON_NO_OBJECT)
    assert imported.empty == 1
    assert imported.frames[7].time_s == 0.7


@pytest.mark.parametrize("kind", ["L", "P", "I;16"])
def test_a_number_for_each_object(tmp_path, kind):
    values = (1, 300) if kind == "I;16" else (1, 200)
    picture = grey(ring(), islands(), values=(1, 200)).astype(np.uint16)
    picture[picture == 200] = values[1]
    picture = picture if kind == "I;16" else picture.astype(np.uint8)
    save(tmp_path / "frame_12.png", picture, "P" if kind == "P" else None)
    imported = take(tmp_path, target(frames=[found(20)]))  # whose object 1 is a dog
    one, other = imported.frames[12].objects
    assert (one.number, one.name) == (1, "Dog")
    assert (other.number, other.name) == (values[1], "object")
    np.testing.assert_array_equal(one.mask(SIZE), ring())
    np.testing.assert_array_equal(other.mask(SIZE), islands())


@pytest.mark.parametrize("mode", [None, "P"])
def test_255_is_a_mask_alone_and_void_beside_numbers(tmp_path, mode):
    save(tmp_path / "0001.png", grey(ring()), mode)
    save(tmp_path / "0002.png", grey(ring(), islands(), values=(3, 255)), mode)
    imported = take(tmp_path)
    (alone,) = imported.frames[1].objects
    assert alone.number == 1
    (item,) = imported.frames[2].objects
    assert item.number == 3
    np.testing.assert_array_equal(item.mask(SIZE), ring())


def test_sizes_are_refused_or_fitted(tmp_path):
    small = grey(islands())[::2, ::2]
    path = save(tmp_path / "frame_000003.png", small)
    error = refused(tmp_path)
    assert error.message == f"{path}: 80x64 pixels, and the clip has 160x128"
    assert "resized" in error.hint
    (item,) = take(tmp_path, resize=True).frames[3].objects
    np.testing.assert_array_equal(item.mask(SIZE), islands())  # its edges lie on even pixels


def test_frames_that_are_not_in_the_clip_are_named(tmp_path):
    for number in (3, 60, 99):
        save(tmp_path / f"frame_{number:06d}.png", grey(ring()))
    save(tmp_path / "cover.png", grey(ring()))
    imported = take(tmp_path)
    assert list(imported.frames) == [3]
    assert imported.notes == (
        "cover.png: no frame number in the name, left out",
        "frames 60, 99 aren't in the clip, which has 60: left out",
    )
    (tmp_path / "frame_000003.png").unlink()
    assert "no mask of a frame of this clip (60 frames)" in refused(tmp_path).message


def test_of_several_clips_the_one_of_that_name(tmp_path):
    save(tmp_path / "barn" / "frame_000001.png", grey(islands()))
    save(tmp_path / "farm" / "frame_000001.png", grey(ring()))
    np.testing.assert_array_equal(take(tmp_path).frames[1].objects[0].mask(SIZE), ring())
    error = refused(tmp_path, target("pond"))
    assert error.message == "barn, farm: masks of 2 clips, none of them named pond"
    for name in ("barn", "farm"):
        save(tmp_path / "flat" / f"{name}_0001.png", grey(ring()))
    assert list(take(tmp_path / "flat").frames) == [1]
    assert "none of them named pond" in refused(tmp_path / "flat", target("pond")).message


def test_results_of_a_run_are_found_beside_their_pictures(clip, tmp_path):
    """`moca segment --overlay` leaves a contact sheet in the folder of the clip."""
    results = write_results(tmp_path / "results", clip)
    save(results / "sheet.png", grey(ring()))
    imported = take(results)
    assert sorted(imported.frames) == list(range(0, COUNT, 10))
    (item,) = imported.frames[20].objects
    np.testing.assert_array_equal(item.mask(SIZE), ring() | islands())


def test_masks_that_overlap_are_the_surer_objects(tmp_path):
    save(tmp_path / "frame_000001_object_01.png", grey(ring()))
    save(tmp_path / "frame_000001_object_02.png", grey(np.ones(SIZE, bool)))
    imported = take(tmp_path)
    one, two = imported.frames[1].objects
    np.testing.assert_array_equal(one.mask(SIZE), ring())
    np.testing.assert_array_equal(two.mask(SIZE), ~ring())
    assert imported.notes == ("masks overlapped in 1 frame: each pixel went to the surer object",)


# -- other people's COCO ----------------------------------------------------------------------


def coco(path: Path, *rows: dict, images=None, **more) -> Path:
    """A file with the annotations `rows` of frame 4; `more` replaces parts of it."""
    images = images or [{"id": 7, "file_name": "take_0004.jpg", "width": 160, "height": 128}]
    content = {
        "images": images,
        "categories": [{"id": 3, "name": "Dog"}, {"id": 5, "name": "Bell\n or gong "}],
        "annotations": [
            {"id": number, "image_id": 7, "category_id": 3} | row for number, row in enumerate(rows)
        ],
    }
    path.write_text(json.dumps(content | more))
    return path


def uncompressed(mask: np.ndarray) -> dict:
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat.astype(np.int8))) + 1
    counts = np.diff(edges, prepend=0, append=len(flat)).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if flat[0] else counts}


KINDS = {
    "compressed": rle.encode,
    "uncompressed": uncompressed,
    "polygon": lambda mask: [ring.ravel().tolist() for ring in edge_polygons(mask)],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [ring, islands, lambda: np.ones(SIZE, bool)])
def test_all_kinds_of_masks(tmp_path, kind, make):
    path = coco(tmp_path / "a.json", {"segmentation": KINDS[kind](make()), "category_id": 5})
    (item,) = take(path).frames[4].objects
    assert (item.name, item.number, item.origin) == ("Bell  or gong", 1, "drawn")
    np.testing.assert_array_equal(item.mask(SIZE), make())


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_polygons_are_filled_as_pycocotools_fills_them(tmp_path):
    """Which draws borders a little thicker."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        turn = np.sort(rng.random(12)) * 2 * np.pi
        far = rng.uniform(20, 60, 12)
        points = np.stack([80 + far * np.cos(turn), 64 + far * np.sin(turn)], axis=1)
        mine = covered(points, SIZE)
        theirs = coco_masks.decode(coco_masks.frPyObjects([points.ravel().tolist()], *SIZE))[..., 0]
        assert np.count_nonzero(mine != theirs.astype(bool)) < 0.03 * mine.sum()


def test_numbers_follow_names_along_the_clip(tmp_path):
    """Two dogs and a bell, in a clip that has a bell already and no dog."""
    images = [{"id": n, "file_name": f"frame_{n:04d}.jpg"} for n in (1, 2)]
    halves = [np.zeros(SIZE, bool) for _ in range(3)]
    for place, half in enumerate(halves):
        half[:, 50 * place : 50 * place + 40] = True
    rows = [
        {"image_id": 1, "segmentation": rle.encode(halves[0])},
        {"image_id": 1, "segmentation": rle.encode(halves[1])},
        {"image_id": 2, "segmentation": rle.encode(halves[2]), "category_id": 5},
        {"image_id": 2, "segmentation": rle.encode(halves[0])},
    ]
    path = coco(tmp_path / "a.json", *rows, images=images, categories=[
        {"id": 3, "name": "Cow"}, {"id": 5, "name": "Bell or gong"}])  # fmt: skip
    imported = take(path, target(frames=[found(20)]))  # dog 1, bell 2
    facts = {n: [(i.number, i.name) for i in frame.objects] for n, frame in imported.frames.items()}
    assert facts == {1: [(3, "Cow"), (4, "Cow")], 2: [(2, "Bell or gong"), (3, "Cow")]}


def test_what_cannot_be_used_is_told(tmp_path):
    images = [
        {"id": 1, "file_name": "farm/frame_000001.jpg", "height": 128, "width": 160},
        {"id": 2, "file_name": "cover.jpg", "height": 128, "width": 160},
        {"id": 3, "file_name": "x.jpg", "frame": 70, "height": 128, "width": 160, "clip": "farm"},
    ]
    rows = [
        {"image_id": 1, "segmentation": rle.encode(ring())},
        {"image_id": 1, "bbox": [1, 2, 3, 4]},
        {"image_id": 9, "segmentation": rle.encode(ring())},
    ]
    imported = take(coco(tmp_path / "a.json", *rows, images=images))
    assert imported.notes == (
        "2 annotations have no mask or no image, and are left out",
        "cover.jpg: no frame number in the name, left out",
        "frame 70 isn't in the clip, which has 60: left out",
    )
    assert imported.names == {"Dog": 1}


# -- damaged and hostile ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "row",
    [
        {"segmentation": {"size": [128, 160], "counts": "0"}},
        {"segmentation": {"size": [128, 160], "counts": [1, 2]}},
        {"segmentation": {"size": [128, 160], "counts": [-5, 20485]}},
        {"segmentation": {"size": [128, 160], "counts": [0.5, 20479.5]}},
        {"segmentation": {"size": [128, 160], "counts": 7}},
        {"segmentation": {"size": [128, 160], "counts": "\ud800"}},
        {"segmentation": {"size": [10**9, 10**9], "counts": "0"}},
        {"segmentation": {"size": [128], "counts": "0"}},
        {"segmentation": {"size": "ab", "counts": "0"}},
        {"segmentation": {"counts": "0"}},
        {"segmentation": [[1, 2, 3]]},
        {"segmentation": [[1, 2, 3, 4, 5, 10**400]]},
        {"segmentation": [[1, 2, 3, 4, 5, 1e9]]},
        {"segmentation": [["a"] * 6]},
        {"segmentation": "0"},
        {"segmentation": rle.encode(np.ones(SIZE, bool)), "score": "high"},
        {"segmentation": rle.encode(np.ones(SIZE, bool)), "category_id": []},
        {"segmentation": rle.encode(np.ones(SIZE, bool)), "image_id": {}},
    ],
)
def test_damaged_annotations(tmp_path, row):
    assert "a.json" in refused(coco(tmp_path / "a.json", row)).message


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", "{}", "null", "[" * 100_000, '{"images": 1, "annotations": []}', "\xff"),
        *('{"images": [], "annotations": [1]}', '{"images": [{}], "annotations": []}'),
        '{"images": [{"id": 1, "file_name": 5}], "annotations": []}',
        '{"images": [{"id": 1, "frame": 1, "height": "x", "width": 1}], "annotations": []}',
    ],
)
def test_files_that_are_no_coco(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_text(content)
    assert "a.json" in refused(path).message


def test_values_that_cannot_be_are_left_alone(tmp_path):
    row = {"segmentation": rle.encode(ring()), "number": -3, "score": 7, "origin": "magic"}
    (item,) = take(coco(tmp_path / "a.json", row)).frames[4].objects
    assert (item.number, item.score, item.origin) == (1, 1.0, "drawn")


def test_files_of_other_sizes(tmp_path):
    small = rle.encode(islands()[::2, ::2])
    images = [{"id": 7, "file_name": "f4.jpg", "width": 80, "height": 64}]
    path = coco(tmp_path / "a.json", {"segmentation": small}, images=images)
    assert "f4.jpg: 80x64 pixels, and the clip has 160x128" in refused(path).message
    (item,) = take(path, resize=True).frames[4].objects
    np.testing.assert_array_equal(item.mask(SIZE), islands())
    images[0]["width"] = 81
    path = coco(tmp_path / "b.json", {"segmentation": small}, images=images)
    assert "another size than its image" in refused(path, resize=True).message


def bomb(path: Path) -> None:
    """A PNG that says it has 60000x60000 pixels."""
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", len(head)) + b"IHDR" + head
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", zlib.crc32(b"IHDR" + head)))


def cut_off(path: Path) -> None:
    save(path, np.random.default_rng(0).integers(0, 2, SIZE, np.uint8) * np.uint8(255))
    path.write_bytes(path.read_bytes()[:200])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (bomb, "60000x60000 pixels, too many to read"),
        (cut_off, "can't be read"),
        (lambda path: path.write_bytes(b""), "not a PNG"),
        (lambda path: path.write_text("text" * 100), "not a PNG"),
        (lambda path: path.mkdir(), "can't be read"),
        (os.mkfifo, "not a file"),
        (lambda path: save(path, np.dstack([grey(ring()), grey(), grey()])), "in colour"),
        (
            lambda path: save(path, np.tile(np.arange(160, dtype=np.uint8), (128, 1))),
            "159 different values",
        ),
        (
            lambda path: save(path, cv2.GaussianBlur(grey(ring()), (3, 3), 0)),
            "different values, which are no masks",
        ),
    ],
)
def test_pictures_that_are_no_masks(tmp_path, make, words):
    make(tmp_path / "frame_000004.png")
    for resize in (False, True):
        error = refused(tmp_path, resize=resize)
        assert words in error.message
        assert "frame_000004.png" in error.message


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("frame,number\nx,1\n", "is damaged"),
        ("frame,number\n-1,1\n", "is damaged"),
        ("number\n1\n", "is damaged"),
        ("frame,number\n1,1,2,3\n", "is damaged"),
        ("frame,number\n4,1\n", "frame_000004_object_01.png: isn't there"),
        ("frame,number,index\n4,../../x,1\n", "isn't there"),
        (f"frame,number\n4,{'9' * 300}\n", "isn't there"),
    ],
)
def test_damaged_tables(tmp_path, table, words):
    (tmp_path / "objects.csv").write_text(table)
    assert words in refused(tmp_path).message


def test_places_without_masks(tmp_path, clip):
    assert "no such file or folder" in refused(tmp_path / "nowhere").message
    assert "neither a folder nor a COCO file" in refused(clip).message
    assert "holds no PNG" in refused(tmp_path).message
    save(tmp_path / "cover.png", grey(ring()))
    assert "no name holds a frame number" in refused(tmp_path).message


def test_too_many_objects(tmp_path):
    rows = [{"segmentation": rle.encode(ring())}] * 257
    assert "257 objects" in refused(coco(tmp_path / "a.json", *rows)).message
    image = {"file_name": "f4.jpg", "width": 160, "height": 128}
    path = coco(tmp_path / "b.json", images=[image | {"id": 7}, image | {"id": 8}])
    assert "are both frame 4" in refused(path).message


@pytest.mark.parametrize(
    ("name", "number", "before"),
    [
        ("frame_000123", 123, ""),
        ("dogs/frame_000007", 7, "dogs"),
        ("images/dogs/frame_000007", 7, "images/dogs"),
        ("dogs_frame_000007", 7, "dogs"),
        ("00012", 12, ""),
        ("take-2.0034", 34, "take-2"),
        ("1234567890123", None, "1234567890123"),
        ("dog", None, "dog"),
    ],
)
def test_numbers_in_names(name, number, before):
    assert frame_number(name) == number
    assert prefix(name) == before


def test_moved_exports_are_read_where_they_are(clip, tmp_path):
    list(export(FORMATS["png"], [snapshot_clip(snapshot(clip), "farm", clip, clip)],
                tmp_path / "out", ExportSettings()))  # fmt: skip
    shutil.move(tmp_path / "out" / "farm", tmp_path / "renamed")
    assert_same(take(tmp_path / "renamed", target("pond")).frames[5], shown(5))
    assert pixels(tmp_path / "renamed" / "objects" / "frame_000005_object_02.png").any()
    assert len(labels()) == len(CORRECTED)
