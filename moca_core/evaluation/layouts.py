"""Reading data sets: each layout is a row that turns a folder into cases."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from moca_core.errors import DatasetError
from moca_core.types import Mask, RgbImage

_PAIRS_COLUMNS = ("id", "split", "subset", "category", "image", "mask", "audio")
ONE_OF_SEVERAL = "ms_one"
"""Subset of `pairs` in which a picture comes several times, each time with another sound."""


@dataclass(frozen=True)
class Case:
    """One picture with one sound and the mask of what makes it.

    Attributes
    ----------
    id : unique in its data set.
    subset : kind of case (`single`, `ms_one`, ...).
    category : what sounds, `+` between several.
    image_path, mask_path, audio_path : files; the mask is 8-bit, 0 or not 0.
    group : cases of one group show the same picture: keep them together in cross-validation.
    other_mask_paths : truths of the same picture with other sounds (`ms_one` only).
    """

    id: str
    subset: str
    category: str
    image_path: Path
    mask_path: Path
    audio_path: Path
    group: str
    other_mask_paths: tuple[Path, ...] = ()


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
    rows = _manifest(root / "manifest.csv")
    cases = _cases(root, rows, split)
    if not cases:
        splits = sorted({row["split"] for row in rows})
        raise DatasetError(
            f"{root}: no case has split {split!r}" if split else f"{root}: the manifest is empty",
            f"Splits in the manifest: {', '.join(splits)}." if splits else "Check the file.",
        )
    if limit is not None and limit < len(cases):
        places = (np.arange(limit) * len(cases)) // limit
        cases = [cases[place] for place in places]
    return cases


LAYOUTS: dict[str, Callable[[str | Path, str | None, int | None], list[Case]]] = {
    "pairs": read_pairs,
}
"""Reader of each layout: (folder, split, limit) -> cases."""


def _manifest(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise DatasetError(
            f"{path.parent}: holds no manifest.csv"
            if path.parent.is_dir()
            else f"{path.parent}: no such folder",
            "Give the folder that holds manifest.csv.",
        )
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            rows = list(reader)
            columns = reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: can't be read ({error})", "Save it as UTF-8 CSV.") from error
    missing = [name for name in _PAIRS_COLUMNS if name not in columns]
    if missing:
        raise DatasetError(
            f"{path}: columns missing: {', '.join(missing)}",
            f"The layout `pairs` needs {', '.join(_PAIRS_COLUMNS)}.",
        )
    for number, row in enumerate(rows, start=2):
        empty = [name for name in _PAIRS_COLUMNS if not row[name]]
        if empty:
            raise DatasetError(
                f"{path}: line {number} has no {', '.join(empty)}", "Complete or remove the line."
            )
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
            )
        )
    return cases


def read_image(path: Path) -> RgbImage:
    """(H, W, 3) uint8 RGB of a picture file; raises `DatasetError`."""
    return np.asarray(_opened(path, "RGB"))


def read_mask(path: Path) -> Mask:
    """(H, W) bool of a mask file, True where it isn't 0; raises `DatasetError`."""
    return np.asarray(_opened(path, "L")) > 0


def _opened(path: Path, mode: str) -> Image.Image:
    try:
        with Image.open(path) as image:
            return image.convert(mode)
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: no such file", "Check that the data set is whole.") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise DatasetError(f"{path}: can't be read ({error})", "Copy the file again.") from error
