"""Stereo costs between windows around all pairs of locations of two feature maps.

The arithmetic of PMA (METHOD.md section 5, `pipeline.pma`): one matrix product of the features,
sums of it along the diagonals (p + o, q + o), and everything else from a few numbers a location.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_SMALLEST_NORM = 1e-12
_FLAT = 1e-5
"""Windows that vary by less than this share of their energy have nothing to correlate: NCC 0.

What float32 leaves of such a variance is mostly rounding.
"""


class Products(NamedTuple):
    """All that is ever asked of the features of B pairs of pictures.

    Attributes
    ----------
    product : (B, N, N) Fa Fb^T.
    mean_a, mean_b : (B, N) means over channels, times the root of the number of channels.
    norm_a, norm_b : (B, N) norms over channels.
    """

    product: Tensor
    mean_a: Tensor
    mean_b: Tensor
    norm_a: Tensor
    norm_b: Tensor


def products_of(Fa: Tensor, Fb: Tensor) -> Products:
    """(B, N, Dv) features twice -> what `window_costs` needs of them; differentiable.

    But for the gradients nothing as large as the features is made.
    """
    found: tuple[Tensor, ...] = _Products.apply(Fa, Fb)
    return Products(*found)


class Windows(NamedTuple):
    """What the costs of B pairs of pictures are made of, pair by pair; see `window_costs`.

    Attributes
    ----------
    product : (B, N, N) Fa Fb^T.
    over_a, over_b : (B, N) 1 / norm.
    of_a : (B, J, N, K) factors of each location of a, for each kind of location of b. They are
        1 / spread and mean / spread of its window, with the root of NCC's weight; J = 2. For SSD
        alone there are none; J = 0.
    of_b : (B, J, K, N) the same of each location of b, for each kind of location of a.
    """

    product: Tensor
    over_a: Tensor
    over_b: Tensor
    of_a: Tensor
    of_b: Tensor


def windows_of(products: Products, grid: tuple[int, int], window: int, share: float) -> Windows:
    """All that `window_costs` needs, for windows of `window` x `window` locations."""
    product, *sides = products
    norms, means = torch.stack(sides[2:]), torch.stack(sides[:2])  # (2, B, N) of a and of b
    over = 1 / norms.clamp(min=_SMALLEST_NORM)
    borders = _borders(grid, window // 2, product.dtype, product.device)
    count = borders.count  # (N, K)
    factors = over.new_zeros(2, len(product), 0, *count.shape)
    if share < 1:
        mean = borders.sums(means * over) * count.rsqrt()  # (2, B, N, K)
        inverse = _over_root(count - mean**2, _FLAT * count) * ((1 - share) / 2) ** 0.5
        factors = torch.stack([inverse, mean * inverse], dim=2)  # (2, B, 2, N, K)
    # Rows of the kinds of b are taken as they are, so they lie together.
    return Windows(product, over[0], over[1], factors[0], factors[1].mT.contiguous())


def window_costs(windows: Windows, grid: tuple[int, int], window: int, share: float) -> Tensor:
    """(B, N, N) C of all pairs of locations, SSD weighted with `share` and NCC with the rest.

    Unit features are never made: their products, means and norms are those of the features, scaled.
    One sum of the product over the windows, X, serves both costs. SSD is (2 |O| - 2 X) / 4 |O|, and
    NCC, of means times the root of |O| Dv, (X - mean_a mean_b) / (spread_a spread_b). So C is
    linear in X, and all else is known for each location and kind of border. A feature that is zero
    counts as one that is like no other.
    """
    product, over_a, over_b, of_a, of_b = windows
    borders = _borders(grid, window // 2, product.dtype, product.device)
    across = product * over_a[:, :, None]
    across = _WindowSum.apply((across * over_b[:, None, :]).view(-1, *grid, *grid), window // 2)
    across = across.view(product.shape)  # sum over o of Fa(p + o) . Fb(q + o)
    slope = borders.of_b((share / 2 / borders.count)[None])  # (1, N, N)
    rest = product.new_full((), 0.5)  # share / 2 of SSD and (1 - share) / 2 of NCC
    if share < 1:
        slope, rest = (
            torch.addcmul(start, borders.of_b(of_a[:, turn]), borders.of_a(of_b[:, turn]))
            for turn, start in enumerate((slope, rest))
        )
    return rest.addcmul(slope, across, value=-1).clamp_(0, 1)


def _over_root(values: Tensor, floor: Tensor) -> Tensor:
    """1 / sqrt(values); 0 where they are below `floor`, without a gradient."""
    return values.maximum(floor).rsqrt() * (values > floor)


class _Products(torch.autograd.Function):
    """By hand, since autograd would keep several buffers as large as the features."""

    @staticmethod
    def forward(ctx: Any, Fa: Tensor, Fb: Tensor) -> tuple[Tensor, ...]:
        """The fields of `Products`."""
        batch, count, width = Fa.shape
        product = Fa.new_empty(batch, count, count)
        means, norms = Fa.new_empty(2, batch, count), Fa.new_empty(2, batch, count)
        # Pair by pair on a CPU, whose cache then holds the features until they are multiplied.
        together = 1 if Fa.device.type == "cpu" else batch
        for begin in range(0, batch, together):
            part = slice(begin, begin + together)
            for side, features in enumerate((Fa[part], Fb[part])):
                torch.sum(features, dim=-1, out=means[side, part])
                torch.linalg.vector_norm(features, dim=-1, out=norms[side, part])
            torch.bmm(Fa[part], Fb[part].mT, out=product[part])
        means *= width**-0.5
        ctx.save_for_backward(Fa, Fb, *norms)
        return product, *means.unbind(), *norms.unbind()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of the features."""
        Fa, Fb, *norms = ctx.saved_tensors
        of_product, *rest = grads
        found: list[Tensor | None] = [None, None]
        for turn, (features, other) in enumerate(((Fa, Fb), (Fb, Fa))):
            if not ctx.needs_input_grad[turn]:
                continue
            grad = (of_product.transpose(1, 2) if turn else of_product) @ other  # (B, N, Dv)
            grad += rest[turn][..., None] * features.shape[-1] ** -0.5
            share = rest[2 + turn] / norms[turn].clamp(min=_SMALLEST_NORM)
            found[turn] = grad.addcmul_(features, share[..., None])
        return tuple(found)


