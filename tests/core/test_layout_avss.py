"""AVSBench-semantic: what is read from its tree, how classes are scored, and what is written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from avsbench_fakes import (
    ALL,
    EMPTY,
    LEFT,
    NUMBERS,
    PALETTE,
    SIDE,
    avss_tree,
    s4_tree,
    semantic,
    write_png,
    write_table,
)
from PIL import Image

from moca_core.errors import DatasetError
from moca_core.evaluation.classes import AVSBENCH, AVSBENCH_NAMES, Classes
from moca_core.evaluation.layouts import LAYOUTS, DataSet, read_labels
from moca_core.evaluation.layouts.saving import saved_mask
from moca_core.evaluation.runner import (
    CaseEvent,
    evaluate,
    resized_labels,
    text_table,
)
from moca_core.types import NoteEvent, Prediction, ReportEvent, SoundingObject

RIGHT = ~LEFT
TOP = LEFT.T.copy()
NEW, OLD, FIRST = ("n-1_0", "dog_man", "test", "v2"), ("o_5", "car", "test", "v1m"), "f_0"
JSON = json.dumps({name: number for number, name in enumerate(AVSBENCH_NAMES, start=1)})


def read(root: Path, split: str | None = None, limit: int | None = None) -> DataSet:
    return LAYOUTS["avss"](root, split, limit)


def run(data: DataSet, predict, **options):
    events = list(evaluate(data, predict, **options))
    assert isinstance(events[-1], ReportEvent)
    return events[-1].report, events


def claim(**objects: np.ndarray) -> Prediction:
    mask = np.logical_or.reduce(list(objects.values()))
    named = tuple(
        SoundingObject(number, name.replace("_", " "), 0.5, item)
        for number, (name, item) in enumerate(objects.items(), start=1)
    )
    return Prediction(mask, mask.astype(np.float32), objects=named)


def dog_left(rgb: np.ndarray, wave: np.ndarray) -> Prediction:
    return claim(Dog=LEFT)


@pytest.fixture
def avss(tmp_path: Path) -> Path:
    """The folder of AVSBench: ten frames of a dog left and a man right, five of a car on top."""
    clips = {
        NEW: [semantic(dog=LEFT, man=RIGHT)] * 10,
        OLD: [semantic(car=TOP)] * 4 + [semantic(car=EMPTY)],
        (FIRST, "dog", "train", "v1s"): [semantic(dog=LEFT)],
    }
    avss_tree(tmp_path / "AVSBench", clips, JSON)
    return tmp_path / "AVSBench"


def test_clips_have_five_or_ten_frames(avss: Path) -> None:
    data = read(avss)
    assert data == read(avss / "AVSS")
    assert (data.split, data.clips, data.incomplete, data.note) == ("test", 2, {}, "")
    assert len(data.cases) == 15
    first, last = data.cases[0], data.cases[9]
    assert (first.id, last.id) == ("test/v2/n-1_0_0", "test/v2/n-1_0_9")
    assert (first.subset, first.category, data.cases[10].category) == ("v2", "dog+man", "car")
    assert (first.time_s, last.time_s) == (0.5, 9.5)
    assert last.size == (224, 224)
    assert last.saved_as == "n-1_0/n-1_0_9.png"
    beside = avss / "AVSS" / "v2" / "n-1_0"
    assert last.image_path == beside / "frames/9.jpg"
    assert last.mask_path == beside / "labels_rgb/9.png"
    assert last.audio_path == beside / "audio.wav"
    assert {case.clip for case in data.cases[:10]} == {first.clip}
    assert data.cases[10].clip != first.clip
    assert first.classes is AVSBENCH


def test_training_clips_of_v1s_have_one_mask(avss: Path) -> None:
    data = read(avss, "train")
    assert [case.saved_as for case in data.cases] == ["f_0/f_0_0.png"]
    assert not data.incomplete


def test_colours_are_classes(avss: Path) -> None:
    case = read(avss).cases[0]
    labels = read_labels(case.mask_path, case.classes)
    np.testing.assert_array_equal(labels, np.where(LEFT, NUMBERS["dog"], NUMBERS["man"]))


def test_each_frame_hears_its_second_to_the_end_of_ten(avss: Path) -> None:
    heard = []

    def listen(rgb: np.ndarray, wave: np.ndarray) -> Prediction:
        heard.append(wave)
        return claim(Dog=EMPTY)

    run(read(avss, limit=10), listen, window_s=1.0)
    starts = [round(wave[0] * 32768) for wave in heard]
    assert starts == [second * 16000 % 30000 for second in range(10)]


def test_scores_worked_out_by_hand(avss: Path) -> None:
    """The left half is always claimed to be a dog. Ten frames: dog right, man missed, no
    background true or claimed but on the right half (claimed, not true: 0). Four frames: the car
    on top missed; background claimed right, true below: 1/3; dog a false alarm. The last:
    background true everywhere, claimed right: 1/2; dog a false alarm again.
    """
    report, events = run(read(avss), dog_left)
    assert report["n"] == 15
    # Of the union of classes: the whole picture ten times, the top half four times, nothing once.
    assert report["m_j"] == pytest.approx((10 * 0.5 + 4 * (1 / 3) + 0.5) / 15)
    assert report["per_subset"]["v2"]["m_j"] == pytest.approx(0.5)
    assert set(report["per_category"]) == {"dog+man", "car"}
    scores = report["classes"]
    rows = scores["per_class"]
    assert {name: (row["frames"], row["true_frames"]) for name, row in rows.items()} == {
        "background": (15, 5),
        "car": (4, 4),
        "dog": (15, 10),
        "man": (10, 10),
    }
    background = (10 * 0 + 4 * (1 / 3) + 0.5) / 15
    dog = 10 / 15
    assert rows["background"]["iou"] == pytest.approx(background)
    assert (rows["dog"]["iou"], rows["dog"]["f"]) == (pytest.approx(dog), pytest.approx(dog))
    assert rows["man"]["iou"] == rows["car"]["iou"] == 0
    assert scores["classes"] == 4
    assert scores["miou"] == pytest.approx((background + dog) / 4)
    assert scores["miou_no_background"] == pytest.approx(dog / 3)
    table = text_table(report).split("\n\n")[1].splitlines()
    assert table[0].split() == ["class", "frames", "true", "in", "iou", "f"]
    assert table[1].split()[:3] == ["mean", "of", "4"]
    assert table[2].split() == ["without", "background", f"{dog / 3:.3f}", f"{dog / 3:.3f}"]
    assert table[5].split() == ["dog", "15", "10", "0.667", "0.667"]
    counts = events[0].record.classes
    half = SIDE * SIDE // 2
    assert counts == {
        "background": (0, half, 0),
        "dog": (half, half, half),
        "man": (0, 0, half),
    }


def test_without_a_class_what_is_claimed_is_neither_class_nor_background(avss: Path) -> None:
    """`Person` has no class: the man is found by the binary scores and missed by his class."""
    report, _ = run(read(avss, limit=10), lambda rgb, wave: claim(Dog=LEFT, Person=RIGHT))
    assert report["m_j"] == 1
    assert set(report["classes"]["per_class"]) == {"dog", "man"}
    assert report["classes"]["miou"] == 0.5


def test_a_prediction_of_another_size_keeps_its_classes(avss: Path) -> None:
    large = np.kron(LEFT, np.ones((2, 2), bool))
    report, events = run(read(avss, limit=10), lambda rgb, wave: claim(Dog=large))
    assert report["classes"]["per_class"]["dog"]["iou"] == 1
    assert events[0].prediction.objects[0].mask.shape == (224, 224)


def test_masks_are_saved_as_the_official_script_saves_them(avss: Path, tmp_path: Path) -> None:
    """A plain reading of save_color_mask: `<uid>/<uid>_<frame>.png`, RGB, 360x240."""
    out = tmp_path / "out"
    run(read(avss), lambda rgb, wave: claim(Dog=LEFT, Person=RIGHT & TOP), save_masks=out)
    assert len(list(out.rglob("*.png"))) == 15
    for index in range(10):
        with Image.open(out / "n-1_0" / f"n-1_0_{index}.png") as image:
            assert (image.mode, image.size) == ("RGB", (360, 240))
            pixels = np.asarray(image)
        assert (pixels[:, :180] == PALETTE["dog"]).all()
        assert (pixels[:120, 180:] == (255, 255, 255)).all()
        assert (pixels[120:, 180:] == PALETTE["background"]).all()


def test_saved_masks_have_colours_of_classes_only(avss: Path) -> None:
    """The official script's own resizing mixes them."""
    draw = np.random.default_rng(0)
    patches = np.kron(draw.random((32, 32)) < 0.5, np.ones((7, 7), bool))
    case = read(avss).cases[0]
    png = saved_mask(case, claim(Dog=patches, Car=~patches & LEFT))
    (avss / "mask.png").write_bytes(png)
    pixels = np.asarray(Image.open(avss / "mask.png")).reshape(-1, 3)
    assert {tuple(colour) for colour in np.unique(pixels, axis=0).tolist()} == {
        *(PALETTE["background"], PALETTE["dog"], PALETTE["car"])
    }


