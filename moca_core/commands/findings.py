"""What a check of `moca doctor` says: one line of its table."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """How a finding is to be taken; only `FAIL` makes the command's exit code 1."""

    OK = "ok"
    INFO = "info"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True)
class Finding:
    """One line of the table: what was looked at, what was found, and what to do about it."""

    status: Status
    name: str
    found: str
    remedy: str = ""
