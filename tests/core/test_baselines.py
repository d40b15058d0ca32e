"""The table of baselines: what each row claims, what it loads, and whether it listens."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from core.picture_fakes import CAT, DOG, LEFT, NAMES, RIGHT, SIZE, analysis_of, at_full_size, heard
from numpy.typing import NDArray

from moca_core.bench.random_models import random_encoders
from moca_core.config import SegmentConfig
from moca_core.device import choose_device
from moca_core.errors import ConfigError
from moca_core.evaluation.baselines import BASELINES, NEEDS, Parts, predict_with
from moca_core.models.imagebind_bundle import ImageBindBundle
from moca_core.pipeline.analysis import FrameAnalysis
from moca_core.pipeline.hearing import Heard, Hearing, HearingSettings, listen
from moca_core.pipeline.proposals import GridSettings
from moca_core.pipeline.segmenter import Segmenter
from moca_core.types import REASON_NO_OBJECT, REASON_SILENT, RgbImage, StageEvent

DEAF = ("whole", "centre", "saliency", "saliency-masks")
RATE = 16_000
BARK, MEOW = (np.sin(np.arange(RATE) * hz / 5000).astype(np.float32) / 2 for hz in (400, 4000))
SILENCE = np.zeros(RATE, np.float32)
RGB = np.full((*SIZE, 3), 90, np.uint8)


class DogAndCat:
    """A dog at the left, a cat at the right; low sounds are a dog's, high ones a cat's.

    Parameters
    ----------
    crops : (P, 4) what the crops of the proposals look like.
    """

    names = NAMES
    window_s = 2.0
    rate_hz = RATE
    batch = 1

    def __init__(self, crops: NDArray[np.float32] | None = None, **analysis: Any) -> None:
        self.crops = np.eye(4, dtype=np.float32)[[DOG, CAT]] if crops is None else crops
        self.analysis = analysis_of({DOG: LEFT, CAT: RIGHT}, [LEFT, RIGHT], **analysis)
        self.looks = self.crops_seen = 0

    def hear(self, wave: NDArray[np.float32]) -> Heard:
        """(n,) -> (4,)."""
        low = np.abs(np.fft.rfft(wave)).argmax() < RATE / 64
        return Heard(heard(dog=1) if low else heard(cat=1))

    def look(
        self, rgbs: Sequence[RgbImage], config: SegmentConfig
    ) -> Generator[StageEvent, None, list[FrameAnalysis]]:
        """The same for every picture."""
        self.looks += len(rgbs)
        yield StageEvent("looking")
        return [self.analysis] * len(rgbs)

    def relate(
        self, analysis: FrameAnalysis, heard: Heard, settings: HearingSettings
    ) -> tuple[FrameAnalysis, Hearing]:
        """As the compact bundle."""
        return analysis, listen(heard.features, analysis.kindred, settings, self.names)

    def see_crops(self, rgb: RgbImage, masks: NDArray[np.bool_]) -> NDArray[np.float32]:
        """(P, 4)."""
        assert len(masks) == len(self.crops)
        self.crops_seen += 1
        return self.crops


def parts_of(bundle: DogAndCat, **config: Any) -> Parts:
    def saliency(rgb: RgbImage) -> NDArray[np.float32]:
        # Not quite within [0, 1], as a network's may be.
        return np.linspace(-0.5, 1.5, rgb.shape[1], dtype=np.float32)[None].repeat(rgb.shape[0], 0)

    segmenter: Any = Segmenter(SegmentConfig(**config), "cpu", bundle=bundle)  # type: ignore
    return Parts(lambda: saliency, lambda: segmenter)


def look_of(name: str, bundle: DogAndCat | None = None) -> Callable[..., Any]:
    return BASELINES[name].make(parts_of(bundle or DogAndCat()))


@pytest.mark.parametrize("name", BASELINES)
def test_every_row_gives_a_prediction_of_the_pictures_size(name: str) -> None:
    found = predict_with(look_of(name))(RGB, BARK)
    assert (found.mask.shape, found.mask.dtype) == (SIZE, bool)
    assert (found.soft.shape, found.soft.dtype) == (SIZE, np.float32)
    assert 0 <= found.soft.min() <= found.soft.max() <= 1
    assert found.mask.any()
    assert found.reason == ""
    # The mask is the soft one cut at a half; only all and nothing lie on the edge.
    assert ((found.soft > 0.5) == found.mask).all()
    assert BASELINES[name].needs in NEEDS
    assert BASELINES[name].name == name


@pytest.mark.parametrize("name", BASELINES)
def test_a_deaf_row_says_the_same_to_every_sound_and_the_others_do_not(name: str) -> None:
    bundle = DogAndCat()
    listener = look_of(name, bundle)(RGB)
    bark, meow, silent = listener(BARK), listener(MEOW), listener(SILENCE)
    same = (bark.mask == meow.mask).all()
    assert same == (name in DEAF)
    assert silent.mask.any() == (name in DEAF)
    assert (bark.agreement is None) == (name in DEAF)
    if name not in DEAF:
        assert silent.reason == REASON_SILENT
    assert bundle.looks <= 1


def test_whole_and_centre() -> None:
    picture = np.zeros((100, 200, 3), np.uint8)
    assert look_of("whole")(picture)(BARK).mask.all()
    box = look_of("centre")(picture)(BARK).mask
    assert box.mean() == pytest.approx(0.5, abs=0.005)
    middle = [float(places.mean()) for places in np.nonzero(box)]
    assert middle == pytest.approx([49.5, 99.5], abs=0.5)


def test_saliency_is_cut_at_a_half() -> None:
    mask = look_of("saliency")(RGB)(BARK).mask
    assert mask[:, 65:].all()
    assert not mask[:, :63].any()


def test_salient_masks_are_those_that_fit_what_stands_out() -> None:
    found = look_of("saliency-masks")(RGB)(BARK)
    np.testing.assert_array_equal(found.mask, at_full_size(LEFT | RIGHT))
    bundle = DogAndCat()
    # Without a proposal the salient region stands in.
    bundle.analysis = analysis_of({DOG: LEFT})
    bare = look_of("saliency-masks", bundle)(RGB)(BARK)
    np.testing.assert_array_equal(bare.mask, at_full_size(LEFT))


def test_evidence_is_that_of_what_is_heard_above_half_of_its_maximum() -> None:
    listener = look_of("evidence", DogAndCat(seen=0.3))(RGB)
    for sound, place in ((BARK, LEFT), (MEOW, RIGHT)):
        found = listener(sound)
        np.testing.assert_array_equal(found.mask, at_full_size(place))
        assert found.soft.max() == 1
        assert found.agreement == pytest.approx(0.7, abs=0.05)


def test_crops_that_are_nearly_as_alike_as_the_best_are_taken_too() -> None:
    """Weights are exp(20 x): half of the best's is where likeness is less by ln 2 / 20 = 0.0347."""
    for less, taken in ((0.030, True), (0.040, False)):
        second = 1 - less
        crops = np.zeros((2, 4), np.float32)
        crops[0, DOG] = 3.0  # its length doesn't matter
        crops[1, DOG], crops[1, CAT] = second, np.sqrt(1 - second**2)
        bundle = DogAndCat(crops)
        found = look_of("crops", bundle)(RGB)(BARK)
        wanted = LEFT | RIGHT if taken else LEFT
        np.testing.assert_array_equal(found.mask, at_full_size(wanted))
        assert found.agreement == pytest.approx(1.0)
        other = float(found.soft[at_full_size(RIGHT)].mean())
        weight = np.exp(-20 * less)
        assert other == pytest.approx(0.5 + 0.5 * weight if taken else 0.5 * weight, abs=0.02)