def test_truths_shrink_as_in_the_official_loader(avss: Path) -> None:
    draw = np.random.default_rng(1)
    labels = draw.integers(0, 71, (240, 427), dtype=np.uint8)
    path = read(avss).cases[0].mask_path
    write_png(path, AVSBENCH.coloured(labels))
    small = resized_labels(read_labels(path, AVSBENCH), (224, 224))
    theirs = Image.open(path).convert("RGB").resize((224, 224), Image.Resampling.NEAREST)
    np.testing.assert_array_equal(AVSBENCH.coloured(small), np.asarray(theirs))


def test_what_is_not_there_is_named_and_the_rest_is_scored(avss: Path) -> None:
    data = avss / "AVSS"
    (data / "v1m/o_5/audio.wav").unlink()
    (data / "v2/n-1_0/labels_rgb/0.png").unlink()
    (data / "v2/n-1_0/frames/9.jpg").unlink()
    (data / "label2idx.json").unlink()
    found = read(avss)
    assert dict(found.incomplete) == {"o_5": "no sound", "n-1_0": "no frame 9, no mask 0"}
    report, events = run(found, dog_left)
    assert (report["n"], report["failed"]) == (8, [])
    notes = [event.message for event in events if isinstance(event, NoteEvent)]
    assert notes == [
        "2 of 2 clips are incomplete, what they lack is left out: n-1_0 (no frame 9, no mask 0), "
        "o_5 (no sound); label2idx.json isn't there: AVSBench's own classes are taken"
    ]
    saved = [event.case.saved_as[-5] for event in events if isinstance(event, CaseEvent)]
    assert saved == list("12345678")


