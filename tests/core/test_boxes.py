"""Scores against boxes: official definitions, tables of boxes, clips with few or no files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from core.avsbench_fakes import write_table
from data.make_clips import ClipSpec, make_clip, read_number
from numpy.typing import NDArray
from PIL import Image

from moca_core.errors import DatasetError
from moca_core.evaluation.baselines import BASELINES, Look, Parts
from moca_core.evaluation.box_table import BoxClip, read_box_table
from moca_core.evaluation.boxes import (
    CLAIMS,
    ClipEvent,
    box_mask,
    middle_of,
    peak_inside,
    record_of,
    score_boxes,
    success_area,
    text_tables,
    upper_half,
    upper_range,
)
from moca_core.types import FloatMap, Listen, NoteEvent, Prediction, ReportEvent, RgbImage, Wave

LEFT_BOX = (0.0, 0.0, 0.5, 1.0)
RAMP = np.linspace(0, 1, 224, dtype=np.float32)[None].repeat(224, 0)
"""(224, 224), more to the right."""


def official_iou(heat: NDArray[np.float64], boxes: list[list[float]]) -> float:
    """What LVS's `test.py` and `utils.py` do with a heat map and the boxes of VGG-SS, restated."""
    low, high = (-heat).min(), (-heat).max()
    stretched = (-heat - low) / (high - low)
    pred = 1 - stretched
    threshold = np.sort(pred.flatten())[int(pred.shape[0] * pred.shape[1] / 2)]
    pred[pred > threshold] = 1
    pred[pred < 1] = 0
    gt_map = np.zeros([224, 224])
    for box in boxes:
        xmin, ymin, xmax, ymax = [int(224 * max(x, 0)) for x in box]
        temp = np.zeros([224, 224])
        temp[ymin:ymax, xmin:xmax] = 1
        gt_map += temp
    gt_map[gt_map > 0] = 1
    infer_map = np.zeros((224, 224))
    infer_map[pred >= 0.5] = 1
    union = np.sum(gt_map) + np.sum(infer_map * (gt_map == 0))
    return float(np.sum(infer_map * gt_map) / union)


def smooth(seed: int) -> FloatMap:
    """(224, 224) of soft hills, as heat maps are, with a maximum at one place."""
    small = np.random.default_rng(seed).random((7, 7)).astype(np.float32)
    hills = Image.fromarray(small).resize((224, 224), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(hills, np.float32), 0, 1)


BOXES = (
    [[0.1, 0.2, 0.55, 0.9]],
    [[0.0, 0.0, 0.3, 0.3], [0.2, 0.1, 0.9, 0.6]],
    [[-0.1, 0.5, 0.4, 1.0]],
    [[0.00625, 0.015625, 0.00625, 0.015625]],
    [[0.0, 0.0, 1.0, 1.0]],
)


@pytest.mark.parametrize("boxes", BOXES)
@pytest.mark.parametrize("seed", range(4))
def test_the_first_region_is_the_official_one(boxes: list[list[float]], seed: int) -> None:
    soft = smooth(seed)
    clip = BoxClip("clip", "", None, tuple(tuple(box) for box in boxes))
    found = record_of(clip, "method", Prediction(soft > 0.5, soft))
    assert found.iou["lvs"] == pytest.approx(official_iou(soft.astype(np.float64), boxes), abs=1e-9)


def test_half_of_the_picture_is_claimed_whatever_the_scale() -> None:
    assert upper_half(RAMP).mean() == pytest.approx(0.5, abs=0.01)
    np.testing.assert_array_equal(upper_half(RAMP), upper_half(RAMP * 0.01 + 0.3))
    np.testing.assert_array_equal(upper_range(RAMP), upper_range(RAMP * 0.01 + 0.3))
    # One hot corner is the half of the range, but not of the picture.
    corner = RAMP * np.float32(0.1)
    corner[:10, :10] = 1
    assert upper_range(corner).sum() == 100
    assert upper_half(corner).mean() == pytest.approx(0.5, abs=0.01)


def test_maps_of_ones_and_zeros_stay_what_they_are() -> None:
    for share in (20, 150):
        mask = np.zeros((224, 224), bool)
        mask[:, :share] = True
        for region in (upper_half, upper_range):
            np.testing.assert_array_equal(region(mask.astype(np.float32)), mask)
    for region in (upper_half, upper_range):
        assert region(np.ones((4, 4), np.float32)).all()
        assert not region(np.zeros((4, 4), np.float32)).any()


def test_boxes_are_joined_and_cut_at_the_picture() -> None:
    both = box_mask([(0.0, 0.0, 0.5, 0.5), (0.25, 0.25, 0.75, 0.75)])
    assert both.sum() == 112 * 112 + 112 * 112 - 56 * 56
    assert box_mask([(-1.0, 0.0, 0.5, 2.0)]).sum() == 112 * 224
    assert not box_mask([(0.3, 0.3, 0.3, 0.3)]).any()


