"""The sound-group tables are complete and sensible, and the loader refuses broken ones by line."""

from __future__ import annotations

import csv
import dataclasses
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from moca_core.errors import ConfigError
from moca_core.models.sound_groups import (
    AUDIO_CLASSES,
    AUDIO_KINDS,
    GROUP_MODES,
    IMAGE_CLASSES,
    SoundGroups,
)
from moca_core.paths import resource

CATEGORIES = [
    "airplane",
    "bird",
    "bus",
    "car",
    "cat",
    "cow",
    "dog",
    "elephant",
    "horse",
    "motorcycle",
    "person",
    "sheep",
    "train",
    "truck",
]


@pytest.fixture(scope="module")
def groups() -> SoundGroups:
    return SoundGroups.load()


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """A private copy of the tables, to be broken."""
    return Path(shutil.copytree(resource("sound_groups"), tmp_path / "tables"))


def rows_of(table: str) -> list[dict[str, str]]:
    with resource(f"sound_groups/{table}").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def heard(groups: SoundGroups, mode: str = "max", **scores: float) -> dict[str, float]:
    """Weights by group name of a sound with the given class scores; `_` stands for a space."""
    values = np.zeros(AUDIO_CLASSES, dtype=np.float32)
    for name, score in scores.items():
        values[groups.audio_names.index(name.replace("_", " "))] = score
    return dict(zip(groups.names, groups.group_weights(values, mode), strict=True))


def test_shapes_and_ranges(groups: SoundGroups) -> None:
    count = len(groups.names)
    assert 55 <= count <= 70
    assert groups.audio_matrix.shape == (AUDIO_CLASSES, count)
    assert groups.image_matrix.shape == (IMAGE_CLASSES, count)
    assert groups.audio_matrix.dtype == groups.image_matrix.dtype == np.float32
    assert groups.visible.shape == (count,)
    assert groups.visible.dtype == bool
    for words in (groups.names, groups.display, groups.kinds, groups.supers):
        assert len(words) == count
    for matrix in (groups.audio_matrix, groups.image_matrix):
        assert matrix.min() == 0
        assert matrix.max() == 1


def test_names_are_unique_for_code_and_for_the_user(groups: SoundGroups) -> None:
    assert len(set(groups.names)) == len(set(groups.display)) == len(groups.names)
    assert all(name.isidentifier() and name.islower() for name in groups.names)
    assert len(set(groups.audio_names)) == AUDIO_CLASSES


def test_the_development_categories_are_groups(groups: SoundGroups) -> None:
    assert set(CATEGORIES) <= set(groups.names)


def test_visible_groups_can_be_heard_and_seen_the_others_only_heard(groups: SoundGroups) -> None:
    seen = groups.image_matrix.max(axis=0)
    for g, name in enumerate(groups.names):
        assert groups.audio_matrix[:, g].max() >= 0.3, f"{name} is never heard"
        if groups.visible[g]:
            assert seen[g] >= 0.7, f"{name} is visible and never seen"
        else:
            assert seen[g] == 0, f"{name} is not visible and has an image class"


def test_every_class_is_decided() -> None:
    audio, image = rows_of("audioset.csv"), rows_of("imagenet.csv")
    assert [int(row["index"]) for row in audio] == list(range(AUDIO_CLASSES))
    assert [int(row["index"]) for row in image] == list(range(IMAGE_CLASSES))
    assert all(row["groups"] and row["name"] for row in audio + image)
    for row in audio:
        if row["groups"] == "none":
            assert row["kind"] != "source", f"{row['name']} is a source without a group"
        if row["kind"] == "silent":
            assert row["groups"] == "none"
    assert {row["kind"] for row in audio} == set(AUDIO_KINDS)


@pytest.mark.parametrize(
    "name", ["Silence", "Inside, small room", "White noise", "Field recording"]
)
def test_rooms_and_noise_speak_for_no_group(groups: SoundGroups, name: str) -> None:
    assert not groups.audio_matrix[groups.audio_names.index(name)].any()


