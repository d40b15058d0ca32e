"""AVSBench's S4 and MS3: what is read from their trees, how it is scored, and what is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from avsbench_fakes import (
    ALL,
    EMPTY,
    LEFT,
    RATE_HZ,
    SIDE,
    ms3_tree,
    ramp,
    s4_tree,
    write_png,
    write_table,
    write_wav,
)
from PIL import Image

from moca_core.errors import DatasetError
from moca_core.evaluation import runner
from moca_core.evaluation.baselines import predict_with, whole
from moca_core.evaluation.layouts import LAYOUTS, DataSet
from moca_core.evaluation.runner import CaseEvent, evaluate, text_table
from moca_core.types import NoteEvent, Prediction, ReportEvent

DOG, CAT = ("--dog_1", "dog", "test"), ("cat_2", "cat", "test")
BIRD = ("bird_3", "bird", "train")
BAND = ("band-0_4", "test")


def read(layout: str, root: Path, split: str | None = None, limit: int | None = None) -> DataSet:
    return LAYOUTS[layout](root, split, limit)


def run(data: DataSet, predict, **options):
    events = list(evaluate(data, predict, **options))
    assert isinstance(events[-1], ReportEvent)
    return events[-1].report, events


def claim(mask: np.ndarray, soft: np.ndarray | None = None) -> Prediction:
    values = mask if soft is None else soft
    return Prediction(mask, np.asarray(values, np.float32))


def left(rgb: np.ndarray, wave: np.ndarray) -> Prediction:
    return claim(LEFT)


@pytest.fixture
def s4(tmp_path: Path) -> Path:
    """The folder of AVSBench, with two clips for testing and one for training."""
    clips = {DOG: [LEFT] * 5, CAT: [LEFT, LEFT, EMPTY, ALL, LEFT], BIRD: [LEFT]}
    s4_tree(tmp_path / "AVSBench", clips)
    return tmp_path / "AVSBench"


@pytest.fixture
def ms3(tmp_path: Path) -> Path:
    clips = {BAND: [LEFT, ALL, EMPTY, LEFT, ALL], ("duo", "val"): [LEFT] * 5}
    ms3_tree(tmp_path / "AVSBench", clips)
    return tmp_path / "AVSBench"


def test_s4_is_read_from_either_folder(s4: Path) -> None:
    data = read("s4", s4)
    assert data == read("s4", s4 / "Single-source")
    assert (data.split, data.clips, data.incomplete, data.note) == ("test", 2, {}, "")
    assert len(data.cases) == 10
    second = data.cases[1]
    assert second.id == "test/dog/--dog_1_2"
    assert (second.subset, second.category) == ("test", "dog")
    assert second.time_s == 1.5
    assert second.size == (224, 224)
    assert second.saved_as == "dog/--dog_1/--dog_1_1.png"
    beside = s4 / "Single-source" / "s4_data"
    assert second.image_path == beside / "visual_frames/test/dog/--dog_1/--dog_1_2.png"
    assert second.mask_path == beside / "gt_masks/test/dog/--dog_1/--dog_1_2.png"
    assert second.audio_path == beside / "audio_wav/test/dog/--dog_1.wav"
    assert {case.clip for case in data.cases[:5]} == {second.clip}
    assert data.cases[5].clip != second.clip


def test_training_clips_of_s4_have_one_mask(s4: Path) -> None:
    data = read("s4", s4, "train")
    assert [case.saved_as for case in data.cases] == ["bird/bird_3/bird_3_0.png"]
    assert not data.incomplete


def test_ms3_keeps_the_suffix_in_the_name_and_no_split_for_frames(ms3: Path) -> None:
    data = read("ms3", ms3)
    assert data == read("ms3", ms3 / "Multi-sources")
    assert len(data.cases) == 5
    case = data.cases[4]
    beside = ms3 / "Multi-sources" / "ms3_data"
    assert case.image_path == beside / "visual_frames/band-0_4/band-0_4.mp4_5.png"
    assert case.mask_path == beside / "gt_masks/test/band-0_4/band-0_4_5.png"
    assert case.audio_path == beside / "audio_wav/test/band-0_4.wav"
    assert case.saved_as == "band-0_4/band-0_4_4.png"
    assert (case.category, case.time_s) == ("", 4.5)
    assert len(read("ms3", ms3, "val").cases) == 5


@pytest.mark.parametrize("window_s", [2.0, 1.0, 7.0])
def test_each_frame_hears_the_middle_of_its_second(s4: Path, window_s: float) -> None:
    heard = {}

    def listen(rgb: np.ndarray, wave: np.ndarray) -> Prediction:
        heard.setdefault(int(rgb[0, 0, 0]) // 10, wave)
        return claim(EMPTY)

    run(read("s4", s4), listen, window_s=window_s)
    whole = ramp().astype(np.float32) / 32768
    length = round(window_s * RATE_HZ)
    for number in range(1, 6):
        start = (number - 0.5 - window_s / 2) * RATE_HZ
        start = max(0, round(min(start, len(whole) - length)))
        expected = np.zeros(length, np.float32)
        part = whole[start : start + length]
        expected[: len(part)] = part
        np.testing.assert_allclose(heard[number], expected, atol=1e-6)


def test_a_sound_is_decoded_once_a_clip(s4: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    real = runner.open_audio

    def count(path, rate_hz):
        opened.append(path.name)
        return real(path, rate_hz)

    monkeypatch.setattr(runner, "open_audio", count)
    run(read("s4", s4), left)
    assert opened == ["--dog_1.wav", "cat_2.wav"]


def test_scores_worked_out_by_hand(tmp_path: Path) -> None:
    """Clip 1: truth always the left half; the soft masks of frames 1 and 2 differ.

    Frame 1: 0.8 in the truth, 0.6 outside: F = 1 above 0.6, and up to there P = 1/2, R = 1, so
    F = 1.3 * 0.5 / (0.3 * 0.5 + 1) = 0.565217. Frames 2 to 5: 0.4 in the truth, 0 outside: F = 1
    up to 0.4, then 0. The best threshold of the clip is one up to 0.4: (0.565217 + 4) / 5. Clip 2
    has two frames with a truth, both hit exactly; the others don't count.
    """
    s4_tree(tmp_path, {DOG: [LEFT] * 5, CAT: [LEFT, LEFT, EMPTY, EMPTY, EMPTY]})

    def predict(rgb: np.ndarray, wave: np.ndarray) -> Prediction:
        number = int(rgb[0, 0, 0]) // 10
        if calls[0] >= 5:
            # Of the empty truths one is left empty, one is covered by half, one wholly.
            masks = {1: LEFT, 2: LEFT, 3: EMPTY, 4: LEFT, 5: ALL}
            return claim(masks[number])
        calls[0] += 1
        if number == 1:
            return claim(ALL, np.where(LEFT, 0.8, 0.6))
        return claim(LEFT, np.where(LEFT, 0.4, 0.0))

    calls = [0]
    report, _ = run(read("s4", tmp_path), predict)
    assert report["n"] == 10
    by_f = 1.3 * 0.5 / (0.3 * 0.5 + 1)
    first = (by_f + 4) / 5
    dog, cat = report["per_category"]["dog"], report["per_category"]["cat"]
    assert dog["m_j"] == pytest.approx((0.5 + 4) / 5)
    assert dog["f_max_clip"] == pytest.approx(first)
    assert dog["f_binary"] == pytest.approx((by_f + 4) / 5)
    assert cat["m_j"] == pytest.approx((1 + 1 + 1 + 0.5 + 0) / 5)
    assert cat["f_max_clip"] == pytest.approx(1)
    assert cat["f_binary"] == pytest.approx(1)
    assert cat["share_empty"] == pytest.approx(0.2)
    # A mean over the two clips, not over their seven frames.
    assert report["f_max_clip"] == pytest.approx((first + 1) / 2)
    assert report["f_max_dataset"] == pytest.approx((by_f + 4 + 2) / 7)
    assert report["per_subset"]["test"]["m_j"] == pytest.approx((0.5 + 4 + 3.5) / 10)


def test_scores_are_those_of_the_official_test_with_its_batch_of_one_clip(tmp_path: Path) -> None:
    """A plain reading of its formulas: the mean over the frames of a clip, the best of 255
    thresholds of that mean, and the mean over the clips."""
    draw = np.random.default_rng(5)
    truths = draw.random((10, SIDE, SIDE)) < draw.random((10, 1, 1))
    truths[3] = False
    softs = np.clip(0.5 * truths + draw.random((10, SIDE, SIDE)), 0, 1).astype(np.float32)
    s4_tree(tmp_path, {DOG: list(truths[:5]), CAT: list(truths[5:])})
    answers = iter(softs)

    def predict(rgb: np.ndarray, wave: np.ndarray) -> Prediction:
        soft = next(answers)
        return claim(soft > 0.5, soft)

    report, _ = run(read("s4", tmp_path), predict)
    overlaps, best = [], []
    for first in (0, 5):
        total, count = np.zeros(255), 0
        for truth, soft in zip(truths[first : first + 5], softs[first : first + 5], strict=True):
            mask = soft > 0.5
            if not truth.any():
                overlaps.append((~mask).mean())
                continue
            overlaps.append((mask & truth).sum() / (mask | truth).sum())
            for place, threshold in enumerate(np.linspace(0, 1 - 1e-10, 255)):
                claimed = soft >= threshold
                hits = (claimed & truth).sum()
                precision, recall = hits / (claimed.sum() + 1e-20), hits / truth.sum()
                if hits:
                    total[place] += 1.3 * precision * recall / (0.3 * precision + recall)
            count += 1
        best.append((total / count).max())
    assert report["m_j"] == pytest.approx(np.mean(overlaps))
    assert report["f_max_clip"] == pytest.approx(np.mean(best))


def test_frames_of_a_clip_count_together_in_the_errors(s4: Path) -> None:
    report, _ = run(read("s4", s4), left)
    assert report["per_category"]["dog"]["m_j_se"] is None
    # Clip 1: all 1. Clip 2: 1, 1, 1/2, 1/2, 1. Mean 0.9, residuals of the clips 0.5 and -0.5.
    assert report["m_j"] == pytest.approx(0.9)
    assert report["m_j_se"] == pytest.approx((2 * 0.5) ** 0.5 / 10)


def test_other_sizes_are_scored_at_224(s4: Path) -> None:
    data = read("s4", s4, limit=5)
    large = np.kron(LEFT, np.ones((2, 2), bool))
    for case in data.cases:
        write_png(case.image_path, np.zeros((2 * SIDE, 2 * SIDE, 3), np.uint8))
        write_png(case.mask_path, large.astype(np.uint8) * 255)
    seen = []

    def predict(rgb: np.ndarray, wave: np.ndarray) -> Prediction:
        seen.append(rgb.shape)
        return claim(large)

    report, events = run(data, predict)
    assert set(seen) == {(448, 448, 3)}
    assert events[0].prediction.mask.shape == (224, 224)
    assert report["m_j"] == report["f_max_clip"] == 1


def test_ms3_has_no_categories(ms3: Path) -> None:
    report, _ = run(read("ms3", ms3), left)
    assert list(report["per_subset"]) == ["test"]
    assert report["per_category"] == {}
    assert report["m_j"] == pytest.approx((1 + 0.5 + 0.5 + 1 + 0.5) / 5)
    assert [line.split()[0] for line in text_table(report).splitlines()] == [
        "subset",
        "test",
        "all",
    ]


@pytest.mark.parametrize("layout", ["s4", "ms3"])
def test_masks_are_saved_in_the_official_tree(layout: str, s4: Path, ms3: Path) -> None:
    out = s4.parent / "out"
    run(read(layout, s4), left, save_masks=out)
    place = "cat/cat_2/cat_2" if layout == "s4" else "band-0_4/band-0_4"
    clips = 2 if layout == "s4" else 1
    assert len(list(out.rglob("*.png"))) == 5 * clips
    for index in range(5):
        with Image.open(out / f"{place}_{index}.png") as image:
            # As the official save_mask: numbers of a palette of greys.
            assert (image.mode, image.size) == ("P", (SIDE, SIDE))
            np.testing.assert_array_equal(np.asarray(image.convert("L")), LEFT * 255)
            np.testing.assert_array_equal(np.asarray(image), LEFT * 255)
            # As the official loaders read masks: S4 in mode 1, MS3 in mode P.
            np.testing.assert_array_equal(np.asarray(image.convert("1")), LEFT)
            np.testing.assert_array_equal(np.asarray(image.convert("P")), LEFT * 255)


def test_what_is_not_there_is_named_and_the_rest_is_scored(s4: Path) -> None:
    beside = s4 / "Single-source" / "s4_data"
    (beside / "audio_wav/test/dog/--dog_1.wav").unlink()
    (beside / "gt_masks/test/cat/cat_2/cat_2_2.png").unlink()
    (beside / "visual_frames/test/cat/cat_2/cat_2_4.png").unlink()
    data = read("s4", s4)
    assert dict(data.incomplete) == {"--dog_1": "no sound", "cat_2": "no frame 4, no mask 2"}
    report, events = run(data, left)
    assert report["n"] == 3
    assert report["incomplete"] == {"--dog_1": "no sound", "cat_2": "no frame 4, no mask 2"}
    assert report["failed"] == []
    notes = [event.message for event in events if isinstance(event, NoteEvent)]
    assert notes == [
        "2 of 2 clips are incomplete, what they lack is left out: --dog_1 (no sound), "
        "cat_2 (no frame 4, no mask 2)"
    ]
    assert [event.case.saved_as[-5] for event in events if isinstance(event, CaseEvent)] == [
        *("0", "2", "4")
    ]


def test_what_ms3_lacks_is_named_too(ms3: Path) -> None:
    beside = ms3 / "Multi-sources" / "ms3_data"
    (beside / "visual_frames/band-0_4/band-0_4.mp4_1.png").unlink()
    (beside / "gt_masks/test/band-0_4/band-0_4_3.png").unlink()
    (beside / "gt_masks/test/band-0_4/band-0_4_5.png").unlink()
    data = read("ms3", ms3)
    assert dict(data.incomplete) == {"band-0_4": "no frame 1, no mask 3 and 5"}
    assert [case.saved_as[-5] for case in data.cases] == ["1", "3"]
    report, _ = run(data, left)
    assert (report["n"], report["failed"]) == (2, [])


def test_only_a_few_incomplete_clips_are_named(tmp_path: Path) -> None:
    clips = {(f"clip{number}", "dog", "test"): [] for number in range(9)}
    folder = s4_tree(tmp_path, clips | {CAT: [LEFT] * 5})
    data = read("s4", folder)
    assert data.note.startswith("9 of 10 clips are incomplete")
    assert "clip4 (no masks), and 4 more" in data.note
    assert "clip5" not in data.note
    assert len(data.incomplete) == 9
    assert len(data.cases) == 5


def test_a_damaged_sound_is_told_once(s4: Path) -> None:
    data = read("s4", s4)
    data.cases[0].audio_path.write_text("not a sound")
    report, events = run(data, left)
    assert report["failed"] == [case.id for case in data.cases[:5]]
    assert report["n"] == 5
    assert len([event for event in events if isinstance(event, NoteEvent)]) == 1


def test_limit_takes_whole_clips_spread_evenly(tmp_path: Path) -> None:
    clips = {(f"clip{number}", "dog", "test"): [LEFT] * 5 for number in range(6)}
    clips["clip3", "dog", "test"] = [LEFT]
    folder = s4_tree(tmp_path, clips)

    def kept(limit: int) -> list[str]:
        return [case.saved_as.split("/")[-1] for case in read("s4", folder, limit=limit).cases]

    assert kept(3) == ["clip0_0.png", "clip0_1.png", "clip0_2.png"]
    assert [name[:5] for name in kept(12)] == ["clip0"] * 5 + ["clip2"] * 5 + ["clip4"] * 2
    # Clip 3 has one frame: a third clip is taken, and the last one is cut.
    assert len(kept(10)) == 10
    assert len(kept(99)) == 26


def test_a_name_that_no_file_can_have_is_just_not_there(s4: Path) -> None:
    with (s4 / "Single-source" / "s4_meta_data.csv").open("a") as stream:
        stream.write(f"{'x' * 300},0,dog,test\n")
    data = read("s4", s4)
    assert len(data.cases) == 10
    assert list(data.incomplete.values()) == ["no sound, no frames, no masks"]


@pytest.mark.parametrize("layout", ["s4", "ms3"])
def test_a_wrong_folder_says_what_was_looked_for(layout: str, tmp_path: Path) -> None:
    folder = {"s4": "Single-source", "ms3": "Multi-sources"}[layout]
    with pytest.raises(DatasetError, match="no such folder"):
        read(layout, tmp_path / "nowhere")
    with pytest.raises(DatasetError) as caught:
        read(layout, tmp_path)
    table = f"{layout}_meta_data.csv"
    assert f"holds neither {table} nor {folder}/{table}" in caught.value.message


def test_the_other_layout_is_suggested(s4: Path) -> None:
    for root in (s4, s4 / "Single-source"):
        with pytest.raises(DatasetError) as caught:
            read("ms3", root)
        assert "What is there has --layout s4." in caught.value.hint


def test_an_unknown_split_names_the_known_ones(s4: Path) -> None:
    with pytest.raises(DatasetError, match="no clip has split 'val'") as caught:
        read("s4", s4, "val")
    assert "Splits in the table: test, train; choose one with --split." in caught.value.hint


def test_a_table_without_its_data_is_told(tmp_path: Path) -> None:
    rows = [["name", "start", "category", "split"], ["x", "0", "dog", "test"]]
    write_table(tmp_path / "s4_meta_data.csv", rows)
    with pytest.raises(DatasetError, match="none of 1 clips of split 'test'") as caught:
        read("s4", tmp_path)
    assert "s4_data/visual_frames/test/dog/x/x_1.png" in caught.value.message


@pytest.mark.parametrize(
    ("layout", "content", "message"),
    [
        ("s4", "name,start\nx,0\n", "columns missing: split, category"),
        ("ms3", "video_id\nx\n", "columns missing: split"),
        ("ms3", "", "columns missing: split"),
        ("ms3", "video_id,split\n", "names no clip"),
        ("ms3", "video_id,split\nx,test\n,test\n", "line 3 has no video_id"),
        ("ms3", "video_id,split\nx\n", "line 2 has no split"),
        ("ms3", "video_id,split\n../x,test\n", "'../x' can't be the name of a file"),
        ("s4", "name,start,category,split\nx,0,..,test\n", "'..' can't be the name of a file"),
        ("s4", "name,start,category,split\nC:\\x,0,dog,test\n", "can't be the name of a file"),
    ],
)
def test_bad_tables(tmp_path: Path, layout: str, content: str, message: str) -> None:
    (tmp_path / f"{layout}_meta_data.csv").write_text(content)
    with pytest.raises(DatasetError) as caught:
        read(layout, tmp_path)
    assert message in caught.value.message


def test_a_clip_that_the_table_names_twice_counts_once(s4: Path) -> None:
    whole_set = read("s4", s4)
    table = s4 / "Single-source" / "s4_meta_data.csv"
    text = table.read_text()
    table.write_text(text + text.splitlines()[1] + "\n")
    again = read("s4", s4)
    assert (again.cases, again.clips) == (whole_set.cases, whole_set.clips)


def test_two_lines_that_differ_about_a_clip_are_told(tmp_path: Path) -> None:
    text = "uid,split,label,a_obj\nx,test,v1s,dog\nx,test,v1s,cat\n"
    (tmp_path / "metadata.csv").write_text(text)
    with pytest.raises(DatasetError, match="two lines name x and say different things"):
        read("avss", tmp_path)


def test_a_sound_shorter_than_the_window_is_padded(s4: Path) -> None:
    data = read("s4", s4, limit=1)
    write_wav(data.cases[0].audio_path, np.full(RATE_HZ, 16384, np.int16))
    heard = []

    def listen(rgb: np.ndarray, wave: np.ndarray) -> Prediction:
        heard.append(wave)
        return claim(EMPTY)

    run(data, listen)
    assert heard[0].shape == (2 * RATE_HZ,)
    np.testing.assert_allclose(heard[0][:RATE_HZ], 0.5)
    assert not heard[0][RATE_HZ:].any()


@pytest.mark.data
def test_davis_in_the_form_of_s4(dev_data: Path) -> None:
    data = read("s4", dev_data / "davis_s4", "val")
    assert (len(data.cases), data.clips, data.note) == (40, 8, "")
    report, events = run(data, predict_with(whole))
    assert report["failed"] == []
    assert set(report["per_category"]) == {"dog", "bird", "car", "bus", "train"}
    truths = [event.record.union for event in events if isinstance(event, CaseEvent)]
    assert truths == [224 * 224] * 40
    # Claiming everything scores the share of the picture that the truth covers.
    shares = [np.asarray(Image.open(case.mask_path)).mean() / 255 for case in data.cases]
    assert report["m_j"] == pytest.approx(np.mean(shares))
    with pytest.raises(DatasetError, match="no clip has split 'test'"):
        read("s4", dev_data / "davis_s4")
