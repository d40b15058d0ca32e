"""AVSBench's classes: colours, our groups in them, scores as the official script takes them."""

from __future__ import annotations

import csv
import re

import numpy as np
import pytest
import torch

from moca_core.evaluation.classes import (
    AVSBENCH,
    AVSBENCH_NAMES,
    NO_CLASS,
    UNNAMED,
    Classes,
    class_counts,
    class_of,
    summarise_classes,
)
from moca_core.models.sound_groups import SoundGroups
from moca_core.paths import resource
from moca_core.types import Prediction, SoundingObject

THREE = Classes(("background", "dog", "cat"))


def claim(size: tuple[int, int], **objects: np.ndarray) -> Prediction:
    """A prediction of objects by their names; `rest` is claimed without a name."""
    rest = objects.pop("rest", np.zeros(size, bool))
    mask = np.logical_or.reduce([rest, *objects.values()])
    named = tuple(
        SoundingObject(number, name, 0.5, item)
        for number, (name, item) in enumerate(objects.items())
    )
    return Prediction(mask, mask.astype(np.float32), objects=named)


def columns(*which: int) -> np.ndarray:
    """(2, 6) bool, true in these columns."""
    mask = np.zeros((2, 6), bool)
    mask[:, list(which)] = True
    return mask


def official_colours(count: int) -> list[list[int]]:
    """A plain reading of `get_v2_pallete`."""
    table = []
    for number in range(count):
        colour, rest, place = [0, 0, 0], number, 0
        while rest:
            for channel in range(3):
                colour[channel] |= ((rest >> channel) & 1) << (7 - place)
            place, rest = place + 1, rest >> 3
        table.append(colour)
    return table


