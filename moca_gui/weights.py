"""The weights as the window sees them: rows with a state, and generators that bring them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

DEFAULT_BUNDLE = "compact"


@dataclass(frozen=True)
class WeightRow:
    """One weights file.

    Attributes
    ----------
    name : its file name.
    size_bytes : of the whole file.
    licence : under what terms it comes.
    present : whether it is here, by its size.
    role : what it is for.
    state : `ready`, `missing`, `partly fetched` or `damaged`.
    """

    name: str
    size_bytes: int
    licence: str
    present: bool
    role: str = ""
    state: str = ""


@dataclass(frozen=True)
class FetchProgress:
    """`done` of `total` bytes for the file `name`, from `source`; `text` says what happens."""

    name: str
    done: int
    total: int
    text: str = ""
    source: str = ""


class WeightsSource(Protocol):
    """Where the dialog looks and fetches from."""

    def rows(self) -> list[WeightRow]:
        """The files of the default bundle; quick enough for the GUI thread."""
        ...

    def fetch(self) -> Iterator[FetchProgress]:
        """Fetch what is missing; a stop between two yields keeps what has come so far."""
        ...

    def take(self, path: Path) -> Iterator[FetchProgress]:
        """Copy a file that the user has to where it belongs."""
        ...


class ManagedWeights:
    """The weights manager of the core, for one bundle."""

    def __init__(self, bundle: str = DEFAULT_BUNDLE) -> None:
        self.bundle = bundle

    def rows(self) -> list[WeightRow]:
        """The files of the bundle; looks at their sizes only."""
        from moca_core.models import weights  # here, so that the window shows before it
        from moca_core.models.specs import rows_of

        found = []
        for row in rows_of(self.bundle):
            state = weights.state(row)
            present = state is weights.State.READY
            found.append(WeightRow(row.name, row.size, row.licence, present, row.role, state.value))
        return found

    def fetch(self) -> Iterator[FetchProgress]:
        """Fetch what is missing or damaged; raises `WeightsError` or `StorageError`."""
        from moca_core.models import weights

        # Closed with this generator: the core ends its transfer and clears up at that moment.
        with closing(weights.fetch(weights.missing(self.bundle))) as events:
            for event in events:
                yield FetchProgress(event.name, event.done, event.total, event.note, event.source)

    def take(self, path: Path) -> Iterator[FetchProgress]:
        """Copy a file that the user has; its content says which one it is. Raises `MocaError`."""
        from moca_core.models import importing

        with closing(importing.take(path)) as events:
            for event in events:
                yield FetchProgress(event.name, event.done, event.total, event.note, event.source)
