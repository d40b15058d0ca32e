"""What is written in a layout is read back the same, by us and as the official loaders read."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moca_core.errors import DatasetError
from moca_core.evaluation.classes import AVSBENCH
from moca_core.evaluation.layouts import LAYOUTS, read_image, read_labels, read_mask
from moca_core.evaluation.layouts.avsbench import AVSS, MS3, S4, TableClip, Tree
from moca_core.evaluation.layouts.writing import (
    ClipData,
    PairData,
    wav_bytes,
    write_clip,
    write_manifest,
    write_pair,
    write_table,
)
from moca_core.evaluation.runner import read_sound

DRAW = np.random.default_rng(2)
WAVE = (DRAW.integers(-32768, 32768, 5 * 16000) / 32768).astype(np.float32)
ROWS = {
    "s4": [TableClip("a_1", "test", "dog"), TableClip("b_2", "train", "cat")],
    "ms3": [TableClip("band", "test"), TableClip("duo", "val")],
    "avss": [
        TableClip("x_0", "test", "dog_man", "v2"),
        TableClip("y_0", "test", "car", "v1m"),
        TableClip("z_0", "train", "dog", "v1s"),
    ],
}
TREES = {tree.name: tree for tree in (S4, MS3, AVSS)}


def clip_data(tree: Tree, row: TableClip, size: tuple[int, int] | None = None) -> ClipData:
    """A clip of random patches, with classes and a size of its own where the tree has them."""
    size = size or ((40, 56) if tree.parts else (224, 224))
    count = 10 if row.part == "v2" else 5
    frames = [DRAW.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in range(count)]
    most = 71 if tree.parts else 2
    labels = [
        DRAW.integers(0, most, (*size,), dtype=np.uint8) for _ in range(len(tree.frames(row)))
    ]
    return ClipData(row, frames, labels, WAVE)


def written(tree: Tree, folder: Path) -> list[ClipData]:
    clips = [clip_data(tree, row) for row in ROWS[tree.name]]
    for clip in clips:
        write_clip(tree, folder, clip)
    write_table(tree, folder, [clip.row for clip in clips])
    return clips


@pytest.mark.parametrize("name", TREES)
def test_what_is_written_is_read_back_by_the_layout(name: str, tmp_path: Path) -> None:
    tree = TREES[name]
    clips = written(tree, tmp_path)
    for split in {clip.row.split for clip in clips}:
        data = LAYOUTS[name](tmp_path, split, None)
        assert data.note == ""
        cases = iter(data.cases)
        for clip in (clip for clip in clips if clip.row.split == split):
            for frame, labels in zip(clip.frames, clip.labels, strict=False):
                case = next(cases)
                assert_same_case(case, frame, labels)
        assert next(cases, None) is None


def assert_same_case(case, frame: np.ndarray, labels: np.ndarray) -> None:
    if case.classes is None:
        np.testing.assert_array_equal(read_image(case.image_path), frame)
        np.testing.assert_array_equal(read_mask(case.mask_path), labels > 0)
    else:
        # Frames are JPEG there: near, not equal.
        near = read_image(case.image_path).astype(float) - frame
        assert np.abs(near).mean() < 8
        np.testing.assert_array_equal(read_labels(case.mask_path, case.classes), labels)
    np.testing.assert_array_equal(read_sound(case.audio_path), WAVE)


def rows_of(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="") as stream:
        yield from csv.DictReader(stream)


def test_s4_is_what_the_official_loader_opens(tmp_path: Path) -> None:
    """A plain reading of S4Dataset.__getitem__."""
    first, second = written(S4, tmp_path)
    table = [list(row.values()) for row in rows_of(tmp_path / "s4_meta_data.csv")]
    assert [(row[0], row[2], row[3]) for row in table] == [
        ("a_1", "dog", "test"),
        ("b_2", "cat", "train"),
    ]
    for (name, _, category, split), clip in zip(table, (first, second), strict=True):
        data = tmp_path / "s4_data"
        for number in range(1, 6):
            image = data / "visual_frames" / split / category / name / f"{name}_{number}.png"
            np.testing.assert_array_equal(Image.open(image).convert("RGB"), clip.frames[number - 1])
        for number in range(1, 2 if split == "train" else 6):
            mask = data / "gt_masks" / split / category / name / f"{name}_{number}.png"
            truth = np.asarray(Image.open(mask).convert("1"))
            np.testing.assert_array_equal(truth, clip.labels[number - 1] > 0)
        assert (data / "audio_wav" / split / category / f"{name}.wav").is_file()
    assert len(list((tmp_path / "s4_data/gt_masks/train").rglob("*.png"))) == 1


def test_ms3_is_what_the_official_loader_opens(tmp_path: Path) -> None:
    """A plain reading of MS3Dataset.__getitem__."""
    clips = written(MS3, tmp_path)
    table = [list(row.values()) for row in rows_of(tmp_path / "ms3_meta_data.csv")]
    assert table == [["band", "test"], ["duo", "val"]]
    for (name, split), clip in zip(table, clips, strict=True):
        data = tmp_path / "ms3_data"
        for number in range(1, 6):
            image = data / "visual_frames" / name / f"{name}.mp4_{number}.png"
            np.testing.assert_array_equal(Image.open(image).convert("RGB"), clip.frames[number - 1])
            mask = data / "gt_masks" / split / name / f"{name}_{number}.png"
            values = np.asarray(Image.open(mask).convert("P"))
            np.testing.assert_array_equal(values, (clip.labels[number - 1] > 0) * 255)
        assert (data / "audio_wav" / split / f"{name}.wav").is_file()


def test_avss_is_what_the_official_loader_opens(tmp_path: Path) -> None:
    """A plain reading of V2Dataset.__getitem__ and color_mask_to_label."""
    clips = written(AVSS, tmp_path)
    numbers = json.loads((tmp_path / "label2idx.json").read_text())
    assert (len(numbers), numbers["background"], numbers["woman"]) == (71, 1, 71)
    table = list(rows_of(tmp_path / "metadata.csv"))
    assert list(table[0]) == ["vid", "uid", "s_min", "s_sec", "a_obj", "split", "label"]
    for row, clip in zip(table, clips, strict=True):
        assert (row["vid"], row["a_obj"]) == (row["uid"], clip.row.category)
        base = tmp_path / row["label"] / row["uid"]
        frames, masks = (sorted(path.iterdir()) for path in (base / "frames", base / "labels_rgb"))
        assert len(frames) == (10 if row["label"] == "v2" else 5)
        if row["split"] != "train":
            assert len(masks) == len(frames)
        for index, labels in enumerate(clip.labels):
            colours = np.array(Image.open(base / "labels_rgb" / f"{index}.png").convert("RGB"))
            planes = [(colours == colour).all(axis=-1) for colour in AVSBENCH.colours]
            np.testing.assert_array_equal(np.argmax(planes, axis=0), labels)
            numbered = Image.open(base / "labels_semantic" / f"{index}.png")
            np.testing.assert_array_equal(np.asarray(numbered), labels)
            assert (base / "frames" / f"{index}.jpg").is_file()
        assert (base / "audio.wav").is_file()


def test_pairs_are_read_back(tmp_path: Path) -> None:
    frame = DRAW.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    masks = DRAW.random((2, 20, 30)) < 0.5
    pairs = [
        PairData(f"case{number}", "dev", "single", "dog+cat", frame, mask, WAVE)
        for number, mask in enumerate(masks)
    ]
    write_manifest(tmp_path, [write_pair(tmp_path, pair) for pair in pairs])
    cases = LAYOUTS["pairs"](tmp_path, "dev", None).cases
    assert [case.id for case in cases] == ["case0", "case1"]
    for case, mask in zip(cases, masks, strict=True):
        assert (case.subset, case.category) == ("single", "dog+cat")
        assert_same_case(case, frame, mask)


def test_large_frames_of_s4_become_small_and_those_of_avss_keep_their_size(tmp_path: Path) -> None:
    large = clip_data(S4, ROWS["s4"][0], (448, 672))
    left = np.zeros((448, 672), np.uint8)
    left[:, :336] = 5
    clip = ClipData(large.row, large.frames, [left] * 5, WAVE)
    write_clip(S4, tmp_path, clip)
    write_table(S4, tmp_path, [clip.row])
    case = LAYOUTS["s4"](tmp_path, "test", None).cases[0]
    assert read_image(case.image_path).shape == (224, 224, 3)
    mask = read_mask(case.mask_path)
    assert mask.shape == (224, 224)
    assert mask[:, :112].all()
    assert not mask[:, 112:].any()

    row = ROWS["avss"][1]
    write_clip(AVSS, tmp_path, ClipData(row, large.frames, [left] * 5, WAVE))
    write_table(AVSS, tmp_path, [row])
    case = LAYOUTS["avss"](tmp_path, "test", None).cases[0]
    assert read_image(case.image_path).shape == (448, 672, 3)


def test_sounds_are_kept_to_the_last_bit_and_clipped() -> None:
    samples = np.frombuffer(wav_bytes(np.float32([0, 0.5, -1, 2, -2]))[44:], "<i2")
    assert samples.tolist() == [0, 16384, -32768, 32767, -32768]


@pytest.mark.parametrize(
    ("row", "frames", "masks", "message"),
    [
        (TableClip("x", "test", "dog"), 4, 5, "x: 4 frames"),
        (TableClip("x", "test", "dog"), 5, 1, "x: 1 masks"),
        (TableClip("x", "train", "dog"), 5, 5, "x: 5 masks"),
        (TableClip("../x", "test", "dog"), 5, 5, "'../x' can't be the name of a file"),
        (TableClip("x", "test", ""), 5, 5, "'' can't be the name of a file"),
    ],
)
def test_a_clip_that_is_not_whole_is_refused(
    row: TableClip, frames: int, masks: int, message: str, tmp_path: Path
) -> None:
    grey = np.zeros((8, 8), np.uint8)
    clip = ClipData(row, [np.zeros((8, 8, 3), np.uint8)] * frames, [grey] * masks, WAVE)
    with pytest.raises(DatasetError) as caught:
        write_clip(S4, tmp_path, clip)
    assert message in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_a_part_that_avss_does_not_have_is_refused(tmp_path: Path) -> None:
    clip = clip_data(AVSS, TableClip("x", "test", "dog", "v3"))
    with pytest.raises(DatasetError, match="clip x has label 'v3'") as caught:
        write_clip(AVSS, tmp_path, clip)
    assert caught.value.hint == "It must be one of v1s, v1m, v2."


def test_a_pair_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    frame, mask = np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5), bool)
    pair = PairData("../x", "dev", "single", "dog", frame, mask, WAVE)
    with pytest.raises(DatasetError, match="leaves its folder"):
        write_pair(tmp_path, pair)
    pair = PairData("x", "dev", "single", "dog", frame, mask.T, WAVE)
    with pytest.raises(DatasetError, match="the mask is"):
        write_pair(tmp_path, pair)
    assert list(tmp_path.iterdir()) == []
