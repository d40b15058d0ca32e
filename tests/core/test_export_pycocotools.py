"""COCO's own tools read the export: masks, areas, boxes, categories."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from core.export_fakes import KEYS, SILENT, exported, footage, result, write_results
from pycocotools.coco import COCO

from moca_core.export.exporter import ExportSettings

# pycocotools meets numpy 2 so; it isn't ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("coco")
    return write_results(place / "farm", footage(place))


@pytest.mark.parametrize("kind", ["rle", "polygon"])
def test_pycocotools_reads_masks_areas_and_boxes(results, tmp_path, kind):
    exported("coco", results, tmp_path / "out", ExportSettings(segmentation=kind))
    coco = COCO(str(tmp_path / "out" / "annotations.json"))
    names = {row["id"]: row["name"] for row in coco.loadCats(coco.getCatIds())}
    assert sorted(names.values()) == ["Bell or gong", "Dog"]
    frames = {row["frame"]: row["id"] for row in coco.loadImgs(coco.getImgIds())}
    assert sorted(frames) == list(KEYS)
    for number, image in frames.items():
        rows = coco.loadAnns(coco.getAnnIds(imgIds=[image], iscrowd=False))
        objects = {item.name: item for item in result(number).objects}
        assert {names[row["category_id"]] for row in rows} == objects.keys()
        for row in rows:
            mask = coco.annToMask(row).astype(bool)
            np.testing.assert_array_equal(mask, objects[names[row["category_id"]]].mask)
            assert row["area"] == mask.sum()
            left, top, width, height = row["bbox"]
            across, down = (np.flatnonzero(mask.any(axis=axis)) for axis in (0, 1))
            assert (left, left + width) == (across[0], across[-1] + 1)
            assert (top, top + height) == (down[0], down[-1] + 1)
    assert not coco.getAnnIds(imgIds=[frames[SILENT]])