def test_crops_are_embedded_once_for_all_sounds() -> None:
    bundle = DogAndCat()
    listener = look_of("crops", bundle)(RGB)
    np.testing.assert_array_equal(listener(BARK).mask, at_full_size(LEFT))
    np.testing.assert_array_equal(listener(MEOW).mask, at_full_size(RIGHT))
    assert (bundle.looks, bundle.crops_seen) == (1, 1)


def test_where_sam_proposes_nothing_there_is_no_crop_to_claim() -> None:
    bundle = DogAndCat()
    bundle.analysis = analysis_of({DOG: LEFT})
    found = look_of("crops", bundle)(RGB)(BARK)
    assert (found.mask.any(), found.soft.max(), found.reason) == (False, 0, REASON_NO_OBJECT)
    assert bundle.crops_seen == 0


@pytest.mark.parametrize(
    "name", [name for name, row in BASELINES.items() if row.needs in ("evidence", "proposals")]
)
@pytest.mark.parametrize("mode", ["guided", "grid"])
def test_rows_that_need_encoders_work_with_those_of_the_paper(name: str, mode: str) -> None:
    """ImageBind, DINO and SAM, small and random: what they say means nothing."""
    torch.manual_seed(3)
    encoders = random_encoders(choose_device("cpu"), tiny=True)
    bundle = ImageBindBundle(choose_device("cpu"), grid_settings=GridSettings(points_per_side=2))
    bundle.use(encoders.imagebind, encoders.dino, encoders.sam)
    config = SegmentConfig("imagebind", proposals=mode)
    segmenter = Segmenter(config, "cpu", bundle=bundle)
    parts: Any = Parts(lambda: None, lambda: segmenter)  # type: ignore[arg-type, return-value]
    rgb = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    listener = BASELINES[name].make(parts)(rgb)
    for sound in (BARK, MEOW):
        found = listener(sound)
        assert (found.mask.shape, found.soft.shape) == (SIZE, SIZE)
        assert np.isfinite(found.soft).all()
        assert 0 <= found.soft.min() <= found.soft.max() <= 1


def test_crops_need_proposals() -> None:
    with pytest.raises(ConfigError) as caught:
        BASELINES["crops"].make(parts_of(DogAndCat(), proposals="none"))
    assert "--proposals guided" in caught.value.hint


@pytest.mark.parametrize("name", BASELINES)
def test_a_row_loads_what_it_needs_and_nothing_else(name: str) -> None:
    loaded: list[str] = []
    parts = parts_of(DogAndCat())

    def load(what: str, part: Callable[[], Any]) -> Any:
        loaded.append(what)
        return part()

    row = BASELINES[name]
    row.make(Parts(lambda: load("saliency", parts.saliency), lambda: load("all", parts.segmenter)))
    needed = {"nothing": [], "saliency": ["saliency"], "evidence": ["all"], "proposals": ["all"]}
    assert loaded == needed[row.needs]
