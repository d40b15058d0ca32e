"""Which device computes, in which precision, and why."""

from __future__ import annotations

from dataclasses import dataclass

from moca_core.errors import DeviceError


@dataclass(frozen=True)
class DeviceChoice:
    """A torch device (`cpu`, `cuda:0`), a dtype name (`float32`) and the reason for the choice."""

    device: str
    dtype: str
    reason: str

    def __str__(self) -> str:
        return f"{self.device.upper()} {self.dtype}: {self.reason}"


def choose_device(request: str = "auto") -> DeviceChoice:
    """Choose the device for `request`: `auto`, `cpu`, or `cuda:N`.

    Raises
    ------
    DeviceError : the request names a device that this machine doesn't have.
    """
    if request == "cpu":
        return DeviceChoice("cpu", "float32", "as requested")
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if request == "auto":
        if count:
            return DeviceChoice("cuda:0", "float32", torch.cuda.get_device_name(0))
        built = torch.version.cuda is not None
        return DeviceChoice("cpu", "float32", "no CUDA device" if built else "torch has no CUDA")
    index = request.removeprefix("cuda:") if request.startswith("cuda:") else None
    if request == "cuda":
        index = "0"
    if index is None or not index.isdigit():
        raise DeviceError(f"{request!r} is not a device", "Use auto, cpu, or cuda:0.")
    if int(index) >= count:
        raise DeviceError(
            f"{request}: this machine shows {count} CUDA devices", "Use --device auto or cpu."
        )
    return DeviceChoice(f"cuda:{index}", "float32", torch.cuda.get_device_name(int(index)))