class _WindowSum(torch.autograd.Function):
    """y(p, q) = sum over o of x(p + o, q + o), for offsets up to `reach` along rows and columns.

    What lies outside doesn't count. The offsets come in pairs o and -o, so that the operation is
    its own adjoint.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, reach: int) -> Tensor:
        """(B, h, w, h, w) -> the same shape."""
        ctx.reach = reach
        return _window_sum(x, reach)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """The same sum of the gradient."""
        return _window_sum(grads[0], ctx.reach), None


def _window_sum(x: Tensor, reach: int) -> Tensor:
    return _diagonal_sum(_diagonal_sum(x, (1, 3), reach), (2, 4), reach)


def _diagonal_sum(x: Tensor, axes: tuple[int, int], reach: int) -> Tensor:
    total = x.clone(memory_format=torch.contiguous_format)
    length = x.shape[axes[0]]
    for step in range(1, min(reach, length - 1) + 1):
        low, high = x, x
        into_low, into_high = total, total
        for axis in axes:
            low, into_low = (v.narrow(axis, 0, length - step) for v in (low, into_low))
            high, into_high = (v.narrow(axis, step, length - step) for v in (high, into_high))
        into_low += high
        into_high += low
    return total


class _Borders:
    """Which offsets count for a pair of locations, without looking at each pair.

    For a location p of one picture it matters of the other one's q only how far q is from the
    borders, up to the window's reach: K kinds of q, no more than w * w. What is summed over the
    window of p is the same for all q of a kind.

    Attributes
    ----------
    count : (N, K) how many offsets count for p and kind k.
    """

    def __init__(
        self, grid: tuple[int, int], reach: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self._grid = grid
        (self._rows, down), (self._columns, along) = (
            _border_kinds(side, reach, dtype, device) for side in grid
        )
        # (K, N) 1 where location q is of kind k, and (N,) which kind that is.
        self._kinds = torch.einsum("ci,dj->cdij", down, along).reshape(len(down) * len(along), -1)
        self._kind = self._kinds.argmax(dim=0)
        self.count = self.sums(self._kinds.new_ones(self._kinds.shape[1]))

    def sums(self, values: Tensor) -> Tensor:
        """(..., N) values -> (..., N, K): sums over the offsets that count for p and kind k."""
        image = values.view(-1, *self._grid)
        found = torch.einsum("byx,iyc,jxd->bijcd", image, self._rows, self._columns)
        return found.reshape(*values.shape, -1)

    def of_b(self, values: Tensor) -> Tensor:
        """(B, N, K) of locations of a for kinds of b -> (B, N, N), for each p and q."""
        return values @ self._kinds

    def of_a(self, values: Tensor) -> Tensor:
        """(B, K, N) of locations of b for kinds of a -> (B, N, N), for each p and q."""
        return values.index_select(1, self._kind)


@lru_cache(maxsize=4)
def _borders(
    grid: tuple[int, int], reach: int, dtype: torch.dtype, device: torch.device
) -> _Borders:
    """The same for all pictures of a size."""
    # What is made in inference mode could not be used for gradients later.
    with torch.inference_mode(False):
        return _Borders(grid, reach, dtype, device)


def _border_kinds(
    length: int, reach: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """The kinds of places along one axis, for `_Borders`.

    Returns
    -------
    (length, length, K) 1 where p' = p + o is in the window of p and o counts for a place of the
    kind, and (K, length) 1 where a place is of the kind.
    """
    places = torch.arange(length, device=device)
    kinds, which = places, places
    if length > 2 * reach + 1:
        # All between the borders' reaches are of one kind, for which its first one stands.
        far = length - 1 - reach
        kinds = torch.cat([places[: reach + 1], places[far + 1 :]])
        which = places.clamp(max=reach) + (places - far).clamp(min=0)
    before, behind = kinds.clamp(max=reach), (length - 1 - kinds).clamp(max=reach)
    offsets = (places - places[:, None])[:, :, None]  # (length, length, 1)
    counts = (offsets >= -before) & (offsets <= behind)
    member = which == places[: len(kinds), None]
    return counts.to(dtype), member.to(dtype)
