"""Masks as PNG with their tables."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from core.export_fakes import (
    COUNT,
    FPS,
    KEYS,
    SILENT,
    SIZE,
    exported,
    footage,
    islands,
    pixels,
    result,
    ring,
    write_results,
)
from PIL import Image

from moca_core.export.drawing import colour_of
from moca_core.export.png import index_map, index_of
from moca_core.types import FrameResult, SoundingObject


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return footage(tmp_path_factory.mktemp("clips"))


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def folder(clip, tmp_path_factory) -> Path:
    """The export of results with a mask for every frame."""
    place = tmp_path_factory.mktemp("png")
    exported("png", write_results(place / "farm", clip, frames="all"), place / "out")
    return place / "out" / "farm"


def test_unions_of_every_frame(folder):
    assert len(list((folder / "union").iterdir())) == COUNT
    for number in (0, 25, 40):
        mask = pixels(folder / "union" / f"frame_{number:06d}.png")
        assert (mask.dtype, set(np.unique(mask))) == (np.uint8, {0, 255})
        np.testing.assert_array_equal(mask > 0, result(number // 10 * 10).union)


def test_one_mask_for_each_object(folder):
    files = sorted(path.name for path in (folder / "objects").iterdir())
    expected = [
        f"frame_{number:06d}_object_{item.number:02d}.png"
        for number in KEYS
        for item in result(number).objects
    ]
    assert files == sorted(expected)
    mask = pixels(folder / "objects" / "frame_000020_object_02.png")
    np.testing.assert_array_equal(mask, islands() * np.uint8(255))


def test_numbered_pictures_have_the_colours_of_the_overlay(folder):
    assert len(list((folder / "index").iterdir())) == len(KEYS)
    image = Image.open(folder / "index" / "frame_000020.png")
    assert image.mode == "P"
    np.testing.assert_array_equal(np.asarray(image), islands() * 2 + ring())
    assert image.convert("RGB").getpixel((1, 60 - 30)) == colour_of(1)
    assert image.convert("RGB").getpixel((159, 127)) == colour_of(2)
    assert image.convert("RGB").getpixel((159, 0)) == (0, 0, 0)


def test_where_objects_overlap_the_surer_one_is_seen():
    masks = [np.zeros(SIZE, bool), np.zeros(SIZE, bool)]
    masks[0][:, :100], masks[1][:, 50:] = True, True
    sure = SoundingObject(300, "Dog", 0.9, masks[0])
    unsure = SoundingObject(2, "Cat", 0.2, masks[1])
    for objects in ((sure, unsure), (unsure, sure)):
        found = index_map(FrameResult(0, 0.0, SIZE, objects))
        assert (found[:, :100] == index_of(300)).all()
        assert (found[:, 100:] == 2).all()


def test_indices_fit_a_byte_and_are_never_background():
    assert [index_of(number) for number in (1, 255, 256, 511)] == [1, 255, 1, 1]


def test_the_tables_tell_frames_times_and_reasons(folder):
    frames = table(folder / "frames.csv")
    assert [int(row["frame"]) for row in frames] == list(range(COUNT))
    # Times of the frames between come from the clip.
    assert [float(row["time_s"]) for row in frames] == pytest.approx(np.arange(COUNT) / FPS)
    assert [int(row["frame"]) for row in frames if row["key"] == "1"] == list(KEYS)
    assert frames[SILENT]["reason"] == "silent"
    assert frames[20]["reason"] == ""
    assert (frames[50]["coarse"], frames[20]["coarse"]) == ("1", "0")
    assert frames[20]["heard"] == "Dog 0.7000; Bell or gong 0.2000"
    bell, dog = [row for row in table(folder / "objects.csv") if row["frame"] == "20"]
    assert (bell["number"], bell["name"], bell["score"]) == ("2", "Bell or gong", "0.5000")
    assert tuple(int(bell[side]) for side in ("x0", "y0", "x1", "y1")) == (90, 10, 160, 128)
    assert (dog["time_s"], dog["index"], dog["name"]) == ("2.000000", "1", "Dog")


def test_without_the_clip_only_times_of_key_frames_are_known(tmp_path):
    results = write_results(tmp_path / "farm", Path("gone.mp4"), frames="all")
    exported("png", results, tmp_path / "out")
    frames = table(tmp_path / "out" / "farm" / "frames.csv")
    assert [row["time_s"] for row in frames[:11]] == ["0.000000", *[""] * 9, "1.000000"]
