"""PMA at the size of ImageBind's tokens: by one matrix product, and by unfolded windows.

The unfolded versions are what a first programme would do: `F.unfold` copies the window of every
location into a column of Dv * w * w values, and the costs are computed from the columns. They give
the same numbers, the borders included, in three ways:

* products: every sum over a window is a product of columns, that of a column of ones where a
  location exists among them. Straightforward, and no loop.
* least products: the same, where all that can be summed over channels first is. One product of
  the columns is left, and no version with unfolded windows does less.
* a location at a time: the formula as it is written, windows minus their means.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor

from moca_core.bench.memory import peak_bytes
from moca_core.bench.report import BenchOptions, Row, Watch
from moca_core.device import choose_device
from moca_core.heap import keep_freed_memory
from moca_core.models.compute import synchronise
from moca_core.pipeline import pma
from moca_core.pipeline.pma import PmaConfig
from moca_core.types import StageEvent

SPEED_UP = 50.0
"""The target: so many times faster than unfolded windows and their products."""
MOST_DIFFERENCE = 1e-5
NARROW = 64
"""Another width of the features, for which the memory must be the same."""
_LOCATIONS = 4
"""Locations that are measured where they are computed one at a time; they take minutes."""
_MIB = 2**20
CONFIG = PmaConfig()
Way = Callable[[Tensor, Tensor, tuple[int, int]], Tensor]
"""(B, N, Dv) twice and (h, w) -> (B,)."""


@dataclass(frozen=True)
class Size:
    """B pairs of pictures of h x w locations with features of a width."""

    batch: int
    grid: tuple[int, int]
    width: int

    @property
    def count(self) -> int:
        """Locations of a picture."""
        return self.grid[0] * self.grid[1]

    def features(self, device: str) -> tuple[Tensor, Tensor]:
        """Two of (B, N, width), random."""
        draws = torch.Generator().manual_seed(0)
        shape = self.batch, self.count, self.width
        a, b = (torch.randn(*shape, generator=draws) for _ in range(2))
        return a.to(device), b.to(device)


def measure(options: BenchOptions) -> Iterator[StageEvent | Row]:
    """Yield what PMA takes in each way, how they compare, and the memory; see `Bench.run`."""
    choice = choose_device(options.device, "float32")
    device = choice.device
    if device == "cpu":
        keep_freed_memory()  # as the program does for its encoders
    size = Size(2, (4, 5), 16) if options.tiny else Size(options.batch, (16, 16), 1280)
    a, b = size.features(device)
    yield StageEvent(str(choice))
    watch = Watch()
    found: dict[str, Tensor] = {}
    for turn in range(options.repeats + 1):
        for name, way in WAYS.items():
            yield StageEvent(name, turn, options.repeats + 1)
            # The first turn warms up: allocators, thread pools, the libraries' kernels.
            found[name] = _timed(name, way, a, b, size.grid, watch if turn else Watch())
    yield StageEvent(_SLOWEST)
    some = _timed(_SLOWEST, literal_costs, a, b, size.grid, watch)
    yield from _time_rows(watch, size)
    differences = {name: found[name] - found[_PMA] for name in UNFOLDED}
    differences[_SLOWEST] = some - pma.costs(a, b, size.grid, CONFIG)[:, :_LOCATIONS]
    for name, values in differences.items():
        largest = values.abs().max().item()
        yield Row(f"largest difference: {name}", (largest,), "", MOST_DIFFERENCE)
    yield StageEvent("Counting memory")
    yield from _memory_rows(size, device)


def _timed(
    name: str, way: Way, a: Tensor, b: Tensor, grid: tuple[int, int], watch: Watch
) -> Tensor:
    synchronise(a.device)
    with watch.timed(name):
        found = way(a, b, grid)
        synchronise(a.device)
    return found


def _time_rows(watch: Watch, size: Size) -> Iterator[Row]:
    """Times, and how many times longer the unfolded versions take, turn by turn."""
    for name in WAYS:
        yield watch.row(name, f"{name}, {size.batch} pairs of N {size.count}, Dv {size.width}")
    yield watch.row(_SLOWEST, f"{_SLOWEST}, {_LOCATIONS} of {size.count}")
    for name, parts in ((_STRAIGHT, 1.0), (_LEAST, 1.0), (_SLOWEST, size.count / _LOCATIONS)):
        wall, cpu = (
            tuple(parts * slow / max(quick, 1e-9) for slow, quick in _side_by_side(times, name))
            for times in (watch.wall_s, watch.cpu_s)
        )
        target = SPEED_UP if name == _STRAIGHT else None
        yield Row(f"{name} / {_PMA}", wall, "x", at_least=target, cpu=cpu)


def _side_by_side(times: Mapping[str, list[float]], name: str) -> list[tuple[float, float]]:
    """(seconds of `name`, seconds of PMA) of each turn; what was measured once, in each."""
    quick = times[_PMA]
    slow = times[name] if len(times[name]) == len(quick) else times[name][:1] * len(quick)
    return list(zip(slow, quick, strict=True))


def _memory_rows(size: Size, device: str) -> Iterator[Row]:
    """Peaks of the tensors that are made; the features are there before, the gradients are not."""
    peaks: dict[tuple[str, int], int] = {}
    for width in (NARROW, size.width):
        a, b = Size(size.batch, size.grid, width).features(device)
        for name in (_PMA, _TRAINED, _LEAST, _STRAIGHT):
            peaks[name, width] = peak = peak_bytes(partial(WAYS[name], a, b, size.grid))
            yield Row(f"memory of {name}, Dv {width}", (peak / _MIB,), "MiB")
        gradients = 2 * a.numel() * a.element_size()
        yield Row(f"gradients of the features, Dv {width}", (gradients / _MIB,), "MiB")
    growth = max(0, peaks[_TRAINED, size.width] - max(peaks[_TRAINED, NARROW], gradients))
    yield Row("memory that grows with Dv, beyond the gradients", (growth / _MIB,), "MiB", 8.0)


def pma_distances(a: Tensor, b: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B,) by the program."""
    return pma.distance(a, b, grid, CONFIG)


