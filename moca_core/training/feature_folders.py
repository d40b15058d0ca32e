"""The folders of kept features: how much they hold, which are in use, and which give way.

Each set of encoders and data has a folder of its own, so that what isn't used any more can go as a
whole. All of them together are bounded: the least recently used ones make room for new features,
never one that a run has open, on this machine or on another one that shares the disk.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from moca_core import paths
from moca_core.errors import ConfigError
from moca_core.models.filelock import FileLock

LIMIT = "MOCA_FEATURES_GB"
"""Environment variable: how many GB all folders may take together."""
_LIMIT_GB = 32.0
_GRACE_S = 3600.0
"""A folder that was used so recently stays: some network disks know no locks."""
_TOUCH_S = 600.0
_GATE = ".features.lock"
_GATE_TURNS = 50
_USED, _HOLDERS, _REMOVED = ".used", "*.use", ".removed-"


@dataclass(frozen=True)
class FeatureFolder:
    """A folder of features, its bytes on disk, and when it was used last (`time.time`)."""

    path: Path
    size: int
    used_s: float


class InUse:
    """Keeps a folder, which it makes, from being removed until it is closed.

    Raises
    ------
    OSError : the folder can't be made or written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / f"{secrets.token_hex(4)}.use"
        with ExitStack() as held:
            with _gate(folder.parent):
                folder.mkdir(parents=True, exist_ok=True)
                held.enter_context(FileLock(self._path)).acquire(0)
                self._touch()
            self._held = held.pop_all()

    def touch(self) -> None:
        """Say that the folder is used; often enough that it never looks forgotten."""
        if time.time() - self._touched_s > _TOUCH_S:
            self._touch()

    def close(self) -> None:
        """Let go. May be called twice."""
        self._held.close()
        self._path.unlink(missing_ok=True)

    def _touch(self) -> None:
        self._touched_s = time.time()
        with suppress(OSError):
            (self._folder / _USED).touch()


def features_root() -> Path:
    """The folder that holds them all."""
    return paths.cache_dir() / "training"


def folder_of(encoders: str, data: Path) -> Path:
    """Where features of the data in a folder go that were made by `encoders`."""
    name = hashlib.sha256(os.fsencode(data.absolute())).hexdigest()[:8]
    return features_root() / f"features-{encoders}-{name}"


def limit_bytes() -> int:
    """How much all folders may take together; raises `ConfigError`."""
    text = os.environ.get(LIMIT, "")
    try:
        limit = float(text) if text else _LIMIT_GB
    except ValueError:
        limit = -1.0
    if not 0 <= limit < float("inf"):
        raise ConfigError(f"{LIMIT} = {text!r}", f"Use a number of GB, such as {_LIMIT_GB:g}.")
    return int(limit * 1e9)


def feature_folders(root: Path | None = None) -> list[FeatureFolder]:
    """All of them, the least recently used first."""
    found = []
    for path in (root or features_root()).glob("features-*"):
        with suppress(OSError):  # it may be going just now
            if path.is_dir():
                found.append(FeatureFolder(path, _size(path), _used_s(path)))
    return sorted(found, key=lambda folder: folder.used_s)


def make_room(own: Path, needed: int) -> None:
    """Remove what wasn't used for longest until `needed` more bytes fit into limit and disk.

    The folder `own` itself stays, however large it is, and so do those that are in use. Where this
    isn't enough nothing is said: a limit that one data set exceeds must not end its run.
    """
    with suppress(OSError):
        for left in own.parent.glob(f"{_REMOVED}*"):
            shutil.rmtree(left, ignore_errors=True)  # of a removal that was killed
        folders = feature_folders(own.parent)
        taken = sum(folder.size for folder in folders) + needed
        excess = max(taken - limit_bytes(), needed - shutil.disk_usage(own.parent).free)
        for folder in folders:
            if excess <= 0:
                return
            forgotten = time.time() - folder.used_s > _GRACE_S
            if folder.path != own and forgotten and remove(folder.path):
                excess -= folder.size


def is_used(folder: Path) -> bool:
    """Whether a process has a folder open."""
    for path in folder.glob(_HOLDERS):
        with suppress(OSError), FileLock(path) as lock:
            if not lock.acquire(0):
                return True
            path.unlink(missing_ok=True)  # its holder was killed
    return False


def remove(folder: Path) -> bool:
    """Remove a folder of features unless it is in use; returns whether it has gone."""
    gone = folder.with_name(f"{_REMOVED}{secrets.token_hex(4)}")
    try:
        with _gate(folder.parent) as passed:
            if not passed or is_used(folder):
                return False
            folder.rename(gone)  # at once: nobody finds half of it
    except OSError:
        return False
    shutil.rmtree(gone, ignore_errors=True)
    return True


@contextmanager
def _gate(root: Path) -> Iterator[bool]:
    """One process at a time opens or removes a folder; False after seconds of waiting."""
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / _GATE) as lock:
        yield any(lock.acquire(0.1) for _ in range(_GATE_TURNS))


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def _used_s(folder: Path) -> float:
    marker = folder / _USED
    return (marker if marker.exists() else folder).stat().st_mtime
