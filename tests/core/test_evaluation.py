"""Layouts, baselines and the runner on a small data set written by the test."""

import csv
import json
import wave as wave_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moca_core.errors import DatasetError
from moca_core.evaluation.baselines import predict_with, whole
from moca_core.evaluation.layouts import LAYOUTS, DataSet, read_pairs
from moca_core.evaluation.runner import (
    CaseEvent,
    evaluate,
    fitted,
    nearest,
    text_table,
)
from moca_core.types import NoteEvent, Prediction, ReportEvent

COLUMNS = ["id", "split", "subset", "category", "image", "mask", "audio", "mix_of"]
SIZE = (8, 12)
LEFT, RIGHT = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
LEFT[:, :4], RIGHT[:, 8:] = True, True


def write_sound(path: Path, hertz: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.sin(np.arange(16000) * 2 * np.pi * hertz / 16000) * 20000
    with wave_module.open(str(path), "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(16000)
        stream.writeframes(samples.astype("<i2").tobytes())


def write_picture(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Two single cases, two sounds of one picture, and a sound that isn't in the picture."""
    rows = []

    def add(
        name: str, split: str, subset: str, image: str, truth: np.ndarray, hertz: float
    ) -> None:
        write_picture(tmp_path / image, np.full((*SIZE, 3), 90, np.uint8))
        write_picture(tmp_path / f"masks/{name}.png", truth.astype(np.uint8) * 255)
        write_sound(tmp_path / f"audio/{name}.wav", hertz)
        category = "dog" if hertz < 1000 else "bird"
        rows.append(
            [name, split, subset, category, image, f"masks/{name}.png", f"audio/{name}.wav", ""]
        )

    add("s1", "dev", "single", "images/s1.png", LEFT, 200)
    add("s2", "other", "single", "images/s2.png", RIGHT, 2000)
    add("m_dog", "dev", "ms_one", "images/m.png", LEFT, 200)
    add("m_bird", "dev", "ms_one", "images/m.png", RIGHT, 2000)
    add("m_off", "dev", "ms_off", "images/m.png", np.zeros(SIZE, bool), 2000)
    with (tmp_path / "manifest.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([COLUMNS, *rows])
    return tmp_path


def always(mask: np.ndarray):
    return lambda rgb, wave: Prediction(mask, mask.astype(np.float32))


def by_ear(rgb: np.ndarray, wave: np.ndarray) -> Prediction:
    """Low sounds come from the left, high ones from the right."""
    pitch = np.abs(np.fft.rfft(wave)).argmax() * 16000 / len(wave)
    mask = LEFT if pitch < 1000 else RIGHT
    return Prediction(mask, mask.astype(np.float32))


def run(cases, predict, **options):
    events = list(evaluate(DataSet(tuple(cases)), predict, **options))
    assert isinstance(events[-1], ReportEvent)
    return events[-1].report, events


def test_pairs_are_read(pairs: Path) -> None:
    cases = LAYOUTS["pairs"](pairs, None, None).cases
    assert [case.id for case in cases] == ["s1", "s2", "m_dog", "m_bird", "m_off"]
    assert cases[2].other_mask_paths == (pairs / "masks/m_bird.png",)
    assert cases[0].other_mask_paths == cases[4].other_mask_paths == ()
    assert len({case.group for case in cases}) == 3


def test_what_a_picture_shows_is_read_if_the_manifest_says(pairs: Path) -> None:
    assert all(case.visible == frozenset() for case in read_pairs(pairs))
    path = pairs / "manifest.csv"
    heading, *rows = path.read_text().splitlines()
    columns = f"{heading},visible_categories,other_sounding_in_image"
    path.write_text(
        "\n".join([columns, *(f"{row},dog+bird,car;bus" for row in rows[:1]), *rows[1:]])
    )
    seen = [case.visible for case in read_pairs(pairs)]
    assert seen == [{"dog", "bird", "car", "bus"}, *[set()] * (len(rows) - 1)]


def test_split_filters_but_keeps_truths_of_the_picture(pairs: Path) -> None:
    text = (pairs / "manifest.csv").read_text().replace("m_bird,dev", "m_bird,other")
    (pairs / "manifest.csv").write_text(text)
    cases = read_pairs(pairs, split="dev")
    assert [case.id for case in cases] == ["s1", "m_dog", "m_off"]
    assert cases[1].other_mask_paths == (pairs / "masks/m_bird.png",)
    with pytest.raises(DatasetError, match="split 'nope'") as caught:
        read_pairs(pairs, split="nope")
    assert "dev, other" in caught.value.hint


def test_limit_spreads_over_the_manifest(pairs: Path) -> None:
    assert [case.id for case in read_pairs(pairs, limit=2)] == ["s1", "m_dog"]
    assert len(read_pairs(pairs, limit=99)) == 5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "holds no manifest.csv"),
        ("id,image,mask\na,b,c\n", "columns missing: split, subset, category, audio"),
        (",".join(COLUMNS) + "\n", "manifest is empty"),
        (",".join(COLUMNS) + "\na,b,c,d,e,f,g\na,b,c,d,e,f,h\n", "lines 2 and 3 have the same id"),
        (",".join(COLUMNS) + "\na,b,c,d,e,f,g\0\n", "line 2 holds a zero byte"),
        (",".join(COLUMNS) + "\na,dev,single,dog,,m.png,a.wav,\n", "line 2 has no image"),
        (",".join(COLUMNS) + "\na/../../b,dev,single,dog,i,m,a,\n", "leaves its folder"),
        (",".join(COLUMNS) + "\nC:\\b,dev,single,dog,i,m,a,\n", "leaves its folder"),
        (",".join(COLUMNS) + "\n/b,dev,single,dog,i,m,a,\n", "leaves its folder"),
    ],
)
def test_bad_manifests(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "manifest.csv").write_text(content)
    with pytest.raises(DatasetError, match=message):
        read_pairs(tmp_path)


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such folder"):
        read_pairs(tmp_path / "nowhere")


def test_sound_reaches_the_predictor_and_the_report(pairs: Path) -> None:
    report, events = run(read_pairs(pairs), by_ear, config={"seed": 3})
    assert report["n"] == 5
    assert report["per_subset"]["single"]["m_j"] == 1
    assert report["per_subset"]["ms_one"]["share_right"] == 1
    assert report["per_subset"]["ms_off"]["m_j"] == pytest.approx(2 / 3)
    assert report["per_subset"]["ms_off"]["f_binary"] is None
    assert "share_right" not in report["per_subset"]["single"]
    assert set(report["per_category"]) == {"dog", "bird"}
    assert report["per_category"]["dog"]["n"] == 2
    assert report["config"] == {"seed": 3}
    assert report["seconds"] > 0
    keys = {"n", "m_j", "f_binary", "f_max_clip", "f_max_dataset", "share_empty", "m_j_se"}
    for part in (report, *report["per_subset"].values(), *report["per_category"].values()):
        assert keys <= set(part)
    assert [event.done for event in events[:-1]] == [1, 2, 3, 4, 5]
    json.dumps(report, allow_nan=False)


def test_shares_of_both_other_and_none(pairs: Path) -> None:
    cases = [case for case in read_pairs(pairs) if case.subset == "ms_one"]
    union, _ = run(cases, always(LEFT | RIGHT))
    assert (union["share_right"], union["share_both"], union["share_other"]) == (0, 1, 0)
    one_side, _ = run(cases, always(LEFT))
    assert (one_side["share_right"], one_side["share_other"]) == (0.5, 0.5)
    nothing, _ = run(cases, always(np.zeros(SIZE, bool)))
    assert nothing["share_empty"] == 1
    assert nothing["share_right"] == nothing["share_both"] == nothing["share_other"] == 0


def test_nearest_names_the_truth() -> None:
    assert nearest(LEFT, LEFT, [RIGHT]) == "right"
    assert nearest(RIGHT, LEFT, [RIGHT]) == "other"
    assert nearest(LEFT | RIGHT, LEFT, [RIGHT]) == "both"
    assert nearest(~(LEFT | RIGHT), LEFT, [RIGHT]) == ""
    assert nearest(LEFT, LEFT, []) == ""


def test_a_bad_case_is_noted_and_the_rest_goes_on(pairs: Path) -> None:
    (pairs / "images/s1.png").unlink()
    (pairs / "audio/s2.wav").write_text("not a sound")
    report, events = run(read_pairs(pairs), by_ear)
    assert report["failed"] == ["s1", "s2"]
    assert report["n"] == 3
    notes = [event.message for event in events if isinstance(event, NoteEvent)]
    assert len(notes) == 2
    assert "no such file" in notes[0]
    assert [event.done for event in events if isinstance(event, CaseEvent)] == [3, 4, 5]


def test_nothing_readable_is_an_error(pairs: Path) -> None:
    for path in (pairs / "images").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DatasetError, match="none of 5 cases"):
        run(read_pairs(pairs), by_ear)