@pytest.mark.parametrize(
    ("sound", "group"),
    [
        ("Meow", "cat"),
        ("Clip-clop", "horse"),
        ("Roaring cats (lions, tigers)", "bigcat"),
        ("Quack", "waterfowl"),
        ("Race car, auto racing", "car"),
        ("Helicopter", "airplane"),
        ("Cello", "violin"),
        ("Steelpan", "mallet"),
        ("Vacuum cleaner", "appliance"),
        ("Ambulance (siren)", "emergency"),
        ("Wind noise (microphone)", "weather"),
        ("Techno", "music"),
        ("Rowboat, canoe, kayak", "boat"),
    ],
)
def test_sounds_have_their_group_first(groups: SoundGroups, sound: str, group: str) -> None:
    row = groups.audio_matrix[groups.audio_names.index(sound)]
    assert groups.names[int(row.argmax())] == group


@pytest.mark.parametrize(
    ("index", "look", "group"),
    [
        (7, "cock", "fowl"),
        (134, "crane", "bird"),
        (207, "golden retriever", "dog"),
        (281, "tabby", "cat"),
        (386, "African elephant", "elephant"),
        (339, "sorrel", "horse"),
        (517, "crane", "heavy_machine"),
        (569, "garbage truck", "truck"),
        (656, "minivan", "car"),
        (742, "printer", "printer"),
        (779, "school bus", "bus"),
        (874, "trolleybus", "bus"),
        (981, "ballplayer", "person"),
        (983, "scuba diver", "person"),
    ],
)
def test_looks_have_their_group(groups: SoundGroups, index: int, look: str, group: str) -> None:
    assert groups.image_names[index].split(",")[0] == look
    assert groups.image_matrix[index, groups.index(group)] == 1


def test_every_dog_is_a_dog_and_no_fish_is_heard(groups: SoundGroups) -> None:
    assert (groups.image_matrix[151:269, groups.index("dog")] == 1).all()
    assert not groups.image_matrix[:7].any()
    assert not groups.image_matrix[389:398].any()


def test_generic_classes_smear_over_their_groups(groups: SoundGroups) -> None:
    vehicle = heard(groups, Vehicle=0.8)
    assert min(vehicle[name] for name in ("car", "bus", "truck", "motorcycle", "train")) > 0.05
    animal = heard(groups, Animal=0.8)
    assert min(animal[name] for name in ("dog", "cat", "cow", "sheep", "bird", "elephant")) > 0.05
    assert heard(groups, Music=0.8)["music"] > heard(groups, Music=0.8)["guitar"] > 0


@pytest.mark.parametrize("mode", GROUP_MODES)
def test_weights_sum_to_one_and_silence_to_zero(groups: SoundGroups, mode: str) -> None:
    scores = np.random.default_rng(0).random(AUDIO_CLASSES).astype(np.float32)
    weights = groups.group_weights(scores, mode)
    assert weights.shape == (len(groups.names),)
    assert weights.dtype == np.float32
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1, abs=1e-5)
    assert not groups.group_weights(np.zeros(AUDIO_CLASSES), mode).any()
    assert not any(heard(groups, mode, Silence=1.0, White_noise=0.5).values())


def tiny_groups(groups: SoundGroups, rows: dict[int, list[float]]) -> SoundGroups:
    """Groups `a`, `b` and the given rows of the audio matrix, to check numbers by hand."""
    matrix = np.zeros((AUDIO_CLASSES, 2), dtype=np.float32)
    for index, row in rows.items():
        matrix[index] = row
    return dataclasses.replace(groups, names=("a", "b"), audio_matrix=matrix)


def test_modes_by_hand(groups: SoundGroups) -> None:
    tiny = tiny_groups(groups, {0: [0.5, 0.5], 1: [1.0, 0.0], 2: [0.0, 1.0]})
    scores = np.zeros(AUDIO_CLASSES)
    scores[:3] = 0.8, 0.6, 0.2
    # max: a = max(.4, .6) = .6, b = max(.4, .2) = .4
    assert tiny.group_weights(scores, "max") == pytest.approx([0.6, 0.4])
    # explain: class 0 gives .4 as 6:4 (.24, .16), so a = .6 and b = .2; then as 3:1 (.3, .1).
    assert tiny.group_weights(scores, "explain") == pytest.approx([0.75, 0.25])


