"""PMA against a direct version of its formulas, and what it is for."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from moca_core.bench.memory import peak_bytes
from moca_core.errors import ConfigError
from moca_core.pipeline import pma
from moca_core.pipeline.pma import MODES, PmaConfig

GRIDS = [(5, 5), (3, 6), (7, 4), (1, 5), (2, 2), (1, 1)]


def features(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """(..., N, Dv) random, with a mean that isn't 0 and lengths that aren't 1."""
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return values * 3 + 0.7


# --- the oracle: METHOD.md section 5, word by word ----------------------------------------------


def oracle_costs(Fa, Fb, grid, config):
    """(h, w, h, w) float64 C of one pair of pictures (N, Dv), a pair of locations at a time."""
    height, width = grid
    a, b = (
        (f / np.linalg.norm(f, axis=-1, keepdims=True)).reshape(height, width, -1)
        for f in (np.asarray(Fa, np.float64), np.asarray(Fb, np.float64))
    )
    reach = config.window // 2
    found = np.empty((height, width, height, width))
    for py, px, qy, qx in product(range(height), range(width), range(height), range(width)):
        of_a, of_b = [], []
        for oy, ox in product(range(-reach, reach + 1), repeat=2):
            inside = (
                0 <= py + oy < height
                and 0 <= px + ox < width
                and 0 <= qy + oy < height
                and 0 <= qx + ox < width
            )
            if inside:
                of_a.append(a[py + oy, px + ox])
                of_b.append(b[qy + oy, qx + ox])
        x, y = np.stack(of_a), np.stack(of_b)
        ssd = ((x - y) ** 2).sum() / len(x) / 4
        x, y = x - x.mean(), y - y.mean()
        ncc = (x * y).sum() / np.sqrt((x**2).sum() * (y**2).sum())
        share = {"ssd": 1, "ncc": 0}.get(config.mode, config.alpha)
        found[py, px, qy, qx] = share * ssd + (1 - share) * (1 - ncc) / 2
    return found


def oracle_maps(cost, radius, tau):
    """c (h, w) of a against b, and q* (h, w, 2), by loops over p."""
    height, width = cost.shape[:2]
    c, best = np.empty((height, width)), np.empty((height, width, 2), np.int64)
    for py, px in product(range(height), range(width)):
        region = [
            (qy, qx)
            for qy, qx in product(range(height), range(width))
            if radius is None or max(abs(qy - py), abs(qx - px)) <= radius
        ]
        values = np.array([cost[py, px, qy, qx] for qy, qx in region])
        c[py, px] = -tau * np.log(np.mean(np.exp(-values / tau)))
        best[py, px] = region[int(values.argmin())]
    return c, best


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("window", [1, 3, 5])
@pytest.mark.parametrize("mode", MODES)
def test_costs_are_those_of_four_loops(grid, window, mode):
    """All pairs, borders and corners among them, and grids smaller than the window."""
    config = PmaConfig(window=window, mode=mode, alpha=0.3)
    a, b = (features(2, grid[0] * grid[1], 6, seed=seed) for seed in (1, 2))
    found = pma.costs(a, b, grid, config).numpy().reshape(2, *grid, *grid)
    for pair in range(2):
        expected = oracle_costs(a[pair], b[pair], grid, config)
        np.testing.assert_allclose(found[pair], expected, atol=1e-5)


@pytest.mark.parametrize("radius", [None, 0, 1, 2])
@pytest.mark.parametrize(("grid", "window"), [((5, 5), 3), ((3, 6), 5), ((7, 4), 1)])
@pytest.mark.parametrize("tau", [0.05, 0.004])
def test_distance_maps_and_field_are_those_of_four_loops(grid, window, radius, tau):
    """The smaller tau takes the other way to the softmin."""
    config = PmaConfig(window=window, radius=radius, tau=tau)
    a, b = (features(1, grid[0] * grid[1], 7, seed=seed) for seed in (3, 4))
    cost = oracle_costs(a[0], b[0], grid, config)
    c_a, q_a = oracle_maps(cost, radius, tau)
    c_b, q_b = oracle_maps(cost.transpose(2, 3, 0, 1), radius, tau)
    result = pma.compare(a[0], b[0], grid, config)
    np.testing.assert_allclose(result.cost_a, c_a, atol=1e-5)
    np.testing.assert_allclose(result.cost_b, c_b, atol=1e-5)
    assert (result.match_a == q_a.reshape(-1, 2)).all()
    assert (result.match_b == q_b.reshape(-1, 2)).all()
    expected = (c_a.mean() + c_b.mean()) / 2
    assert abs(result.distance - expected) < 1e-5
    assert abs(pma.distance(a, b, grid, config).item() - expected) < 1e-5


def test_a_corner_against_the_opposite_one_by_hand():
    """Of nine offsets o = 0 alone has both p + o and q + o inside: the window is one location."""
    grid = (2, 2)
    a, b = features(1, 4, 5, seed=1), features(1, 4, 5, seed=2)
    wide = pma.costs(a, b, grid, PmaConfig(window=3))
    single = pma.costs(a, b, grid, PmaConfig(window=1))
    torch.testing.assert_close(wide[0, 0, 3], single[0, 0, 3], atol=1e-6, rtol=0)
    # Corner against the corner beside it: o = (0, 0) and (1, 0), the mean of both SSDs.
    ssd = pma.costs(a, b, grid, PmaConfig(window=1, mode="ssd"))[0]
    found = pma.costs(a, b, grid, PmaConfig(window=3, mode="ssd"))[0]
    torch.testing.assert_close(found[0, 1], (ssd[0, 1] + ssd[2, 3]) / 2, atol=1e-6, rtol=0)


# --- properties ---------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [1, 3, 5])
def test_identical_pictures_match_at_the_same_place(window):
    """C is 0 there, and the field is the identity in both directions."""
    a = features(24, 16)
    result = pma.compare(a, a, (4, 6), PmaConfig(window=window))
    assert np.abs(np.diag(result.costs)).max() < 1e-6
    places = np.stack(np.divmod(np.arange(24), 6), axis=1)
    assert (result.match_a == places).all() and (result.match_b == places).all()
    assert pma.distance(a[None], a[None], (4, 6), PmaConfig(radius=0)).item() < 1e-6


@pytest.mark.parametrize("mode", MODES)
def test_costs_lie_between_0_and_1(mode):
    """Opposite features cost 1, the same ones 0; the softmin stays within the costs."""
    a = torch.cat([features(1, 12, 8), features(1, 12, 8, seed=1)])
    a = a - a.mean(dim=2, keepdim=True)
    b = torch.cat([-a[:1], a[1:]])
    cost = pma.costs(a, b, (3, 4), PmaConfig(mode=mode))
    assert cost.min() >= 0 and cost.max() <= 1
    torch.testing.assert_close(cost[0].diagonal(), torch.ones(12), atol=1e-6, rtol=0)
    torch.testing.assert_close(cost[1].diagonal(), torch.zeros(12), atol=1e-6, rtol=0)
    c = pma.cost_map(cost, (3, 4))
    assert (cost.amin(dim=2) <= c).all() and (c <= cost.amax(dim=2)).all()


def test_a_shifted_picture_matches_at_the_shift():
    """Two down and one to the left; a radius that reaches it finds it, a smaller one can't."""
    scene = features(10, 9, 16)
    a, b = scene[:7, :7].reshape(49, 16), scene[2:9, 1:8].reshape(49, 16)
    shift = np.array([-2, -1])
    inside = [(row, column) for row in range(3, 6) for column in range(2, 6)]
    for radius in (None, 2):
        result = pma.compare(a, b, (7, 7), PmaConfig(radius=radius))
        for row, column in inside:
            assert (result.match_a[7 * row + column] - (row, column) == shift).all()
            surface = result.surface(row, column)
            assert surface[row - 2, column - 1] == surface.min() < 1e-6
    near = pma.distance(a[None], b[None], (7, 7), PmaConfig(radius=2))
    literal = pma.distance(a[None], b[None], (7, 7), PmaConfig(radius=0))
    assert near < literal