def test_masks_are_saved_as_0_and_255(pairs: Path, tmp_path: Path) -> None:
    run(read_pairs(pairs, limit=1), always(LEFT), save_masks=tmp_path / "out")
    saved = np.asarray(Image.open(tmp_path / "out/s1.png"))
    np.testing.assert_array_equal(saved, LEFT * 255)


def test_predictions_are_fitted_to_the_truth() -> None:
    double = np.kron(LEFT, np.ones((2, 2), bool))
    result = fitted(Prediction(double, double.astype(np.float32), "why"), SIZE)
    np.testing.assert_array_equal(result.mask, LEFT)
    assert result.soft.shape == SIZE
    assert result.reason == "why"


def test_table_shows_every_subset_with_errors(pairs: Path) -> None:
    report, _ = run(read_pairs(pairs), by_ear)
    lines = text_table(report).splitlines()
    assert [line.split()[0] for line in lines] == ["subset", "single", "ms_one", "ms_off", "all"]
    assert lines[1].split()[:4] == ["single", "2", "1.000", "(0.000)"]


@pytest.mark.data
def test_development_pairs(dev_data: Path) -> None:
    cases = read_pairs(dev_data / "avs_pairs")
    assert len(cases) == 255
    ones = [case for case in cases if case.subset == "ms_one"]
    assert len(ones) == 62
    assert all(len(case.other_mask_paths) == 1 for case in ones)
    few = read_pairs(dev_data / "avs_pairs", limit=8)
    report, _ = run(few, predict_with(whole))
    assert report["failed"] == []
    assert report["share_empty"] == 0
