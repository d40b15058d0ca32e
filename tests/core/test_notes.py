"""Why proposals are taken or not: the words say what was decided, and the numbers why."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray
from picture_fakes import CAT, DOG, LEFT, NAMES, RIGHT, analysis_of, box, hearing_of

from moca_core.config import SegmentConfig
from moca_core.pipeline.analysis import FrameAnalysis
from moca_core.pipeline.hearing import HearingSettings
from moca_core.pipeline.matching import MatchSettings, match
from moca_core.pipeline.note_rows import from_rows, to_rows
from moca_core.pipeline.notes import notes_of
from moca_core.types import Mask, ProposalNote

FAR = box(0, 232, 24, 256)
"""A corner in which nothing is seen."""


def notes(
    masks: list[Mask],
    settings: MatchSettings | None = None,
    looks: NDArray[np.float32] | None = None,
    **sound: float,
) -> tuple[ProposalNote, ...]:
    """Of a frame with a dog on the left and a cat on the right."""
    analysis = analysis_of({DOG: LEFT, CAT: RIGHT}, masks, looks)
    return of(analysis, settings, **sound)


def of(
    analysis: FrameAnalysis, settings: MatchSettings | None, **sound: float
) -> tuple[ProposalNote, ...]:
    settings = settings or MatchSettings()
    hearing = hearing_of(analysis, settings, **sound)
    found = match(analysis, hearing, NAMES, SegmentConfig(), settings)
    made = notes_of(found, settings)
    assert [note.number for note in made] == list(range(1, len(made) + 1))
    assert [note.taken for note in made] == [note.why == "taken" for note in made]
    # Whoever is taken makes the masks, and nobody else.
    assert any(note.taken for note in made) == (bool(found.objects) and not found.coarse)
    return made


def test_one_is_taken_and_the_others_say_what_they_lack() -> None:
    both, far, cat, dog = notes([LEFT | RIGHT, FAR, RIGHT, LEFT], dog=1.0)
    assert dog.why == "taken"
    assert cat.why == "no overlap with the region"
    assert far.why == "no overlap with the region"
    assert both.why == "would lower the fit from 1.00 to 0.50"
    assert dog.overlap == pytest.approx(1.0, abs=1e-4)
    assert both.overlap == pytest.approx(0.5, abs=0.01)
    assert far.overlap == 0.0
    assert dog.sounds > 5 * cat.sounds > 0
    np.testing.assert_array_equal(dog.mask, LEFT)


def test_a_part_of_one_that_is_taken_changes_nothing() -> None:
    dog, part = notes([LEFT, box(60, 40, 80, 60)], dog=1.0)
    assert dog.taken
    assert part.why == "would leave the fit at 1.00"


def test_quality_and_stability_are_those_of_sam() -> None:
    analysis = analysis_of({DOG: LEFT}, [RIGHT, LEFT])
    for note, quality in zip(of(analysis, None, dog=1.0), (0.95, 0.8), strict=True):
        assert note.quality == pytest.approx(quality)
        assert note.stability == pytest.approx(0.9)


def test_a_proposal_that_adds_next_to_nothing() -> None:
    large, small = notes(
        [box(48, 32, 144, 100), box(48, 100, 144, 112)], MatchSettings(gain=0.2), dog=1.0
    )
    assert large.taken
    assert small.why == "would raise the fit of 0.85 by less than 0.2"


def test_one_that_sounds_less_surely_than_the_share_asked_for() -> None:
    # Both lie in the region; the second one looks far less like what is heard.
    looks = np.array([[0.9, 0.02, 0.02, 0.02], [0.3, 0.02, 0.02, 0.02]], np.float32)
    parts = [box(48, 32, 144, 80), box(48, 80, 144, 112)]
    for least, why in ((0.0, "taken"), (0.95, "share 0.")):
        settings = MatchSettings(least_share=least, region_threshold=0.2)
        first, second = notes(parts, settings, looks, dog=1.0)
        assert first.taken
        assert second.why.startswith(why)
    assert second.why.endswith(", below 0.95")
    assert float(second.why[6:10]) == pytest.approx(second.sounds / first.sounds, abs=0.01)


def test_no_union_that_fits() -> None:
    dog, far = notes([LEFT, FAR], MatchSettings(least_fit=1.25), dog=1.0)
    assert dog.why == "fit 1.00, below 1.25: the refined region stands in"
    assert far.why == "no overlap with the region"


def test_none_that_overlaps() -> None:
    far, dog = notes([FAR, LEFT], MatchSettings(gain=1.5), dog=1.0)
    assert far.why == "no overlap with the region"
    assert dog.why == "overlaps the region by less than 1.5; the refined region stands in"


def test_nothing_that_is_heard_is_seen() -> None:
    settings = MatchSettings(hearing=HearingSettings(empty_below=0.5))
    for note in notes([LEFT, RIGHT], settings, bird=1.0):
        assert note.why.startswith("nothing heard fits: agreement 0.")
        assert note.why.endswith(", below 0.5")


def test_a_region_that_is_too_weak() -> None:
    for note in notes([LEFT, RIGHT], MatchSettings(region_threshold=1.5), dog=1.0):
        assert note.why.startswith("no place sounds: the most of the region is ")
        assert note.why.endswith(", below 1.5")


def test_networks_that_give_no_numbers_are_no_reason_to_fail() -> None:
    looks = np.full((2, len(NAMES)), np.nan, np.float32)
    assert len(notes([LEFT, RIGHT], None, looks, dog=1.0)) == 2


def test_without_proposals_there_is_nothing_to_say() -> None:
    assert notes([], dog=1.0) == ()


def test_rows_keep_everything() -> None:
    made = notes([LEFT | RIGHT, FAR, RIGHT, LEFT], dog=1.0)
    read = from_rows(json.loads(json.dumps(to_rows(made))))
    for one, other in zip(read, made, strict=True):
        assert {**vars(one), "mask": None} == {**vars(other), "mask": None}
        np.testing.assert_array_equal(one.mask, other.mask)
