"""Several processes that train together, as `torchrun` starts them; one process needs nothing."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from moca_core.errors import MocaError
from moca_core.types import StageEvent

_JOIN = timedelta(minutes=2)
_EXCHANGE = timedelta(minutes=10)
"""Longest that processes wait for each other to come, and within an iteration."""
_LOOK_S = 0.1
_LEFT = "left"


class ProcessError(MocaError):
    """Another process has ended, or doesn't answer: this one can't go on alone."""


@dataclass(frozen=True)
class Processes:
    """Which of how many processes this one is, and which GPU of its machine is its own."""

    rank: int = 0
    count: int = 1
    local: int = 0
    _store: dist.Store | None = field(default=None, repr=False, compare=False)
    _turns: Iterator[int] = field(default_factory=itertools.count, repr=False, compare=False)

    @property
    def first(self) -> bool:
        """Whether this one writes what all share."""
        return self.rank == 0

    def waiting(self) -> Iterator[StageEvent]:
        """Go on when every process is here; yields while it waits, for hours if need be.

        What one process does for all takes longer than an exchange of tensors may.

        Raises
        ------
        ProcessError : another process has ended.
        """
        if self._store is None:
            return
        name = f"turn-{next(self._turns)}"
        try:
            here = self._store.add(name, 1)
            while here < self.count:
                if self._store.check([_LEFT]):
                    raise _ended()
                yield StageEvent("Waiting for the other processes")
                time.sleep(_LOOK_S)
                here = self._store.add(name, 0)
        except RuntimeError as error:
            # The process that holds the store has gone.
            raise _ended() from error


@contextmanager
def joined(cuda: bool) -> Iterator[Processes]:
    """Join the processes that `torchrun` started; alone without it.

    Parameters
    ----------
    cuda : they compute on GPUs.

    Raises
    ------
    ProcessError : the others don't come, or one of them ends before this one.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield Processes()
        return
    store, rank, count = _met()
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if cuda else "gloo",
        store=dist.PrefixStore("group", store),
        rank=rank,
        world_size=count,
        timeout=_EXCHANGE,
    )
    own = dist.PrefixStore("own", store)
    processes = Processes(rank, count, int(os.environ.get("LOCAL_RANK", "0")), own)
    try:
        yield processes
        # One that leaves while others are still closing their exchange can take them down.
        with suppress(ProcessError):
            for _ in processes.waiting():
                pass
    except RuntimeError as error:
        # An exchange fails in whatever way the library meets a peer that isn't there.
        if _has_left(own):
            raise _ended() from error
        raise
    finally:
        with suppress(RuntimeError):
            own.set(_LEFT, str(rank))
        dist.destroy_process_group()


def _met() -> tuple[dist.Store, int, int]:
    """The store that the processes share, the number of this one, and how many there are."""
    try:
        return next(dist.rendezvous("env://", timeout=_JOIN))
    except (RuntimeError, ValueError) as error:
        where = ":".join(os.environ.get(name, "?") for name in ("MASTER_ADDR", "MASTER_PORT"))
        raise ProcessError(
            f"the processes don't meet at {where} ({str(error).splitlines()[0]})",
            "Start all of them with torchrun, and see that they reach this address.",
        ) from error


def _has_left(store: dist.Store) -> bool:
    try:
        return store.check([_LEFT])
    except RuntimeError:
        return True


def _ended() -> ProcessError:
    return ProcessError(
        "another process has ended",
        "Its own message says why. The same command goes on from the last checkpoint.",
    )


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
