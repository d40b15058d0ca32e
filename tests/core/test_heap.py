"""Memory that is freed stays with the process: counted in pages that the system had to fill."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from moca_core.heap import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()
np.zeros(1)

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def fill(times):
    for _ in range(times):
        np.ones(48 * 2**20, dtype=np.uint8)

fill(2)
before = faults()
fill(20)
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries aren't set")
def test_blocks_are_used_again() -> None:
    """Twenty blocks of 48 MiB cost no new pages, and without the setting one by one.

    A page is 4 KiB, or 2 MiB where the system hands out large ones unasked.
    """

    def pages(mode: str) -> int:
        command = [sys.executable, "-c", PROGRAM, mode]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        return int(done.stdout)

    assert pages("keep") < 20
    assert pages("leave") >= 20 * 24


GIVE_BACK = """
import os
import numpy as np
from moca_core.heap import give_back, keep_freed_memory

assert keep_freed_memory()

def resident():
    with open("/proc/self/statm") as stream:
        return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

blocks = [np.ones(2**20, dtype=np.uint8) for _ in range(300)]
last = np.ones(2**20, dtype=np.uint8)  # keeps the end of the heap where it is
del blocks
before = resident()
assert give_back()
print(before - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries aren't asked")
def test_freed_blocks_go_back_when_asked() -> None:
    """Of 300 MiB that were freed and kept by the heap, nearly all."""
    command = [sys.executable, "-c", GIVE_BACK]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) > 250 * 2**20


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without glibc nothing is called."""
    from moca_core import heap

    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.delattr("ctypes.CDLL")
    assert heap.keep_freed_memory() is False
    assert heap.give_back() is False
