"""Running encoders on a device: precision, copies, batches that fit, and compilation."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from moca_core.device import DeviceChoice
from moca_core.errors import DeviceError

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")
P = ParamSpec("P")

_FULL_WORDS = ("out of memory", "can't allocate memory", "_STATUS_ALLOC_FAILED")
"""How libraries say that memory ran out where they don't raise torch's own error."""


def torch_dtype(choice: DeviceChoice) -> torch.dtype:
    """The precision of `choice` as torch has it."""
    dtype = getattr(torch, choice.dtype)
    assert isinstance(dtype, torch.dtype)
    return dtype


def autocast(choice: DeviceChoice) -> AbstractContextManager[object]:
    """A context in which matrix products are computed in the precision of `choice`."""
    if choice.dtype == "float32":
        return nullcontext()
    return torch.autocast(torch.device(choice.device).type, dtype=torch_dtype(choice))


def half_layers(model: nn.Module, choice: DeviceChoice) -> Callable[[], None]:
    """Let linear layers and convolutions compute in the precision of `choice`, all else in float32.

    For models that don't know half precision: what goes into a layer and its weights are rounded,
    what comes out is float32 again, so that norms, softmaxes and sums stay accurate and nothing
    around the model changes. Models that keep their matrices in half precision save memory, too.

    Returns
    -------
    A function that undoes it.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, _LAYERS)]
    for layer in layers:
        layer.forward = _in_half(layer.forward, choice)  # type: ignore[method-assign]

    def undo() -> None:
        for layer in layers:
            del layer.forward  # the class's own shows again

    return undo


_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d)


def _in_half(forward: Callable[..., Tensor], choice: DeviceChoice) -> Callable[..., Tensor]:
    def call(x: Tensor) -> Tensor:
        with autocast(choice):
            return forward(x).float()

    return call


def to_device(array: NDArray[np.generic] | Tensor, device: str | torch.device) -> Tensor:
    """Copy an array to a device, to a GPU without waiting for it.

    The copy runs from page-locked memory while the GPU computes; torch keeps that memory until it
    is done, so `array` may be overwritten at once. On the CPU the tensor may share memory with
    `array`.

    Parameters
    ----------
    array : of any shape and dtype that torch knows.
    """
    if isinstance(array, Tensor):
        tensor = array
    else:
        own = np.ascontiguousarray(array)
        tensor = torch.from_numpy(own if own.flags.writeable else own.copy())
    if torch.device(device).type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.contiguous().pin_memory().to(device, non_blocking=True)


def in_threads(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """`function` of each item in order, on as many cores as there are items.

    For work that lets go of Python's lock, as resizing pictures does: a GPU is faster than one
    core can resize for it. The threads end before this returns.
    """
    workers = min(len(items), os.cpu_count() or 1)
    if workers < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(function, items))


@dataclass
class BatchSize:
    """How many items are computed at once; smaller for good once memory ran out.

    Attributes
    ----------
    size : of the batches.
    on_smaller : told the new size when it is halved, so that the user can be told.
    """

    size: int
    on_smaller: Callable[[int], None] | None = None

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"a batch of {self.size}")

    def run(self, function: Callable[[Sequence[T]], Sequence[R]], items: Sequence[T]) -> list[R]:
        """Results of `function` for all items, batch by batch; see `in_batches`."""
        done: list[R] = []
        while len(done) < len(items):
            batch = items[len(done) : len(done) + self.size]
            results = self._attempt(function, batch)
            if results is not None:
                if len(results) != len(batch):
                    raise ValueError(f"{len(results)} results for a batch of {len(batch)}")
                done.extend(results)
                continue
            # Out of the handler: the error held the frames, and with them the memory, till now.
            empty_cache()
            while self.size >= len(batch):
                self.size //= 2
            log.warning("memory ran out: batches of %d from now on", self.size)
            if self.on_smaller:
                self.on_smaller(self.size)
        return done

    @staticmethod
    def _attempt(
        function: Callable[[Sequence[T]], Sequence[R]], batch: Sequence[T]
    ) -> Sequence[R] | None:
        """The results, or None if memory ran out; raises `DeviceError` for a batch of one."""
        try:
            return function(batch)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            if len(batch) == 1:
                raise DeviceError(
                    "memory ran out with a batch of one",
                    "Close other programs, take a smaller --sam, or leave a GPU for --device cpu.",
                ) from error
        return None


def in_batches(
    function: Callable[[Sequence[T]], Sequence[R]],
    items: Sequence[T],
    size: int,
    on_smaller: Callable[[int], None] | None = None,
) -> list[R]:
    """Call `function` on batches of at most `size` items and join the results.

    Where memory runs out, the batch is halved and tried again, and what comes after it keeps that
    size. Keep a `BatchSize` instead where later calls should remember it, too.

    Parameters
    ----------
    function : takes a batch, gives as many results.
    on_smaller : told each new size.

    Raises
    ------
    DeviceError : there isn't memory for a single item.
    """
    return BatchSize(size, on_smaller).run(function, items)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, be it torch's own or a library's."""
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _FULL_WORDS)


def empty_cache() -> None:
    """Give back GPU memory that torch holds and doesn't use."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class Compiler:
    """`torch.compile` where it works; otherwise the plain functions, with the reason in the log.

    Compilation happens at a function's first call, and fails where there is no C++ compiler or no
    Triton. After a failure nothing else is compiled by the same `Compiler`.

    Parameters
    ----------
    wanted : compile at all.
    """

    def __init__(self, wanted: bool) -> None:
        self.works = wanted

    def compile(self, function: Callable[P, R]) -> Callable[P, R]:
        """A function, or a module, that runs compiled if that works here."""
        if not self.works:
            return function
        try:
            fast: Callable[P, R] = torch.compile(function)
        except RuntimeError as error:
            self._give_up(error)
            return function

        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            if self.works:
                try:
                    return fast(*args, **kwargs)
                except Exception as error:
                    # Too large a batch has nothing to do with compiling. Other errors of the
                    # function itself come again below.
                    if out_of_memory(error):
                        raise
                    self._give_up(error)
            return function(*args, **kwargs)

        return call

    def compile_blocks(self, model: nn.Module) -> None:
        """Compile every block of a model's stacks, in place.

        Blocks of one stack are alike, so that one compilation serves all of them.
        """
        if not self.works:
            return
        stacks = [part for part in model.modules() if isinstance(part, nn.ModuleList)]
        for block in (block for stack in stacks for block in stack):
            block.forward = self.compile(block.forward)

    def _give_up(self, error: Exception) -> None:
        self.works = False
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        log.warning("torch.compile doesn't work here (%s): going on without it", first)


def compiled(function: Callable[P, R], wanted: bool) -> Callable[P, R]:
    """`function` (or a module) through `torch.compile` if `wanted` and possible; see `Compiler`."""
    return Compiler(wanted).compile(function)


def synchronise(device: str | torch.device) -> None:
    """Wait until a GPU has done what was asked of it; nothing on the CPU."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def free_memory(device: str | torch.device) -> int | None:
    """Bytes that can still be allocated; None where the system doesn't tell.

    On a GPU what torch holds and doesn't use counts as free.
    """
    if torch.device(device).type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0] + unused)
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None
