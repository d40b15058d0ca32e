"""How the C library keeps the memory that encoders free and ask for again."""

from __future__ import annotations

import ctypes
import logging
import platform

_log = logging.getLogger(__name__)

# Parameters of glibc's mallopt (malloc.h).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_MIB = 2**20


def keep_freed_memory() -> bool:
    """Let freed memory stay with the process; returns False where there is nothing to set.

    glibc gets every block above some size from the system and gives it back at once when it is
    freed. An encoder does that for each layer, and the system has to fill each page with zeros
    again: an eighth of the time of a key frame. Blocks up to 64 MiB come from the heap now, which
    keeps up to 256 MiB of them. The results are the same to the bit.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError) as error:
        _log.debug("mallopt can't be called (%s)", error)
        return False
    settings = (
        (_MMAP_THRESHOLD, 64 * _MIB),
        (_TRIM_THRESHOLD, 256 * _MIB),
        (_TOP_PAD, 16 * _MIB),
    )
    return all(mallopt(name, value) == 1 for name, value in settings)


def give_back() -> bool:
    """Return freed memory to the system after all, such as that of encoders that are gone."""
    if platform.libc_ver()[0] != "glibc":
        return False
    try:
        return bool(ctypes.CDLL(None).malloc_trim(0))
    except (OSError, AttributeError) as error:
        _log.debug("malloc_trim can't be called (%s)", error)
        return False
