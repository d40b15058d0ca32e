"""Which device computes, in which precision, and why."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass

from moca_core.errors import DeviceError

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
"""What can be asked for. `auto`: float16 where a GPU gains by it, else float32 (ADR 0017)."""

_BFLOAT16_FROM, _FLOAT16_FROM = (8, 0), (7, 0)
"""Compute capabilities from which matrix units take these; below, neither is faster."""
_GIB = 2**30
_SLOWER = "Use --device auto or cpu."


@dataclass(frozen=True)
class DeviceChoice:
    """A torch device (`cpu`, `cuda:0`), a dtype name (`float32`) and the reason for the choice.

    `dtype` is that of matrix products. Models may keep their matrices in it; others stay in
    float32 and compute within `models.compute.autocast`.
    """

    device: str
    dtype: str
    reason: str

    def __str__(self) -> str:
        return f"{self.device.upper()} {self.dtype}: {self.reason}"


def choose_device(
    request: str = "auto", precision: str = "auto", need_bytes: int = 0
) -> DeviceChoice:
    """Choose the device and the precision.

    Parameters
    ----------
    request : `auto`, `cpu`, `cuda` or `cuda:N`. `auto` takes the first GPU that will do, and the
        CPU with the reason where there is none.
    precision : one of `PRECISIONS`.
    need_bytes : free GPU memory that the work needs, weights included; 0: don't look. Others may
        hold the rest of it.

    Raises
    ------
    DeviceError : the request names what isn't a device, or a GPU that isn't there, is too old for
        this torch, or has too little memory free; or it can't compute in the precision asked for.
    """
    if precision not in PRECISIONS:
        raise DeviceError(f"{precision!r} is not a precision", f"Use {', '.join(PRECISIONS)}.")
    if request == "cpu":
        return _on_cpu("as requested", precision)
    wanted = re.fullmatch(r"auto|cuda(?::(\d+))?", request)
    if wanted is None:
        raise DeviceError(f"{request!r} is not a device", "Use auto, cpu, or cuda:0.")
    count = _card_count()
    if request != "auto":
        index = int(wanted[1] or 0)
        if index >= count:
            shown = f"this machine shows {count} CUDA devices" if count else _why_no_card()
            raise DeviceError(f"{request}: {shown}", _SLOWER)
        if hindrance := _hindrance(index, need_bytes):
            raise DeviceError(f"{request}: {hindrance}", _SLOWER)
        return _on_card(index, precision)
    hindrances = []
    for index in range(count):
        hindrance = _hindrance(index, need_bytes)
        if not hindrance:
            return _on_card(index, precision)
        hindrances.append(hindrance)
    return _on_cpu("; ".join(hindrances) or _why_no_card(), precision)


def _on_cpu(reason: str, precision: str) -> DeviceChoice:
    return DeviceChoice("cpu", "float32" if precision == "auto" else precision, reason)


def _on_card(index: int, precision: str) -> DeviceChoice:
    from torch import cuda

    capability = cuda.get_device_capability(index)
    if precision == "bfloat16" and capability < _BFLOAT16_FROM:
        raise DeviceError(
            f"cuda:{index}: {cuda.get_device_name(index)} doesn't compute in bfloat16",
            "Use --precision float16 or float32.",
        )
    if precision == "auto":
        precision = "float16" if capability >= _FLOAT16_FROM else "float32"
    return DeviceChoice(f"cuda:{index}", precision, cuda.get_device_name(index))


def _card_count() -> int:
    from torch import cuda

    with warnings.catch_warnings():
        # With a driver that is too old torch warns; `_why_no_card` says it to the user.
        warnings.simplefilter("ignore")
        return cuda.device_count() if cuda.is_available() else 0


def _why_no_card() -> str:
    """Why torch shows no GPU, in words."""
    import torch

    if torch.version.cuda is None:
        return "torch has no CUDA"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        said = str(error).lower()
        if "driver" in said and "too old" in said:
            return f"the NVIDIA driver is too old for CUDA {torch.version.cuda}"
        if "no nvidia driver" in said:
            return "no NVIDIA driver"
    return "no CUDA device"


def _hindrance(index: int, need_bytes: int) -> str:
    """Why a GPU won't do, in words; "" if it will."""
    from torch import cuda

    name = cuda.get_device_name(index)
    major, minor = cuda.get_device_capability(index)
    if not _built_for((major, minor), cuda.get_arch_list()):
        return f"{name} has compute capability {major}.{minor}, for which this torch isn't built"
    if not need_bytes:
        return ""
    try:
        free, total = cuda.mem_get_info(index)
    except RuntimeError as error:
        # Somebody has the GPU for himself, or it hangs.
        return f"{name} can't be used ({str(error).splitlines()[0]})"
    if free >= need_bytes:
        return ""
    have, of, need = (f"{value / _GIB:.1f}" for value in (free, total, need_bytes))
    return f"{name} has {have} of {of} GiB free, {need} needed"


def _built_for(capability: tuple[int, int], archs: Iterable[str]) -> bool:
    """Whether one of torch's architectures (`sm_86`, `compute_90`) runs on a GPU.

    Machine code (`sm`) runs on GPUs of the same major version and no lower minor one, `sm_90a` on
    9.0 alone; `compute` is translated for any later GPU. Other lists (ROCm's) aren't judged.
    """
    known = [match for arch in archs if (match := re.fullmatch(r"(sm|compute)_(\d+)(a?)f?", arch))]
    for kind, number, exact in (match.groups() for match in known):
        built = divmod(int(number), 10)
        later = capability >= built and not exact
        if built == capability or (later and (kind == "compute" or built[0] == capability[0])):
            return True
    return not known