def test_limit_takes_whole_clips_of_ten(avss: Path) -> None:
    assert {case.clip for case in read(avss, limit=10).cases} == {"test/v2/n-1_0"}
    assert len(read(avss, limit=4).cases) == 4
    assert len(read(avss, limit=99).cases) == 15


def test_a_mask_in_other_colours_is_left_out_and_told(avss: Path) -> None:
    data = read(avss, limit=10)
    for case in data.cases[:2]:
        write_png(case.mask_path, np.where(LEFT[..., None], (255, 0, 0), 0).astype(np.uint8))
    report, events = run(data, dog_left)
    assert report["failed"] == ["test/v2/n-1_0_0", "test/v2/n-1_0_1"]
    notes = [event.message for event in events if isinstance(event, NoteEvent)]
    assert f"{SIDE * SIDE // 2} pixels have the colour of no class" in notes[0]


def test_a_few_strange_colours_are_background_as_in_the_official_loader(avss: Path) -> None:
    case = read(avss).cases[0]
    colours = semantic(dog=LEFT)
    colours[:5, :5] = (1, 2, 3)
    write_png(case.mask_path, colours)
    labels = read_labels(case.mask_path, AVSBENCH)
    assert (labels[:5, :5] == 0).all()
    assert (labels[5:, :112] == NUMBERS["dog"]).all()


