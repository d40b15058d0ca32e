"""Where the tests of GPUs compute: on one if there is one, so that they don't rot elsewhere."""

from __future__ import annotations

import os

import torch

from moca_core.device import DeviceChoice

DEVICE = os.environ.get("MOCA_TEST_DEVICE") or ("cuda:0" if torch.cuda.is_available() else "cpu")


def choice(dtype: str) -> DeviceChoice:
    """The device in a precision."""
    return DeviceChoice(DEVICE, dtype, "for a test")
