"""Precision, copies, batches and compilation; a GPU is played where there is none."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import nn

from moca_core.device import DeviceChoice
from moca_core.errors import DeviceError
from moca_core.models import compute
from moca_core.models.compute import BatchSize, autocast, compiled, in_batches, to_device

# --- precision ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_products_are_in_the_precision_asked_for(dtype: str) -> None:
    """Weights and inputs stay float32."""
    linear = nn.Linear(4, 4)
    with autocast(DeviceChoice("cpu", dtype, "")):
        assert linear(torch.zeros(1, 4)).dtype == getattr(torch, dtype)
    assert linear.weight.dtype == torch.float32
    assert linear(torch.zeros(1, 4)).dtype == torch.float32


def test_a_gpu_autocasts_as_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The index is no part of what torch.autocast takes."""
    seen: list[tuple[str, torch.dtype]] = []
    monkeypatch.setattr(torch, "autocast", lambda kind, dtype: seen.append((kind, dtype)))
    autocast(DeviceChoice("cuda:1", "float16", ""))
    assert seen == [("cuda", torch.float16)]


# --- copies -------------------------------------------------------------------------------------


def test_copies_of_odd_arrays() -> None:
    """Read-only (a decoded picture), mirrored, and tensors."""
    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    array.flags.writeable = False
    copied = to_device(array, "cpu")
    copied += 1
    assert array[0, 0] == 0 and copied[0, 0] == 1
    assert np.array_equal(to_device(array[:, ::-1], "cpu").numpy(), array[:, ::-1])
    tensor = torch.ones(2)
    assert to_device(tensor, "cpu") is tensor


def test_copies_to_a_gpu_are_pinned_and_dont_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[object] = []

    def pin(tensor: torch.Tensor) -> torch.Tensor:
        assert tensor.is_contiguous()
        steps.append("pinned")
        return tensor

    def to(tensor: torch.Tensor, device: str, **words: bool) -> torch.Tensor:
        steps.append((device, words))
        return tensor

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    monkeypatch.setattr(torch.Tensor, "to", to)
    to_device(np.zeros((2, 3), np.float32), "cuda:0")
    to_device(torch.zeros(3, 2).T, "cuda:0")
    assert steps == ["pinned", ("cuda:0", {"non_blocking": True})] * 2


# --- batches ------------------------------------------------------------------------------------


class SmallGpu:
    """Takes at most `room` items at once, and says how it was asked."""

    def __init__(self, room: int, error: Callable[[], Exception] | None = None) -> None:
        self.room, self.asked = room, []
        self.error = error or (lambda: torch.cuda.OutOfMemoryError("CUDA out of memory"))

    def __call__(self, batch: Sequence[int]) -> list[int]:
        self.asked.append(len(batch))
        if len(batch) > self.room:
            raise self.error()
        return [10 * item for item in batch]


@pytest.mark.parametrize("count", [0, 1, 3, 8, 9, 20])
@pytest.mark.parametrize("room", [1, 3, 100])
def test_every_item_once_and_in_order(count: int, room: int) -> None:
    assert in_batches(SmallGpu(room), range(count), 8) == [10 * item for item in range(count)]


def test_batches_are_halved_and_stay_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 7 items 7 and 4 don't fit; the cache is emptied each time, and the user told."""
    emptied: list[bool] = []
    monkeypatch.setattr(compute, "empty_cache", lambda: emptied.append(True))
    gpu, told = SmallGpu(room=2), []
    batches = BatchSize(8, told.append)
    assert batches.run(gpu, range(7)) == [10 * item for item in range(7)]
    assert gpu.asked == [7, 4, 2, 2, 2, 1]
    assert told == [4, 2] and len(emptied) == 2
    gpu.asked.clear()
    batches.run(gpu, range(4))
    assert gpu.asked == [2, 2]


def test_a_batch_of_one_that_doesnt_fit() -> None:
    """Said in words, with a way out; the error of torch is kept as its cause."""
    gpu = SmallGpu(room=0)
    with pytest.raises(DeviceError, match="batch of one") as caught:
        in_batches(gpu, range(4), 4)
    assert gpu.asked == [4, 2, 1]
    assert "cpu" in caught.value.hint
    assert isinstance(caught.value.__cause__, torch.cuda.OutOfMemoryError)


