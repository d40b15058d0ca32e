"""The files in the cache: which are there, and whether they are what they were taken for.

A file whose SHA-256 was seen has a small record beside it (`.NAME.json`) with its size and time
of change. As long as both are the same, nothing is read again; a file that changed since is.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Generator, Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeVar, cast

from moca_core import fileio, paths
from moca_core.errors import MocaError, StorageError, WeightsError
from moca_core.models import specs
from moca_core.models.specs import WeightsRow

Value = TypeVar("Value")

_log = logging.getLogger(__name__)

_CHUNK = 2**20
_STEP = 2**24
"""Bytes read between two yields: some hundredths of a second."""


class State(StrEnum):
    """What is known of a file in the cache."""

    MISSING = "missing"
    PARTIAL = "partly fetched"
    READY = "ready"
    DAMAGED = "damaged"


@dataclass(frozen=True)
class Record:
    """What was found when a file was last read.

    Attributes
    ----------
    size, mtime_ns : of the file at that time; it is read again when either differs.
    sha256 : what it had then.
    accepted : what it should have, if that isn't the row's: of a file that the user brought, or of
        one whose official SHA-256 isn't known. "" for an official file.
    own : the user brought it, and it isn't the official file.
    """

    size: int
    mtime_ns: int
    sha256: str
    accepted: str = ""
    own: bool = False


@dataclass(frozen=True)
class CheckEvent:
    """Progress of `verify`: `done` bytes of the file of `row`; at its end with its `state`."""

    row: WeightsRow
    done: int
    state: State | None = None


def path_of(row: WeightsRow) -> Path:
    """Where the file of a row belongs."""
    return paths.weights_dir() / row.name


def part_of(row: WeightsRow) -> Path:
    """Where a fetch of the row keeps what it has so far."""
    path = path_of(row)
    return path.with_name(f"{path.name}.part")


def record_of(row: WeightsRow) -> Record | None:
    """What was found when the file was last read; None if it never was."""
    try:
        record = Record(**json.loads(_record_path(row).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    numbers = isinstance(record.size, int) and isinstance(record.mtime_ns, int)
    words = isinstance(record.sha256, str) and isinstance(record.accepted, str)
    return record if numbers and words else None


def keep_record(
    row: WeightsRow,
    sha256: str,
    accepted: str = "",
    own: bool = False,
    at: Path | None = None,
) -> None:
    """Note that the file of `row`, as it is now, has this SHA-256. See `Record`.

    `at` is where the file is until it gets its name: noted before that, a break in between leaves
    a file that is read again, and none that is believed.
    """
    found = (at or path_of(row)).stat()
    record = Record(found.st_size, found.st_mtime_ns, sha256, accepted, own)
    try:
        fileio.write_json(_record_path(row), asdict(record))
    except StorageError as error:
        if own:
            raise
        # A cache that is only read: its files are read again next time.
        _log.info("%s: no record kept: %s", row.name, error.message)


def _record_path(row: WeightsRow) -> Path:
    path = path_of(row)
    return path.with_name(f".{path.name}.json")


def state(row: WeightsRow) -> State:
    """The state of a file by its size and its record, which is quick; `verify` reads it."""
    path = path_of(row)
    if not path.is_file():
        return State.PARTIAL if part_of(row).is_file() else State.MISSING
    size, record = path.stat().st_size, record_of(row)
    if record is None:
        return State.READY if row.may_be(size) else State.DAMAGED
    if _is_unchanged(row, record):
        return State.READY if record.sha256 == _expected(row, record) else State.DAMAGED
    # Changed since it was read: by its size, until it is read again.
    same = record.size == size if record.accepted else row.may_be(size)
    return State.READY if same else State.DAMAGED


def is_own(row: WeightsRow) -> bool:
    """Whether the file that is here was brought by the user and isn't the official one."""
    record = record_of(row)
    return record is not None and record.own and path_of(row).is_file()


def is_checked(row: WeightsRow) -> bool:
    """Whether the file is ready and unchanged since it was last read."""
    record = record_of(row)
    return record is not None and _is_unchanged(row, record) and state(row) is State.READY


