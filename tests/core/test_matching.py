"""From region to objects: which proposals are taken, how they are named, and when none is."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from picture_fakes import (
    CAR,
    CAT,
    DOG,
    LEFT,
    NAMES,
    RIGHT,
    SIZE,
    WORK,
    analysis_of,
    at_full_size,
    box,
    hearing_of,
)

from moca_core.config import SegmentConfig, with_values
from moca_core.errors import ConfigError
from moca_core.evaluation.metrics import iou
from moca_core.pipeline.analysis import FrameAnalysis
from moca_core.pipeline.hearing import HearingSettings, listen
from moca_core.pipeline.matching import Match, MatchSettings, full_mask, match
from moca_core.pipeline.regions import STRATEGIES
from moca_core.types import REASON_NO_OBJECT, Mask

FAR = box(0, 232, 24, 256)
"""A corner in which nothing is seen."""
TWO = {DOG: LEFT, CAT: RIGHT}
EACH = (FAR, RIGHT, LEFT)
MASKS = (LEFT | RIGHT, *EACH, box(0, 0, 192, 256))


def decide(
    analysis: FrameAnalysis,
    settings: MatchSettings | None = None,
    regions: str = "paint",
    guide: NDArray[np.uint8] | None = None,
    **sound: float,
) -> Match:
    return match(
        analysis,
        hearing_of(analysis, settings, **sound),
        NAMES,
        SegmentConfig(regions=regions),
        settings or MatchSettings(),
        guide,
    )


def by_name(found: Match) -> dict[str, Mask]:
    """The masks by name; no name comes twice."""
    masks = {item.name: item.mask for item in found.objects}
    assert len(masks) == len(found.objects)
    return masks


@pytest.fixture(scope="module")
def analysis() -> FrameAnalysis:
    return analysis_of(TWO, MASKS)


@pytest.mark.parametrize("regions", STRATEGIES)
@pytest.mark.parametrize(("sound", "name", "mask"), [("dog", "Dog", LEFT), ("cat", "Cat", RIGHT)])
def test_the_proposal_of_what_is_heard_is_the_mask(
    analysis: FrameAnalysis, regions: str, sound: str, name: str, mask: Mask
) -> None:
    found = decide(analysis, regions=regions, **{sound: 1.0})
    (item,) = found.objects
    assert (item.number, item.name) == (1, name)
    assert item.mask.dtype == bool
    np.testing.assert_array_equal(item.mask, at_full_size(mask))
    assert not found.coarse
    assert found.reason == ""
    assert found.region.shape == WORK
    # As sure as the region is on the mask, since it is the strongest sound.
    assert item.score == pytest.approx(float(found.region[mask].mean()), abs=1e-5)
    assert 0.8 < item.score <= 1.0


def test_the_order_of_the_proposals_does_not_matter() -> None:
    for order in ((3, 2, 1, 0, 4), (4, 3, 0, 2, 1)):
        found = decide(analysis_of(TWO, [MASKS[k] for k in order]), dog=1)
        np.testing.assert_array_equal(by_name(found)["Dog"], at_full_size(LEFT))


def test_two_sources_are_two_objects() -> None:
    masks = by_name(decide(analysis_of(TWO, EACH), dog=0.55, cat=0.45))
    assert set(masks) == {"Dog", "Cat"}
    np.testing.assert_array_equal(masks["Dog"], at_full_size(LEFT))
    np.testing.assert_array_equal(masks["Cat"], at_full_size(RIGHT))


@pytest.mark.parametrize(("weights", "first"), [((0.6, 0.4), "Dog"), ((0.4, 0.6), "Cat")])
def test_a_pixel_belongs_to_the_stronger_source(weights: tuple[float, float], first: str) -> None:
    wide_left, wide_right = box(48, 32, 144, 132), box(48, 124, 144, 224)
    analysis = analysis_of(TWO, [wide_left, wide_right])
    masks = by_name(decide(analysis, dog=weights[0], cat=weights[1]))
    assert not (masks["Dog"] & masks["Cat"]).any()
    whole = {"Dog": at_full_size(wide_left), "Cat": at_full_size(wide_right)}
    np.testing.assert_array_equal(masks[first], whole[first])
    np.testing.assert_array_equal(masks["Dog"] | masks["Cat"], at_full_size(wide_left | wide_right))


def test_an_object_is_named_after_what_is_heard_and_not_after_its_looks() -> None:
    looks = np.array([[0.5, 0.8, 0.0, 0.0], [0.0, 0.0, 0.9, 0.0]], dtype=np.float32)
    analysis = analysis_of({DOG: LEFT, CAR: RIGHT}, [LEFT, RIGHT], looks)
    assert set(by_name(decide(analysis, dog=1))) == {"Dog"}


def test_objects_are_numbered_by_their_score() -> None:
    """The cat is the smaller one, the quieter one, and comes first among the proposals."""
    small = box(64, 160, 112, 208)
    found = decide(analysis_of({CAT: small, DOG: LEFT}, [small, LEFT]), dog=0.93, cat=0.07)
    assert [(item.number, item.name) for item in found.objects] == [(1, "Dog"), (2, "Cat")]
    assert found.objects[0].score > found.objects[1].score
    cat = found.hearing.strength[CAT]
    assert 0.5 < cat < 0.9
    assert found.objects[1].score == pytest.approx(
        float(found.region[small].mean() * cat**0.5), abs=1e-5
    )


def test_separate_parts_are_objects_of_their_own() -> None:
    """Two dogs in one mask; a small part beside them belongs to the larger one."""
    large, second, part = box(48, 32, 144, 112), box(48, 152, 120, 216), box(160, 32, 176, 56)
    herd = large | second | part
    found = decide(analysis_of({DOG: herd}, [herd]), dog=1)
    assert [(item.number, item.name) for item in found.objects] == [(1, "Dog"), (2, "Dog")]
    np.testing.assert_array_equal(found.objects[0].mask, at_full_size(large | part))
    np.testing.assert_array_equal(found.objects[1].mask, at_full_size(second))


def test_holes_and_specks_are_no_part_of_an_object() -> None:
    """Below a hundredth of the mask; a larger hole stays."""
    whole, hole, window = box(32, 32, 160, 160), box(48, 48, 56, 56), box(80, 80, 112, 112)
    ragged = (whole & ~hole & ~window) | box(168, 168, 174, 174)
    found = decide(analysis_of({DOG: ragged}, [ragged]), dog=1)
    (item,) = found.objects
    np.testing.assert_array_equal(item.mask, at_full_size(whole & ~window))


def test_masks_of_one_name_that_touch_are_one_object() -> None:
    upper, lower = box(48, 32, 96, 112), box(96, 32, 144, 112)
    found = decide(analysis_of({DOG: LEFT}, [upper, lower]), dog=1)
    np.testing.assert_array_equal(by_name(found)["Dog"], at_full_size(LEFT))


def test_a_sound_of_nothing_visible_gives_nothing(analysis: FrameAnalysis) -> None:
    found = decide(analysis, bird=1)
    assert found.objects == ()
    assert found.reason == REASON_NO_OBJECT
    assert not found.coarse
    assert found.region.shape == WORK
    assert found.hearing.agreement < 0.25


def test_nothing_heard_gives_nothing(analysis: FrameAnalysis) -> None:
    settings = HearingSettings(empty_below=0.0)
    found = match(
        analysis,
        listen(np.zeros(4, np.float32), analysis.kindred, settings),
        NAMES,
        SegmentConfig(),
        MatchSettings(hearing=settings),
    )
    assert found.objects == ()
    assert found.reason == REASON_NO_OBJECT
    assert not found.coarse


def test_the_gate_is_where_the_settings_put_it(analysis: FrameAnalysis) -> None:
    """Moved without looking or listening again: the same analysis, which nothing may change."""
    # (0.4, 0.6) of dog and bird against 0.9, 0.9, 0.02, 0.02: a cosine of about 0.41.
    agreement = decide(analysis, dog=0.4, bird=0.6).hearing.agreement
    assert 0.35 < agreement < 0.45
    for shift, empty in ((-0.01, False), (0.01, True)):
        settings = MatchSettings(hearing=HearingSettings(empty_below=agreement + shift))
        found = decide(analysis, settings, dog=0.4, bird=0.6)
        assert (found.objects == ()) is empty
        assert found.reason == (REASON_NO_OBJECT if empty else "")


def test_least_share_drops_what_sounds_less() -> None:
    analysis = analysis_of(TWO, EACH)
    names = {}
    for share in (0.0, 0.5, 0.97):
        settings = MatchSettings(region_threshold=0.4, least_share=share)
        found = decide(analysis, settings, dog=0.93, cat=0.07)
        names[share] = {item.name for item in found.objects}
    assert names == {0.0: {"Dog", "Cat"}, 0.5: {"Dog", "Cat"}, 0.97: {"Dog"}}


def test_a_high_threshold_leaves_the_surest() -> None:
    analysis = analysis_of(TWO, EACH)
    low, high = (
        decide(analysis, MatchSettings(region_threshold=level, softness=0.05), dog=0.93, cat=0.07)
        for level in (0.3, 0.95)
    )
    assert {item.name for item in low.objects} == {"Dog", "Cat"}
    assert {item.name for item in high.objects} == {"Dog"}


@pytest.mark.parametrize(
    ("softness", "above", "taken"),
    [(0.2, 0.02, True), (0.2, 0.1, False), (0.05, 0.02, False), (0.05, -0.02, True)],
)
def test_softness_is_the_distance_to_certainty(softness: float, above: float, taken: bool) -> None:
    """The cat is wanted by w = (softness - above) / (2 * softness), the dog surely.

    Both are of one size, so that the cat is taken where (1 + w) / 2 > 1 / (1 + w), w > 0.414.
    """
    analysis = analysis_of(TWO, EACH)
    level = float(decide(analysis, dog=0.93, cat=0.07).region[RIGHT].mean())
    settings = MatchSettings(region_threshold=level + above, softness=softness, least_share=0.0)
    found = decide(analysis, settings, dog=0.93, cat=0.07)
    assert ("Cat" in by_name(found)) is taken


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("region_threshold", "nan"),
        ("least_fit", "inf"),
        ("hearing.empty_below", "-inf"),
        ("region.floor", "nan"),
        ("region.clusters", "1"),
        ("region.clusters", "33"),
        ("region.temperature", "0.0"),
        ("region.seed", "-1"),
    ],
)
def test_settings_that_cant_work_are_named(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name} = {value}"):
        with_values(MatchSettings(), [(name, value)])


@pytest.mark.parametrize("least_fit", [0.0, -1.0])
def test_where_no_proposal_overlaps_none_is_chosen_whatever_the_fit(least_fit: float) -> None:
    found = decide(analysis_of(TWO, masks=(FAR,)), MatchSettings(least_fit=least_fit), dog=1)
    assert found.coarse
    assert found.objects


def test_gain_stops_at_what_adds_little() -> None:
    most, rest = box(48, 32, 128, 112), box(128, 32, 144, 112)
    analysis = analysis_of({DOG: LEFT}, [most, rest])
    for gain, expected in ((0.01, LEFT), (0.3, most)):
        found = decide(analysis, MatchSettings(gain=gain), dog=1)
        np.testing.assert_array_equal(by_name(found)["Dog"], at_full_size(expected))


@pytest.mark.parametrize("regions", STRATEGIES)
def test_without_proposals_the_region_stands_in(regions: str) -> None:
    found = decide(analysis_of(TWO), regions=regions, dog=1)
    assert found.coarse
    mask = by_name(found)["Dog"]
    assert mask.shape == SIZE
    assert iou(mask, at_full_size(LEFT)) > 0.9


@pytest.mark.parametrize("regions", STRATEGIES)
def test_where_no_proposal_fits_the_region_stands_in(regions: str) -> None:
    found = decide(analysis_of(TWO, [FAR]), regions=regions, dog=1)
    assert found.coarse
    assert iou(by_name(found)["Dog"], at_full_size(LEFT)) > 0.9


def test_a_coarse_mask_follows_the_edge_of_the_picture() -> None:
    """What looks like a dog has soft borders, and reaches beyond it on every side."""
    size = (2 * WORK[0], 2 * WORK[1])
    truth = LEFT.repeat(2, axis=0).repeat(2, axis=1)
    picture = np.where(truth[..., None], np.uint8(220), np.uint8(40)).repeat(3, axis=2)
    analysis = analysis_of({DOG: box(48 - 2, 32 - 2, 144 + 2, 112 + 2)})
    soft = np.stack([cv2.GaussianBlur(group, (0, 0), 4) for group in analysis.groups])
    analysis = replace(analysis, size=size, groups=soft, saliency=np.ones(WORK, np.float32))
    blunt = by_name(decide(analysis, dog=1))["Dog"]
    sharp = by_name(decide(analysis, guide=picture, dog=1))["Dog"]
    assert blunt.shape == sharp.shape == size
    assert iou(blunt, truth) < 0.92
    assert iou(sharp, truth) > 0.96
    # A picture without an edge has nothing to say.
    grey = np.full_like(picture, 128)
    assert iou(by_name(decide(analysis, guide=grey, dog=1))["Dog"], blunt) > 0.98


@pytest.mark.parametrize("size", [(97, 61), (1, 1), (40, 333)])
def test_masks_have_the_size_of_the_frame(size: tuple[int, int]) -> None:
    analysis = replace(analysis_of(TWO, MASKS), size=size)
    assert full_mask(analysis, 3).shape == size
    assert full_mask(analysis, 3).dtype == bool
    for item in decide(analysis, dog=1).objects:
        assert item.mask.shape == size
    share = full_mask(analysis, 4).mean()
    assert share == 1.0


def test_a_mask_is_cut_out_at_the_zero_of_its_logits() -> None:
    """Between a logit of -2 and one of 6 the border lies a quarter of the way."""
    analysis = analysis_of({DOG: LEFT}, [LEFT])
    logits = np.array([[[-2.0, 6.0]]], dtype=np.float16)
    analysis = replace(analysis, size=(1, 80), proposals=replace(analysis.proposals, logits=logits))
    # The centres of the two values lie at pixels 20 and 60.
    row = full_mask(analysis, 0)[0]
    assert np.flatnonzero(row)[0] == 30
    assert row[30:].all()
