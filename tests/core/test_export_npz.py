"""The saved intermediates as arrays."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from core.export_fakes import (
    FPS,
    KEYS,
    SILENT,
    SIZE,
    exported,
    maps,
    result,
    write_results,
)

from moca_core.errors import StorageError

MAPPED = [number for number in KEYS if number != SILENT]


@pytest.fixture
def results(tmp_path) -> Path:
    """Without the clip's file, which isn't needed."""
    return write_results(tmp_path / "farm", Path("gone.mp4"))


def test_arrays_of_all_frames(results, tmp_path):
    assert exported("npz", results, tmp_path / "out") == []
    with np.load(tmp_path / "out" / "farm.npz") as archive:
        found = {name: archive[name] for name in archive.files}
    assert found["frames"].tolist() == MAPPED
    assert found["times_s"].tolist() == [number / FPS for number in MAPPED]
    assert found["all_frames"].tolist() == list(KEYS)
    assert found["all_times_s"].tolist() == [number / FPS for number in KEYS]
    assert found["all_reasons"].tolist() == ["silent" if n == SILENT else "" for n in KEYS]
    assert (found["masks"].dtype, found["masks"].shape) == (bool, (len(MAPPED), *SIZE))
    for place, number in enumerate(MAPPED):
        np.testing.assert_array_equal(found["masks"][place], result(number).union)
        for name, values in maps(number).items():
            assert found[name].dtype == values.dtype
            np.testing.assert_array_equal(found[name][place], values)


def test_the_archive_is_packed_and_whole(results, tmp_path):
    exported("npz", results, tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "out" / "farm.npz") as archive:
        assert archive.testzip() is None
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_DEFLATED}


def test_without_maps_there_are_the_masks(results, tmp_path):
    for path in (results / "maps").iterdir():
        path.unlink()
    (note,) = exported("npz", results, tmp_path / "out")
    assert note.startswith("farm: masks only, no maps were saved.")
    assert "--save-maps" in note
    with np.load(tmp_path / "out" / "farm.npz") as archive:
        assert "evidence" not in archive.files
        assert archive["frames"].tolist() == list(KEYS)
        for number, mask in zip(KEYS, archive["masks"], strict=True):
            np.testing.assert_array_equal(mask, result(number).union)


def test_a_clip_without_maps_among_others_is_told(tmp_path):
    for name in ("a", "b"):
        write_results(tmp_path / "all" / name, Path("gone.mp4"))
    for path in (tmp_path / "all" / "a" / "maps").iterdir():
        path.unlink()
    (note,) = exported("npz", tmp_path / "all", tmp_path / "out")
    assert note.startswith("a: masks only")
    with np.load(tmp_path / "out" / "b.npz") as archive:
        assert "evidence" in archive.files


@pytest.mark.parametrize(
    "changed",
    [{"evidence": np.zeros((2, 2), np.float32)}, {"evidence": np.zeros((6, 8))}, {}],
    ids=["shape", "type", "absent"],
)
def test_maps_that_do_not_go_together(results, tmp_path, changed):
    np.savez(results / "maps" / "frame_000010.npz", **(maps(10) | changed if changed else {}))
    with pytest.raises(StorageError, match="frame 10 has no map"):
        exported("npz", results, tmp_path / "out")
    assert not (tmp_path / "out").exists()
