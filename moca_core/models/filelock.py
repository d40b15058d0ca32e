"""A lock between processes on one machine; the system frees it when its holder ends."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Self


class FileLock:
    """An exclusive lock on a small file that stays where it is.

    Raises
    ------
    OSError : the file can't be made.
    """

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)

    def acquire(self, wait_s: float = 0.2) -> bool:
        """Try to take the lock; waits `wait_s` and returns False if another holds it."""
        if _try_lock(self._handle):
            return True
        time.sleep(wait_s)
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)


if sys.platform == "win32":
    import msvcrt

    def _try_lock(handle: int) -> bool:
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            # Some network file systems know no locks: going on without one is better than not.
            return True
        return True
