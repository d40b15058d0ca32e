"""Where SAM is asked and what is kept of its answers, with a SAM that knows a few discs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from moca_core.pipeline.analysis import pairwise_iou, work_size
from moca_core.pipeline.proposals import (
    Answers,
    ProposalSettings,
    collect,
    evidence_peaks,
    grid_points,
    grid_proposals,
    guided_proposals,
    no_proposals,
)

SIZE = (240, 320)
WORK = (192, 256)
SETTINGS = ProposalSettings()
NOWHERE = np.zeros((0, 2), dtype=np.float32)
BAD = 0.1
"""Quality of answers that are no object."""


@dataclass
class Discs:
    """An `Ask`: at a point in a disc it answers the disc, half of it, and rubbish.

    Attributes
    ----------
    discs : (x, y, radius) in pixels of the frame.
    asked : the points of every call.
    """

    discs: Sequence[tuple[float, float, float]] = ()
    size: tuple[int, int] = SIZE
    asked: list[NDArray[np.float32]] = field(default_factory=list)

    def __call__(self, points: NDArray[np.float32]) -> Answers:
        self.asked.append(points)
        height, width = self.size
        rows, columns = work_size(*self.size)
        y, x = np.mgrid[:rows, :columns] + 0.5
        x, y = x * width / columns, y * height / rows
        logits = np.full((len(points), 3, rows, columns), -5.0, dtype=np.float32)
        quality = np.full((len(points), 3), BAD, dtype=np.float32)
        logits[:, 2] = 5.0
        for k, point in enumerate(points):
            for left, top, radius in self.discs:
                if np.hypot(point[0] - left, point[1] - top) < radius:
                    inside = np.hypot(x - left, y - top) < radius
                    logits[k, 0][inside] = 5.0
                    logits[k, 1][inside & (x < left)] = 5.0
                    quality[k, :2] = 0.95, 0.85
        return Answers(logits, quality, np.full((len(points), 3), 0.9, dtype=np.float32))

    def mask(self, disc: int) -> NDArray[np.bool_]:
        """(h, w) bool of a disc on the working grid."""
        left, top, _ = self.discs[disc]
        return self(np.array([[left, top]], dtype=np.float32)).logits[0, 0] > 0


def found(masks: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> bool:
    """Whether one of the masks is the wanted one."""
    return bool(pairwise_iou(np.concatenate([masks, wanted[None]]))[-1, :-1].max(initial=0) > 0.95)


def guided(
    ask: Discs,
    interest: NDArray[np.float32] | float = 0.5,
    hints: Sequence[tuple[float, float]] = (),
    peaks: Sequence[tuple[float, float]] = (),
    settings: ProposalSettings = SETTINGS,
) -> NDArray[np.float32]:
    """Run the guided mode; returns the points asked (K, 2)."""
    field = np.broadcast_to(np.asarray(interest, np.float32), work_size(*ask.size)).copy()
    places = [np.array(points, np.float32).reshape(-1, 2) for points in (hints, peaks)]
    proposals = guided_proposals(ask, ask.size, field, *places, settings)
    np.testing.assert_array_equal(proposals.prompts, np.concatenate(ask.asked))
    return proposals.prompts


def made_up(
    masks: Sequence[NDArray[np.bool_]], quality: Sequence[float], stability: Sequence[float]
) -> Answers:
    """Three answers to one point."""
    logits = np.where(np.array(masks), 4.0, -4.0).astype(np.float32)
    return Answers(
        logits[None],
        np.array([quality], dtype=np.float32),
        np.array([stability], dtype=np.float32),
    )


def columns(first: int, last: int, rows: int = WORK[0]) -> NDArray[np.bool_]:
    mask = np.zeros(WORK, dtype=bool)
    mask[:rows, first:last] = True
    return mask


def test_points_of_a_grid_are_the_middles_of_its_cells() -> None:
    assert grid_points((100, 200), 2).tolist() == [[50, 25], [150, 25], [50, 75], [150, 75]]
    points = grid_points((720, 1280), 8)
    assert points.shape == (64, 2)
    assert points.dtype == np.float32
    np.testing.assert_allclose(points[0], [80, 45])
    np.testing.assert_allclose(points[-1], [1200, 675])


def test_the_grid_mode_finds_every_disc_that_a_point_meets() -> None:
    ask = Discs([(60, 60, 40), (230, 150, 60), (150, 40, 25)])
    proposals = grid_proposals(ask, SIZE, SETTINGS)
    assert len(ask.asked) == 1
    assert ask.asked[0].shape == (64, 2)
    assert len(proposals) == 6  # each disc, and the half of each
    for disc in range(3):
        assert found(proposals.masks, ask.mask(disc))


@pytest.mark.parametrize(("prompts", "batch"), [(12, 4), (10, 4), (3, 4), (1, 1)])
def test_the_guided_mode_asks_in_batches_and_no_more_than_it_may(prompts: int, batch: int) -> None:
    settings = ProposalSettings(prompts=prompts, batch=batch)
    rng = np.random.default_rng(1)
    interest = rng.random(WORK, dtype=np.float32)
    for discs in ([], [(100, 100, 50)]):
        ask = Discs(discs)
        points = guided(ask, interest, [(11, 13)], [(200, 90)], settings)
        assert len(points) == prompts
        assert all(1 <= len(call) <= batch for call in ask.asked)
        assert len(np.unique(points, axis=0)) == prompts
        for call in ask.asked:
            apart = np.hypot(*(call[:, None] - call[None]).transpose(2, 0, 1))
            assert (apart[~np.eye(len(call), dtype=bool)] > 0.12 * max(SIZE)).all()


def test_more_prompts_than_places() -> None:
    """It ends when every point has been asked, once."""
    ask = Discs([(100, 100, 50)])
    points = guided(ask, settings=ProposalSettings(prompts=1000), hints=[(3, 4)])
    assert len(points) == 65
    assert len(np.unique(points, axis=0)) == 65


def test_points_that_lie_on_one_another_are_asked_once() -> None:
    """As hints do that were moved into the picture from beyond its corner."""
    points = guided(Discs(), 0.5, hints=[(319.0, 239.0)] * 3 + [(20.0, 15.0)])
    assert (20.0, 15.0) in set(map(tuple, grid_points(SIZE, 8)))
    assert len(points) == SETTINGS.prompts
    assert len(np.unique(points, axis=0)) == len(points)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_it_ends_where_interest_is_no_number(value: float) -> None:
    class Impatient(Discs):
        def __call__(self, points: NDArray[np.float32]) -> Answers:
            assert len(points)
            return super().__call__(points)

    points = guided(Impatient([(100, 100, 50)]), np.full(WORK, value, np.float32), [(3.0, 4.0)])
    assert len(points) == SETTINGS.prompts


def test_it_asks_where_something_is_of_interest() -> None:
    interest = np.zeros(WORK, dtype=np.float32)
    interest[:, 192:] = 1.0
    points = guided(Discs(), interest, settings=ProposalSettings(prompts=4))
    assert (points[:, 0] > 0.7 * SIZE[1]).all()


def test_it_moves_on_from_what_is_covered() -> None:
    """A disc of the highest interest is asked first, then a duller one, unless it isn't told."""
    ask = Discs([(70, 120, 60), (250, 120, 60)])
    interest = 0.95 * ask.mask(0) + 0.6 * ask.mask(1)

    def at_the_left(settings: ProposalSettings) -> list[int]:
        fresh = Discs(ask.discs)
        guided(fresh, interest.astype(np.float32), settings=settings)
        return [int((call[:, 0] < 150).sum()) for call in fresh.asked]

    assert at_the_left(ProposalSettings(prompts=8, batch=2))[:2] == [2, 0]
    assert at_the_left(ProposalSettings(prompts=8, batch=2, covered_weight=0.0))[:2] == [2, 2]
    # A mask over more than `largest_cover` of the frame says nothing about what is within.
    assert at_the_left(ProposalSettings(prompts=8, batch=2, largest_cover=0.1))[:2] == [2, 2]


