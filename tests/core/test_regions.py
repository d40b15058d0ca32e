"""Sounding regions: every strategy follows the sound, and the sums of each done by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import picture_fakes as fakes
import pytest
from picture_fakes import CAT, DOG, LEFT, RIGHT, analysis_of, box, hearing_of

from moca_core.config import REGION_STRATEGIES
from moca_core.pipeline.analysis import FrameAnalysis, Proposals
from moca_core.pipeline.hearing import Hearing
from moca_core.pipeline.regions import (
    STRATEGIES,
    RegionSettings,
    sounding_region,
    sounding_value,
)

SETTINGS = RegionSettings()
CENTRES = {"left": box(64, 48, 128, 96), "right": box(64, 160, 128, 208)}
"""Well inside of the two objects: token regions have soft borders."""


def two_objects(proposals: bool = True) -> FrameAnalysis:
    masks = [LEFT, RIGHT, LEFT | RIGHT, box(0, 0, 24, 256)] if proposals else []
    return analysis_of({DOG: LEFT, CAT: RIGHT}, masks)


def levels(analysis: FrameAnalysis, strategy: str, **sound: float) -> tuple[float, float]:
    """Mean of the region on the dog at the left and on the cat at the right."""
    region = sounding_region(analysis, hearing_of(analysis, **sound), strategy, SETTINGS)
    assert region.shape == fakes.WORK
    assert region.dtype == np.float32
    assert region.min() >= 0
    assert region.max() == pytest.approx(1.0, abs=1e-6)
    return float(region[CENTRES["left"]].mean()), float(region[CENTRES["right"]].mean())


def hearing(strength: list[float], silence: list[float]) -> Hearing:
    return Hearing(np.array(strength, np.float32), np.array(silence, np.float32), 1.0)


def small_frame(masks: list[str], looks: list[list[float]]) -> FrameAnalysis:
    """One row of pixels, two groups of which the first is seen more and more to the right."""
    stacked = np.array([[[sign == "#" for sign in line]] for line in masks])
    width = stacked.shape[2]
    ramp = np.linspace(0.0, 0.5, width, dtype=np.float32)
    empty = np.zeros(0, np.float32)
    return FrameAnalysis(
        size=(1, width),
        groups=np.stack([ramp, np.zeros_like(ramp)])[:, None],
        presence=np.ones(2, np.float32),
        kindred=np.ones(2, np.float32),
        saliency=np.ones((1, width), np.float32),
        tokens=np.zeros((width, 2), np.float32),
        token_grid=(1, width),
        proposals=Proposals(stacked.astype(np.float16), stacked, empty, empty, np.zeros((0, 2))),
        looks=np.array(looks, np.float32),
    )


def test_the_table_holds_what_the_configuration_names() -> None:
    assert tuple(STRATEGIES) == REGION_STRATEGIES


@pytest.mark.parametrize("proposals", [True, False])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_region_follows_the_sound(strategy: str, proposals: bool) -> None:
    analysis = two_objects(proposals)
    dog, other = levels(analysis, strategy, dog=1)
    assert dog > 0.9
    assert dog > 4 * other
    other, cat = levels(analysis, strategy, cat=1)
    assert cat > 0.9
    assert cat > 4 * other


@pytest.mark.parametrize("proposals", [True, False])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_mix_gives_both(strategy: str, proposals: bool) -> None:
    dog, cat = levels(two_objects(proposals), strategy, dog=0.6, cat=0.4)
    assert min(dog, cat) > 0.85


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_trace_of_a_sound_is_not_a_second_source(strategy: str) -> None:
    dog, cat = levels(two_objects(), strategy, dog=0.99, cat=0.01)
    assert cat < 0.5 * dog


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_is_salient_counts_more(strategy: str) -> None:
    analysis = analysis_of({DOG: LEFT | RIGHT}, [LEFT, RIGHT])
    dull = np.where(RIGHT, np.float32(0.0), analysis.saliency)
    before = levels(analysis, strategy, dog=1)
    left, right = levels(replace(analysis, saliency=dull), strategy, dog=1)
    assert before[1] > 0.9
    # 0.9 + 0.3 against 0 + 0.3; clusters and tokens keep their share of it.
    assert right < 0.4 * left


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_nothing_heard_is_no_region(strategy: str) -> None:
    analysis = two_objects()
    deaf = hearing([0.0] * 4, [1.0] * 4)
    with np.errstate(divide="raise", invalid="raise"):
        region = sounding_region(analysis, deaf, strategy, SETTINGS)
    assert region.max() == 0.0


def test_value_of_looks_by_hand() -> None:
    settings = RegionSettings(floor=0.1, sharpness=1.0, rivalry=0.5, doubt=0.2, suppression=2.0)
    looks = np.array([[0.6, 0.4, 0.0], [0.6, 0.0, 0.0], [0.0, 0.9, 0.0]], dtype=np.float32)
    value = sounding_value(looks, hearing([1, 0, 0], [0, 1, 1]), settings)
    # Heard 0.6 of 0.6 + 0.5 * 0.4 + 0.2 wins 0.6 of the place: 0.7 * 0.6^2; alone 0.75 of it.
    np.testing.assert_allclose(value, [0.252, 0.7 * 0.75**2, 0.0], atol=1e-6)


def test_only_the_best_rival_counts_and_a_half_heard_group_half() -> None:
    settings = RegionSettings(floor=0.0, sharpness=1.0, rivalry=1.0, doubt=0.0, suppression=1.0)
    looks = np.array([0.5, 0.3, 0.5, 0.2], dtype=np.float32)
    value = sounding_value(looks, hearing([0.5, 0.5, 0, 0], [0, 0, 1, 0.5]), settings)
    # Heard 0.25 + 0.15; silent max(0.5, 0.1): 0.4 * 0.4 / 0.9.
    assert float(value) == pytest.approx(0.4 * 0.4 / 0.9, abs=1e-6)


def test_what_is_heard_is_one_at_most() -> None:
    settings = RegionSettings(floor=0.0, sharpness=1.0, rivalry=1.0, doubt=1.0, suppression=1.0)
    value = sounding_value(np.array([0.9, 0.8], np.float32), hearing([1, 1], [0, 0]), settings)
    assert float(value) == pytest.approx(1.0 * 1.0 / 2.0, abs=1e-6)


def test_sharpness_and_suppression_are_exponents() -> None:
    looks = np.array([0.25, 0.5], dtype=np.float32)
    what = hearing([1, 0], [0, 1])
    settings = RegionSettings(floor=0.0, sharpness=0.5, rivalry=1.0, doubt=0.25, suppression=3.0)
    # sqrt(0.25) * (0.25 / (0.25 + 0.5 + 0.25))^3.
    assert float(sounding_value(looks, what, settings)) == pytest.approx(0.5 / 64, abs=1e-7)


def test_paint_by_hand() -> None:
    """Each place takes the mean of the proposals over it, by a weight that falls with the area."""
    settings = RegionSettings(
        floor=0.0, sharpness=1.0, rivalry=0.0, doubt=0.0, suppression=1.0, smallness=1.0, spare=0.5
    )
    frame = small_frame(["##...", ".###."], [[0.9, 0.0], [0.3, 0.0]])
    painted = STRATEGIES["paint"](frame, hearing([1, 0], [0, 1]), settings)
    one, other = 1 / (2 / 5 + 0.02), 1 / (3 / 5 + 0.02)
    both = (0.9 * one + 0.3 * other) / (one + other)
    # Where no proposal lies: half of what the place itself says, 0.5.
    np.testing.assert_allclose(painted, [[0.9, both, 0.3, 0.3, 0.5 * 0.5]], rtol=1e-5)


def test_a_mask_over_two_objects_says_less_than_one_over_each() -> None:
    analysis = two_objects()
    large = replace(
        analysis,
        proposals=replace(analysis.proposals, masks=analysis.proposals.masks[[2, 2, 2, 3]]),
    )
    sound = hearing_of(analysis, dog=1)
    apart = sounding_region(analysis, sound, "paint", SETTINGS)
    same = replace(SETTINGS, smallness=0.0)
    level = sounding_region(analysis, sound, "paint", same)
    assert apart[RIGHT].mean() < level[RIGHT].mean()
    # With the large mask alone, the two objects can't be told apart.
    blind = sounding_region(large, sound, "paint", SETTINGS)
    assert blind[RIGHT].mean() == pytest.approx(blind[LEFT].mean(), rel=0.02)


def test_kmeans_is_fixed_by_its_seed() -> None:
    rng = np.random.default_rng(4)
    tokens = rng.normal(size=(fakes.TOKEN_GRID[0] * fakes.TOKEN_GRID[1], 8)).astype(np.float32)
    analysis = replace(two_objects(), tokens=tokens)
    sound = hearing_of(analysis, dog=1)

    def region(seed: int) -> np.ndarray:
        return sounding_region(analysis, sound, "kmeans", RegionSettings(seed=seed))

    np.testing.assert_array_equal(region(1), region(1))
    assert any((region(1) != region(seed)).any() for seed in (2, 3, 4))


def test_kmeans_with_more_clusters_than_tokens() -> None:
    analysis = replace(
        two_objects(),
        tokens=np.eye(4, dtype=np.float32),
        token_grid=(2, 2),
    )
    settings = RegionSettings(clusters=32)
    region = sounding_region(analysis, hearing_of(analysis, dog=1), "kmeans", settings)
    assert region.shape == fakes.WORK
    assert np.isfinite(region).all()
    # Every token is its own cluster: the left half holds the dog.
    assert region[CENTRES["left"]].mean() > 2 * region[CENTRES["right"]].mean()


def test_kmeans_by_hand() -> None:
    """A cluster has the mean evidence of its tokens, the salient ones counting more."""
    frame = replace(
        small_frame(["####"], [[0.0, 0.0]]),
        tokens=np.array([[1, 0], [2, 0.1], [0, 1], [0.1, 3]], dtype=np.float32),
        groups=np.array([[[0.2, 0.6, 0.0, 0.4]], [[0.0] * 4]], dtype=np.float32),
        saliency=np.array([[1, 3, 1, 1]], dtype=np.float32),
    )
    plain = RegionSettings(
        floor=0.0, sharpness=1.0, rivalry=0.0, doubt=0.0, suppression=1.0, clusters=2
    )
    painted = STRATEGIES["kmeans"](frame, hearing([1, 0], [0, 1]), plain)
    # (0.2 * 1 + 0.6 * 3) / 4, and (0.0 + 0.4) / 2.
    np.testing.assert_allclose(painted, [[0.5, 0.5, 0.2, 0.2]], atol=1e-5)


def test_diffuse_by_hand() -> None:
    frame = replace(
        small_frame(["##"], [[0.0, 0.0]]),
        tokens=np.array([[1, 0], [0, 1]], dtype=np.float32),
        groups=np.array([[[0.6, 0.0]], [[0.0, 0.0]]], dtype=np.float32),
    )
    plain = RegionSettings(
        floor=0.0, sharpness=1.0, rivalry=0.0, doubt=0.0, suppression=1.0, temperature=0.5
    )
    painted = STRATEGIES["diffuse"](frame, hearing([1, 0], [0, 1]), plain)
    # Softmax of (2, 0) over the two tokens.
    own = np.exp(2) / (np.exp(2) + 1)
    np.testing.assert_allclose(painted, [[0.6 * own, 0.6 * (1 - own)]], rtol=1e-5)


def test_diffusion_spreads_evidence_over_like_tokens() -> None:
    """A dog of which only a part looks like one: the rest is like that part."""
    part = LEFT & box(48, 32, 96, 112)
    seen = analysis_of({DOG: part, CAT: RIGHT})
    whole = replace(seen, tokens=two_objects().tokens)
    rest = LEFT & box(112, 48, 128, 96)
    sound = hearing_of(whole, dog=1)
    spread = sounding_region(whole, sound, "diffuse", SETTINGS)
    still = sounding_region(seen, sound, "paint", SETTINGS)
    assert still[rest].mean() < 0.1
    assert spread[rest].mean() > 2 * spread[RIGHT].mean()
    assert spread[rest].mean() > still[rest].mean() + 0.1