def test_explain_lets_the_specific_class_take_the_generic_score(groups: SoundGroups) -> None:
    scores = {"Vehicle": 0.8, "Truck": 0.25, "Speech": 0.3}
    blunt, sharp = heard(groups, "max", **scores), heard(groups, "explain", **scores)
    assert blunt["car"] > blunt["truck"]
    assert sharp["truck"] > sharp["car"]
    assert sorted(sharp, key=sharp.get)[-2:] in (["truck", "person"], ["person", "truck"])


def test_group_weights_refuses_what_it_cannot_read(groups: SoundGroups) -> None:
    with pytest.raises(ConfigError, match=r"\(520,\)"):
        groups.group_weights(np.zeros(520))
    with pytest.raises(ConfigError, match="not finite"):
        groups.group_weights(np.full(AUDIO_CLASSES, np.nan))
    with pytest.raises(ConfigError, match="median"):
        groups.group_weights(np.zeros(AUDIO_CLASSES), "median")


def test_index_names_the_unknown_group(groups: SoundGroups) -> None:
    assert groups.names[groups.index("train")] == "train"
    with pytest.raises(ConfigError, match="dragon"):
        groups.index("dragon")


@pytest.mark.parametrize(
    ("table", "line", "old", "new", "message"),
    [
        ("audioset.csv", 2, "person:1", "persona:1", "unknown group 'persona'"),
        ("audioset.csv", 2, "person:1", "person:1.5", "weight 1.5"),
        ("audioset.csv", 2, "person:1", "person:0", "weight 0 "),
        ("audioset.csv", 2, "person:1", "person:nan", "weight nan"),
        ("audioset.csv", 2, "person:1", "person", "'person'"),
        ("audioset.csv", 2, "person:1", "", "''"),
        ("audioset.csv", 2, "person:1", "person:1;person:0.5", "'person' twice"),
        ("audioset.csv", 2, "source", "sauce", "kind 'sauce'"),
        ("audioset.csv", 3, "1,", "7,", "index '7', expected 1"),
        ("audioset.csv", 2, ",source", "", "fields"),
        ("imagenet.csv", 9, "fowl:1", "fowl:-1", "weight -1"),
        ("imagenet.csv", 9, "fowl:1", "fowl:1;", "''"),
        ("groups.csv", 3, "dog,", "person,", "'person' twice"),
        ("groups.csv", 3, ",1,", ",yes,", "visible = 'yes'"),
        ("groups.csv", 3, "Dog", "", "empty field"),
    ],
)
def test_a_broken_row_is_named(
    tables: Path, table: str, line: int, old: str, new: str, message: str
) -> None:
    path = tables / table
    lines = path.read_text(encoding="utf-8").splitlines()
    assert old in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new, 1)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        SoundGroups.load(tables)
    assert f"{table}, line {line}" in caught.value.message
    assert message in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("table", "cut", "message"),
    [
        ("audioset.csv", slice(None, -1), "520 rows, expected 521"),
        ("imagenet.csv", slice(None, -1), "999 rows, expected 1000"),
        ("audioset.csv", slice(1, None), "columns"),
        ("groups.csv", slice(None, 1), "no groups"),
    ],
)
def test_a_table_of_the_wrong_length_is_named(
    tables: Path, table: str, cut: slice, message: str
) -> None:
    path = tables / table
    lines = path.read_text(encoding="utf-8").splitlines()[cut]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=message) as caught:
        SoundGroups.load(tables)
    assert table in caught.value.message


def test_a_row_too_many_is_refused(tables: Path) -> None:
    with (tables / "imagenet.csv").open("a", encoding="utf-8") as file:
        file.write("1000,nothing,none,\n")
    with pytest.raises(ConfigError, match="1001 rows, expected 1000"):
        SoundGroups.load(tables)


def test_a_missing_table_is_named(tables: Path) -> None:
    (tables / "groups.csv").unlink()
    with pytest.raises(ConfigError, match=r"groups\.csv"):
        SoundGroups.load(tables)


@pytest.mark.weights
def test_names_are_those_of_the_network(groups: SoundGroups, weights_dir: Path) -> None:
    with zipfile.ZipFile(weights_dir / "yamnet.tflite") as archive:
        names = archive.read("yamnet_label_list.txt").decode("utf-8").splitlines()
    assert groups.audio_names == tuple(names)