def trained(a: Tensor, b: Tensor, grid: tuple[int, int]) -> Tensor:
    """The same with the gradients of both."""
    a, b = (features.detach().requires_grad_() for features in (a, b))
    found = pma.distance(a, b, grid, CONFIG)
    found.sum().backward()
    return found.detach()


def product_alone(a: Tensor, b: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, N, N), what no version can do without."""
    return a @ b.transpose(1, 2)


def straight_distances(a: Tensor, b: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B,) where each sum over a window is a product of unfolded columns (B, Dv w w, N)."""
    of_a, of_b = (_unfolded(F.normalize(x, dim=2), grid) for x in (a, b))
    there = _unfolded(torch.ones_like(a[:1]), grid)  # 0 where the column leaves the picture
    count = there.mT @ there  # values in both windows
    sum_a, sum_b = of_a.mT @ there, there.mT @ of_b
    energy_a, energy_b = (of_a**2).mT @ there, there.mT @ (of_b**2)
    return _distances(of_a.mT @ of_b, sum_a, sum_b, energy_a, energy_b, count, a.shape[2])


def least_distances(a: Tensor, b: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B,) where what can be is summed over channels before it is multiplied: one large product."""
    of_a, of_b = (_unfolded(F.normalize(x, dim=2), grid) for x in (a, b))
    there = _unfolded(torch.ones_like(a[:1, :, :1]), grid)  # (1, w w, N)
    offsets = there.shape[1]

    def over_channels(columns: Tensor) -> Tensor:
        return columns.unflatten(1, (-1, offsets)).sum(dim=1)  # (B, w w, N)

    count = (there.mT @ there) * a.shape[2]
    sum_a, sum_b = over_channels(of_a).mT @ there, there.mT @ over_channels(of_b)
    energy_a, energy_b = over_channels(of_a**2).mT @ there, there.mT @ over_channels(of_b**2)
    return _distances(of_a.mT @ of_b, sum_a, sum_b, energy_a, energy_b, count, a.shape[2])


def literal_costs(a: Tensor, b: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, `_LOCATIONS`, N): windows minus their means, for some locations of a one at a time."""
    width = a.shape[2]
    offsets = CONFIG.window**2
    of_a, of_b = (
        _unfolded(F.normalize(x, dim=2), grid).unflatten(1, (width, offsets)) for x in (a, b)
    )
    there = _unfolded(torch.ones_like(a[:1, :, :1]), grid)[0]  # (w w, N)
    rows = []
    for place in range(_LOCATIONS):
        both = there[:, place, None] * there  # (w w, N) offsets that count
        count = both.sum(dim=0)
        x, y = of_a[..., place, None] * both, of_b * both  # (B, Dv, w w, N)
        ssd = ((x - y) ** 2).sum(dim=(1, 2)) / (4 * count)
        x, y = ((v - v.sum(dim=(1, 2), keepdim=True) / (count * width)) * both for v in (x, y))
        norms = ((x**2).sum(dim=(1, 2)) * (y**2).sum(dim=(1, 2))).sqrt()
        ncc = (x * y).sum(dim=(1, 2)) / norms
        rows.append(CONFIG.alpha * ssd + (1 - CONFIG.alpha) * (1 - ncc) / 2)
    return torch.stack(rows, dim=1)


def _unfolded(features: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, N, C) -> (B, C w w, N); what lies outside the picture is 0."""
    return F.unfold(features.mT.unflatten(2, grid), CONFIG.window, padding=CONFIG.window // 2)


def _distances(
    across: Tensor,
    sum_a: Tensor,
    sum_b: Tensor,
    energy_a: Tensor,
    energy_b: Tensor,
    count: Tensor,
    width: int,
) -> Tensor:
    """(B,) from sums over windows (B, N, N)."""
    ssd = (energy_a + energy_b - 2 * across) / (4 * count / width)
    spread_a, spread_b = energy_a - sum_a**2 / count, energy_b - sum_b**2 / count
    ncc = (across - sum_a * sum_b / count) / (spread_a * spread_b).sqrt()
    scores = (CONFIG.alpha * ssd + (1 - CONFIG.alpha) * (1 - ncc) / 2) / -CONFIG.tau
    log_count = math.log(scores.shape[-1])
    maps = [-CONFIG.tau * (scores.logsumexp(dim=dim) - log_count) for dim in (1, 2)]
    return (maps[0].mean(dim=1) + maps[1].mean(dim=1)) / 2


_PMA, _TRAINED = "PMA", "PMA with gradients"
_STRAIGHT, _LEAST = "unfolded, products", "unfolded, least products"
_SLOWEST = "unfolded, a location at a time"
UNFOLDED: Mapping[str, Way] = MappingProxyType(
    {_STRAIGHT: straight_distances, _LEAST: least_distances}
)
WAYS: Mapping[str, Way] = MappingProxyType(
    {
        "matrix product alone": product_alone,
        _PMA: pma_distances,
        _TRAINED: trained,
        **UNFOLDED,
    }
)
"""What is measured in each turn; those that are compared run side by side."""