def _is_unchanged(row: WeightsRow, record: Record) -> bool:
    try:
        found = path_of(row).stat()
    except OSError:
        return False
    return (found.st_size, found.st_mtime_ns) == (record.size, record.mtime_ns)


def _expected(row: WeightsRow, record: Record | None) -> str:
    """The SHA-256 that the file should have; "" if nothing says it."""
    return (record.accepted if record else "") or row.sha256


def locate(name: str) -> Path:
    """Path of a weights file by its name.

    A file that changed since it was last read is read again: 4.8 GB take some seconds, once. One
    that never was (it was put there by hand) is taken by its size, unless its official SHA-256
    isn't known: then by its structure.

    Raises
    ------
    WeightsError : it is missing or not what it was; the hint is the command that gets it.
    """
    row = specs.row_named(name)
    if row is None:
        raise WeightsError(
            f"{name}: not a weights file of this program", "See `moca weights list`."
        )
    found, record = state(row), record_of(row)
    changed = not row.sha256 if record is None else not _is_unchanged(row, record)
    if found is State.READY and changed:
        _log.info("%s: reading it", name)
        found = drained(check_file(row))
    if found is not State.READY:
        raise WeightsError(f"{name} ({row.role}) is {found}", hint_for(row))
    return path_of(row)


def hint_for(row: WeightsRow) -> str:
    """How to get the file of a row."""
    alone = f"`moca weights get {row.name}`"
    get = alone if row.optional else f"`moca weights get {row.bundle}`, or {alone} for it alone"
    return f"Run {get}; without a network, `moca weights import FILE`."


def missing(bundle: str) -> tuple[WeightsRow, ...]:
    """The rows that a bundle can't run without and whose files aren't ready."""
    return tuple(row for row in specs.rows_of(bundle) if state(row) is not State.READY)


def hashed(path: Path) -> Generator[int, None, str]:
    """Read a file; yields the bytes so far now and then, returns its SHA-256 in hex."""
    digest = hashlib.sha256()
    done = told = 0
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            if done - told >= _STEP:
                told = done
                yield done
    return digest.hexdigest()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    return drained(hashed(path))


def hash_of(row: WeightsRow) -> str:
    """SHA-256 of the file of a row, read only if it changed since it was last read."""
    record = record_of(row)
    if record is not None and _is_unchanged(row, record):
        return record.sha256
    drained(check_file(row))
    fresh = record_of(row)
    return fresh.sha256 if fresh and _is_unchanged(row, fresh) else sha256_of(path_of(row))


def verify(rows: Iterable[WeightsRow]) -> Generator[CheckEvent, None, None]:
    """Read every file and compare its SHA-256; the last event of each row has what was found."""
    for row in rows:
        found = state(row)
        if found is State.READY:
            found = yield from _reported(row)
        size = path_of(row).stat().st_size if path_of(row).is_file() else 0
        yield CheckEvent(row, size, found)


def _reported(row: WeightsRow) -> Generator[CheckEvent, None, State]:
    reading = check_file(row)
    while True:
        try:
            yield CheckEvent(row, next(reading))
        except StopIteration as end:
            return cast(State, end.value)


def check_file(row: WeightsRow) -> Generator[int, None, State]:
    """Read a file that is here and keep what was found; yields the bytes so far.

    Raises `StorageError` if it can't be read.
    """
    path, record = path_of(row), record_of(row)
    try:
        sha256 = yield from hashed(path)
    except OSError as error:
        raise StorageError(
            f"{path}: can't be read ({error.strerror or error})", "Check the file and its disk."
        ) from error
    expected = _expected(row, record)
    if not expected:
        # First sight of a file whose official SHA-256 nobody knows.
        from moca_core.models import structure

        try:
            structure.check(row.name, path)
        except MocaError as error:
            _log.info("%s: %s", row.name, error.message)
            keep_record(row, sha256)  # which is none that is accepted: a fetch replaces the file
            return State.DAMAGED
        expected = sha256
    accepted = "" if expected == row.sha256 else expected
    keep_record(row, sha256, accepted, record.own if record else False)
    return State.READY if sha256 == expected else State.DAMAGED


def drained(steps: Generator[object, None, Value]) -> Value:
    """The value of a generator whose steps nobody watches."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return cast(Value, end.value)
