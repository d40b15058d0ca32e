"""The layout `pairs`: pictures and sounds that were put together, listed in a manifest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from moca_core.errors import DatasetError
from moca_core.evaluation.layouts.cases import (
    Case,
    check_filled,
    check_unique,
    read_table,
    spread,
    stays_inside,
)

MANIFEST = "manifest.csv"
COLUMNS = ("id", "split", "subset", "category", "image", "mask", "audio")
_VISIBLE = ("visible_categories", "other_sounding_in_image")
"""Columns that a manifest may have: what the picture shows, `+` or `;` between categories."""
ONE_OF_SEVERAL = "ms_one"
"""Subset of `pairs` in which a picture comes several times, each time with another sound."""


def read_pairs(root: str | Path, split: str | None = None, limit: int | None = None) -> list[Case]:
    """Cases of a `pairs` data set, in the order of its `manifest.csv`.

    Parameters
    ----------
    root : the folder that holds `manifest.csv`; paths in it are relative to that folder.
    split : keep the rows of this split.
    limit : keep so many cases, spread evenly, so that a look at a few sees every subset.

    Raises
    ------
    DatasetError : there is no manifest, it lacks columns, or nothing is left. Missing pictures
        and sounds show when a case is read.
    """
    root = Path(root)
    rows = _manifest(root / MANIFEST)
    cases = _cases(root, rows, split)
    if not cases:
        splits = sorted({row["split"] for row in rows})
        raise DatasetError(
            f"{root}: no case has split {split!r}" if split else f"{root}: the manifest is empty",
            f"Splits in the manifest: {', '.join(splits)}." if splits else "Check the file.",
        )
    return [cases[place] for place in spread(len(cases), limit)]


def _manifest(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise DatasetError(
            f"{path.parent}: holds no {MANIFEST}"
            if path.parent.is_dir()
            else f"{path.parent}: no such folder",
            f"Give the folder that holds {MANIFEST}.",
        )
    columns, rows = read_table(path)
    missing = [name for name in COLUMNS if name not in columns]
    if missing:
        raise DatasetError(
            f"{path}: columns missing: {', '.join(missing)}",
            f"The layout `pairs` needs {', '.join(COLUMNS)}.",
        )
    check_filled(path, rows, COLUMNS)
    check_unique(path, rows, "id")
    for row in rows:
        # It names the file of the case's mask.
        if not stays_inside(row["id"]):
            raise DatasetError(f"{path}: the id {row['id']!r} leaves its folder", "Rename it.")
    return rows


def _cases(root: Path, rows: Sequence[dict[str, str]], split: str | None) -> list[Case]:
    # Truths of a picture come from the whole manifest, so that a split can't hide one.
    truths: dict[str, list[str]] = {}
    for row in rows:
        if row["subset"] == ONE_OF_SEVERAL:
            truths.setdefault(row["image"], []).append(row["mask"])
    cases = []
    for row in rows:
        if split and row["split"] != split:
            continue
        others = truths.get(row["image"], []) if row["subset"] == ONE_OF_SEVERAL else []
        cases.append(
            Case(
                id=row["id"],
                subset=row["subset"],
                category=row["category"],
                image_path=root / row["image"],
                mask_path=root / row["mask"],
                audio_path=root / row["audio"],
                group=row["image"],
                other_mask_paths=tuple(
                    root / mask for mask in dict.fromkeys(others) if mask != row["mask"]
                ),
                visible=_visible(row),
                files=(row["image"], row["mask"], row["audio"]),
            )
        )
    return cases


def _visible(row: dict[str, str]) -> frozenset[str]:
    words = "+".join(row.get(column, "") for column in _VISIBLE).replace(";", "+")
    return frozenset(words.split("+")) - {""}
