"""The weights as the window sees them: rows with a state, and generators that bring them."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from moca_core.config import SegmentConfig

if TYPE_CHECKING:
    from moca_core.models.specs import WeightsRow
    from moca_core.models.weights import FetchEvent


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
    bundle : the bundle that it belongs to.
    optional : the bundle runs without it.
    own : the user brought it, and it isn't the official file.
    checked : it was read, and hasn't changed since.
    hash_known : its official SHA-256 is known; otherwise its size is only about right.
    """

    name: str
    size_bytes: int
    licence: str
    present: bool
    role: str = ""
    state: str = ""
    bundle: str = "compact"
    optional: bool = False
    own: bool = False
    checked: bool = False
    hash_known: bool = True

    @property
    def size_text(self) -> str:
        """Its size in words."""
        return size_text(self.size_bytes) if self.hash_known else f"~{size_text(self.size_bytes)}"

    @property
    def state_text(self) -> str:
        """What is known of it, in words."""
        if not self.present:
            return self.state or "missing"
        if self.own:
            return "own file, not official"
        if not self.checked:
            return "here, not verified"
        return "official, verified" if self.hash_known else "here, structure checked"


@dataclass(frozen=True)
class FetchProgress:
    """`done` of `total` bytes for the file `name`, from `source`; `text` says what happens."""

    name: str
    done: int
    total: int
    text: str = ""
    source: str = ""


class WeightsSource(Protocol):
    """Where the dialog looks and fetches from. What isn't a generator is quick."""

    def rows(self, bundle: str) -> list[WeightRow]:
        """The files of a bundle, those that it can't run without first."""
        ...

    def needed(self, config: SegmentConfig) -> list[WeightRow]:
        """The files that a run with `config` reads."""
        ...

    def replaceable(self) -> Sequence[str]:
        """Names of the files in whose place another checkpoint of the same model may stand."""
        ...

    def fetch(self, names: Sequence[str]) -> Iterator[FetchProgress]:
        """Fetch what is missing; a stop between two yields keeps what has come so far."""
        ...

    def take(self, path: Path, name: str = "") -> Iterator[FetchProgress]:
        """Copy a file that the user has to where it belongs, or to the place of `name`."""
        ...

    def verify(self, names: Sequence[str]) -> Iterator[FetchProgress]:
        """Read files; the last event of each has its state as its text."""
        ...


class ManagedWeights:
    """The weights manager of the core."""

    def rows(self, bundle: str) -> list[WeightRow]:
        """The files of a bundle; looks at their sizes only."""
        from moca_core.models.specs import optional_rows, rows_of  # the window shows before them

        return [_seen(row) for row in (*rows_of(bundle), *optional_rows(bundle))]

    def needed(self, config: SegmentConfig) -> list[WeightRow]:
        """The files of the bundle, with the SAM of `config` in place of the bundle's."""
        from moca_core.models.specs import rows_for

        return [_seen(row) for row in rows_for(config.bundle, config.sam)]

    def replaceable(self) -> Sequence[str]:
        """Names of the files whose structure can be checked."""
        from moca_core.models.structure import checkable

        return checkable()

    def fetch(self, names: Sequence[str]) -> Iterator[FetchProgress]:
        """Fetch what is missing or damaged; raises `WeightsError` or `StorageError`."""
        from moca_core.models import weights

        yield from _told(weights.fetch(_named(names)))

    def take(self, path: Path, name: str = "") -> Iterator[FetchProgress]:
        """Copy a file that the user has; without `name` its content says which one it is.

        Raises `MocaError`.
        """
        from moca_core.models import importing

        yield from _told(importing.take(path, name))

    def verify(self, names: Sequence[str]) -> Iterator[FetchProgress]:
        """Read the files that are here."""
        from moca_core.models import weights

        with closing(weights.verify(_named(names))) as events:
            for event in events:
                text = str(event.state) if event.state is not None else ""
                yield FetchProgress(event.row.name, event.done, event.row.size, text)


def size_text(size_bytes: int) -> str:
    """A size in words.

    >>> size_text(97_447_603), size_text(4_803_584_173)
    ('97.4 MB', '4.80 GB')
    """
    if size_bytes >= 1_000_000_000:
        return f"{size_bytes / 1e9:.2f} GB"
    return f"{size_bytes / 1e6:.1f} MB"


def _seen(row: WeightsRow) -> WeightRow:
    from moca_core.models import weights

    state = weights.state(row)
    return WeightRow(
        name=row.name,
        size_bytes=row.size,
        licence=row.licence,
        present=state is weights.State.READY,
        role=row.role,
        state=str(state),
        bundle=row.bundle,
        optional=row.optional,
        own=weights.is_own(row),
        checked=weights.is_checked(row),
        hash_known=bool(row.sha256),
    )


def _named(names: Sequence[str]) -> list[WeightsRow]:
    from moca_core.models.specs import ROWS

    return [row for row in ROWS if row.name in names]


def _told(steps: Generator[FetchEvent, None, object]) -> Iterator[FetchProgress]:
    # Closed with this generator: the core ends its transfer and clears up at that moment.
    with closing(steps) as events:
        for event in events:
            yield FetchProgress(event.name, event.done, event.total, event.note, event.source)
