"""Where the tests of GPUs compute, and when they are skipped."""

from __future__ import annotations

import os

import pytest
import torch

from moca_core.device import DeviceChoice

DEVICE = os.environ.get("MOCA_TEST_DEVICE", "cuda:0")
"""`cpu` tries the tests themselves where there is no GPU."""

needs_device = pytest.mark.skipif(
    DEVICE.startswith("cuda") and not torch.cuda.is_available(),
    reason="no CUDA device (MOCA_TEST_DEVICE=cpu computes on the CPU instead)",
)


def choice(dtype: str) -> DeviceChoice:
    """The device in a precision."""
    return DeviceChoice(DEVICE, dtype, "for a test")
