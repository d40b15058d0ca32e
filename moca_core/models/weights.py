"""The weights manager: which files are there, whether they are whole, and how they get here."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from moca_core import fileio, paths
from moca_core.errors import StorageError, WeightsError
from moca_core.models import sources
from moca_core.models.filelock import FileLock
from moca_core.models.sources import Archives, SourceError
from moca_core.models.specs import ROWS, Source, UrlSource, WeightsRow, row_named, rows_of

_log = logging.getLogger(__name__)

_CHUNK = 2**20
_ARCHIVES = ".archive"
_LOCK = ".lock"
_FOLDER_HINT = "Set MOCA_CACHE_DIR to a folder that you can write to."


class State(StrEnum):
    """What is known of a file in the cache."""

    MISSING = "missing"
    PARTIAL = "partly fetched"
    READY = "ready"
    DAMAGED = "damaged"


@dataclass(frozen=True)
class FetchEvent:
    """Progress of a fetch, and a place to stop.

    Attributes
    ----------
    name : the file.
    done, total : bytes; of the package archive while one is fetched, else of the file.
    source : where it comes from, in short: a host or a package; "" if it needs no source.
    note : what the user should know (a source is tried, or failed); "" if there is only progress.
    """

    name: str
    done: int
    total: int
    source: str = ""
    note: str = ""


def path_of(row: WeightsRow) -> Path:
    """Where the file of a row belongs."""
    return paths.weights_dir() / row.name


def part_of(row: WeightsRow) -> Path:
    """Where a fetch of the row keeps what it has so far."""
    path = path_of(row)
    return path.with_name(f"{path.name}.part")


def state(row: WeightsRow) -> State:
    """The state of a file by its size alone, which is quick; `verify` reads it."""
    path = path_of(row)
    if path.is_file():
        return State.READY if path.stat().st_size == row.size else State.DAMAGED
    return State.PARTIAL if part_of(row).is_file() else State.MISSING


def locate(name: str) -> Path:
    """Path of a weights file by its name.

    Raises
    ------
    WeightsError : it is missing or of the wrong size; the hint is the command that gets it.
    """
    row = row_named(name)
    if row is None:
        raise WeightsError(
            f"{name}: not a weights file of this program", "See `moca weights list`."
        )
    found = state(row)
    if found is not State.READY:
        raise WeightsError(
            f"{name} ({row.role}) is {found}",
            f"Run `moca weights get {row.bundle}`; without a network, `moca weights import FILE`.",
        )
    return path_of(row)


def missing(bundle: str) -> tuple[WeightsRow, ...]:
    """The rows of a bundle whose files aren't ready."""
    return tuple(row for row in rows_of(bundle) if state(row) is not State.READY)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def verify(rows: Iterable[WeightsRow]) -> Iterator[tuple[WeightsRow, State]]:
    """Read every file and compare its SHA-256; yields each row with what was found."""
    for row in rows:
        found = state(row)
        if found is State.READY and sha256_of(path_of(row)) != row.sha256:
            found = State.DAMAGED
        yield row, found