def test_surfaces_are_rows_and_columns_of_the_costs():
    """Beyond the radius nothing is searched, and a location off the grid is refused."""
    a, b = features(12, 5), features(12, 5, seed=1)
    result = pma.compare(a, b, (3, 4), PmaConfig(radius=1))
    cost = pma.costs(a[None], b[None], (3, 4))[0].view(3, 4, 3, 4).numpy()
    surface = result.surface(0, 1)
    assert np.isinf(surface[2]).all() and np.isinf(surface[:, 3]).all()
    np.testing.assert_array_equal(surface[:2, :3], cost[0, 1, :2, :3])
    np.testing.assert_array_equal(result.surface(2, 3, of_b=True)[1:, 2:], cost[1:, 2:, 2, 3])
    with pytest.raises(IndexError, match="location 3, 0 of 3 x 4"):
        result.surface(3, 0)


def test_distance_is_symmetric_and_knows_no_scale():
    a, b = features(2, 20, 6), features(2, 20, 6, seed=1)
    there, back = pma.distance(a, b, (4, 5)), pma.distance(b, a, (4, 5))
    torch.testing.assert_close(there, back, atol=1e-6, rtol=0)
    torch.testing.assert_close(pma.distance(a * 100, b / 7, (4, 5)), there, atol=1e-6, rtol=0)


