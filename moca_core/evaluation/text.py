"""Tables as lines of text, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Rows of cells as lines, columns aligned: the first `left` to the left, the others right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:left], widths[:left], strict=True)]
        cells += [cell.rjust(width) for cell, width in zip(row[left:], widths[left:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines) + "\n"


def with_error(value: float | None, error: float | None = None) -> str:
    """A number with its standard error in brackets; `-` for none."""
    if value is None:
        return "-"
    return f"{value:.3f}" if error is None else f"{value:.3f} ({error:.3f})"
