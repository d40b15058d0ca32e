"""Taking weights files that the user has: the official ones, and others of the same structure."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from moca_core import paths
from moca_core.errors import StorageError, WeightsError
from moca_core.models import specs, structure
from moca_core.models.specs import WeightsRow
from moca_core.models.stored import drained, hashed, keep_record, part_of, path_of
from moca_core.models.weights import FetchEvent, ensure_space

_CHUNK = 2**20
_STEP = 2**24
_LEFT_S = 600.0
"""Seconds without growth after which an unfinished copy is nobody's."""
_FICLONE = 0x40049409
"""Linux: a copy that shares its blocks with the original until either is written."""
_LIST_HINT = (
    "`moca weights list` shows the files with their sizes. A checkpoint of your own is taken with "
    "`moca weights import FILE --as NAME`."
)
_CACHE_HINT = "Free some space, or set MOCA_CACHE_DIR to a folder that has more, or use --link."


def import_file(path: Path, name: str = "", link: bool = False) -> WeightsRow:
    """Take a file at once; see `take`."""
    return drained(take(path, name, link))


def take(path: Path, name: str = "", link: bool = False) -> Generator[FetchEvent, None, WeightsRow]:
    """Copy a file into the cache; closing the generator leaves everything as it was.

    Parameters
    ----------
    name : the weights file that it stands for. It may be any checkpoint of that model (re-saved,
        tuned, random): names and shapes are checked. "": only official files are taken, their
        size and SHA-256 say which one it is.
    link : put a link to the file instead of a copy. If the file changes later, it is refused.

    Returns
    -------
    The row of the file. `weights.is_own` tells whether it is another than the official one.

    Raises
    ------
    WeightsError : it isn't any of the files that the program uses, or not of that structure.
    StorageError : it can't be read, or the cache can't be written.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise StorageError(
            f"{path}: can't be read ({error.strerror or error})", "Check the path."
        ) from error
    if not path.is_file():
        raise WeightsError(f"{path}: not a file", "Give the path of a weights file.")
    rows = _candidates(path, size, name)
    if name:
        structure.check(name, path)
    folder = paths.weights_dir()
    with _temporary(folder) as whole:
        inside = next((row for row in rows if _is_same(path, path_of(row))), None)
        reading = hashed(path) if link or inside else _copied(path, whole, size)
        sha256 = yield from _reported(path, size, reading)
        row = _chosen(rows, sha256, path, name)
        accepted = "" if sha256 == row.sha256 else sha256
        own = bool(accepted and row.sha256)
        if inside is None:
            if link:
                whole.symlink_to(path.resolve())
            keep_record(row, sha256, accepted, own, at=whole)
            whole.replace(path_of(row))
        else:
            keep_record(row, sha256, accepted, own)
    part_of(row).unlink(missing_ok=True)
    yield FetchEvent(row.name, size, size)
    return row


def _candidates(path: Path, size: int, name: str) -> list[WeightsRow]:
    """The rows that a file of this size may be, or the one that is named."""
    if name:
        row = specs.row_named(name)
        if row is None:
            raise WeightsError(
                f"{name}: not a weights file of this program",
                f"Use one of {', '.join(structure.checkable())}.",
            )
        return [row]
    rows = [row for row in specs.ROWS if row.may_be(size)]
    if not rows:
        raise WeightsError(f"{path}: not a weights file of this program ({size} bytes)", _LIST_HINT)
    return rows


def _chosen(rows: list[WeightsRow], sha256: str, path: Path, name: str) -> WeightsRow:
    """The row whose file it is."""
    for row in rows:
        if name or row.sha256 == sha256:
            return row
    for row in rows:
        if not row.sha256:
            structure.check(row.name, path)
            return row
    raise WeightsError(
        f"{path}: not a weights file of this program (its size is that of {rows[0].name}, its "
        "content isn't)",
        _LIST_HINT,
    )


def _reported(
    path: Path, size: int, reading: Generator[int, None, str]
) -> Generator[FetchEvent, None, str]:
    yield FetchEvent(path.name, 0, size)
    try:
        while True:
            try:
                done = next(reading)
            except StopIteration as end:
                return str(end.value)
            yield FetchEvent(path.name, done, size)
    except OSError as error:
        raise StorageError(
            f"{path}: can't be read ({error.strerror or error})", "Check the file and its disk."
        ) from error


def _copied(path: Path, whole: Path, size: int) -> Generator[int, None, str]:
    """Copy a file; yields the bytes so far, returns the SHA-256 of what was written."""
    with path.open("rb") as source, _written(whole) as target:
        if _cloned(source, target):
            return (yield from hashed(whole))
        ensure_space(whole.parent, size)
        digest, done, told = hashlib.sha256(), 0, 0
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            with _storing(whole):
                target.write(chunk)
            done += len(chunk)
            if done - told >= _STEP:
                told = done
                yield done
        with _storing(whole):
            target.flush()
            os.fsync(target.fileno())
    return digest.hexdigest()


def _cloned(source: IO[bytes], target: IO[bytes]) -> bool:
    """Let the file system make the copy, where it can: no time, no space."""
    if sys.platform != "linux":
        return False
    import fcntl

    try:
        fcntl.ioctl(target.fileno(), _FICLONE, source.fileno())
    except OSError:
        return False
    return True


@contextmanager
def _temporary(folder: Path) -> Iterator[Path]:
    """A name in a folder for a file that isn't finished; whatever has it at the end is removed."""
    with _storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _clear_left(folder)
    whole = folder / f".import.{secrets.token_hex(4)}.tmp"
    try:
        with _storing(folder):
            yield whole
    finally:
        with contextlib.suppress(OSError):
            whole.unlink(missing_ok=True)


def _clear_left(folder: Path) -> None:
    """Remove what imports left that were killed: 4.8 GB that nobody would find."""
    for path in folder.glob(".import.*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - path.lstat().st_mtime > _LEFT_S:
                path.unlink()


@contextmanager
def _written(whole: Path) -> Iterator[IO[bytes]]:
    with _storing(whole):
        stream = whole.open("xb")
    with stream:
        yield stream


@contextmanager
def _storing(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{place}: can't be written ({error.strerror or error})", _CACHE_HINT
        ) from error


def _is_same(path: Path, stored: Path) -> bool:
    """Whether a file is in its place already, itself and not by a link."""
    try:
        return path.samefile(stored) and not stored.is_symlink()
    except OSError:
        return False
