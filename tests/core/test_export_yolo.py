"""YOLO's labels, read as its trainers read them."""

from __future__ import annotations

import ast
from pathlib import Path

import cv2
import numpy as np
import pytest
from core.export_fakes import (
    KEYS,
    SILENT,
    SIZE,
    exported,
    footage,
    iou,
    pixels,
    result,
    write_results,
)
from data.make_clips import read_number

from moca_core.export.exporter import ExportSettings
from moca_core.export.yolo import normalised_polygons

NAMES = ["Bell or gong", "Dog"]


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("yolo")
    return write_results(place / "farm", footage(place))


@pytest.fixture(scope="module")
def folder(results, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("export") / "out"
    exported("yolo", results, out)
    return out


def drawn(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W) of (n, 2) shares, as ultralytics' `polygon2mask`: whole pixels, cut off."""
    mask = np.zeros(size, np.uint8)
    cv2.fillPoly(mask, [(points * size[::-1]).astype(np.int32)], color=1)
    return mask > 0


def test_a_line_is_an_object(folder):
    for number in KEYS:
        text = (folder / "labels" / "train" / f"farm_frame_{number:06d}.txt").read_text()
        objects = result(number).objects
        assert len(text.splitlines()) == len(objects)
        for line, item in zip(text.splitlines(), objects, strict=True):
            kind, *values = line.split()
            assert NAMES[int(kind)] == item.name
            points = np.array(values, float).reshape(-1, 2)
            assert points.min() > 0
            assert points.max() < 1
            assert iou(drawn(points, SIZE), item.mask) > 0.98
            # At the size of training the outline is where it was.
            large = cv2.resize(item.mask.astype(np.uint8), (640, 512), interpolation=0) > 0
            assert iou(drawn(points, (512, 640)), large) > 0.95


def test_pictures_lie_beside_their_labels(folder):
    for number in KEYS:
        path = folder / "images" / "train" / f"farm_frame_{number:06d}.jpg"
        assert read_number(pixels(path)) == number
    empty = folder / "labels" / "train" / f"farm_frame_{SILENT:06d}.txt"
    assert empty.read_text() == ""


def test_the_yaml_names_folders_and_classes(folder):
    lines = (folder / "data.yaml").read_text().splitlines()
    assert lines[:3] == ["train: images/train", "val: images/train", "names:"]
    pairs = [line.strip().split(": ", 1) for line in lines[3:]]
    assert [(int(number), ast.literal_eval(name)) for number, name in pairs] == list(
        enumerate(NAMES)
    )


def test_a_split_of_ones_own(results, tmp_path):
    exported("yolo", results, tmp_path / "out", ExportSettings(split="val"))
    assert sorted(path.name for path in (tmp_path / "out").glob("*/*")) == ["val", "val"]
    assert (tmp_path / "out" / "data.yaml").read_text().startswith("train: images/val\n")


def test_an_object_at_all_borders_stays_inside():
    (line,) = normalised_polygons(np.ones((7, 9), bool))
    values = np.array(line.split(), float)
    assert values.min() > 0
    assert values.max() < 1
    assert drawn(values.reshape(-1, 2), (7, 9)).all()