@pytest.mark.parametrize("chunk", [None, 1, 2, 5])
def test_pairs_know_nothing_of_each_other(chunk):
    """Whatever the batch and its chunks: values and gradients are those of each pair alone."""
    a, b = (features(5, 12, 6, seed=seed).requires_grad_() for seed in (1, 2))
    found = pma.distance(a, b, (3, 4), chunk=chunk)
    torch.testing.assert_close(pma.costs(a, b, (3, 4), chunk=chunk), pma.costs(a, b, (3, 4)))
    found.sum().backward()
    for pair in range(5):
        x, y = (v.detach()[pair : pair + 1].requires_grad_() for v in (a, b))
        alone = pma.distance(x, y, (3, 4))
        alone.sum().backward()
        torch.testing.assert_close(found[pair : pair + 1], alone, atol=1e-6, rtol=0)
        torch.testing.assert_close(a.grad[pair : pair + 1], x.grad, atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(b.grad[pair : pair + 1], y.grad, atol=1e-6, rtol=1e-4)


def test_nothing_to_compare_is_no_nan():
    """Features that are zero, and flat ones: NCC has nothing to correlate and is 0."""
    zero, flat = torch.zeros(1, 6, 4), torch.ones(1, 6, 4)
    cost = pma.costs(zero, zero, (2, 3), PmaConfig(mode="ncc"))
    torch.testing.assert_close(cost, torch.full_like(cost, 0.5))
    cost = pma.costs(flat, flat, (2, 3))
    torch.testing.assert_close(cost, torch.full_like(cost, 0.25), atol=1e-6, rtol=0)
    for values in (zero, flat):
        a = values.clone().requires_grad_()
        pma.distance(a, features(1, 6, 4), (2, 3)).sum().backward()
        assert torch.isfinite(a.grad).all()


# --- gradients, precision, memory ---------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("window", "radius", "tau"), [(3, None, 0.05), (1, 0, 0.05), (5, 1, 0.05), (3, 1, 0.01)]
)
def test_gradients_by_finite_differences(mode, window, radius, tau):
    config = PmaConfig(window=window, radius=radius, tau=tau, mode=mode)
    inputs = [features(2, 6, 3, seed=s, dtype=torch.float64).requires_grad_() for s in (1, 2)]
    assert torch.autograd.gradcheck(lambda a, b: pma.distance(a, b, (2, 3), config, 1), inputs)
    assert torch.autograd.gradcheck(lambda a, b: pma.costs(a, b, (2, 3), config), inputs)