def test_what_was_covered_stays_so() -> None:
    ask = Discs([(55, 120, 45), (160, 120, 45), (265, 120, 45)])
    interest = sum(worth * ask.mask(disc) for disc, worth in enumerate((0.95, 0.85, 0.5)))
    ask = Discs(ask.discs)
    points = guided(ask, interest, settings=ProposalSettings(prompts=3, batch=1))
    assert (points[:, 0] // 107).tolist() == [0, 1, 2]


def test_a_batch_does_not_ask_twice_for_the_same_thing() -> None:
    """Shoulders and a face of one person lie close together; covered or not isn't known yet."""
    close = [(100.0, 100.0), (110.0, 100.0), (100.0, 115.0)]
    points = guided(Discs(), 0.5, close, settings=ProposalSettings(prompts=4, batch=4))
    assert len(set(close) & set(map(tuple, points))) == 1


def test_hints_and_peaks_come_first() -> None:
    hint, peak = (33.0, 201.0), (287.0, 21.0)
    ask = Discs()
    guided(ask, 0.2, [hint], [peak], ProposalSettings(prompts=3, batch=1))
    assert [tuple(call[0]) for call in ask.asked[:2]] == [hint, peak]
    # Worth nothing, they are two places among 66, and those of the grid are asked before them.
    ask = Discs()
    worthless = ProposalSettings(prompts=4, hint_bonus=-1, peak_bonus=-1)
    assert not {hint, peak} & set(map(tuple, guided(ask, 0.2, [hint], [peak], worthless)))


def test_a_small_thing_between_the_points_is_found_by_its_peak() -> None:
    ask = Discs([(100, 90, 9)])
    assert np.hypot(*(grid_points(SIZE, 8) - [100, 90]).T).min() > 9
    settings = ProposalSettings(prompts=8)
    for peaks, there in (([], False), ([(100, 90)], True)):
        field = np.full(WORK, 0.4, dtype=np.float32)
        places = np.array(peaks, np.float32).reshape(-1, 2)
        proposals = guided_proposals(ask, SIZE, field, NOWHERE, places, settings)
        assert found(proposals.masks, ask.mask(0)) is there


@pytest.mark.parametrize("outside", [(-50.0, 30.0), (5000.0, 30.0), (100.0, -1.0), (319.9, 1e6)])
def test_points_outside_of_the_frame_do_no_harm(outside: tuple[float, float]) -> None:
    ask = Discs([(100, 100, 50)])
    points = guided(ask, 0.5, [outside], [outside])
    assert len(points) == SETTINGS.prompts
    assert np.isfinite(points).all()


@pytest.mark.parametrize("mode", ["guided", "grid"])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (1, 500), (37, 5), (1281, 719)])
def test_frames_of_any_size(size: tuple[int, int], mode: str) -> None:
    ask = Discs([(size[1] / 2, size[0] / 2, max(size) / 4)], size)
    grid = work_size(*size)
    if mode == "grid":
        proposals = grid_proposals(ask, size, SETTINGS)
    else:
        interest = np.random.default_rng(0).random(grid, dtype=np.float32)
        proposals = guided_proposals(ask, size, interest, NOWHERE, NOWHERE, SETTINGS)
    assert len(proposals) >= 1
    assert proposals.masks.shape == (len(proposals), *grid)
    assert proposals.masks.dtype == bool
    assert proposals.logits.dtype == np.float16
    assert len(proposals.logits) == len(proposals.quality) == len(proposals.stability)
    assert (proposals.prompts >= 0).all()
    assert (proposals.prompts < [size[1], size[0]]).all()


