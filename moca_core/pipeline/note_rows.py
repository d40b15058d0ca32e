"""What became of the proposals as rows of plain values, for files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from moca_core.pipeline import rle
from moca_core.types import ProposalNote


def to_rows(notes: Sequence[ProposalNote]) -> list[dict[str, Any]]:
    """One row a proposal; `rle` is its mask on the working grid, in COCO's run lengths."""
    return [
        {
            "number": note.number,
            "quality": note.quality,
            "stability": note.stability,
            "sounds": note.sounds,
            "overlap": note.overlap,
            "taken": note.taken,
            "why": note.why,
            "rle": rle.encode(note.mask),
        }
        for note in notes
    ]


def from_rows(rows: Sequence[Mapping[str, Any]]) -> tuple[ProposalNote, ...]:
    """Read `to_rows` back; damaged rows raise `StorageError`, `LookupError` or `TypeError`."""
    return tuple(
        ProposalNote(
            number=row["number"],
            quality=row["quality"],
            stability=row["stability"],
            sounds=row["sounds"],
            overlap=row["overlap"],
            taken=row["taken"],
            why=row["why"],
            mask=rle.decode(row["rle"]),
        )
        for row in rows
    )
