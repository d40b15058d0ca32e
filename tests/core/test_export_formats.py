"""All rows of the table of formats: what is exported is read back, or nothing is left behind."""

from __future__ import annotations

import errno
import json
import re
from pathlib import Path

import av
import pytest
from core.export_fakes import (
    KEYS,
    SETTINGS,
    exported,
    files_of,
    footage,
    iou,
    result,
    write_results,
)
from core.export_readers import READERS

from moca_core.errors import ConfigError, MediaError, StorageError
from moca_core.export.exporter import STAGING, ExportSettings
from moca_core.export.formats import FORMATS, export
from moca_core.export.reading import read_results
from moca_core.media.video import VideoReader

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guide" / "export.md"


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return footage(tmp_path_factory.mktemp("clips"))


@pytest.fixture
def results(clip, tmp_path) -> Path:
    return write_results(tmp_path / "farm", clip)


@pytest.fixture(params=FORMATS)
def name(request) -> str:
    """Each format in turn."""
    return request.param


def test_masks_come_back(name, results, clip, tmp_path):
    exported(name, results, tmp_path / "out")
    read, least, without = READERS[name]
    found = read(tmp_path / "out", clip)
    assert set(KEYS) - set(found) == without
    for number in set(KEYS) - without:
        truth = result(number).union
        if truth.any():
            assert iou(found[number], truth) >= least
        else:
            assert found[number].mean() < (0.05 if name == "video" else 1e-9)


# An encoder with several threads may write other bytes for the same pictures.
@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("video", "matte")])
def test_the_same_results_are_the_same_files(name, results, tmp_path):
    for place in ("one", "two"):
        exported(name, results, tmp_path / place)
    files = files_of(tmp_path / "one")
    assert files == files_of(tmp_path / "two") != []
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_several_clips_go_into_one_export(name, clip, tmp_path):
    for folder in ("barn", "farm"):
        write_results(tmp_path / "all" / folder, clip)
    exported(name, tmp_path / "all", tmp_path / "out")
    files = files_of(tmp_path / "out")
    of_farm = [path for path in files if "farm" in path]
    assert sorted(path.replace("barn", "farm") for path in files if "barn" in path) == of_farm != []


@pytest.mark.parametrize("content", ["file", "folder"])
def test_a_folder_that_is_not_empty_is_left_alone(name, results, tmp_path, content):
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").touch() if content == "file" else (out / "old").mkdir()
    with pytest.raises(StorageError, match="isn't empty") as caught:
        exported(name, results, out)
    assert "--out" in caught.value.hint
    assert [path.name for path in out.iterdir()] == ["old"]


def test_an_empty_folder_will_do_and_so_will_what_a_kill_left(name, results, tmp_path):
    out = tmp_path / "out"
    (out / STAGING / "half").mkdir(parents=True)
    exported(name, results, out)
    assert files_of(out)
    assert not (out / STAGING).exists()


def test_an_export_that_is_stopped_leaves_nothing(name, results, tmp_path):
    (tmp_path / "there").mkdir()
    for out in (tmp_path / "new", tmp_path / "there"):
        settings = SETTINGS.get(name, ExportSettings())
        events = export(FORMATS[name], read_results(results), out, settings)
        next(events)
        next(events)
        events.close()
    assert not (tmp_path / "new").exists()
    assert list((tmp_path / "there").iterdir()) == []


def test_a_full_disk_leaves_nothing(name, results, tmp_path, monkeypatch):
    """Files are moved to their places when they are whole; a matte is written where it stays."""
    left = {"matte": 0, "video": 0, "npz": 0}.get(name, 3)
    real_replace, real_open = Path.replace, av.open

    def replace(self, target):
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real_replace(self, target)

    def opening(path, mode="r", *args, **options):
        if mode == "w" and name == "matte":
            raise OSError(errno.ENOSPC, "No space left on device")
        return real_open(path, mode, *args, **options)

    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr(av, "open", opening)
    with pytest.raises(StorageError, match="No space left on device"):
        exported(name, results, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_clip_that_is_gone_matters_to_those_that_read_it(name, clip, tmp_path):
    results = write_results(tmp_path / "farm", Path("gone/farm.mp4"))
    if FORMATS[name].needs_clip:
        with pytest.raises(StorageError, match=r"gone/farm\.mp4") as caught:
            exported(name, results, tmp_path / "out")
        assert "--clip FILE" in caught.value.hint
        assert not (tmp_path / "out").exists()
    else:
        exported(name, results, tmp_path / "out")


def test_damaged_results_leave_nothing(name, results, tmp_path):
    path = results / "objects.json"
    table = json.loads(path.read_text())
    table["frames"][2]["objects"][0]["rle"]["counts"] = "0"
    path.write_text(json.dumps(table))
    with pytest.raises(StorageError, match="is damaged"):
        exported(name, results, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_every_format_has_settings_that_exist_and_a_row_in_the_guide(name):
    row = FORMATS[name]
    assert set(row.options) <= set(ExportSettings.__dataclass_fields__)
    line = next(line for line in GUIDE.read_text().splitlines() if line.startswith(f"| `{name}` |"))
    assert line == f"| `{name}` | {row.kept} | {row.lost} |"


def test_every_setting_belongs_to_a_format():
    used = {option for row in FORMATS.values() for option in row.options}
    assert used == set(ExportSettings.__dataclass_fields__)


def test_all_formats_are_read_back():
    assert set(READERS) == set(FORMATS)


@pytest.mark.parametrize(
    ("values", "words"),
    [({"segmentation": "polygons"}, "polygons"), ({"split": "../up"}, r"\.\./up")],
)
def test_settings_that_cannot_be(values, words):
    with pytest.raises(ConfigError, match=words):
        ExportSettings(**values)


def test_frames_that_cannot_be_decoded_are_named(results, tmp_path, monkeypatch):
    whole = VideoReader.frame

    def frame(self, index):
        if index == 20:
            raise MediaError("frame 20 can't be decoded")
        return whole(self, index)

    monkeypatch.setattr(VideoReader, "frame", frame)
    (note,) = exported("coco", results, tmp_path / "out")
    assert note == "farm: frames that can't be decoded are left out: 20"
    assert len(files_of(tmp_path / "out" / "images")) == len(KEYS) - 1


def test_objects_of_key_frames_only_are_told(clip, tmp_path):
    results = write_results(tmp_path / "farm", clip, frames="all")
    (note,) = exported("png", results, tmp_path / "out")
    assert re.search(r"6 key frames only; the 54 frames between", note)


def test_a_folder_that_cannot_be_written(results, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="can't be written"):
        exported("png", results, tmp_path / "file" / "out")


@pytest.mark.parametrize("good", [0, 1])
def test_a_failing_move_leaves_nothing(results, tmp_path, monkeypatch, good):
    """Of the folder of pictures and the table, not even the one that was moved."""
    real, moves = Path.rename, []

    def rename(self, target):
        moves.append(target)
        if len(moves) > good:
            raise OSError(errno.EIO, "Input/output error")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    (tmp_path / "there").mkdir()
    for out in (tmp_path / "new", tmp_path / "there"):
        moves.clear()
        with pytest.raises(StorageError, match="Input/output error"):
            exported("coco", results, out)
    assert not (tmp_path / "new").exists()
    assert list((tmp_path / "there").iterdir()) == []