def test_peaks_lie_on_what_is_seen() -> None:
    """A patch of five pixels that lies between the points of the guide grid."""
    groups = np.full((3, *WORK), 0.01, dtype=np.float32)
    groups[1, 62:67, 94:99] = 0.8
    presence = np.array([0.0, 0.9, 0.0], dtype=np.float32)
    ((x, y),) = evidence_peaks(groups, presence, SIZE, SETTINGS)
    # 96.5 and 64.5 on the working grid, by 5/4 in pixels of the frame.
    assert (x, y) == pytest.approx((96.5 * 1.25, 64.5 * 1.25), abs=4.0)


def test_peaks_of_a_group_are_two_at_most_and_apart() -> None:
    groups = np.zeros((2, *WORK), dtype=np.float32)
    for k, (row, column) in enumerate([(30, 40), (30, 200), (150, 40), (150, 200)]):
        groups[0, row - 8 : row + 9, column - 8 : column + 9] = 0.9 - 0.05 * k
        groups[1, row - 8 : row + 9, column - 8 : column + 9] = 0.5
    presence = np.array([0.9, 0.1], dtype=np.float32)
    peaks = evidence_peaks(groups, presence, WORK, SETTINGS)
    # The two surest places, the best first; the second group isn't surely there.
    np.testing.assert_allclose(peaks, [[40.5, 30.5], [200.5, 30.5]], atol=6)
    assert len(evidence_peaks(groups, np.ones(2, np.float32), WORK, SETTINGS)) == 4


def test_a_second_peak_must_be_half_as_sure_and_no_peak_is_faint() -> None:
    groups = np.zeros((1, *WORK), dtype=np.float32)
    groups[0, 20:60, 20:60] = 0.8
    sure = np.ones(1, np.float32)
    for other, count in ((0.5, 2), (0.3, 1)):
        groups[0, 120:160, 190:230] = other
        assert len(evidence_peaks(groups, sure, SIZE, SETTINGS)) == count
    faint = np.full((1, *WORK), 0.05, np.float32)
    assert evidence_peaks(faint, sure, SIZE, SETTINGS).shape == (0, 2)
    assert evidence_peaks(groups, np.zeros(1, np.float32), SIZE, SETTINGS).shape == (0, 2)


