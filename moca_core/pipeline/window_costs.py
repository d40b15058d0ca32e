"""Stereo costs between windows around all pairs of locations of two feature maps.

The arithmetic of PMA (METHOD.md section 5, `pipeline.pma`): one matrix product of the features,
sums of it along the diagonals (p + o, q + o), and everything else from a few numbers a location.
"""

from __future__ import annotations

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


def window_costs(products: Products, grid: tuple[int, int], window: int, share: float) -> Tensor:
    """(B, N, N) C of all pairs of locations, SSD weighted with `share` and NCC with the rest.

    Unit features are never made: their products, means and norms are those of the features, scaled.
    C is linear in the windows' product: all else is known for each location and kind of border.
    """
    product, mean_a, mean_b, norm_a, norm_b = products
    over_a, over_b = (1 / norm.clamp(min=_SMALLEST_NORM) for norm in (norm_a, norm_b))  # (B, N)
    reach = window // 2
    across = product * over_a[:, :, None] * over_b[:, None, :]
    across = across.view(-1, *grid, *grid)  # (B, h, w, h, w)
    across = _DiagonalSum.apply(_DiagonalSum.apply(across, (1, 3), reach), (2, 4), reach)
    across = across.view(product.shape)  # sum over o of Fa(p + o) . Fb(q + o)
    borders = _Borders(grid, reach, product)
    count = borders.sums(torch.ones_like(norm_a[:1]))  # (1, N, K), how many offsets count
    # Sums of squares over windows: 1 a location, but for a feature that is zero.
    energies = [borders.sums((norm_a * over_a) ** 2), borders.sums((norm_b * over_b) ** 2)]
    # SSD is (energy_a + energy_b - 2 across) / 4 |O|, and NCC, of means times the root of |O| Dv,
    # (across - mean_a mean_b) / (spread_a spread_b). C is share SSD + weight (1 - NCC).
    weight = (1 - share) / 2
    rest = borders.pairs_sum(*(energy * (share / 4) / count + weight / 2 for energy in energies))
    slope = borders.pairs(share / 2 / count)
    if weight > 0:
        means = [borders.sums(mean) for mean in (mean_a * over_a, mean_b * over_b)]
        means = [mean / count.sqrt() for mean in means]
        inverses = [
            _over_root(energy - mean**2, _FLAT * count)
            for energy, mean in zip(energies, means, strict=True)
        ]
        levels = [mean * inverse for mean, inverse in zip(means, inverses, strict=True)]
        rest = rest.addcmul(*borders.both(*levels), value=weight)
        slope = slope.addcmul(*borders.both(*inverses), value=weight)
    return rest.addcmul(slope, across, value=-1).clamp(0, 1)


def _over_root(values: Tensor, floor: Tensor) -> Tensor:
    """1 / sqrt(values); 0 where they are below `floor`, without a gradient."""
    return values.maximum(floor).rsqrt() * (values > floor)


class _Products(torch.autograd.Function):
    """By hand, since autograd would keep several buffers as large as the features."""

    @staticmethod
    def forward(ctx: Any, Fa: Tensor, Fb: Tensor) -> tuple[Tensor, ...]:
        """The fields of `Products`."""
        norms = [torch.linalg.vector_norm(features, dim=-1) for features in (Fa, Fb)]
        means = [features.sum(dim=-1) * features.shape[-1] ** -0.5 for features in (Fa, Fb)]
        ctx.save_for_backward(Fa, Fb, *norms)
        return Fa @ Fb.transpose(1, 2), *means, *norms

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


class _DiagonalSum(torch.autograd.Function):
    """Sum over offsets o with |o| <= reach along two axes at once: y(p, q) = sum x(p + o, q + o).

    What lies outside doesn't count. The offsets come in pairs o and -o, so that the operation is
    its own adjoint.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, axes: tuple[int, int], reach: int) -> Tensor:
        """x of any shape, the two axes equally long -> the same shape."""
        ctx.axes, ctx.reach = axes, reach
        return _diagonal_sum(x, axes, reach)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """The same sum of the gradient."""
        return _diagonal_sum(grads[0], ctx.axes, ctx.reach), None, None


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
    """

    def __init__(self, grid: tuple[int, int], reach: int, like: Tensor) -> None:
        self._grid = grid
        (self._rows, down), (self._columns, along) = (
            _border_kinds(side, reach, like) for side in grid
        )
        # (K, N) 1 where location q is of kind k.
        self._kinds = torch.einsum("ci,dj->cdij", down, along).reshape(len(down) * len(along), -1)

    def sums(self, values: Tensor) -> Tensor:
        """(B, N) values -> (B, N, K): their sums over the offsets that count for p and kind k."""
        image = values.view(-1, *self._grid)
        found = torch.einsum("byx,iyc,jxd->bijcd", image, self._rows, self._columns)
        return found.reshape(*values.shape, -1)

    def pairs(self, values: Tensor) -> Tensor:
        """(B, N, K) of the locations p of a -> (B, N, N), for each p and q."""
        return values @ self._kinds

    def both(self, of_a: Tensor, of_b: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, K) of the locations of a, and of those of b -> (B, N, N), for each p and q."""
        return of_a @ self._kinds, self._kinds.mT @ of_b.mT

    def pairs_sum(self, of_a: Tensor, of_b: Tensor) -> Tensor:
        """(B, N, K) twice -> (B, N, N): the value of p for q and that of q for p, added."""
        kinds = self._kinds.expand(len(of_a), -1, -1)
        left = torch.cat([of_a, kinds.transpose(1, 2)], dim=2)  # (B, N, 2 K)
        return left @ torch.cat([kinds, of_b.transpose(1, 2)], dim=1)


def _border_kinds(length: int, reach: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """The kinds of places along one axis, for `_Borders`.

    Returns
    -------
    (length, length, K) 1 where p' = p + o is in the window of p and o counts for a place of the
    kind, and (K, length) 1 where a place is of the kind.
    """
    places = torch.arange(length, device=like.device)
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
    return counts.to(like.dtype), member.to(like.dtype)
