"""What was found out about files, kept from run to run by their content's name, size and time."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
from pathlib import Path
from types import TracebackType

from moca_core import paths

_LIMIT_BYTES = 4 * 2**30
_HELD = 256
"""Entries that wait to be written together."""
_PATIENCE_S = 30.0


class Memory:
    """Small values by key in a SQLite file: a run that is killed leaves what it wrote whole.

    It is a convenience: where the file can't be written, or is damaged, nothing is remembered and
    nothing fails.

    Parameters
    ----------
    path : the file, made if it isn't there; None remembers until it is closed.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._waiting: dict[bytes, bytes] = {}
        self._base = _opened(path)

    def get(self, key: bytes) -> bytes | None:
        """The value of a key, None if it isn't known."""
        if key in self._waiting:
            return self._waiting[key]
        with contextlib.suppress(sqlite3.Error):
            row = self._base.execute("SELECT value FROM known WHERE key = ?", (key,)).fetchone()
            return None if row is None else bytes(row[0])
        return None

    def put(self, key: bytes, value: bytes) -> None:
        """Remember a value."""
        self._waiting[key] = value
        if len(self._waiting) >= _HELD:
            self.commit()

    def commit(self) -> None:
        """Write what waits, all of it or nothing."""
        with contextlib.suppress(sqlite3.Error), self._base:
            self._base.executemany(
                "INSERT OR REPLACE INTO known VALUES (?, ?)", self._waiting.items()
            )
        self._waiting.clear()

    def close(self) -> None:
        """Write what waits, and close the file. May be called twice."""
        if self._waiting:
            self.commit()
        self._base.close()

    def __enter__(self) -> Memory:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def remembered(kind: str, root: Path) -> Memory:
    """What is known of `kind` about the data in a folder, from the cache of this user.

    Files of other folders that weren't used for longest go when all take more than 4 GiB.
    """
    name = hashlib.sha256(os.fsencode(root.absolute())).hexdigest()[:16]
    folder = paths.cache_dir() / "training"
    path = folder / f"{kind}-{name}.sqlite"
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        if path.exists():
            os.utime(path)
        _prune(folder, path)
    return Memory(path)


def stamp(path: Path) -> str | None:
    """A file's name, size and time of change in a text; None if it isn't there."""
    try:
        facts = path.stat()
    except (OSError, ValueError):
        return None
    return f"{path.absolute()}|{facts.st_size}|{facts.st_mtime_ns}"


def key_of(*parts: object) -> bytes:
    """A short key for values that have a text."""
    text = "\0".join(map(str, parts)).encode("utf-8", "surrogateescape")
    return hashlib.blake2b(text, digest_size=16).digest()


def _opened(path: Path | None) -> sqlite3.Connection:
    if path is not None:
        with contextlib.suppress(sqlite3.Error):
            return _with_table(path)
        with contextlib.suppress(OSError, sqlite3.Error):
            # Damaged: it holds nothing that can't be found out again.
            path.unlink(missing_ok=True)
            return _with_table(path)
    return _with_table(None)


def _with_table(path: Path | None) -> sqlite3.Connection:
    base = sqlite3.connect(path or ":memory:", timeout=_PATIENCE_S)
    try:
        base.execute(
            "CREATE TABLE IF NOT EXISTS known (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID"
        )
        base.execute("SELECT value FROM known LIMIT 1").fetchone()
    except sqlite3.Error:
        base.close()
        raise
    return base


def _prune(folder: Path, own: Path) -> None:
    found = sorted(
        (facts.st_mtime_ns, facts.st_size, path)
        for path in folder.glob("*.sqlite")
        if path != own and (facts := path.stat())
    )
    total = sum(size for _, size, _ in found)
    for _, size, path in found:
        if total <= _LIMIT_BYTES:
            return
        total -= size
        path.unlink(missing_ok=True)
