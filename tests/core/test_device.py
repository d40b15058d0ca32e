"""Which device computes, in which precision, and why: on machines with and without CUDA."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
import torch

from moca_core.device import PRECISIONS, DeviceChoice, choose_device
from moca_core.errors import DeviceError

GIB = 2**30
ARCHS = ("sm_75", "sm_80", "sm_86", "sm_90", "compute_90")


@dataclass(frozen=True)
class Card:
    """A GPU as torch shows it: compute capability, free and total memory."""

    capability: tuple[int, int] = (8, 6)
    free: int = 8 * GIB
    total: int = 8 * GIB


Machine = Callable[..., None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine with the given cards and a torch that was built for some of them."""

    def have(*cards: Card, built: str | None = "12.4", archs: Sequence[str] = ARCHS) -> None:
        fakes = {
            "is_available": lambda: len(cards) > 0,
            "device_count": lambda: len(cards),
            "get_device_name": lambda index: f"Card {index}",
            "get_device_capability": lambda index: cards[index].capability,
            "get_arch_list": lambda: list(archs),
            "mem_get_info": lambda index: (cards[index].free, cards[index].total),
            "init": lambda: None,
        }
        for name, fake in fakes.items():
            monkeypatch.setattr(torch.cuda, name, fake)
        monkeypatch.setattr(torch.version, "cuda", built)

    return have


# --- no GPU -------------------------------------------------------------------------------------


def test_without_a_card(machine: Machine) -> None:
    machine()
    assert choose_device() == DeviceChoice("cpu", "float32", "no CUDA device")
    machine(built=None)
    assert choose_device("auto") == DeviceChoice("cpu", "float32", "torch has no CUDA")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("Found no NVIDIA driver on your system. Please check ...", "no NVIDIA driver"),
        (
            "The NVIDIA driver on your system is too old (found version 11040).",
            "the NVIDIA driver is too old for CUDA 12.4",
        ),
        ("No CUDA GPUs are available", "no CUDA device"),
    ],
)
def test_a_cuda_build_says_what_is_missing(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, said: str, reason: str
) -> None:
    """The words are those of torch, which warns too: the user sees it once, and shorter."""
    machine()

    def fail() -> None:
        raise RuntimeError(said)

    def warned() -> bool:
        warnings.warn(said, stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "init", fail)
    monkeypatch.setattr(torch.cuda, "is_available", warned)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert choose_device() == DeviceChoice("cpu", "float32", reason)
        with pytest.raises(DeviceError, match=f"cuda:0: {reason}"):
            choose_device("cuda:0")


# --- GPUs that will do, and in which precision --------------------------------------------------


def test_with_cards(machine: Machine) -> None:
    machine(Card(), Card())
    assert choose_device() == DeviceChoice("cuda:0", "float16", "Card 0")
    assert choose_device("cuda") == DeviceChoice("cuda:0", "float16", "Card 0")
    assert choose_device("cuda:1") == DeviceChoice("cuda:1", "float16", "Card 1")
    assert choose_device("cpu") == DeviceChoice("cpu", "float32", "as requested")


@pytest.mark.parametrize(
    ("capability", "dtype"),
    [((9, 0), "float16"), ((8, 0), "float16"), ((7, 0), "float16"), ((6, 1), "float32")],
)
def test_auto_takes_what_the_card_is_fast_in(
    machine: Machine, capability: tuple[int, int], dtype: str
) -> None:
    machine(Card(capability), archs=("sm_61", "sm_70", *ARCHS))
    assert choose_device().dtype == dtype
    assert choose_device(precision="float32").dtype == "float32"
    assert choose_device(precision="float16").dtype == "float16"
    if capability >= (8, 0):
        assert choose_device(precision="bfloat16").dtype == "bfloat16"


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_cpu_computes_in_what_is_asked(precision: str) -> None:
    expected = "float32" if precision == "auto" else precision
    assert choose_device("cpu", precision).dtype == expected


def test_bfloat16_on_a_card_without_it(machine: Machine) -> None:
    machine(Card((7, 5)))
    with pytest.raises(DeviceError, match="Card 0 doesn't compute in bfloat16") as caught:
        choose_device("auto", "bfloat16")
    assert "float16" in caught.value.hint


