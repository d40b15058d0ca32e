"""Which device computes, and why: on machines with and without CUDA."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from moca_core.device import DeviceChoice, choose_device
from moca_core.errors import DeviceError


@pytest.fixture
def cards(monkeypatch):
    """A machine with as many cards as are set."""

    def have(count, built="12.4"):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"Card {index}")
        monkeypatch.setattr(torch.version, "cuda", built)

    return have


def test_without_a_card(cards):
    cards(0)
    assert choose_device() == DeviceChoice("cpu", "float32", "no CUDA device")
    cards(0, built=None)
    assert choose_device("auto") == DeviceChoice("cpu", "float32", "torch has no CUDA")


def test_with_cards(cards):
    cards(2)
    assert choose_device() == DeviceChoice("cuda:0", "float32", "Card 0")
    assert choose_device("cuda") == DeviceChoice("cuda:0", "float32", "Card 0")
    assert choose_device("cuda:1") == DeviceChoice("cuda:1", "float32", "Card 1")
    assert choose_device("cpu") == DeviceChoice("cpu", "float32", "as requested")


@pytest.mark.parametrize("request_", ["cuda:2", "cuda:10"])
def test_a_card_that_isnt_there(cards, request_):
    cards(2)
    with pytest.raises(DeviceError, match=request_) as caught:
        choose_device(request_)
    assert "2 CUDA devices" in caught.value.message
    assert "cpu" in caught.value.hint


@pytest.mark.parametrize("request_", ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CPU ", "mps"])
def test_what_is_no_device(cards, request_):
    cards(2)
    with pytest.raises(DeviceError) as caught:
        choose_device(request_)
    assert repr(request_) in caught.value.message
    assert "auto" in caught.value.hint


def test_the_reason_is_shown():
    assert str(DeviceChoice("cpu", "float32", "no CUDA device")) == "CPU float32: no CUDA device"


def test_asking_for_the_cpu_needs_no_torch():
    code = (
        "import sys\nfrom moca_core.device import choose_device\n"
        "assert choose_device('cpu').device == 'cpu'\nassert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
