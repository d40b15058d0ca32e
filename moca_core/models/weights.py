"""The weights manager: how the files of the encoders get here. What is here is in `stored`."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path

from moca_core import paths
from moca_core.errors import MocaError, StorageError, WeightsError
from moca_core.models import sources, specs
from moca_core.models.filelock import FileLock
from moca_core.models.sources import Archives, SourceError
from moca_core.models.specs import ArchiveSource, Source, UrlSource, WeightsRow
from moca_core.models.stored import (
    CheckEvent,
    State,
    check_file,
    hash_of,
    hashed,
    hint_for,
    is_checked,
    is_own,
    keep_record,
    locate,
    missing,
    part_of,
    path_of,
    sha256_of,
    state,
    verify,
)

__all__ = [
    "CheckEvent",
    "FetchEvent",
    "State",
    "ensure_bundle",
    "ensure_space",
    "fetch",
    "hash_of",
    "hint_for",
    "is_checked",
    "is_own",
    "locate",
    "missing",
    "part_of",
    "path_of",
    "sha256_of",
    "state",
    "verify",
]

_log = logging.getLogger(__name__)

_ARCHIVES = ".archive"
_LOCK = ".lock"
_FOLDER_HINT = "Set MOCA_CACHE_DIR to a folder that you can write to."
_SPARE = 50_000_000
"""Bytes that are to stay free."""


@dataclass(frozen=True)
class FetchEvent:
    """Progress of a fetch or of an import, and a place to stop.

    Attributes
    ----------
    name : the file.
    done, total : bytes; of the package archive while one is fetched, else of the file.
    source : where it comes from, in short: a host or a package; "" while a file that is here is
        read.
    note : what the user should know (a source is tried, or failed); "" if there is only progress.
    """

    name: str
    done: int
    total: int
    source: str = ""
    note: str = ""


def fetch(rows: Iterable[WeightsRow]) -> Generator[FetchEvent, None, None]:
    """Fetch the files that are missing or damaged, each from the first source that gives it.

    Files that are here are read, unless they are as they were when last read. Closing the
    generator stops a transfer; what has come from an address is kept and continued by the next
    fetch. Of two fetches at once the second waits for the first. One file's failure doesn't stop
    the others.

    Raises
    ------
    WeightsError : after everything was tried, for the files that no source gave.
    StorageError : the disk hasn't the space or is full, or the cache can't be written.
    """
    rows = tuple(rows)
    folder = paths.weights_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / _LOCK)
    except OSError as error:
        raise StorageError(
            f"{folder}: can't be written ({error.strerror or error})", _FOLDER_HINT
        ) from error
    archives = Archives(folder / _ARCHIVES)
    failures: dict[str, str] = {}
    with lock:
        note = "another process is fetching; waiting for it"
        while rows and not lock.acquire():
            yield FetchEvent(rows[0].name, 0, rows[0].size, note=note)
            note = ""
        try:
            ensure_space(folder, _needed(row for row in rows if state(row) is not State.READY))
            for row in rows:
                reasons = yield from _fetch_row(row, archives)
                if reasons:
                    failures[row.name] = reasons
        except OSError as error:
            # Whatever it is (a full disk, a folder in a file's place), no other source mends it.
            raise StorageError(
                f"{error.filename or folder}: can't be used ({error.strerror or error})",
                _FOLDER_HINT,
            ) from error
        finally:
            archives.clear()
    if failures:
        failed = [row for row in rows if row.name in failures]
        raise _not_fetched(failed, failures, alone=len(rows) == 1)


def _fetch_row(row: WeightsRow, archives: Archives) -> Generator[FetchEvent, None, str]:
    """Fetch one file if needed; returns "" or why every source failed."""
    if state(row) is State.READY and not is_checked(row):
        yield FetchEvent(row.name, 0, row.size)
        reading = check_file(row)
        for done in reading:
            yield FetchEvent(row.name, min(done, row.size), row.size)
    if state(row) is State.READY:
        yield FetchEvent(row.name, row.size, row.size)
        return ""
    if path_of(row).is_file():
        yield FetchEvent(row.name, 0, row.size, note="damaged; fetching it again")
        ensure_space(path_of(row).parent, _needed([row]))
    reasons = []
    for source in row.sources:
        name = sources.label(source)
        yield FetchEvent(row.name, 0, row.size, name, f"from {name}")
        try:
            last = yield from _from_source(row, source, archives)
        except SourceError as error:
            reasons.append(f"{name}: {error}")
            _log.info("%s: %s: %s", row.name, name, error)
            yield FetchEvent(row.name, 0, row.size, name, f"{name}: {error}")
        else:
            yield FetchEvent(row.name, last, last, name)
            return ""
    return "; ".join(reasons) or "it has no source"


def _from_source(
    row: WeightsRow, source: Source, archives: Archives
) -> Generator[FetchEvent, None, int]:
    """Fetch one file from one source into the cache; returns the bytes that were to come."""
    name = sources.label(source)
    if isinstance(source, ArchiveSource):
        # The part of an address isn't touched: it may be continued if this source fails.
        whole = path_of(row).with_name(f"{row.name}.member")
        total = row.size
        try:
            for done in archives.extract(source, whole, row.size):
                total = source.size
                yield FetchEvent(row.name, done, total, name)
            yield from _take(row, whole)
        finally:
            whole.unlink(missing_ok=True)
        return total
    part = part_of(row)
    continued = part.exists()
    yield from _transfer(row, source, name)
    try:
        yield from _take(row, part)
    except SourceError:
        if not continued:
            raise
        # What was here may have been another file's bytes: once more from the start.
        yield FetchEvent(row.name, 0, row.size, name, "the part was damaged; starting again")
        yield from _transfer(row, source, name)
        yield from _take(row, part)
    return row.size


def _transfer(row: WeightsRow, source: UrlSource, name: str) -> Generator[FetchEvent, None, None]:
    size = row.size if row.sha256 else 0  # 0: whatever the address offers
    for done in sources.from_url(source, part_of(row), size):
        yield FetchEvent(row.name, min(done, row.size), row.size, name)


def _take(row: WeightsRow, whole: Path) -> Generator[FetchEvent, None, None]:
    """Move a fetched file into place if it is the right one, else remove it."""
    reading = hashed(whole)
    while True:
        try:
            yield FetchEvent(row.name, min(next(reading), row.size), row.size)
        except StopIteration as end:
            sha256 = end.value
            break
    try:
        _judge(row, whole, sha256)
    except SourceError:
        whole.unlink()
        raise
    keep_record(row, sha256, "" if row.sha256 else sha256, at=whole)
    whole.replace(path_of(row))
    part_of(row).unlink(missing_ok=True)


def _judge(row: WeightsRow, whole: Path, sha256: str) -> None:
    """Raise `SourceError` unless a fetched file is that of the row."""
    if row.sha256:
        if sha256 != row.sha256:
            raise SourceError("what it gave isn't the file (SHA-256 differs)")
        return
    from moca_core.models import structure

    try:
        structure.check(row.name, whole)
    except MocaError as error:
        raise SourceError(f"what it gave isn't the file ({error.message})") from error


def _needed(rows: Iterable[WeightsRow]) -> int:
    """Bytes that fetching rows takes on the disk, at most.

    Archives are counted where they are the first source; pip holds two copies for a moment.
    """
    total = archive = 0
    for row in rows:
        part = part_of(row)
        kept = part.stat().st_size if part.is_file() else 0
        total += max(0, row.size - kept)
        if row.sources and isinstance(row.sources[0], ArchiveSource):
            archive = max(archive, 2 * row.sources[0].size)
    return total + archive


def ensure_space(folder: Path, needed: int) -> None:
    """Raise `StorageError` unless the disk of a folder has `needed` bytes, and some to spare."""
    free = shutil.disk_usage(folder).free
    if needed and free < needed + _SPARE:
        raise StorageError(
            f"{folder}: {_gigabytes(needed)} are needed there, and {_gigabytes(free)} are free",
            "Free some space, or set MOCA_CACHE_DIR to a folder on a larger disk.",
        )


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB"


def _not_fetched(rows: list[WeightsRow], failures: dict[str, str], alone: bool) -> WeightsError:
    first = rows[0]
    others = f" (and {len(rows) - 1} more files)" if len(rows) > 1 else ""
    asked = first.name if alone else first.bundle
    known = f"{first.size} bytes, SHA-256 {first.sha256}" if first.sha256 else first.upstream
    addresses = [source.url for source in first.sources if isinstance(source, UrlSource)]
    where = f" ({addresses[0]})" if addresses else ""
    return WeightsError(
        f"{first.name} can't be fetched{others}: {failures[first.name]}",
        f"Check the network and run `moca weights get {asked}` again; it continues where it "
        f"stopped. Or fetch the file elsewhere{where} and bring it: `moca weights import FILE` "
        f"({known}).",
    )


def ensure_bundle(bundle: str, progress: Callable[[FetchEvent], None] | None = None) -> None:
    """Fetch what a bundle lacks; at once if all its files have their size.

    Raises
    ------
    WeightsError : no such bundle, or a file that no source gave.
    StorageError : see `fetch`.
    """
    if not specs.rows_of(bundle):
        known = ", ".join(sorted({row.bundle for row in specs.ROWS}))
        raise WeightsError(f"{bundle}: not a bundle", f"Use one of {known}.")
    for event in fetch(missing(bundle)):
        if progress is not None:
            progress(event)