def test_other_classes_are_those_of_the_file(avss: Path) -> None:
    (avss / "AVSS" / "label2idx.json").write_text('{"dog": 2, "background": 1, "cat": 3}')
    assert read(avss).cases[0].classes == Classes(("background", "dog", "cat"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "can't be read"),
        ("[1, 2]", "can't be read"),
        ('{"background": 1, "dog": "2"}', "can't be read"),
        ('{"background": 0, "dog": 1}', "doesn't count classes from background = 1"),
        ('{"background": 1, "dog": 3}', "doesn't count classes from background = 1"),
        ('{"dog": 1, "background": 2}', "doesn't count classes from background = 1"),
        ("{}", "doesn't count classes from background = 1"),
    ],
)
def test_a_bad_file_of_classes_is_told(avss: Path, text: str, message: str) -> None:
    (avss / "AVSS" / "label2idx.json").write_text(text)
    with pytest.raises(DatasetError) as caught:
        read(avss)
    assert message in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([["uid", "split"], ["x", "test"]], "columns missing: label"),
        ([["uid", "split", "label"], ["x", "test", ""]], "line 2 has no label"),
        ([["uid", "split", "label"], ["x", "test", "v3"]], "clip x has label 'v3'"),
        ([["uid", "split", "label"], ["../x", "test", "v2"]], "'../x' can't be the name"),
        ([["uid", "split", "label"], ["x", "train", "v2"]], "no clip has split 'test'"),
    ],
)
def test_bad_tables(tmp_path: Path, rows: list[list[str]], message: str) -> None:
    write_table(tmp_path / "metadata.csv", rows)
    with pytest.raises(DatasetError) as caught:
        read(tmp_path)
    assert message in caught.value.message


def test_what_sounds_need_not_be_known(avss: Path) -> None:
    table = avss / "AVSS" / "metadata.csv"
    table.write_text("uid,split,label\nn-1_0,test,v2\n")
    assert {case.category for case in read(avss).cases} == {""}
    table.write_text("uid,split,label,a_obj\nn-1_0,test,v2,playing_piano\n")
    assert {case.category for case in read(avss).cases} == {"playing_piano"}


def test_the_other_layout_is_suggested(avss: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        LAYOUTS["s4"](avss, None, None)
    assert "What is there has --layout avss." in caught.value.hint
    s4_tree(avss, {("x", "dog", "test"): [ALL]})
    with pytest.raises(DatasetError) as caught:
        LAYOUTS["ms3"](avss, None, None)
    assert "What is there has --layout s4 or avss." in caught.value.hint
    s4_tree(tmp_path / "other", {("x", "dog", "test"): [ALL]})
    with pytest.raises(DatasetError) as caught:
        read(tmp_path / "other")
    assert "holds neither metadata.csv nor AVSS/metadata.csv" in caught.value.message
    assert "What is there has --layout s4." in caught.value.hint


@pytest.mark.data
def test_davis_in_the_form_of_avss(dev_data: Path) -> None:
    data = read(dev_data / "davis_s4", "val")
    assert (len(data.cases), data.clips, data.note) == (10, 2, "")
    whole, _ = run(data, _everything)
    assert whole["failed"] == []
    assert set(whole["per_category"]) == {"dog"}
    # Everything is claimed without a class: the binary score is the share that the dog covers.
    dogs = [read_labels(case.mask_path, AVSBENCH) == NUMBERS["dog"] for case in data.cases]
    assert whole["m_j"] == pytest.approx(np.mean([dog.mean() for dog in dogs]), abs=1e-3)
    rows = whole["classes"]["per_class"]
    assert {name: (row["iou"], row["true_frames"]) for name, row in rows.items()} == {
        "background": (0, 10),
        "dog": (0, 10),
    }
    # Both files say the same.
    for case, dog in zip(data.cases, dogs, strict=True):
        numbered = case.mask_path.parent.parent / "labels_semantic" / case.mask_path.name
        np.testing.assert_array_equal(np.asarray(Image.open(numbered)) == NUMBERS["dog"], dog)
    # What is true, claimed as such, is right.
    truths = iter(dogs)
    perfect, _ = run(data, lambda rgb, wave: claim(Dog=next(truths)))
    assert perfect["classes"]["miou"] == perfect["m_j"] == 1


def _everything(rgb: np.ndarray, wave: np.ndarray) -> Prediction:
    mask = np.ones(rgb.shape[:2], bool)
    return Prediction(mask, mask.astype(np.float32))