def official_scores(
    predicted: torch.Tensor, truth: torch.Tensor, classes: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A plain reading of `_batch_miou_fscore`: sums of IoU and F, and counts, by class."""
    ious, scores, counts = (torch.zeros(classes, dtype=torch.float64) for _ in range(3))
    for one, other in zip(predicted, truth, strict=True):
        for label in range(classes):
            claimed, wanted = (one == label).sum().double(), (other == label).sum().double()
            overlap = ((one == label) & (other == label)).sum().double()
            union = claimed + wanted - overlap
            ious[label] += overlap / (2.220446049250313e-16 + union)
            precision, recall = overlap / claimed, overlap / wanted
            score = 1.3 * precision * recall / (0.3 * precision + recall)
            scores[label] += 0.0 if torch.isnan(score) else score
            counts[label] += union != 0
    return ious, scores, counts


def test_names_and_colours_are_the_official_ones() -> None:
    assert len(AVSBENCH_NAMES) == len(set(AVSBENCH_NAMES)) == 71
    assert [AVSBENCH_NAMES.index(name) for name in ("background", "dog", "violin", "woman")] == [
        *(0, 17, 68, 70)
    ]
    # As in their file: the background, then the alphabet.
    assert list(AVSBENCH_NAMES[1:]) == sorted(AVSBENCH_NAMES[1:])
    assert AVSBENCH.colours.tolist() == official_colours(71)
    assert len(np.unique(AVSBENCH.colours, axis=0)) == 71
    assert AVSBENCH.colours[17].tolist() == [128, 64, 0]


def test_labels_come_back_from_their_colours() -> None:
    labels = np.arange(71, dtype=np.uint8).reshape(1, 71).repeat(3, axis=0)
    back, strange = AVSBENCH.labels_in(AVSBENCH.coloured(labels))
    np.testing.assert_array_equal(back, labels)
    assert strange == 0
    # What has no class is white, which is no class's colour; the official loader reads it as 0.
    white = AVSBENCH.coloured(np.full((2, 2), UNNAMED, np.uint8))
    assert (white == 255).all()
    back, strange = AVSBENCH.labels_in(white)
    assert (back == 0).all()
    assert strange == 4


def test_every_group_is_decided_and_every_class_is_one_of_theirs() -> None:
    groups = SoundGroups.load()
    with (resource("sound_groups") / "avsbench.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["name"] for row in rows] == list(groups.names)
    decided = [class_of(name) for name in groups.names]
    assert decided == [row["class"] for row in rows]
    assert decided == [class_of(name) for name in groups.display]
    assert set(decided) <= {NO_CLASS, *AVSBENCH_NAMES[1:]}
    # 38 of AVSBench's 70 can be named; the note of a row says which others the group holds.
    assert len(set(decided) - {NO_CLASS}) == 38
    also = {word for row in rows for word in re.findall(r"[\w-]+", row["note"])}
    assert set(AVSBENCH_NAMES[1:]) - set(decided) <= also
    # Nothing that can't be pointed at has a class.
    assert all(
        name == NO_CLASS for name, seen in zip(decided, groups.visible, strict=True) if not seen
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Dog", "dog"),
        ("dog", "dog"),
        ("Emergency vehicle", "emergency-car"),
        ("Person", NO_CLASS),
        ("Sounding object", NO_CLASS),
        ("", NO_CLASS),
    ],
)
def test_names_of_objects(name: str, expected: str) -> None:
    assert class_of(name) == expected


def test_label_map_of_a_prediction() -> None:
    prediction = claim(
        (2, 6), Dog=columns(0, 1), Cat=columns(1, 2), Person=columns(3), rest=columns(4)
    )
    # The first object keeps the pixels that two share; without a class is not without an object.
    assert THREE.label_map(prediction).tolist() == [[1, 1, 2, UNNAMED, UNNAMED, 0]] * 2
    # A class that the data set doesn't have is none.
    assert Classes(("background", "cat")).label_map(prediction)[0, 0] == UNNAMED
    assert not THREE.label_map(claim((2, 6))).any()


def test_objects_count_within_the_mask_only() -> None:
    prediction = Prediction(
        columns(0),
        columns(0).astype(np.float32),
        objects=(SoundingObject(1, "Dog", 1, columns(0, 1)),),
    )
    assert THREE.label_map(prediction)[0].tolist() == [1, 0, 0, 0, 0, 0]


def test_scores_worked_out_by_hand() -> None:
    """Frame 1: dog true in 4 of 12 pixels, claimed in 4 of which 2 are right; 2 pixels without a
    class. Frame 2: nothing but background is true, a cat is claimed in 2 pixels."""
    dog = np.zeros((2, 6), np.uint8)
    dog[:, :2] = 1
    first = class_counts(
        THREE, THREE.label_map(claim((2, 6), Dog=columns(1, 2), rest=columns(3))), dog
    )
    assert first == {"background": (4, 6 - 0, 8), "dog": (2, 4, 4)}
    second = class_counts(THREE, THREE.label_map(claim((2, 6), Cat=columns(5))), 0 * dog)
    assert second == {"background": (10, 10, 12), "cat": (0, 2, 0)}
    result = summarise_classes([first, second])
    assert result["classes"] == 3
    rows = result["per_class"]
    assert list(rows) == ["background", "cat", "dog"]
    assert rows["dog"] == {
        "iou": pytest.approx(2 / 6),
        "f": pytest.approx(0.5),
        "frames": 1,
        "true_frames": 1,
    }
    assert rows["cat"] == {"iou": 0, "f": 0, "frames": 1, "true_frames": 0}
    background = (4 / 10 + 10 / 12) / 2
    assert rows["background"]["iou"] == pytest.approx(background)
    assert result["miou"] == pytest.approx((background + 2 / 6 + 0) / 3)
    assert result["miou_no_background"] == pytest.approx((2 / 6 + 0) / 2)
    assert result["f_no_background"] == pytest.approx((0.5 + 0) / 2)


def test_scores_are_those_of_the_official_function_whatever_the_batch() -> None:
    draw = np.random.default_rng(4)
    truths = draw.integers(0, 6, (9, 8, 8)).astype(np.uint8)
    predicted = np.where(draw.random((9, 8, 8)) < 0.6, truths, draw.integers(0, 7, (9, 8, 8)))
    truths[0], predicted[1], predicted[2] = 0, 0, 5
    truths[3] = predicted[3]
    classes = Classes(("background", *(f"class {number}" for number in range(1, 8))))
    frames = [
        class_counts(classes, one.astype(np.uint8), other)
        for one, other in zip(predicted, truths, strict=True)
    ]
    result = summarise_classes(frames)
    ious, scores, counts = official_scores(
        torch.from_numpy(predicted), torch.from_numpy(truths), len(classes.names)
    )
    # Class 6 is never true, and class 7 doesn't occur at all.
    assert counts.tolist() == [frames_of(result, name) for name in classes.names]
    assert frames_of(result, "class 7") == 0 < frames_of(result, "class 6")
    for label, name in enumerate(classes.names[:7]):
        row = result["per_class"][name]
        assert row["iou"] == pytest.approx(float(ious[label] / counts[label]))
        assert row["f"] == pytest.approx(float(scores[label] / counts[label]))
    occurs = counts > 0
    assert result["miou"] == pytest.approx(float((ious / counts)[occurs].mean()))
    assert result["f"] == pytest.approx(float((scores / counts)[occurs].mean()))
    assert result["miou_no_background"] == pytest.approx(float((ious / counts)[occurs][1:].mean()))


def frames_of(result: dict, name: str) -> int:
    return result["per_class"].get(name, {"frames": 0})["frames"]


def test_nothing_scored_has_no_scores() -> None:
    result = summarise_classes([])
    assert (result["classes"], result["miou"], result["f_no_background"]) == (0, None, None)
    assert result["per_class"] == {}


def test_without_classes_only_the_background_can_be_right() -> None:
    truth = np.zeros((2, 6), np.uint8)
    truth[:, 0] = 1
    counts = class_counts(THREE, THREE.label_map(claim((2, 6), rest=columns(0))), truth)
    result = summarise_classes([counts])
    assert result["per_class"]["background"]["iou"] == 1
    assert result["per_class"]["dog"]["iou"] == 0
    assert result["miou_no_background"] == 0