def test_the_peak_of_a_plateau_counts_by_the_share_inside() -> None:
    left = box_mask([LEFT_BOX])
    assert peak_inside(RAMP, left) == 0
    assert peak_inside(RAMP[:, ::-1], left) == 1
    assert peak_inside(np.ones((224, 224), np.float32), left) == 0.5
    assert peak_inside(np.zeros((224, 224), np.float32), left) == 0


def test_the_area_under_the_success_rate() -> None:
    """Of IoUs 0.52 and 0.22: rate 1 up to 0.20, a half up to 0.50, then 0; trapezoids between."""
    assert success_area([1.0]) == pytest.approx(1)
    assert success_area([0.0]) == pytest.approx(0.025)
    wanted = 0.20 + 0.05 * 0.75 + 0.25 * 0.5 + 0.05 * 0.25
    assert success_area([0.52, 0.22]) == pytest.approx(wanted)


def csv_table(path: Path, rows: list[list[str]], heading: str = "file,class,bbox") -> Path:
    write_table(path, [heading.split(","), *rows])
    return path


def test_the_two_kinds_of_tables_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    for name in ("a_000010.mp4", "b_000020.webm"):
        (tmp_path / "clips" / name).touch()
    boxes = {"a_000010": [[0, 0.1, 0.5, 1]], "b_000020": [[0.1, 0.1, 0.2, 0.2], [0.5, 0, 1, 1]]}
    boxes["gone_000030"] = [[0.0, 0.0, 0.1, 0.1]]
    rows = [{"file": name, "class": "dog", "bbox": value} for name, value in boxes.items()]
    (tmp_path / "vggss.json").write_text(json.dumps(rows))
    cells = [[name, "dog", json.dumps(value)] for name, value in boxes.items()]
    csv_table(tmp_path / "t.csv", [*cells, ["c", "cat", ""]])
    first, second = (
        read_box_table(tmp_path / name, tmp_path / "clips") for name in ("vggss.json", "t.csv")
    )
    assert first == second
    assert [clip.name for clip in first] == list(boxes)
    assert first[0].boxes == ((0.0, 0.1, 0.5, 1.0),)
    assert first[1].path == tmp_path / "clips" / "b_000020.webm"
    assert first[2].path is None
    # By default the clips lie beside the table.
    csv_table(tmp_path / "clips" / "t.csv", [["a_000010.mp4", "dog", "[[0, 0, 1, 1]]"]])
    assert read_box_table(tmp_path / "clips" / "t.csv")[0].path is not None


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("none.csv", None, "no such file"),
        ("t.csv", "file,class\na,dog\n", "lacks a column"),
        ("t.csv", "clip,bbox\na,\n", "lacks a column"),
        ("t.csv", "file,bbox\na,\n", "no clip in it has a box"),
        ("t.csv", "file,bbox\na,left\n", "the boxes of a are 'left'"),
        ("t.csv", 'file,bbox\na,"[0, 0, 1, 1]"\n', "the boxes of a are"),
        ("t.csv", 'file,bbox\na,"[[0, 0, 1]]"\n', "the boxes of a are"),
        ("t.csv", 'file,bbox\na,"[[0, 0, NaN, 1]]"\n', "the boxes of a are"),
        ("t.csv", 'file,bbox\na,"[[10, 20, 200, 220]]"\n', "the boxes of a are"),
        ("t.csv", 'file,bbox\na,"[[0, 0, 1, 1]]"\n', "holds none of the 1 clips, such as a"),
        ("t.csv", f'file,bbox\na,"[[0, 0, 1, 1{"0" * 400}]]"\n', "the boxes of a are"),
        ("t.csv", f'file,bbox\na,"{"[" * 100_000}"\n', "the boxes of a are"),
        ("t.json", "{", "can't be read"),
        ("t.json", "[" * 100_000, "can't be read"),
        ("t.json", '{"file": "a"}', "not a list of objects"),
        ("t.json", '[{"file": "a"}]', "not a list of objects"),
        ("t.json", '[{"file": "a", "bbox": []}]', "the boxes of a are"),
    ],
)
def test_bad_tables_are_told(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(DatasetError) as caught:
        read_box_table(tmp_path / name)
    assert message in caught.value.message
    assert caught.value.hint
    with pytest.raises(DatasetError, match="no such folder"):
        (tmp_path / "ok.csv").touch()
        read_box_table(tmp_path / "ok.csv", tmp_path / "nowhere")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of numbered frames, of 3 s and of 2 s; one without sound; one that is damaged."""
    root = tmp_path_factory.mktemp("clips")
    make_clip(root / "long.mkv", ClipSpec(frames=30, fps=10, audio="libopus", audio_stop_ms=3000))
    make_clip(root / "short.mkv", ClipSpec(frames=20, fps=10, audio="libopus", audio_stop_ms=2000))
    make_clip(root / "mute.mkv", ClipSpec(frames=20, fps=10))
    (root / "damaged.mkv").write_bytes(b"no clip")
    return root


def clips_of(folder: Path, *names: str) -> list[BoxClip]:
    found = []
    for name in names:
        path = folder / f"{name}.mkv"
        found.append(BoxClip(name, "bell", path if path.exists() else None, (LEFT_BOX,)))
    return found


def test_the_middle_frame_is_heard_with_the_sound_around_it(folder: Path) -> None:
    (clip,) = clips_of(folder, "long")
    rgb, wave = middle_of(clip, 2.0)
    assert read_number(rgb) == 15
    assert len(wave) == 32_000
    # A click on every half second, the first of them half a second into the window of 0.5 to 2.5.
    loud = np.flatnonzero(np.abs(wave) > 0.5)
    assert (np.abs((loud / 16_000 + 0.25) % 0.5 - 0.25) < 0.02).all()


def by_side(rgb: RgbImage) -> Listen:
    def listen(wave: Wave) -> Prediction:
        assert len(wave) == 32_000
        mask = np.zeros(rgb.shape[:2], bool)
        mask[:, : rgb.shape[1] // 2] = True
        return Prediction(mask, mask.astype(np.float32))

    return listen


def nothing(rgb: RgbImage) -> Listen:
    empty = np.zeros(rgb.shape[:2], bool)
    return lambda wave: Prediction(empty, empty.astype(np.float32), "silent")


def run(clips: list[BoxClip], looks: dict[str, Look]) -> tuple[dict[str, Any], list[Any]]:
    events = list(score_boxes(clips, looks))
    assert isinstance(events[-1], ReportEvent)
    return events[-1].report, events


def test_every_predictor_is_scored_on_every_clip(folder: Path) -> None:
    parts: Any = Parts(lambda: None, lambda: None)  # type: ignore[arg-type, return-value]
    looks = {"left": by_side, "nothing": nothing, "whole": BASELINES["whole"].make(parts)}
    report, events = run(clips_of(folder, "long", "short"), looks)
    assert [(e.done, e.total) for e in events if isinstance(e, ClipEvent)] == [(1, 2), (2, 2)]
    left, none, whole = (report["predictors"][name] for name in looks)
    for claim in CLAIMS:
        assert (left[claim]["ciou"], left[claim]["iou"]) == (1, pytest.approx(1, abs=0.02))
        assert (none[claim]["ciou"], none[claim]["iou"]) == (0, 0)
        assert whole[claim]["iou"] == 0.5
        assert whole[claim]["ciou"] == 1
    assert (left["peak"], none["peak"], whole["peak"]) == (pytest.approx(1, abs=0.02), 0, 0.5)
    assert (left["empty"], none["empty"]) == (0, 1)
    assert json.loads(json.dumps(report, allow_nan=False))["cases"][1]["reason"] == "silent"
    clips, means = (table.splitlines() for table in text_tables(report).split("\n\n"))
    assert len(clips) == 1 + 2 * 3
    assert len(means) == 1 + 3 * len(CLAIMS)
    assert clips[1].split()[:3] == ["long", "bell", "left"]


def test_clips_that_cannot_be_used_are_noted(folder: Path) -> None:
    report, events = run(clips_of(folder, "gone", "mute", "damaged", "short"), {"left": by_side})
    assert report["failed"] == ["gone", "mute", "damaged"]
    assert report["predictors"]["left"]["n"] == 1
    notes = [event.message for event in events if isinstance(event, NoteEvent)]
    assert [note.split()[0] for note in notes] == ["gone", "mute", "damaged"]
    with pytest.raises(DatasetError, match="none of 2 clips"):
        list(score_boxes(clips_of(folder, "gone", "mute"), {"left": by_side}))


def test_it_can_be_left_at_any_clip(folder: Path) -> None:
    events = score_boxes(clips_of(folder, "short", "long"), {"left": by_side})
    assert isinstance(next(events), ClipEvent)
    events.close()


@pytest.mark.data
def test_boxes_of_the_development_clips(dev_data: Path) -> None:
    """Three of the clips have a box: the table's other column names are known."""
    clips = read_box_table(dev_data / "clips" / "clips.csv")
    assert [clip.category for clip in clips] == ["dog barking", "baby crying", "playing harp"]
    parts: Any = Parts(lambda: None, lambda: None)  # type: ignore[arg-type, return-value]
    report, _ = run(clips, {"whole": BASELINES["whole"].make(parts)})
    areas = [box_mask(clip.boxes).mean() for clip in clips]
    assert [case["iou"]["lvs"] for case in report["cases"]] == pytest.approx(areas)