def test_one_side_may_need_no_gradient():
    a, b = features(1, 6, 3).requires_grad_(), features(1, 6, 3, seed=1)
    pma.distance(a, b, (2, 3)).sum().backward()
    alone = a.grad.clone()
    a.grad = None
    pma.distance(a, b.requires_grad_(), (2, 3)).sum().backward()
    torch.testing.assert_close(alone, a.grad)


def test_half_precision_is_computed_in_float32():
    """Also within autocast, which would round the product."""
    a, b = features(1, 20, 64), features(1, 20, 64, seed=1)
    exact = pma.distance(a, b, (4, 5))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(pma.distance(a, b, (4, 5)), exact, atol=0, rtol=0)
    halves = a.bfloat16(), b.bfloat16()
    expected = pma.distance(halves[0].float(), halves[1].float(), (4, 5))
    torch.testing.assert_close(pma.distance(*halves, (4, 5)), expected, atol=0, rtol=0)


def test_memory_does_not_grow_with_the_width():
    """Beyond the features and their gradients, forward and backward take what N x N takes."""

    def beyond(width: int, chunk: int | None = None) -> int:
        a, b = (features(4, 64, width, seed=seed).requires_grad_() for seed in (1, 2))
        peak = peak_bytes(lambda: pma.distance(a, b, (8, 8), chunk=chunk).sum().backward())
        return peak - 2 * a.numel() * a.element_size()

    def forward(width: int) -> int:
        a, b = (features(4, 64, width, seed=seed) for seed in (1, 2))
        return peak_bytes(lambda: pma.distance(a, b, (8, 8)))

    forward(16)  # what all pictures of this size share is made and kept
    assert forward(2048) == forward(16)
    narrow, wide = beyond(16), beyond(2048)
    pairs = 4 * 64 * 64 * 4
    assert wide <= narrow + pairs / 4
    assert narrow < 30 * pairs
    assert beyond(16, chunk=1) < 0.6 * narrow


@pytest.mark.parametrize(
    ("a", "b", "grid"),
    [((1, 6, 4), (1, 6, 4), (2, 4)), ((1, 6, 4), (2, 6, 4), (2, 3)), ((6, 4), (6, 4), (2, 3))],
)
def test_features_that_do_not_fit_are_refused(a, b, grid):
    with pytest.raises(ValueError, match="on a grid of"):
        pma.costs(torch.ones(a), torch.ones(b), grid)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"window": 2}, "window"),
        ({"window": -1}, "window"),
        ({"alpha": 1.1}, "alpha"),
        ({"alpha": float("nan")}, "alpha"),
        ({"tau": 0.0}, "tau"),
        ({"tau": float("nan")}, "tau"),
        ({"radius": -1}, "radius"),
        ({"mode": "sad"}, "sad"),
    ],
)
def test_settings_that_cannot_work_are_refused(values, word):
    with pytest.raises(ConfigError, match=word) as caught:
        PmaConfig(**values)
    assert caught.value.hint


# --- matches to look at -------------------------------------------------------------------------


def test_matches_are_the_best_and_spread():
    """The first is the least cost of all; no two are beside each other in either picture."""
    a, b = features(100, 8), features(100, 8, seed=1)
    result = pma.compare(a, b, (10, 10))
    chosen = pma.spread_matches(result, 6)
    assert chosen.shape == (6, 4)
    least = np.unravel_index(result.costs.argmin(), result.costs.shape)
    assert tuple(chosen[0]) == (*divmod(least[0], 10), *divmod(least[1], 10))
    best = result.costs.reshape(10, 10, 10, 10)[tuple(chosen.T)]
    assert (np.diff(best) >= 0).all()
    for one, other in product(range(6), repeat=2):
        gap = np.abs(chosen[one] - chosen[other]).reshape(2, 2).max(axis=1)
        assert one == other or gap.min() >= 2


def test_there_are_no_more_matches_than_locations():
    result = pma.compare(features(4, 8), features(4, 8, seed=1), (2, 2))
    chosen = pma.spread_matches(result, 12)
    assert len({tuple(place) for place in chosen[:, :2]}) == len(chosen) == 4
