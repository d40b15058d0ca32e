"""PMA: how well the locations of two pictures match, by their features (METHOD.md section 5).

SSD and NCC between windows around locations are stereo matching's costs; the paper (Bhosale et al.
2024, arXiv 2403.14203) takes them between features of two pictures. Every pair of locations comes
from one matrix product of the features, after which only numbers per pair are added up along the
diagonals (p + o, q + o). So the memory is O(N^2) a pair of pictures, whatever the features' width.

An offset counts for a pair of locations only where p + o and q + o both lie inside their picture:
the formulas need both features. So near a border a window, and with it its mean and its norm,
depends on both locations. A corner against the opposite corner is left with o = 0 alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from moca_core.pipeline.pma_config import MODES, PmaConfig
from moca_core.pipeline.window_costs import Windows, products_of, window_costs, windows_of
from moca_core.types import FloatMap

__all__ = [
    "MODES",
    "PmaConfig",
    "PmaResult",
    "compare",
    "cost_map",
    "costs",
    "distance",
    "match_field",
    "spread_matches",
]

_CHUNK_VALUES = 2**22
"""Values of a matrix of all pairs of locations that are worked on at once: 16 MiB each."""
_LEAST_TAU = 1 / 80
"""Above it exp(-C / tau) is a normal number of float32 for every C, without a shift."""


@dataclass(frozen=True, eq=False)
class PmaResult:
    """Two pictures a and b compared, as the window and the exports show it.

    Attributes
    ----------
    grid : (h, w) of the locations of both pictures; N = h * w, numbered row by row.
    costs : (N, N) float32 C(p, q) in [0, 1], p of a and q of b; infinite outside the search region.
    cost_a, cost_b : (h, w) float32 cost maps c of a against b, and of b against a.
    match_a : (N, 2) int64 (row, column) in b of each location of a at the least cost.
    match_b : the same from b to a.
    distance : d(a, b), the mean of both cost maps.
    """

    grid: tuple[int, int]
    costs: NDArray[np.float32]
    cost_a: FloatMap
    cost_b: FloatMap
    match_a: NDArray[np.int64]
    match_b: NDArray[np.int64]
    distance: float

    @property
    def cost_range(self) -> tuple[float, float]:
        """The least and the greatest cost of both maps; of equal ones a little around them."""
        low = float(min(self.cost_a.min(), self.cost_b.min()))
        top = float(max(self.cost_a.max(), self.cost_b.max()))
        return (low, top) if top - low > 1e-4 else (low - 5e-4, top + 5e-4)

    def surface(self, row: int, column: int, of_b: bool = False) -> FloatMap:
        """(h, w) C of one location of a (or b) against all of the other picture.

        Infinite outside the search region. Raises `IndexError` for a location off the grid.
        """
        height, width = self.grid
        if not (0 <= row < height and 0 <= column < width):
            raise IndexError(f"location {row}, {column} of {height} x {width}")
        place = row * width + column
        return (self.costs[:, place] if of_b else self.costs[place]).reshape(self.grid)


def distance(
    Fa: Tensor,
    Fb: Tensor,
    grid: tuple[int, int],
    config: PmaConfig | None = None,
    chunk: int | None = None,
) -> Tensor:
    """d(a, b): how badly two pictures match, symmetrised; differentiable.

    Parameters
    ----------
    Fa, Fb : (B, N, Dv) features of B pairs of pictures, row by row. They needn't be normalised.
        Half precision is computed in float32, within autocast too.
    grid : (h, w) with h * w = N.
    chunk : pairs of pictures worked on at once beyond the matrix product. Where there is more than
        one chunk, the gradient recomputes each instead of keeping what it needs. By default as
        many as fit in some ten buffers of 16 MiB.

    Returns
    -------
    (B,) float32 (float64 for such features), 0 (the same place fits best by far) to 1.
    """
    config = config or PmaConfig()
    windows = _windows(Fa, Fb, grid, config)

    def part_distance(*part: Tensor) -> Tensor:
        cost = window_costs(Windows(*part), grid, config.window, config.share)
        return _symmetric(cost, grid, config)

    with torch.autocast(Fa.device.type, enabled=False):
        return torch.cat(
            [
                _recomputed(part_distance, part) if several else part_distance(*part)
                for part, several in _parts(windows, chunk)
            ]
        )


def costs(
    Fa: Tensor,
    Fb: Tensor,
    grid: tuple[int, int],
    config: PmaConfig | None = None,
    chunk: int | None = None,
) -> Tensor:
    """C(p, q) of all pairs of locations, (B, N, N) in [0, 1]; see `distance`.

    All pairs, also those beyond the radius: that is the search region of `cost_map`.
    """
    config = config or PmaConfig()
    windows = _windows(Fa, Fb, grid, config)
    with torch.autocast(Fa.device.type, enabled=False):
        return torch.cat(
            [
                window_costs(Windows(*part), grid, config.window, config.share)
                for part, _ in _parts(windows, chunk)
            ]
        )


def cost_map(
    cost: Tensor, grid: tuple[int, int], config: PmaConfig | None = None, of_b: bool = False
) -> Tensor:
    """c(p): the softmin of C over the search region, (B, N, N) -> (B, N).

    -tau log mean_q exp(-C(p, q) / tau): the mean, not the sum, so that c lies in the range of C
    however many locations are searched.

    Parameters
    ----------
    of_b : for the locations of b, searching in a.
    """
    config = config or PmaConfig()
    scores = cost * (-1 / config.tau)
    near = _near(grid, config.radius, cost.device)
    if near is None:
        count = torch.tensor(float(cost.shape[-1]), device=cost.device, dtype=cost.dtype)
    else:
        scores = scores.masked_fill(~near, -torch.inf)
        count = near.sum(dim=0).to(cost.dtype)  # (N,); the region is symmetric
    return -config.tau * (scores.logsumexp(dim=1 if of_b else 2) - count.log())


def match_field(
    cost: Tensor, grid: tuple[int, int], config: PmaConfig | None = None, of_b: bool = False
) -> Tensor:
    """q*(p), the location of the least C in the search region.

    (B, N, N) -> (B, N, 2) int64, (row, column); the first one of equal ones.
    """
    near = _near(grid, (config or PmaConfig()).radius, cost.device)
    if near is not None:
        cost = cost.masked_fill(~near, torch.inf)
    best = cost.argmin(dim=1 if of_b else 2)
    return torch.stack([best // grid[1], best % grid[1]], dim=-1)


def compare(
    Fa: Tensor | NDArray[np.float32],
    Fb: Tensor | NDArray[np.float32],
    grid: tuple[int, int],
    config: PmaConfig | None = None,
) -> PmaResult:
    """Compare two pictures by their features (N, Dv), with all that can be shown of it."""
    config = config or PmaConfig()
    with torch.no_grad():
        a, b = (torch.as_tensor(features)[None] for features in (Fa, Fb))
        cost = costs(a, b, grid, config)
        maps = [cost_map(cost, grid, config, of_b)[0] for of_b in (False, True)]
        fields = [match_field(cost, grid, config, of_b)[0] for of_b in (False, True)]
        near = _near(grid, config.radius, cost.device)
        if near is not None:
            cost = cost.masked_fill(~near, torch.inf)
    cost_a, cost_b = (values.float().cpu().numpy().reshape(grid) for values in maps)
    match_a, match_b = (field.cpu().numpy() for field in fields)
    distance = float(sum(values.mean() for values in maps)) / 2
    return PmaResult(
        grid, cost[0].float().cpu().numpy(), cost_a, cost_b, match_a, match_b, distance
    )


def spread_matches(result: PmaResult, count: int = 12) -> NDArray[np.int64]:
    """The best matches from a to b that don't crowd in one place of either picture.

    The least cost goes first; each next one must be so far from all before it, in both pictures,
    that `count` of them cover the grid. Where that gives too few, they may come closer.

    Returns
    -------
    (K, 4) int64: row and column in a, row and column in b; K is less than `count` on small grids.
    """
    height, width = result.grid
    places = np.stack(np.divmod(np.arange(height * width), width), axis=1)
    matches = np.concatenate([places, result.match_a], axis=1)  # (N, 4)
    matches = matches[np.argsort(result.costs.min(axis=1), kind="stable")]
    apart = max(1, int(np.sqrt(height * width / count)))
    while True:
        chosen: list[int] = []
        gaps = np.full(len(matches), apart)  # to the nearest chosen one, in the nearer picture
        while len(chosen) < count and (free := gaps >= apart).any():
            chosen.append(int(free.argmax()))
            away = np.abs(matches - matches[chosen[-1]]).reshape(-1, 2, 2).max(axis=2).min(axis=1)
            gaps = np.minimum(gaps, away)
            gaps[chosen[-1]] = -1
        if len(chosen) == count or apart == 0 or len(matches) <= len(chosen):
            return matches[chosen]
        apart -= 1


def _windows(Fa: Tensor, Fb: Tensor, grid: tuple[int, int], config: PmaConfig) -> Windows:
    if Fa.ndim != 3 or Fa.shape != Fb.shape or Fa.shape[1] != grid[0] * grid[1]:
        raise ValueError(f"features {tuple(Fa.shape)} and {tuple(Fb.shape)} on a grid of {grid}")
    if Fa.dtype not in (torch.float32, torch.float64):
        Fa, Fb = Fa.float(), Fb.float()
    with torch.autocast(Fa.device.type, enabled=False):
        return windows_of(products_of(Fa, Fb), grid, config.window, config.share)


def _parts(windows: Windows, chunk: int | None) -> list[tuple[tuple[Tensor, ...], bool]]:
    """The windows in chunks of pairs of pictures, and whether there are several."""
    batch, count, _ = windows.product.shape
    chunk = chunk or max(1, _CHUNK_VALUES // count**2)
    if chunk >= batch:
        return [(windows, False)]
    return [(part, True) for part in zip(*(values.split(chunk) for values in windows), strict=True)]


def _recomputed(function: Callable[..., Tensor], part: tuple[Tensor, ...]) -> Tensor:
    """`function` of a chunk, of which nothing is kept for the gradient but what goes in."""
    if not torch.is_grad_enabled():
        return function(*part)
    found: Tensor = checkpoint(function, *part, use_reentrant=False, preserve_rng_state=False)
    return found


def _symmetric(cost: Tensor, grid: tuple[int, int], config: PmaConfig) -> Tensor:
    """(B, N, N) -> (B,): half of d(a, b) and half of d(b, a)."""
    if config.tau < _LEAST_TAU:
        maps = [cost_map(cost, grid, config, of_b) for of_b in (False, True)]
        return (maps[0].mean(dim=1) + maps[1].mean(dim=1)) / 2
    # The same in one go, which is safe where exp(-1 / tau) is a normal number.
    scores = (cost * (-1 / config.tau)).exp_()
    near = _near(grid, config.radius, cost.device)
    if near is None:
        means = [scores.mean(dim=dim) for dim in (1, 2)]
    else:
        count = near.sum(dim=0)
        means = [(scores * near).sum(dim=dim) / count for dim in (1, 2)]
    return (-config.tau / 2) * (means[0].log() + means[1].log()).mean(dim=1)


def _near(grid: tuple[int, int], radius: int | None, device: torch.device) -> Tensor | None:
    """(N, N) bool, True where q lies in the search region of p; None where it does everywhere."""
    if radius is None or radius >= max(grid) - 1:
        return None
    rows, columns = (torch.arange(side, device=device) for side in grid)
    rows, columns = ((axis[:, None] - axis).abs() <= radius for axis in (rows, columns))
    near = rows[:, None, :, None] & columns[None, :, None, :]  # (h, w, h, w)
    return near.reshape(grid[0] * grid[1], -1)
