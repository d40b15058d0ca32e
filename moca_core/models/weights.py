"""The weights manager: which files are there, whether they are whole, and where to get them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path

from moca_core import paths
from moca_core.errors import WeightsError
from moca_core.models.specs import WeightsRow, row_named, rows_of

_CHUNK = 2**20


class State(StrEnum):
    """What is known of a file in the cache."""

    MISSING = "missing"
    PARTIAL = "partly fetched"
    READY = "ready"
    DAMAGED = "damaged"


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
