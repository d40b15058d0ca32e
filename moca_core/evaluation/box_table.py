"""Reading boxes of what sounds in the middle frame of clips: VGG-SS's JSON, or a CSV file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moca_core.errors import DatasetError
from moca_core.evaluation.layouts.cases import is_file, read_table
from moca_core.fileio import is_finite, parse_json
from moca_core.media.suffixes import CLIP_SUFFIXES

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 as shares of the picture's width and height."""

FILE = "file"
BOXES = ("bbox", "boxes", "vggss_bbox_xyxy_norm")
CLASSES = ("class", "vggss_class", "category", "label")
"""Names of the columns: of boxes and classes the first that is there counts."""


@dataclass(frozen=True)
class BoxClip:
    """A clip with the boxes of what sounds in its middle frame.

    Attributes
    ----------
    name : as in the table.
    category : what sounds; "" where the table doesn't say.
    path : the clip; None if it isn't there.
    boxes : at least one; may be empty or reach out of the picture.
    """

    name: str
    category: str
    path: Path | None
    boxes: tuple[Box, ...]


def read_box_table(table: Path, folder: Path | None = None) -> list[BoxClip]:
    """Clips that have boxes, in the order of the table.

    Parameters
    ----------
    table : `vggss.json` as its authors publish it, a list of `file`, `class` and `bbox`; or a CSV
        file with the columns `file` and one of `BOXES`. A cell of boxes is a JSON list of
        [x0, y0, x1, y1] from 0 to 1; clips where it is empty are left out.
    folder : where the clips are (by default the table's folder); a name without a suffix
        stands for any clip of that name.

    Raises
    ------
    DatasetError : the table can't be read or isn't of this form, has no boxes, or no clip is there.
    """
    if not is_file(table):
        raise DatasetError(f"{table}: no such file", "Give vggss.json, or a CSV file of boxes.")
    folder = folder or table.parent
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder", "Give the folder that holds the clips.")
    rows = _from_json(table) if table.suffix.lower() == ".json" else _from_csv(table)
    found = [
        BoxClip(name, category, _clip(folder, name), _boxes(table, name, boxes))
        for name, category, boxes in rows
    ]
    if not found:
        raise DatasetError(f"{table}: no clip in it has a box", "Check the column of boxes.")
    if all(clip.path is None for clip in found):
        raise DatasetError(
            f"{folder}: holds none of the {len(found)} clips, such as {found[0].name}",
            "Give the folder that holds the clips with --clips.",
        )
    return found


def _from_json(table: Path) -> list[tuple[str, str, Any]]:
    try:
        rows = parse_json(table.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{table}: can't be read ({error})", "Fetch it again.") from error
    if not isinstance(rows, list) or not all(
        isinstance(row, Mapping) and isinstance(row.get(FILE), str) and BOXES[0] in row
        for row in rows
    ):
        raise DatasetError(
            f"{table}: not a list of objects with {FILE} and {BOXES[0]}",
            "Use vggss.json of VGG-SS, or a CSV file.",
        )
    return [(row[FILE], str(row.get(CLASSES[0], "")), row[BOXES[0]]) for row in rows]


def _from_csv(table: Path) -> list[tuple[str, str, Any]]:
    columns, rows = read_table(table)
    boxes = next((name for name in BOXES if name in columns), None)
    if FILE not in columns or boxes is None:
        raise DatasetError(
            f"{table}: lacks a column {FILE}, or one of boxes",
            f"Name the columns {FILE} and {BOXES[0]}.",
        )
    category = next((name for name in CLASSES if name in columns), "")
    found = []
    for row in rows:
        if not row[boxes].strip():
            continue
        try:
            value = parse_json(row[boxes])
        except ValueError as error:
            raise _no_boxes(table, row[FILE], row[boxes]) from error
        found.append((row[FILE], row.get(category, ""), value))
    return found


def _boxes(table: Path, name: str, value: Any) -> tuple[Box, ...]:
    """The boxes of a clip, checked."""
    if not isinstance(value, list) or not value or not all(_is_box(box) for box in value):
        raise _no_boxes(table, name, json.dumps(value))
    return tuple((float(x0), float(y0), float(x1), float(y1)) for x0, y0, x1, y1 in value)


def _is_box(value: Any) -> bool:
    return (
        isinstance(value, Sequence)
        and len(value) == 4
        and all(map(is_finite, value))
        # A box in pixels would silently cover everything.
        and max(value) <= 2
    )


def _no_boxes(table: Path, name: str, text: str) -> DatasetError:
    return DatasetError(
        f"{table}: the boxes of {name} are {text[:60]!r}",
        "Write them as [[x0, y0, x1, y1], ...], from 0 to 1.",
    )


def _clip(folder: Path, name: str) -> Path | None:
    for suffix in ("", *CLIP_SUFFIXES):
        path = folder / f"{name}{suffix}"
        if is_file(path):
            return path
    return None
