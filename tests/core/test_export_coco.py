"""COCO's instances, read back by a plain restatement of COCO's own decoding."""

from __future__ import annotations

import json
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
    result,
    ring,
    write_results,
)
from data.make_clips import read_number
from PIL import Image, ImageDraw

from moca_core.export.exporter import ExportSettings
from moca_core.media.video import VideoReader
from moca_core.types import Mask


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("coco")
    return write_results(place / "farm", footage(place))


@pytest.fixture(scope="module", params=["rle", "polygon"])
def export(request, results, tmp_path_factory) -> tuple[Path, str]:
    """The export's folder and how its masks are written."""
    out = tmp_path_factory.mktemp("export") / "out"
    exported("coco", results, out, ExportSettings(segmentation=request.param))
    return out, request.param


def table(folder: Path) -> dict:
    return json.loads((folder / "annotations.json").read_text())


def decoded(text: str, size: list[int]) -> Mask:
    """`rleFrString` and `rleDecode` of cocoapi's common/maskApi.c, step by step."""
    counts: list[int] = []
    place = 0
    while place < len(text):
        value, shift, more = 0, 0, True
        while more:
            code = ord(text[place]) - 48
            value |= (code & 0x1F) << 5 * shift
            more = bool(code & 0x20)
            place, shift = place + 1, shift + 1
            if not more and code & 0x10:
                value |= -1 << 5 * shift
        if len(counts) > 2:
            value += counts[-2]
        counts.append(value)
    flat = [bit for index, count in enumerate(counts) for bit in [index % 2] * count]
    return np.array(flat, bool).reshape(size[1], size[0]).T


def drawn(polygons: list[list[float]], size: list[int]) -> Mask:
    """Polygons along edges of pixels, filled on a picture four times as large: no edge is met."""
    mask = np.zeros(size, bool)
    for polygon in polygons:
        image = Image.new("1", (4 * size[1], 4 * size[0]))
        # The middle of pixel x is at x + 1/2 of the polygon's scale.
        points = [4 * value - 0.5 for value in polygon]
        ImageDraw.Draw(image).polygon(points, fill=1)
        mask ^= np.asarray(image)[2::4, 2::4]
    return mask


def test_objects_come_back_with_their_facts(export):
    folder, kind = export
    found = table(folder)
    categories = {row["id"]: row["name"] for row in found["categories"]}
    assert categories == {1: "Bell or gong", 2: "Dog"}
    images = {row["id"]: row for row in found["images"]}
    assert [row["id"] for row in found["annotations"]] == list(range(1, 9))
    for row in found["annotations"]:
        frame = images[row["image_id"]]["frame"]
        (item,) = [o for o in result(frame).objects if o.name == categories[row["category_id"]]]
        segmentation = row["segmentation"]
        if kind == "rle":
            mask = decoded(segmentation["counts"], segmentation["size"])
            np.testing.assert_array_equal(mask, item.mask)
        else:
            mask = drawn(segmentation, list(SIZE))
            overlap = np.count_nonzero(mask & item.mask) / np.count_nonzero(mask | item.mask)
            assert overlap > 0.98
        assert row["area"] == np.count_nonzero(item.mask)
        x0, y0, x1, y1 = item.box
        assert row["bbox"] == [x0, y0, x1 - x0, y1 - y0]
        assert (row["iscrowd"], row["number"], row["score"]) == (0, item.number, item.score)


def test_every_key_frame_has_its_picture_time_and_reason(export):
    folder, _ = export
    images = table(folder)["images"]
    assert [row["frame"] for row in images] == list(KEYS)
    for row in images:
        picture = np.asarray(Image.open(folder / "images" / row["file_name"]))
        assert picture.shape == (row["height"], row["width"], 3) == (*SIZE, 3)
        assert read_number(picture) == row["frame"]
        assert row["time_s"] == row["frame"] / FPS
        assert row["reason"] == ("silent" if row["frame"] == SILENT else "")
    assert images[0]["file_name"] == "farm/frame_000000.jpg"
    silent = next(row["id"] for row in images if row["frame"] == SILENT)
    assert silent not in {row["image_id"] for row in table(folder)["annotations"]}


def test_parts_are_polygons_of_one_object(export):
    folder, kind = export
    if kind == "polygon":
        bell = next(row for row in table(folder)["annotations"] if row["category_id"] == 1)
        assert len(bell["segmentation"]) == 2
        values = np.concatenate(bell["segmentation"]).reshape(-1, 2)
        rows, columns = np.nonzero(islands())
        assert values.max(axis=0).tolist() == [columns.max() + 1, rows.max() + 1]
    else:
        assert all(
            set(row["segmentation"]) == {"size", "counts"} for row in table(folder)["annotations"]
        )


def test_frames_between_have_the_objects_of_the_nearer_key_frame(tmp_path, monkeypatch):
    """Where nothing moves they stay where they are, as far as the frame's own mask says."""
    results = write_results(tmp_path / "farm", footage(tmp_path), frames="all")
    monkeypatch.setattr(VideoReader, "frame", lambda self, index: np.zeros((*SIZE, 3), np.uint8))
    (note,) = exported("coco", results, tmp_path / "out")
    assert note.startswith("farm: 4 frames between key frames are left out: something sounds")
    found = table(tmp_path / "out")
    images = {row["id"]: row for row in found["images"]}
    frames = [row["frame"] for row in found["images"]]
    # Nearer to the silent key frame than to the one before it: not known which object it is.
    assert frames == [number for number in range(COUNT) if number not in range(26, 30)]
    assert [row["frame"] for row in found["images"] if row["key"]] == list(KEYS)
    assert images[16]["time_s"] == pytest.approx(1.5)
    seen = dict.fromkeys(frames, 0)
    for row in found["annotations"]:
        seen[images[row["image_id"]]["frame"]] += 1
        segmentation = row["segmentation"]
        mask = decoded(segmentation["counts"], segmentation["size"])
        truth = ring() if row["category_id"] == 2 else islands()
        np.testing.assert_array_equal(mask, truth)
    assert (seen[5], seen[16], seen[22], seen[33], seen[48]) == (1, 1, 2, 0, 2)
