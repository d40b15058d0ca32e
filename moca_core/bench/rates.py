"""What a device can do, and what a model asks of it: both in floating-point operations."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from moca_core.models.compute import synchronise

_SIDES = {"cpu": 1536, "cuda": 8192}
"""Of the square matrices that are multiplied: large enough to keep every unit busy."""


def matrix_rate(device: str, dtype: torch.dtype, repeats: int = 5, side: int = 0) -> float:
    """Operations a second of a large matrix product, median of `repeats` after a warm-up.

    A product of two N x N matrices is N^3 multiplications and as many additions.

    Parameters
    ----------
    side : N; by default one that suits the device.
    """
    side = side or _SIDES[torch.device(device).type]
    a, b = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))
    seconds = []
    for turn in range(repeats + 1):
        synchronise(device)
        began = time.perf_counter()
        a @ b
        synchronise(device)
        if turn:
            seconds.append(time.perf_counter() - began)
    return 2 * side**3 / statistics.median(seconds)


def operations(run: Callable[[], object]) -> int:
    """Floating-point operations of `run`, counted from the shapes of what it computes.

    A multiplication with its addition counts two. Of matrices (m, k) and (k, n): 2 m k n. A
    convolution: 2 x outputs x kernel elements an output. Attention of T queries on S keys: 4 T S d
    a head. So a transformer block on T tokens of width C with an MLP of 4 C is 24 T C^2 + 4 T^2 C.
    Norms, activations and sums aren't counted: memory limits them, not arithmetic.

    The count doesn't depend on the precision, but `run` must not autocast: torch would count
    mixed types wrongly.
    """
    with FlopCounterMode(display=False, custom_mapping=_KERNELS) as counter:
        run()
    return int(counter.get_total_flops())


def _attention(
    query: Sequence[int], key: Sequence[int], *_: Any, out_shape: Any = None, **__: Any
) -> int:
    batch, heads, length, width = query
    return 4 * batch * heads * length * key[2] * width


# The one attention kernel that torch doesn't count itself.
_KERNELS = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention}
