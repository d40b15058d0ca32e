"""The weights as the window sees them: rows with a state, and a generator that fetches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class WeightRow:
    """One weights file: its name, size in bytes, licence, and whether it is here."""

    name: str
    size_bytes: int
    licence: str
    present: bool


@dataclass(frozen=True)
class FetchProgress:
    """`done` of `total` bytes of the file `name`; `text` says what happens."""

    name: str
    done: int
    total: int
    text: str = ""


class WeightsSource(Protocol):
    """Where the dialog looks and fetches from."""

    def rows(self) -> list[WeightRow]:
        """The files of the default bundle; quick enough for the GUI thread."""
        ...

    def fetch(self) -> Iterator[FetchProgress]:
        """Fetch what is missing; a stop between two yields keeps what has come so far."""
        ...


class ManagedWeights:
    """The weights manager of the core."""

    def rows(self) -> list[WeightRow]:
        """The files of the default bundle."""
        raise NotImplementedError

    def fetch(self) -> Iterator[FetchProgress]:
        """Fetch what is missing."""
        raise NotImplementedError
        yield