@pytest.mark.parametrize(
    "words",
    [
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "[enforce fail at alloc_cpu.cpp:127] data. DefaultCPUAllocator: can't allocate memory",
    ],
)
def test_other_words_for_a_full_memory(words: str) -> None:
    gpu = SmallGpu(1, lambda: RuntimeError(words))
    assert in_batches(gpu, range(2), 2) == [0, 10]


def test_other_errors_are_not_tried_again() -> None:
    gpu = SmallGpu(1, lambda: RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError, match="shapes differ"):
        in_batches(gpu, range(2), 2)
    assert gpu.asked == [2]


def test_memory_of_a_failed_batch_is_free_before_the_next() -> None:
    """The error's frames must not keep the batch's tensors alive."""
    import weakref

    class Big:
        pass

    alive: list[weakref.ref[Big]] = []

    def function(batch: Sequence[int]) -> list[int]:
        assert all(ref() is None for ref in alive)
        big = Big()
        alive.append(weakref.ref(big))
        if len(batch) > 1:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return list(batch)

    assert in_batches(function, range(4), 4) == [0, 1, 2, 3]


def test_wrong_use_of_batches() -> None:
    with pytest.raises(ValueError, match="batch of 0"):
        BatchSize(0)
    with pytest.raises(ValueError, match="1 results for a batch of 2"):
        in_batches(lambda batch: batch[:1], range(2), 2)


# --- compilation --------------------------------------------------------------------------------


def test_not_compiled_unless_wanted() -> None:
    linear = nn.Linear(2, 2)
    assert compiled(linear, False) is linear


def test_the_compiled_function_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda function: lambda x: function(x) + 100)
    assert compiled(lambda x: 2 * x, True)(1) == 102


@pytest.mark.parametrize("fails", ["at once", "at the first call"])
def test_without_a_compiler_the_plain_function_is_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fails: str
) -> None:
    """The log says why, once."""
    tries: list[int] = []

    def broken(x: int) -> int:
        tries.append(x)
        raise RuntimeError("no C++ compiler\nlong story")

    def compile_(function: object) -> object:
        if fails == "at once":
            raise RuntimeError("no C++ compiler\nlong story")
        return broken

    monkeypatch.setattr(torch, "compile", compile_)
    with caplog.at_level(logging.WARNING):
        call = compiled(lambda x: 2 * x, True)
        assert (call(1), call(2)) == (2, 4)
    assert len(tries) == (0 if fails == "at once" else 1)
    assert len(caplog.records) == 1
    assert "(no C++ compiler)" in caplog.text and "long story" not in caplog.text


def test_a_full_memory_is_no_failure_to_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    """`in_batches` around it must hear of it."""

    def full(x: int) -> int:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "compile", lambda function: full)
    call = compiled(lambda x: x, True)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        call(1)


# --- memory -------------------------------------------------------------------------------------


def test_free_memory_of_a_gpu_counts_what_torch_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 50)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 20)
    assert compute.free_memory("cuda:0") == 130


def test_free_memory_of_the_machine() -> None:
    free = compute.free_memory("cpu")
    assert free is None or free > 2**20


def test_waiting_only_for_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    compute.synchronise("cpu")
    compute.synchronise("cuda:1")
    assert waited == ["cuda:1"]


# --- threads ------------------------------------------------------------------------------------


def test_results_of_threads_are_in_order_and_the_threads_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Later items finish first; several run at once; one item needs no thread."""
    monkeypatch.setattr(compute.os, "cpu_count", lambda: 4)
    meeting = threading.Barrier(3, timeout=30)
    before = threading.active_count()

    def meet(item: int) -> int:
        meeting.wait()  # passes only if three run at once
        return 10 * item

    assert compute.in_threads(meet, [1, 2, 3]) == [10, 20, 30]
    assert threading.active_count() == before
    names = compute.in_threads(lambda _: threading.current_thread().name, [0])
    assert names == [threading.current_thread().name]
    assert compute.in_threads(meet, []) == []
