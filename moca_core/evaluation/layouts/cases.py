"""What every layout gives: cases, and the files of one."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import MappingProxyType

import numpy as np
from PIL import Image

from moca_core.errors import DatasetError
from moca_core.evaluation.classes import Classes
from moca_core.types import Mask, RgbImage

_SHOWN = 5
"""Incomplete clips that a note names."""
_NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Case:
    """One picture with one sound and the mask of what makes it.

    Attributes
    ----------
    id : unique in its data set.
    subset : kind of case (`single`, `ms_one`, ...), or the split.
    category : what sounds, `+` between several; "" where the data set doesn't say.
    image_path, mask_path, audio_path : files; the mask is 8-bit, 0 or not 0, unless there are
        classes.
    group : cases of one group show the same picture or clip: keep them together in
        cross-validation.
    other_mask_paths : truths of the same picture with other sounds (`ms_one` only).
    time_s : middle of the audio window on the sound's clock; None: the whole sound is heard.
    clip : frames of one clip share one threshold in `f_max_clip`; "": the case is its own clip.
    size : (height, width) at which it is scored; None: the mask's own.
    saved_as : where `--save-masks` writes its mask, with `/`; "": `<id>.png`.
    visible : categories that are known to be in the picture, sounding or not.
    classes : what the colours of its mask mean, black being background; None: no classes.
    files : the names of its files where a manifest pairs them; () where they follow from the id.
    """

    id: str
    subset: str
    category: str
    image_path: Path
    mask_path: Path
    audio_path: Path
    group: str
    other_mask_paths: tuple[Path, ...] = ()
    time_s: float | None = None
    clip: str = ""
    size: tuple[int, int] | None = None
    saved_as: str = ""
    visible: frozenset[str] = frozenset()
    classes: Classes | None = None
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class DataSet:
    """What a layout's reader found.

    Attributes
    ----------
    cases : in the order of its table, frames of a clip one after the other.
    split : which part of the data set they are; None: all of it.
    clips : clips that the table names for the split; 0 where the layout has no clips.
    incomplete : clip -> which of its files aren't there; the rest of such a clip is in `cases`.
    remark : what else the user should know of it.
    """

    cases: tuple[Case, ...]
    split: str | None = None
    clips: int = 0
    incomplete: Mapping[str, str] = field(default_factory=lambda: _NONE)
    remark: str = ""

    @property
    def note(self) -> str:
        """What isn't there, in a sentence for the user; "" if all is."""
        return "; ".join(part for part in (self._missing, self.remark) if part)

    @property
    def _missing(self) -> str:
        if not self.incomplete:
            return ""
        named = [f"{clip} ({what})" for clip, what in list(self.incomplete.items())[:_SHOWN]]
        if len(self.incomplete) > _SHOWN:
            named.append(f"and {len(self.incomplete) - _SHOWN} more")
        count = f"{len(self.incomplete)} of {self.clips} clips"
        return f"{count} are incomplete, what they lack is left out: {', '.join(named)}"


def read_table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and rows of a CSV file with a heading; a cell that isn't there is "".

    Raises
    ------
    DatasetError : it can't be read.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, restval="")
            rows = list(reader)
            columns = list(reader.fieldnames or [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: can't be read ({error})", "Save it as UTF-8 CSV.") from error
    for number, row in enumerate(rows, start=2):
        # No file's name can have one.
        if any("\0" in cell for cell in row.values() if isinstance(cell, str)):
            raise DatasetError(f"{path}: line {number} holds a zero byte", "Save it as UTF-8 CSV.")
    return columns, rows


def check_filled(path: Path, rows: Sequence[Mapping[str, str]], columns: Sequence[str]) -> None:
    """Raise `DatasetError` where a row of a table has nothing in one of `columns`."""
    for number, row in enumerate(rows, start=2):
        empty = [name for name in columns if not row[name]]
        if empty:
            raise DatasetError(
                f"{path}: line {number} has no {', '.join(empty)}", "Complete or remove the line."
            )


def check_unique(path: Path, rows: Sequence[Mapping[str, str]], column: str) -> None:
    """Raise `DatasetError` where two rows of a table have the same in `column`."""
    lines: dict[str, int] = {}
    for number, row in enumerate(rows, start=2):
        first = lines.setdefault(row[column], number)
        if first != number:
            raise DatasetError(
                f"{path}: lines {first} and {number} have the same {column}, {row[column]!r}",
                "Rename or remove one of them.",
            )


def is_file(path: Path) -> bool:
    """True if there is such a file; False too for a name that no file can have."""
    try:
        return path.is_file()
    except OSError:
        return False


def stays_inside(name: str) -> bool:
    """True if a path made of `name` stays in the folder that it is joined to, on any system."""
    return not any(
        kind(name).is_absolute() or kind(name).drive or ".." in kind(name).parts
        for kind in (PurePosixPath, PureWindowsPath)
    )


def spread(count: int, limit: int | None) -> list[int]:
    """Which `limit` of `count` places to keep, spread evenly; all of them without a limit."""
    if limit is None or limit >= count:
        return list(range(count))
    return [(place * count) // limit for place in range(limit)]


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
    except Image.DecompressionBombError as error:
        raise DatasetError(f"{path}: has too many pixels ({error})", "Make it smaller.") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise DatasetError(f"{path}: can't be read ({error})", "Copy the file again.") from error
