"""Writing files so that a failure leaves the last good state."""

from __future__ import annotations

import json
import math
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from moca_core.errors import StorageError


@contextmanager
def atomic_write(path: Path, sync: bool = True) -> Iterator[IO[bytes]]:
    """Open a temporary file beside `path`; on a clean exit flush it and rename it into place.

    Parameters
    ----------
    sync : wait until the disk has it, so that a power cut leaves the old or the new content.

    Raises
    ------
    StorageError : the folder can't be written, or the disk is full. `path` keeps its old content.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not by tempfile, whose files nobody else may read.
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        with temporary.open("xb") as stream:
            yield stream
            stream.flush()
            if sync:
                os.fsync(stream.fileno())
        temporary.replace(path)
        temporary = None
    except OSError as error:
        raise StorageError(
            f"{path}: can't be written ({error.strerror or error})",
            "Check the free space and the permissions of the folder, or choose another one.",
        ) from error
    finally:
        if temporary is not None:
            # Of a name that is too long there can't be a file either.
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes, sync: bool = True) -> None:
    """Write `data` to `path` atomically, as `atomic_write`; raises `StorageError`."""
    with atomic_write(path, sync) as stream:
        stream.write(data)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON to `path` atomically; raises `StorageError`."""
    text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
    # A file's name may hold bytes that aren't text; what stands in for them is JSON as well.
    write_bytes(path, text.encode(errors="backslashreplace"))


def parse_json(text: str | bytes) -> Any:
    """What JSON says; raises `ValueError` for all else, also where brackets nest too deep."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("too many brackets") from error


def is_finite(value: object) -> bool:
    """True of a number of JSON that is neither infinite nor "not a number", nor too great."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float can hold
        return False
