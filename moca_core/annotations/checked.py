"""Reading what anybody may have written: bounded in size before it is decoded, checked by type."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

from moca_core.fileio import is_finite, parse_json

DAMAGE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError)
"""What reading fields of JSON raises where they aren't what they should be."""

_MOST_VALUES = 4_000_000
_MOST_NUMBER = 2**31


def read_bounded(path: Path, most: int) -> bytes:
    """A file's content; raises `ValueError` if it is longer than `most` bytes, and `OSError`."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("not a file")  # reading a pipe or a device could wait forever
    with path.open("rb") as stream:
        data = stream.read(most + 1)
    if len(data) > most:
        raise ValueError(f"more than {most} bytes")
    return data


def parse_bounded(data: bytes) -> Any:
    """What JSON says; raises `ValueError` also where it would take much more memory than bytes."""
    # Each value but the first of a list or object follows a comma.
    if data.count(b",") > _MOST_VALUES:
        raise ValueError(f"more than {_MOST_VALUES} values")
    return parse_json(data.decode())


def whole(value: object, least: int = 0, most: int = _MOST_NUMBER) -> int:
    """A whole number within bounds, both inside; raises `ValueError` as all below."""
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{shown(value)} in place of a number")
    return value


def number(value: Any) -> float:
    """A finite number."""
    if not is_finite(value):
        raise ValueError(f"{shown(value)} in place of a number")
    return float(value)


def finite(value: float) -> float:
    """A number for JSON, which knows no others; 0 for one that is infinite or none."""
    return float(value) if is_finite(float(value)) else 0.0


def words(value: object) -> str:
    """A string."""
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} in place of words")
    return value


def truth(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{shown(value)} in place of true or false")
    return value


def shown(value: object) -> str:
    """The beginning of a value, for a message."""
    return f"{value!r:.40}"
