"""The imagebind bundle: evidence by hand, every mode on small encoders, batches, and the sound."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from moca_core.bench.random_models import random_encoders
from moca_core.config import PATCHES, PROPOSAL_MODES, REGION_STRATEGIES, SegmentConfig
from moca_core.device import choose_device
from moca_core.errors import PrecisionError, WeightsError
from moca_core.evaluation.metrics import iou
from moca_core.models.imagebind_bundle import ImageBindBundle, JointSettings
from moca_core.pipeline.analysis import FrameAnalysis, Proposals
from moca_core.pipeline.hearing import Heard, HearingSettings
from moca_core.pipeline.proposals import GridSettings, no_proposals
from moca_core.pipeline.segmenter import Segmenter
from moca_core.types import REASON_NO_OBJECT, Mask, NoteEvent, RgbImage, StageEvent

CPU = choose_device("cpu")
CONFIG = SegmentConfig("imagebind")
SIZE = (120, 160)
WORK = (192, 256)
ONE, OTHER = np.eye(8, dtype=np.float32)[:2]
"""Two directions of a joint space: what is at the left and what is at the right."""
LEFT = np.broadcast_to(np.arange(WORK[1]) < WORK[1] // 2, WORK)
HEARING = HearingSettings(empty_below=-1.0)


def joint_of(grid: tuple[int, int] = (4, 4), split: bool = True) -> NDArray[np.float32]:
    """(1 + N, 8): the whole picture first, then ONE at the left half and OTHER at the right."""
    columns = np.arange(grid[0] * grid[1]) % grid[1]
    places = np.where((columns < grid[1] // 2)[:, None] | (not split), ONE, OTHER)
    whole = places.mean(axis=0)
    return np.concatenate([whole[None] / np.linalg.norm(whole), places]).astype(np.float32)


def analysed(joint: NDArray[np.float32], masks: Sequence[Mask] = ()) -> FrameAnalysis:
    """A frame of 4 x 4 tokens that is all the same but for its joint features."""
    proposals = no_proposals(SIZE)
    if masks:
        ones = np.ones(len(masks), np.float32)
        stacked = np.stack(masks)
        logits = np.where(stacked, 8, -8).astype(np.float16)
        proposals = Proposals(logits, stacked, ones, ones, np.zeros((0, 2), np.float32))
    empty = np.zeros(0, np.float32)
    return FrameAnalysis(
        size=SIZE,
        groups=np.zeros((0, *WORK), np.float32),
        presence=empty,
        kindred=empty,
        saliency=np.ones(WORK, np.float32),
        tokens=joint[1:],
        token_grid=(4, 4),
        proposals=proposals,
        looks=np.zeros((len(proposals), 0), np.float32),
        joint=joint,
    )


def finished(steps: Any) -> tuple[list[Any], list[FrameAnalysis]]:
    """All events of a look, and what it found."""
    events = []
    while True:
        try:
            events.append(next(steps))
        except StopIteration as end:
            return events, end.value


def picture(seed: int = 0, size: tuple[int, int] = SIZE) -> RgbImage:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def small_bundle(**settings: Any) -> ImageBindBundle:
    """The bundle around encoders of the same make, small and random."""
    torch.manual_seed(3)
    encoders = random_encoders(CPU, tiny=True)
    bundle = ImageBindBundle(CPU, grid_settings=GridSettings(points_per_side=4), **settings)
    bundle.use(encoders.imagebind, encoders.dino, encoders.sam)
    return bundle


@pytest.fixture(scope="module")
def bundle() -> ImageBindBundle:
    return small_bundle()


def test_evidence_is_the_scaled_cosine_above_the_pictures_mean() -> None:
    """Cosines are 1 and 0, their mean a half: 0.5 * 8 / 4 * (+-0.5) is half of the evidence."""
    bundle = ImageBindBundle(CPU, JointSettings(temperature=8.0, even=4.0))
    related, hearing = bundle.relate(analysed(joint_of()), Heard(ONE), HEARING)
    assert related.groups.shape == (1, *WORK)
    assert related.groups[0, :, :64] == pytest.approx(0.5)
    assert related.groups[0, :, -64:] == pytest.approx(-0.5)
    np.testing.assert_allclose(related.presence, [0.5], atol=1e-6)
    # As near to the sound as the whole picture is, at 45 degrees.
    assert hearing.agreement == pytest.approx(0.5**0.5, abs=1e-6)
    assert (hearing.strength.tolist(), hearing.silence.tolist()) == ([1.0], [0.0])
    assert hearing.heard == ()


def test_a_proposal_counts_by_what_is_inside_and_how_it_stands_out() -> None:
    right = ~LEFT
    everything = np.ones(WORK, dtype=bool)
    settings = JointSettings(temperature=8.0, even=4.0, contrast=0.5)
    bundle = ImageBindBundle(CPU, settings)
    joint = joint_of()
    related, _ = bundle.relate(analysed(joint, [LEFT, right, everything]), Heard(ONE), HEARING)
    left, wrong, whole = related.looks[:, 0]
    inside = float(related.groups[0][LEFT].mean())
    # The ring of 16 pixels around the left half lies in the right one, where evidence fades in.
    around = float(related.groups[0][:, 128:144].mean())
    assert left == pytest.approx(0.5 * inside + 0.5 * (inside - around), abs=0.01)
    assert wrong == pytest.approx(-left, abs=0.01)
    assert whole == pytest.approx(0.0, abs=1e-5)
    plain = ImageBindBundle(CPU, JointSettings(temperature=8.0, even=4.0, contrast=0.0))
    related, _ = plain.relate(analysed(joint, [LEFT]), Heard(ONE), HEARING)
    assert related.looks[0, 0] == pytest.approx(inside, abs=1e-5)


@pytest.mark.parametrize("proposals", PROPOSAL_MODES)
@pytest.mark.parametrize("regions", REGION_STRATEGIES)
def test_every_mode_and_strategy_gives_a_decision(
    bundle: ImageBindBundle, proposals: str, regions: str
) -> None:
    config = SegmentConfig("imagebind", proposals=proposals, regions=regions)
    segmenter = Segmenter(config, "cpu", bundle=bundle)
    wave = np.random.default_rng(1).normal(0, 0.1, 32_000).astype(np.float32)
    found = segmenter.predict(picture(), wave)
    assert found.mask.shape == found.soft.shape == SIZE
    assert np.isfinite(found.soft).all()
    assert found.mask.any() is not bool(found.reason)


def test_an_analysis_has_what_the_pipeline_needs(bundle: ImageBindBundle) -> None:
    events, (analysis,) = finished(bundle.look([picture()], CONFIG))
    stages = [event.stage for event in events]
    assert stages == ["tokens", "saliency", "proposals", "masks"]
    assert (analysis.tokens.shape, analysis.token_grid) == ((256, 64), (16, 16))
    assert analysis.joint is not None
    assert analysis.joint.shape == (257, 32)
    np.testing.assert_allclose(np.linalg.norm(analysis.joint, axis=1), 1.0, atol=1e-5)
    assert analysis.labels is not None
    assert len(np.unique(analysis.labels)) == CONFIG.clusters
    assert analysis.saliency.shape == WORK
    assert 0 <= analysis.saliency.min() < analysis.saliency.max() <= 1
    assert 1 <= len(analysis.proposals.prompts) <= 12
    assert analysis.looks.shape == (len(analysis.proposals), 0)


def test_patches_attend_to_all_or_to_themselves(bundle: ImageBindBundle) -> None:
    alone, attended = (
        finished(bundle.look([picture()], SegmentConfig("imagebind", "none", patches=patches)))[1][
            0
        ]
        for patches in PATCHES
    )
    # Only the features of patches in the joint space differ: not that of the picture, not tokens.
    np.testing.assert_array_equal(alone.tokens, attended.tokens)
    assert alone.joint is not None
    assert attended.joint is not None
    np.testing.assert_array_equal(alone.joint[0], attended.joint[0])
    assert np.abs(alone.joint[1:] - attended.joint[1:]).max() > 0.01


def test_a_larger_picture_has_more_tokens(bundle: ImageBindBundle) -> None:
    config = SegmentConfig("imagebind", proposals="none", image_side=448)
    _, (analysis,) = finished(bundle.look([picture()], config))
    assert (len(analysis.tokens), analysis.token_grid) == (1024, (32, 32))
    related, _ = bundle.relate(analysis, bundle.hear(np.ones(32_000, np.float32)), HEARING)
    assert related.groups.shape == (1, *WORK)


def test_a_sound_is_one_direction_of_the_joint_space(bundle: ImageBindBundle) -> None:
    heard = bundle.hear(np.random.default_rng(2).normal(0, 0.1, 32_000).astype(np.float32))
    assert heard.features.shape == (32,)
    assert heard.features.dtype == np.float32
    assert heard.tokens is None
    assert np.linalg.norm(heard.features) == pytest.approx(1.0, abs=1e-5)


def test_like_pictures_are_found_by_unit_features(bundle: ImageBindBundle) -> None:
    features = bundle.retrieve([picture(0), picture(1), picture(0)])
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(features[0], features[2], atol=1e-5)
    assert float(features[0] @ features[1]) < 0.9999


def test_pictures_at_once_are_seen_as_one_by_one(bundle: ImageBindBundle) -> None:
    """Of two sizes, too: only those of one size go to SAM together."""
    rgbs = [picture(0), picture(1, (90, 90)), picture(2)]
    _, together = finished(bundle.look(rgbs, CONFIG))
    for rgb, one_of_many in zip(rgbs, together, strict=True):
        _, (alone,) = finished(bundle.look([rgb], CONFIG))
        assert one_of_many.size == alone.size == rgb.shape[:2]
        np.testing.assert_allclose(one_of_many.tokens, alone.tokens, atol=1e-4)
        np.testing.assert_array_equal(one_of_many.labels, alone.labels)
        np.testing.assert_allclose(one_of_many.joint, alone.joint, atol=1e-5)
        np.testing.assert_array_equal(one_of_many.proposals.prompts, alone.proposals.prompts)


def test_a_look_can_be_stopped_between_its_steps(bundle: ImageBindBundle) -> None:
    steps = bundle.look([picture()] * 3, CONFIG)
    assert next(steps).stage == "tokens"
    steps.close()
    with pytest.raises(StopIteration):
        next(steps)


def test_where_memory_runs_out_fewer_pictures_are_looked_at(
    bundle: ImageBindBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits = 2
    asked: list[int] = []
    whole = bundle._imagebind.see

    def see(rgbs: Sequence[RgbImage], *args: Any, **options: Any) -> Any:
        asked.append(len(rgbs))
        if len(rgbs) > fits:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return whole(rgbs, *args, **options)

    monkeypatch.setattr(bundle._imagebind, "see", see)
    monkeypatch.setattr(bundle._fitting, "size", 8)
    config = SegmentConfig("imagebind", proposals="none")
    events, found = finished(bundle.look([picture(k) for k in range(5)], config))
    assert len(found) == 5
    assert asked == [5, 4, 2, 2, 1]
    assert bundle.batch == 2
    notes = [event.message for event in events if isinstance(event, NoteEvent)]
    assert len(notes) == 1
    assert "2 frames" in notes[0]
    # It is remembered, and not said again.
    events, _ = finished(bundle.look([picture(k) for k in range(3)], config))
    assert asked[5:] == [2, 1]
    assert all(isinstance(event, StageEvent) for event in events)


@pytest.mark.parametrize("name", ["ImageBind", "DINO", "SAM"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_no_numbers_are_named(
    bundle: ImageBindBundle, monkeypatch: pytest.MonkeyPatch, name: str, value: float
) -> None:
    models = {"ImageBind": "_imagebind", "DINO": "_dino", "SAM": "_sam"}
    broken = copy.deepcopy(getattr(bundle, models[name]))
    for parameter in broken.parameters():
        parameter.data.fill_(value)
    monkeypatch.setattr(bundle, models[name], broken)
    with pytest.raises(WeightsError, match=f"{name}'s features aren't numbers"):
        finished(bundle.look([picture(1)], SegmentConfig("imagebind")))
    if name == "ImageBind":
        with pytest.raises(WeightsError, match=f"{name}'s features aren't numbers"):
            bundle.hear(np.ones(32_000, np.float32))


@pytest.mark.parametrize("part", ["see", "encode", "hear"])
def test_what_half_precision_cant_hold_is_refused(
    bundle: ImageBindBundle, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    model: Any = bundle._sam if part == "encode" else bundle._imagebind
    whole = getattr(model, part)

    def overflowing(*arguments: Any, **options: Any) -> Any:
        found = whole(*arguments, **options)
        where = {"see": "patches", "encode": "features", "hear": "embedding"}[part]
        getattr(found[0] if part == "encode" else found, where)[0] = torch.inf
        return found

    monkeypatch.setattr(model, part, overflowing)
    monkeypatch.setattr(bundle, "_device", replace(CPU, dtype="float16"))
    with torch.inference_mode(), pytest.raises(PrecisionError, match="float16") as caught:
        finished(bundle.look([picture()], CONFIG))
        bundle.hear(np.ones(32_000, np.float32))
    assert "bfloat16" in caught.value.hint


class TwoHalves(ImageBindBundle):
    """Sees ONE at the left and OTHER at the right, and hears the one that the wave's sign says.

    `same` : sees nothing but ONE.
    """

    def __init__(self, same: bool = False) -> None:
        super().__init__(CPU, JointSettings())
        grid = (16, 16)
        joint = torch.from_numpy(joint_of(grid, split=not same))
        sight = SimpleNamespace(
            tokens={0: joint[None]}, patches=joint[None, 1:], embedding=joint[:1], grid=grid
        )
        seeing = SimpleNamespace(
            vision=SimpleNamespace(blocks=[None]), see=lambda rgbs, side, blocks, alone: sight
        )
        saliency = np.ones((4, 4), np.float32)
        self.use(seeing, SimpleNamespace(attentions=lambda rgbs, side: [saliency]), None)  # type: ignore[arg-type]

    def hear(self, wave: NDArray[np.float32]) -> Heard:
        return Heard(ONE if wave[0] > 0 else OTHER)


@pytest.mark.parametrize("regions", REGION_STRATEGIES)
def test_the_mask_follows_the_sound(regions: str) -> None:
    config = SegmentConfig("imagebind", proposals="none", regions=regions, clusters=2)
    segmenter = Segmenter(config, "cpu", bundle=TwoHalves())
    grey = np.full((*SIZE, 3), 128, np.uint8)
    left = np.broadcast_to(np.arange(SIZE[1]) < SIZE[1] // 2, SIZE)
    for sign, truth in ((1, left), (-1, ~left)):
        found = segmenter.predict(grey, np.full(32_000, 0.1 * sign, np.float32))
        assert iou(found.mask, truth) > 0.9, regions
        assert found.reason == ""


@pytest.mark.parametrize("regions", REGION_STRATEGIES)
def test_a_sound_that_no_place_is_nearer_to_gives_nothing(regions: str) -> None:
    config = SegmentConfig("imagebind", proposals="none", regions=regions)
    segmenter = Segmenter(config, "cpu", bundle=TwoHalves(same=True))
    for sign in (1, -1):
        found = segmenter.predict(picture(), np.full(32_000, 0.1 * sign, np.float32))
        assert not found.mask.any()
        assert found.reason == REASON_NO_OBJECT


def test_crops_are_pictures_in_the_space_of_the_sound(bundle: ImageBindBundle) -> None:
    rgb = picture()
    seen = bundle.see_crops(rgb, np.stack([LEFT, ~LEFT, LEFT]))
    heard = bundle.hear(np.full(32_000, 0.1, np.float32)).features
    assert (seen.shape, seen.dtype) == ((3, len(heard)), np.float32)
    np.testing.assert_allclose(np.linalg.norm(seen, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(seen[0], seen[2], atol=1e-5)
    assert not np.allclose(seen[0], seen[1], atol=1e-3)
    # What lies outside of the mask doesn't matter.
    other = np.where(np.arange(SIZE[1])[None, :, None] < SIZE[1] // 2, rgb, 255).astype(np.uint8)
    again = bundle.see_crops(other, LEFT[None])
    np.testing.assert_allclose(again[0], seen[0], atol=1e-5)
