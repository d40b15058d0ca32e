"""Reading back what `moca segment` wrote, and what is said where it can't be used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from core.export_fakes import (
    COUNT,
    KEYS,
    SILENT,
    SIZE,
    footage,
    islands,
    maps,
    only,
    result,
    ring,
    write_results,
)
from data.make_clips import ClipSpec, make_clip

from moca_core.errors import StorageError
from moca_core.export.reading import read_results
from moca_core.export.results import objects_row
from moca_core.pipeline import rle


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return footage(tmp_path_factory.mktemp("clips"))


@pytest.fixture
def results(clip, tmp_path) -> Path:
    return write_results(tmp_path / "farm", clip)


def change(folder: Path, edit) -> None:
    """Edit `objects.json`."""
    path = folder / "objects.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def test_key_frames_come_back_as_they_were(results, clip):
    found = only(results)
    assert (found.name, found.clip, found.size) == ("farm", clip, SIZE)
    assert tuple(found.rows) == found.numbers == KEYS
    assert found.object_names() == {"Dog", "Bell or gong"}
    assert found.complete
    for number in KEYS:
        assert objects_row(found.result(number)) == objects_row(result(number))
        np.testing.assert_array_equal(found.union(number), result(number).union)
        assert found.has_maps(number) == (number != SILENT)
    assert found.result(SILENT).reason == "silent"
    for name, values in maps(10).items():
        np.testing.assert_array_equal(found.maps(10)[name], values)


def test_frames_between_have_their_union(clip, tmp_path):
    found = only(write_results(tmp_path / "farm", clip, frames="all"))
    assert found.numbers == tuple(range(COUNT))
    assert tuple(found.rows) == KEYS
    assert found.between == COUNT - len(KEYS)
    assert found.has_mask(25)
    assert not found.has_mask(COUNT)
    np.testing.assert_array_equal(found.union(25), ring() | islands())
    assert not found.union(35).any()


def test_a_folder_of_several_clips(clip, tmp_path):
    for name in ("b", "a"):
        write_results(tmp_path / "out" / name, clip)
    (tmp_path / "out" / "notes").mkdir()
    assert [found.name for found in read_results(tmp_path / "out")] == ["a", "b"]


def test_objects_without_a_pixel_are_none(results):
    def clear(content):
        content["frames"][0]["objects"][0]["rle"] = rle.encode(np.zeros(SIZE, bool))

    change(results, clear)
    assert only(results).rows[0]["objects"]
    assert only(results).result(0).objects == ()


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda content: content.pop("frames"), "frames"),
        (lambda content: content["frames"][1].pop("time"), "time"),
        (lambda content: content["frames"][1].update(size=[1, 2]), "different sizes"),
        (lambda content: content["frames"][1].update(size="big"), "objects.json: is damaged"),
        (lambda content: [row.update(size=[0, 4]) for row in content["frames"]], "or of none"),
        (lambda content: [row.update(size=[4]) for row in content["frames"]], "or of none"),
        (lambda content: content["frames"][1].update(frame=-1), "frame -1"),
        (lambda content: content["frames"][1].update(time=float("nan")), "nan s"),
        (lambda content: content["frames"][1]["objects"][0].update(name=None), "named None"),
        (lambda content: content["frames"].clear(), "no key frame"),
        (lambda content: content["frames"][1].update(time=10**400), "frame 10 at"),
        (lambda content: content["frames"][1].update(frame=float("inf")), "objects.json: is dam"),
        (lambda content: [row.update(size=[64.0, 80.0]) for row in content["frames"]], "float"),
        (lambda content: [row.update(size=[10**6, 10**6]) for row in content["frames"]], "pixels"),
    ],
)
def test_damaged_tables_are_told_at_once(results, edit, words):
    change(results, edit)
    with pytest.raises(StorageError, match=words) as caught:
        read_results(results)
    assert "moca segment" in caught.value.hint


@pytest.mark.parametrize("text", ["", "{", "[]", "\xff", "[" * 100_000])
def test_what_is_no_table(results, text):
    (results / "objects.json").write_text(text, encoding="latin-1")
    with pytest.raises(StorageError, match="is damaged"):
        read_results(results)


@pytest.mark.parametrize(
    "edit",
    [
        lambda row: row["objects"][0]["rle"].update(counts="0"),
        lambda row: row["objects"][0]["rle"].update(size=[4, 4], counts="`0"),
        lambda row: row["objects"][0].pop("score"),
        lambda row: row["objects"][0].update(score="high"),
        lambda row: row["objects"][0].update(score=float("nan")),
        lambda row: row["objects"][0].update(
            rle={"size": [10**6, 10**6], "counts": "PPPPPPPPPPP0"}
        ),
        lambda row: row.pop("window"),
    ],
)
def test_a_damaged_frame_is_named(results, edit):
    change(results, lambda content: edit(content["frames"][1]))
    found = only(results)
    found.result(0)
    with pytest.raises(StorageError, match="frame 10"):
        found.result(10)


def test_damaged_masks_and_maps(clip, tmp_path):
    found = only(write_results(tmp_path / "farm", clip, frames="all"))
    (found.source / "masks" / "frame_000011.png").write_bytes(b"no picture")
    (found.source / "maps" / "frame_000010.npz").write_bytes(b"PK no archive")
    with pytest.raises(StorageError, match=r"frame_000011\.png"):
        found.union(11)
    with pytest.raises(StorageError, match=r"frame_000010\.npz"):
        found.maps(10)


@pytest.mark.parametrize("name", ["nowhere", "file", "empty"])
def test_what_holds_no_results(tmp_path, name):
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(StorageError) as caught:
        read_results(tmp_path / name)
    assert name in caught.value.message
    assert "moca segment" in caught.value.hint


def test_a_clip_that_moved(results, clip, tmp_path):
    moved = tmp_path / "elsewhere" / clip.name
    moved.parent.mkdir()
    moved.write_bytes(clip.read_bytes())
    summary = results / "summary.json"
    summary.write_text(summary.read_text().replace(str(clip), "gone/farm.mp4"))
    with pytest.raises(StorageError, match="isn't there any more") as caught, only(results).video():
        pass
    assert "--clip FILE" in caught.value.hint
    for place in (moved, moved.parent):
        (found,) = read_results(results, place)
        with found.video() as video:
            assert video.info.frame_count == COUNT


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"clip": 5, "request": []}'])
def test_without_a_summary_the_masks_are_still_there(results, content):
    (results / "summary.json").write_text(content)
    found = only(results)
    assert found.result(0).objects
    with pytest.raises(StorageError, match="doesn't name its clip"):
        found.clip_path()


@pytest.mark.parametrize(
    "spec",
    [
        ClipSpec(size=(80, 64), frames=COUNT, fps=10),
        ClipSpec(frames=20, fps=10),
        ClipSpec(frames=COUNT, fps=12),
    ],
    ids=["size", "length", "times"],
)
def test_another_clip_of_that_name_is_refused(results, tmp_path, spec):
    other = make_clip(tmp_path / "other.mp4", spec)
    (found,) = read_results(results, other)
    with pytest.raises(StorageError, match="not the clip of the results"), found.video():
        pass


def test_a_clip_of_a_name_that_no_file_can_have_is_not_there(results):
    (results / "summary.json").write_text(json.dumps({"clip": "x" * 5000}))
    with pytest.raises(StorageError, match="isn't there any more"):
        only(results).clip_path()


def test_one_file_for_several_clips(clip, tmp_path):
    for name in ("a", "b"):
        write_results(tmp_path / "out" / name, clip)
    with pytest.raises(StorageError, match="2 clips"):
        read_results(tmp_path / "out", clip)


def test_the_folder_one_is_in_has_a_name_too(results, monkeypatch):
    monkeypatch.chdir(results)
    (found,) = read_results(Path())
    assert found.name == "farm"
    np.testing.assert_array_equal(found.union(0), result(0).union)
