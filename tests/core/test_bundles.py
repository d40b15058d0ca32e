"""The compact bundle around its encoders: crops, kinship, persons, names, and where it can stop."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from moca_core.config import SegmentConfig
from moca_core.device import choose_device
from moca_core.models.compact import CompactBundle, LookSettings
from moca_core.models.person import Detections, PersonEvidence
from moca_core.models.pictures import masked_crops
from moca_core.pipeline.analysis import FrameAnalysis, Proposals
from moca_core.pipeline.proposals import ProposalSettings

GREY = (127, 127, 127)
RED, GREEN = (200, 30, 30), (20, 180, 20)
RETRIEVER = 207
"""A class of ImageNet that is a dog and nothing else."""
ABAYA = 399
"""One that a person wears."""
SIZE = (96, 128)
WORK = (192, 256)


def picture(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Red where the mask is, green elsewhere."""
    return np.where(mask[..., None], np.uint8(RED), np.uint8(GREEN)).astype(np.uint8)


def box(size: tuple[int, int], top: int, left: int, bottom: int, right: int) -> NDArray[np.bool_]:
    mask = np.zeros(size, dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def reds(crop: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return crop[..., 0].astype(int) - crop[..., 1] > 85


def persons(pose: float, tiled: float, score: float) -> PersonEvidence:
    """One pose of this score at the left half, and a thing that stands out at the right one."""
    pose_map, tiled_map = (np.zeros(SIZE, np.float32) for _ in range(2))
    pose_map[:, :64], tiled_map[:, 64:] = pose, tiled
    none = Detections(np.zeros(0, np.float32), np.zeros((0, 4)), np.zeros((0, 4, 2)))
    one = Detections(
        np.array([score], np.float32), np.zeros((1, 4)), np.full((1, 4, 2), 30, np.float32)
    )
    return PersonEvidence(one if score else none, none, pose_map, tiled_map)


@pytest.fixture
def bundle() -> CompactBundle:
    return CompactBundle(choose_device("cpu"))


@dataclass
class Encoders:
    """Stands in for every encoder; each call is noted.

    Attributes
    ----------
    sees : probability of a retriever, everywhere and in every crop.
    worn : the same of clothes.
    """

    sees: float = 0.8
    worn: float = 0.0
    calls: list[str] = field(default_factory=list)

    def put_into(self, bundle: CompactBundle) -> None:
        either: Any = bundle
        net = SimpleNamespace(
            dense_probabilities=self.dense_probabilities, probabilities=self.probabilities
        )
        either._vit = SimpleNamespace(encode=self.saliency)
        either._nets = {"lite0": net, "lite2": net}
        either._persons = SimpleNamespace(find=self.find)
        either._sam = SimpleNamespace(embed=self.embed, decode=self.decode)

    def saliency(
        self, rgb: NDArray[np.uint8], blocks: tuple[int, ...], side: int
    ) -> SimpleNamespace:
        self.calls.append("saliency")
        assert side == 224
        tokens = {block: torch.ones(1 + 12, 8) for block in blocks}
        return SimpleNamespace(saliency=torch.full((3, 4), 0.5), tokens=tokens, grid=(3, 4))

    def dense_probabilities(self, rgb: NDArray[np.uint8], side: int) -> torch.Tensor:
        self.calls.append(f"classes at {side}")
        classes = torch.zeros(1000, 6, 8)
        classes[RETRIEVER], classes[ABAYA] = self.sees, self.worn
        return classes

    def probabilities(self, crops: NDArray[np.uint8]) -> torch.Tensor:
        self.calls.append("names")
        classes = torch.zeros(len(crops), 1000)
        classes[:, RETRIEVER], classes[:, ABAYA] = self.sees, self.worn
        return classes

    def find(self, rgb: NDArray[np.uint8]) -> PersonEvidence:
        self.calls.append("persons")
        return persons(0.0, 0.0, 0.0)

    def embed(self, rgb: NDArray[np.uint8]) -> SimpleNamespace:
        self.calls.append("embedding")
        return SimpleNamespace(size=rgb.shape[:2])

    def decode(
        self, embedding: SimpleNamespace, points: NDArray[np.float32], labels: NDArray[np.int64]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.calls.append("decoding")
        assert points.shape == (len(points), 1, 2)
        assert labels.tolist() == [[1]] * len(points)
        logits = torch.full((len(points), 3, 48, 64), -9.0)
        logits[..., :32] = 9.0
        return logits, torch.full((len(points), 3), 0.9)


def events_of(
    bundle: CompactBundle, encoders: Encoders, proposals: str
) -> tuple[list[str], FrameAnalysis]:
    """The stages and the calls of a look in the order in which they came."""
    encoders.put_into(bundle)
    steps = bundle.look([np.zeros((*SIZE, 3), np.uint8)], SegmentConfig(proposals=proposals))
    while True:
        try:
            event = next(steps)
        except StopIteration as end:
            return encoders.calls, end.value[0]
        encoders.calls.append(f"[{event.stage}]")


def test_a_crop_shows_the_object_alone_in_its_middle() -> None:
    mask = box((100, 200), 30, 120, 70, 140)
    (crop,) = masked_crops(picture(mask), mask[None], 92)
    assert crop.shape == (92, 92, 3)
    assert crop.dtype == np.uint8
    # 40 x 20 pixels in a square of int(1.1 * 40) + 2 = 46, here twice as large.
    rows, columns = np.nonzero(reds(crop))
    assert (rows.min(), rows.max()) == pytest.approx((6, 85), abs=1)
    assert (columns.min(), columns.max()) == pytest.approx((26, 65), abs=1)
    np.testing.assert_allclose(crop[20:70, 30:60].reshape(-1, 3).mean(axis=0), RED, atol=2)
    # Nothing of what is around it, and grey at all corners and sides.
    assert not (crop[..., 1].astype(int) - crop[..., 0] > 20).any()
    for edge in (crop[0], crop[-1], crop[:, 0], crop[:, -1]):
        assert (edge == GREY).all()


@pytest.mark.parametrize("corner", [(0, 0), (0, 170), (60, 0), (60, 170)])
def test_an_object_at_the_border_lies_in_the_middle_too(corner: tuple[int, int]) -> None:
    top, left = corner
    mask = box((100, 200), top, left, top + 40, left + 30)
    crops = masked_crops(picture(mask), mask[None], 92)
    inner = box((100, 200), 30, 80, 70, 110)
    np.testing.assert_array_equal(crops, masked_crops(picture(inner), inner[None], 92))


def test_pixels_within_a_box_but_not_in_the_mask_are_grey() -> None:
    mask = box((100, 200), 20, 50, 80, 110)
    mask[35:65, 65:95] = False
    (crop,) = masked_crops(picture(mask), mask[None], 68)
    assert (crop[29:39, 29:39] == GREY).all()
    assert reds(crop).sum() == pytest.approx(mask.sum(), rel=0.05)


def test_a_small_object_fills_its_crop_as_a_large_one_does() -> None:
    """The margin is about five per cent a side, whatever the size."""
    for side in (20, 200, 400):
        mask = box((500, 500), 40, 50, 40 + side, 50 + side)
        (crop,) = masked_crops(picture(mask), mask[None], 224)
        rows = np.flatnonzero(reds(crop).any(axis=1))
        assert (rows[-1] + 1 - rows[0]) / 224 == pytest.approx(side / int(1.1 * side + 2), abs=0.02)


def test_masks_of_the_working_grid_fit_the_frame() -> None:
    coarse = box((50, 100), 10, 20, 30, 40)
    fine = coarse.repeat(4, axis=0).repeat(4, axis=1)
    (crop,), (exact,) = (masked_crops(picture(fine), mask[None], 88) for mask in (coarse, fine))
    assert (reds(crop) != reds(exact)).mean() < 0.03


def test_each_mask_has_its_own_crop_and_none_is_grey() -> None:
    left, right = box(SIZE, 10, 10, 60, 60), box(SIZE, 20, 80, 90, 120)
    both = masked_crops(picture(left), np.stack([left, np.zeros(SIZE, bool), right]), 64)
    assert both.shape == (3, 64, 64, 3)
    assert reds(both[0]).mean() > 0.7
    assert (both[1] == GREY).all()
    assert not reds(both[2]).any()
    assert masked_crops(picture(left), np.zeros((0, *SIZE), bool), 64).shape == (0, 64, 64, 3)


def test_crops_of_the_smallest_and_of_the_whole_frame() -> None:
    one = np.ones((1, 1), dtype=bool)
    (crop,) = masked_crops(picture(one), one[None], 32)
    assert reds(crop)[14:18, 14:18].all()
    np.testing.assert_allclose(crop[0, 0], GREY, atol=20)  # but for the ringing of the enlargement
    whole = np.ones((60, 200), dtype=bool)
    (crop,) = masked_crops(picture(whole), whole[None], 222)
    rows, columns = np.nonzero(reds(crop))
    assert (columns.min(), columns.max()) == pytest.approx((11, 210), abs=2)
    assert rows.max() - rows.min() == pytest.approx(60, abs=2)


def test_kin_lend_each_other_a_part_of_their_presence(bundle: CompactBundle) -> None:
    presence = np.zeros(len(bundle.names), dtype=np.float32)
    index = bundle.groups.index
    presence[index("dog")], presence[index("cat")], presence[index("car")] = 0.8, 0.1, 0.9
    kindred = bundle._with_kin(presence)
    expected = {"dog": 0.8, "cat": 0.24, "car": 0.9, "bus": 0.27, "airplane": 0.27, "boat": 0.27}
    for name, value in {**expected, "person": 0.0, "bird": 0.0, "cow": 0.0}.items():
        assert kindred[index(name)] == pytest.approx(value, abs=1e-6), name
    # Nothing else is lent, and what is there stays.
    assert (kindred >= presence).all()
    lone = CompactBundle(choose_device("cpu"), LookSettings(kinship=0.0))
    np.testing.assert_array_equal(lone._with_kin(presence), presence)


def test_a_pose_and_clothes_are_joined_to_a_person(bundle: CompactBundle) -> None:
    own = bundle.groups.index("person")
    dense = np.full((len(bundle.names), *WORK), 0.3, dtype=np.float32)
    presence = np.full(len(bundle.names), 0.4, dtype=np.float32)
    # A pose score of 0.55 is half way from 0.3 to 0.8; clothes of 0.4 count half: 0.5 + 0.2.
    found = bundle._add_person(dense, presence, persons(0.2, 0.6, 0.55), WORK)
    assert presence[own] == pytest.approx(0.7, abs=1e-6)
    left, right = found[:, :120], found[:, 136:]
    np.testing.assert_allclose(left, 0.5 * 0.2, atol=1e-5)
    np.testing.assert_allclose(right, 0.5 * 0.7 * 0.6, atol=1e-5)
    # Where the nets say less than the half of 0.3, that stays.
    np.testing.assert_allclose(dense[own][:, :120], 0.15, atol=1e-6)
    np.testing.assert_allclose(dense[own][:, 136:], 0.21, atol=1e-5)
    # The other groups are as they were.
    assert (np.delete(dense, own, axis=0) == np.float32(0.3)).all()
    assert (np.delete(presence, own) == np.float32(0.4)).all()


def test_what_stands_out_is_no_person_without_a_sign_of_one(bundle: CompactBundle) -> None:
    own = bundle.groups.index("person")
    dense = np.zeros((len(bundle.names), *WORK), dtype=np.float32)
    presence = np.zeros(len(bundle.names), dtype=np.float32)
    assert bundle._add_person(dense, presence, persons(0.0, 1.0, 0.0), WORK).max() == 0.0
    assert presence[own] == 0.0
    presence[own] = 1.0
    sure = bundle._add_person(dense, presence, persons(0.0, 1.0, 0.8), WORK)
    assert presence[own] == 1.0
    assert sure.max() == pytest.approx(0.5)


def test_names_of_proposals_by_hand(bundle: CompactBundle) -> None:
    dog, own = bundle.groups.index("dog"), bundle.groups.index("person")
    Encoders(sees=0.75, worn=0.2).put_into(bundle)
    masks = np.stack([box(WORK, 40, 40, 100, 100), box(WORK, 90, 150, 150, 210)])
    dense = np.zeros((len(bundle.names), *WORK), dtype=np.float32)
    dense[dog][masks[0]], dense[own][masks[0]] = 0.5, 0.25
    person_map = np.where(masks[0], np.float32(0.8), np.float32(0.0))
    some = np.zeros(2, np.float32)
    proposals = Proposals(masks.astype(np.float16), masks, some, some, np.zeros((0, 2)))
    rgb = np.zeros((*SIZE, 3), np.uint8)
    looks = bundle._name_proposals(rgb, proposals, dense, person_map)
    assert looks.dtype == np.float32
    # 0.6 of what is within, 0.4 of what the crop is; a crop that is a dog by 0.75 leaves a
    # quarter of the person, of whom the nets give 0.8, and clothes the half of 0.2.
    assert looks[0, dog] == pytest.approx(0.6 * 0.5 + 0.4 * 0.75, abs=1e-5)
    assert looks[1, dog] == pytest.approx(0.4 * 0.75, abs=1e-5)
    assert looks[0, own] == pytest.approx((0.6 * 0.25 + 0.4 * 0.8) * 0.25, abs=1e-5)
    assert looks[1, own] == pytest.approx(0.4 * 0.5 * 0.2 * 0.25, abs=1e-5)
    assert np.delete(looks, [dog, own], axis=1).max() == 0.0


@pytest.mark.parametrize("mode", ["guided", "grid"])
def test_a_look_can_be_stopped_before_each_of_its_steps(bundle: CompactBundle, mode: str) -> None:
    calls, _ = events_of(bundle, Encoders(), mode)
    for step, stage in (
        ("saliency", "[saliency]"),
        ("classes at 320", "[classes]"),
        ("classes at 448", "[classes]"),
        ("persons", "[persons]"),
        ("embedding", "[proposals]"),
        ("decoding", "[masks]"),
        ("names", "[names of the masks]"),
    ):
        assert calls[calls.index(step) - 1] == stage
    # Between two passes of a classifier one can stop as well.
    passes = [k for k, call in enumerate(calls) if call.startswith("classes at")]
    assert all(calls[k - 1].startswith("[") for k in passes)
    assert len(passes) == len(LookSettings().scales)


def test_a_look_that_is_closed_goes_no_further(bundle: CompactBundle) -> None:
    encoders = Encoders()
    encoders.put_into(bundle)
    steps = bundle.look([np.zeros((*SIZE, 3), np.uint8)], SegmentConfig())
    while next(steps).stage != "persons":
        pass
    steps.close()
    assert encoders.calls[-1].startswith("classes at")


@pytest.mark.parametrize("mode", ["guided", "grid", "none"])
def test_an_analysis_has_the_same_shapes_in_every_mode(bundle: CompactBundle, mode: str) -> None:
    calls, analysis = events_of(bundle, Encoders(), mode)
    groups = len(bundle.names)
    assert analysis.size == SIZE
    assert analysis.groups.shape == (groups, *WORK)
    np.testing.assert_allclose(analysis.groups[bundle.groups.index("dog")], 0.8, atol=1e-5)
    assert analysis.presence[bundle.groups.index("dog")] == pytest.approx(0.8, abs=1e-5)
    assert analysis.kindred[bundle.groups.index("cat")] == pytest.approx(0.24, abs=1e-5)
    assert analysis.saliency.shape == WORK
    # The token of the whole picture isn't among those of its places.
    assert (analysis.tokens.shape, analysis.token_grid) == ((12, 8), (3, 4))
    count = len(analysis.proposals)
    assert count == (0 if mode == "none" else 1)
    assert analysis.looks.shape == (count, groups)
    assert ("embedding" in calls) is (mode != "none")
    if count:
        np.testing.assert_array_equal(analysis.proposals.masks[0], box(WORK, 0, 0, 192, 128))


def test_what_looks_like_something_is_asked_though_nothing_stands_out() -> None:
    class AtTheRight(Encoders):
        def dense_probabilities(self, rgb: NDArray[np.uint8], side: int) -> torch.Tensor:
            classes = super().dense_probabilities(rgb, side)
            classes[..., :4] = 0
            return classes

    few = CompactBundle(choose_device("cpu"), proposal_settings=ProposalSettings(prompts=6))
    _, analysis = events_of(few, AtTheRight(), "guided")
    assert (analysis.proposals.prompts[:, 0] > 0.45 * SIZE[1]).all()


def test_the_modes_ask_at_as_many_points_as_they_are_told(bundle: CompactBundle) -> None:
    few = CompactBundle(choose_device("cpu"), proposal_settings=ProposalSettings(prompts=5, grid=3))
    for mode, count in (("guided", 5), ("grid", 9)):
        _, analysis = events_of(few, Encoders(), mode)
        assert len(analysis.proposals.prompts) == count


def test_crops_are_seen_by_the_classifiers_alone(bundle: CompactBundle) -> None:
    Encoders(sees=0.75, worn=0.2).put_into(bundle)
    masks = np.stack([box(WORK, 40, 40, 100, 100), box(WORK, 90, 150, 150, 210)])
    seen = bundle.see_crops(np.zeros((*SIZE, 3), np.uint8), masks)
    assert (seen.shape, seen.dtype) == ((2, len(bundle.names)), np.float32)
    assert seen[:, bundle.groups.index("dog")] == pytest.approx([0.75, 0.75])
    # Clothes count as they are: the person nets have no say here.
    assert seen[:, bundle.groups.index("person")] == pytest.approx([0.2, 0.2])