def test_peaks_are_few_and_the_surest_come_first() -> None:
    groups = np.zeros((6, *WORK), dtype=np.float32)
    for group in range(6):
        groups[group, 80:100, 30 * group + 30 : 30 * group + 50] = 0.3 + 0.1 * group
    peaks = evidence_peaks(groups, np.ones(6, np.float32), WORK, replace(SETTINGS, peaks=4))
    assert len(peaks) == 4
    owner = ((peaks[:, 0] - 30) // 30).astype(int)
    assert owner.tolist() == [5, 4, 3, 2]


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (3, 2)])
def test_peaks_of_tiny_frames_lie_within(size: tuple[int, int]) -> None:
    groups = np.ones((2, *work_size(*size)), dtype=np.float32)
    peaks = evidence_peaks(groups, np.ones(2, np.float32), size, SETTINGS)
    assert len(peaks) >= 2
    assert (peaks >= 0).all()
    assert (peaks < [size[1], size[0]]).all()


@pytest.mark.parametrize(
    ("quality", "stability", "kept"),
    [
        ((0.9, 0.71, 0.8), (0.9, 0.9, 0.9), {0, 1, 2}),
        ((0.9, 0.69, 0.8), (0.9, 0.9, 0.9), {0, 2}),
        ((0.9, 0.8, 0.8), (0.76, 0.9, 0.74), {0, 1}),
    ],
)
def test_bad_and_unstable_answers_are_dropped(
    quality: Sequence[float], stability: Sequence[float], kept: set[int]
) -> None:
    masks = [columns(0, 60), columns(100, 160), columns(190, 250)]
    proposals = collect([made_up(masks, quality, stability)], NOWHERE, SIZE, SETTINGS)
    assert {k for k in range(3) if found(proposals.masks, masks[k])} == kept
    assert len(proposals) == len(kept)
    assert proposals.quality.tolist() == sorted(proposals.quality, reverse=True)


def test_answers_too_small_or_too_large_are_dropped() -> None:
    # 5 x 9 of 49,152 pixels are less than a thousandth, 246 of 256 columns more than nine tenths.
    masks = [columns(0, 5, rows=9), columns(0, 246), columns(0, 230)]
    answers = [made_up(masks, (0.99, 0.98, 0.8), (0.9,) * 3)]
    proposals = collect(answers, NOWHERE, SIZE, SETTINGS)
    assert len(proposals) == 1
    np.testing.assert_array_equal(proposals.masks[0], masks[2])


def test_of_the_same_masks_the_best_is_kept_whoever_was_asked() -> None:
    close, closer, other = columns(0, 100), columns(0, 104), columns(0, 130)
    answers = [
        made_up([close, other, close], (0.8, 0.75, 0.79), (0.9,) * 3),
        made_up([closer, closer, columns(200, 220)], (0.9, 0.85, 0.95), (0.9,) * 3),
    ]
    proposals = collect(answers, NOWHERE, SIZE, SETTINGS)
    np.testing.assert_allclose(proposals.quality, [0.95, 0.9, 0.75])
    np.testing.assert_array_equal(proposals.masks[1], closer)
    np.testing.assert_array_equal(proposals.logits[1] > 0, closer)


@pytest.mark.parametrize("mode", ["guided", "grid"])
def test_of_nothing_but_bad_answers_the_best_is_kept(mode: str) -> None:
    """A frame always has a proposal."""

    def ask(points: NDArray[np.float32]) -> Answers:
        rng = np.random.default_rng(len(points))
        logits = rng.normal(size=(len(points), 3, *WORK)).astype(np.float32)
        quality = rng.uniform(0.1, 0.5, (len(points), 3)).astype(np.float32)
        best.append(float(quality.max()))
        return Answers(logits, quality, np.zeros((len(points), 3), np.float32))

    best: list[float] = []
    if mode == "grid":
        proposals = grid_proposals(ask, SIZE, SETTINGS)
    else:
        interest = np.ones(WORK, dtype=np.float32)
        proposals = guided_proposals(ask, SIZE, interest, NOWHERE, NOWHERE, SETTINGS)
    assert len(proposals) == 1
    assert float(proposals.quality[0]) == pytest.approx(max(best))


def test_no_proposals_have_the_shapes_of_some() -> None:
    nothing = no_proposals(SIZE)
    assert len(nothing) == 0
    some = grid_proposals(Discs([(60, 60, 40)]), SIZE, SETTINGS)
    for name in ("logits", "masks", "quality", "stability", "prompts"):
        empty, full = getattr(nothing, name), getattr(some, name)
        assert empty.shape == (0, *full.shape[1:])
        assert empty.dtype == full.dtype
