"""Sensitivity to sound: one who ignores it looks bad, one who follows it perfectly looks good."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from core.avsbench_fakes import write_png, write_wav
from numpy.typing import NDArray

from moca_core.errors import DatasetError
from moca_core.evaluation.baselines import Look
from moca_core.evaluation.layouts import Case, DataSet, read_pairs
from moca_core.evaluation.runner import Sounds
from moca_core.evaluation.sensitivity import (
    CHANGES,
    PictureEvent,
    SoundRecord,
    Swap,
    by_picture,
    sensitivity,
)
from moca_core.evaluation.sensitivity_report import make_report, roc_plot, text_tables
from moca_core.types import Listen, NoteEvent, Prediction, ReportEvent, RgbImage

RATE = 16_000
SIZE = (8, 12)
LEFT, RIGHT = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
LEFT[:, :4], RIGHT[:, 8:] = True, True
NOTHING = np.zeros(SIZE, bool)
PITCH = {"dog": 200, "bird": 2000, "car": 5000, "bell": 7000}
SHADES = {90: {"dog": LEFT, "bird": RIGHT}, 30: {"bell": LEFT}}
"""What is seen where, by the shade of grey of the picture; a car is never seen."""


def tone(*names: str) -> NDArray[np.int16]:
    time = np.arange(RATE) * 2 * np.pi / RATE
    return (sum(np.sin(time * PITCH[name]) for name in names) * 9000).astype(np.int16)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures of dog and bird with four sounds each, two with a dog's, one of a bell."""
    folder = tmp_path_factory.mktemp("pairs")
    rows = [["id", "split", "subset", "category", "image", "mask", "audio"]]

    def add(name: str, subset: str, category: str, image: str, truth: NDArray[np.bool_]) -> None:
        shade = 30 if category == "bell" else 90
        write_png(folder / f"images/{image}.png", np.full((*SIZE, 3), shade, np.uint8))
        write_png(folder / f"masks/{name}.png", truth.astype(np.uint8) * 255)
        write_wav(folder / f"audio/{name}.wav", tone(*category.split("+")))
        files = [f"images/{image}.png", f"masks/{name}.png", f"audio/{name}.wav"]
        rows.append([name, "dev", subset, category, *files])

    for number in range(3):
        image = f"m{number}"
        add(f"{image}_dog", "ms_one", "dog", image, LEFT)
        add(f"{image}_bird", "ms_one", "bird", image, RIGHT)
        add(f"{image}_both", "ms_both", "dog+bird", image, LEFT | RIGHT)
        add(f"{image}_car", "ms_off", "car", image, NOTHING)
    for number in range(2):
        add(f"s{number}", "single", "dog", f"s{number}", LEFT)
    add("bell", "single", "bell", "bell", LEFT)
    with (folder / "manifest.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    return folder


@pytest.fixture
def data(root: Path) -> DataSet:
    return DataSet(tuple(read_pairs(root)))


def says(mask: NDArray[np.bool_], sure: float | None) -> Prediction:
    return Prediction(mask, mask.astype(np.float32), "", sure)


def heard_names(wave: NDArray[np.float32]) -> list[str]:
    spectrum = np.abs(np.fft.rfft(wave)) / max(len(wave), 1)
    return [name for name, hz in PITCH.items() if spectrum[hz] > 0.02]


class Follower:
    """Finds what sounds without fail; counts its looks."""

    def __init__(self) -> None:
        self.looks = 0

    def __call__(self, rgb: RgbImage) -> Listen:
        self.looks += 1

        def listen(wave: NDArray[np.float32]) -> Prediction:
            seen = SHADES[int(rgb[0, 0, 0])]
            places = [seen[name] for name in heard_names(wave) if name in seen]
            mask = np.logical_or.reduce([NOTHING, *places])
            return says(mask, 0.9 if mask.any() else 0.1)

        return listen


def deaf(mask: NDArray[np.bool_], sure: float | None = None) -> Look:
    return lambda rgb: lambda wave: says(mask, sure)


def run(data: DataSet, look: Look, **options: Any) -> tuple[dict[str, Any], list[Any]]:
    events = list(sensitivity(data, look, **options))
    assert isinstance(events[-1], ReportEvent)
    return events[-1].report, events


def test_one_who_follows_the_sound_looks_good(data: DataSet) -> None:
    look = Follower()
    report, _ = run(data, look)
    assert (report["pictures"], report["sounds"]) == (6, 15)
    assert look.looks == 6
    several = report["one_of_several"]
    assert (several["pictures"], several["sounds"]) == (3, 6)
    assert (several["all_right"], several["some_right"], several["none_right"]) == (1, 0, 0)
    assert (several["all_right_half"], several["same"]) == (1, 0)
    assert (several["iou"], several["wrong"], several["gain"]) == (1, 0, 1)
    single = report["changes"]["single"]
    assert single["own"]["iou"] == 1
    assert (single["swapped"]["alike"], single["swapped"]["gain"]) == (0, 1)
    for name in ("noise", "silent"):
        assert (single[name]["empty"], single[name]["same"], single[name]["iou"]) == (1, 0, 0)
    # Pictures of several sources, which come with a car's sound too, can only be given the bell's.
    assert report["changes"]["ms_one"]["swapped"]["empty"] == 1
    # A bell that isn't seen, mixed in, changes nothing.
    assert report["changes"]["ms_one"]["mixed"]["same"] == 1
    assert report["absent"]["absent"] == {"n": 3, "empty": 1.0, "empty_se": 0.0}
    assert report["absent"]["silent"] == {"n": 12, "empty": 1.0, "empty_se": 0.0}
    assert report["roc"]["absent"]["area"] == 1
    assert (report["roc"]["absent"]["positives"], report["roc"]["absent"]["negatives"]) == (6, 3)
    assert report["roc"]["noise"]["area"] == 1


@pytest.mark.parametrize("mask", [LEFT, RIGHT, LEFT | RIGHT, np.ones(SIZE, bool), NOTHING])
@pytest.mark.parametrize("sure", [None, 0.7])
def test_one_who_ignores_the_sound_looks_bad(
    data: DataSet, mask: NDArray[np.bool_], sure: float | None
) -> None:
    report, _ = run(data, deaf(mask, sure))
    several = report["one_of_several"]
    assert (several["all_right"], several["all_right_half"], several["same"]) == (0, 0, 1)
    assert abs(several["gain"]) < 1e-12
    for part in report["changes"].values():
        for name in CHANGES:
            assert (part[name]["same"], part[name]["alike"], part[name]["gain"]) == (1, 1, 0)
    empty = float(not mask.any())
    assert all(part["empty"] == empty for part in report["absent"].values())
    assert set(report["roc"]) == {"absent", "swapped", "noise"}
    assert all(curve["area"] == 0.5 for curve in report["roc"].values())


def test_right_for_one_of_two_sounds(data: DataSet) -> None:
    several = run(data, deaf(LEFT))[0]["one_of_several"]
    assert (several["some_right"], several["none_right"]) == (1, 0)
    several = run(data, deaf(LEFT | RIGHT))[0]["one_of_several"]
    assert (several["some_right"], several["none_right"]) == (0, 1)


def test_a_mask_of_the_right_side_but_the_wrong_borders_is_told_apart(data: DataSet) -> None:
    def look(rgb: RgbImage) -> Listen:
        listen = Follower()(rgb)

        def thin(wave: NDArray[np.float32]) -> Prediction:
            found = listen(wave)
            mask = found.mask.copy()
            mask[2:] = False
            return replace(found, mask=mask)

        return thin

    several = run(data, look)[0]["one_of_several"]
    assert (several["all_right"], several["all_right_half"]) == (1, 0)
    assert several["iou"] == pytest.approx(0.25)


def test_errors_count_pictures(data: DataSet) -> None:
    """One of five pictures is followed: the share's error is that of five values."""
    looks: list[int] = []

    def look(rgb: RgbImage) -> Listen:
        looks.append(0)
        return Follower()(rgb) if len(looks) == 1 else deaf(LEFT)(rgb)

    several = run(data, look)[0]["one_of_several"]
    assert several["all_right"] == pytest.approx(1 / 3)
    assert several["all_right_se"] == pytest.approx(np.std([1, 0, 0], ddof=1) / np.sqrt(3))
    # Both sounds of a picture gain 1 in the first, and 1 and -1 in the others.
    assert several["gain"] == pytest.approx(1 / 3)
    assert several["gain_se"] == pytest.approx(np.std([1, 0, 0], ddof=1) / np.sqrt(3))


def test_sounds_are_made_as_they_say() -> None:
    rng = np.random.default_rng(0)
    own = (0.2 * rng.standard_normal(8000)).astype(np.float32)
    other = (0.01 * rng.standard_normal(3000)).astype(np.float32)
    made = {name: row.make(own, other, np.random.default_rng(1)) for name, row in CHANGES.items()}
    assert all(wave.dtype == np.float32 for wave in made.values())
    np.testing.assert_array_equal(made["swapped"], other)
    assert len(made["silent"]) == len(own) and not made["silent"].any()
    assert np.sqrt((made["noise"] ** 2).mean()) == pytest.approx(10**-1.5, rel=0.05)
    # What is left after the own half is the other sound, as loud.
    rest = 2 * made["mixed"] - own
    assert np.sqrt((rest**2).mean()) == pytest.approx(np.sqrt((own**2).mean()), rel=1e-4)
    np.testing.assert_allclose(rest[:3000] / rest[3000:6000], 1, rtol=1e-2)
    silent = CHANGES["mixed"].make(np.zeros_like(own), other, rng)
    assert not silent.any()
    assert not len(CHANGES["mixed"].make(own[:0], other, rng))


def others(cases: tuple[Case, ...], seed: int) -> dict[str, str]:
    with Sounds() as sounds:
        swap = Swap(cases, sounds, seed)
        found = {case.id: swap.other(case) for case in cases}
    return {name: other[0] for name, other in found.items() if other}


def test_a_sound_of_what_the_picture_does_not_come_with_is_taken(data: DataSet) -> None:
    category = {case.id: case.category for case in data.cases}
    found = [others(data.cases, seed) for seed in range(8)]
    for name in category:
        taken = {category[chosen[name]] for chosen in found}
        if name.startswith("m"):
            assert taken == {"bell"}
        elif name == "bell":
            assert "bell" not in taken
            assert len(taken) > 1
        else:
            assert taken <= {"bird", "car", "bell"}
            assert len(taken) > 1
    assert others(data.cases, 0) == found[0] != found[1]


def test_a_sound_of_what_the_picture_shows_silently_is_not_taken(data: DataSet) -> None:
    named = [replace(c, visible=frozenset({"dog", "car"})) for c in data.cases if c.id == "s0"]
    cases = tuple(named + [case for case in data.cases if case.id != "s0"])
    category = {case.id: case.category for case in data.cases}
    taken = {category[others(cases, seed)["s0"]] for seed in range(8)}
    assert taken == {"bird", "bell"}


def test_what_is_taken_does_not_depend_on_how_many_are_looked_at(data: DataSet) -> None:
    def taken(limit: int | None) -> dict[str, str]:
        report, _ = run(data, deaf(LEFT), limit=limit, seed=3)
        return {record["id"]: record["other"] for record in report["cases"]}

    whole, part = taken(None), taken(2)
    assert 0 < len(part) < len(whole)
    assert part == {name: whole[name] for name in part}


def test_silent_and_missing_sounds_are_not_taken(data: DataSet, tmp_path: Path) -> None:
    write_wav(tmp_path / "silent.wav", np.zeros(RATE, np.int16))
    dog = next(case for case in data.cases if case.id == "s0")
    bells = [
        replace(dog, id=name, group=name, category="bell", audio_path=path)
        for name, path in (
            ("silent", tmp_path / "silent.wav"),
            ("missing", tmp_path / "missing.wav"),
            ("good", next(case for case in data.cases if case.id == "bell").audio_path),
        )
    ]
    for seed in range(6):
        assert others((dog, *bells), seed)["s0"] == "good"
    assert others((dog, *bells[:2]), 0) == {"silent": "s0", "missing": "s0"}


def test_a_data_set_of_one_category_says_so(data: DataSet) -> None:
    dogs = DataSet(tuple(case for case in data.cases if case.id in ("s0", "s1")))
    report, events = run(dogs, Follower())
    notes = [event.message for event in events if isinstance(event, NoteEvent)]
    assert any("no other category" in note for note in notes)
    assert set(report["changes"]["single"]) == {"own", "noise", "silent"}
    assert (report["one_of_several"], set(report["roc"])) == (None, {"noise"})
    assert "all right" not in text_tables(report)


def test_frames_of_a_clip_get_sounds_of_other_clips(data: DataSet) -> None:
    """Where no category is known, other clips are all that can be told apart."""
    named = [case for case in data.cases if case.subset == "single"]
    unnamed = tuple(replace(case, category="") for case in named)
    for seed in range(4):
        for name, other in others(unnamed, seed).items():
            assert name != other


def test_cases_of_a_picture_come_together_and_the_limit_counts_pictures(data: DataSet) -> None:
    shuffled = (*data.cases[::2], *data.cases[1::2])
    pictures = by_picture(shuffled)
    assert sorted(len(cases) for cases in pictures) == [1, 1, 1, 4, 4, 4]
    assert all(len({case.image_path for case in cases}) == 1 for cases in pictures)
    report, events = run(DataSet(shuffled), Follower(), limit=3)
    assert report["pictures"] == 3
    counts = [(e.done, e.total) for e in events if isinstance(e, PictureEvent)]
    assert counts == [(1, 3), (2, 3), (3, 3)]


def test_a_case_that_cannot_be_read_is_noted_and_the_others_stay(data: DataSet) -> None:
    broken = tuple(
        replace(case, mask_path=case.mask_path.with_name("missing.png"))
        if case.id in ("m0_dog", "s0")
        else case
        for case in data.cases
    )
    report, events = run(DataSet(broken), Follower())
    assert report["failed"] == ["m0_dog", "s0"]
    assert report["one_of_several"]["pictures"] == 2
    assert report["pictures"] == 5
    notes = [event.message for event in events if isinstance(event, NoteEvent)]
    assert any("m0_dog is left out" in note for note in notes)
    with pytest.raises(DatasetError, match="none of 1 cases"):
        list(sensitivity(DataSet((broken[0],)), Follower()))


def test_it_can_be_left_at_any_picture(data: DataSet) -> None:
    look = Follower()
    events = sensitivity(data, look)
    next(event for event in events if isinstance(event, PictureEvent))
    events.close()
    assert look.looks == 1


def test_the_report_is_json_and_repeats(data: DataSet) -> None:
    first, second = run(data, Follower(), seed=1)[0], run(data, Follower(), seed=1)[0]
    first["seconds"] = second["seconds"] = 0
    text = json.dumps(first, allow_nan=False)
    assert text == json.dumps(second, allow_nan=False)
    # Its records are all that it is made of.
    records = [_record(item) for item in json.loads(text)["cases"]]
    again = make_report(records, [], 0, {})
    assert json.dumps(again) == text


def _record(values: dict[str, Any]) -> SoundRecord:
    from moca_core.evaluation.sensitivity import Changed

    changes = {name: Changed(**part) for name, part in values["changes"].items()}
    return SoundRecord(**(values | {"changes": changes}))


def test_the_tables_have_every_number_and_the_plot_is_svg(data: DataSet) -> None:
    report = run(data, Follower())[0]
    several, changes = (table.splitlines() for table in text_tables(report).split("\n\n")[1::-1])
    assert changes[0].split() == (
        ["subset", "sound", "n", "alike", "unchanged", "empty", "IoU", "gain", "of", "own"]
    )
    assert len(changes) == 1 + 3 * (1 + len(CHANGES))
    assert changes[1].split()[:4] == ["ms_one", "own", "6", "-"]
    assert several[1].split()[:2] == ["3", "1.000"]
    drawing = ElementTree.fromstring(roc_plot(report))
    words = "".join(drawing.itertext())
    assert all(f"{name}: 1.000" in words for name in ("absent", "noise"))
    assert len(drawing.findall(".//{*}polyline")) == 4


@pytest.mark.data
def test_development_pairs(dev_data: Path) -> None:
    """A box in the middle hears nothing: 31 pictures of two sounds, 31 sounds without a source."""
    from moca_core.evaluation.baselines import centre

    cases = tuple(read_pairs(dev_data / "avs_pairs"))
    several = [case for case in cases if case.subset == "ms_one"][:8]
    pictures = {case.group for case in several}
    data = DataSet(tuple(case for case in cases if case.group in pictures or "cat" in case.id))
    report, _ = run(data, centre, limit=6)
    assert report["failed"] == []
    assert report["one_of_several"]["all_right"] == 0
    assert report["absent"]["absent"]["empty"] == 0
    assert report["roc"]["absent"]["area"] == 0.5