def test_what_is_no_precision() -> None:
    with pytest.raises(DeviceError, match="'half'") as caught:
        choose_device("cpu", "half")
    assert "bfloat16" in caught.value.hint


# --- GPUs that won't do -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("capability", "archs", "runs"),
    [
        ((8, 9), ("sm_80",), True),  # machine code of the same major version
        ((8, 0), ("sm_86",), False),
        ((9, 0), ("sm_80", "sm_86"), False),
        ((9, 0), ("sm_80", "compute_80"), True),  # translated by the driver
        ((8, 0), ("compute_90",), False),
        ((9, 0), ("sm_90a",), True),
        ((9, 1), ("sm_90a",), False),
        ((12, 0), ("sm_100",), False),
        ((12, 0), ("sm_120",), True),
        ((3, 5), ARCHS, False),
        ((9, 0), (), True),
        ((9, 0), ("gfx90a",), True),
    ],
)
def test_what_a_build_runs_on(
    machine: Machine, capability: tuple[int, int], archs: Sequence[str], runs: bool
) -> None:
    machine(Card(capability), archs=archs)
    choice = choose_device()
    assert choice.device == ("cuda:0" if runs else "cpu")
    if not runs:
        version = ".".join(map(str, capability))
        assert f"Card 0 has compute capability {version}" in choice.reason


def test_half_the_memory_taken_is_enough_if_it_fits(machine: Machine) -> None:
    """Only what is needed counts; without a need nothing is asked of the card."""
    machine(Card(free=4 * GIB))
    assert choose_device(need_bytes=4 * GIB).device == "cuda:0"
    assert choose_device(need_bytes=4 * GIB + 1).device == "cpu"
    assert choose_device().device == "cuda:0"


def test_too_little_memory_says_how_much(machine: Machine) -> None:
    machine(Card(free=int(3.1 * GIB)))
    choice = choose_device(need_bytes=5 * GIB)
    reason = "Card 0 has 3.1 of 8.0 GiB free, 5.0 needed"
    assert choice == DeviceChoice("cpu", "float32", reason)
    with pytest.raises(DeviceError, match=reason) as caught:
        choose_device("cuda:0", need_bytes=5 * GIB)
    assert "cpu" in caught.value.hint


def test_the_first_card_that_will_do(machine: Machine) -> None:
    machine(Card((3, 5)), Card(free=GIB), Card((7, 0)), archs=("sm_70", "sm_80"))
    assert choose_device(need_bytes=2 * GIB) == DeviceChoice("cuda:2", "float16", "Card 2")
    few = choose_device(need_bytes=9 * GIB)
    assert few.device == "cpu"
    assert few.reason.count("; ") == 2 and "Card 1 has 1.0 of 8.0 GiB free" in few.reason


def test_a_card_that_somebody_has_for_himself(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(Card())

    def busy(index: int) -> tuple[int, int]:
        raise RuntimeError("CUDA error: all CUDA-capable devices are busy\nmore")

    monkeypatch.setattr(torch.cuda, "mem_get_info", busy)
    choice = choose_device(need_bytes=1)
    assert choice.device == "cpu"
    assert choice.reason == "Card 0 can't be used (CUDA error: all CUDA-capable devices are busy)"


# --- what is asked for --------------------------------------------------------------------------


@pytest.mark.parametrize("request_", ["cuda:2", "cuda:10"])
def test_a_card_that_isnt_there(machine: Machine, request_: str) -> None:
    machine(Card(), Card())
    with pytest.raises(DeviceError, match=request_) as caught:
        choose_device(request_)
    assert "2 CUDA devices" in caught.value.message
    assert "cpu" in caught.value.hint


@pytest.mark.parametrize("request_", ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CPU ", "mps"])
def test_what_is_no_device(machine: Machine, request_: str) -> None:
    machine(Card(), Card())
    with pytest.raises(DeviceError) as caught:
        choose_device(request_)
    assert repr(request_) in caught.value.message
    assert "auto" in caught.value.hint


def test_the_reason_is_shown() -> None:
    assert str(DeviceChoice("cpu", "float32", "no CUDA device")) == "CPU float32: no CUDA device"


def test_asking_for_the_cpu_needs_no_torch() -> None:
    code = (
        "import sys\nfrom moca_core.device import choose_device\n"
        "assert choose_device('cpu').device == 'cpu'\nassert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
