"""Several processes that train together, as `torchrun` starts them; one process needs nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Processes:
    """Which of how many processes this one is, and which GPU of its machine is its own."""

    rank: int = 0
    count: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this one writes what all share."""
        return self.rank == 0


@contextmanager
def joined(cuda: bool) -> Iterator[Processes]:
    """Join the processes that `torchrun` started; alone without it.

    Parameters
    ----------
    cuda : they compute on GPUs.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield Processes()
        return
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Processes(
            dist.get_rank(), dist.get_world_size(), int(os.environ.get("LOCAL_RANK", "0"))
        )
    finally:
        dist.destroy_process_group()


def gathered(values: Tensor) -> Tensor:
    """Rows of all processes, one after the other, with gradients to those of each."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return values
    if not values.requires_grad:
        parts = [torch.empty_like(values) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, values.contiguous())
        return torch.cat(parts)
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(values))


def averaged(values: Mapping[str, Tensor]) -> dict[str, float]:
    """Means over all processes of scalars by name."""
    if not values:
        return {}
    stacked = torch.stack([value.float() for value in values.values()])
    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(stacked)
        stacked /= dist.get_world_size()
    return dict(zip(values, stacked.tolist(), strict=True))


def wait_for_all() -> None:
    """Go on when every process is here."""
    if dist.is_initialized():
        dist.barrier()