def fetch(rows: Iterable[WeightsRow]) -> Generator[FetchEvent, None, None]:
    """Fetch the files that are missing or damaged, each from the first source that gives it.

    Files that are here are read and checked. Closing the generator stops a transfer; what has
    come from an address is kept and continued by the next fetch. Of two fetches at once the
    second waits for the first. One file's failure doesn't stop the others.

    Raises
    ------
    WeightsError : after everything was tried, for the files that no source gave.
    StorageError : the disk is full, or the cache can't be written.
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
        raise _not_fetched([row for row in rows if row.name in failures], failures)


def _fetch_row(row: WeightsRow, archives: Archives) -> Generator[FetchEvent, None, str]:
    """Fetch one file if needed; returns "" or why every source failed."""
    if state(row) is State.READY:
        if sha256_of(path_of(row)) == row.sha256:
            yield FetchEvent(row.name, row.size, row.size)
            return ""
        yield FetchEvent(row.name, 0, row.size, note="damaged; fetching it again")
    reasons = []
    for source in row.sources:
        name = sources.label(source)
        yield FetchEvent(row.name, 0, row.size, name, f"from {name}")
        try:
            yield from _from_source(row, source, archives)
        except SourceError as error:
            reasons.append(f"{name}: {error}")
            _log.info("%s: %s: %s", row.name, name, error)
            yield FetchEvent(row.name, 0, row.size, name, f"{name}: {error}")
        else:
            yield FetchEvent(row.name, row.size, row.size, name)
            return ""
    return "; ".join(reasons) or "it has no source"


def _from_source(
    row: WeightsRow, source: Source, archives: Archives
) -> Generator[FetchEvent, None, None]:
    """Fetch one file from one source into the cache."""
    name = sources.label(source)
    if not isinstance(source, UrlSource):
        # The part of an address isn't touched: it may be continued if this source fails.
        whole = path_of(row).with_name(f"{row.name}.member")
        try:
            for done in archives.extract(source, whole, row.size):
                yield FetchEvent(row.name, done, source.size, name)
            _take(row, whole)
        finally:
            whole.unlink(missing_ok=True)
        return
    part = part_of(row)
    continued = part.exists()
    for done in sources.from_url(source, part, row.size):
        yield FetchEvent(row.name, done, row.size, name)
    try:
        _take(row, part)
    except SourceError:
        if not continued:
            raise
        # What was here may have been another file's bytes: once more from the start.
        yield FetchEvent(row.name, 0, row.size, name, "the part was damaged; starting again")
        for done in sources.from_url(source, part, row.size):
            yield FetchEvent(row.name, done, row.size, name)
        _take(row, part)


def _take(row: WeightsRow, whole: Path) -> None:
    """Move a fetched file into place if its SHA-256 is right, else remove it."""
    if sha256_of(whole) != row.sha256:
        whole.unlink()
        raise SourceError("what it gave isn't the file (SHA-256 differs)")
    whole.replace(path_of(row))
    part_of(row).unlink(missing_ok=True)


def _not_fetched(rows: list[WeightsRow], failures: dict[str, str]) -> WeightsError:
    first = rows[0]
    others = f" (and {len(rows) - 1} more files)" if len(rows) > 1 else ""
    return WeightsError(
        f"{first.name} can't be fetched{others}: {failures[first.name]}",
        f"Check the network and run `moca weights get {first.bundle}` again; it continues where "
        f"it stopped. Or bring the file from elsewhere: `moca weights import FILE` "
        f"({first.size} bytes, SHA-256 {first.sha256}).",
    )


def ensure_bundle(bundle: str, progress: Callable[[FetchEvent], None] | None = None) -> None:
    """Fetch what a bundle lacks; at once if all its files have their size.

    Raises
    ------
    WeightsError : no such bundle, or a file that no source gave.
    StorageError : see `fetch`.
    """
    if not rows_of(bundle):
        known = ", ".join(sorted({row.bundle for row in ROWS}))
        raise WeightsError(f"{bundle}: not a bundle", f"Use one of {known}.")
    for event in fetch(missing(bundle)):
        if progress is not None:
            progress(event)


def import_file(path: Path) -> WeightsRow:
    """Copy a file that the user has into the cache; its content says which one it is.

    Raises
    ------
    WeightsError : it isn't any of the files that the program uses.
    StorageError : it can't be read, or the cache can't be written.
    """
    try:
        size = path.stat().st_size
        alike = [row for row in ROWS if row.size == size]
        digest = sha256_of(path) if alike else ""
        row = next((row for row in alike if row.sha256 == digest), None)
        if row is None:
            why = f"its size is that of {alike[0].name}, its content isn't" if alike else ""
            raise WeightsError(
                f"{path}: not a weights file of this program ({why or f'{size} bytes'})",
                "`moca weights list` shows the files with their sizes.",
            )
        with path.open("rb") as source, fileio.atomic_write(path_of(row)) as target:
            while chunk := source.read(_CHUNK):
                target.write(chunk)
    except OSError as error:
        raise StorageError(
            f"{path}: can't be read ({error.strerror or error})", "Check the path."
        ) from error
    part_of(row).unlink(missing_ok=True)
    return row
